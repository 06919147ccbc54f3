//! The way of an epoch into the sinks: dead letters, then the ledger, then every other sink.
//!
//! # Invariants
//!
//! 1. A sink other than the ledger sees an epoch only after the ledger has committed it.
//! 2. A sink's confirmation is noted only after the sink has made the epoch durable and the rows
//!    that it refused are in the dead letters.
//! 3. A snapshot of the states is passed on only after its epoch was committed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, watch};

use super::PipelineError;
use super::checkpoint::Published;
use super::monitor::{Monitor, Queue};
use super::patience::{DEAD_LETTERS, Patience};
use crate::checkpoint::Snapshot;
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

/// The way to the task that writes checkpoints, and back.
pub(super) struct Checkpoints {
    /// `None` once there are no more epochs
    pub(super) outbox: Option<mpsc::Sender<Snapshot>>,
    /// told of the last epoch that everybody has
    pub(super) confirmed: watch::Sender<EpochId>,
    pub(super) published: mpsc::Receiver<Published>,
}

/// The task that owns the ledger and the dead letters: what is appended to a file of dead letters
/// is in the journal before anything else is appended.
pub(super) struct LedgerTask {
    pub(super) ledger: Box<dyn Ledger>,
    pub(super) dead_letters: Box<dyn DeadLetterSink>,
    pub(super) inbox: mpsc::Receiver<Completed>,
    pub(super) outlets: Vec<Outlet>,
    pub(super) confirmations: mpsc::Receiver<Confirmed>,
    pub(super) checkpoints: Checkpoints,
    /// how far everybody is: the ledger and the other sinks, by name
    pub(super) progress: BTreeMap<String, EpochId>,
    pub(super) monitor: Arc<Monitor>,
}

enum Event {
    Confirmed(Confirmed),
    Published(Published),
    Completed(Box<Completed>),
    NoMoreEpochs,
}

impl LedgerTask {
    /// Commits epochs until there are no more, every sink has confirmed the last one, and the last
    /// checkpoint is written.
    pub(super) async fn run(mut self) -> Result<(), PipelineError> {
        let mut more = true;
        loop {
            let event = tokio::select! {
                biased;
                Some(confirmed) = self.confirmations.recv() => Event::Confirmed(confirmed),
                Some(published) = self.checkpoints.published.recv() => Event::Published(published),
                completed = self.inbox.recv(), if more => {
                    completed.map_or(Event::NoMoreEpochs, |c| Event::Completed(Box::new(c)))
                }
                else => return Ok(()),
            };
            match event {
                Event::Confirmed(confirmed) => self.confirm(confirmed).await?,
                Event::Published(published) => self.forget(published).await?,
                Event::Completed(completed) => {
                    if let Some(snapshot) = self.complete(*completed).await?
                        && let Some(outbox) = &self.checkpoints.outbox
                    {
                        // The queue has room for one, and the next one comes when it is done. The
                        // task is gone only if it has failed, and says why itself.
                        let _ = outbox.try_send(snapshot);
                    }
                }
                Event::NoMoreEpochs => {
                    // The others' tasks end when these close, and hang up when they have.
                    more = false;
                    self.checkpoints.outbox = None;
                    self.outlets.clear();
                }
            }
        }
    }

    /// Commits an epoch and hands it to the other sinks; the snapshot that may be stored now.
    async fn complete(&mut self, completed: Completed) -> Result<Option<Snapshot>, PipelineError> {
        self.monitor.ledger_queue().left();
        let Completed {
            mut output,
            mode,
            snapshot,
            ..
        } = completed;
        if mode == Mode::Rebuild {
            return Ok(None);
        }
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
            let ledger = self.ledger.name().to_owned();
            self.reached(ledger, output.epoch);
        }
        let output = Arc::new(output);
        for outlet in &self.outlets {
            if outlet.confirmed < output.epoch {
                outlet.queue.entered();
                // A sink's task that is gone has failed and says why itself.
                let _ = outlet.outbox.send(Arc::clone(&output)).await;
            }
        }
        Ok(snapshot)
    }

    /// Notes how far a sink has come.
    fn reached(&mut self, sink: String, epoch: EpochId) {
        self.progress.insert(sink, epoch);
        let least = self.progress.values().copied().min().unwrap_or_default();
        self.monitor.done().confirmed(least);
        self.checkpoints
            .confirmed
            .send_if_modified(|known| std::mem::replace(known, least) != least);
    }

    async fn forget(&mut self, published: Published) -> Result<(), PipelineError> {
        let mut patience = Patience::new(self.monitor.waits(), self.ledger.name());
        while let Err(error) = patience
            .watch(self.ledger.checkpointed(published.oldest))
            .await
        {
            self.monitor.sink_retried(0);
            patience.retry(error).await?;
        }
        patience.over();
        // Its task may have been given up at a stop.
        let _ = published.noted.send(());
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
        self.reached(sink, epoch);
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
