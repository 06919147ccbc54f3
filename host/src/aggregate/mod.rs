//! Aggregation in two phases: workers fold rows into partials, an epoch's end merges them into the
//! one state.
//!
//! ```text
//! worker:       rows ─► group ─► guest.fold ─► Partial (a state a group, per batch)
//! coordinator:  partials of all workers + states so far ─► guest.merge ─► states
//!               the groups that were touched ─► guest.finish ─► rows for the sinks
//! ```
//!
//! # Invariants
//!
//! 1. A record is in every aggregate or in none: when one fold rejects a row, the caller leaves its
//!    record out and folds all aggregates of that batch again.
//! 2. Merging is associative and commutative (a law of the contract), so neither the number of
//!    workers nor the order in which their parts arrive changes a state.
//!
//! # Not here
//!
//! Where states survive: [`crate::checkpoint`].

mod fold;
mod group;
mod join;
mod log;
mod snapshot;
mod state;
mod takeover;
#[cfg(test)]
mod tests;

pub use fold::{AggregateStage, FoldedRows, Partial};
pub use group::Groupings;
pub use log::Segment;
pub use snapshot::{StateColumns, TableSnapshot};
pub use state::{AggregateError, StateTable, Touched};
pub use takeover::{StateKind, Takeover, takeover};

pub use crate::row_codec::CorruptRow;

use arrow_array::RecordBatch;

use crate::config;
use crate::guest::{AggregateGuest, CallError, Folded};
use crate::schema::{DataType, DuplicateColumn, Field, Schema};
use crate::window::Tumbling;

/// The name of the column that holds a window's start.
pub const WINDOW_START: &str = "window_start";
/// The name of the column that holds a window's exclusive end.
pub const WINDOW_END: &str = "window_end";

/// The calls of the contract, as a component or native code answers them.
pub trait AggregateLogic: Send {
    /// Folds rows into one state a group: `groups[i]` is row i's.
    ///
    /// # Errors
    ///
    /// [`CallError`] concerns the call as a whole.
    fn fold(
        &mut self,
        groups: &[u32],
        group_count: u32,
        input: &RecordBatch,
    ) -> Result<Folded, CallError>;

    /// Combines states: `groups[i]` is the group of row i of `parts`; one state a group comes back.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    fn merge(
        &mut self,
        groups: &[u32],
        group_count: u32,
        parts: &RecordBatch,
    ) -> Result<RecordBatch, CallError>;

    /// One output row a state.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    fn finish(&mut self, states: &RecordBatch) -> Result<RecordBatch, CallError>;

    /// States of this version of what another one has written, in the same order. A batch without
    /// rows asks whether it can be done.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    fn migrate(&mut self, of: &StateKind, states: &RecordBatch) -> Result<RecordBatch, CallError>;
}

impl AggregateLogic for AggregateGuest {
    fn fold(
        &mut self,
        groups: &[u32],
        group_count: u32,
        input: &RecordBatch,
    ) -> Result<Folded, CallError> {
        Self::fold(self, groups, group_count, input)
    }

    fn merge(
        &mut self,
        groups: &[u32],
        group_count: u32,
        parts: &RecordBatch,
    ) -> Result<RecordBatch, CallError> {
        Self::merge(self, groups, group_count, parts)
    }

    fn finish(&mut self, states: &RecordBatch) -> Result<RecordBatch, CallError> {
        Self::finish(self, states)
    }

    fn migrate(&mut self, of: &StateKind, states: &RecordBatch) -> Result<RecordBatch, CallError> {
        Self::migrate(self, of.version, &of.columns, states)
    }
}

/// What an aggregate's groups are and which rows it makes.
#[derive(Debug, Clone)]
pub struct Layout {
    window: Option<(Tumbling, usize)>,
    /// the same for a person
    window_text: String,
    key_indices: Vec<usize>,
    /// the window's start, where there is one, then the key columns: what a group's bytes hold
    group: Vec<Field>,
    state: StateKind,
    output: Schema,
}

/// Why a layout cannot be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LayoutError {
    /// A column of the key is not there.
    #[error("key column `{0}` is not in the stream that it reads")]
    NoKeyColumn(String),
    /// The window's time column is not there.
    #[error("time column `{0}` is not in the stream that it reads")]
    NoTimeColumn(String),
    /// The window's time column is no timestamp, or may be missing.
    #[error("time column `{column}` has to be a timestamp that is never null, but is {found}")]
    NoTime {
        /// its name
        column: String,
        /// what it is
        found: String,
    },
    /// Key, window and output columns overlap.
    #[error("{0} among the key, the window's bounds and the columns that the guest returns")]
    Duplicate(#[from] DuplicateColumn),
}

impl Layout {
    /// The layout of an aggregate that reads rows of `input`, and whose guest keeps states of this
    /// kind and returns `output`.
    ///
    /// # Errors
    ///
    /// [`LayoutError`].
    pub fn new(
        input: &Schema,
        key: &[String],
        window: &config::Window,
        state: StateKind,
        output: &Schema,
    ) -> Result<Self, LayoutError> {
        let key_indices = key
            .iter()
            .map(|name| {
                input
                    .index_of(name)
                    .ok_or_else(|| LayoutError::NoKeyColumn(name.clone()))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let window_text = match window {
            config::Window::None => "none".to_owned(),
            config::Window::Tumbling { every, time } => format!("tumbling {every:?} of {time}"),
        };
        let window = match window {
            config::Window::None => None,
            config::Window::Tumbling { every, time } => {
                Some((Tumbling::new(*every), time_column(input, time)?))
            }
        };
        let bound = |name: &str| Field::new(name, DataType::Timestamp, false);
        let key = || {
            key_indices
                .iter()
                .map(|&index| input.fields()[index].clone())
        };
        let windowed = window.is_some();
        let group = windowed
            .then(|| bound(WINDOW_START))
            .into_iter()
            .chain(key())
            .collect();
        let stream = key()
            .chain(windowed.then(|| bound(WINDOW_START)))
            .chain(windowed.then(|| bound(WINDOW_END)))
            .chain(output.fields().iter().cloned())
            .collect();
        Ok(Self {
            group,
            state,
            output: Schema::new(stream)?,
            window,
            window_text,
            key_indices,
        })
    }

    /// The columns of the stream that the aggregate makes: key, `window_start`, `window_end`, then
    /// what the guest returns.
    #[must_use]
    pub fn output(&self) -> &Schema {
        &self.output
    }

    /// The columns of the input that are its key: the first columns of [`output`](Self::output).
    #[must_use]
    pub fn key_indices(&self) -> &[usize] {
        &self.key_indices
    }

    /// What stored states depend on, as it is kept beside them and compared at a start.
    #[must_use]
    pub fn definition(&self) -> serde_json::Value {
        let columns = |fields: &[Field]| fields.iter().map(Field::described).collect::<Vec<_>>();
        serde_json::json!({
            "group": columns(&self.group),
            "window": self.window_text,
            "state": columns(self.state.columns.fields()),
            "state_version": self.state.version,
        })
    }
}

fn time_column(input: &Schema, name: &str) -> Result<usize, LayoutError> {
    let index = input
        .index_of(name)
        .ok_or_else(|| LayoutError::NoTimeColumn(name.to_owned()))?;
    let field = &input.fields()[index];
    if field.ty == DataType::Timestamp && !field.nullable {
        return Ok(index);
    }
    let null = if field.nullable { " or null" } else { "" };
    Err(LayoutError::NoTime {
        column: name.to_owned(),
        found: format!("{}{null}", field.ty),
    })
}
