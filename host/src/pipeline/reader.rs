//! The reader: polls the source, cuts epochs, and hands records to the workers by partition.
//!
//! It alone decides what an epoch contains. First it repeats the epochs that some sink has not
//! confirmed, exactly as the journal has them; then it goes on live.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::PipelineError;
use super::monitor::{Monitor, Pulse, Queue, Stage};
use super::patience::Patience;
use crate::epoch::{Barrier, EpochCutter, EpochId, JournalEntry, Mode, ToWorker};
use crate::record::{Origin, Positions, RawBatch};
use crate::source::{PollLimit, Source, SourceError};

/// A worker gets its records in batches of about so many.
const BATCH_ROWS: usize = 4_096;
/// Or of about so many bytes.
const BATCH_BYTES: usize = 2 << 20;
/// How long the reader may take to notice that it should stop.
const POLL_WAIT: Duration = Duration::from_millis(100);

pub(super) struct Reader {
    pub(super) source: Box<dyn Source>,
    /// each with what counts its queue
    pub(super) workers: Vec<(SyncSender<ToWorker>, Arc<Queue>)>,
    pub(super) cutter: EpochCutter,
    /// the last committed epoch
    pub(super) epoch: EpochId,
    /// committed epochs to repeat, in order
    pub(super) replay: VecDeque<JournalEntry>,
    /// where the live epochs begin
    pub(super) live: Positions,
    /// where to stop, if anywhere
    pub(super) until: Option<Positions>,
    pub(super) stop: CancellationToken,
    pub(super) monitor: Arc<Monitor>,
    pub(super) pulse: Arc<Pulse>,
    pub(super) patience: Patience,
}

/// Nobody listens any more: some other part has failed and tells why itself.
struct HungUp;

/// What one worker gets next.
struct Lane {
    batch: RawBatch,
    outbox: SyncSender<ToWorker>,
    queue: Arc<Queue>,
}

impl Reader {
    /// Reads until told to stop, the end is reached, or nobody listens.
    pub(super) fn run(mut self) -> Result<(), PipelineError> {
        let lanes = std::mem::take(&mut self.workers);
        let mut lanes: Vec<Lane> = lanes
            .into_iter()
            .map(|(outbox, queue)| Lane {
                batch: RawBatch::default(),
                outbox,
                queue,
            })
            .collect();
        while let Some(entry) = self.replay.pop_front() {
            if let Err(HungUp) = self.repeat(entry, &mut lanes)? {
                return Ok(());
            }
            if self.stop.is_cancelled() {
                return Ok(());
            }
        }
        match self.live(&mut lanes)? {
            Ok(()) | Err(HungUp) => Ok(()),
        }
    }

    /// Runs one epoch of the journal again.
    fn repeat(
        &mut self,
        entry: JournalEntry,
        lanes: &mut [Lane],
    ) -> Result<Result<(), HungUp>, PipelineError> {
        let excluded = Arc::new(entry.excluded);
        // Partitions that the epoch does not know yet stay where they are.
        let mut until: Positions = self.source.positions().iter().collect();
        for (partition, end) in entry.positions.iter() {
            until.set(partition, end);
        }
        while !self.source.positions().reached(&entry.positions) {
            if self.stop.is_cancelled() {
                return Ok(Ok(()));
            }
            let read = self.poll(&until, usize::MAX, POLL_WAIT)?;
            if let Err(HungUp) = distribute(read, &excluded, Mode::Replay, lanes) {
                return Ok(Err(HungUp));
            }
        }
        let barrier = Barrier {
            epoch: entry.epoch,
            positions: Arc::new(entry.positions),
            mode: Mode::Replay,
        };
        Ok(cut(&barrier, &excluded, lanes))
    }

    fn live(&mut self, lanes: &mut [Lane]) -> Result<Result<(), HungUp>, PipelineError> {
        let none = Arc::new(BTreeSet::<Origin>::new());
        let mut committed = std::mem::take(&mut self.live);
        debug_assert!(self.source.positions().reached(&committed));
        let until = self.until.clone().unwrap_or_default();
        loop {
            let end = self.until.as_ref();
            let stop = self.stop.is_cancelled()
                || end.is_some_and(|end| self.source.positions().reached(end));
            // At a stop also where only gaps were passed: they may be deleted before the next start.
            let last = stop && *self.source.positions() != committed;
            if last || (!self.cutter.is_empty() && self.cutter.is_due(Instant::now())) {
                self.epoch = self.epoch.next();
                let (records, began) = (self.cutter.len(), self.cutter.began());
                self.monitor.epoch_cut(self.epoch, records, began);
                self.cutter.cut();
                committed = self.source.positions().clone();
                let barrier = Barrier {
                    epoch: self.epoch,
                    positions: Arc::new(committed.clone()),
                    mode: Mode::Live,
                };
                if let Err(HungUp) = cut(&barrier, &none, lanes) {
                    return Ok(Err(HungUp));
                }
            }
            if stop {
                return Ok(Ok(()));
            }
            let wait = self.cutter.wait(Instant::now());
            let wait = wait.unwrap_or(POLL_WAIT).min(POLL_WAIT);
            let read = self.poll(&until, self.cutter.room(), wait)?;
            self.cutter.add(read.len(), read.byte_len(), Instant::now());
            if let Err(HungUp) = distribute(read, &none, Mode::Live, lanes) {
                return Ok(Err(HungUp));
            }
        }
    }

    fn poll(
        &mut self,
        until: &Positions,
        rows_max: usize,
        wait_max: Duration,
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
                std::thread::sleep(wait_max.max(POLL_WAIT));
            }
            Err(error) => return Err(PipelineError::Source(error)),
        }
        self.monitor
            .add(Stage::Read, batch.len(), started.elapsed());
        self.monitor
            .add_read(batch.len(), batch.byte_len(), self.source.positions());
        Ok(batch)
    }
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
            let lane = record.origin.partition.0 as usize % lanes.len();
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
