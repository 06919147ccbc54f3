//! Up to where everything is done: what a source's own tools are shown.
//!
//! ```text
//! ledger's task: epoch committed, epoch confirmed by all ─┐
//! reader: only gaps since the last epoch ─────────────────┴─► positions ─► survey: shows them
//! ```
//!
//! # Invariants
//!
//! 1. No position is shown before the ledger, and every sink that holds up the stream, has all that
//!    came before it.
//! 2. Nothing is ever read from what is shown: it is for people.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::epoch::EpochId;
use crate::record::Positions;

/// Shared by those who tell and the one who shows.
#[derive(Debug, Default)]
pub(super) struct Done(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// the last epoch that everybody has, and the positions after it
    last: Option<At>,
    /// committed epochs after that one, in order
    committed: VecDeque<At>,
    /// where the reader is, if it has met no record since the end of that epoch
    idle: Option<At>,
}

/// The positions after an epoch.
type At = (EpochId, Positions);

impl Done {
    /// A run begins after this epoch.
    pub(super) fn begin(&self, epoch: EpochId, positions: &Positions, confirmed: EpochId) {
        *self.state() = State::default();
        self.committed(epoch, positions);
        self.confirmed(confirmed);
    }

    /// The ledger has an epoch, after which the positions are these.
    pub(super) fn committed(&self, epoch: EpochId, positions: &Positions) {
        self.state().committed.push_back((epoch, positions.clone()));
    }

    /// Everybody has the epochs up to this one.
    pub(super) fn confirmed(&self, epoch: EpochId) {
        let mut state = self.state();
        while let Some(done) = state.committed.pop_front_if(|(of, _)| *of <= epoch) {
            state.last = Some(done);
        }
    }

    /// The reader stands there and has met no record since the end of `epoch`.
    pub(super) fn idle(&self, epoch: EpochId, positions: &Positions) {
        let mut state = self.state();
        let known = state.idle.as_ref();
        if known.is_none_or(|(of, at)| *of != epoch || at != positions) {
            state.idle = Some((epoch, positions.clone()));
        }
    }

    /// Where the reader was when it had no record in hand last, if it told.
    pub(super) fn idle_at(&self) -> Option<Positions> {
        let state = self.state();
        state.idle.as_ref().map(|(_, positions)| positions.clone())
    }

    /// The positions up to which everything is done; `None` as long as nothing is known.
    pub(super) fn positions(&self) -> Option<Positions> {
        let state = self.state();
        let (epoch, positions) = state.last.as_ref()?;
        let idle = state.idle.as_ref().filter(|(of, _)| of == epoch);
        Some(idle.map_or(positions, |(_, further)| further).clone())
    }

    /// Every change is complete before it can panic, so a poisoned lock guards sound data.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Partition;

    fn at(next: i64) -> Positions {
        [(Partition(0), next)].into_iter().collect()
    }

    #[test]
    fn what_some_sink_lacks_is_not_shown() {
        let done = Done::default();
        assert_eq!(done.positions(), None);
        done.begin(EpochId(4), &at(40), EpochId(3));
        assert_eq!(done.positions(), None, "a sink lacks the last one");
        done.committed(EpochId(5), &at(50));
        done.committed(EpochId(6), &at(60));
        done.confirmed(EpochId(5));
        assert_eq!(done.positions(), Some(at(50)));
        done.confirmed(EpochId(6));
        assert_eq!(done.positions(), Some(at(60)));
    }

    #[test]
    fn gaps_behind_the_last_epoch_are_done_and_those_behind_another_are_not() {
        let done = Done::default();
        done.begin(EpochId(4), &at(40), EpochId(4));
        done.idle(EpochId(4), &at(43));
        assert_eq!(done.positions(), Some(at(43)));
        done.committed(EpochId(5), &at(50));
        done.idle(EpochId(5), &at(52));
        assert_eq!(done.positions(), Some(at(40)), "no longer known to be idle");
        done.confirmed(EpochId(5));
        assert_eq!(done.positions(), Some(at(52)));
    }

    #[test]
    fn a_run_that_begins_anew_forgets_what_the_last_one_had_read() {
        let done = Done::default();
        done.begin(EpochId(4), &at(40), EpochId(4));
        done.committed(EpochId(5), &at(50));
        done.begin(EpochId(5), &at(50), EpochId(5));
        assert_eq!(done.positions(), Some(at(50)));
    }
}
