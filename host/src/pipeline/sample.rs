//! A few records of the stream, for whoever wants to try something out on them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::record::RawBatch;

/// A batch is taken so often at most: it is copied.
const EVERY: Duration = Duration::from_secs(1);

/// The last batch that was taken. Clones are the same one.
#[derive(Clone, Default)]
pub(super) struct Sample(Arc<Mutex<Taken>>);

#[derive(Default)]
struct Taken {
    at: Option<Instant>,
    batch: RawBatch,
}

impl Sample {
    /// Takes a batch if it is time, and nobody else is about to.
    pub(super) fn offer(&self, batch: &RawBatch) {
        let Ok(mut taken) = self.0.try_lock() else {
            return;
        };
        if !batch.is_empty() && taken.at.is_none_or(|at| at.elapsed() >= EVERY) {
            taken.batch = batch.clone();
            taken.at = Some(Instant::now());
        }
    }

    /// The last batch; empty before the first one.
    pub(super) fn last(&self) -> RawBatch {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.batch.clone()
    }
}
