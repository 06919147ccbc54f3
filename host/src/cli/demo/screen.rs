//! The demo in the terminal.

use std::io;
use std::time::Duration;

use super::Job;
use super::look::Seen;
use super::prepare::Prepared;
use crate::live::{Key, Model, Terminal, Theme, View};
use crate::telemetry;

/// Between two frames, unless a key is pressed.
const FRAME: Duration = Duration::from_millis(250);

/// Shows the view until the run has ended or is given up. The terminal is as before afterwards.
///
/// # Errors
///
/// When the terminal is gone; the run goes on then.
pub(super) fn show(
    mut terminal: Terminal,
    job: &Job,
    model: &mut Model,
    prepared: &Prepared,
) -> io::Result<()> {
    let theme = Theme::of_environment();
    let (mut paused, mut help) = (false, false);
    let mut seen = Seen::default();
    while !job.is_over() {
        // A view that stands still goes on when the run ends, so that one sees what it waits for.
        if !paused || job.stop.is_requested() {
            model.observe(job.monitor.status());
            seen = job.looker.seen();
        }
        let warning = telemetry::last_warning();
        let warning = seen.error.as_deref().or(warning.as_deref());
        terminal.draw(&View {
            model,
            totals: &seen.totals,
            kind: &prepared.kind,
            log: Some(&prepared.log),
            warning,
            paused,
            help,
            theme,
        })?;
        match terminal.key(FRAME)? {
            Some(Key::Stop) => job.stop.request(),
            Some(Key::Pause) => paused = !paused,
            Some(Key::Help) => help = !help,
            Some(Key::Other) => help = false,
            None => {}
        }
    }
    Ok(())
}
