//! The contract's types and calls, generated from `wit/`.
//!
//! Bound once over the world `any-guest`, because separate bindings would name the same types
//! differently; each kind of guest is then loaded with the export indices of its own interface.
//! Parameters borrow, so columns are lowered straight from the Arrow buffers.

mod generated {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "any-guest",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

pub(super) use generated::exports::wasmill::guest::{aggregate, transform};
pub(super) use generated::wasmill::guest::data;

/// How the names of the contract's interfaces begin.
pub(super) const PACKAGE: &str = "wasmill:guest/";

/// The contract's package and version, as in the names of its interfaces.
pub(super) const VERSION: &str = "0.1.0";

/// The interface of transforms.
pub(super) const TRANSFORM: &str = "wasmill:guest/transform";

/// The interface of aggregates.
pub(super) const AGGREGATE: &str = "wasmill:guest/aggregate";
