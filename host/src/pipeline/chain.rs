//! The stages that a worker runs its records through.

use std::sync::Arc;

use super::PipelineError;
use super::monitor::{Monitor, Stage};
use crate::aggregate::{AggregateStage, FoldedRows, Groupings};
use crate::decode::Decoder;
use crate::deduplicate::Deduplicator;
use crate::deployment::Backfills;
use crate::epoch::Mode;
use crate::record::{Origin, Positions, RawBatch, Rows};
use crate::sink::screen::Screen;
use crate::transform::TransformStage;

/// The stages of one worker. Streams are numbered: 0 is the source, then the transforms.
pub(super) struct Chain {
    pub(super) decoder: Decoder,
    pub(super) deduplicator: Option<Deduplicator>,
    pub(super) transforms: Vec<Transform>,
    pub(super) aggregates: Vec<Aggregate>,
    /// at most one for each stream
    pub(super) screens: Vec<Screening>,
    /// streams that some sink takes, with their names
    pub(super) shown: Vec<(usize, Arc<str>)>,
}

impl Chain {
    /// Aggregates that are given what came before them have themselves what comes from there on.
    pub(super) fn begin_at(&mut self, backfills: &Backfills) {
        for aggregate in &mut self.aggregates {
            let name = &*aggregate.names.stage;
            aggregate.begin = backfills.begins.get(name).map(|at| Begin {
                at: at.clone(),
                lacks_it: backfills.hides(name),
            });
        }
    }

    /// Those of them that are new begin at these positions.
    pub(super) fn begin_here(&mut self, positions: &Positions) {
        let begins = self.aggregates.iter_mut();
        let begins = begins.filter_map(|aggregate| aggregate.begin.as_mut());
        let new = begins.filter(|begin| begin.at == Positions::default());
        new.for_each(|begin| begin.at.clone_from(positions));
    }
}

pub(super) struct Transform {
    pub(super) from: usize,
    pub(super) stage: TransformStage,
    pub(super) names: StageNames,
}

pub(super) struct Aggregate {
    pub(super) from: usize,
    pub(super) stage: AggregateStage,
    pub(super) names: StageNames,
    /// whether it only says which records it rejects
    pub(super) is_only_asked: bool,
    /// where it begins, if a backfill has what came before
    pub(super) begin: Option<Begin>,
}

/// Where an aggregate begins that was given what came before it: records of before that are taken up
/// again later are in that.
pub(super) struct Begin {
    pub(super) at: Positions,
    /// whether it lacks yet what came before: then it does not fold it where all is made anew either
    pub(super) lacks_it: bool,
}

/// What a sink cannot hold, of the rows of a stream.
pub(super) struct Screening {
    pub(super) from: usize,
    pub(super) screen: Screen,
    pub(super) names: StageNames,
}

/// What a dead letter says of the stage that left it out.
#[derive(Debug, Clone)]
pub(super) struct StageNames {
    pub(super) stage: Arc<str>,
    pub(super) component: Option<Arc<str>>,
}

impl Aggregate {
    /// Folds rows, beside what others know of their groups; `index` is its place.
    pub(super) fn fold(
        &mut self,
        rows: &Rows,
        shared: &mut Groupings,
        (index, monitor): (usize, &Monitor),
    ) -> Result<FoldedRows, PipelineError> {
        let count = rows.columns.num_rows();
        let fold = || self.stage.fold_beside(rows, shared);
        let folded = monitor.time(Stage::Fold(index), count, fold);
        folded.map_err(|source| PipelineError::Fold {
            aggregate: Arc::clone(&self.names.stage),
            source,
        })
    }

    /// Those of the rows that it has not got by a backfill, where these are not all of them.
    pub(super) fn own(&self, rows: &Rows, raw: &RawBatch, mode: Mode) -> Option<Rows> {
        let begin = self.begin.as_ref()?;
        if mode == Mode::Rebuild && !begin.lacks_it {
            return None;
        }
        let is_own = |&record: &u32| {
            let Origin { partition, offset } = raw.get(record as usize).origin;
            let begin = begin.at.get(partition);
            begin.is_none_or(|begin| offset >= begin)
        };
        if rows.records.iter().all(is_own) {
            return None;
        }
        let mut own = rows.clone();
        own.keep(is_own);
        Some(own)
    }
}

impl StageNames {
    pub(super) fn decode() -> Self {
        Self {
            stage: "decode".into(),
            component: None,
        }
    }

    pub(super) fn deduplicate() -> Self {
        Self {
            stage: "deduplicate".into(),
            component: None,
        }
    }
}
