//! What came before an aggregate: the records from the start of the topic up to where it began itself are
//! folded by a line of its own, beside the stream.
//!
//! ```text
//! earliest ──── a line of its own ────► begin ──── the stream ────► …
//!          states of these records        └► states of those ─┐
//!                     └────────────────── merged ◄────────────┘
//! ```
//!
//! # Invariants
//!
//! 1. Which of these records are left out is decided again, by the stages of the version that has the
//!    aggregate, all of them, with what deduplication remembers from the start on. Nobody is told: what
//!    was rejected then has its dead letter.
//! 2. Nothing of it counts before the ledger has the deployment that it joins with. Until then a run that
//!    begins anew reads from the start again.
//!
//! # Not here
//!
//! When it joins: [`super::reload`]. How two halves become one: [`crate::aggregate`].

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use arrow_array::RecordBatch;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::checkpoint::columns_of;
use super::line::{Line, Making};
use super::monitor::Monitor;
use super::parts::Parts;
use super::patience::CHECKPOINTS;
use super::reader::{InForce, Rebuild, Replay, Then};
use super::sample::Sample;
use super::topology::Settings;
use super::turns::Turns;
use super::versions::Versions;
use super::waiter::{Waiter, partitions, patiently, seek};
use super::{OpenSource, PipelineError, Refusals};
use crate::aggregate::TableSnapshot;
use crate::checkpoint::{CheckpointStore, FileName, FileRef};
use crate::config::OnLost;
use crate::deduplicate::Seen;
use crate::deployment::{Backfills, Version};
use crate::epoch::{Completed, EpochId};
use crate::record::Positions;

/// Aggregates that lack what came before these positions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lacking {
    pub(super) aggregates: BTreeSet<Arc<str>>,
    /// the first offset of each partition that they have themselves
    pub(super) begin: Positions,
}

/// What they lacked.
#[derive(Debug)]
pub(super) struct Filled {
    pub(super) lacking: Lacking,
    /// the states of each
    pub(super) tables: Vec<TableSnapshot>,
    /// records that some stage left out
    pub(super) rejected: usize,
}

/// What it takes to fold what came before. Clones are the same.
#[derive(Clone)]
pub(super) struct Backfill {
    pub(super) settings: Settings,
    pub(super) versions: Arc<Versions>,
    pub(super) open_source: OpenSource,
    pub(super) monitor: Arc<Monitor>,
}

impl Lacking {
    /// Those that are to be filled next: all that began at one place.
    pub(super) fn next(backfills: &Backfills) -> Option<Self> {
        let (_, begin) = backfills.lacking().next()?;
        let together = backfills.lacking().filter(|(_, b)| *b == begin);
        Some(Self {
            aggregates: together.map(|(name, _)| name.as_str().into()).collect(),
            begin: begin.clone(),
        })
    }

    /// Whether what fills these fills the others too.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.begin == other.begin && self.aggregates.is_superset(&other.aggregates)
    }

    /// Their names, for a person.
    pub(super) fn names(&self) -> String {
        let names: Vec<String> = self.aggregates.iter().map(|n| format!("`{n}`")).collect();
        names.join(", ")
    }
}

impl Backfill {
    /// Folds what aggregates of this version lack; `None` when told to stop.
    pub(super) async fn fold(
        self,
        version: Version,
        lacking: Lacking,
        stop: CancellationToken,
    ) -> Result<Option<Filled>, PipelineError> {
        let (epochs, mut pieces) = mpsc::channel(1);
        let line = match Box::pin(self.line(version, &lacking, epochs, &stop)).await {
            Err(PipelineError::StoppedWhileStarting(_)) => return Ok(None),
            line => line?,
        };
        let looks = line.merger.looks.clone();
        let mut parts = Parts::new();
        line.start(&mut parts);
        let mut ended = Box::pin(parts.ended());
        let mut rejected = 0;
        loop {
            let piece: Completed = tokio::select! {
                biased;
                Some(piece) = pieces.recv() => piece,
                ended = &mut ended => return ended.map(|()| None),
            };
            rejected += piece.output.dead_letters.len();
            let left = left(&piece.output.positions, &lacking.begin);
            self.monitor.backfill_left(left);
            if left == 0 {
                break;
            }
        }
        let looked = looks.ask(lacking.aggregates.clone()).await;
        stop.cancel();
        ended.await?;
        Ok(looked.map(|tables| Filled {
            lacking,
            tables,
            rejected,
        }))
    }

    /// A line that reads from the start of the topic up to where they began, and waits then.
    pub(super) async fn line(
        &self,
        version: Version,
        lacking: &Lacking,
        epochs: mpsc::Sender<Completed>,
        stop: &CancellationToken,
    ) -> Result<Line, PipelineError> {
        let monitor = self.monitor.unseen();
        let waiter = Waiter {
            stop,
            waits: monitor.waits(),
        };
        let mut source = (self.open_source)().map_err(PipelineError::Source)?;
        let ranges = partitions(&mut *source, waiter).await?;
        let mut from = Positions::default();
        for (partition, _) in lacking.begin.iter() {
            let range = ranges.iter().find(|range| range.partition == partition);
            let range = range.ok_or(PipelineError::PartitionGone(partition))?;
            from.set(partition, range.begin);
        }
        seek(&mut *source, &from, waiter).await?;
        let stages = self.versions.stages(version)?;
        let rebuild = Rebuild {
            epoch: EpochId::FIRST,
            end: lacking.begin.clone(),
            rows: 0,
        };
        let in_force = InForce {
            version,
            versions: Arc::clone(&self.versions),
            sink: None,
        };
        let replay = Replay::new(Some(rebuild), VecDeque::new(), EpochId(0), in_force);
        let making = Making {
            settings: &self.settings,
            stages: &*stages,
            backfills: &Backfills::default(),
            refused: &Refusals::default(),
            open_source: &self.open_source,
            monitor: &monitor,
            sample: &Sample::default(),
            stop,
        };
        // What is deleted from the topic meanwhile was before its start.
        let turns = Turns::new(OnLost::Skip, false, lacking.begin.clone());
        let begin_with = (stages.states()?, &Seen::new());
        let reading = (source, replay, Then::Wait, turns);
        let mut line = making.line(begin_with, reading, epochs)?;
        for (worker, _) in &mut line.workers {
            worker.fold_only(&lacking.aggregates);
        }
        Ok(line)
    }
}

/// Stores the states of one aggregate, at the end of this epoch, by the host of this generation, so that
/// the join can be repeated.
pub(super) async fn store_half(
    store: &CheckpointStore,
    (epoch, generation): (EpochId, u64),
    table: &TableSnapshot,
    waiter: Waiter<'_>,
) -> Result<(Vec<RecordBatch>, Vec<FileRef>), PipelineError> {
    let name = FileName::backfill(&table.aggregate, epoch, generation);
    let (mut half, mut files) = (Vec::new(), Vec::new());
    for segment in &table.segments {
        // A number is never another segment's.
        let name = name.clone().with_part(segment.number() as u32);
        let batch = columns_of(table, segment).await;
        let batch = batch.map_err(PipelineError::Checkpoint)?;
        let write = || store.write(&name, &batch);
        files.push(patiently(CHECKPOINTS, waiter, write).await?);
        half.push(batch);
    }
    Ok((half, files))
}

/// Offsets between these positions and the end.
pub(super) fn left(positions: &Positions, end: &Positions) -> u64 {
    let left = end.iter().map(|(partition, end)| {
        let at = positions.get(partition).unwrap_or(0);
        u64::try_from(end - at).unwrap_or(0)
    });
    left.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Partition;

    fn at(next: i64) -> Positions {
        [(Partition(0), next)].into_iter().collect()
    }

    fn under_way(begins: &[(&str, i64)]) -> Backfills {
        let mut backfills = Backfills::default();
        for (name, begin) in begins {
            backfills.add((*name).to_owned());
            backfills.begins.insert((*name).to_owned(), at(*begin));
        }
        backfills
    }

    #[test]
    fn aggregates_that_began_together_are_filled_together() {
        let backfills = under_way(&[("b", 7), ("a", 7), ("c", 9)]);
        let lacking = Lacking::next(&backfills).expect("there are some");
        assert_eq!(lacking.names(), "`a`, `b`");
        assert_eq!(lacking.begin, at(7));
        assert_eq!(Lacking::next(&Backfills::default()), None);
    }

    #[test]
    fn a_backfill_goes_on_as_long_as_it_fills_what_is_wanted() {
        let lacking = |begins| Lacking::next(&under_way(begins)).expect("there are some");
        let both = lacking(&[("a", 7), ("b", 7)]);
        assert!(both.covers(&lacking(&[("b", 7)])));
        assert!(!lacking(&[("b", 7)]).covers(&both));
        assert!(!both.covers(&lacking(&[("b", 8)])), "it began anew");
    }

    #[test]
    fn offsets_that_are_behind_the_end_are_not_left() {
        assert_eq!(left(&at(5), &at(7)), 2);
        assert_eq!(left(&at(9), &at(7)), 0);
    }
}
