//! The reader: polls the source, cuts epochs, and hands records to the workers by partition.
//!
//! It alone decides what an epoch contains, and after which one a checkpoint is due. First it repeats
//! the epochs since the last checkpoint, exactly as the journal has them; then it goes on live.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::PipelineError;
use super::checkpoint::CheckpointClock;
use super::monitor::{Monitor, Pulse, Queue, Stage};
use super::patience::Patience;
use super::survey::Newcomers;
use crate::config::OnLost;
use crate::epoch::{Barrier, EpochCutter, EpochId, JournalEntry, Mode, ToWorker};
use crate::record::{Origin, Partition, Positions, RawBatch};
use crate::source::{PollLimit, Source, SourceError};

/// A worker gets its records in batches of about so many.
const BATCH_ROWS: usize = 4_096;
/// Or of about so many bytes.
const BATCH_BYTES: usize = 2 << 20;
/// States that are made anew are merged every so many records.
const REBUILD_ROWS: usize = 16 * BATCH_ROWS;
pub(super) struct Reader {
    pub(super) source: Box<dyn Source>,
    /// one for each worker
    pub(super) lanes: Vec<Lane>,
    pub(super) cutter: EpochCutter,
    pub(super) checkpoints: CheckpointClock,
    /// the last epoch that was cut, or committed before
    pub(super) epoch: EpochId,
    pub(super) rebuild: Option<Rebuild>,
    /// committed epochs to repeat, in order
    pub(super) replay: VecDeque<JournalEntry>,
    /// what the first of them leaves out, once it was begun
    pub(super) excluded: Option<Arc<BTreeSet<Origin>>>,
    /// the last epoch that every sink has confirmed
    pub(super) confirmed: EpochId,
    /// where the last epoch ended; before the first live one, where that begins
    pub(super) cut_at: Positions,
    /// partitions that are new
    pub(super) newcomers: Newcomers,
    /// what to do about offsets that are gone
    pub(super) on_lost: OnLost,
    /// whether no checkpoint is behind the states, but all records are
    pub(super) from_nothing: bool,
    /// why the source can be read no longer: the run ends with it, once the epoch in hand has ended
    pub(super) failed: Option<PipelineError>,
    /// Positions have changed otherwise than by reading: the journal has to have that at once.
    pub(super) turned: bool,
    /// where to stop, if anywhere
    pub(super) until: Option<Positions>,
    pub(super) stop: CancellationToken,
    pub(super) monitor: Arc<Monitor>,
    pub(super) pulse: Arc<Pulse>,
    pub(super) patience: Patience,
    /// barriers that were sent
    pub(super) barriers: u64,
    /// how long it waits for records at most, and so until it notices that it should stop
    pub(super) poll_wait: Duration,
}

/// States that are made anew, in pieces, from the records alone.
#[derive(Debug)]
pub(super) struct Rebuild {
    /// the epoch at whose end they are as they were
    pub(super) epoch: EpochId,
    /// the positions there
    pub(super) end: Positions,
    /// records of the piece that was begun
    pub(super) rows: usize,
}

/// Whether there is more to do. It ends when it was told to stop, everything was read, or nobody
/// listens any more: then some other part has failed and tells why itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    More,
    End,
}

/// Nobody listens any more.
struct HungUp;

/// The way to one worker, and what it gets next.
pub(super) struct Lane {
    pub(super) batch: RawBatch,
    pub(super) outbox: SyncSender<ToWorker>,
    pub(super) queue: Arc<Queue>,
}

impl Reader {
    /// Reads until there is no more to do.
    pub(super) fn run(mut self) -> Result<(), PipelineError> {
        while self.step()? == Flow::More {}
        Ok(())
    }

    /// Polls the source once at most, and sends what is to be sent then.
    pub(super) fn step(&mut self) -> Result<Flow, PipelineError> {
        let stepped = if self.rebuild.is_some() || !self.replay.is_empty() {
            if self.stop.is_cancelled() {
                return Ok(Flow::End);
            }
            let stepped = match self.rebuild.take() {
                Some(rebuild) => self.make_anew(rebuild)?,
                None => self.repeat()?,
            };
            if self.rebuild.is_none() && self.replay.is_empty() {
                self.checkpoints.begin(now());
            }
            stepped.map(|()| Flow::More)
        } else {
            self.live()?
        };
        Ok(stepped.unwrap_or(Flow::End))
    }

    /// Goes on with the epochs that the journal has forgotten.
    fn make_anew(&mut self, mut rebuild: Rebuild) -> Result<Result<(), HungUp>, PipelineError> {
        let none = Arc::default();
        let reached = |reader: &Self, end| reader.source.positions().reached(end);
        if !reached(self, &rebuild.end) {
            let rows_max = REBUILD_ROWS - rebuild.rows;
            let read = self.poll(&rebuild.end, rows_max, self.poll_wait, Mode::Rebuild)?;
            rebuild.rows += read.len();
            if let Err(HungUp) = distribute(read, &none, Mode::Rebuild, &mut self.lanes) {
                return Ok(Err(HungUp));
            }
        }
        let done = reached(self, &rebuild.end);
        if done || rebuild.rows >= REBUILD_ROWS {
            rebuild.rows = 0;
            let barrier = self.barrier(rebuild.epoch, rebuild.end.clone(), Mode::Rebuild);
            if let Err(HungUp) = cut(&barrier, &none, &mut self.lanes) {
                return Ok(Err(HungUp));
            }
        }
        self.rebuild = (!done).then_some(rebuild);
        Ok(Ok(()))
    }

    /// Goes on with the next epoch of the journal.
    fn repeat(&mut self) -> Result<Result<(), HungUp>, PipelineError> {
        let Some(mut entry) = self.replay.pop_front() else {
            return Ok(Ok(()));
        };
        let excluded = self.excluded.take();
        let excluded = excluded.unwrap_or_else(|| Arc::new(std::mem::take(&mut entry.excluded)));
        let mode = Mode::Replay {
            shown: entry.epoch > self.confirmed,
        };
        if !self.source.positions().reached(&entry.positions) {
            // Partitions that the epoch does not know yet stay where they are.
            let mut until = self.source.positions().clone();
            for (partition, end) in entry.positions.iter() {
                until.set(partition, end);
            }
            let read = self.poll(&until, usize::MAX, self.poll_wait, mode)?;
            if let Err(HungUp) = distribute(read, &excluded, mode, &mut self.lanes) {
                return Ok(Err(HungUp));
            }
        }
        if !self.source.positions().reached(&entry.positions) {
            self.replay.push_front(entry);
            self.excluded = Some(excluded);
            return Ok(Ok(()));
        }
        let barrier = self.barrier(entry.epoch, entry.positions, mode);
        Ok(cut(&barrier, &excluded, &mut self.lanes))
    }

    fn barrier(&mut self, epoch: EpochId, positions: Positions, mode: Mode) -> Barrier {
        self.barriers += 1;
        Barrier {
            number: self.barriers,
            epoch,
            positions: Arc::new(positions),
            mode,
            checkpoint: false,
        }
    }

    /// Goes on live: ends the epoch if it is time, then reads on.
    fn live(&mut self) -> Result<Result<Flow, HungUp>, PipelineError> {
        let none = Arc::default();
        self.take_up_newcomers()?;
        let end = self.until.as_ref();
        let at_end = end.is_some_and(|end| self.source.positions().reached(end));
        let stop = self.stop.is_cancelled() || at_end || self.failed.is_some();
        let time = now();
        let checkpoint = stop || self.checkpoints.is_due(time);
        // At a stop also where only gaps were passed: they may be deleted before the next start.
        // And an epoch without records where there are some that no checkpoint has.
        let moved = *self.source.positions() != self.cut_at;
        let last = stop && (moved || self.checkpoints.is_behind());
        let idle = checkpoint && self.cutter.is_empty() && self.checkpoints.is_behind();
        let turned = std::mem::take(&mut self.turned);
        if last || idle || turned || (!self.cutter.is_empty() && self.cutter.is_due(time)) {
            self.epoch = self.epoch.next();
            let (records, began) = (self.cutter.len(), self.cutter.began());
            self.monitor.epoch_cut(self.epoch, records, began);
            self.cutter.cut();
            self.cut_at = self.source.positions().clone();
            let mut barrier = self.barrier(self.epoch, self.cut_at.clone(), Mode::Live);
            barrier.checkpoint = checkpoint;
            self.checkpoints.cut(checkpoint, time);
            if let Err(HungUp) = cut(&barrier, &none, &mut self.lanes) {
                return Ok(Err(HungUp));
            }
        }
        if stop {
            return self.failed.take().map_or(Ok(Ok(Flow::End)), Err);
        }
        let wait = self.cutter.wait(time).unwrap_or(self.poll_wait);
        let until = self.until.clone().unwrap_or_default();
        let wait = wait.min(self.poll_wait);
        let read = self.poll(&until, self.cutter.room(), wait, Mode::Live)?;
        self.cutter.add(read.len(), read.byte_len(), now());
        if self.cutter.is_empty() {
            let done = self.monitor.done();
            done.idle(self.epoch, self.source.positions());
        }
        Ok(distribute(read, &none, Mode::Live, &mut self.lanes).map(|()| Flow::More))
    }

    fn poll(
        &mut self,
        until: &Positions,
        rows_max: usize,
        wait_max: Duration,
        mode: Mode,
    ) -> Result<RawBatch, PipelineError> {
        let mut batch = RawBatch::default();
        let limit = PollLimit {
            records_max: rows_max.min(BATCH_ROWS),
            bytes_max: BATCH_BYTES,
            wait_max,
        };
        let started = Instant::now();
        let polled = self
            .pulse
            .busy(|| self.source.poll(until, limit, &mut batch));
        match polled {
            Ok(()) => self.patience.over(),
            // The client library reconnects by itself; what was read before is kept.
            Err(error @ SourceError::Unavailable { .. }) => {
                // Not as long as that: the reader has to notice when it is told to stop.
                let _ = self.patience.failed(&error);
                std::thread::sleep(self.poll_wait);
            }
            Err(error) => {
                let passed = match error {
                    SourceError::OutOfRange { .. } => self.pass_over(error, mode),
                    error => Err(PipelineError::Source(error)),
                };
                // What was read before is committed, and a checkpoint written of it: nobody knows for
                // how long it can be read again.
                if mode == Mode::Live {
                    self.failed = passed.err();
                } else {
                    passed?;
                }
            }
        }
        self.monitor
            .add(Stage::Read, batch.len(), started.elapsed());
        self.monitor
            .add_read(batch.len(), batch.byte_len(), self.source.positions());
        Ok(batch)
    }
}

/// The runtime's clock: a simulation turns it.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Which worker has a partition.
pub(super) fn worker_of(partition: Partition, workers: usize) -> usize {
    partition.0 as usize % workers
}

/// Adds records to the lanes of their partitions, and sends the lanes that are full.
fn distribute(
    read: RawBatch,
    excluded: &Arc<BTreeSet<Origin>>,
    mode: Mode,
    lanes: &mut [Lane],
) -> Result<(), HungUp> {
    if let [only] = lanes
        && only.batch.is_empty()
    {
        only.batch = read;
    } else {
        for record in read.iter() {
            let lane = worker_of(record.origin.partition, lanes.len());
            lanes[lane].batch.push(record);
        }
    }
    lanes
        .iter_mut()
        .filter(|lane| lane.batch.len() >= BATCH_ROWS || lane.batch.byte_len() >= BATCH_BYTES)
        .try_for_each(|lane| lane.send(excluded, mode))
}

/// Ends an epoch: sends what the lanes hold, and the barrier behind it.
fn cut(
    barrier: &Barrier,
    excluded: &Arc<BTreeSet<Origin>>,
    lanes: &mut [Lane],
) -> Result<(), HungUp> {
    for lane in lanes {
        if !lane.batch.is_empty() {
            lane.send(excluded, barrier.mode)?;
        }
        lane.queue.entered();
        let message = ToWorker::Barrier(barrier.clone());
        lane.outbox.send(message).map_err(|_| HungUp)?;
    }
    Ok(())
}

impl Lane {
    fn send(&mut self, excluded: &Arc<BTreeSet<Origin>>, mode: Mode) -> Result<(), HungUp> {
        let message = ToWorker::Batch {
            raw: std::mem::take(&mut self.batch),
            excluded: Arc::clone(excluded),
            mode,
        };
        self.queue.entered();
        self.outbox.send(message).map_err(|_| HungUp)
    }
}
