//! The way of an epoch into the sinks: dead letters, then the ledger, then every other sink.
//!
//! # Invariants
//!
//! 1. A sink other than the ledger sees an epoch only after the ledger has committed it.
//! 2. A sink's confirmation is noted only after the sink has made the epoch durable and the rows
//!    that it refused are in the dead letters.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;

use super::PipelineError;
use super::summary::{Counters, Stage};
use crate::backoff::Backoff;
use crate::dead_letter::DeadLetterSink;
use crate::epoch::{Completed, EpochId, EpochOutput, Mode};
use crate::record::DeadLetter;
use crate::sink::{Ledger, Remedy, Sink, SinkError};

/// A sink has made an epoch durable.
#[derive(Debug)]
pub(super) struct Confirmed {
    pub(super) sink: String,
    pub(super) epoch: EpochId,
    /// rows that the sink refused for good
    pub(super) refused: Vec<DeadLetter>,
}

/// What one of the other sinks is sent to, and how far it was at the start.
pub(super) struct Outlet {
    pub(super) outbox: mpsc::Sender<Arc<EpochOutput>>,
    pub(super) confirmed: EpochId,
}

/// The task that owns the ledger and the dead letters: what is appended to a file of dead letters
/// is in the journal before anything else is appended.
pub(super) struct LedgerTask {
    pub(super) ledger: Box<dyn Ledger>,
    pub(super) dead_letters: Box<dyn DeadLetterSink>,
    pub(super) inbox: mpsc::Receiver<Completed>,
    pub(super) outlets: Vec<Outlet>,
    pub(super) confirmations: mpsc::Receiver<Confirmed>,
    pub(super) counters: Arc<Counters>,
}

enum Event {
    Confirmed(Confirmed),
    Completed(Completed),
    NoMoreEpochs,
}

impl LedgerTask {
    /// Commits epochs until there are no more and every sink has confirmed the last one.
    pub(super) async fn run(mut self) -> Result<(), PipelineError> {
        loop {
            let event = tokio::select! {
                biased;
                Some(confirmed) = self.confirmations.recv() => Event::Confirmed(confirmed),
                completed = self.inbox.recv() => {
                    completed.map_or(Event::NoMoreEpochs, Event::Completed)
                }
            };
            match event {
                Event::Confirmed(confirmed) => self.confirm(confirmed).await?,
                Event::Completed(completed) => self.complete(completed).await?,
                Event::NoMoreEpochs => break,
            }
        }
        // The sinks' tasks end when their inboxes close, and hang up when they have confirmed.
        self.outlets.clear();
        while let Some(confirmed) = self.confirmations.recv().await {
            self.confirm(confirmed).await?;
        }
        Ok(())
    }

    async fn complete(&mut self, completed: Completed) -> Result<(), PipelineError> {
        let Completed { mut output, mode } = completed;
        if mode == Mode::Live {
            output.dead_letter_bytes =
                write_dead_letters(&mut *self.dead_letters, &output.dead_letters).await?;
            let rows = rows_of(&output);
            let started = Instant::now();
            let name = self.ledger.name().to_owned();
            let mut backoff = Backoff::new();
            loop {
                match self.ledger.write(&output).await {
                    Ok(durable) => {
                        assert!(durable.refused.is_empty(), "a ledger takes all or nothing");
                        break;
                    }
                    Err(error) => retry(&name, error, &mut backoff).await?,
                }
            }
            self.counters.add(Stage::Write(0), rows, started.elapsed());
            self.counters.add_epoch(output.dead_letters.len());
        }
        let output = Arc::new(output);
        for outlet in &self.outlets {
            if outlet.confirmed < output.epoch {
                // A sink's task that is gone has failed and says why itself.
                let _ = outlet.outbox.send(Arc::clone(&output)).await;
            }
        }
        Ok(())
    }

    async fn confirm(&mut self, confirmed: Confirmed) -> Result<(), PipelineError> {
        let Confirmed {
            sink,
            epoch,
            refused,
        } = confirmed;
        let bytes = match refused.as_slice() {
            [] => None,
            refused => write_dead_letters(&mut *self.dead_letters, refused).await?,
        };
        self.counters.add_dead_letters(refused.len());
        let name = self.ledger.name().to_owned();
        let mut backoff = Backoff::new();
        while let Err(error) = self.ledger.confirm(&sink, epoch, bytes).await {
            retry(&name, error, &mut backoff).await?;
        }
        Ok(())
    }
}

/// The task that owns a sink other than the ledger.
pub(super) struct SinkTask {
    pub(super) sink: Box<dyn Sink>,
    /// 1 for the first sink after the ledger
    pub(super) index: usize,
    pub(super) inbox: mpsc::Receiver<Arc<EpochOutput>>,
    pub(super) confirmations: mpsc::Sender<Confirmed>,
    pub(super) counters: Arc<Counters>,
}

impl SinkTask {
    /// Writes epochs until there are no more.
    pub(super) async fn run(mut self) -> Result<(), PipelineError> {
        let name = self.sink.name().to_owned();
        while let Some(output) = self.inbox.recv().await {
            let started = Instant::now();
            let mut backoff = Backoff::new();
            let durable = loop {
                match self.sink.write(&output).await {
                    Ok(durable) => break durable,
                    Err(error) => retry(&name, error, &mut backoff).await?,
                }
            };
            let stage = Stage::Write(self.index);
            self.counters
                .add(stage, rows_of(&output), started.elapsed());
            let confirmed = Confirmed {
                sink: name.clone(),
                epoch: output.epoch,
                refused: durable.refused,
            };
            if self.confirmations.send(confirmed).await.is_err() {
                // The ledger's task has failed and says why itself.
                return Ok(());
            }
        }
        Ok(())
    }
}

fn rows_of(output: &EpochOutput) -> usize {
    let rows = |batches: &Vec<crate::epoch::OutputBatch>| {
        batches.iter().map(|b| b.columns.num_rows()).sum::<usize>()
    };
    output.streams.values().map(rows).sum()
}

async fn write_dead_letters(
    sink: &mut dyn DeadLetterSink,
    letters: &[DeadLetter],
) -> Result<Option<u64>, PipelineError> {
    let mut backoff = Backoff::new();
    loop {
        match sink.write(letters).await {
            Ok(bytes) => return Ok(bytes),
            Err(error) => retry("dead letters", error, &mut backoff).await?,
        }
    }
}

/// Waits before the next try, or gives up where another one would not help.
async fn retry(sink: &str, error: SinkError, backoff: &mut Backoff) -> Result<(), PipelineError> {
    match error.remedy() {
        Remedy::Retry => {
            let wait = backoff.wait();
            tracing::warn!(sink, %error, ?wait, "waiting for a sink");
            tokio::time::sleep(wait).await;
            Ok(())
        }
        Remedy::Stop => Err(PipelineError::Sink {
            sink: sink.to_owned(),
            source: error,
        }),
    }
}

/// Which epochs the other sinks lack: the least epoch that all of them have confirmed.
pub(super) fn least_confirmed(
    confirmed: &BTreeMap<String, EpochId>,
    committed: EpochId,
) -> EpochId {
    confirmed.values().copied().min().unwrap_or(committed)
}
