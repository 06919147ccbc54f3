//! When positions change otherwise than by reading: partitions that are new, and offsets that were
//! deleted before they were read.
//!
//! # Invariants
//!
//! 1. The journal has the beginning of a partition before it has any record of it, and it has the
//!    position after a jump: an epoch ends at every turn, without records if need be.
//! 2. Nothing is passed over in silence, and nothing unless the user said so (`on_lost = "skip"`).
//! 3. What was committed is not un-committed: states that are to be repeated from records that are gone
//!    go on without these, or not at all; rows stay.
//!
//! # Not here
//!
//! Asking for partitions: [`super::survey`].

use std::collections::BTreeSet;

use super::PipelineError;
use super::monitor::Monitor;
use super::reader::Intake;
use crate::config::OnLost;
use crate::epoch::Mode;
use crate::record::{Origin, Partition, Positions};
use crate::source::{PartitionRange, SourceError};

/// Offsets of a partition that are not there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone {
    pub(super) partition: Partition,
    /// the first of them
    pub(super) first: i64,
    /// the one after the last of them
    pub(super) next: i64,
}

impl Gone {
    /// How many they are.
    pub(super) fn offsets(&self) -> u64 {
        u64::try_from(self.next.saturating_sub(self.first)).unwrap_or(0)
    }

    /// For records that had been committed, and whose states have to be made again.
    pub(super) fn states_lost(self, way_out: &'static str) -> PipelineError {
        PipelineError::StatesLost {
            partition: self.partition,
            offsets: self.offsets(),
            first: self.first,
            last: self.next.saturating_sub(1),
            way_out,
        }
    }

    fn warn(&self, message: &'static str) {
        let partition = self.partition.0;
        let (first, last) = (self.first, self.next.saturating_sub(1));
        tracing::warn!(
            partition,
            offsets = self.offsets(),
            first,
            last,
            "{message}"
        );
    }
}

/// What is gone of what should be read from these positions on.
pub(super) fn gone(positions: &Positions, ranges: &[PartitionRange]) -> Vec<Gone> {
    let gone = ranges.iter().filter_map(|range| {
        let first = positions.get(range.partition)?;
        (first < range.begin).then_some(Gone {
            partition: range.partition,
            first,
            next: range.begin,
        })
    });
    gone.collect()
}

/// Passes over what is gone of records that were never read, if the user said so: then these
/// positions move. What was passed over; where the user did not say so, whoever reads says what is
/// wrong.
pub(super) fn skip_unread(
    positions: &mut Positions,
    ranges: &[PartitionRange],
    on_lost: OnLost,
) -> Vec<Gone> {
    let mut skipped = gone(positions, ranges);
    if on_lost == OnLost::Stop {
        skipped.clear();
    }
    for gone in &skipped {
        positions.set(gone.partition, gone.next);
        gone.warn("passing over offsets that were deleted before they were read");
    }
    skipped
}

/// The same for records that have to be read again, from these positions on. What was `committed`
/// ends there; behind it, [`skip_unread`] has decided.
///
/// # Errors
///
/// [`PipelineError::StatesLost`] where the user did not say so, and where no checkpoint is behind the
/// states (`from_nothing`): without the records of all time they would be no totals with a gap, but
/// others.
pub(super) fn skip_committed(
    positions: &mut Positions,
    committed: &Positions,
    ranges: &[PartitionRange],
    (on_lost, from_nothing): (OnLost, bool),
) -> Result<Vec<Gone>, PipelineError> {
    let mut skipped = Vec::new();
    for gone in gone(positions, ranges) {
        let end = committed.get(gone.partition).unwrap_or(gone.next);
        positions.set(gone.partition, gone.next);
        let lost = Gone {
            next: end.min(gone.next),
            ..gone
        };
        if lost.next <= lost.first {
            continue;
        }
        if from_nothing {
            return Err(lost.states_lost(START_OVER));
        }
        if on_lost == OnLost::Stop {
            return Err(lost.states_lost(SKIP_OR_START_OVER));
        }
        lost.warn(TOTALS_LACK);
        skipped.push(lost);
    }
    Ok(skipped)
}

const START_OVER: &str = "bring back a checkpoint, or start over with what is left";
const SKIP_OR_START_OVER: &str = "to go on without them, set `on_lost = \"skip\"` in [source]: rows that were written stay, and totals lack these records from then on; or start over with what is left";
const TOTALS_LACK: &str = "records were deleted after the last checkpoint had been written and before they could be read again: their rows stay, and totals lack them";

/// What a reader does about them, and what came of it.
#[derive(Debug)]
pub(super) struct Turns {
    /// what to do about offsets that are gone
    pub(super) on_lost: OnLost,
    /// whether no checkpoint is behind the states, but all records are
    pub(super) from_nothing: bool,
    /// where live epochs begin
    pub(super) live: Positions,
    /// Positions have changed otherwise than by reading: the journal has to have that at once.
    pub(super) turned: bool,
    /// Whether there should be a checkpoint soon: from then on nobody has to read again what is gone.
    pub(super) hasten: bool,
    /// why the source can be read no longer: the run ends with it, once the epoch in hand has ended
    pub(super) failed: Option<PipelineError>,
}

impl Turns {
    pub(super) fn new(on_lost: OnLost, from_nothing: bool, live: Positions) -> Self {
        Self {
            on_lost,
            from_nothing,
            live,
            turned: false,
            hasten: false,
            failed: None,
        }
    }
}

impl Intake {
    /// Takes up partitions that were not there before.
    pub(super) fn take_up(&mut self, found: &[PartitionRange]) -> Result<(), PipelineError> {
        if found.is_empty() {
            return Ok(());
        }
        let begins = found.iter().map(|range| (range.partition, range.begin));
        match self.source.adjust(&begins.collect()) {
            Ok(()) => {}
            // They are found again.
            Err(SourceError::Unavailable { .. }) => return Ok(()),
            Err(error @ SourceError::OutOfRange { .. }) => {
                return self.pass_over(error, Mode::Live);
            }
            Err(error) => return Err(PipelineError::Source(error)),
        }
        for range in found {
            self.monitor.partition_added(range);
            let (partition, begin) = (range.partition.0, range.begin);
            tracing::info!(partition, begin, "a new partition: reading it too");
        }
        self.turns.turned = true;
        Ok(())
    }

    /// Goes on after what is gone, if that may be.
    ///
    /// # Errors
    ///
    /// The error itself where the user did not say that it may, or where it says something else.
    pub(super) fn pass_over(
        &mut self,
        error: SourceError,
        mode: Mode,
    ) -> Result<(), PipelineError> {
        if self.turns.on_lost == OnLost::Stop && mode == Mode::Live {
            return Err(PipelineError::Source(error));
        }
        let ranges = match self.source.partitions() {
            Ok(ranges) => ranges,
            // It is met again.
            Err(SourceError::Unavailable { .. }) => return Ok(()),
            Err(error) => return Err(PipelineError::Source(error)),
        };
        let mut positions = self.source.positions().clone();
        let mut unread = positions.clone();
        let mut skipped = Vec::new();
        if mode != Mode::Live {
            // Live epochs begin there.
            let live = self.turns.live.iter();
            live.for_each(|(p, next)| unread.set(p, next));
            let policy = (self.turns.on_lost, self.turns.from_nothing);
            skipped = skip_committed(&mut positions, &self.turns.live, &ranges, policy)?;
        }
        let jumps = skip_unread(&mut unread, &ranges, self.turns.on_lost);
        for jump in &jumps {
            positions.set(jump.partition, jump.next);
        }
        let turned = !jumps.is_empty();
        skipped.extend(jumps);
        if skipped.is_empty() {
            return Err(PipelineError::Source(error));
        }
        match self.source.adjust(&positions) {
            Ok(()) => count(&skipped, &self.monitor),
            // More was deleted meanwhile, or the server is away: it is met again.
            Err(SourceError::Unavailable { .. }) => return Ok(()),
            Err(SourceError::OutOfRange { position, end, .. }) if position <= end => return Ok(()),
            Err(error) => return Err(PipelineError::Source(error)),
        }
        self.turns.hasten = true;
        self.turns.turned |= turned;
        Ok(())
    }
}

impl Intake {
    /// Records of an epoch that took them up again are gone, and it has to be repeated.
    ///
    /// # Errors
    ///
    /// [`PipelineError::StatesLost`] unless the user said that it may go on without them.
    pub(super) fn lost_again(&mut self, records: &BTreeSet<Origin>) -> Result<(), PipelineError> {
        let lost = ranges_of(records);
        for gone in &lost {
            if self.turns.from_nothing {
                return Err(gone.states_lost(START_OVER));
            }
            if self.turns.on_lost == OnLost::Stop {
                return Err(gone.states_lost(SKIP_OR_START_OVER));
            }
            gone.warn(TOTALS_LACK);
        }
        count(&lost, &self.monitor);
        self.turns.hasten |= !lost.is_empty();
        Ok(())
    }
}

/// Records that follow one another, as ranges.
fn ranges_of(records: &BTreeSet<Origin>) -> Vec<Gone> {
    let mut ranges: Vec<Gone> = Vec::new();
    for &Origin { partition, offset } in records {
        let next = offset.saturating_add(1);
        match ranges.last_mut() {
            Some(last) if (last.partition, last.next) == (partition, offset) => last.next = next,
            _ => ranges.push(Gone {
                partition,
                first: offset,
                next,
            }),
        }
    }
    ranges
}

/// Counts what was passed over.
pub(super) fn count(skipped: &[Gone], monitor: &Monitor) {
    for gone in skipped {
        monitor.add_lost(gone.partition, gone.offsets());
    }
}
