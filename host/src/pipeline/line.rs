//! A line of production: from the source over the workers to complete epochs.
//!
//! ```text
//! reader ─► worker 1 … n ─► merger ─► complete epochs
//! (thread)    (threads)    (thread)
//! ```
//!
//! A run has one, which commits; and another one for each sink that is brought up to the stream.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::look::{Look, Looks};
use super::monitor::{Monitor, Stage};
use super::parts::Parts;
use super::patience::{Patience, SOURCE};
use super::reader::{Intake, Lane, Reader, Replay, Then, worker_of};
use super::sample::Sample;
use super::topology::{Settings, Stages};
use super::turns::Turns;
use super::worker::{ToWorker, Worker};
use super::{OpenSource, PipelineError, Refusals, WORKER_QUEUE};
use crate::aggregate::{StateTable, TableSnapshot};
use crate::deduplicate::Seen;
use crate::deployment::Backfills;
use crate::epoch::{Completed, Coordinator, EpochPart};
use crate::record::RawBatch;
use crate::source::Source;

/// How long somebody waits at most who wants to look at the states of a stream that stands still.
const LOOK_WAIT: Duration = Duration::from_millis(50);

/// What a line is made of.
#[derive(Clone, Copy)]
pub(super) struct Making<'a> {
    pub(super) settings: &'a Settings,
    /// opens the source once more, for records that are read again out of their order
    pub(super) open_source: &'a OpenSource,
    pub(super) stages: &'a dyn Stages,
    /// what of the records has been given to aggregates by backfills
    pub(super) backfills: &'a Backfills,
    pub(super) refused: &'a Refusals,
    pub(super) monitor: &'a Arc<Monitor>,
    /// told some of the records
    pub(super) sample: &'a Sample,
    /// cancelled when there is to be no more reading
    pub(super) stop: &'a CancellationToken,
}

/// The parts of a line, and the ends of the queues between them.
pub(super) struct Line {
    pub(super) reader: Reader,
    pub(super) workers: Vec<(Worker, Receiver<ToWorker>)>,
    /// from the workers to the merger
    pub(super) parts: (SyncSender<EpochPart>, Receiver<EpochPart>),
    pub(super) merger: Merger,
    /// from the merger to whoever takes the epochs
    pub(super) epochs: mpsc::Sender<Completed>,
}

impl Making<'_> {
    /// A line that begins with these states, and with a source that stands where it begins.
    pub(super) fn line(
        self,
        (tables, seen): (Vec<(StateTable, bool)>, &Seen),
        (source, replay, then, turns): (Box<dyn Source>, Replay, Then, Turns),
        epochs: mpsc::Sender<Completed>,
    ) -> Result<Line, PipelineError> {
        let Self {
            settings,
            monitor,
            stop,
            ..
        } = self;
        let (workers, lanes) = self.workers(seen)?;
        let intake = Intake {
            source,
            open_source: Arc::clone(self.open_source),
            lanes,
            stop: stop.clone(),
            monitor: Arc::clone(monitor),
            pulse: Arc::clone(monitor.reader_pulse()),
            patience: Patience::new(monitor.waits(), SOURCE),
            barriers: 0,
            poll_wait: settings.poll_wait,
            turns,
        };
        Ok(Line {
            reader: Reader {
                intake,
                replay,
                then,
            },
            workers,
            parts: sync_channel(settings.workers),
            merger: Merger {
                coordinator: Coordinator::new(settings.workers, tables),
                looks: Looks::default(),
                monitor: Arc::clone(monitor),
            },
            epochs,
        })
    }

    /// The workers, and the ways to them.
    fn workers(self, seen: &Seen) -> Result<(Vec<QueuedWorker>, Vec<Lane>), PipelineError> {
        let count = self.settings.workers;
        let (mut workers, mut lanes) = (Vec::new(), Vec::new());
        for index in 0..count {
            let (outbox, inbox) = sync_channel(WORKER_QUEUE);
            let (spares_in, spares) = sync_channel(WORKER_QUEUE);
            lanes.push(Lane {
                batch: RawBatch::default(),
                outbox,
                spares,
                queue: Arc::clone(self.monitor.worker_queue(index)),
            });
            let seen = of_worker(seen, index, count);
            let mut chain = self.stages.chain()?;
            chain.begin_at(self.backfills);
            let mut worker = Worker::new(chain, &seen, index, Arc::clone(self.monitor));
            worker.share(self.sample.clone());
            worker.give_back(spares_in);
            worker.leave_out(Arc::clone(self.refused), self.stages.ledger());
            workers.push((worker, inbox));
        }
        Ok((workers, lanes))
    }
}

/// A worker and its queue.
type QueuedWorker = (Worker, Receiver<ToWorker>);

/// What the partitions of one worker remember.
fn of_worker(seen: &Seen, index: usize, workers: usize) -> Seen {
    let mine = seen.iter().filter(|(p, _)| worker_of(*p, workers) == index);
    mine.cloned().collect()
}

impl Line {
    /// Starts every part, from the merger to the source.
    pub(super) fn start(self, parts: &mut Parts) {
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
    }
}

/// The part that merges the workers' shares into the states.
pub(super) struct Merger {
    pub(super) coordinator: Coordinator,
    /// who wants to see the states
    pub(super) looks: Looks,
    pub(super) monitor: Arc<Monitor>,
}

impl Merger {
    /// Completes epochs until the workers hang up, or nobody commits any more.
    fn run(
        mut self,
        inbox: &Receiver<EpochPart>,
        outbox: &mpsc::Sender<Completed>,
    ) -> Result<(), PipelineError> {
        self.tell_states();
        loop {
            let part = match inbox.recv_timeout(LOOK_WAIT) {
                Ok(part) => Some(part),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if let Some(part) = part
                && let Some(completed) = self.take(part)?
                && outbox.blocking_send(completed).is_err()
            {
                break;
            }
            for Look { aggregates, answer } in self.looks.take() {
                // Whoever asked may have gone.
                let _ = answer.send(self.look(&aggregates));
            }
        }
        self.looks.close();
        Ok(())
    }

    /// Takes the share of one worker; the epoch, once all shares are there.
    pub(super) fn take(&mut self, part: EpochPart) -> Result<Option<Completed>, PipelineError> {
        let Self {
            coordinator,
            monitor,
            ..
        } = self;
        let gathered = Instant::now();
        let changes_over = part.barrier.swap.is_some();
        monitor.coordinator_queue().left();
        let pulse = monitor.coordinator_pulse();
        let completed =
            pulse.busy(|| monitor.time(Stage::Merge, 0, || coordinator.accept(part)))?;
        let Some(mut completed) = completed else {
            return Ok(None);
        };
        if changes_over {
            monitor.changed_over(gathered.elapsed());
        }
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

    /// The states of these aggregates as they are now.
    pub(super) fn look(&mut self, aggregates: &BTreeSet<Arc<str>>) -> Vec<TableSnapshot> {
        self.coordinator.look(aggregates)
    }

    fn tell_states(&self) {
        for (aggregate, (groups, bytes)) in self.coordinator.states().enumerate() {
            self.monitor.set_states(aggregate, groups, bytes);
        }
    }
}
