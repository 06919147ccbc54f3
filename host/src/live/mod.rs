//! The live view of a running pipeline in the terminal.
//!
//! ```text
//! Status ─► model ─┐
//!                  ├─► view: (model, totals, area) → cells ─► terminal, or svg
//! Totals ──────────┘
//! ```
//!
//! # Invariants
//!
//! 1. [`view`] and [`model`] are pure: they read no clock and do no I/O, and no input makes them
//!    panic, whatever the size of the terminal.
//! 2. However the view ends, also by a panic, the terminal is as it was before.
//!
//! # Not here
//!
//! Counting: [`crate::pipeline`]. Reading totals and running a pipeline under the view:
//! `crate::cli::demo`.

mod model;
mod text;
mod totals;

mod theme;
mod view;

mod svg;
mod terminal;

#[cfg(test)]
mod fixture;

pub(crate) use model::Model;
pub(crate) use svg::render as svg;
pub(crate) use terminal::{Key, Terminal};
pub(crate) use text::{clock, count, per_second};
pub(crate) use theme::Theme;
pub(crate) use totals::{Amount, Bar, Chart, Check, Sum, Totals};
pub(crate) use view::{View, render};
