//! The Rust SDK for guests of wasmill.
//!
//! A guest of the column level is a struct that implements [`ColumnTransform`] or [`ColumnAggregate`],
//! and a line that exports it: `wasmill_guest::column_transform!(Filter);`. All of it is native Rust,
//! so `cargo test` tests it; [`testing`] hands it rows as JSON.

extern crate self as wasmill_guest;

mod calendar;
pub mod columns;
mod config;
mod contract;
mod decimal;
#[doc(hidden)]
pub mod export;
mod rows;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

pub use calendar::{Date, ParseTimeError, Timestamp};
pub use columns::{Batch, Column, DataType, Field, Rejection, Values, VarBytes};
pub use config::NoConfig;
pub use contract::{
    AggregateContract, Changes, ColumnAggregate, ColumnTransform, Folded, TransformContract,
};
pub use decimal::{AnyDecimal, Decimal, ParseDecimalError};
pub use rows::{
    Aggregate, AggregateRows, Bind, Input, Many, Output, Outputs, Reject, State, Sum, Summand,
    Transform, TransformRows, read_states, reject,
};
pub use schemars;
pub use wasmill_guest_macros::{
    Input, Output, State, aggregate, column_aggregate, column_transform, transform,
};

/// What the derive macros expand to uses of. Not for guests to name.
#[doc(hidden)]
pub mod derive {
    pub use crate::rows::{Expected, InputValue, OpenColumns, OutputValue, RowField};
}
