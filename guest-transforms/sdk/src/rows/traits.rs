//! The row level: what people write.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::columns::{Batch, Column, DataType, Field};

use super::bind::Bind;
use super::reject::Reject;
use super::value::Expected;

/// A struct that is read from the columns of a row; derived.
///
/// Each field is a column of the same name, or of that in `#[column(name = "…")]`. An `Option` takes
/// missing values; any other field refuses a column that may have some, at `configure`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no row to read",
    note = "add #[derive(Input)] to a struct with a field for each column"
)]
pub trait Input<'a>: Sized {
    /// The opened columns of a batch.
    #[doc(hidden)]
    type Columns;

    /// The name of the struct, for messages.
    #[doc(hidden)]
    const NAME: &'static str;

    /// Its fields, in order.
    #[doc(hidden)]
    const FIELDS: &'static [RowField];

    #[doc(hidden)]
    fn open(columns: &OpenColumns<'a, '_>) -> Result<Self::Columns, String>;

    #[doc(hidden)]
    fn read(columns: &Self::Columns, row: usize) -> Self;
}

/// A struct that is written to the columns of a row; derived.
///
/// Each field is a column of the same name, or of that in `#[column(name = "…")]`. An `Option` may leave
/// a value out.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no row to write",
    note = "add #[derive(Output)] to a struct with a field for each column; a guest that only filters or rejects has the output `()`"
)]
pub trait Output: Sized {
    /// The columns that are being written.
    #[doc(hidden)]
    type Builders;

    /// Its fields, in order.
    #[doc(hidden)]
    const FIELDS: &'static [RowField];

    #[doc(hidden)]
    fn builders(types: &[DataType], rows: usize) -> Self::Builders;

    /// Appends a row; or, where a value does not fit, the field's index and what is wrong with it.
    #[doc(hidden)]
    fn push(self, builders: &mut Self::Builders) -> Result<(), (usize, &'static str)>;

    #[doc(hidden)]
    fn truncate(builders: &mut Self::Builders, rows: usize);

    #[doc(hidden)]
    fn finish(builders: Self::Builders) -> Vec<Column>;
}

/// A struct that the host keeps for each group, as a row of columns; derived.
///
/// Its default is the state of no rows.
pub trait State: Default + Output + for<'a> Input<'a> {}

/// A field of a row, as the derive macros describe it.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct RowField {
    /// of the struct
    pub field: &'static str,
    /// of the column, unless the config says otherwise
    pub column: &'static str,
    pub expected: Expected,
    pub nullable: bool,
}

/// The columns of a batch, and which of them each field is read from.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct OpenColumns<'a, 'b> {
    pub(super) columns: &'a [Column],
    pub(super) sources: &'b [super::bind::Source],
    pub(super) rows: usize,
}

/// A transform, row by row: a struct and one function.
///
/// **Law**: what becomes of a row depends on that row and on the config, and on nothing else.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no transform",
    note = "implement `wasmill_guest::Transform` for it; what implements `ColumnTransform` is exported by `column_transform!`"
)]
pub trait Transform: Sized {
    /// The stage's `config`, read from JSON; [`NoConfig`](crate::NoConfig) where it takes none.
    type Config: DeserializeOwned + JsonSchema;

    /// What is read of a row.
    type Input<'a>: Input<'a>;

    /// What becomes of a row: an [`Output`] (a row for each), `Option` of one (a filter), an array, a
    /// `Vec` or [`Many`](crate::Many) (rows out of one); `()` as the row where no column is returned.
    type Output: Outputs;

    /// Checks the config and makes what it says.
    ///
    /// # Errors
    ///
    /// Refuse the pipeline at start; the text is shown with the name of the stage.
    fn new(config: Self::Config) -> Result<Self, String>;

    /// Names the columns where the config does. Unless it is implemented, each field is the column of
    /// its own name.
    ///
    /// # Errors
    ///
    /// Refuse the pipeline at start; the text is shown with the name of the stage.
    fn bind(&mut self, columns: &mut Bind<'_>) -> Result<(), String> {
        let _ = columns;
        Ok(())
    }

    /// Maps a row.
    ///
    /// # Errors
    ///
    /// Reject the row: its record goes to the dead letters.
    fn apply(&self, row: Self::Input<'_>) -> Result<Self::Output, Reject>;
}

/// A fold over groups that the host chooses, row by row.
///
/// **Laws**, for any rows and states of a group: it makes no difference where rows are cut into batches,
/// and in which order states are merged: `merge` is associative and commutative.
/// [`AggregateGuest::check_laws`](crate::testing::AggregateGuest::check_laws) holds them against rows.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no aggregate",
    note = "implement `wasmill_guest::Aggregate` for it; what implements `ColumnAggregate` is exported by `column_aggregate!`"
)]
pub trait Aggregate: Sized {
    /// The stage's `config`, read from JSON; [`NoConfig`](crate::NoConfig) where it takes none.
    type Config: DeserializeOwned + JsonSchema;

    /// What is read of a row.
    type Input<'a>: Input<'a>;

    /// What is kept of a group.
    type State: State;

    /// What is shown of a group.
    type Output: Output;

    /// Raised when what a state means changes.
    const STATE_VERSION: u32;

    /// Checks the config and makes what it says.
    ///
    /// # Errors
    ///
    /// Refuse the pipeline at start; the text is shown with the name of the stage.
    fn new(config: Self::Config) -> Result<Self, String>;

    /// Names the columns where the config does. Unless it is implemented, each field is the column of
    /// its own name.
    ///
    /// # Errors
    ///
    /// Refuse the pipeline at start; the text is shown with the name of the stage.
    fn bind(&mut self, columns: &mut Bind<'_>) -> Result<(), String> {
        let _ = columns;
        Ok(())
    }

    /// Adds a row to its group.
    ///
    /// # Errors
    ///
    /// Reject the row: its record goes to the dead letters, and no aggregate counts it.
    fn add(&self, state: &mut Self::State, row: Self::Input<'_>) -> Result<(), Reject>;

    /// Adds what another state of the same group has gathered.
    ///
    /// # Errors
    ///
    /// Stop the pipeline before the epoch is committed.
    fn merge(&self, state: &mut Self::State, other: &Self::State) -> Result<(), String>;

    /// What is shown of a state.
    ///
    /// # Errors
    ///
    /// Stop the pipeline, as for `merge`.
    fn finish(&self, state: &Self::State) -> Result<Self::Output, String>;

    /// Rewrites states that another version has written, under `version` and with the columns `fields`:
    /// [`read_states`](crate::read_states) reads them into a struct of that version. A batch without
    /// rows asks whether it can be done. States of this version never come here: with the same columns
    /// they are taken as they are, and with others they are refused.
    ///
    /// # Errors
    ///
    /// Say why it cannot be done; the states stay as they were. Unless it is implemented, all other
    /// versions are refused.
    fn migrate(
        &self,
        version: u32,
        fields: &[Field],
        states: &Batch,
    ) -> Result<Vec<Self::State>, String> {
        let _ = (fields, states);
        let own = Self::STATE_VERSION;
        Err(format!(
            "states of version {version} cannot be read: this is version {own}"
        ))
    }
}

/// What becomes of a row.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is nothing that a row can become",
    note = "it is a struct with #[derive(Output)], or an Option, an array, a Vec or `Many` of one; `()` stands for a row without new columns"
)]
pub trait Outputs {
    /// a row
    type Row: Output;

    /// whether rows may be left out or repeated
    const SELECTS: bool;

    /// Hands over each row, up to the first error.
    ///
    /// # Errors
    ///
    /// That of `push`.
    fn each<E>(self, push: impl FnMut(Self::Row) -> Result<(), E>) -> Result<(), E>;
}

impl<O: Output> Outputs for O {
    type Row = O;
    const SELECTS: bool = false;

    #[inline]
    fn each<E>(self, mut push: impl FnMut(O) -> Result<(), E>) -> Result<(), E> {
        push(self)
    }
}

impl<O: Output> Outputs for Option<O> {
    type Row = O;
    const SELECTS: bool = true;

    #[inline]
    fn each<E>(self, push: impl FnMut(O) -> Result<(), E>) -> Result<(), E> {
        self.into_iter().try_for_each(push)
    }
}

impl<O: Output> Outputs for Vec<O> {
    type Row = O;
    const SELECTS: bool = true;

    #[inline]
    fn each<E>(self, push: impl FnMut(O) -> Result<(), E>) -> Result<(), E> {
        self.into_iter().try_for_each(push)
    }
}

impl<O: Output, const N: usize> Outputs for [O; N] {
    type Row = O;
    const SELECTS: bool = true;

    #[inline]
    fn each<E>(self, push: impl FnMut(O) -> Result<(), E>) -> Result<(), E> {
        self.into_iter().try_for_each(push)
    }
}

/// Rows out of one, as an iterator gives them.
#[derive(Debug, Clone)]
pub struct Many<I>(pub I);

impl<I: IntoIterator<Item: Output>> Outputs for Many<I> {
    type Row = I::Item;
    const SELECTS: bool = true;

    #[inline]
    fn each<E>(self, push: impl FnMut(I::Item) -> Result<(), E>) -> Result<(), E> {
        self.0.into_iter().try_for_each(push)
    }
}

/// A row without columns.
impl Output for () {
    type Builders = ();
    const FIELDS: &'static [RowField] = &[];

    fn builders(_: &[DataType], _: usize) {}

    fn push(self, (): &mut ()) -> Result<(), (usize, &'static str)> {
        Ok(())
    }

    fn truncate((): &mut (), _: usize) {}

    fn finish((): ()) -> Vec<Column> {
        Vec::new()
    }
}
