//! What happened to the running version that somebody may ask for later.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::SecondsFormat;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;

use crate::reload::{Control, Event, Happening};
use crate::status::RefusalStatus;

/// Taken from when they were begun until they are dropped.
#[derive(Debug)]
pub(super) struct Notes {
    refused: Arc<Refused>,
    noting: JoinHandle<()>,
}

/// The last refusal, unless another version came into force since.
#[derive(Debug, Default)]
struct Refused(Mutex<Option<RefusalStatus>>);

impl Notes {
    /// To be called within a runtime.
    pub(super) fn begin(control: &Control) -> Self {
        let refused = Arc::<Refused>::default();
        let noting = tokio::spawn(note(Arc::clone(&refused), control.listen()));
        Self { refused, noting }
    }

    pub(super) fn last_refusal(&self) -> Option<RefusalStatus> {
        let refused = self.refused.0.lock();
        refused.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Notes {
    fn drop(&mut self) {
        self.noting.abort();
    }
}

impl Refused {
    fn note(&self, event: Event) {
        let refused = match event.what {
            Happening::Refused { trigger, reason } => Some(RefusalStatus {
                at: event.at.to_rfc3339_opts(SecondsFormat::Millis, true),
                trigger,
                reason,
            }),
            Happening::Deployed { .. } => None,
            Happening::Requested { .. }
            | Happening::Accepted { .. }
            | Happening::Failed { .. }
            | Happening::BackfillFailed { .. } => return,
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = refused;
    }
}

async fn note(refused: Arc<Refused>, mut happening: Receiver<Event>) {
    loop {
        match happening.recv().await {
            Ok(event) => refused.note(event),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}
