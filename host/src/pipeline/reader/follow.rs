//! Going on along the journal, as far as it goes, until the stream is caught up with.

use tokio::sync::{mpsc, oneshot};

use super::intake::Intake;
use super::replay::Replay;
use super::{Ending, Flow};
use crate::epoch::{EpochId, JournalEntry};

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
    /// whether there is no more to ask for
    pub(in crate::pipeline) done: bool,
}

impl Follow {
    /// Asks, or looks whether there is an answer.
    pub(super) fn step(&mut self, intake: &Intake, replay: &mut Replay) -> Result<Flow, Ending> {
        if self.done || intake.stop.is_cancelled() {
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
                replay.add(entries);
            }
            Err(oneshot::error::TryRecvError::Empty) => std::thread::sleep(intake.poll_wait),
            Err(oneshot::error::TryRecvError::Closed) => return Err(Ending::HungUp),
        }
        Ok(Flow::More)
    }
}
