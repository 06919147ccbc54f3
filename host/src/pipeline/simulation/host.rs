//! One host: the parts of a run, each of which does a step when it is told to.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::time::Duration;

use futures_util::poll;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::bugs::Bug;
use super::dice::Dice;
use crate::checkpoint::Snapshot;
use crate::epoch::{Completed, EpochPart, ToWorker};
use crate::pipeline::PipelineError;
use crate::pipeline::monitor::Monitor;
use crate::pipeline::reader::{Flow, Reader};
use crate::pipeline::topology::{Merger, Topology};
use crate::pipeline::worker::Worker;

type Task = Pin<Box<dyn Future<Output = Result<(), PipelineError>>>>;

/// A host whose pipeline runs.
pub(super) struct Host {
    reader: Option<Reader>,
    workers: Vec<Option<(Worker, Receiver<ToWorker>)>>,
    parts_out: Option<SyncSender<EpochPart>>,
    merger: Option<(Merger, Receiver<EpochPart>, mpsc::Sender<Completed>)>,
    tasks: Vec<Option<Task>>,
    monitor: Arc<Monitor>,
    pub(super) stop: CancellationToken,
    bug: Option<Bug>,
    /// for a bug that mixes up snapshots
    last_snapshot: Option<Snapshot>,
}

impl Host {
    pub(super) fn new(
        topology: Topology,
        monitor: &Arc<Monitor>,
        stop: CancellationToken,
        bug: Option<Bug>,
    ) -> Self {
        let Topology {
            reader,
            workers,
            parts: (parts_out, parts_in),
            merger,
            epochs,
            ledger,
            sinks,
            mut checkpoints,
        } = topology;
        if bug == Some(Bug::CheckpointBeforeTheSinks) {
            let (always, confirmed) = tokio::sync::watch::channel(crate::epoch::EpochId(u64::MAX));
            // It never changes, so nobody has to keep the other end.
            drop(always);
            checkpoints.confirmed = confirmed;
        }
        let mut tasks: Vec<Option<Task>> = vec![
            Some(Box::pin(ledger.run())),
            Some(Box::pin(checkpoints.run())),
        ];
        for sink in sinks {
            tasks.push(Some(Box::pin(sink.run())));
        }
        Self {
            reader: Some(reader),
            workers: workers.into_iter().map(Some).collect(),
            parts_out: Some(parts_out),
            merger: Some((merger, parts_in, epochs)),
            tasks,
            monitor: Arc::clone(monitor),
            stop,
            bug,
            last_snapshot: None,
        }
    }

    /// Whether every part has ended.
    pub(super) fn is_over(&self) -> bool {
        self.reader.is_none()
            && self.workers.iter().all(Option::is_none)
            && self.merger.is_none()
            && self.tasks.iter().all(Option::is_none)
    }

    /// Whether it has read again what it had to, and goes on live.
    pub(super) fn is_live(&self) -> bool {
        let reader = self.reader.as_ref();
        reader.is_none_or(|reader| reader.rebuild.is_none() && reader.replay.is_empty())
    }

    /// Has some part do a step, or time go by.
    pub(super) async fn step(&mut self, dice: &Dice) -> Result<(), PipelineError> {
        let workers = self.workers.len() as u64;
        let tasks = self.tasks.len() as u64;
        match dice.below(3 + workers + tasks) {
            0 => self.read(),
            1 => self.merge(),
            2 => {
                if dice.chance(0.2) {
                    tokio::time::advance(Duration::from_mins(2)).await;
                }
                Ok(())
            }
            other if other < 3 + workers => self.work((other - 3) as usize),
            other => self.run_task((other - 3 - workers) as usize).await,
        }
    }

    fn read(&mut self) -> Result<(), PipelineError> {
        // A step sends up to three messages to a worker, and must not block.
        let has_room = |index| self.monitor.worker_queue(index).depth() <= 1;
        if let Some(reader) = &mut self.reader
            && (0..self.workers.len()).all(has_room)
            && reader.step()? == Flow::End
        {
            self.reader = None;
        }
        Ok(())
    }

    fn work(&mut self, index: usize) -> Result<(), PipelineError> {
        // Room for the share of each worker.
        if self.monitor.coordinator_queue().depth() >= self.workers.len() as u64 {
            return Ok(());
        }
        let Some((worker, inbox)) = &mut self.workers[index] else {
            return Ok(());
        };
        let Some(parts) = &self.parts_out else {
            return Ok(());
        };
        match inbox.try_recv() {
            Ok(message) => {
                if let Some(part) = worker.take(message)? {
                    // Nobody listens any more only where the merger has failed.
                    let _ = parts.send(part);
                }
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => self.workers[index] = None,
        }
        if self.workers.iter().all(Option::is_none) {
            self.parts_out = None;
        }
        Ok(())
    }

    fn merge(&mut self) -> Result<(), PipelineError> {
        let Some((merger, inbox, epochs)) = &mut self.merger else {
            return Ok(());
        };
        if epochs.capacity() == 0 && !epochs.is_closed() {
            return Ok(());
        }
        match inbox.try_recv() {
            Ok(part) => {
                if let Some(mut completed) = merger.take(part)? {
                    spoil(self.bug, &mut completed.snapshot, &mut self.last_snapshot);
                    let _ = epochs.try_send(completed);
                }
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => self.merger = None,
        }
        Ok(())
    }

    async fn run_task(&mut self, index: usize) -> Result<(), PipelineError> {
        let Some(task) = &mut self.tasks[index] else {
            return Ok(());
        };
        if let std::task::Poll::Ready(ended) = poll!(task) {
            self.tasks[index] = None;
            ended?;
        }
        Ok(())
    }

    /// Only the parts that write go on: it was stopped, and wakes up.
    pub(super) async fn write_on(&mut self, dice: &Dice) -> Result<(), PipelineError> {
        let tasks = self.tasks.len() as u64;
        self.run_task(dice.below(tasks) as usize).await
    }
}

fn spoil(bug: Option<Bug>, snapshot: &mut Option<Snapshot>, last: &mut Option<Snapshot>) {
    let Some(taken) = snapshot else {
        return;
    };
    match bug {
        Some(Bug::StaleSnapshot) => {
            let tables = taken.tables.clone();
            if let Some(before) = last.take() {
                taken.tables = before.tables;
            }
            *last = Some(Snapshot {
                epoch: taken.epoch,
                positions: taken.positions.clone(),
                tables,
                seen: Vec::new(),
            });
        }
        Some(Bug::SnapshotAhead) => {
            let ahead = taken.positions.iter().map(|(p, next)| (p, next + 1));
            taken.positions = ahead.collect();
        }
        _ => {}
    }
}
