//! Where rows go, one epoch at a time.
//!
//! # Invariants
//!
//! 1. Writing an epoch again leaves the same rows as writing it once.
//! 2. Epochs arrive in order; a sink never sees N + 1 before it has confirmed N.
//! 3. The [`Ledger`] holds the journal and everybody's progress in the same transaction as its rows:
//!    it is the authority on what has happened.

pub mod projection;
pub mod screen;
pub mod table;

pub mod latest;
pub mod provenance;

mod definition;
mod deployments;
mod journal;
mod letters;
mod targets;
mod times;

pub mod elasticsearch;
pub mod memory;
pub mod postgres;
pub mod sqlite;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;

use crate::deployment::{Deployment, Outcome, Version};
use crate::epoch::{EpochId, EpochOutput, JournalEntry};
use crate::record::{DeadLetter, Origin, Positions};

pub(crate) use self::definition::differences;
pub use self::targets::Targets;

/// How long a check may take, of a sink or of the source.
pub const CHECK_TIME_MAX: Duration = Duration::from_secs(10);

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Try the same again, with backoff: the other side is away or busy.
    Retry,
    /// Make the epoch again without the records that the error names.
    LeaveOut,
    /// Stop the pipeline: trying again would fail the same way. Nothing is lost.
    Stop,
}

/// What went wrong at a sink.
#[derive(Debug, Error)]
pub enum SinkError {
    /// The other side does not answer or is too busy.
    #[error("failed to reach {what}: {reason}")]
    Unavailable {
        /// what is being waited for, for a person: "PostgreSQL at localhost:5432"
        what: String,
        /// what the client library or server said
        reason: String,
    },
    /// Another host has claimed the pipeline.
    #[error(
        "another host has taken over pipeline `{pipeline}` (its generation is {theirs}, ours {ours})"
    )]
    Fenced {
        /// the pipeline's name
        pipeline: String,
        /// the generation of this host
        ours: u64,
        /// the generation that is now in force
        theirs: u64,
    },
    /// Another host runs the pipeline, and this one is to wait until it stops.
    #[error(
        "another host runs pipeline `{pipeline}` ({owner}); with `takeover = false` this one waits until that one stops"
    )]
    Owned {
        /// the pipeline's name
        pipeline: String,
        /// which host that is, as far as it is known
        owner: String,
    },
    /// A ledger takes everything of an epoch but the rows of these records; it has written nothing.
    #[error(
        "refused rows of {} records, the first one at offset {} of partition {}: {}",
        .0.len(), .0[0].origin.offset, .0[0].origin.partition, .0[0].reason
    )]
    Refused(Vec<Refused>),
    /// Refused, and would be again.
    #[error("{0}")]
    Permanent(String),
}

/// A record of which a ledger does not take a row. An error has at least one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// the record
    pub origin: Origin,
    /// the table and what the database said
    pub reason: String,
}

impl SinkError {
    /// What the caller has to do.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Unavailable { .. } | Self::Owned { .. } => Remedy::Retry,
            Self::Refused(_) => Remedy::LeaveOut,
            Self::Fenced { .. } | Self::Permanent(_) => Remedy::Stop,
        }
    }
}

/// An epoch is durable in a sink.
#[derive(Debug, Default)]
#[must_use = "rows that the sink refused have to go to the dead letters"]
pub struct Durable {
    /// Rows that this sink alone refused for good, and left out.
    pub refused: Vec<DeadLetter>,
}

/// A place that rows are written to.
#[async_trait]
pub trait Sink: Send {
    /// The sink's name in the pipeline.
    fn name(&self) -> &str;

    /// Connects, creates what is missing (tables, templates) and compares what is there.
    ///
    /// # Errors
    ///
    /// [`SinkError::Permanent`] names every difference between what is there and what is needed.
    async fn prepare(&mut self) -> Result<(), SinkError>;

    /// Has the rows of the next epochs go to other tables or indices. [`prepare`](Self::prepare) has
    /// to be called before the next write.
    ///
    /// # Errors
    ///
    /// [`SinkError::Permanent`] when these cannot be told apart.
    fn aim(&mut self, targets: &Targets) -> Result<(), SinkError>;

    /// Connects and compares what is there with what is needed, and changes nothing: what
    /// [`prepare`](Self::prepare) would create may be missing. What it would add to a table or an index that
    /// is there is returned, a sentence each.
    ///
    /// # Errors
    ///
    /// Those of [`prepare`](Self::prepare). [`SinkError::Unavailable`] after [`CHECK_TIME_MAX`] at
    /// the latest.
    async fn check(&mut self) -> Result<Vec<String>, SinkError>;

    /// Writes one epoch and returns once it is durable.
    ///
    /// # Errors
    ///
    /// On `Err` part of the epoch may be stored. Writing the same epoch again must leave the same
    /// rows as writing it once, so the caller repeats it whole. [`SinkError::Refused`] comes from
    /// ledgers only, which have written nothing then.
    async fn write(&mut self, epoch: &EpochOutput) -> Result<Durable, SinkError>;
}

/// What a starting host finds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claim {
    /// which life of the pipeline this is: letters and digits, made at the first claim. Checkpoints
    /// of another one, before its tables were deleted, are none of this one.
    pub life: String,
    /// this host's generation; every commit checks it
    pub generation: u64,
    /// the last committed epoch, 0 when there is none
    pub epoch: EpochId,
    /// the next offset to read in each partition
    pub positions: Positions,
    /// the last epoch that each other sink has confirmed
    pub confirmed: BTreeMap<String, EpochId>,
    /// bytes of the dead-letter file that belong to committed epochs; `None` when there are none, or
    /// the last one had no such file
    pub dead_letter_bytes: Option<u64>,
}

/// The sink that also keeps the journal, the progress and the generation: the authority.
#[async_trait]
pub trait Ledger: Sink {
    /// Makes this host the owner of the pipeline and tells where it stands. Call after
    /// [`prepare`](Sink::prepare). `definition` is what the stored state depends on (see
    /// [`crate::pipeline`]): kept at the first claim, compared at later ones. `others` are the names
    /// of the other sinks of the pipeline.
    ///
    /// # Errors
    ///
    /// [`SinkError::Permanent`] names each difference between the stored definition and this one,
    /// and what to do about it.
    async fn claim(
        &mut self,
        definition: &serde_json::Value,
        others: &[String],
    ) -> Result<Claim, SinkError>;

    /// What [`claim`](Self::claim) would refuse, without claiming or changing anything; nobody who
    /// owns the pipeline notices. Needs no [`prepare`](Sink::prepare).
    ///
    /// # Errors
    ///
    /// Those of [`claim`](Self::claim). [`SinkError::Unavailable`] after [`CHECK_TIME_MAX`] at the
    /// latest.
    async fn check_claim(
        &mut self,
        definition: &serde_json::Value,
        others: &[String],
    ) -> Result<(), SinkError>;

    /// The committed epochs after `after`, in order, and so many of them at most.
    ///
    /// # Errors
    ///
    /// [`SinkError`].
    async fn journal(
        &mut self,
        after: EpochId,
        entries_max: usize,
    ) -> Result<Vec<JournalEntry>, SinkError>;

    /// All deployments of the pipeline, in order. Call after [`claim`](Self::claim).
    ///
    /// # Errors
    ///
    /// [`SinkError`].
    async fn deployments(&mut self) -> Result<Vec<Deployment>, SinkError>;

    /// Notes what became of a deployment.
    ///
    /// # Errors
    ///
    /// Those of [`confirm`](Self::confirm).
    async fn conclude(&mut self, version: Version, outcome: &Outcome) -> Result<(), SinkError>;

    /// Notes that another sink has made `epoch` durable but for the rows that it `refused`. A ledger
    /// that keeps the dead letters writes these in the same transaction, once however often this is
    /// called. Else they are in the dead letters already, and if that is a file, it has
    /// `dead_letter_bytes` now.
    ///
    /// # Errors
    ///
    /// [`SinkError`]; [`SinkError::Fenced`] when this host no longer owns the pipeline.
    async fn confirm(
        &mut self,
        sink: &str,
        epoch: EpochId,
        refused: &[DeadLetter],
        dead_letter_bytes: Option<u64>,
    ) -> Result<(), SinkError>;

    /// Notes that no checkpoint before that of epoch `oldest` is kept: the journal forgets what
    /// neither a replay from there nor another sink needs. The first epoch, and what comes after
    /// `oldest`, stay.
    ///
    /// # Errors
    ///
    /// Those of [`confirm`](Self::confirm).
    async fn checkpointed(&mut self, oldest: EpochId) -> Result<(), SinkError>;
}
