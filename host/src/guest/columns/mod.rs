//! Columns between Arrow and the contract's own layout.
//!
//! Both lay numbers, offsets and bytes out alike, so these cross without an intermediate copy:
//! lowered straight from the Arrow buffers into the guest's memory, and lifted into vectors that
//! become Arrow buffers. What differs is one bit or one byte for a boolean and for whether a value
//! is present, and the offsets of a slice, which in the contract begin at 0.

mod lift;
mod lower;

#[cfg(test)]
mod tests;

pub(super) use lift::{lift_batch, lift_columns};
pub(super) use lower::{Scratch, lower, lowered_bytes};
