//! Where records come from.
//!
//! A source reads partitions, each an ordered sequence of records with rising offsets (gaps are
//! allowed), and can read any of it again: everything that the host promises rests on that.
//!
//! ```text
//! partitions() ─► begin and end of each
//! seek(positions) ─► poll(until, limit, into) ─► poll ─► poll … ─► seek(positions) ─► poll …
//!                                                 └─► adjust(some positions) ─► poll …
//! ```
//!
//! One contract suite (`tests/it/source_contract.rs`) runs on every implementation.
//!
//! # Not here
//!
//! Deciding where an epoch ends: [`crate::epoch`]. Making records columns: [`crate::decode`].
//! Where to begin when nothing was committed yet: the pipeline decides that, with what
//! [`Source::partitions`] says.

mod budget;
mod file;
mod generator;
mod kafka;
mod memory;

use std::time::Duration;

use thiserror::Error;

pub use self::file::FileSource;
pub use self::generator::GeneratorSource;
pub use self::kafka::KafkaSource;
pub use self::memory::{MemoryPartitions, MemoryRecord, MemorySource};

use crate::config::{self, SourceKind};
use crate::record::{Partition, Positions, TakeRecords};

/// Opens the source that `[source]` describes. Nothing is reached or read before the first call.
///
/// # Errors
///
/// [`SourceError::Permanent`] when a setting is refused.
pub fn open(source: &config::Source, pipeline_name: &str) -> Result<Box<dyn Source>, SourceError> {
    Ok(match &source.kind {
        SourceKind::Kafka(kafka) => Box::new(KafkaSource::new(kafka, pipeline_name)?),
        SourceKind::File { paths } => Box::new(FileSource::new(paths.clone())),
        SourceKind::Generator(generator) => Box::new(GeneratorSource::new(generator)),
    })
}

/// What a partition holds at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionRange {
    /// which partition
    pub partition: Partition,
    /// the oldest offset that can still be read
    pub begin: i64,
    /// one past the newest offset that can be read now: reading up to here is reading all there is
    pub end: i64,
}

/// How much one [`Source::poll`] may add, and how long it may wait.
#[derive(Debug, Clone, Copy)]
pub struct PollLimit {
    /// records
    pub records_max: usize,
    /// bytes of keys, values and headers; a single larger record is still delivered, alone
    pub bytes_max: usize,
    /// returns at the latest after this, with what there is
    pub wait_max: Duration,
}

/// What may be done at a source from another thread while it is read: neither waits for the other.
pub struct Survey {
    /// says what [`Source::partitions`] says
    pub partitions: Ask,
    /// shows others how far the pipeline is; `None` where nobody looks
    pub show: Option<Box<dyn Show>>,
}

/// Asks what [`Source::partitions`] tells.
pub type Ask = Box<dyn FnMut() -> Result<Vec<PartitionRange>, SourceError> + Send>;

/// Shows the source's own tools up to where everything is done. A hint: reading never begins there.
pub trait Show: Send {
    /// Shows it, and waits for the answer at most so long.
    ///
    /// # Errors
    ///
    /// [`SourceError::Permanent`] where another try would be in vain.
    fn show(&mut self, done: &Positions, wait_max: Duration) -> Result<(), SourceError>;

    /// Nothing is to be shown at the moment. Called every few seconds.
    fn rest(&mut self);
}

/// A replayable, partitioned input.
///
/// Used from one thread, which blocks in [`poll`](Self::poll).
pub trait Source: Send {
    /// Every partition that exists now, in order, with what it holds. Does not change what
    /// [`poll`](Self::poll) delivers.
    ///
    /// # Errors
    ///
    /// [`SourceError`]; the caller tries again where the remedy says so.
    fn partitions(&mut self) -> Result<Vec<PartitionRange>, SourceError>;

    /// What another thread may ask and tell while this one reads.
    fn survey(&self) -> Survey;

    /// Reads from these positions on, and from these partitions only.
    ///
    /// May be called at any time; nothing from before the call is delivered after it. A position
    /// may be anything from `begin` to `end`, an offset in a gap too.
    ///
    /// # Errors
    ///
    /// [`SourceError`], [`OutOfRange`](SourceError::OutOfRange) when a position is no longer (or
    /// not yet) there. What was read from before is then still read.
    fn seek(&mut self, positions: &Positions) -> Result<(), SourceError>;

    /// Reads these partitions from these positions on, and every other one on as it is: of those
    /// nothing is delivered twice or left out, and nothing that was fetched ahead is thrown away.
    ///
    /// For partitions that have come to be since the last [`seek`](Self::seek), and for passing over
    /// what is gone. A partition that is read already only ever moves forward: where it is beyond the
    /// position that is named, it stays. May be called at any time after the first seek.
    ///
    /// # Errors
    ///
    /// As for [`seek`](Self::seek). Nothing has changed then.
    fn adjust(&mut self, positions: &Positions) -> Result<(), SourceError>;

    /// Hands records to `into`: in order within each partition, none twice, none at or beyond
    /// `until` in its partition (a partition that is absent from `until` has no bound).
    ///
    /// Returns early as soon as it has something and nothing more is at hand, and when every
    /// partition has a bound and is at it. What lies beyond a bound is delivered by a later call
    /// with a higher one.
    ///
    /// # Errors
    ///
    /// [`SourceError`]; `into` then holds what was read before, and [`positions`](Self::positions)
    /// is right. The next call goes on from there.
    fn poll(
        &mut self,
        until: &Positions,
        limit: PollLimit,
        into: &mut dyn TakeRecords,
    ) -> Result<(), SourceError>;

    /// The next offset to deliver in each partition of the last [`seek`](Self::seek): all before
    /// it was delivered or is known not to exist (gaps, the end of the partition).
    ///
    /// A [`poll`](Self::poll) never moves a position back, and never past its bound.
    fn positions(&self) -> &Positions;
}

/// What went wrong at a source.
#[derive(Debug, Error)]
pub enum SourceError {
    /// The other side does not answer; it may later.
    #[error("failed to reach {what}: {reason}")]
    Unavailable {
        /// what is being waited for, for a person: "Kafka at localhost:9092"
        what: String,
        /// what the client library said
        reason: String,
    },
    /// A position that cannot be read from.
    #[error("{}", out_of_range(*partition, *begin, *end, *position))]
    OutOfRange {
        /// which partition
        partition: Partition,
        /// its oldest offset
        begin: i64,
        /// the offset after its newest
        end: i64,
        /// the offset that was asked for
        position: i64,
    },
    /// Waiting will not help.
    #[error("{0}")]
    Permanent(String),
}

/// What is wrong with a position, and what can be done about it.
fn out_of_range(partition: Partition, begin: i64, end: i64, position: i64) -> String {
    if position < begin {
        let count = begin.saturating_sub(position);
        let last = begin.saturating_sub(1);
        format!(
            "{count} offsets of partition {partition} are gone ({position} to {last}): they were deleted before they were read, and the oldest one left is {begin}; to go on there without them, set `on_lost = \"skip\"` in [source]"
        )
    } else {
        format!(
            "partition {partition} has offsets {begin} to {end}, but reading has to go on at {position}: it is another topic of the same name (deleted and made again?), or a generator with fewer `records`"
        )
    }
}

/// Those of the wanted positions to which a source has to move: partitions that it does not read
/// yet, and those of which more is passed over.
fn ahead_of(positions: &Positions, wanted: &Positions) -> Positions {
    let ahead = wanted.iter();
    ahead
        .filter(|&(partition, next)| positions.get(partition).is_none_or(|at| at < next))
        .collect()
}

/// Checks that every position can be read from.
///
/// # Errors
///
/// [`SourceError::OutOfRange`], or [`SourceError::Permanent`] where a partition does not exist.
pub(crate) fn check_positions(
    positions: &Positions,
    ranges: &[PartitionRange],
) -> Result<(), SourceError> {
    for (partition, position) in positions.iter() {
        let Some(range) = ranges.iter().find(|range| range.partition == partition) else {
            return Err(SourceError::Permanent(format!(
                "failed to read partition {partition}: it does not exist, the source has {} partitions",
                ranges.len()
            )));
        };
        if position < range.begin || position > range.end {
            return Err(SourceError::OutOfRange {
                partition,
                begin: range.begin,
                end: range.end,
                position,
            });
        }
    }
    Ok(())
}

/// Whether every partition that is read has a bound and is at it. With no partition at all, no:
/// a caller then waits instead of spinning.
fn all_reached(positions: &Positions, until: &Positions) -> bool {
    !positions.is_empty()
        && positions
            .iter()
            .all(|(partition, next)| until.get(partition).is_some_and(|bound| next >= bound))
}

#[cfg(test)]
mod tests;
