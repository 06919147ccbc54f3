//! Guests of the row level: what the derive macros and the two wrappers make of them.

mod aggregates;
mod transforms;
