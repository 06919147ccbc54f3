//! Wires all stages: the one place to read.
//!
//! ```text
//! reader ─► worker 1 … n ─► coordinator ─► ledger task ─► sink tasks
//! (thread)    (threads)       (thread)       (tokio)   └─► checkpoint task
//! ```
//!
//! All queues are bounded: a slow sink slows the source and never grows memory. When a part ends,
//! for good or with an error, its queues close, and the parts before and behind it end by that.

mod backfill;
mod catch_up;
mod chain;
mod change;
mod checkpoint;
mod commit;
mod done;
mod endpoints;
mod laps;
mod line;
mod look;
mod monitor;
mod outlet;
mod parts;
mod path;
mod patience;
mod plan;
mod reader;
mod readmission;
mod recover;
mod reload;
mod sample;
#[cfg(test)]
mod simulation;
mod start;
mod stepper;
mod summary;
mod survey;
mod topology;
mod tuning;
mod turns;
mod versions;
mod waiter;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio_util::sync::CancellationToken;

pub use endpoints::{Connect, Endpoints, OpenCheckpoints, OpenSource};
pub use monitor::{Monitor, STUCK_AFTER};
pub use plan::{Answers, Plan, Stream};
pub use reload::Reloading;
pub use stepper::Stepper;
pub use summary::{ProcessUsage, StageSummary, Summary};

use crate::aggregate::AggregateError;
use crate::checkpoint::CheckpointError;
use crate::config::SourceKind;
use crate::deployment::{Deployment, Version};
use crate::epoch::EpochId;
use crate::guest::{CallError, ConfigureError};
use crate::record::{Origin, Partition};
use crate::reload::Refusal;
use crate::sink::SinkError;
use crate::source::SourceError;
use crate::transform::TransformError;
use backfill::Backfill;
use reload::{Reloader, Standing};
use topology::{Settings, Stages, Topology};
use waiter::Waiter;

/// Batches that wait for a worker at most.
const WORKER_QUEUE: usize = 4;
/// Epochs that wait for a sink behind the ledger at most.
const OUTLET_QUEUE: usize = 1;
/// An epoch ends early once its records hold so many bytes: an epoch is in memory as a whole.
const EPOCH_BYTES_MAX: usize = 32 << 20;
/// The first epoch of a run ends so long after its first record, or after `commit.max_wait`: after a restart
/// new rows should be there at once.
const FIRST_EPOCH_WAIT: Duration = Duration::from_millis(100);

/// How to run a pipeline.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// stop at the ends of the partitions as they are at the start
    pub once: bool,
    /// cancelled by whoever wants the run to stop
    pub stop: CancellationToken,
    /// told of everything; one for each run
    pub monitor: Arc<Monitor>,
    /// how it may be changed while it runs; `None`: not at all
    pub reloading: Option<Reloading>,
}

/// What ended a run before its time. Nothing is lost: what was not committed is read again.
#[derive(Debug, Error)]
pub enum PipelineError {
    /// The source cannot be read.
    #[error(transparent)]
    Source(SourceError),
    /// A sink refused.
    #[error("sink `{sink}` failed")]
    Sink {
        /// the sink's name
        sink: String,
        /// what it said
        source: SinkError,
    },
    /// A guest cannot be set up for a worker.
    #[error(transparent)]
    Configure(#[from] ConfigureError),
    /// A transform's guest cannot be called any more.
    #[error(transparent)]
    Transform(TransformError),
    /// An aggregate's guest cannot be called any more.
    #[error("aggregate `{aggregate}` cannot go on")]
    Fold {
        /// the aggregate's name
        aggregate: Arc<str>,
        /// what happened
        source: CallError,
    },
    /// The store of checkpoints cannot be used.
    #[error("checkpoints cannot be used")]
    Checkpoint(#[source] CheckpointError),
    /// What a sink lacks cannot be made again.
    #[error("sink `{sink}` lags, and what it lacks cannot be made again")]
    CatchUp {
        /// the sink's name
        sink: String,
        /// why not
        source: Box<Self>,
    },
    /// States cannot be merged or shown.
    #[error(transparent)]
    Aggregate(#[from] AggregateError),
    /// A replay came out otherwise than the journal says.
    #[error(
        "epoch {epoch} was committed with the record at offset {} of partition {}, but now `{stage}` rejects it ({reason}): its component or configuration has changed; start once with the former ones, so that every sink confirms what they made",
        origin.offset, origin.partition
    )]
    Diverged {
        /// the epoch that was being repeated
        epoch: EpochId,
        /// the stage that rejects
        stage: String,
        /// the record
        origin: Origin,
        /// why it rejects
        reason: String,
    },
    /// A partition that was read before does not exist any more.
    #[error(
        "partition {0} was read before and is not there any more: is it another topic of the same name?"
    )]
    PartitionGone(Partition),
    /// Records that have to be read again are gone.
    #[error(
        "the states cannot be made again as they were at the last commit: {offsets} offsets of partition {partition} ({first} to {last}) were deleted from the source, and no checkpoint has what their records came to; {way_out}"
    )]
    StatesLost {
        /// which partition
        partition: Partition,
        /// how many offsets
        offsets: u64,
        /// the first of them
        first: i64,
        /// the last of them
        last: i64,
        /// what can be done
        way_out: &'static str,
    },
    /// The journal lacks the epoch that a sink goes on from.
    #[error("the journal has no epoch {0} any more, and a sink has to go on from there")]
    JournalGap(EpochId),
    /// No deployment has this number.
    #[error("there is no version {0} of the pipeline's logic")]
    NoSuchVersion(Version),
    /// A version that epochs were made by cannot be made again.
    #[error(
        "version {version} of the pipeline's logic, which made epochs that have to be repeated, cannot be made again: {reason}; start once with the pipeline's file and components as they were then"
    )]
    VersionLost {
        /// the version
        version: Version,
        /// why
        reason: String,
    },
    /// Another version cannot come into force that has to.
    #[error("the pipeline cannot go on with another version of its logic: {0}")]
    Reload(Refusal),
    /// A part of the host failed in a way that nobody foresaw.
    #[error("{part} failed unexpectedly, please report this: {message}")]
    Panicked {
        /// which part
        part: String,
        /// the panic's message
        message: String,
    },
    /// A run to the end of what has none.
    #[error(
        "a run with `--once` ends where the source ends, and this generator goes on for ever: give it `records` in `[source]`, or an embedded run `--records N`"
    )]
    Endless,
    /// Told to stop before it had begun.
    #[error("stopped while waiting for {0}")]
    StoppedWhileStarting(String),
    /// Told to stop, and the sinks did not take the last epochs in time.
    #[error(
        "stopped after {0:?} (`timeout` of `[shutdown]`), before every sink had the last epochs: what one lacks it gets at the next start"
    )]
    StopDeadline(Duration),
}

/// Runs a pipeline until it is told to stop, or with `once` until it has read everything.
///
/// # Errors
///
/// [`PipelineError`]; then nothing is lost, and a later run goes on from the last committed epoch.
pub async fn run(
    plan: &Arc<Plan>,
    connect: &Arc<Connect>,
    options: &RunOptions,
) -> Result<Summary, PipelineError> {
    let source = &plan.pipeline().source.kind;
    let endless = matches!(source, SourceKind::Generator(g) if g.records.is_none());
    if options.once && endless {
        return Err(PipelineError::Endless);
    }
    let standing = Standing::of(Arc::clone(plan));
    let mut refused = Refusals::default();
    loop {
        let ended = run_once(&standing, connect, options, &refused).await;
        let (sink, records) = match ended {
            Err(PipelineError::Sink {
                sink,
                source: SinkError::Refused(records),
            }) => (sink, records),
            Err(error) if !options.stop.is_cancelled() && standing.learns_from(&error) => {
                let reason = reload::full(&error);
                tracing::error!(reason, "beginning again with the version before");
                continue;
            }
            ended => return ended,
        };
        let known = refused.len();
        let new = records.iter().map(|r| (r.origin, r.reason.clone()));
        Arc::make_mut(&mut refused).extend(new);
        let error = SinkError::Refused(records);
        // What is refused although it was left out is something else: its dead letter, perhaps.
        if refused.len() == known || options.stop.is_cancelled() {
            return Err(PipelineError::Sink {
                sink,
                source: error,
            });
        }
        // What follows them was made with them: from the last checkpoint on, all is made again.
        tracing::warn!(sink, %error, "making the epoch again without them");
    }
}

/// Records that the ledger has refused, with the reason: they are left out when their epoch is made
/// again.
type Refusals = Arc<BTreeMap<Origin, String>>;

/// Runs it until it ends for some reason.
async fn run_once(
    standing: &Standing,
    connect: &Arc<Connect>,
    options: &RunOptions,
    refused: &Refusals,
) -> Result<Summary, PipelineError> {
    let (monitor, plan) = (&options.monitor, standing.wanted());
    let pipeline = plan.pipeline();
    let settings = Settings::of(pipeline);
    let endpoints = connect(monitor.waits())?;
    let waiter = Waiter {
        stop: &options.stop,
        waits: monitor.waits(),
    };
    let stages: Arc<dyn Stages> = Arc::clone(&plan) as Arc<dyn Stages>;
    let wants = |known: &[Deployment]| standing.wants_another(known);
    let ready = start::make_ready(&settings, (&stages, &wants), endpoints, waiter).await?;
    let others = ready.sinks.iter().map(|sink| sink.name());
    let others = others.map(|name| ready.claim.confirmed.get(name).copied());
    let others = others.map(Option::unwrap_or_default);
    let epoch = ready.beginning.epoch;
    monitor.begin(&ready.beginning, std::iter::once(epoch).chain(others));
    if let Some(restored) = &ready.recovered.checkpoint {
        monitor.checkpoint_restored(restored.epoch);
    }
    monitor.tell_start(&pipeline.name, epoch, ready.took);
    let (surveying, newcomers) = survey::begin(ready.source.survey(), Arc::clone(monitor));
    let reading = options.stop.child_token();
    let (store, generation) = (ready.checkpoints.clone(), ready.claim.generation);
    let topology = Topology::assemble(
        &settings,
        &stages,
        (ready, newcomers),
        (options, &reading),
        refused,
    )?;
    let reloader = Reloader {
        reloading: options.reloading.clone().unwrap_or_else(Reloading::closed),
        standing: standing.clone(),
        coming: topology.coming.clone(),
        looks: topology.line.merger.looks.clone(),
        backfill: Backfill {
            settings: settings.clone(),
            versions: Arc::clone(&topology.coming.versions),
            open_source: Arc::clone(&topology.catch_up.open_source),
            monitor: Arc::clone(monitor),
        },
        store,
        generation,
        once: options.once,
        connect: Arc::clone(connect),
        stop: reading.clone(),
        monitor: Arc::clone(monitor),
    };
    let tuning = reloader.coming.tuning.subscribe();
    topology
        .start(reloader)
        .finish(&options.stop, &reading, &tuning, monitor)
        .await?;
    surveying.finish().await;
    Ok(monitor.summary())
}
