//! What a running pipeline tells of itself: plain data, made afresh at every question.
//!
//! Read by the admin server (`/readyz`, `/api/status`), by `wasmill status`, and by the live view in
//! the terminal. Counters begin with the run.
//!
//! # Not here
//!
//! Counting: [`crate::pipeline`]. Series over time: `/metrics`, in [`crate::telemetry`].

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::SecondsFormat;
use serde::{Deserialize, Serialize};

use crate::deployment::{Deployment, Outcome, Trigger, Version};

/// A pipeline at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// `pipeline.name`
    pub pipeline: String,
    /// the version of this binary
    pub version: String,
    /// how far it is
    pub phase: Phase,
    /// since the run began
    pub uptime: Duration,
    /// who is not answering right now, the one that has been waited for longest first
    pub waiting_for: Vec<Waiting>,
    /// the last committed epoch
    pub epoch: u64,
    /// epochs that this run committed
    pub epochs: u64,
    /// records read, replayed ones included
    pub records: u64,
    /// their bytes
    pub bytes: u64,
    /// records that went to the dead letters
    pub dead_letters: u64,
    /// records left out because their key came before; `None` where nobody looks
    #[serde(default)]
    pub duplicates: Option<u64>,
    /// records that a version has rejected which was rolled back, and that are still to be processed again
    #[serde(default)]
    pub readmission_backlog: u64,
    /// committed records a second, over the last ten seconds or so
    #[serde(default)]
    pub records_per_second: f64,
    /// each partition of the source, in order
    pub partitions: Vec<PartitionStatus>,
    /// each stage in the order of the data flow: read, decode, transforms, folds, merge, writes
    pub stages: Vec<StageStatus>,
    /// the ledger, then the other sinks
    pub sinks: Vec<SinkStatus>,
    /// each component of the pipeline
    pub components: Vec<ComponentStatus>,
    /// the last epochs that were committed, newest last; at most [`RECENT_MAX`]
    pub recent_epochs: Vec<EpochStatus>,
    /// the last dead letters, newest last; at most [`RECENT_MAX`]
    pub recent_dead_letters: Vec<DeadLetterStatus>,
    /// the newest checkpoint; `None` before the first one
    #[serde(default)]
    pub checkpoint: Option<CheckpointStatus>,
    /// the newest versions of its logic, newest last; at most [`DEPLOYMENTS_MAX`]
    #[serde(default)]
    pub deployments: Vec<DeploymentStatus>,
    /// the version that was refused last, unless another one came into force since
    #[serde(default)]
    pub refused: Option<RefusalStatus>,
}

/// Deployments of a [`Status`].
pub const DEPLOYMENTS_MAX: usize = 5;

/// A version that was asked for and did not come into force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalStatus {
    /// when, in RFC 3339
    pub at: String,
    /// what had asked for it
    pub trigger: Trigger,
    /// why the running version stays
    pub reason: String,
}

/// The newest checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointStatus {
    /// a restart reads the epochs after it again
    pub epoch: u64,
    /// since it was published; `None` when that was before this run
    pub age: Option<Duration>,
}

/// Entries of each list of recent things.
pub const RECENT_MAX: usize = 32;

impl Status {
    /// Whether records flow and nobody is waited for.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let held_up = self.waiting_for.iter().any(|waiting| waiting.holds_up);
        self.phase == Phase::Running && !held_up
    }
}

/// How far a run is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// connecting, claiming, restoring
    #[default]
    Starting,
    /// records flow
    Running,
    /// told to stop; the last epochs are being written
    Stopping,
}

/// Something that does not answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// the part that waits: `source`, a sink's name, `dead_letters`
    pub part: String,
    /// what it waits for and why, for a person
    pub reason: String,
    /// for how long
    pub since: Duration,
    /// whether the stream waits, too; else it goes on without that part
    pub holds_up: bool,
}

/// A partition of the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionStatus {
    /// its number
    pub partition: i32,
    /// the next offset to read
    pub position: i64,
    /// the next offset after the last committed epoch
    pub committed: i64,
    /// one past its newest offset when last asked; `None` before that
    pub end: Option<i64>,
}

/// A stage, all workers together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageStatus {
    /// `decode`, `transform sales`, `fold sales_per_day`, `write postgres` …
    pub name: String,
    /// rows that it took in
    pub rows: u64,
    /// time spent in it
    pub time: Duration,
}

/// A sink.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SinkStatus {
    /// its name in the pipeline
    pub name: String,
    /// the last epoch that it confirmed
    pub epoch: u64,
    /// whether the stream goes on without it: it gets the epochs that it lacks later
    pub lags: bool,
    /// how long its last write took
    pub last_write: Option<Duration>,
}

/// A component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentStatus {
    /// its name in the pipeline
    pub name: String,
    /// the version that it says
    pub version: String,
    /// SHA-256 of the file, in hexadecimal
    pub digest: String,
    /// the stages that run it
    pub stages: Vec<String>,
}

/// A version of the pipeline's logic that is or was in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentStatus {
    /// its number
    pub version: Version,
    /// what asked for it
    pub trigger: Trigger,
    /// when it came into force, in RFC 3339
    pub deployed_at: String,
    /// the epoch that it begins with
    pub epoch: u64,
    /// the first offset of each partition that it is about
    pub positions: BTreeMap<i32, i64>,
    /// SHA-256 of each component's file, in hexadecimal
    pub components: BTreeMap<String, String>,
    /// what became of it
    #[serde(flatten)]
    pub outcome: Outcome,
}

impl From<&Deployment> for DeploymentStatus {
    fn from(deployment: &Deployment) -> Self {
        let positions = deployment.positions.iter();
        Self {
            version: deployment.version,
            trigger: deployment.trigger,
            deployed_at: deployment
                .deployed_at
                .to_rfc3339_opts(SecondsFormat::Millis, true),
            epoch: deployment.epoch.0,
            positions: positions.map(|(p, next)| (p.0 as i32, next)).collect(),
            components: deployment.blueprint.components.clone(),
            outcome: deployment.outcome.clone(),
        }
    }
}

/// An epoch that was committed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochStatus {
    /// its number
    pub epoch: u64,
    /// records in it
    pub records: u64,
    /// of these, the ones left out
    pub dead_letters: u64,
    /// from its first record to its commit in the ledger
    pub duration: Duration,
    /// the ledger's part of that
    pub commit: Duration,
    /// since its commit
    #[serde(default)]
    pub age: Duration,
}

/// A record that could not be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterStatus {
    /// where it was read
    pub partition: i32,
    /// where it was read
    pub offset: i64,
    /// the stage that refused it
    pub stage: String,
    /// why
    pub reason: String,
}
