//! Guests: Wasm components that hold the logic of a pipeline, and the sandbox around them.
//!
//! ```text
//! GuestEngine ─ load ─► Component ─ transform / aggregate ─► TransformGuest / AggregateGuest
//!  (one)                 (one a file)   (configure)            (one a worker and stage)
//! ```
//!
//! A [`GuestEngine`] compiles, or takes from its cache on disk, what it loads. A [`Component`] is
//! shared by all workers. A configured guest is one long-lived instance; it belongs to one thread at
//! a time and calls are synchronous.
//!
//! # Invariants
//!
//! 1. Nothing that a guest returns is believed before it was checked against its contract.
//! 2. An instance whose call failed in any way is discarded. The next call gets a fresh one, which
//!    must declare the same contract.
//! 3. Memory, time and output of a call are bounded ([`crate::config::Limits`]), and a guest cannot
//!    sleep inside the host.
//! 4. wasmtime is used below this module and nowhere else.
//!
//! # Not here
//!
//! What becomes of rows that a guest rejects or fails on: [`crate::transform`] and
//! [`crate::aggregate`], both by way of `isolate`.

mod bindings;
mod limits;
mod wasi;

mod cache;
mod component;
mod engine;
mod load;
mod ticker;

mod changes;
mod columns;
mod contract;
mod error;
mod instance;
mod meter;

mod aggregate;
mod batch;
mod configured;
mod isolate;
mod transform;

pub use aggregate::{AggregateGuest, Folded};
pub use batch::{FULL_BATCH_ROWS, call_ranges, lowered_bytes};
pub use changes::{Changes, RowRejection};
pub use component::{Component, Description, Kind};
pub use contract::{AggregateContract, OutputColumn, TransformContract};
pub use engine::{GuestEngine, GuestError};
pub use error::{CallError, ConfigureError};
pub(crate) use isolate::{Fault, isolate};
pub use load::LoadError;
pub(crate) use load::hex;
pub use meter::{Failure, GuestMeter};
pub use transform::TransformGuest;
