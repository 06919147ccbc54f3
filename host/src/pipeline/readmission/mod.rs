//! Processing again what a version had rejected that was rolled back.
//!
//! ```text
//! ledger's task: finds in the journal what is pending ─► task: reads it from a second source, in chunks
//!       ▲                                                                │
//!       └─ committed: pending no longer ◄─ an epoch of its own ◄─ reader ◄┘
//! ```
//!
//! What is pending follows from the journal alone: what stages rejected in epochs of versions that were
//! rolled back, but for what later epochs took up again. A chunk is taken up with an epoch that has
//! nothing else and moves no positions, by the version that is in force then, later than its
//! neighbours. What that rejects becomes a dead letter again; the letters of the others are settled.
//!
//! # Invariants
//!
//! 1. A record is taken up by at most one epoch after each that rejected it: there is one chunk at a time,
//!    and the next one is read when the ledger has the epoch of the last one.
//! 2. The journal reaches back to before the oldest version that something is pending of, so a start
//!    finds again what was left; and as long as it has the epochs that took records up again, it has
//!    those that rejected them. The entries of a version on probation stay.
//! 3. The stream never waits for the second source.
//!
//! # Not here
//!
//! Repeating an epoch that took records up again: the reader's replay, with a [`Retrieval`] of its own.

mod backlog;
mod ledger;
mod retrieval;
mod task;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(super) use self::backlog::Backlog;
use self::backlog::Pending;
pub(super) use self::retrieval::{Found, Retrieval};
pub(super) use self::task::Readmitter;
use crate::deployment::Version;
use crate::epoch::Readmission;
use crate::record::RawBatch;

/// Records that are taken up again together.
#[derive(Debug)]
pub(super) struct Chunk {
    /// as they were read now
    pub(super) batches: Vec<RawBatch>,
    /// all of them, and those that are gone
    pub(super) readmission: Readmission,
}

/// Where a chunk waits until the reader takes it, at the end of an epoch. Clones are the same place.
#[derive(Clone, Default)]
pub(super) struct Readmissions(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    waiting: Option<Chunk>,
    /// the last version of which the ledger's task has said what is pending since it is in force
    known: Version,
    /// whether something is pending, and can be read
    is_open: bool,
}

impl Readmissions {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a chunk taken up.
    fn put(&self, chunk: Chunk) {
        self.state().waiting = Some(chunk);
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.state().waiting.is_some()
    }

    pub(super) fn take(&self) -> Option<Chunk> {
        self.state().waiting.take()
    }

    /// Since this version is in force, something is pending or nothing.
    fn tell(&self, version: Version, is_open: bool) {
        let mut state = self.state();
        (state.known, state.is_open) = (version, is_open);
    }

    /// What is pending cannot be read at present.
    fn give_up(&self) {
        self.state().is_open = false;
    }

    /// Whether nothing is pending while this version is in force: what ends with its input has to wait for
    /// that.
    pub(super) fn is_over(&self, version: Version) -> bool {
        let state = self.state();
        state.known >= version && !state.is_open
    }
}
