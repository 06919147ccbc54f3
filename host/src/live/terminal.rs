//! The terminal itself: taken over while the view is up, and given back however it ends.

use std::io::{self, Stdout, stdout};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

use super::view::{View, render};

/// Whether the terminal is ours.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The hook stays for the life of the process, and does nothing of its own without a view.
static HOOK: Once = Once::new();

/// What was pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// end the run in good order
    Stop,
    /// let the view stand still, or go on
    Pause,
    /// show or hide the explanations
    Help,
    /// any other one
    Other,
}

/// The terminal while the view is up. Dropping it gives it back.
pub(crate) struct Terminal {
    inner: ratatui::Terminal<CrosstermBackend<Stdout>>,
}

impl Terminal {
    /// Takes the terminal over: raw mode, and the alternate screen, so that what was there before
    /// comes back afterwards.
    ///
    /// # Errors
    ///
    /// When there is no terminal, or it is refused; then it is as it was.
    pub(crate) fn take() -> io::Result<Self> {
        hook_panics();
        TAKEN.store(true, Ordering::SeqCst);
        let taken = enable_raw_mode()
            .and_then(|()| execute!(stdout(), EnterAlternateScreen))
            .and_then(|()| ratatui::Terminal::new(CrosstermBackend::new(stdout())));
        match taken {
            Ok(inner) => Ok(Self { inner }),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }

    /// Draws the view in the size that the terminal has now.
    ///
    /// # Errors
    ///
    /// When the terminal is gone.
    pub(crate) fn draw(&mut self, view: &View<'_>) -> io::Result<()> {
        let draw = |frame: &mut ratatui::Frame<'_>| render(view, frame.area(), frame.buffer_mut());
        self.inner.draw(draw).map(|_| ())
    }

    /// Waits for a key, or for another reason to draw a new frame, but not longer than this.
    ///
    /// # Errors
    ///
    /// When the terminal is gone.
    #[expect(clippy::unused_self, reason = "keys are for whoever has the terminal")]
    pub(crate) fn key(&mut self, patience: Duration) -> io::Result<Option<Key>> {
        if !event::poll(patience)? {
            return Ok(None);
        }
        Ok(match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => Some(meaning(key)),
            // Another size, for one: a reason for a new frame.
            _ => None,
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        give_back();
    }
}

fn meaning(key: KeyEvent) -> Key {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c' | 'd') if control => Key::Stop,
        KeyCode::Char('q' | 'Q') => Key::Stop,
        KeyCode::Char('p' | 'P' | ' ') => Key::Pause,
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => Key::Help,
        _ => Key::Other,
    }
}

/// Undoes what [`Terminal::take`] did, once. A terminal that is gone needs nothing undone.
fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let _ = execute!(stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

/// A panic of the thread that draws ends the view, and its message is to be read; one of another
/// thread becomes an error of the pipeline, and goes to the log instead of across the view.
fn hook_panics() {
    HOOK.call_once(|| {
        let drawing = thread::current().id();
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if TAKEN.load(Ordering::SeqCst) && thread::current().id() != drawing {
                tracing::error!(panic = %info, "a thread of the host failed");
            } else {
                give_back();
                before(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_mean_what_the_foot_says() {
        let plain = |code| meaning(KeyEvent::new(code, KeyModifiers::NONE));
        assert_eq!(plain(KeyCode::Char('q')), Key::Stop);
        assert_eq!(plain(KeyCode::Char('p')), Key::Pause);
        assert_eq!(plain(KeyCode::Char('?')), Key::Help);
        assert_eq!(plain(KeyCode::Char('c')), Key::Other);
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(meaning(control_c), Key::Stop);
    }
}
