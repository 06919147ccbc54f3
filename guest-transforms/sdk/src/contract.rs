//! The column level: what a guest is to the host, in native Rust.
//!
//! The two traits are the interfaces of `wit/transform.wit` and `wit/aggregate.wit`, where their laws
//! stand. A guest that implements one of them is exported by [`column_transform!`](crate::column_transform)
//! or [`column_aggregate!`](crate::column_aggregate).

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::columns::{Batch, Column, Field, Rejection};

/// What a transform agrees to do with a stream, given that stream's columns.
///
/// The columns of the output stream are those of the input without `drops`, in order, each replaced in
/// place by the field of the same name in `returns`; then the other fields of `returns`, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TransformContract {
    /// input columns that `apply` gets, in this order; the others never cross the border
    pub needs: Vec<String>,
    /// columns that `apply` returns, in this order
    pub returns: Vec<Field>,
    /// input columns that end here
    pub drops: Vec<String>,
    /// whether `apply` may leave out or repeat rows by [`Changes::selection`]
    pub selects: bool,
}

/// What a transform made of a batch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// For each output row the index of the input row that it came from, never falling. `None`: every
    /// row that was not rejected, once, in order.
    pub selection: Option<Vec<u32>>,
    /// one column for each field of [`TransformContract::returns`], as long as the output
    pub columns: Vec<Column>,
    /// rows that cannot be used, each once and none of them in `selection`
    pub rejections: Vec<Rejection>,
}

/// What an aggregate agrees to do with a stream, given that stream's columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AggregateContract {
    /// input columns that `fold` gets, in this order
    pub needs: Vec<String>,
    /// the columns of a state, which is one row of them
    pub state: Vec<Field>,
    /// raised when states that an older build wrote cannot be read unchanged
    pub state_version: u32,
    /// the columns that `finish` returns
    pub output: Vec<Field>,
}

/// What an aggregate made of a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum Folded {
    /// one state for each group: row `g` is the state of group `g`
    States(Batch),
    /// Some rows cannot be used, so there are no states. Not empty; each row once.
    Rejected(Vec<Rejection>),
}

/// Row in, zero or more rows out, column-wise.
///
/// **Law**: what becomes of a row depends on that row and on what `configure` was given, and on nothing
/// else.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no transform of the column level",
    note = "implement `wasmill_guest::ColumnTransform` for it; what implements `Transform` is exported by `transform!`"
)]
pub trait ColumnTransform: Sized {
    /// The stage's `config`, read from JSON; [`NoConfig`](crate::NoConfig) where it takes none.
    type Config: DeserializeOwned + JsonSchema;

    /// Fixes what this instance does. `input` are the columns of the stream, in order.
    ///
    /// # Errors
    ///
    /// Refuse the pipeline at start; the text is shown with the name of the stage.
    fn configure(
        input: &[Field],
        config: Self::Config,
    ) -> Result<(Self, TransformContract), String>;

    /// Maps one batch, which has the columns of `needs`, in that order, and perhaps no rows.
    ///
    /// # Errors
    ///
    /// Concern the whole batch, and are for what cannot be blamed on rows. A row at fault is a
    /// [`Rejection`].
    fn apply(&self, input: Batch) -> Result<Changes, String>;
}

/// A fold over groups that the host chooses, column-wise.
///
/// **Laws**, for any rows `a`, `b` and states `x`, `y`, `z` of one group:
/// `fold(a ++ b) = merge(fold(a), fold(b))`; `merge` is associative and commutative.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no aggregate of the column level",
    note = "implement `wasmill_guest::ColumnAggregate` for it; what implements `Aggregate` is exported by `aggregate!`"
)]
pub trait ColumnAggregate: Sized {
    /// The stage's `config`, read from JSON; [`NoConfig`](crate::NoConfig) where it takes none.
    type Config: DeserializeOwned + JsonSchema;

    /// Fixes what this instance does. `input` are the columns of the stream, in order.
    ///
    /// # Errors
    ///
    /// Refuse the pipeline at start; the text is shown with the name of the stage.
    fn configure(
        input: &[Field],
        config: Self::Config,
    ) -> Result<(Self, AggregateContract), String>;

    /// Folds rows into one new state for each group. `groups[i]` is the group of row `i` and is below
    /// `group_count`; every group occurs.
    ///
    /// # Errors
    ///
    /// Concern the whole batch.
    fn fold(&self, groups: &[u32], group_count: u32, input: Batch) -> Result<Folded, String>;

    /// Merges states of the same group into one. `parts` has a state a row; `groups[i]` is the group of
    /// row `i` and is below `group_count`; every group occurs.
    ///
    /// # Errors
    ///
    /// Stop the pipeline before the epoch is committed.
    fn merge(&self, groups: &[u32], group_count: u32, parts: Batch) -> Result<Batch, String>;

    /// The visible values of states: one row of `output` for each state, in order.
    ///
    /// # Errors
    ///
    /// Stop the pipeline, as for `merge`.
    fn finish(&self, states: Batch) -> Result<Batch, String>;

    /// Rewrites states that another version of this guest has written, under `version` and with the
    /// columns `state`, into states of this one. A batch without rows asks whether it can be done.
    ///
    /// # Errors
    ///
    /// Say why it cannot be done; the states stay as they were.
    fn migrate(&self, version: u32, state: &[Field], states: Batch) -> Result<Batch, String>;
}
