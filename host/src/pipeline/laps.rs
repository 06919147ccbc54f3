//! How long the steps of a start took: a restart that costs seconds is looked into by these.

use std::time::{Duration, Instant};

use super::reader::now;

/// The steps of a start, in order.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StartTimes {
    /// connecting the ledger, its tables, and claiming the pipeline
    pub(super) ledger: Duration,
    /// connecting the other sinks and the dead letters
    pub(super) sinks: Duration,
    /// finding a checkpoint and restoring the states
    pub(super) checkpoint: Duration,
    /// asking the source for its partitions, and the ledger for the journal
    pub(super) source: Duration,
}

/// A clock that is asked at the end of each step.
#[derive(Debug)]
pub(super) struct Laps {
    last: Instant,
}

impl Laps {
    /// The first step begins.
    pub(super) fn begin() -> Self {
        Self { last: now() }
    }

    /// How long the step took that ends now.
    pub(super) fn lap(&mut self) -> Duration {
        let before = std::mem::replace(&mut self.last, now());
        self.last.saturating_duration_since(before)
    }
}

/// For the log, in which durations are in milliseconds.
pub(super) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
