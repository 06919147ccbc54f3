//! From the source into the workers' queues.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
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
use crate::record::{Origin, Partition, Positions, RawBatch, RawRecord, TakeRecords};
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
    /// batches that the worker is done with
    pub(in crate::pipeline) spares: Receiver<RawBatch>,
    pub(in crate::pipeline) queue: Arc<Queue>,
}

/// How much was read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Read {
    pub(super) records: usize,
    /// of keys, values and headers
    pub(super) bytes: usize,
}

/// Puts each record into the lane of its partition.
struct Split<'a> {
    lanes: &'a mut [Lane],
    read: Read,
}

impl TakeRecords for Split<'_> {
    fn push(&mut self, record: RawRecord<'_>) {
        let lane = worker_of(record.origin.partition, self.lanes.len());
        let batch = &mut self.lanes[lane].batch;
        let before = batch.byte_len();
        batch.push(record);
        self.read.records += 1;
        self.read.bytes += batch.byte_len() - before;
    }
}

/// Which worker has a partition.
pub(in crate::pipeline) fn worker_of(partition: Partition, workers: usize) -> usize {
    partition.0 as usize % workers
}

impl Intake {
    /// Reads records at most up to `until`, and at most so many, into the lanes of their partitions.
    pub(super) fn poll(
        &mut self,
        until: &Positions,
        rows_max: usize,
        wait_max: Duration,
        mode: Mode,
    ) -> Result<Read, Ending> {
        let limit = PollLimit {
            records_max: rows_max.min(BATCH_ROWS),
            bytes_max: BATCH_BYTES,
            wait_max,
        };
        let started = Instant::now();
        let mut split = Split {
            lanes: &mut self.lanes,
            read: Read::default(),
        };
        let source = &mut self.source;
        let polled = self.pulse.busy(|| source.poll(until, limit, &mut split));
        let read = split.read;
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
        let Read { records, bytes } = read;
        self.monitor.add(Stage::Read, records, started.elapsed());
        self.monitor
            .add_read(records, bytes, self.source.positions());
        Ok(read)
    }

    /// Adds records to the lanes of their partitions, and sends the lanes that are full.
    pub(super) fn distribute(
        &mut self,
        records: &RawBatch,
        excluded: &Arc<BTreeSet<Origin>>,
        mode: Mode,
    ) -> Result<(), Ending> {
        let mut split = Split {
            lanes: &mut self.lanes,
            read: Read::default(),
        };
        records.iter().for_each(|record| split.push(record));
        self.send_full(excluded, mode)
    }

    /// Sends the lanes that are full.
    pub(super) fn send_full(
        &mut self,
        excluded: &Arc<BTreeSet<Origin>>,
        mode: Mode,
    ) -> Result<(), Ending> {
        self.lanes
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
        let empty = self.spares.try_recv().unwrap_or_default();
        let message = ToWorker::Batch {
            raw: std::mem::replace(&mut self.batch, empty),
            excluded: Arc::clone(excluded),
            mode,
        };
        self.queue.entered();
        self.outbox.send(message).map_err(|_| Ending::HungUp)
    }
}
