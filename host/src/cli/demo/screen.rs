//! The demo in the terminal.

use std::io;
use std::time::Duration;

use super::Job;
use super::look::Seen;
use super::picture::Picture;
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
    prepared: &Prepared,
    picture: &mut Option<Picture>,
) -> io::Result<()> {
    let theme = Theme::of_environment();
    let mut model = Model::default();
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
            model: &model,
            totals: &seen.totals,
            kind: &prepared.kind,
            log: Some(&prepared.log),
            warning,
            paused,
            help,
            theme,
        })?;
        if let Some(picture) = picture
            && !job.stop.is_requested()
        {
            picture.take(&model, &seen.totals);
        }
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
