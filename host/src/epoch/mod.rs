//! Epochs: the unit of everything that must be atomic.
//!
//! An epoch is a run of records per partition. It is decided once, by whoever cuts it, written into
//! the journal with the commit, and never decided again.

mod barrier;
mod coordinator;
mod cutter;
mod readmission;
mod swap;

pub use barrier::{Barrier, EpochPart, Mode};
pub use coordinator::{Completed, Coordinator};
pub use cutter::EpochCutter;
pub(crate) use readmission::by_stage;
pub use readmission::{ByStage, Readmission};
pub use swap::{Incoming, Swap};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use arrow_array::RecordBatch;

use crate::deployment::{Deployment, Outcome, Version};
use crate::record::{DeadLetter, Origin, Positions};
use crate::sink::Targets;

/// The number of an epoch; the first is 1, and 0 is "none yet".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EpochId(pub u64);

impl EpochId {
    /// The epoch that a pipeline begins with: it has no records, and the positions to begin at.
    pub const FIRST: Self = Self(1);

    /// The epoch after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for EpochId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Rows of one stream in one epoch.
#[derive(Debug, Clone)]
pub struct OutputBatch {
    /// the values, in the stream's schema
    pub columns: RecordBatch,
    /// For each row the record that it came from; empty for an aggregate's rows, whose keys are
    /// distinct within an epoch. Where two rows of an epoch have one key, the greater origin wins.
    pub origins: Vec<Origin>,
}

/// The beginning of a deployment: the epoch that has it has no records.
#[derive(Debug, Clone)]
pub struct Deployed {
    /// what comes into force
    pub deployment: Deployment,
    /// what became of another one by it
    pub concludes: Option<(Version, Outcome)>,
    /// where its rows go
    pub targets: Arc<Targets>,
}

/// What one epoch changes, complete: sinks write it, nothing else.
#[derive(Debug, Clone, Default)]
pub struct EpochOutput {
    /// its number
    pub epoch: EpochId,
    /// the version of the logic that made it
    pub version: Version,
    /// what comes into force with it
    pub deployed: Option<Arc<Deployed>>,
    /// the next offset to read in each partition once this epoch is durable
    pub positions: Positions,
    /// the rows of each stream that some sink takes, by the stream's name
    pub streams: BTreeMap<Arc<str>, Vec<OutputBatch>>,
    /// records that some stage rejected, and duplicates: a replay leaves them out without asking again
    pub excluded: BTreeSet<Origin>,
    /// those of them that stages rejected: another version might take them
    pub rejected: ByStage,
    /// records of earlier epochs that this one takes up again; then it has no others
    pub readmitted: BTreeSet<Origin>,
    /// those of them that the source still has, by the stage that rejected them: their letters are
    /// settled, and who is rejected again gets a new one
    pub settled: ByStage,
    /// every record that some stage rejected, decoding included
    pub dead_letters: Vec<DeadLetter>,
    /// bytes in the dead-letter file after this epoch's were appended; `None` when it is no file
    pub dead_letter_bytes: Option<u64>,
}

/// An epoch as the journal remembers it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JournalEntry {
    /// its number
    pub epoch: EpochId,
    /// the version of the logic that made it
    pub version: Version,
    /// the next offset to read in each partition after it
    pub positions: Positions,
    /// records that some stage rejected in it, and duplicates
    pub excluded: BTreeSet<Origin>,
    /// those of them that stages rejected
    pub rejected: ByStage,
    /// records of earlier epochs that it took up again; it has no others then
    pub readmitted: BTreeSet<Origin>,
}
