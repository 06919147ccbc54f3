//! Which parts there are and which queues lie between them.
//!
//! A [`Topology`] is a run that has not begun: whoever has it may start its parts as threads and
//! tasks, or take step by step what each of them does, in any order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::catch_up::{CatchUp, Order};
use super::chain::Chain;
use super::change::Changes;
use super::checkpoint::{CheckpointClock, CheckpointTask, Reached, Stored};
use super::commit::{Checkpoints, Conclude, Lagging, LedgerTask};
use super::line::{Line, Making};
use super::monitor::Monitor;
use super::outlet::{News, Outlet, SinkTask};
use super::parts::Parts;
use super::reader::{InForce, Live, Replay, Then};
use super::readmission::{Backlog, Readmissions, Readmitter};
use super::recover::Recovered;
use super::reload::Reloader;
use super::sample::Sample;
use super::start::{Beginning, Ready};
use super::survey::Newcomers;
use super::tuning::Tuning;
use super::turns::Turns;
use super::versions::Versions;
use super::{
    EPOCH_BYTES_MAX, FIRST_EPOCH_WAIT, OUTLET_QUEUE, OpenSource, PipelineError, Plan, Refusals,
    RunOptions,
};
use crate::aggregate::StateTable;
use crate::checkpoint::CheckpointStore;
use crate::config::{OnLost, Pipeline, SourceKind, Start};
use crate::deduplicate::Seen;
use crate::deployment::Blueprint;
use crate::epoch::{EpochCutter, EpochId};
use crate::guest::ConfigureError;
use crate::sink::{Claim, Sink, Targets};

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
    /// whether the first run begins at the ends of the partitions
    pub(super) start_at_end: bool,
    /// what to do about offsets that were deleted before they were read
    pub(super) on_lost: OnLost,
    pub(super) poll_wait: Duration,
    /// keys of each partition that deduplication remembers
    pub(super) remembered: usize,
    /// sinks without which the stream goes on when they do not answer
    pub(super) may_lag: BTreeSet<String>,
    /// what may change meanwhile
    pub(super) tuning: Tuning,
}

impl Settings {
    pub(super) fn of(pipeline: &Pipeline) -> Self {
        let kind = &pipeline.source.kind;
        let deduplicate = pipeline.source.deduplicate.as_ref();
        let may_lag = pipeline.sinks.iter().filter(|sink| sink.kind.may_lag());
        Self {
            workers: pipeline.workers,
            in_flight: pipeline.commit.in_flight,
            max_rows: pipeline.commit.max_rows,
            max_wait: pipeline.commit.max_wait,
            checkpoint_interval: pipeline.checkpoint.interval,
            start_at_end: matches!(kind, SourceKind::Kafka(k) if k.start == Start::Latest),
            on_lost: match kind {
                SourceKind::Kafka(kafka) => kafka.on_lost,
                SourceKind::File { .. } | SourceKind::Generator(_) => OnLost::Stop,
            },
            poll_wait: POLL_WAIT,
            remembered: deduplicate.map_or(0, |deduplicate| deduplicate.last as usize),
            may_lag: may_lag.map(|sink| sink.name.clone()).collect(),
            tuning: Tuning::of(pipeline),
        }
    }

    /// Complete epochs that wait for the ledger at most.
    pub(super) fn epochs_waiting(&self) -> usize {
        self.in_flight.saturating_sub(1).max(1)
    }
}

/// What a run needs of the plan: the logic.
pub(super) trait Stages: Send + Sync {
    /// What cannot change in the life of a pipeline.
    fn definition(&self) -> serde_json::Value;

    /// What it takes to make it again.
    fn blueprint(&self) -> Blueprint;

    /// The files of its components, by their digests.
    fn binaries(&self) -> Vec<(String, Arc<[u8]>)>;

    /// Another version of the same pipeline, made from its blueprint and the files of its components.
    ///
    /// # Errors
    ///
    /// Why it cannot be made, for a person.
    fn sibling(
        &self,
        blueprint: &Blueprint,
        binaries: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Arc<dyn Stages>, String>;

    /// The plan that it is.
    fn plan(self: Arc<Self>) -> Option<Arc<Plan>>;

    /// Where its rows go.
    fn targets(&self) -> Arc<Targets>;

    /// The name of the sink that keeps the journal.
    fn ledger(&self) -> &str;

    /// The stages of one worker.
    fn chain(&self) -> Result<Chain, ConfigureError>;

    /// The tables of states, and whether a sink takes their rows.
    fn states(&self) -> Result<Vec<(StateTable, bool)>, ConfigureError>;

    /// The aggregates that are to have what came before them.
    fn backfilled(&self) -> BTreeSet<String>;

    /// What of it one of the sinks behind the ledger needs, to get the epochs that it lacks: which
    /// records are left out is in the journal.
    fn of_sink(self: Arc<Self>, sink: &str) -> Arc<dyn Stages>;
}

/// All parts of a run, and the ends of the queues between them.
pub(super) struct Topology {
    /// from the source to the ledger
    pub(super) line: Line,
    pub(super) ledger: LedgerTask,
    pub(super) sinks: Vec<SinkTask>,
    pub(super) checkpoints: CheckpointTask,
    /// brings sinks that lag up to the stream
    pub(super) catch_up: CatchUp,
    /// what it is told to do
    pub(super) orders: mpsc::Receiver<Order>,
    /// reads again what is to be processed again
    pub(super) readmitter: Readmitter,
    /// what comes into force on the way
    pub(super) coming: Coming,
}

/// What other versions come into force by.
#[derive(Clone)]
pub(super) struct Coming {
    pub(super) versions: Arc<Versions>,
    /// where a version is put that is to come into force
    pub(super) changes: Changes,
    /// where records are put that are to be processed again
    pub(super) readmissions: Readmissions,
    /// what became of versions is written down through this
    pub(super) conclude: mpsc::Sender<Conclude>,
    /// some of the records
    pub(super) sample: Sample,
    /// told of settings that parts look up
    pub(super) tuning: watch::Sender<Tuning>,
    /// whether nothing is read before another version is in force
    pub(super) has_changed: bool,
}

impl Coming {
    /// Nothing yet; and the other end for what becomes of versions.
    fn new(
        versions: Arc<Versions>,
        tuning: Tuning,
        has_changed: bool,
    ) -> (Self, mpsc::Receiver<Conclude>) {
        let (conclude, conclusions) = mpsc::channel(1);
        let changes = Changes::default();
        changes.expect(
            versions
                .latest()
                .is_some_and(|d| !d.backfills.under_way.is_empty()),
        );
        let coming = Self {
            versions,
            changes,
            readmissions: Readmissions::default(),
            conclude,
            sample: Sample::default(),
            tuning: watch::Sender::new(tuning),
            has_changed,
        };
        (coming, conclusions)
    }
}

impl Topology {
    pub(super) fn assemble(
        settings: &Settings,
        stages: &Arc<dyn Stages>,
        (ready, newcomers): (Ready, Newcomers),
        (options, reading): (&RunOptions, &CancellationToken),
        refused: &Refusals,
    ) -> Result<Self, PipelineError> {
        let monitor = &options.monitor;
        let store = ready.checkpoints;
        let from = ready.recovered.checkpoint.as_ref();
        let from = from.map_or(EpochId(0), |restored| restored.epoch);
        let (coming, conclusions) = Coming::new(ready.versions, settings.tuning, ready.has_changed);
        let lenient = (&settings.may_lag, reading, &coming.tuning);
        let (outlets, sinks, news) = outlets(ready.sinks, (&ready.claim, from), lenient, monitor);
        let ((tables, seen), stored) = taken_apart(ready.recovered, settings.remembered);
        let ours = (store.clone(), ready.claim.generation);
        let (checkpoints, to_checkpoints) = checkpointing(ours, stored, &coming, monitor);
        let (epochs, epoch_in) = mpsc::channel(settings.epochs_waiting());
        // Each sink has one order and one question at most that are not answered.
        let (order, orders) = mpsc::channel(sinks.len().max(1));
        let (ask, asked) = mpsc::channel(sinks.len().max(1));
        let by = (settings, reading, monitor);
        let (readmitter, backlog) = readmitting(&coming, &ready.open_source, by);
        let ledger = LedgerTask {
            ledger: ready.ledger,
            dead_letters: ready.dead_letters,
            inbox: epoch_in,
            outlets,
            news,
            lagging: Lagging { order, ask, asked },
            checkpoints: to_checkpoints,
            committed: ready.beginning.epoch,
            positions: ready.beginning.live.clone(),
            versions: Arc::clone(&coming.versions),
            backlog,
            readmissions: coming.readmissions.clone(),
            conclusions,
            stop: reading.clone(),
            monitor: Arc::clone(monitor),
        };
        let catch_up = CatchUp {
            settings: settings.clone(),
            stages: Arc::clone(stages),
            versions: Arc::clone(&coming.versions),
            open_source: Arc::clone(&ready.open_source),
            store,
            monitor: Arc::clone(monitor),
            stop: reading.clone(),
        };
        let first = coming.versions.stages(ready.beginning.first)?;
        let backfills = coming.versions.backfills(ready.beginning.first);
        let beginning = (ready.beginning, newcomers, coming.clone());
        let (replay, live, turns) = begin(settings, beginning, &checkpoints, options.once);
        let making = Making {
            settings,
            open_source: &ready.open_source,
            stages: &*first,
            backfills: &backfills,
            refused,
            monitor,
            sample: &coming.sample,
            stop: reading,
        };
        let reading = (ready.source, replay, live, turns);
        Ok(Self {
            line: making.line((tables, &seen), reading, epochs)?,
            ledger,
            sinks,
            checkpoints,
            catch_up,
            orders,
            readmitter,
            coming,
        })
    }

    /// Starts every part, from the sinks to the source, and whoever has other versions come into force.
    pub(super) fn start(self, reloader: Reloader) -> Parts {
        let mut parts = Parts::new();
        parts.task(reloader.run());
        for sink in self.sinks {
            parts.task(sink.run());
        }
        parts.task(self.checkpoints.run());
        parts.task(self.ledger.run());
        parts.task(self.catch_up.run(self.orders));
        parts.task(self.readmitter.run());
        self.line.start(&mut parts);
        parts
    }
}

/// The states that a line begins with, with what deduplication remembers, and what of it is stored.
fn taken_apart(
    recovered: Recovered,
    remembered: usize,
) -> ((Vec<(StateTable, bool)>, Seen), Stored) {
    let stored = Stored {
        files: recovered.files,
        seen_files: recovered.seen_files,
        remembered,
    };
    ((recovered.tables, recovered.seen), stored)
}

/// The task that reads what is to be processed again, and the ledger's way to tell it what that is.
fn readmitting(
    coming: &Coming,
    open_source: &OpenSource,
    (settings, stop, monitor): (&Settings, &CancellationToken, &Arc<Monitor>),
) -> (Readmitter, watch::Sender<Backlog>) {
    let (found, backlog) = watch::channel(Backlog::default());
    let readmitter = Readmitter {
        backlog,
        readmissions: coming.readmissions.clone(),
        open_source: Arc::clone(open_source),
        poll_wait: settings.poll_wait,
        stop: stop.clone(),
        monitor: Arc::clone(monitor),
    };
    (readmitter, found)
}

/// What is repeated first, and how reading goes on live then; with `once`, to the ends as they are now.
fn begin(
    settings: &Settings,
    (beginning, newcomers, coming): (Beginning, Newcomers, Coming),
    checkpoints: &CheckpointTask,
    once: bool,
) -> (Replay, Then, Turns) {
    let from_nothing = beginning.from_nothing;
    let turns = Turns::new(settings.on_lost, from_nothing, beginning.live.clone());
    let live = Live {
        cutter: EpochCutter::new(settings.max_rows, EPOCH_BYTES_MAX, settings.max_wait)
            .first_after(FIRST_EPOCH_WAIT),
        checkpoints: CheckpointClock::new(
            settings.checkpoint_interval,
            Arc::clone(&checkpoints.busy),
            beginning.rebuild.is_some() || !beginning.replay.is_empty(),
        ),
        epoch: beginning.epoch,
        cut_at: beginning.live,
        until: once.then_some(beginning.ends),
        newcomers,
        version: beginning.version,
        changes: coming.changes,
        readmissions: coming.readmissions,
        waits_for_change: coming.has_changed,
    };
    let in_force = InForce {
        version: beginning.first,
        versions: coming.versions,
        sink: None,
    };
    let entries = beginning.replay;
    let replay = Replay::new(beginning.rebuild, entries, beginning.confirmed, in_force);
    (replay, Then::Live(live), turns)
}

/// The task that writes checkpoints, for this generation, and the ledger's way to it.
fn checkpointing(
    (store, generation): (CheckpointStore, u64),
    stored: Stored,
    coming: &Coming,
    monitor: &Arc<Monitor>,
) -> (CheckpointTask, Checkpoints) {
    // Room for the last one, at a stop, behind the one that is being written.
    let (snapshot_out, inbox) = mpsc::channel(2);
    let (reached_out, reached) = watch::channel(Reached::default());
    let (published, published_in) = mpsc::channel(1);
    let task = CheckpointTask {
        store,
        tuning: coming.tuning.subscribe(),
        generation,
        stored,
        unsaved: BTreeMap::new(),
        inbox,
        reached,
        published,
        busy: Arc::default(),
        versions: Arc::clone(&coming.versions),
        monitor: Arc::clone(monitor),
    };
    let checkpoints = Checkpoints {
        outbox: Some(snapshot_out),
        reached: reached_out,
        published: published_in,
    };
    (task, checkpoints)
}

/// The ways to the sinks behind the ledger, their tasks, and what these tell. What is repeated begins
/// after epoch `from`.
fn outlets(
    others: Vec<Box<dyn Sink>>,
    (claim, from): (&Claim, EpochId),
    (may_lag, stop, tuning): (
        &BTreeSet<String>,
        &CancellationToken,
        &watch::Sender<Tuning>,
    ),
    monitor: &Arc<Monitor>,
) -> (Vec<Outlet>, Vec<SinkTask>, mpsc::Receiver<News>) {
    // Room for all that can be under way: so a sink never waits for the ledger's task to listen
    // while that task waits for the sink's queue.
    let (told, news) = mpsc::channel(others.len() * (OUTLET_QUEUE + 4) + 1);
    let (mut outlets, mut sinks) = (Vec::new(), Vec::new());
    for (index, sink) in others.into_iter().enumerate() {
        let (outbox, inbox) = mpsc::channel(OUTLET_QUEUE);
        let (feed_out, feeds) = mpsc::channel(1);
        let confirmed = claim
            .confirmed
            .get(sink.name())
            .copied()
            .unwrap_or_default();
        let may_lag = may_lag.contains(sink.name());
        let queue = Arc::clone(monitor.outlet_queue(index));
        let lags = may_lag && confirmed < from;
        outlets.push(Outlet::new(
            sink.name(),
            (outbox, feed_out, queue),
            confirmed,
            may_lag.then_some(lags),
        ));
        sinks.push(SinkTask {
            sink,
            index,
            inbox,
            feeds,
            feed: None,
            written: confirmed.max(EpochId::FIRST),
            lenient: may_lag.then(|| (stop.clone(), tuning.subscribe())),
            news: told.clone(),
            monitor: Arc::clone(monitor),
        });
    }
    (outlets, sinks, news)
}
