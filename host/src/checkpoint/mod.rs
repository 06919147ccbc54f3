//! Where aggregate state survives a restart: checkpoints, as immutable files and one manifest each.
//!
//! ```text
//! PIPELINE/LIFE/
//!   manifests/000000000042.json                                what epoch 42's checkpoint consists of
//!   tables/AGGREGATE/000000000042-g0000000003-00.arrow         a segment of an aggregate's state
//!   seen/PARTITION/000000000042-g0000000003-00.arrow           fingerprints of deduplication
//! ```
//!
//! A checkpoint writes only what is new and names what is old, so its cost goes with what changed.
//! Files are Arrow IPC with lz4, for any tool to read; manifests are JSON, for people.
//!
//! # Invariants
//!
//! 1. A file or manifest never changes once it is written. Its name has the generation of the host
//!    that wrote it, so two hosts never write the same file; a manifest is created or refused.
//! 2. A manifest is there only after every file that it names is durable: in a folder, files and the
//!    folder's entries are flushed to the disk before the manifest is.
//! 3. Nothing is decoded before its length and checksum were verified, so what is damaged is reported
//!    and never taken for state.
//! 4. Nothing that a kept manifest names is deleted.
//! 5. Another life of the pipeline (its database was wiped, or its name given anew) has a folder of its
//!    own, and its files are never read or deleted.
//!
//! # Not here
//!
//! What a segment holds and when one is written: [`crate::aggregate`] and [`crate::epoch`]. Which
//! checkpoint the ledger stands by: [`crate::sink::Ledger`].

mod checksum;
mod columns;
mod error;
mod location;
mod manifest;
mod name;
mod retention;
mod store;

#[cfg(test)]
mod tests;

pub use self::checksum::Checksum;
pub use self::error::CheckpointError;
pub use self::manifest::{FileRef, Manifest};
pub use self::name::{FileKind, FileName};
pub use self::store::CheckpointStore;
pub(crate) use self::store::off_thread;
use crate::aggregate::TableSnapshot;
use crate::deduplicate::Seen;
use crate::deployment::Version;
use crate::epoch::EpochId;
use crate::record::Positions;

/// Everything that a replay needs to begin behind an epoch, as it was at its end. Cheap to make: it
/// shares what it has with the tables.
#[derive(Debug)]
pub struct Snapshot {
    /// the epoch
    pub epoch: EpochId,
    /// the version of the logic whose states they are
    pub version: Version,
    /// the next offset to read in each partition after it
    pub positions: Positions,
    /// the states of each aggregate
    pub tables: Vec<TableSnapshot>,
    /// the keys that deduplication has remembered since the last snapshot
    pub seen: Seen,
}
