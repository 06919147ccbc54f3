#![doc = include_str!("../README.md")]

extern crate self as wasmill_guest;

pub mod columns;
mod contract;

mod calendar;
mod decimal;
mod rows;

mod config;
#[doc(hidden)]
pub mod export;
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
