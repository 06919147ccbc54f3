//! A sink behind the ledger: the way to it, and the task that owns it.
//!
//! ```text
//! ledger task ─► outlet ─► queue ─────────────► sink task ─► news ─► ledger task
//!                    └ order ─► a line of its own ─► feed ─┘
//! ```
//!
//! A sink that may lag gets nothing more when it has had no room for [`HELD_UP_MAX`]: the stream goes
//! on without it. Once it has taken all that it was given, it is fed along the journal by a line of
//! its own ([`catch_up`](super::catch_up)), and from the stream again when that has come to its end.
//!
//! # Invariants
//!
//! A sink writes epoch N + 1 after epoch N, wherever they come from; it rather ends than leaves one
//! out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::PipelineError;
use super::monitor::{Monitor, Queue};
use super::patience::{Patience, until_done};
use super::start::aim;
use super::tuning::Tuning;
use crate::epoch::{Completed, EpochId, EpochOutput, Mode};
use crate::record::DeadLetter;
use crate::sink::Sink;

/// How long a sink that may lag holds up the stream, and a stop at most.
pub(super) const HELD_UP_MAX: Duration = Duration::from_secs(5);

/// What the task of a sink tells; `sink` is its index, 0 is the first one behind the ledger.
#[derive(Debug)]
pub(super) enum News {
    /// It is there: said by those that nobody waited for at the start.
    Ready { sink: usize },
    /// It has made an epoch durable.
    Confirmed {
        sink: usize,
        epoch: EpochId,
        /// rows that the sink refused for good
        refused: Vec<DeadLetter>,
    },
    /// The run ends, and it does not answer.
    GaveUp { sink: usize },
}

/// The way to a sink, and how far it has come.
pub(super) struct Outlet {
    pub(super) name: String,
    /// `None` once it gets no more
    ends: Option<Ends>,
    queue: Arc<Queue>,
    /// the last epoch that it has made durable
    pub(super) confirmed: EpochId,
    /// the last epoch that it was given
    sent: EpochId,
    may_lag: bool,
    is_ready: bool,
    standing: Standing,
}

struct Ends {
    outbox: mpsc::Sender<Arc<EpochOutput>>,
    feeds: mpsc::Sender<mpsc::Receiver<Completed>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    KeepsUp,
    Lags,
    /// It is to be fed along the journal; the states that begins with are being restored, or are still
    /// those of an epoch that it has.
    Restores,
    /// It is fed along the journal.
    CatchesUp,
}

impl Outlet {
    /// The way to a sink that has come to epoch `confirmed`. `lags` is `None` where the stream always
    /// waits for it, else whether it is behind what the run begins with.
    pub(super) fn new(
        name: &str,
        (outbox, feeds, queue): (
            mpsc::Sender<Arc<EpochOutput>>,
            mpsc::Sender<mpsc::Receiver<Completed>>,
            Arc<Queue>,
        ),
        confirmed: EpochId,
        lags: Option<bool>,
    ) -> Self {
        let standing = match lags {
            Some(true) => Standing::Lags,
            _ => Standing::KeepsUp,
        };
        Self {
            name: name.to_owned(),
            ends: Some(Ends { outbox, feeds }),
            queue,
            confirmed,
            // The first epoch has nothing for anybody.
            sent: confirmed.max(EpochId::FIRST),
            may_lag: lags.is_some(),
            is_ready: lags.is_none(),
            standing,
        }
    }

    /// Whether it gets what the stream makes.
    pub(super) fn keeps_up(&self) -> bool {
        self.standing == Standing::KeepsUp
    }

    /// Whether there may be more for it.
    pub(super) fn is_open(&self) -> bool {
        self.ends.is_some()
    }

    /// Gives it an epoch, unless it has it or lags. Waits until there is room; a sink that may lag, for
    /// [`HELD_UP_MAX`] at most.
    pub(super) async fn send(&mut self, output: &Arc<EpochOutput>) {
        if !self.keeps_up() || output.epoch <= self.sent {
            return;
        }
        let Some(ends) = &self.ends else {
            return;
        };
        self.queue.entered();
        let sending = ends.outbox.send(Arc::clone(output));
        let sent = if self.may_lag {
            tokio::time::timeout(HELD_UP_MAX, sending).await
        } else {
            Ok(sending.await)
        };
        if sent.is_ok() {
            // A sink's task that is gone has failed and says why itself.
            self.sent = output.epoch;
            return;
        }
        self.queue.left();
        self.standing = Standing::Lags;
        tracing::warn!(
            sink = self.name,
            epoch = output.epoch.0,
            "the stream goes on without this sink; it gets what it lacks once it answers"
        );
    }

    /// Its task has told something.
    pub(super) fn is_there(&mut self) {
        self.is_ready = true;
    }

    /// It has made an epoch durable.
    pub(super) fn reached(&mut self, epoch: EpochId) {
        self.is_ready = true;
        self.confirmed = self.confirmed.max(epoch);
    }

    /// Where it has to be brought up from, and the way to feed it: once it lags and has taken all that
    /// it was given.
    pub(super) fn begin_to_catch_up(&mut self) -> Option<(EpochId, mpsc::Sender<Completed>)> {
        let has_all = self.confirmed.max(EpochId::FIRST) >= self.sent;
        if self.standing != Standing::Lags || !self.is_ready || !has_all {
            return None;
        }
        let (feed, epochs) = mpsc::channel(1);
        self.ends.as_ref()?.feeds.try_send(epochs).ok()?;
        self.standing = Standing::Restores;
        tracing::info!(
            sink = self.name,
            epoch = self.confirmed.0,
            "the sink answers: it gets what it lacks from the records, along the journal"
        );
        Some((self.confirmed, feed))
    }

    /// Whether it is about to be fed: no checkpoint that it may begin with, and nothing of the journal
    /// behind that, may go.
    pub(super) fn restores(&self) -> bool {
        self.standing == Standing::Restores
    }

    /// It is being fed, and has been given the journal up to this epoch.
    pub(super) fn follows(&mut self, epoch: EpochId) {
        if self.restores() && epoch >= self.confirmed {
            self.standing = Standing::CatchesUp;
        }
    }

    /// It is given everything up to the `committed` epoch, and gets what comes after it from the stream.
    pub(super) fn join(&mut self, committed: EpochId) {
        tracing::info!(
            sink = self.name,
            epoch = committed.0,
            "the sink is brought up to the stream"
        );
        self.sent = committed;
        self.standing = Standing::KeepsUp;
    }

    /// Its task gives up, at a stop.
    pub(super) fn gave_up(&mut self, committed: EpochId) {
        tracing::warn!(
            sink = self.name,
            from_epoch = self.confirmed.next().0,
            to_epoch = committed.0,
            "stopped before this sink had the last epochs: it gets them at the next start"
        );
        self.standing = Standing::Lags;
        self.close();
    }

    /// It gets no more.
    pub(super) fn close(&mut self) {
        self.ends = None;
    }
}

/// The task that owns a sink other than the ledger.
pub(super) struct SinkTask {
    pub(super) sink: Box<dyn Sink>,
    /// 0 for the first sink after the ledger
    pub(super) index: usize,
    pub(super) inbox: mpsc::Receiver<Arc<EpochOutput>>,
    pub(super) feeds: mpsc::Receiver<mpsc::Receiver<Completed>>,
    /// what it is fed along the journal, before it goes on with the inbox
    pub(super) feed: Option<mpsc::Receiver<Completed>>,
    /// the last epoch that it has written
    pub(super) written: EpochId,
    /// where the sink may lag: cancelled when the run is to end, which it holds up for a while
    pub(super) lenient: Option<(CancellationToken, watch::Receiver<Tuning>)>,
    pub(super) news: mpsc::Sender<News>,
    pub(super) monitor: Arc<Monitor>,
}

/// The ledger's task has failed and says why itself.
struct LedgerGone;

impl SinkTask {
    /// Writes epochs until there are no more.
    pub(super) async fn run(mut self) -> Result<(), PipelineError> {
        let (news, sink) = (self.news.clone(), self.index);
        let Some((stop, tuning)) = self.lenient.clone() else {
            return self.work().await;
        };
        tokio::select! {
            biased;
            worked = self.work() => worked,
            () = long_after(&stop, &tuning) => {
                let _ = news.send(News::GaveUp { sink }).await;
                Ok(())
            }
        }
    }

    async fn work(&mut self) -> Result<(), PipelineError> {
        if self.lenient.is_some() {
            self.prepare().await?;
            if let Err(LedgerGone) = tell(&self.news, News::Ready { sink: self.index }).await {
                return Ok(());
            }
        }
        while let Some(output) = self.next().await {
            if output.epoch != self.written.next() {
                let stop = self.lenient.as_ref();
                if !stop.is_some_and(|(stop, _)| stop.is_cancelled()) {
                    return Err(PipelineError::JournalGap(self.written.next()));
                }
                // What came before it was cut short.
                let _ = tell(&self.news, News::GaveUp { sink: self.index }).await;
                return Ok(());
            }
            let news = self.write(&output).await?;
            self.written = output.epoch;
            if let Err(LedgerGone) = tell(&self.news, news).await {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Waits until the sink is there.
    async fn prepare(&mut self) -> Result<(), PipelineError> {
        let patience = Patience::new(self.monitor.waits(), self.sink.name());
        until_done!(
            patience,
            self.monitor.sink_retried(self.index + 1),
            self.sink.prepare()
        );
        Ok(())
    }

    /// The next epoch; `None` when there are no more.
    async fn next(&mut self) -> Option<Arc<EpochOutput>> {
        loop {
            if let Some(feed) = &mut self.feed {
                match feed.recv().await {
                    Some(completed) if completed.mode == (Mode::Replay { shown: true }) => {
                        return Some(Arc::new(completed.output));
                    }
                    Some(_) => {}
                    None => self.feed = None,
                }
                continue;
            }
            tokio::select! {
                biased;
                Some(feed) = self.feeds.recv() => self.feed = Some(feed),
                output = self.inbox.recv() => {
                    if output.is_some() {
                        self.monitor.outlet_queue(self.index).left();
                    }
                    return output;
                }
            }
        }
    }

    async fn write(&mut self, output: &EpochOutput) -> Result<News, PipelineError> {
        let started = Instant::now();
        let meter = self.index + 1;
        let patience = Patience::new(self.monitor.waits(), self.sink.name()).on_epoch(output.epoch);
        if let Some(deployed) = &output.deployed {
            aim(&mut *self.sink, &deployed.targets)?;
            self.prepare().await?;
        }
        let retried = || self.monitor.sink_retried(meter);
        let refused = until_done!(patience, retried(), self.sink.write(output)).refused;
        self.monitor
            .sink_wrote(meter, output, refused.len(), started.elapsed());
        Ok(News::Confirmed {
            sink: self.index,
            epoch: output.epoch,
            refused,
        })
    }
}

async fn tell(ledger: &mpsc::Sender<News>, news: News) -> Result<(), LedgerGone> {
    ledger.send(news).await.map_err(|_| LedgerGone)
}

/// Waits for a stop, and then as long as a sink that may lag is given to come to an end.
async fn long_after(stop: &CancellationToken, tuning: &watch::Receiver<Tuning>) {
    stop.cancelled().await;
    let held_up_max = tuning.borrow().held_up_max();
    tokio::time::sleep(held_up_max).await;
}
