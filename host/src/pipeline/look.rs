//! Looking at states while they change: the coordinator answers between two epochs.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::aggregate::TableSnapshot;

/// Somebody wants to see the states of some aggregates, at the end of whatever epoch.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) aggregates: BTreeSet<Arc<str>>,
    pub(super) answer: oneshot::Sender<Vec<TableSnapshot>>,
}

/// Who wants to look. Clones are the same list.
#[derive(Debug, Clone, Default)]
pub(super) struct Looks(Arc<Mutex<Vec<Look>>>);

impl Looks {
    /// Asks; `None` when the run ends before there is an answer.
    pub(super) async fn ask(&self, aggregates: BTreeSet<Arc<str>>) -> Option<Vec<TableSnapshot>> {
        let (answer, answered) = oneshot::channel();
        self.add(Look { aggregates, answer });
        answered.await.ok()
    }

    fn add(&self, look: Look) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(look);
    }

    /// Everybody who waits.
    pub(super) fn take(&self) -> Vec<Look> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *waiting)
    }

    /// Nobody will ever answer: whoever waits is told.
    pub(super) fn close(&self) {
        drop(self.take());
    }
}
