//! Asking the source now and then how much there is, beside the reading.
//!
//! The answers are the ends of the partitions, and whether there is one: a client library that
//! reconnects by itself does not tell the reader that its server is away.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::monitor::Monitor;
use super::patience::{Patience, SOURCE};
use crate::source::{SourceError, Survey};

/// Between two questions.
const INTERVAL: Duration = Duration::from_secs(2);

/// The questions end with this.
pub(super) struct Surveying(JoinHandle<()>);

impl Drop for Surveying {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Begins to ask.
pub(super) fn begin(survey: Survey, monitor: Arc<Monitor>) -> Surveying {
    Surveying(tokio::spawn(ask(survey, monitor, INTERVAL)))
}

async fn ask(mut survey: Survey, monitor: Arc<Monitor>, interval: Duration) {
    let mut patience = Patience::new(monitor.waits(), SOURCE);
    loop {
        tokio::time::sleep(interval).await;
        let asked = tokio::task::spawn_blocking(move || {
            let answer = survey();
            (survey, answer)
        });
        let answer = match asked.await {
            Ok((same, answer)) => {
                survey = same;
                answer
            }
            Err(error) => {
                tracing::error!(%error, "the source is asked for its ends no longer, please report this");
                return;
            }
        };
        match answer {
            Ok(ranges) => {
                monitor.set_ends(&ranges);
                patience.over();
            }
            Err(error @ SourceError::Unavailable { .. }) => {
                patience.failed(&error);
            }
            // The reader meets it too, and the run ends with it.
            Err(error) => tracing::debug!(%error, "failed to ask for the ends"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const INSTANT: Duration = Duration::from_millis(1);

    async fn until(done: impl Fn() -> bool) {
        for _ in 0..10_000 {
            if done() {
                return;
            }
            tokio::time::sleep(INSTANT).await;
        }
        panic!("it did not happen");
    }

    #[tokio::test]
    async fn a_source_that_does_not_answer_is_waited_for_until_it_does() {
        let monitor = Monitor::bare();
        let away = Arc::new(AtomicU32::new(1));
        let asked = Arc::clone(&away);
        let survey: Survey = Box::new(move || match asked.load(Ordering::Relaxed) {
            0 => Ok(Vec::new()),
            _ => Err(SourceError::Unavailable {
                what: "Kafka".into(),
                reason: "refused".into(),
            }),
        });
        let asking = ask(survey, Arc::clone(&monitor), INSTANT);
        let surveying = Surveying(tokio::spawn(asking));
        until(|| !monitor.waits().list().is_empty()).await;
        let waiting = monitor.waits().list();
        assert_eq!(waiting[0].part, "source");
        assert_eq!(waiting[0].reason, "failed to reach Kafka: refused");
        away.store(0, Ordering::Relaxed);
        until(|| monitor.waits().list().is_empty()).await;
        drop(surveying);
    }

    #[tokio::test]
    async fn who_stops_asking_waits_for_nobody() {
        let monitor = Monitor::bare();
        let survey: Survey = Box::new(|| {
            Err(SourceError::Unavailable {
                what: "Kafka".into(),
                reason: "refused".into(),
            })
        });
        let asking = ask(survey, Arc::clone(&monitor), INSTANT);
        let surveying = Surveying(tokio::spawn(asking));
        until(|| !monitor.waits().list().is_empty()).await;
        drop(surveying);
        until(|| monitor.waits().list().is_empty()).await;
    }
}
