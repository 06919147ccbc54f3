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
#[cfg(not(target_family = "wasm"))]
pub mod testing;

pub use calendar::{Date, ParseTimeError, Timestamp};
pub use columns::{Batch, Column, DataType, Field, Rejection, Values, VarBytes};
pub use config::NoConfig;
pub use contract::{
    AggregateContract, Changes, ColumnAggregate, ColumnTransform, Folded, TransformContract,
};
pub use decimal::{AnyDecimal, Decimal, ParseDecimalError};
pub use schemars;
pub use wasmill_guest_macros::{column_aggregate, column_transform};
