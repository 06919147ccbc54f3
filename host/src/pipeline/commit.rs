//! The way of an epoch into the sinks: dead letters, then the ledger, then every other sink.
//!
//! # Invariants
//!
//! 1. A sink other than the ledger sees an epoch only after the ledger has committed it.
//! 2. A sink's confirmation is noted only after the sink has made the epoch durable and the rows
//!    that it refused are in the dead letters.
//! 3. A snapshot of the states is passed on only after its epoch was committed.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::PipelineError;
use super::catch_up::Order;
use super::checkpoint::{Published, Reached};
use super::monitor::Monitor;
use super::outlet::{News, Outlet};
use super::patience::{DEAD_LETTERS, Patience, until_done};
use super::reader::{JournalRequest, More};
use super::readmission::{Backlog, Readmissions};
use super::start::aim;
use super::versions::Versions;
use crate::checkpoint::Snapshot;
use crate::dead_letter::DeadLetterSink;
use crate::deployment::{Outcome, Version};
use crate::epoch::{Completed, EpochId, EpochOutput, Mode};
use crate::record::{DeadLetter, Positions};
use crate::sink::{Ledger, Targets};

/// Epochs of the journal that are handed out at a time.
const ENTRIES_MAX: usize = 1_000;
/// A sink that lags by so many epochs at most gets the next ones from the stream.
const JOIN_WITHIN: usize = 2;

/// The way to the task that writes checkpoints, and back.
pub(super) struct Checkpoints {
    /// `None` once there are no more epochs
    pub(super) outbox: Option<mpsc::Sender<Snapshot>>,
    pub(super) reached: watch::Sender<Reached>,
    pub(super) published: mpsc::Receiver<Published>,
}

/// The way to those who bring up sinks that lag, and back.
pub(super) struct Lagging {
    pub(super) order: mpsc::Sender<Order>,
    /// goes with each order
    pub(super) ask: mpsc::Sender<JournalRequest>,
    pub(super) asked: mpsc::Receiver<JournalRequest>,
}

/// What became of a version is to be written down.
#[derive(Debug)]
pub(super) struct Conclude {
    pub(super) version: Version,
    pub(super) outcome: Outcome,
}

/// The task that owns the ledger and the dead letters: what is appended to a file of dead letters
/// is in the journal before anything else is appended.
pub(super) struct LedgerTask {
    pub(super) ledger: Box<dyn Ledger>,
    pub(super) dead_letters: Box<dyn DeadLetterSink>,
    pub(super) inbox: mpsc::Receiver<Completed>,
    pub(super) outlets: Vec<Outlet>,
    pub(super) news: mpsc::Receiver<News>,
    pub(super) lagging: Lagging,
    pub(super) checkpoints: Checkpoints,
    /// the last epoch that the ledger has
    pub(super) committed: EpochId,
    /// the positions after it
    pub(super) positions: Positions,
    /// told of what comes into force, and how good it is
    pub(super) versions: Arc<Versions>,
    /// what is to be processed again
    pub(super) backlog: watch::Sender<Backlog>,
    /// told whether there is something
    pub(super) readmissions: Readmissions,
    /// what became of versions
    pub(super) conclusions: mpsc::Receiver<Conclude>,
    /// cancelled when the run is to end: nobody who lags is waited for
    pub(super) stop: CancellationToken,
    pub(super) monitor: Arc<Monitor>,
}

enum Event {
    News(News),
    Published(Published),
    Asked(JournalRequest),
    Conclude(Conclude),
    Completed(Box<Completed>),
    NoMoreEpochs,
    Stop,
}

impl LedgerTask {
    /// Commits epochs until there are no more, every sink has confirmed the last one, and the last
    /// checkpoint is written.
    pub(super) async fn run(mut self) -> Result<(), PipelineError> {
        let mut more = true;
        self.tell_reached();
        self.tell_who_lags();
        self.find_pending().await?;
        loop {
            let open = self.outlets.iter().any(Outlet::is_open);
            let event = tokio::select! {
                biased;
                Some(news) = self.news.recv() => Event::News(news),
                Some(published) = self.checkpoints.published.recv() => Event::Published(published),
                Some(asked) = self.lagging.asked.recv(), if open => Event::Asked(asked),
                // Whoever concludes goes on until this task has ended.
                Some(conclude) = self.conclusions.recv(), if more => Event::Conclude(conclude),
                completed = self.inbox.recv(), if more => {
                    completed.map_or(Event::NoMoreEpochs, |c| Event::Completed(Box::new(c)))
                }
                () = self.stop.cancelled(), if open && !more => Event::Stop,
                else => return Ok(()),
            };
            match event {
                Event::News(news) => self.hear(news).await?,
                Event::Published(published) => self.forget(published).await?,
                Event::Asked(request) => self.answer(request).await?,
                Event::Conclude(Conclude { version, outcome }) => {
                    until_done!(
                        self.patience(),
                        self.monitor.sink_retried(0),
                        self.ledger.conclude(version, &outcome)
                    );
                    // Only now: until then the journal keeps what a version on probation has rejected.
                    self.versions.conclude(version, &outcome);
                }
                Event::Completed(completed) => {
                    if let Some(snapshot) = self.complete(*completed).await?
                        && let Some(outbox) = &self.checkpoints.outbox
                    {
                        // There is room for the one that is written and the last one. The task is
                        // gone only if it has failed, and says why itself.
                        let _ = outbox.try_send(snapshot);
                    }
                }
                Event::NoMoreEpochs => {
                    // Its task ends when this closes, and hangs up when it has.
                    self.checkpoints.outbox = None;
                    more = false;
                }
                Event::Stop => self.outlets.iter_mut().for_each(Outlet::close),
            }
            if !more {
                // Their tasks end when these close, and hang up when they have.
                let done = self.outlets.iter_mut().filter(|outlet| outlet.keeps_up());
                done.for_each(Outlet::close);
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
            output.dead_letter_bytes = self.write_letters_of(&output).await?;
            let started = Instant::now();
            if let Some(deployed) = &output.deployed {
                self.aim(&deployed.targets).await?;
            }
            let durable = until_done!(
                self.patience().on_epoch(output.epoch),
                self.monitor.sink_retried(0),
                self.ledger.write(&output)
            );
            assert!(durable.refused.is_empty(), "a ledger takes all or nothing");
            self.monitor.sink_wrote(0, &output, 0, started.elapsed());
            // Before anybody can see that its records are committed.
            self.count(&output);
            self.monitor.epoch_committed(&output, taken);
            self.committed = output.epoch;
            self.tell_reached();
            if let Some(deployed) = &output.deployed {
                if let Some((version, outcome)) = &deployed.concludes {
                    self.versions.conclude(*version, outcome);
                }
                self.versions.note(deployed.deployment.clone());
                match &deployed.concludes {
                    Some((_, Outcome::RolledBack { .. })) => self.find_pending().await?,
                    _ => self.tell_pending(),
                }
            }
            if !output.readmitted.is_empty() {
                self.readmitted(&output);
            }
        }
        let output = Arc::new(output);
        for outlet in &mut self.outlets {
            outlet.send(&output).await;
        }
        self.tell_who_lags();
        self.bring_up();
        Ok(snapshot)
    }

    /// Counts for its version what an epoch was about. Records that another version had rejected are
    /// no measure of this one.
    fn count(&mut self, output: &EpochOutput) {
        if !output.readmitted.is_empty() {
            return;
        }
        let begin = |partition| self.positions.get(partition).unwrap_or(0);
        let offsets = output.positions.iter();
        let offsets: i64 = offsets.map(|(p, next)| next - begin(p)).sum();
        let records = u64::try_from(offsets).unwrap_or(0);
        self.versions
            .count(output.version, records, &output.dead_letters);
        self.positions.clone_from(&output.positions);
    }

    /// Has the rows of another version go to its tables.
    async fn aim(&mut self, targets: &Targets) -> Result<(), PipelineError> {
        aim(&mut *self.ledger, targets)?;
        until_done!(
            self.patience(),
            self.monitor.sink_retried(0),
            self.ledger.prepare()
        );
        Ok(())
    }

    /// Takes what the task of a sink tells.
    async fn hear(&mut self, news: News) -> Result<(), PipelineError> {
        match news {
            News::Ready { sink } => self.outlets[sink].is_there(),
            News::Confirmed {
                sink,
                epoch,
                refused,
            } => self.confirm(sink, epoch, &refused).await?,
            News::GaveUp { sink } => self.outlets[sink].gave_up(self.committed),
        }
        self.tell_reached();
        self.bring_up();
        Ok(())
    }

    async fn confirm(
        &mut self,
        sink: usize,
        epoch: EpochId,
        refused: &[DeadLetter],
    ) -> Result<(), PipelineError> {
        let bytes = match refused {
            [] => None,
            refused => self.write_dead_letters(refused).await?,
        };
        self.monitor.add_dead_letters(refused);
        let patience = self.patience().on_epoch(epoch);
        let outlet = &mut self.outlets[sink];
        until_done!(
            patience,
            self.monitor.sink_retried(0),
            self.ledger.confirm(&outlet.name, epoch, refused, bytes)
        );
        outlet.reached(epoch);
        Ok(())
    }

    /// Has sinks brought up that lag and answer again.
    fn bring_up(&mut self) {
        for sink in 0..self.outlets.len() {
            if self.stop.is_cancelled() {
                return;
            }
            let outlet = &mut self.outlets[sink];
            if let Some((confirmed, feed)) = outlet.begin_to_catch_up() {
                let name = outlet.name.clone();
                // Before anybody looks for a checkpoint: from now on none of them goes.
                self.tell_reached();
                // There is room for one of each sink; the task is gone only if it has failed.
                let _ = self.lagging.order.try_send(Order {
                    sink,
                    name,
                    confirmed,
                    feed,
                    journal: self.lagging.ask.clone(),
                });
            }
        }
    }

    /// Hands out more of the journal, for a sink that lags. The one that gets the last of it gets the
    /// next epochs from the stream.
    async fn answer(&mut self, request: JournalRequest) -> Result<(), PipelineError> {
        let JournalRequest {
            sink,
            after,
            answer,
        } = request;
        let entries = until_done!(
            self.patience(),
            self.monitor.sink_retried(0),
            self.ledger.journal(after, ENTRIES_MAX)
        );
        let last = entries.len() <= JOIN_WITHIN;
        let known = entries.last().map_or(after, |entry| entry.epoch);
        self.outlets[sink].follows(known);
        // Nobody listens any more where the run is to end.
        if answer.send(More { entries, last }).is_ok() && last {
            self.outlets[sink].join(self.committed);
            self.tell_who_lags();
        }
        self.tell_reached();
        Ok(())
    }

    /// Tells how far everybody has come.
    fn tell_reached(&self) {
        let least = |outlets: &mut dyn Iterator<Item = &Outlet>| {
            let confirmed = outlets.map(|outlet| outlet.confirmed);
            confirmed.fold(self.committed, EpochId::min)
        };
        let reached = Reached {
            by_all: least(&mut self.outlets.iter()),
            by_those_who_keep_up: least(&mut self.outlets.iter().filter(|o| o.keeps_up())),
            is_restoring: self.outlets.iter().any(Outlet::restores),
        };
        self.monitor.done().confirmed(reached.by_those_who_keep_up);
        let told = &self.checkpoints.reached;
        told.send_if_modified(|known| std::mem::replace(known, reached) != reached);
    }

    fn tell_who_lags(&self) {
        for (sink, outlet) in self.outlets.iter().enumerate() {
            self.monitor.sink_lags(sink + 1, !outlet.keeps_up());
        }
    }

    async fn forget(&mut self, published: Published) -> Result<(), PipelineError> {
        let (mut oldest, deployments) = (published.oldest, self.versions.all());
        self.backlog.send_if_modified(|backlog| {
            oldest = backlog.oldest(oldest, &deployments);
            false
        });
        until_done!(
            self.patience(),
            self.monitor.sink_retried(0),
            self.ledger.checkpointed(oldest)
        );
        self.versions.forget_halves(published.oldest);
        // Its task may have been given up at a stop.
        let _ = published.noted.send(());
        Ok(())
    }

    /// What it takes to wait for the ledger.
    pub(super) fn patience(&self) -> Patience {
        Patience::new(self.monitor.waits(), self.ledger.name())
    }

    /// Writes the letters of an epoch, and that older ones are settled by it.
    async fn write_letters_of(
        &mut self,
        output: &EpochOutput,
    ) -> Result<Option<u64>, PipelineError> {
        // First what is settled: a record that is rejected again gets a letter behind it.
        if !output.settled.is_empty() {
            let patience = Patience::new(self.monitor.waits(), DEAD_LETTERS);
            let (settled, version) = (&output.settled, output.version);
            until_done!(patience, self.dead_letters.settle(settled, version));
        }
        self.write_dead_letters(&output.dead_letters).await
    }

    async fn write_dead_letters(
        &mut self,
        letters: &[DeadLetter],
    ) -> Result<Option<u64>, PipelineError> {
        let patience = Patience::new(self.monitor.waits(), DEAD_LETTERS);
        Ok(until_done!(patience, self.dead_letters.write(letters)))
    }
}
