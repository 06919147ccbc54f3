//! The first phase: a worker folds a batch's rows into one state a group.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;

use super::group::{GroupKeys, Grouping};
use super::{AggregateLogic, Layout};
use crate::guest::{CallError, Folded, isolate, lowered_size};
use crate::record::{Rejection, Rows};

/// Rows that one call of a guest gets at most.
const CALL_ROWS_MAX: usize = 8_192;

/// What a part of a batch adds to an aggregate: one state a group.
#[derive(Debug, Clone)]
pub struct Partial {
    pub(super) keys: GroupKeys,
    pub(super) states: RecordBatch,
}

/// One aggregate in one worker.
pub struct AggregateStage {
    name: Arc<str>,
    logic: Box<dyn AggregateLogic>,
    needs: Vec<usize>,
    grouping: Grouping,
    call_bytes_max: usize,
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
        }
    }

    /// The aggregate's name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Folds the rows, all or none.
    ///
    /// # Errors
    ///
    /// Every row that the guest rejects or fails on, or that lies in no window; the caller leaves
    /// their records out and folds the rest again.
    pub fn fold(&mut self, rows: &Rows) -> Result<Vec<Partial>, Vec<Rejection>> {
        let mut partials = Vec::new();
        let mut rejected = Vec::new();
        for range in self.calls(rows) {
            let offset = range.start;
            let folded = isolate(range.len(), |part| {
                self.fold_range(rows, offset + part.start..offset + part.end)
            });
            for (_, outcome) in folded.done {
                match outcome {
                    Ok(partial) => partials.push(partial),
                    Err(rejections) => rejected.extend(rejections),
                }
            }
            rejected.extend(folded.failed.into_iter().map(|(row, error)| Rejection {
                record: rows.records[offset + row],
                reason: error.to_string(),
                column: None,
                by_guest: true,
            }));
        }
        if rejected.is_empty() {
            Ok(partials)
        } else {
            Err(rejected)
        }
    }

    /// The rows in ranges that one call can take.
    fn calls(&self, rows: &Rows) -> Vec<Range<usize>> {
        let count = rows.columns.num_rows();
        if count == 0 {
            return Vec::new();
        }
        let bytes = self.project(&rows.columns).map_or(0, |c| lowered_size(&c));
        let pieces = bytes
            .div_ceil(self.call_bytes_max)
            .max(count.div_ceil(CALL_ROWS_MAX))
            .max(1);
        let step = count.div_ceil(pieces);
        (0..count)
            .step_by(step)
            .map(|start| start..count.min(start + step))
            .collect()
    }

    fn project(&self, columns: &RecordBatch) -> Result<RecordBatch, CallError> {
        columns
            .project(&self.needs)
            .map_err(|error| CallError::Invalid(error.to_string()))
    }

    fn fold_range(
        &mut self,
        rows: &Rows,
        range: Range<usize>,
    ) -> Result<Result<Partial, Vec<Rejection>>, CallError> {
        let part = Rows {
            columns: rows.columns.slice(range.start, range.len()),
            records: rows.records[range].to_vec(),
        };
        let grouped = match self.grouping.group(&part) {
            Ok(grouped) => grouped,
            Err(rejections) => return Ok(Err(rejections)),
        };
        let input = self.project(&part.columns)?;
        let count = grouped.keys.len() as u32;
        match self.logic.fold(&grouped.groups, count, &input)? {
            Folded::States(states) => Ok(Ok(Partial {
                keys: grouped.keys,
                states,
            })),
            Folded::Rejected(rejections) => Ok(Err(rejections
                .into_iter()
                .map(|(row, reason)| Rejection {
                    record: part.records[row as usize],
                    reason,
                    column: None,
                    by_guest: true,
                })
                .collect())),
        }
    }
}
