//! Going on along the journal, as far as it goes, until the stream is caught up with.

use tokio::sync::{mpsc, oneshot};

use super::intake::Intake;
use super::replay::Replay;
use super::{Ending, Flow};
use crate::epoch::{EpochId, JournalEntry};
use crate::pipeline::PipelineError;
use crate::record::Positions;
use crate::source::SourceError;

impl Intake {
    /// Reads the partitions too that come to be in these epochs, from where the first one that has them
    /// says, which has no records of them. False where that has to be tried again.
    fn take_up_of(&mut self, entries: &[JournalEntry]) -> Result<bool, Ending> {
        let mut begins = Positions::default();
        for (partition, begin) in entries.iter().flat_map(|entry| entry.positions.iter()) {
            let known = self.source.positions().get(partition);
            if known.or(begins.get(partition)).is_none() {
                begins.set(partition, begin);
            }
        }
        if begins == Positions::default() {
            return Ok(true);
        }
        match self.source.adjust(&begins) {
            Ok(()) => Ok(true),
            Err(error @ SourceError::Unavailable { .. }) => {
                let _ = self.patience.failed(&error);
                std::thread::sleep(self.poll_wait);
                Ok(false)
            }
            Err(error) => Err(PipelineError::Source(error).into()),
        }
    }
}

/// A question for what comes next in the journal, for a sink that lags.
#[derive(Debug)]
pub(in crate::pipeline) struct JournalRequest {
    /// which of the sinks behind the ledger; 0 is the first
    pub(in crate::pipeline) sink: usize,
    /// the last epoch that is known
    pub(in crate::pipeline) after: EpochId,
    pub(in crate::pipeline) answer: oneshot::Sender<More>,
}

/// What comes next in the journal.
#[derive(Debug)]
pub(in crate::pipeline) struct More {
    pub(in crate::pipeline) entries: Vec<JournalEntry>,
    /// whether that is all: the sink gets what comes later from the stream itself
    pub(in crate::pipeline) last: bool,
}

/// Asks for more of the journal, until it is told that this was the last.
pub(in crate::pipeline) struct Follow {
    pub(in crate::pipeline) sink: usize,
    pub(in crate::pipeline) journal: mpsc::Sender<JournalRequest>,
    /// the last epoch that is known
    pub(in crate::pipeline) known: EpochId,
    pub(in crate::pipeline) asked: Option<oneshot::Receiver<More>>,
    /// what was answered and is not yet to be repeated
    pub(in crate::pipeline) pending: Vec<JournalEntry>,
    /// whether there is no more to ask for
    pub(in crate::pipeline) done: bool,
}

impl Follow {
    /// Asks, or looks whether there is an answer.
    pub(super) fn step(
        &mut self,
        intake: &mut Intake,
        replay: &mut Replay,
    ) -> Result<Flow, Ending> {
        if intake.stop.is_cancelled() {
            return Ok(Flow::End);
        }
        if !self.pending.is_empty() {
            if intake.take_up_of(&self.pending)? {
                replay.add(std::mem::take(&mut self.pending));
            }
            return Ok(Flow::More);
        }
        if self.done {
            return Ok(Flow::End);
        }
        let Some(asked) = &mut self.asked else {
            let (answer, asked) = oneshot::channel();
            let request = JournalRequest {
                sink: self.sink,
                after: self.known,
                answer,
            };
            // There is room for one of each sink.
            self.journal.try_send(request).map_err(|_| Ending::HungUp)?;
            self.asked = Some(asked);
            return Ok(Flow::More);
        };
        match asked.try_recv() {
            Ok(More { entries, last }) => {
                self.asked = None;
                self.done = last;
                self.known = entries.last().map_or(self.known, |entry| entry.epoch);
                self.pending = entries;
            }
            Err(oneshot::error::TryRecvError::Empty) => std::thread::sleep(intake.poll_wait),
            Err(oneshot::error::TryRecvError::Closed) => return Err(Ending::HungUp),
        }
        Ok(Flow::More)
    }
}
