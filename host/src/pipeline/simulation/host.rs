//! One host: the parts of a run, each of which does a step when it is told to.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::poll;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::bugs::Bug;
use super::dice::Dice;
use super::filling::Filling;
use super::line::RunningLine;
use super::logic::{Logic, May};
use super::reloading::Reloading;
use crate::checkpoint::Snapshot;
use crate::epoch::{Completed, EpochId};
use crate::pipeline::PipelineError;
use crate::pipeline::backfill::Backfill;
use crate::pipeline::catch_up::{CatchUp, Order};
use crate::pipeline::checkpoint::Reached;
use crate::pipeline::line::Line;
use crate::pipeline::topology::Topology;

type Task<T> = Pin<Box<dyn Future<Output = Result<T, PipelineError>>>>;

/// A host whose pipeline runs.
pub(super) struct Host {
    /// the one that commits, then those for sinks that lag
    lines: Vec<RunningLine>,
    /// lines that are about to begin
    beginning: Vec<Task<Option<Line>>>,
    tasks: Vec<Option<Task<()>>>,
    reloading: Reloading,
    filling: Filling,
    catch_up: CatchUp,
    orders: mpsc::Receiver<Order>,
    pub(super) stop: CancellationToken,
    bug: Option<Bug>,
    /// for a bug that mixes up snapshots
    last_snapshot: Option<Snapshot>,
}

impl Host {
    pub(super) fn new(
        topology: Topology,
        (wanted, rate, may): (Logic, f64, May),
        stop: CancellationToken,
        bug: Option<Bug>,
    ) -> Self {
        let Topology {
            line,
            ledger,
            sinks,
            mut checkpoints,
            catch_up,
            orders,
            readmitter,
            coming,
        } = topology;
        let reloading = Reloading {
            wanted: coming.has_changed.then_some(wanted),
            coming,
            workers: line.workers.len(),
            remembered: wanted.remembered,
            rate,
            may,
            put: None,
            accepted: None,
            bug,
        };
        let filling = Filling {
            backfill: Backfill {
                settings: catch_up.settings.clone(),
                versions: Arc::clone(&catch_up.versions),
                open_source: Arc::clone(&catch_up.open_source),
                monitor: Arc::clone(&catch_up.monitor),
            },
            store: catch_up.store.clone(),
            generation: checkpoints.generation,
            now: None,
            bug,
        };
        if bug == Some(Bug::CheckpointBeforeTheSinks) {
            let all = EpochId(u64::MAX);
            let (always, reached) = tokio::sync::watch::channel(Reached {
                by_all: all,
                by_those_who_keep_up: all,
                is_restoring: false,
            });
            // It never changes, so nobody has to keep the other end.
            drop(always);
            checkpoints.reached = reached;
        }
        let mut tasks: Vec<Option<Task<()>>> = vec![
            Some(Box::pin(ledger.run())),
            Some(Box::pin(checkpoints.run())),
            Some(Box::pin(readmitter.run())),
        ];
        for sink in sinks {
            tasks.push(Some(Box::pin(sink.run())));
        }
        Self {
            lines: vec![RunningLine::new(line)],
            beginning: Vec::new(),
            tasks,
            reloading,
            filling,
            catch_up,
            orders,
            stop,
            bug,
            last_snapshot: None,
        }
    }

    /// Whether every part has ended.
    pub(super) fn is_over(&self) -> bool {
        self.lines.iter().all(RunningLine::is_over) && self.tasks.iter().all(Option::is_none)
    }

    /// Whether it has read again what it had to, and goes on live.
    pub(super) fn is_live(&self) -> bool {
        self.lines[0].is_live()
    }

    /// Nobody wants other versions any more.
    pub(super) fn let_versions_be(&mut self) {
        self.reloading.rate = 0.0;
    }

    /// Whether an aggregate lacks what came before it, records are to be taken up again, or a version is to
    /// come into force.
    pub(super) fn has_more_to_do(&self) -> bool {
        let coming = &self.reloading.coming;
        let latest = coming.versions.latest();
        let is_over = latest
            .as_ref()
            .is_some_and(|d| coming.readmissions.is_over(d.version));
        let put = self.reloading.put;
        let changes = latest
            .as_ref()
            .is_some_and(|d| put.is_some_and(|put| put > d.version));
        self.filling.is_needed() || !is_over || changes
    }

    /// Has some part do a step, or time go by.
    pub(super) async fn step(&mut self, dice: &Dice) -> Result<(), PipelineError> {
        match dice.below(11) {
            0 => {
                if dice.chance(0.3) {
                    tokio::time::advance(Duration::from_mins(2)).await;
                }
                if !self.stop.is_cancelled() {
                    let line = &mut self.lines[0];
                    self.reloading.step(line, &mut self.filling, dice)?;
                }
                Ok(())
            }
            1 => self.catch_up(dice).await,
            2..=5 => {
                self.run_task(dice.below(self.tasks.len() as u64) as usize)
                    .await
            }
            6 if !self.stop.is_cancelled() => self.filling.step(dice).await,
            _ => {
                let index = dice.below(self.lines.len() as u64) as usize;
                let (bug, last) = (self.bug, &mut self.last_snapshot);
                let spoil = |completed: &mut Completed| spoil(bug, &mut completed.snapshot, last);
                self.lines[index].step(dice, spoil)?;
                if index > 0 && self.lines[index].is_over() {
                    drop(self.lines.swap_remove(index));
                }
                Ok(())
            }
        }
    }

    /// Has a line begin that brings a sink up.
    async fn catch_up(&mut self, dice: &Dice) -> Result<(), PipelineError> {
        if let Ok(mut order) = self.orders.try_recv() {
            if self.bug == Some(Bug::BroughtUpTooLate) {
                order.confirmed = EpochId(order.confirmed.0 + 2);
            }
            let catch_up = self.catch_up.clone();
            self.beginning
                .push(Box::pin(async move { catch_up.line(order).await }));
        }
        if self.beginning.is_empty() {
            return Ok(());
        }
        let index = dice.below(self.beginning.len() as u64) as usize;
        if let Poll::Ready(line) = poll!(&mut self.beginning[index]) {
            drop(self.beginning.swap_remove(index));
            self.lines.extend(line?.map(RunningLine::new));
        }
        Ok(())
    }

    async fn run_task(&mut self, index: usize) -> Result<(), PipelineError> {
        let Some(task) = &mut self.tasks[index] else {
            return Ok(());
        };
        if let Poll::Ready(ended) = poll!(task) {
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
                version: taken.version,
                positions: taken.positions.clone(),
                tables,
                seen: Vec::new(),
            });
        }
        Some(Bug::RememberedLost) => taken.seen.clear(),
        Some(Bug::SnapshotOfNextVersion) => taken.version = taken.version.next(),
        Some(Bug::SnapshotAhead) => {
            let ahead = taken.positions.iter().map(|(p, next)| (p, next + 1));
            taken.positions = ahead.collect();
        }
        _ => {}
    }
}
