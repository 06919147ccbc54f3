//! Bringing a sink that lags up to the stream: what it lacks is made again from the records, along
//! the journal, by a line of its own.
//!
//! It is a recovery beside the running pipeline. The states are those of the newest checkpoint that
//! is not later than what the sink has, and are held twice meanwhile; nothing is decided, nothing is
//! committed, and the stream does not wait.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::line::{Line, Making};
use super::monitor::Monitor;
use super::parts::Parts;
use super::path::Path;
use super::reader::{Follow, InForce, JournalRequest, More, Replay, Then};
use super::recover;
use super::sample::Sample;
use super::start::restore;
use super::topology::{Settings, Stages};
use super::turns::{Turns, gone};
use super::versions::Versions;
use super::waiter::{Waiter, partitions, seek};
use super::{OpenSource, PipelineError, Refusals};
use crate::checkpoint::CheckpointStore;
use crate::config::OnLost;
use crate::deduplicate::Seen;
use crate::epoch::{Completed, EpochId};
use crate::source::check_positions;

/// What can be done where Kafka has deleted what a sink lacks. `on_lost` says nothing about it: the
/// tables have these records, and the sink would differ from them for ever.
const WAY_OUT: &str =
    "leave the sink out of the pipeline; or name new indices, and start over with what is left";

/// A sink is to be brought up to the stream.
#[derive(Debug)]
pub(super) struct Order {
    /// its index; 0 is the first sink behind the ledger
    pub(super) sink: usize,
    pub(super) name: String,
    /// the last epoch that it has
    pub(super) confirmed: EpochId,
    /// where the epochs go that it lacks
    pub(super) feed: mpsc::Sender<Completed>,
    pub(super) journal: mpsc::Sender<JournalRequest>,
}

/// What it takes to bring sinks up.
#[derive(Clone)]
pub(super) struct CatchUp {
    pub(super) settings: Settings,
    /// some version of the pipeline, to make others from
    pub(super) stages: Arc<dyn Stages>,
    pub(super) versions: Arc<Versions>,
    pub(super) open_source: OpenSource,
    pub(super) store: CheckpointStore,
    pub(super) monitor: Arc<Monitor>,
    pub(super) stop: CancellationToken,
}

impl CatchUp {
    /// Does what it is told until there are no more orders, and all of it is done or was stopped.
    pub(super) async fn run(self, mut orders: mpsc::Receiver<Order>) -> Result<(), PipelineError> {
        let mut running = JoinSet::new();
        loop {
            tokio::select! {
                Some(order) = orders.recv() => {
                    running.spawn(self.clone().bring_up(order));
                }
                Some(ended) = running.join_next() => ended.unwrap_or_else(|error| {
                    Err(PipelineError::Panicked {
                        part: "bringing up a sink".into(),
                        message: error.to_string(),
                    })
                })?,
                else => return Ok(()),
            }
        }
    }

    async fn bring_up(self, order: Order) -> Result<(), PipelineError> {
        let name = order.name.clone();
        let bringing = async {
            let Some(line) = Box::pin(self.line(order)).await? else {
                return Ok(());
            };
            let mut parts = Parts::new();
            line.start(&mut parts);
            parts.ended().await
        };
        bringing.await.map_err(|source| PipelineError::CatchUp {
            sink: name,
            source: Box::new(source),
        })
    }

    /// A line that begins with what the sink has; `None` when told to stop before that.
    pub(super) async fn line(&self, order: Order) -> Result<Option<Line>, PipelineError> {
        match Box::pin(self.begin(order)).await {
            Ok(line) => Ok(line),
            Err(PipelineError::StoppedWhileStarting(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn begin(&self, order: Order) -> Result<Option<Line>, PipelineError> {
        let monitor = self.monitor.unseen();
        let waiter = Waiter {
            stop: &self.stop,
            waits: monitor.waits(),
        };
        let from = recover::Source {
            store: &self.store,
            versions: &self.versions,
            sibling: &*self.stages,
            sink: Some(&order.name),
            waiter,
        };
        // What the running pipeline has published meanwhile is not lost.
        let epochs = (order.confirmed, None);
        let recovered = Box::pin(restore(from, epochs)).await?;
        let checkpoint = recovered.as_ref().and_then(|r| r.checkpoint.as_ref());
        let known = checkpoint.map_or(EpochId(0), |restored| restored.epoch);
        let Some(More { entries, last }) = ask(&order, known).await else {
            return Ok(None);
        };
        let path = Path::along(entries, checkpoint)?;
        from.load_since(path.start.0).await?;
        let stages = from.stages(path.start.1)?;
        let recovered = match recovered {
            Some(recovered) => recovered,
            None => from.nothing(path.start.1)?,
        };
        let mut source = (self.open_source)().map_err(PipelineError::Source)?;
        let ranges = partitions(&mut *source, waiter).await?;
        let begin_at = path.from(path.to());
        if let Some(gone) = gone(&begin_at, &ranges).first() {
            return Err(gone.states_lost(WAY_OUT));
        }
        check_positions(&begin_at, &ranges).map_err(PipelineError::Source)?;
        seek(&mut *source, &begin_at, waiter).await?;
        let follow = Follow {
            sink: order.sink,
            journal: order.journal,
            known: path.end().unwrap_or(known.max(EpochId::FIRST)),
            asked: None,
            pending: Vec::new(),
            done: last,
        };
        let in_force = InForce {
            version: path.start.1,
            versions: Arc::clone(&self.versions),
            sink: Some(order.name),
        };
        let replay = Replay::new(path.rebuild, path.replay, order.confirmed, in_force);
        let making = Making {
            settings: &self.settings,
            open_source: &self.open_source,
            stages: &*stages,
            backfills: &self.versions.backfills(path.start.1),
            refused: &Refusals::default(),
            monitor: &monitor,
            sample: &Sample::default(),
            stop: &self.stop,
        };
        let begin_with = (recovered.tables, &Seen::new());
        let turns = Turns::new(OnLost::Stop, true, begin_at);
        let reading = (source, replay, Then::Follow(follow), turns);
        making.line(begin_with, reading, order.feed).map(Some)
    }
}

/// Asks for the journal after an epoch; `None` when nobody answers any more.
async fn ask(order: &Order, after: EpochId) -> Option<More> {
    let (answer, answered) = oneshot::channel();
    let request = JournalRequest {
        sink: order.sink,
        after,
        answer,
    };
    order.journal.send(request).await.ok()?;
    answered.await.ok()
}
