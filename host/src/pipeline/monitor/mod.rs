//! What a run tells of itself while it runs: the one place that counts.
//!
//! ```text
//! reader, workers, coordinator, sinks ─► Monitor ─► Status:  terminal, /api/status, /readyz
//!                                                ─► metrics: /metrics
//!                                                ─► Summary: the end of `wasmill run --once`
//! ```
//!
//! # Invariants
//!
//! 1. On the path of the records, things are added once a batch, to atomics. What takes a lock for
//!    itself is written a few times an epoch, or when something has to wait.
//! 2. Whoever reads never holds up whoever writes for longer than it takes to copy a short list.
//!
//! # Not here
//!
//! What metrics are called: [`crate::telemetry`]. Who answers questions: [`crate::admin`].

mod build;
mod epochs;
mod histogram;
mod meters;
mod metrics;
mod shape;
mod status;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant, SystemTime};

use self::epochs::EpochLog;
use self::meters::{
    CheckpointMeter, Counter, Gauge, KeyMeter, PartitionMeter, ReloadMeter, SinkMeter, Which, tell,
};
pub(super) use self::meters::{Pulse, Queue};
pub(super) use self::shape::Outline;
use self::shape::Shape;
use super::done::Done;
use super::laps::{StartTimes, ms};
use super::start::Beginning;
use super::summary::{ProcessUsage, StageSummary, Summary};
use super::turns;
use crate::deployment::Version;
use crate::epoch::{EpochId, EpochOutput, OutputBatch};
use crate::guest::GuestMeter;
use crate::record::{DeadLetter, Partition, Positions};
use crate::source::PartitionRange;
use crate::status::{DeadLetterStatus, Phase, RECENT_MAX};
use crate::telemetry::process;
use crate::waiting::Waits;

/// A thread that has been at one piece of work for so long does not answer: a batch takes
/// milliseconds, and seconds where a guest fails on many rows.
pub const STUCK_AFTER: Duration = Duration::from_mins(5);

/// A stage that time is measured for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Read,
    Decode,
    Deduplicate,
    /// by the transform's index
    Transform(usize),
    /// by the aggregate's index
    Fold(usize),
    Merge,
    /// by the sink's index; the ledger is 0
    Write(usize),
}

/// The stages of one run and what they have done. Made before the run, shared by all of its threads
/// and by whoever asks.
#[derive(Debug)]
pub struct Monitor {
    pipeline: String,
    made: Instant,
    running_since: OnceLock<Instant>,
    phase: AtomicU8,
    waits: Waits,
    records: Counter,
    bytes: Counter,
    dead_letters: Counter,
    /// records left out because their key came before; `None` where nobody looks
    duplicates: Option<Counter>,
    /// what each worker remembers to find them
    remembered: Vec<KeyMeter>,
    epochs: Counter,
    /// the last committed one
    epoch: Gauge,
    /// since 1970; 0 before the first one
    last_commit_ms: Gauge,
    /// what changes with the logic
    shape: RwLock<Arc<Shape>>,
    /// the ledger first
    sinks: Vec<SinkMeter>,
    /// in order of partition
    partitions: RwLock<Vec<PartitionMeter>>,
    done: Done,
    log: EpochLog,
    letters: Mutex<VecDeque<DeadLetterStatus>>,
    checkpoints: CheckpointMeter,
    reloads: ReloadMeter,
    queues: Queues,
    pulses: Pulses,
}

#[derive(Debug)]
struct Queues {
    workers: Vec<Arc<Queue>>,
    coordinator: Arc<Queue>,
    ledger: Arc<Queue>,
    outlets: Vec<Arc<Queue>>,
}

impl Queues {
    fn all(&self) -> impl Iterator<Item = &Arc<Queue>> {
        let (workers, outlets) = (self.workers.iter(), self.outlets.iter());
        workers
            .chain([&self.coordinator, &self.ledger])
            .chain(outlets)
    }
}

#[derive(Debug)]
struct Pulses {
    reader: Arc<Pulse>,
    workers: Vec<Arc<Pulse>>,
    coordinator: Arc<Pulse>,
}

/// A guest in the place that it has in the pipeline.
#[derive(Debug)]
pub(super) struct StageGuest {
    pub(super) stage: Arc<str>,
    pub(super) component: String,
    /// bytes that one instance may have
    pub(super) memory_max: u64,
    pub(super) meter: Arc<GuestMeter>,
}

impl Monitor {
    /// Who is waited for.
    pub(super) fn waits(&self) -> &Waits {
        &self.waits
    }

    /// The queue of a worker.
    pub(super) fn worker_queue(&self, index: usize) -> &Arc<Queue> {
        &self.queues.workers[index]
    }

    /// The queue of the coordinator.
    pub(super) fn coordinator_queue(&self) -> &Arc<Queue> {
        &self.queues.coordinator
    }

    /// The queue of the ledger's task.
    pub(super) fn ledger_queue(&self) -> &Arc<Queue> {
        &self.queues.ledger
    }

    /// The queue of a sink's task; 0 is the first sink after the ledger.
    pub(super) fn outlet_queue(&self, index: usize) -> &Arc<Queue> {
        &self.queues.outlets[index]
    }

    /// The pulse of the reader.
    pub(super) fn reader_pulse(&self) -> &Arc<Pulse> {
        &self.pulses.reader
    }

    /// The pulse of a worker.
    pub(super) fn worker_pulse(&self, index: usize) -> &Arc<Pulse> {
        &self.pulses.workers[index]
    }

    /// The pulse of the coordinator.
    pub(super) fn coordinator_pulse(&self) -> &Arc<Pulse> {
        &self.pulses.coordinator
    }

    /// Up to where everything is done.
    pub(super) fn done(&self) -> &Done {
        &self.done
    }

    /// Everybody is there: this is where the run begins, and so far each sink has come, the ledger
    /// first.
    pub(super) fn begin(&self, beginning: &Beginning, sinks: impl IntoIterator<Item = EpochId>) {
        self.begin_partitions(beginning);
        let sinks: Vec<EpochId> = sinks.into_iter().collect();
        let confirmed = sinks.iter().copied().min().unwrap_or_default();
        self.done.begin(beginning.epoch, &beginning.live, confirmed);
        let now = Instant::now();
        let _ = self.running_since.set(now);
        self.log.begin(now);
        self.queues.all().for_each(|queue| queue.begin_anew());
        self.epoch.set(beginning.epoch.0);
        for (meter, epoch) in self.sinks.iter().zip(sinks) {
            meter.epoch.set(epoch.0);
        }
        self.set_phase(Phase::Running);
    }

    /// Says in the log that the run begins behind this epoch, and what the start was spent on.
    pub(super) fn tell_start(&self, pipeline: &str, epoch: EpochId, took: StartTimes) {
        let up = self.up();
        tracing::info!(
            pipeline,
            epoch = epoch.0,
            up_ms = ms(up),
            load_ms = ms(up.saturating_sub(self.made.elapsed())),
            ledger_ms = ms(took.ledger),
            sinks_ms = ms(took.sinks),
            checkpoint_ms = ms(took.checkpoint),
            source_ms = ms(took.source),
            "running"
        );
    }

    /// The reader has read again what came since the checkpoint, and goes on live.
    pub(super) fn replayed(&self) {
        let took = self
            .running_since
            .get()
            .map_or(Duration::ZERO, Instant::elapsed);
        let records = self.records.get();
        tracing::info!(
            records,
            took_ms = ms(took),
            up_ms = ms(self.up()),
            "all of them were read again: going on live"
        );
    }

    /// How long the process has been there; where the system does not tell, how long this has.
    fn up(&self) -> Duration {
        process::age().unwrap_or_else(|| self.made.elapsed())
    }

    fn begin_partitions(&self, beginning: &Beginning) {
        let mut partitions = self
            .partitions
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *partitions);
        for range in &beginning.ranges {
            let meter = PartitionMeter::new(range, beginning.live.get(range.partition));
            // A run that begins anew goes on counting.
            let known = before.iter().find(|m| m.partition == range.partition);
            meter.lost.add(known.map_or(0, |known| known.lost.get()));
            partitions.push(meter);
        }
        drop(partitions);
        turns::count(&beginning.skipped, self);
    }

    /// A partition is read from its beginning on that was not there before.
    pub(super) fn partition_added(&self, range: &PartitionRange) {
        let mut partitions = self
            .partitions
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let place = partitions.binary_search_by_key(&range.partition, |meter| meter.partition);
        if let Err(place) = place {
            partitions.insert(place, PartitionMeter::new(range, None));
        }
    }

    /// So many offsets of a partition were deleted before they were read, and passed over.
    pub(super) fn add_lost(&self, partition: Partition, offsets: u64) {
        let partitions = self.partitions();
        if let Some(meter) = partitions.iter().find(|meter| meter.partition == partition) {
            meter.lost.add(offsets);
        }
    }

    /// The run has been told to end, or a part of it has failed.
    pub(super) fn stopping(&self) {
        self.set_phase(Phase::Stopping);
    }

    fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Measures one step of a stage over so many rows: the processor time of this thread, as nothing waits in
    /// such a step, and what others take of a busy machine is no cost of the stage.
    pub(super) fn time<T>(&self, stage: Stage, rows: usize, step: impl FnOnce() -> T) -> T {
        let started = process::thread_cpu();
        let result = step();
        self.add(stage, rows, process::thread_cpu().saturating_sub(started));
        result
    }

    /// Adds one step of a stage.
    pub(super) fn add(&self, stage: Stage, rows: usize, elapsed: Duration) {
        let shape = self.shape();
        // While another version comes into force, a worker may be ahead of what is known here.
        if let Some((.., meter)) = shape.stages.iter().find(|(known, ..)| *known == stage) {
            meter.rows.add(rows as u64);
            meter.nanos.add_time(elapsed);
        }
    }

    /// Another version is in force.
    pub(super) fn reshape(&self, outline: Outline) {
        let sinks: Vec<&str> = self.sinks.iter().map(|sink| sink.name.as_str()).collect();
        let before = self.shape();
        let shape = Shape::new(outline, self.duplicates.is_some(), &sinks, &before);
        *self.shape.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(shape);
    }

    fn shape(&self) -> Arc<Shape> {
        let shape = self.shape.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&shape)
    }

    /// Counts records that were read, after which the source is at `positions`.
    pub(super) fn add_read(&self, records: usize, bytes: usize, positions: &Positions) {
        self.records.add(records as u64);
        self.bytes.add(bytes as u64);
        tell(&self.partitions(), positions, Which::Position);
    }

    /// Whether records were read that are not committed. Gaps are none, such as the marks of transactions.
    pub(super) fn has_unfinished_records(&self) -> bool {
        let idle = self.done.idle_at().unwrap_or_default();
        let partitions = self.partitions();
        partitions.iter().any(|meter| {
            let position = meter.position();
            position > meter.committed() && idle.get(meter.partition) != Some(position)
        })
    }

    /// What each partition holds now.
    pub(super) fn set_ends(&self, ranges: &[PartitionRange]) {
        for meter in self.partitions().iter() {
            let range = ranges.iter().find(|r| r.partition == meter.partition);
            if let Some(range) = range {
                meter.set_end(range.end);
            }
        }
    }

    /// The reader has ended an epoch of so many records, which began with its first one.
    pub(super) fn epoch_cut(&self, epoch: EpochId, records: usize, began: Option<Instant>) {
        let now = Instant::now();
        self.log
            .cut(epoch, records as u64, began.unwrap_or(now), now);
    }

    /// The coordinator had all shares of an epoch at `gathered` and has merged them.
    pub(super) fn epoch_merged(&self, epoch: EpochId, gathered: Instant) {
        self.log.merged(epoch, gathered, Instant::now());
    }

    /// The states of an aggregate, by its index, are now so many and so large.
    pub(super) fn set_states(&self, aggregate: usize, groups: usize, bytes: usize) {
        if let Some(meter) = self.shape().states.get(aggregate) {
            meter.groups.set(groups as u64);
            meter.bytes.set(bytes as u64);
        }
    }

    /// The ledger, which took the epoch at `taken`, has committed it.
    pub(super) fn epoch_committed(&self, output: &EpochOutput, taken: Instant) {
        if self.epochs.get() == 0 {
            let epoch = output.epoch.0;
            tracing::info!(epoch, up_ms = ms(self.up()), "the first epoch is committed");
        }
        self.epochs.add(1);
        self.epoch.set(output.epoch.0);
        self.last_commit_ms.set(ms_since_1970());
        tell(&self.partitions(), &output.positions, Which::Committed);
        self.done.committed(output.epoch, &output.positions);
        self.add_dead_letters(&output.dead_letters);
        let dead_letters = output.dead_letters.len() as u64;
        self.log
            .committed(output.epoch, dead_letters, taken, Instant::now());
    }

    /// States were restored from the checkpoint of this epoch.
    pub(super) fn checkpoint_restored(&self, epoch: EpochId) {
        self.checkpoints.epoch.set(epoch.0);
    }

    /// The coordinator has made a snapshot, and did nothing else for so long.
    pub(super) fn snapshot_taken(&self, pause: Duration) {
        self.checkpoints.pauses.observe(pause);
    }

    /// A checkpoint was published, so long after its epoch was committed, with so many new bytes.
    pub(super) fn checkpoint_published(&self, epoch: EpochId, bytes: u64, took: Duration) {
        self.checkpoints.published.add(1);
        self.checkpoints.epoch.set(epoch.0);
        self.checkpoints.last_ms.set(ms_since_1970());
        self.checkpoints.bytes.add(bytes);
        self.checkpoints.writes.observe(took);
    }

    /// A checkpoint was given up.
    pub(super) fn checkpoint_failed(&self) {
        self.checkpoints.failures.add(1);
    }

    /// This version is in force.
    pub(super) fn set_version(&self, version: Version) {
        self.reloads.version.set(version.0.into());
    }

    /// Another version has come into force.
    pub(super) fn reloaded(&self, version: Version) {
        self.set_version(version);
        self.reloads.reloads.add(1);
    }

    /// The running version stays although another one was asked for.
    pub(super) fn reload_refused(&self) {
        self.reloads.refusals.add(1);
    }

    /// A new aggregate lacks so many offsets.
    pub(super) fn backfill_left(&self, offsets: u64) {
        self.reloads.backfill_left.set(offsets);
    }

    /// So many records were processed again.
    pub(super) fn readmitted(&self, records: usize) {
        self.reloads.readmitted.add(records as u64);
    }

    /// So many are still to be.
    pub(super) fn readmission_backlog(&self, records: usize) {
        self.reloads.backlog.set(records as u64);
    }

    /// A worker or the coordinator has changed over to another version, and did nothing else for so long.
    pub(super) fn changed_over(&self, pause: Duration) {
        self.reloads.pauses.observe(pause);
    }

    /// Counts records that were left out because their key came before.
    pub(super) fn add_duplicates(&self, records: usize) {
        if let Some(duplicates) = &self.duplicates {
            duplicates.add(records as u64);
        }
    }

    /// A worker remembers so many keys, in so many bytes.
    pub(super) fn set_remembered(&self, worker: usize, (keys, bytes): (usize, usize)) {
        if let Some(meter) = self.remembered.get(worker) {
            meter.keys.set(keys as u64);
            meter.bytes.set(bytes as u64);
        }
    }

    /// Counts dead letters that are durable, and keeps the last of them.
    pub(super) fn add_dead_letters(&self, letters: &[DeadLetter]) {
        if letters.is_empty() {
            return;
        }
        self.dead_letters.add(letters.len() as u64);
        let shape = self.shape();
        for letter in letters {
            if let Some(meter) = shape.rejections.iter().find(|m| m.stage == letter.stage) {
                meter.add(letter.cause);
            }
        }
        let mut last = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        for letter in &letters[letters.len().saturating_sub(RECENT_MAX)..] {
            if last.len() == RECENT_MAX {
                last.pop_front();
            }
            last.push_back(DeadLetterStatus {
                partition: letter.origin.partition.0 as i32,
                offset: letter.origin.offset,
                stage: letter.stage.clone(),
                reason: letter.reason.clone(),
            });
        }
    }

    /// A sink, by its index, has made an epoch durable but for so many rows that it refused, which
    /// took so long.
    pub(super) fn sink_wrote(
        &self,
        sink: usize,
        output: &EpochOutput,
        refused: usize,
        took: Duration,
    ) {
        let meter = &self.sinks[sink];
        let rows_of = |batches: &Vec<OutputBatch>| {
            let rows = batches.iter().map(|batch| batch.columns.num_rows());
            rows.sum::<usize>()
        };
        let rows: usize = match self.shape().takes.get(&meter.name) {
            None => output.streams.values().map(rows_of).sum(),
            Some(streams) => {
                let streams = streams.iter();
                let taken = streams.filter_map(|name| output.streams.get(name.as_str()));
                taken.map(rows_of).sum()
            }
        };
        self.add(Stage::Write(sink), rows, took);
        meter.rows.add(rows.saturating_sub(refused) as u64);
        meter.epoch.set(output.epoch.0);
        meter.writes.observe(took);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        meter.last_write.set(nanos.max(1));
    }

    /// Whether the stream goes on without a sink, by its index.
    pub(super) fn sink_lags(&self, sink: usize, lags: bool) {
        self.sinks[sink].lags.set(u64::from(lags));
    }

    /// A sink, by its index, has to be tried again.
    pub(super) fn sink_retried(&self, sink: usize) {
        self.sinks[sink].retries.add(1);
    }

    /// What was counted so far.
    pub(super) fn summary(&self) -> Summary {
        let shape = self.shape();
        let stages = shape.stages.iter().map(|(_, name, meter)| StageSummary {
            name: name.clone(),
            rows: meter.rows.get(),
            time: meter.nanos.time(),
        });
        Summary {
            wall: self
                .running_since
                .get()
                .map_or(Duration::ZERO, Instant::elapsed),
            records: self.records.get(),
            bytes: self.bytes.get(),
            dead_letters: self.dead_letters.get(),
            duplicates: self.duplicates.as_ref().map(Counter::get),
            epochs: self.epochs.get(),
            process: ProcessUsage::so_far(),
            stages: stages.collect(),
        }
    }

    fn partitions(&self) -> RwLockReadGuard<'_, Vec<PartitionMeter>> {
        self.partitions
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn ms_since_1970() -> u64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(0)
}
