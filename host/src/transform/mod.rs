//! A transform in the chain: rows in, rows out, by way of a guest.
//!
//! The guest gets the columns that it needs, as many rows at a time as one call takes, and returns
//! only what it changes; the other columns go on as they are. Rows that it rejects, and rows that it
//! fails on even when they stand alone, leave the stream with a [`Rejection`].
//!
//! # Invariants
//!
//! 1. No column that the guest leaves alone is copied, unless rows were omitted or repeated.
//! 2. A record is rejected whole and once: where one of its rows is, this stage passes on none of
//!    them. Rows that other stages made of it are the caller's to remove.
//! 3. What a batch may grow to is bounded (`OUTPUT_GROWTH_MAX`).
//!
//! # Not here
//!
//! What a guest may return: [`crate::guest`].

mod assemble;

#[cfg(test)]
mod tests;

use std::ops::Range;

use arrow_array::{Array, RecordBatch};
use thiserror::Error;

use self::assemble::{Piece, assemble, repeated_bytes, without_records};
use crate::guest::{
    CallError, Changes, Fault, TransformContract, TransformGuest, call_ranges, isolate,
};
use crate::record::{Cause, Rejection, Rows};
use crate::schema::Schema;

/// One batch may grow to so many times what one call may hand back. Rows that would make it larger
/// are rejected.
const OUTPUT_GROWTH_MAX: u64 = 16;

/// The call of the contract, as a component or native code answers it.
pub trait TransformLogic: Send {
    /// What it gets and returns.
    fn contract(&self) -> &TransformContract;

    /// Bytes that the input of one call may take.
    fn input_bytes_max(&self) -> usize;

    /// Bytes that one call may hand back.
    fn output_bytes_max(&self) -> u64;

    /// Changes rows: `input` has the columns of `contract().needs`.
    ///
    /// # Errors
    ///
    /// [`CallError`] concerns the call as a whole.
    fn apply(&mut self, input: &RecordBatch) -> Result<Changes, CallError>;
}

impl TransformLogic for TransformGuest {
    fn contract(&self) -> &TransformContract {
        self.contract()
    }

    fn input_bytes_max(&self) -> usize {
        self.input_bytes_max()
    }

    fn output_bytes_max(&self) -> u64 {
        self.output_bytes_max()
    }

    fn apply(&mut self, input: &RecordBatch) -> Result<Changes, CallError> {
        self.apply(input)
    }
}

impl From<TransformGuest> for Box<dyn TransformLogic> {
    fn from(guest: TransformGuest) -> Self {
        Box::new(guest)
    }
}

/// A transform cannot go on at all: the pipeline stops.
#[derive(Debug, Error)]
#[error("transform `{stage}` cannot go on")]
pub struct TransformError {
    stage: String,
    error: CallError,
}

/// A configured transform, for one worker.
pub struct TransformStage {
    name: String,
    logic: Box<dyn TransformLogic>,
}

/// A row that leaves the stream here.
struct Refused {
    row: usize,
    cause: Cause,
    reason: String,
}

impl TransformStage {
    /// The transform `name`, done by a guest or native code.
    #[must_use]
    pub fn new(name: impl Into<String>, logic: impl Into<Box<dyn TransformLogic>>) -> Self {
        Self {
            name: name.into(),
            logic: logic.into(),
        }
    }

    /// The name of the stream that it makes.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The columns of the stream that it makes.
    #[must_use]
    pub fn output(&self) -> &Schema {
        &self.logic.contract().output
    }

    /// Makes the output of a batch, and appends a rejection for each record that leaves the stream.
    /// No rows, no call.
    ///
    /// # Errors
    ///
    /// When no fresh instance of the guest can be made; `rejected` is then as it was.
    ///
    /// # Panics
    ///
    /// When `rows` has other columns than the guest was configured for.
    pub fn apply(
        &mut self,
        rows: &Rows,
        rejected: &mut Vec<Rejection>,
    ) -> Result<Rows, TransformError> {
        let mut pieces = Vec::with_capacity(1);
        let mut refused = Vec::new();
        self.call(&rows.columns, &mut pieces, &mut refused)
            .map_err(|error| TransformError {
                stage: self.name.clone(),
                error,
            })?;
        let mut output = assemble(self.logic.contract(), rows, &pieces);
        if !refused.is_empty() {
            let first = rejected.len();
            reject(rows, refused, rejected);
            output = without_records(output, &rejected[first..]);
        }
        Ok(output)
    }

    /// Calls for all rows. What came back and what failed are both in order of row.
    fn call(
        &mut self,
        columns: &RecordBatch,
        pieces: &mut Vec<Piece>,
        refused: &mut Vec<Refused>,
    ) -> Result<(), CallError> {
        let needs = &self.logic.contract().needs;
        let input = columns
            .project(needs)
            .expect("a guest's needs were resolved against its input");
        let mut growth = Growth::new(&*self.logic);
        for call_range in call_ranges(&input, self.logic.input_bytes_max()) {
            let rows_of =
                |range: &Range<usize>| call_range.start + range.start..call_range.start + range.end;
            let isolated = isolate(call_range.len(), |range| {
                growth.check_room()?;
                let range = rows_of(&range);
                let part = input.slice(range.start, range.len());
                let changes = self.logic.apply(&part).map_err(CallError::fault)?;
                growth.add(&*self.logic, columns, &range, &changes)?;
                Ok(changes)
            })?;
            for (range, mut changes) in isolated.done {
                let rows = rows_of(&range);
                refused.extend(changes.rejections.drain(..).map(|rejection| Refused {
                    row: rows.start + rejection.row as usize,
                    cause: Cause::Rejected,
                    reason: rejection.reason,
                }));
                pieces.push(Piece { rows, changes });
            }
            for (range, error) in isolated.failed {
                let rows = rows_of(&range);
                let reason = reason(&error, rows.len());
                refused.extend(rows.map(|row| Refused {
                    row,
                    cause: Cause::Failed,
                    reason: reason.clone(),
                }));
            }
        }
        Ok(())
    }
}

fn reason(error: &CallError, rows: usize) -> String {
    if rows == 1 {
        error.to_string()
    } else {
        format!(
            "{error} (one of {rows} rows that failed together and were not tried alone, as too many \
             rows before them had failed alone)"
        )
    }
}

/// Appends one rejection for each record, with the reason of its first row.
fn reject(rows: &Rows, mut refused: Vec<Refused>, rejected: &mut Vec<Rejection>) {
    refused.sort_by_key(|refused| refused.row);
    refused.dedup_by_key(|refused| rows.records[refused.row]);
    rejected.extend(refused.into_iter().map(|refused| Rejection {
        record: rows.records[refused.row],
        cause: refused.cause,
        reason: refused.reason,
        column: None,
    }));
}

/// What the output of a batch may still grow by.
struct Growth {
    /// bytes that one call may make
    call_max: u64,
    /// bytes that one batch may make
    batch_max: u64,
    used: u64,
}

impl Growth {
    fn new(logic: &dyn TransformLogic) -> Self {
        // Offsets of strings are `i32`, so no column can be larger.
        let largest = i32::MAX as u64;
        let call_max = logic.output_bytes_max().min(largest);
        Self {
            call_max,
            batch_max: call_max.saturating_mul(OUTPUT_GROWTH_MAX).min(largest),
            used: 0,
        }
    }

    /// Spares a call whose result there is no room for.
    fn check_room(&self) -> Result<(), Fault<CallError>> {
        if self.used < self.batch_max {
            Ok(())
        } else {
            Err(Fault::Slow(CallError::OutputExceeded(self.batch_max)))
        }
    }

    fn add(
        &mut self,
        logic: &dyn TransformLogic,
        columns: &RecordBatch,
        rows: &Range<usize>,
        changes: &Changes,
    ) -> Result<(), Fault<CallError>> {
        let returned: usize = changes
            .columns
            .iter()
            .map(Array::get_buffer_memory_size)
            .sum();
        let repeated = repeated_bytes(logic.contract(), columns, rows, changes);
        let bytes = repeated.saturating_add(returned as u64);
        if bytes > self.call_max {
            return Err(Fault::Rows(CallError::OutputExceeded(self.call_max)));
        }
        if self.used + bytes > self.batch_max {
            self.used = self.batch_max;
            return Err(Fault::Slow(CallError::OutputExceeded(self.batch_max)));
        }
        self.used += bytes;
        Ok(())
    }
}
