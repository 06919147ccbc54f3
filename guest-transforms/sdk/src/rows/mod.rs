//! The row level: rows as structs, over the columns of the contract.
//!
//! The derive macros ([`Input`](crate::Input), [`Output`](crate::Output), [`State`](crate::State))
//! generate, for each struct, how its columns are opened once a batch and its fields read or written
//! once a row. [`TransformRows`] and [`AggregateRows`] make a guest of the column level of that.
//!
//! # Invariants
//!
//! 1. Nothing is allocated a row, other than by the guest itself and for rows that are rejected.
//! 2. What does not suit the input (a missing column, another type, another scale, missing values) is
//!    refused at `configure`, so that no row has to be looked at for it.

mod aggregate;
pub(crate) mod bind;
mod reject;
mod sum;
#[cfg(test)]
mod tests;
mod traits;
mod transform;
pub(crate) mod value;

pub use aggregate::{AggregateRows, read_states};
pub use bind::Bind;
pub use reject::{Reject, reject};
pub use sum::{Sum, Summand};
pub use traits::{
    Aggregate, Input, Many, OpenColumns, Output, Outputs, RowField, State, Transform,
};
pub use transform::TransformRows;
pub use value::{Expected, InputValue, OutputValue};
