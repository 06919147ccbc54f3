//! The first phase: a worker folds a batch's rows into one state a group.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;

use super::group::{GroupKeys, Grouped, Grouping, Groupings};
use super::{AggregateLogic, Layout};
use crate::guest::{CallError, Fault, Folded, call_ranges, isolate};
use crate::record::{Cause, Rejection, Rows};

/// So often in a row a guest may reject some rows and want the others again. A guest that can tell good
/// rows from bad ones needs to once.
const REJECTIONS_MAX: usize = 16;
/// So often after that its rows are searched for those that it takes, before all of them are left out.
const SEARCHES_MAX: usize = 2;

/// What a part of a batch adds to an aggregate: one state a group.
#[derive(Debug, Clone)]
pub struct Partial {
    pub(super) keys: Arc<GroupKeys>,
    pub(super) states: RecordBatch,
}

/// What came of folding rows.
#[derive(Debug)]
pub enum FoldedRows {
    /// what they add, for no group more than one state a call
    Partials(Vec<Partial>),
    /// rows that the guest rejects or fails on, or that lie in no window; at least one
    Rejected(Vec<Rejection>),
}

/// One aggregate in one worker.
pub struct AggregateStage {
    name: Arc<str>,
    logic: Box<dyn AggregateLogic>,
    needs: Vec<usize>,
    grouping: Grouping,
    call_bytes_max: usize,
    /// how many folds in a row ended with rejections
    rejections: usize,
}

impl AggregateStage {
    /// The stage `name` with its guest, which needs these columns of the rows that it will get.
    /// A call's columns are kept below `call_bytes_max` bytes.
    #[must_use]
    pub fn new(
        name: Arc<str>,
        logic: Box<dyn AggregateLogic>,
        needs: Vec<usize>,
        layout: &Layout,
        call_bytes_max: usize,
    ) -> Self {
        let key = layout.group[usize::from(layout.window.is_some())..].to_vec();
        Self {
            name,
            logic,
            needs,
            grouping: Grouping {
                window: layout.window.clone(),
                key,
                key_indices: layout.key_indices.clone(),
            },
            call_bytes_max,
            rejections: 0,
        }
    }

    /// The aggregate's name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Folds the rows, all or none: with rejections, the caller leaves their records out and folds
    /// the rest again.
    ///
    /// # Errors
    ///
    /// When no fresh instance of the guest can be made.
    ///
    /// # Panics
    ///
    /// When `rows` has other columns than the guest was configured for.
    pub fn fold(&mut self, rows: &Rows) -> Result<FoldedRows, CallError> {
        self.fold_beside(rows, &mut Groupings::default())
    }

    /// [`fold`](Self::fold) with what other aggregates have found out about the groups of the same
    /// rows.
    ///
    /// # Errors
    ///
    /// As [`fold`](Self::fold).
    ///
    /// # Panics
    ///
    /// As [`fold`](Self::fold).
    pub fn fold_beside(
        &mut self,
        rows: &Rows,
        shared: &mut Groupings,
    ) -> Result<FoldedRows, CallError> {
        let folded = if self.rejections < REJECTIONS_MAX + SEARCHES_MAX {
            self.fold_once(rows, shared)?
        } else {
            give_up_on(rows)
        };
        match folded {
            FoldedRows::Rejected(_) => self.rejections += 1,
            FoldedRows::Partials(_) => self.rejections = 0,
        }
        Ok(folded)
    }

    fn fold_once(&mut self, rows: &Rows, shared: &mut Groupings) -> Result<FoldedRows, CallError> {
        let grouped = match self.grouping.group(rows, shared) {
            Ok(grouped) => grouped,
            Err(rejections) => return Ok(FoldedRows::Rejected(rejections)),
        };
        let input = rows
            .columns
            .project(&self.needs)
            .expect("a guest's needs were resolved against its input");
        let mut partials = Vec::new();
        let mut rejected = Vec::new();
        for call in call_ranges(&input, self.call_bytes_max) {
            let of_call = |part: &Range<usize>| call.start + part.start..call.start + part.end;
            let isolated = isolate(call.len(), |part| {
                self.fold_range((rows, &grouped), &input, of_call(&part))
            })?;
            for (_, outcome) in isolated.done {
                match outcome {
                    FoldedRows::Partials(some) => partials.extend(some),
                    FoldedRows::Rejected(rejections) => rejected.extend(rejections),
                }
            }
            for (part, error) in isolated.failed {
                let reason = error.to_string();
                rejected.extend(of_call(&part).map(|row| Rejection {
                    record: rows.records[row],
                    cause: Cause::Failed,
                    reason: reason.clone(),
                    column: None,
                }));
            }
        }
        Ok(if rejected.is_empty() {
            FoldedRows::Partials(partials)
        } else {
            FoldedRows::Rejected(rejected)
        })
    }

    fn fold_range(
        &mut self,
        (rows, grouped): (&Rows, &Arc<Grouped>),
        input: &RecordBatch,
        range: Range<usize>,
    ) -> Result<FoldedRows, Fault<CallError>> {
        let records = &rows.records[range.clone()];
        let grouped = if range.len() == rows.records.len() {
            Arc::clone(grouped)
        } else {
            Arc::new(grouped.part(range.clone()))
        };
        let input = input.slice(range.start, range.len());
        let count = grouped.keys.len() as u32;
        let folded = self.logic.fold(grouped.groups(), count, &input);
        Ok(match folded.map_err(CallError::fault)? {
            Folded::States(states) => FoldedRows::Partials(vec![Partial {
                keys: Arc::clone(&grouped.keys),
                states,
            }]),
            Folded::Rejected(rejections) if self.rejections >= REJECTIONS_MAX => {
                let words = rejections.first().map_or("", |first| &first.reason);
                return Err(Fault::Rows(CallError::Invalid(endless(words))));
            }
            Folded::Rejected(rejections) => {
                let rejections = rejections.into_iter().map(|rejection| Rejection {
                    record: records[rejection.row as usize],
                    cause: Cause::Rejected,
                    reason: rejection.reason,
                    column: None,
                });
                FoldedRows::Rejected(rejections.collect())
            }
        })
    }
}

/// What a guest did that always wants the others again, and its last words.
fn endless(words: &str) -> String {
    let more = if words.is_empty() { "" } else { ", at last: " };
    format!(
        "it rejected some rows and wanted the others again {REJECTIONS_MAX} times in a row{more}{words}"
    )
}

/// Leaves out what is left of a batch.
fn give_up_on(rows: &Rows) -> FoldedRows {
    if rows.records.is_empty() {
        return FoldedRows::Partials(Vec::new());
    }
    let reason = CallError::Invalid(endless("")).to_string();
    let rejection = |&record: &u32| Rejection {
        record,
        cause: Cause::Failed,
        reason: reason.clone(),
        column: None,
    };
    FoldedRows::Rejected(rows.records.iter().map(rejection).collect())
}
