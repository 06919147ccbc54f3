//! Somebody who fills new aggregates, step by step: as the one who reloads does it.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use futures_util::poll;
use tokio::sync::mpsc::{self, Receiver};
use tokio_util::sync::CancellationToken;

use super::bugs::Bug;
use super::dice::Dice;
use super::line::RunningLine;
use crate::aggregate::TableSnapshot;
use crate::checkpoint::{CheckpointStore, FileRef};
use crate::epoch::{Completed, EpochId};
use crate::pipeline::PipelineError;
use crate::pipeline::backfill::{Backfill, Lacking, left, store_half};
use crate::pipeline::change::Halves;
use crate::pipeline::line::Line;
use crate::pipeline::waiter::Waiter;
use crate::waiting::Waits;

type Task<T> = Pin<Box<dyn Future<Output = Result<T, PipelineError>>>>;

/// What is to join, and the files that it is in.
pub(super) type Joining = (Halves, BTreeMap<String, Vec<FileRef>>);

/// Of one host.
pub(super) struct Filling {
    pub(super) backfill: Backfill,
    pub(super) store: CheckpointStore,
    pub(super) generation: u64,
    pub(super) now: Option<(Lacking, Now)>,
    pub(super) bug: Option<Bug>,
}

/// How far it has come.
pub(super) enum Now {
    Beginning(Task<Line>, Receiver<Completed>),
    Folding(Box<RunningLine>, Receiver<Completed>),
    Storing(Task<Joining>),
    Joining(Joining),
}

impl Filling {
    /// Whether the version in force lacks something.
    pub(super) fn is_needed(&self) -> bool {
        self.wanted().is_some()
    }

    fn wanted(&self) -> Option<Lacking> {
        Lacking::next(&self.backfill.versions.latest()?.backfills)
    }

    /// Goes on with what is lacking now.
    pub(super) async fn step(&mut self, dice: &Dice) -> Result<(), PipelineError> {
        let Some(wanted) = self.wanted() else {
            self.now = None;
            self.backfill.versions.join(false);
            return Ok(());
        };
        let now = self
            .now
            .take()
            .filter(|(lacking, _)| lacking.covers(&wanted));
        let Some((lacking, now)) = now else {
            self.begin(wanted);
            return Ok(());
        };
        let now = match now {
            Now::Beginning(mut task, pieces) => match poll!(&mut task) {
                Poll::Ready(line) => Now::Folding(Box::new(RunningLine::new(line?)), pieces),
                Poll::Pending => Now::Beginning(task, pieces),
            },
            Now::Folding(line, pieces) => self.fold(&lacking, line, pieces, dice)?,
            Now::Storing(mut task) => match poll!(&mut task) {
                Poll::Ready(joining) => Now::Joining(joining?),
                Poll::Pending => Now::Storing(task),
            },
            Now::Joining(joining) => Now::Joining(joining),
        };
        self.now = Some((lacking, now));
        Ok(())
    }

    /// What is to join now, if it is ready.
    pub(super) fn take(&mut self) -> Option<Joining> {
        let wanted = self.wanted()?;
        match self.now.take() {
            Some((lacking, Now::Joining(joining))) if lacking.covers(&wanted) => Some(joining),
            now => {
                self.now = now;
                None
            }
        }
    }

    fn begin(&mut self, wanted: Lacking) {
        let mut lacking = wanted.clone();
        if self.bug == Some(Bug::BackfilledTooFar) {
            let further = lacking.begin.iter().map(|(p, next)| (p, next + 1));
            lacking.begin = further.collect();
        }
        let (epochs, pieces) = mpsc::channel(1);
        let backfill = self.backfill.clone();
        let version = backfill.versions.latest().map(|d| d.version);
        let task = async move {
            let stop = CancellationToken::new();
            let version = version.unwrap_or_default();
            backfill.line(version, &lacking, epochs, &stop).await
        };
        self.now = Some((wanted, Now::Beginning(Box::pin(task), pieces)));
    }

    fn fold(
        &self,
        lacking: &Lacking,
        mut line: Box<RunningLine>,
        mut pieces: Receiver<Completed>,
        dice: &Dice,
    ) -> Result<Now, PipelineError> {
        line.step(dice, |_| ())?;
        let Ok(piece) = pieces.try_recv() else {
            return Ok(Now::Folding(line, pieces));
        };
        if left(&piece.output.positions, &lacking.begin) > 0 {
            return Ok(Now::Folding(line, pieces));
        }
        let tables = line.look(&lacking.aggregates);
        self.backfill.versions.join(true);
        let (store, generation) = (self.store.clone(), self.generation);
        let task = async move { store_all(&store, generation, tables).await };
        Ok(Now::Storing(Box::pin(task)))
    }
}

async fn store_all(
    store: &CheckpointStore,
    generation: u64,
    tables: Vec<TableSnapshot>,
) -> Result<Joining, PipelineError> {
    let (stop, waits) = (CancellationToken::new(), Waits::default());
    let waiter = Waiter {
        stop: &stop,
        waits: &waits,
    };
    let (mut halves, mut joined) = (Halves::new(), BTreeMap::new());
    for table in tables {
        let at = (EpochId(0), generation);
        let (half, files) = store_half(store, at, &table, waiter).await?;
        halves.insert(Arc::clone(&table.aggregate), half);
        joined.insert(table.aggregate.to_string(), files);
    }
    Ok((halves, joined))
}
