//! The ends of epochs, from the reader through the workers to the coordinator.
//!
//! Barriers travel in the same queues as the records, behind the last record of their epoch: a
//! worker that meets one has seen all of its share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{ByStage, EpochId, OutputBatch, Readmission, Swap};
use crate::aggregate::Partial;
use crate::deduplicate::Seen;
use crate::deployment::Version;
use crate::record::{DeadLetter, Origin, Positions};

/// The end of an epoch, or of a piece of one.
#[derive(Debug, Clone)]
pub struct Barrier {
    /// how many came before it in this run: parts of one barrier belong together
    pub number: u64,
    /// which epoch ends
    pub epoch: EpochId,
    /// the version of the logic that made it
    pub version: Version,
    /// what comes into force with it; then it has no records
    pub swap: Option<Arc<Swap>>,
    /// which records of earlier epochs it takes up again, where it is live; then it has no others
    pub readmission: Option<Arc<Readmission>>,
    /// the next offset to read in each partition
    pub positions: Arc<Positions>,
    /// whether it happens for the first time
    pub mode: Mode,
    /// whether a checkpoint is due at it
    pub checkpoint: bool,
}

/// Whether an epoch happens for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is being decided now.
    Live,
    /// The journal has it and decides; the ledger and the dead letters have it already.
    Replay {
        /// whether some sink has not confirmed it
        shown: bool,
    },
    /// Records of epochs that the journal has forgotten, for states that no checkpoint has: they are
    /// decided again, and nobody is told.
    Rebuild,
}

/// One worker's share of an epoch.
#[derive(Debug)]
pub struct EpochPart {
    /// which epoch
    pub barrier: Barrier,
    /// rows of each stream that some sink takes
    pub streams: BTreeMap<Arc<str>, Vec<OutputBatch>>,
    /// for each aggregate, in the order of the pipeline, what the rows add
    pub partials: Vec<Vec<Partial>>,
    /// records that some stage rejected, and duplicates
    pub excluded: BTreeSet<Origin>,
    /// those of them that stages rejected
    pub rejected: ByStage,
    /// records that some stage rejected
    pub dead_letters: Vec<DeadLetter>,
    /// fingerprints of the keys that each partition remembered, in order of offset
    pub seen: Seen,
}
