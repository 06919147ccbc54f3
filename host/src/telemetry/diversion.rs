//! The log goes to stderr, or to a file as long as something else is on the terminal.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

static FILE: Mutex<Option<File>> = Mutex::new(None);
static LAST_WARNING: Mutex<Option<String>> = Mutex::new(None);

/// The log goes to a file until this is dropped, and then to stderr again.
#[must_use]
pub(crate) struct Diversion(());

impl Diversion {
    /// From now on every line goes to this file.
    pub(crate) fn into_file(file: File) -> Self {
        *lock(&FILE) = Some(file);
        Self(())
    }
}

impl Drop for Diversion {
    fn drop(&mut self) {
        *lock(&FILE) = None;
    }
}

/// The last warning or error of the log, in one line.
pub(crate) fn last_warning() -> Option<String> {
    lock(&LAST_WARNING).clone()
}

/// Where lines of the log are written.
pub(super) fn output() -> impl Write {
    Output
}

/// Remembers the last warning.
pub(super) struct Warnings;

struct Output;

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match lock(&FILE).as_mut() {
            Some(file) => file.write(bytes),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match lock(&FILE).as_mut() {
            Some(file) => file.flush(),
            None => io::stderr().flush(),
        }
    }
}

impl<S: Subscriber> Layer<S> for Warnings {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() > Level::WARN {
            return;
        }
        let mut line = Line::default();
        event.record(&mut line);
        *lock(&LAST_WARNING) = Some(line.message + &line.fields);
    }
}

/// An event as a line: its message, then its fields.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            let _ = write!(self.fields, " {field}={value:?}");
        }
    }
}

/// What is behind the locks is whole at any time, also where a thread has panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn the_last_warning_is_kept_and_lines_go_to_the_file_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let subscriber = tracing_subscriber::fmt()
            .with_writer(output)
            .with_ansi(false)
            .finish()
            .with(Warnings);
        tracing::subscriber::with_default(subscriber, || {
            let diversion = Diversion::into_file(File::create(&path).unwrap());
            tracing::warn!(sink = "postgres", "waiting for a sink");
            tracing::info!("running");
            drop(diversion);
            tracing::info!("on stderr again");
        });
        let log = std::fs::read_to_string(&path).unwrap();
        assert!(
            log.contains("waiting for a sink") && log.contains("running"),
            "{log}"
        );
        assert!(!log.contains("on stderr again"), "{log}");
        let warning = last_warning().unwrap();
        assert_eq!(warning, r#"waiting for a sink sink="postgres""#);
    }
}
