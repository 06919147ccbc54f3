//! wasmill: a stream processor whose logic is sandboxed WebAssembly.
//!
//! The modules stand in the order in which data flows:
//!
//! ```text
//! source ─► decode ─► transform ─► transform ─┬─► aggregate: fold ─► partials ─┐ epoch
//!       deduplicate    (guest)       (guest)  └─► rows ────────────────────────┤ boundary
//!    records that cannot be used ─► dead_letter                                ▼
//!                                                 aggregate: merge, finish ─► sinks
//! ```
//!
//! [`pipeline`] wires all of it and is the place to start reading. `docs/architecture.md` says
//! more, and `docs/decisions` why.

mod backoff;
mod blocking;
mod calendar;
mod row_codec;

pub mod config;
pub mod schema;

pub mod record;
pub mod source;

pub mod decode;
pub mod deduplicate;

pub mod guest;
pub mod transform;

pub mod aggregate;
pub mod window;

pub mod epoch;

pub mod checkpoint;

pub mod sink;

pub mod dead_letter;

pub mod deployment;
pub mod description;
pub mod pipeline;
pub mod reload;
pub mod status;
pub mod waiting;

pub mod admin;

pub mod cli;
pub mod generate;
mod live;
pub mod telemetry;
