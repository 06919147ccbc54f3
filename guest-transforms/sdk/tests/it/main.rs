//! What only shows outside of the crate: what the macros refuse, and what they allocate.

mod allocations;
mod compile_errors;
