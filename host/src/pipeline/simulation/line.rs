//! The parts of a line of production, each of which does a step when it is told to.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};

use tokio::sync::mpsc;

use super::dice::Dice;
use crate::aggregate::TableSnapshot;
use crate::epoch::{Completed, EpochPart};
use crate::pipeline::PipelineError;
use crate::pipeline::line::{Line, Merger};
use crate::pipeline::monitor::Monitor;
use crate::pipeline::reader::{Flow, Reader};
use crate::pipeline::worker::{ToWorker, Worker};

/// A line that runs.
pub(super) struct RunningLine {
    reader: Option<Reader>,
    workers: Vec<Option<(Worker, Receiver<ToWorker>)>>,
    parts_out: Option<SyncSender<EpochPart>>,
    merger: Option<(Merger, Receiver<EpochPart>, mpsc::Sender<Completed>)>,
    monitor: Arc<Monitor>,
}

impl RunningLine {
    pub(super) fn new(line: Line) -> Self {
        let (parts_out, parts_in) = line.parts;
        Self {
            monitor: Arc::clone(&line.merger.monitor),
            reader: Some(line.reader),
            workers: line.workers.into_iter().map(Some).collect(),
            parts_out: Some(parts_out),
            merger: Some((line.merger, parts_in, line.epochs)),
        }
    }

    /// Whether every part has ended.
    pub(super) fn is_over(&self) -> bool {
        self.reader.is_none() && self.workers.iter().all(Option::is_none) && self.merger.is_none()
    }

    /// The states of an aggregate, if there is one.
    pub(super) fn look(&mut self, aggregates: &BTreeSet<Arc<str>>) -> Vec<TableSnapshot> {
        let merger = self.merger.as_mut();
        merger.map_or_else(Vec::new, |(merger, ..)| merger.look(aggregates))
    }

    /// Whether it has read again what it had to, and goes on live.
    pub(super) fn is_live(&self) -> bool {
        self.reader.as_ref().is_none_or(Reader::is_live)
    }

    /// Has some part do a step. `spoil` may change what comes out of it.
    pub(super) fn step(
        &mut self,
        dice: &Dice,
        spoil: impl FnOnce(&mut Completed),
    ) -> Result<(), PipelineError> {
        match dice.below(2 + self.workers.len() as u64) {
            0 => self.read(),
            1 => self.merge(spoil),
            worker => self.work(worker as usize - 2),
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

    fn merge(&mut self, spoil: impl FnOnce(&mut Completed)) -> Result<(), PipelineError> {
        let Some((merger, inbox, epochs)) = &mut self.merger else {
            return Ok(());
        };
        if epochs.capacity() == 0 && !epochs.is_closed() {
            return Ok(());
        }
        match inbox.try_recv() {
            Ok(part) => {
                if let Some(mut completed) = merger.take(part)? {
                    spoil(&mut completed);
                    let _ = epochs.try_send(completed);
                }
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => self.merger = None,
        }
        Ok(())
    }
}
