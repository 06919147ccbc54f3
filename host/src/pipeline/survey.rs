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
    Surveying(tokio::spawn(ask(survey, monitor)))
}

async fn ask(mut survey: Survey, monitor: Arc<Monitor>) {
    let mut patience = Patience::new(monitor.waits(), SOURCE);
    loop {
        tokio::time::sleep(INTERVAL).await;
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
