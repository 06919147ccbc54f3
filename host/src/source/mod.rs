//! Where records come from.
//!
//! A source reads partitions, each an ordered sequence of records with rising offsets (gaps are
//! allowed), and can read any of it again: everything that the host promises rests on that.
//!
//! # Not here
//!
//! Deciding where an epoch ends: [`crate::epoch`]. Making records columns: [`crate::decode`].

use std::time::Duration;

use thiserror::Error;

use crate::record::{Partition, Positions, RawBatch};

/// What a partition holds at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionRange {
    /// which partition
    pub partition: Partition,
    /// the oldest offset that can still be read
    pub begin: i64,
    /// the offset that the next record to be written will get
    pub end: i64,
}

/// How much one [`Source::poll`] may add, and how long it may wait.
#[derive(Debug, Clone, Copy)]
pub struct PollLimit {
    /// records
    pub records_max: usize,
    /// bytes of keys and values; a single larger record is still delivered, alone
    pub bytes_max: usize,
    /// returns at the latest after this, with what there is
    pub wait_max: Duration,
}

/// A replayable, partitioned input.
///
/// Used from one thread, which blocks in [`poll`](Self::poll).
pub trait Source: Send {
    /// Every partition that exists now, in order, with what it holds.
    ///
    /// # Errors
    ///
    /// [`SourceError`]; the caller tries again where the remedy says so.
    fn partitions(&mut self) -> Result<Vec<PartitionRange>, SourceError>;

    /// Reads from these positions on, and from these partitions only.
    ///
    /// May be called at any time; nothing from before the call is delivered after it.
    ///
    /// # Errors
    ///
    /// [`SourceError`], also when a position is no longer (or not yet) there.
    fn seek(&mut self, positions: &Positions) -> Result<(), SourceError>;

    /// Appends records to `into`: in order within each partition, none twice, none at or beyond
    /// `until` in its partition (a partition that is absent from `until` has no bound).
    ///
    /// Returns early as soon as it has something and nothing more is at hand, and when every bound
    /// is reached. What lies beyond a bound is delivered by a later call with a higher one.
    ///
    /// # Errors
    ///
    /// [`SourceError`]; `into` then holds what was read before.
    fn poll(
        &mut self,
        until: &Positions,
        limit: PollLimit,
        into: &mut RawBatch,
    ) -> Result<(), SourceError>;

    /// The next offset to deliver in each partition: all before it was delivered or is known not
    /// to exist (gaps, the end of the partition).
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
    #[error(
        "partition {partition} has offsets {begin} to {end}, but reading has to go on at {position}: records were deleted, or it is another topic"
    )]
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
