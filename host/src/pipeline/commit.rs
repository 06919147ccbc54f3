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
use super::monitor::{Monitor, Queue};
use super::patience::{DEAD_LETTERS, Patience};
use crate::dead_letter::DeadLetterSink;
use crate::epoch::{Completed, EpochId, EpochOutput, Mode};
use crate::record::DeadLetter;
use crate::sink::{Ledger, Sink};
use crate::waiting::Waits;

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
    pub(super) queue: Arc<Queue>,
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
    pub(super) monitor: Arc<Monitor>,
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
        self.monitor.ledger_queue().left();
        let Completed { mut output, mode } = completed;
        if mode == Mode::Live {
            let taken = Instant::now();
            let waits = self.monitor.waits();
            output.dead_letter_bytes =
                write_dead_letters(&mut *self.dead_letters, &output.dead_letters, waits).await?;
            let started = Instant::now();
            let mut patience = Patience::new(waits, self.ledger.name()).on_epoch(output.epoch);
            loop {
                match patience.watch(self.ledger.write(&output)).await {
                    Ok(durable) => {
                        assert!(durable.refused.is_empty(), "a ledger takes all or nothing");
                        break;
                    }
                    Err(error) => {
                        self.monitor.sink_retried(0);
                        patience.retry(error).await?;
                    }
                }
            }
            patience.over();
            self.monitor.sink_wrote(0, &output, 0, started.elapsed());
            self.monitor.epoch_committed(&output, taken);
        }
        let output = Arc::new(output);
        for outlet in &self.outlets {
            if outlet.confirmed < output.epoch {
                outlet.queue.entered();
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
            refused => {
                let waits = self.monitor.waits();
                write_dead_letters(&mut *self.dead_letters, refused, waits).await?
            }
        };
        self.monitor.add_dead_letters(&refused);
        let mut patience = Patience::new(self.monitor.waits(), self.ledger.name()).on_epoch(epoch);
        while let Err(error) = patience
            .watch(self.ledger.confirm(&sink, epoch, &refused, bytes))
            .await
        {
            self.monitor.sink_retried(0);
            patience.retry(error).await?;
        }
        patience.over();
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
    pub(super) monitor: Arc<Monitor>,
}

impl SinkTask {
    /// Writes epochs until there are no more.
    pub(super) async fn run(mut self) -> Result<(), PipelineError> {
        let name = self.sink.name().to_owned();
        while let Some(output) = self.inbox.recv().await {
            self.monitor.outlet_queue(self.index - 1).left();
            let started = Instant::now();
            let mut patience = Patience::new(self.monitor.waits(), &name).on_epoch(output.epoch);
            let durable = loop {
                match patience.watch(self.sink.write(&output)).await {
                    Ok(durable) => break durable,
                    Err(error) => {
                        self.monitor.sink_retried(self.index);
                        patience.retry(error).await?;
                    }
                }
            };
            patience.over();
            let refused = durable.refused.len();
            self.monitor
                .sink_wrote(self.index, &output, refused, started.elapsed());
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

async fn write_dead_letters(
    sink: &mut dyn DeadLetterSink,
    letters: &[DeadLetter],
    waits: &Waits,
) -> Result<Option<u64>, PipelineError> {
    let mut patience = Patience::new(waits, DEAD_LETTERS);
    loop {
        match patience.watch(sink.write(letters)).await {
            Ok(bytes) => {
                patience.over();
                return Ok(bytes);
            }
            Err(error) => patience.retry(error).await?,
        }
    }
}

/// Which epochs the other sinks lack: the least epoch that all of them have confirmed.
pub(super) fn least_confirmed(
    confirmed: &BTreeMap<String, EpochId>,
    committed: EpochId,
) -> EpochId {
    confirmed.values().copied().min().unwrap_or(committed)
}
