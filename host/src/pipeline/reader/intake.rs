//! From the source into the workers' queues.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::Ending;
use crate::deployment::Version;
use crate::epoch::{Barrier, EpochId, Mode, Swap};
use crate::pipeline::chain::Chain;
use crate::pipeline::monitor::{Monitor, Pulse, Queue, Stage};
use crate::pipeline::patience::Patience;
use crate::pipeline::turns::Turns;
use crate::pipeline::worker::ToWorker;
use crate::pipeline::{OpenSource, PipelineError};
use crate::record::{Origin, Partition, Positions, RawBatch};
use crate::source::{PollLimit, Source, SourceError};

/// A worker gets its records in batches of about so many.
pub(super) const BATCH_ROWS: usize = 4_096;
/// Or of about so many bytes.
const BATCH_BYTES: usize = 2 << 20;

/// The source and the ways to the workers.
pub(in crate::pipeline) struct Intake {
    pub(in crate::pipeline) source: Box<dyn Source>,
    /// opens it once more
    pub(in crate::pipeline) open_source: OpenSource,
    /// one for each worker
    pub(in crate::pipeline) lanes: Vec<Lane>,
    pub(in crate::pipeline) stop: CancellationToken,
    pub(in crate::pipeline) monitor: Arc<Monitor>,
    pub(in crate::pipeline) pulse: Arc<Pulse>,
    pub(in crate::pipeline) patience: Patience,
    /// barriers that were sent
    pub(in crate::pipeline) barriers: u64,
    /// how long it waits for records at most, and so until it notices that it should stop
    pub(in crate::pipeline) poll_wait: Duration,
    pub(in crate::pipeline) turns: Turns,
}

/// The way to one worker, and what it gets next.
pub(in crate::pipeline) struct Lane {
    pub(in crate::pipeline) batch: RawBatch,
    pub(in crate::pipeline) outbox: SyncSender<ToWorker>,
    pub(in crate::pipeline) queue: Arc<Queue>,
}

/// Which worker has a partition.
pub(in crate::pipeline) fn worker_of(partition: Partition, workers: usize) -> usize {
    partition.0 as usize % workers
}

impl Intake {
    /// Reads records at most up to `until`, and at most so many.
    pub(super) fn poll(
        &mut self,
        until: &Positions,
        rows_max: usize,
        wait_max: Duration,
        mode: Mode,
    ) -> Result<RawBatch, Ending> {
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
                    self.turns.failed = passed.err();
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

    /// Adds records to the lanes of their partitions, and sends the lanes that are full.
    pub(super) fn distribute(
        &mut self,
        read: RawBatch,
        excluded: &Arc<BTreeSet<Origin>>,
        mode: Mode,
    ) -> Result<(), Ending> {
        let lanes = &mut self.lanes;
        if let [only] = lanes.as_mut_slice()
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

    /// The end of an epoch, or of a piece of one.
    pub(super) fn barrier(
        &mut self,
        (epoch, version): (EpochId, Version),
        positions: Positions,
        mode: Mode,
    ) -> Barrier {
        self.barriers += 1;
        Barrier {
            number: self.barriers,
            epoch,
            version,
            swap: None,
            readmission: None,
            positions: Arc::new(positions),
            mode,
            checkpoint: false,
        }
    }

    /// Has the workers go on with other stages, and the coordinator with other states: with the epoch
    /// that this barrier ends, which has no records.
    pub(super) fn put_in_force(
        &mut self,
        chains: Vec<Chain>,
        swap: Arc<Swap>,
        mut barrier: Barrier,
    ) -> Result<(), Ending> {
        barrier.swap = Some(swap);
        for (lane, chain) in self.lanes.iter_mut().zip(chains) {
            lane.queue.entered();
            let message = ToWorker::Chain(Box::new(chain));
            lane.outbox.send(message).map_err(|_| Ending::HungUp)?;
        }
        self.cut(&barrier, &Arc::default())
    }

    /// Ends an epoch: sends what the lanes hold, and the barrier behind it.
    pub(super) fn cut(
        &mut self,
        barrier: &Barrier,
        excluded: &Arc<BTreeSet<Origin>>,
    ) -> Result<(), Ending> {
        for lane in &mut self.lanes {
            if !lane.batch.is_empty() {
                lane.send(excluded, barrier.mode)?;
            }
            lane.queue.entered();
            let message = ToWorker::Barrier(barrier.clone());
            lane.outbox.send(message).map_err(|_| Ending::HungUp)?;
        }
        Ok(())
    }
}

impl Lane {
    fn send(&mut self, excluded: &Arc<BTreeSet<Origin>>, mode: Mode) -> Result<(), Ending> {
        let message = ToWorker::Batch {
            raw: std::mem::take(&mut self.batch),
            excluded: Arc::clone(excluded),
            mode,
        };
        self.queue.entered();
        self.outbox.send(message).map_err(|_| Ending::HungUp)
    }
}
