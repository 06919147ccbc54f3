//! Wires all stages: the one place to read.
//!
//! ```text
//! reader ─► worker 1 … n ─► coordinator ─► ledger task ─► sink tasks
//! (thread)    (threads)       (thread)       (tokio)        (tokio)
//! ```
//!
//! All queues are bounded: a slow sink slows the source and never grows memory. When a part ends,
//! for good or with an error, its queues close, and the parts before and behind it end by that.

mod commit;
mod endpoints;
mod monitor;
mod parts;
mod patience;
mod plan;
mod reader;
mod start;
mod summary;
mod survey;
mod worker;

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use endpoints::Endpoints;
pub use monitor::{Monitor, STUCK_AFTER};
pub use plan::{Plan, Stream};
pub use summary::{ProcessUsage, StageSummary, Summary};

use crate::aggregate::AggregateError;
use crate::config::{Pipeline, SourceKind};
use crate::epoch::{Coordinator, EpochCutter, EpochId};
use crate::guest::{CallError, ConfigureError};
use crate::record::{Origin, Partition};
use crate::sink::SinkError;
use crate::source::SourceError;
use crate::transform::TransformError;
use commit::{LedgerTask, Outlet, SinkTask};
use monitor::Stage;
use parts::Parts;
use patience::{Patience, SOURCE};
use reader::Reader;
use start::{Ready, Waiter};
use worker::Worker;

/// Batches that wait for a worker at most.
const WORKER_QUEUE: usize = 4;
/// Epochs that wait for a sink behind the ledger at most.
const OUTLET_QUEUE: usize = 1;
/// An epoch ends early once its records hold so many bytes: an epoch is in memory as a whole.
const EPOCH_BYTES_MAX: usize = 32 << 20;
/// How long a run may take to finish the epoch and commit it, once it was told to stop.
const STOP_DEADLINE: Duration = Duration::from_secs(9);

/// How to run a pipeline.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// stop at the ends of the partitions as they are at the start
    pub once: bool,
    /// cancelled by whoever wants the run to stop
    pub stop: CancellationToken,
    /// told of everything; one for each run
    pub monitor: Arc<Monitor>,
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
    /// The journal lacks the epoch that a sink goes on from.
    #[error("the journal has no epoch {0} any more, and a sink has to go on from there")]
    JournalGap(EpochId),
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
        "stopped after {STOP_DEADLINE:?}, before every sink had the last epochs: what one lacks it gets at the next start"
    )]
    StopDeadline,
}

/// Runs a pipeline until it is told to stop, or with `once` until it has read everything.
///
/// # Errors
///
/// [`PipelineError`]; then nothing is lost, and a later run goes on from the last committed epoch.
pub async fn run(
    pipeline: &Pipeline,
    plan: &Plan,
    endpoints: Endpoints,
    options: &RunOptions,
) -> Result<Summary, PipelineError> {
    let endless = matches!(&pipeline.source.kind, SourceKind::Generator(g) if g.records.is_none());
    if options.once && endless {
        return Err(PipelineError::Endless);
    }
    let monitor = &options.monitor;
    let waiter = Waiter {
        stop: &options.stop,
        waits: monitor.waits(),
    };
    let ready = start::make_ready(pipeline, plan, endpoints, waiter).await?;
    let others = ready.sinks.iter().map(|sink| sink.name());
    let others = others.map(|name| ready.claim.confirmed.get(name).copied());
    let others = others.map(Option::unwrap_or_default);
    let epoch = ready.beginning.epoch;
    monitor.begin(&ready.beginning, std::iter::once(epoch).chain(others));
    tracing::info!(pipeline = pipeline.name, epoch = epoch.0, "running");
    let _surveying = survey::begin(ready.source.survey(), Arc::clone(monitor));
    let reading = options.stop.child_token();
    let parts = wire(pipeline, plan, ready, options, &reading)?;
    parts
        .finish(&options.stop, &reading, STOP_DEADLINE, monitor)
        .await?;
    Ok(monitor.summary())
}

/// Complete epochs that wait for the ledger at most.
fn in_flight(pipeline: &Pipeline) -> usize {
    pipeline.commit.in_flight.saturating_sub(1).max(1)
}

/// Starts every part: the topology, from the sinks to the source.
fn wire(
    pipeline: &Pipeline,
    plan: &Plan,
    mut ready: Ready,
    options: &RunOptions,
    reading: &CancellationToken,
) -> Result<Parts, PipelineError> {
    let monitor = &options.monitor;
    let mut parts = Parts::new();
    let coordinator = coordinator(pipeline, plan, &mut ready.claim)?;

    // Room for all that can be under way: so a sink never waits for the ledger's task to listen
    // while that task waits for the sink's queue.
    let (confirm_out, confirm_in) = mpsc::channel(ready.sinks.len() * (OUTLET_QUEUE + 2) + 1);
    let mut outlets = Vec::with_capacity(ready.sinks.len());
    for (index, sink) in ready.sinks.into_iter().enumerate() {
        let (outbox, inbox) = mpsc::channel(OUTLET_QUEUE);
        let confirmed = ready.claim.confirmed.get(sink.name()).copied();
        outlets.push(Outlet {
            outbox,
            queue: Arc::clone(monitor.outlet_queue(index)),
            confirmed: confirmed.unwrap_or_default(),
        });
        let task = SinkTask {
            sink,
            index: index + 1,
            inbox,
            confirmations: confirm_out.clone(),
            monitor: Arc::clone(monitor),
        };
        parts.task(task.run());
    }
    let (epoch_out, epoch_in) = mpsc::channel(in_flight(pipeline));
    let ledger_task = LedgerTask {
        ledger: ready.ledger,
        dead_letters: ready.dead_letters,
        inbox: epoch_in,
        outlets,
        confirmations: confirm_in,
        monitor: Arc::clone(monitor),
    };
    parts.task(ledger_task.run());

    let (part_out, part_in) = sync_channel(pipeline.workers);
    let told = Arc::clone(monitor);
    parts.thread("coordinator", move || {
        coordinate(coordinator, &part_in, &epoch_out, &told)
    });
    let mut workers = Vec::with_capacity(pipeline.workers);
    for index in 0..pipeline.workers {
        let (outbox, inbox) = sync_channel(WORKER_QUEUE);
        workers.push((outbox, Arc::clone(monitor.worker_queue(index))));
        let worker = Worker::new(plan.chain()?, &Vec::new(), index, Arc::clone(monitor));
        let part_out = part_out.clone();
        parts.thread(&format!("worker {index}"), move || {
            worker.run(&inbox, &part_out)
        });
    }
    let reader = Reader {
        source: ready.source,
        workers,
        cutter: EpochCutter::new(
            pipeline.commit.max_rows,
            EPOCH_BYTES_MAX,
            pipeline.commit.max_wait,
        ),
        epoch: ready.beginning.epoch,
        replay: ready.beginning.replay,
        live: ready.beginning.live,
        until: options.once.then_some(ready.beginning.ends),
        stop: reading.clone(),
        monitor: Arc::clone(monitor),
        pulse: Arc::clone(monitor.reader_pulse()),
        patience: Patience::new(monitor.waits(), SOURCE),
    };
    parts.thread("reader", move || reader.run());
    Ok(parts)
}

/// The coordinator with the states as they were stored.
fn coordinator(
    pipeline: &Pipeline,
    plan: &Plan,
    claim: &mut crate::sink::Claim,
) -> Result<Coordinator, PipelineError> {
    let mut tables = plan.states()?;
    for (table, _) in &mut tables {
        let mine = claim
            .state
            .extract_if(.., |change| change.aggregate == *table.name());
        table.restore(mine.collect())?;
    }
    Ok(Coordinator::new(pipeline.workers, tables))
}

/// Completes epochs until the workers hang up, or nobody commits any more.
fn coordinate(
    mut coordinator: Coordinator,
    inbox: &std::sync::mpsc::Receiver<crate::epoch::EpochPart>,
    outbox: &mpsc::Sender<crate::epoch::Completed>,
    monitor: &Monitor,
) -> Result<(), PipelineError> {
    tell_states(&coordinator, monitor);
    while let Ok(part) = inbox.recv() {
        let gathered = Instant::now();
        monitor.coordinator_queue().left();
        let pulse = monitor.coordinator_pulse();
        let completed =
            pulse.busy(|| monitor.time(Stage::Merge, 0, || coordinator.accept(part)))?;
        let Some(completed) = completed else {
            continue;
        };
        monitor.epoch_merged(completed.output.epoch, gathered);
        tell_states(&coordinator, monitor);
        monitor.ledger_queue().entered();
        if outbox.blocking_send(completed).is_err() {
            break;
        }
    }
    Ok(())
}

fn tell_states(coordinator: &Coordinator, monitor: &Monitor) {
    for (aggregate, (groups, bytes)) in coordinator.states().enumerate() {
        monitor.set_states(aggregate, groups, bytes);
    }
}
