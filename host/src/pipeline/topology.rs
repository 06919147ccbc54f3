//! Which parts there are and which queues lie between them.
//!
//! A [`Topology`] is a run that has not begun: whoever has it may start its parts as threads and
//! tasks, or take step by step what each of them does, in any order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::checkpoint::{CheckpointClock, CheckpointTask};
use super::commit::{Checkpoints, Confirmed, LedgerTask, Outlet, SinkTask};
use super::monitor::{Monitor, Stage};
use super::parts::Parts;
use super::patience::{Patience, SOURCE};
use super::reader::{Lane, Reader, worker_of};
use super::start::{Beginning, Ready};
use super::survey::Newcomers;
use super::worker::{Chain, Worker};
use super::{
    EPOCH_BYTES_MAX, OUTLET_QUEUE, PipelineError, Plan, Refusals, RunOptions, WORKER_QUEUE,
};
use crate::aggregate::StateTable;
use crate::config::{OnLost, Pipeline, SourceKind, Start};
use crate::deduplicate::Seen;
use crate::epoch::{Completed, Coordinator, EpochCutter, EpochId, EpochPart, ToWorker};
use crate::guest::ConfigureError;
use crate::record::RawBatch;
use crate::sink::{Claim, Sink};
use crate::source::Source;

/// How long the reader may take to notice that it should stop.
const POLL_WAIT: Duration = Duration::from_millis(100);

/// What a run needs of the pipeline's settings.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) workers: usize,
    /// epochs that wait for the ledger or are being written
    pub(super) in_flight: usize,
    pub(super) max_rows: usize,
    pub(super) max_wait: Duration,
    pub(super) checkpoint_interval: Duration,
    pub(super) checkpoints_kept: usize,
    /// whether the first run begins at the ends of the partitions
    pub(super) start_at_end: bool,
    /// what to do about offsets that were deleted before they were read
    pub(super) on_lost: OnLost,
    pub(super) poll_wait: Duration,
    /// keys of each partition that deduplication remembers
    pub(super) remembered: usize,
}

impl Settings {
    pub(super) fn of(pipeline: &Pipeline) -> Self {
        let kind = &pipeline.source.kind;
        let deduplicate = pipeline.source.deduplicate.as_ref();
        Self {
            workers: pipeline.workers,
            in_flight: pipeline.commit.in_flight,
            max_rows: pipeline.commit.max_rows,
            max_wait: pipeline.commit.max_wait,
            checkpoint_interval: pipeline.checkpoint.interval,
            checkpoints_kept: pipeline.checkpoint.keep,
            start_at_end: matches!(kind, SourceKind::Kafka(k) if k.start == Start::Latest),
            on_lost: match kind {
                SourceKind::Kafka(kafka) => kafka.on_lost,
                SourceKind::File { .. } | SourceKind::Generator(_) => OnLost::Stop,
            },
            poll_wait: POLL_WAIT,
            remembered: deduplicate.map_or(0, |deduplicate| deduplicate.last as usize),
        }
    }

    /// Complete epochs that wait for the ledger at most.
    pub(super) fn epochs_waiting(&self) -> usize {
        self.in_flight.saturating_sub(1).max(1)
    }
}

/// What a run needs of the plan: the logic.
pub(super) trait Stages: Sync {
    /// What the states depend on.
    fn definition(&self) -> serde_json::Value;

    /// The name of the sink that keeps the journal.
    fn ledger(&self) -> &str;

    /// The stages of one worker.
    fn chain(&self) -> Result<Chain, ConfigureError>;

    /// The tables of states, and whether a sink takes their rows.
    fn states(&self) -> Result<Vec<(StateTable, bool)>, ConfigureError>;
}

impl Stages for Plan {
    fn definition(&self) -> serde_json::Value {
        self.definition()
    }

    fn ledger(&self) -> &str {
        self.ledger()
    }

    fn chain(&self) -> Result<Chain, ConfigureError> {
        self.chain()
    }

    fn states(&self) -> Result<Vec<(StateTable, bool)>, ConfigureError> {
        self.states()
    }
}

/// All parts of a run, and the ends of the queues between them.
pub(super) struct Topology {
    pub(super) reader: Reader,
    pub(super) workers: Vec<(Worker, Receiver<ToWorker>)>,
    /// from the workers to the merger
    pub(super) parts: (SyncSender<EpochPart>, Receiver<EpochPart>),
    pub(super) merger: Merger,
    /// from the merger to the ledger's task
    pub(super) epochs: mpsc::Sender<Completed>,
    pub(super) ledger: LedgerTask,
    pub(super) sinks: Vec<SinkTask>,
    pub(super) checkpoints: CheckpointTask,
}

impl Topology {
    pub(super) fn assemble(
        settings: &Settings,
        stages: &dyn Stages,
        ready: Ready,
        (options, reading): (&RunOptions, &CancellationToken),
        refused: &Refusals,
    ) -> Result<Self, PipelineError> {
        let monitor = &options.monitor;
        let (outlets, sinks, confirmations) = outlets(ready.sinks, &ready.claim, monitor);
        let busy = Arc::new(AtomicBool::new(false));
        // Room for the last one, at a stop, behind the one that is being written.
        let (snapshot_out, snapshot_in) = mpsc::channel(2);
        let (confirmed_out, confirmed_in) = watch::channel(EpochId::default());
        let (published_out, published_in) = mpsc::channel(1);
        let checkpoints = CheckpointTask {
            store: ready.checkpoints,
            keep: settings.checkpoints_kept,
            generation: ready.claim.generation,
            definition: stages.definition(),
            files: ready.recovered.files,
            seen_files: ready.recovered.seen_files,
            remembered: settings.remembered,
            unsaved: BTreeMap::new(),
            inbox: snapshot_in,
            confirmed: confirmed_in,
            published: published_out,
            busy: Arc::clone(&busy),
            monitor: Arc::clone(monitor),
        };
        let mut progress = ready.claim.confirmed;
        progress.insert(ready.ledger.name().to_owned(), ready.beginning.epoch);
        let (epochs, epoch_in) = mpsc::channel(settings.epochs_waiting());
        let ledger = LedgerTask {
            ledger: ready.ledger,
            dead_letters: ready.dead_letters,
            inbox: epoch_in,
            outlets,
            confirmations,
            checkpoints: Checkpoints {
                outbox: Some(snapshot_out),
                confirmed: confirmed_out,
                published: published_in,
            },
            progress,
            monitor: Arc::clone(monitor),
        };
        let merger = Merger {
            coordinator: Coordinator::new(settings.workers, ready.recovered.tables),
            monitor: Arc::clone(monitor),
        };
        let seen = ready.recovered.seen;
        let (workers, lanes) = workers(settings, stages, (&seen, refused), monitor)?;
        let clock = CheckpointClock::new(
            settings.checkpoint_interval,
            busy,
            ready.beginning.rebuild.is_some() || !ready.beginning.replay.is_empty(),
        );
        let until = options.once.then(|| ready.beginning.ends.clone());
        let source = (ready.source, ready.beginning);
        let mut reader = reader(settings, source, lanes, clock, (monitor, reading));
        reader.until = until;
        Ok(Self {
            reader,
            workers,
            parts: sync_channel(settings.workers),
            merger,
            epochs,
            ledger,
            sinks,
            checkpoints,
        })
    }

    /// Starts every part, from the sinks to the source.
    pub(super) fn start(self) -> Parts {
        let mut parts = Parts::new();
        for sink in self.sinks {
            parts.task(sink.run());
        }
        parts.task(self.checkpoints.run());
        parts.task(self.ledger.run());
        let (part_out, part_in) = self.parts;
        let (merger, epochs) = (self.merger, self.epochs);
        parts.thread("coordinator", move || merger.run(&part_in, &epochs));
        for (index, (worker, inbox)) in self.workers.into_iter().enumerate() {
            let part_out = part_out.clone();
            parts.thread(&format!("worker {index}"), move || {
                worker.run(&inbox, &part_out)
            });
        }
        let reader = self.reader;
        parts.thread("reader", move || reader.run());
        parts
    }
}

/// The ways to the sinks behind the ledger, their tasks, and what these tell.
fn outlets(
    others: Vec<Box<dyn Sink>>,
    claim: &Claim,
    monitor: &Arc<Monitor>,
) -> (Vec<Outlet>, Vec<SinkTask>, mpsc::Receiver<Confirmed>) {
    // Room for all that can be under way: so a sink never waits for the ledger's task to listen
    // while that task waits for the sink's queue.
    let (told, confirmations) = mpsc::channel(others.len() * (OUTLET_QUEUE + 2) + 1);
    let (mut outlets, mut sinks) = (Vec::new(), Vec::new());
    for (index, sink) in others.into_iter().enumerate() {
        let (outbox, inbox) = mpsc::channel(OUTLET_QUEUE);
        let confirmed = claim.confirmed.get(sink.name()).copied();
        outlets.push(Outlet {
            outbox,
            queue: Arc::clone(monitor.outlet_queue(index)),
            confirmed: confirmed.unwrap_or_default(),
        });
        sinks.push(SinkTask {
            sink,
            index: index + 1,
            inbox,
            confirmations: told.clone(),
            monitor: Arc::clone(monitor),
        });
    }
    (outlets, sinks, confirmations)
}

/// A worker and its queue.
type QueuedWorker = (Worker, Receiver<ToWorker>);

/// The workers, and the ways to them.
fn workers(
    settings: &Settings,
    stages: &dyn Stages,
    (seen, refused): (&Seen, &Refusals),
    monitor: &Arc<Monitor>,
) -> Result<(Vec<QueuedWorker>, Vec<Lane>), PipelineError> {
    let (mut workers, mut lanes) = (Vec::new(), Vec::new());
    for index in 0..settings.workers {
        let (outbox, inbox) = sync_channel(WORKER_QUEUE);
        lanes.push(Lane {
            batch: RawBatch::default(),
            outbox,
            queue: Arc::clone(monitor.worker_queue(index)),
        });
        let seen = of_worker(seen, index, settings.workers);
        let mut worker = Worker::new(stages.chain()?, &seen, index, Arc::clone(monitor));
        worker.leave_out(Arc::clone(refused), stages.ledger());
        workers.push((worker, inbox));
    }
    Ok((workers, lanes))
}

/// A reader that begins where the run does, and has no end.
fn reader(
    settings: &Settings,
    (source, beginning): (Box<dyn Source>, Beginning),
    lanes: Vec<Lane>,
    checkpoints: CheckpointClock,
    (monitor, reading): (&Arc<Monitor>, &CancellationToken),
) -> Reader {
    Reader {
        source,
        lanes,
        cutter: EpochCutter::new(settings.max_rows, EPOCH_BYTES_MAX, settings.max_wait),
        checkpoints,
        epoch: beginning.epoch,
        rebuild: beginning.rebuild,
        replay: beginning.replay,
        excluded: None,
        confirmed: beginning.confirmed,
        cut_at: beginning.live,
        newcomers: Newcomers::none(),
        on_lost: settings.on_lost,
        from_nothing: beginning.from_nothing,
        failed: None,
        turned: false,
        until: None,
        stop: reading.clone(),
        monitor: Arc::clone(monitor),
        pulse: Arc::clone(monitor.reader_pulse()),
        patience: Patience::new(monitor.waits(), SOURCE),
        barriers: 0,
        poll_wait: settings.poll_wait,
    }
}

/// What the partitions of one worker remember.
fn of_worker(seen: &Seen, index: usize, workers: usize) -> Seen {
    let mine = seen.iter().filter(|(p, _)| worker_of(*p, workers) == index);
    mine.cloned().collect()
}

/// The part that merges the workers' shares into the states.
pub(super) struct Merger {
    coordinator: Coordinator,
    monitor: Arc<Monitor>,
}

impl Merger {
    /// Completes epochs until the workers hang up, or nobody commits any more.
    fn run(
        mut self,
        inbox: &Receiver<EpochPart>,
        outbox: &mpsc::Sender<Completed>,
    ) -> Result<(), PipelineError> {
        self.tell_states();
        while let Ok(part) = inbox.recv() {
            if let Some(completed) = self.take(part)?
                && outbox.blocking_send(completed).is_err()
            {
                break;
            }
        }
        Ok(())
    }

    /// Takes the share of one worker; the epoch, once all shares are there.
    pub(super) fn take(&mut self, part: EpochPart) -> Result<Option<Completed>, PipelineError> {
        let Self {
            coordinator,
            monitor,
        } = self;
        let gathered = Instant::now();
        monitor.coordinator_queue().left();
        let pulse = monitor.coordinator_pulse();
        let completed =
            pulse.busy(|| monitor.time(Stage::Merge, 0, || coordinator.accept(part)))?;
        let Some(mut completed) = completed else {
            return Ok(None);
        };
        if completed.checkpoint {
            let began = Instant::now();
            completed.snapshot = Some(coordinator.snapshot(&completed.output));
            monitor.snapshot_taken(began.elapsed());
        }
        monitor.epoch_merged(completed.output.epoch, gathered);
        self.tell_states();
        self.monitor.ledger_queue().entered();
        Ok(Some(completed))
    }

    fn tell_states(&self) {
        for (aggregate, (groups, bytes)) in self.coordinator.states().enumerate() {
            self.monitor.set_states(aggregate, groups, bytes);
        }
    }
}
