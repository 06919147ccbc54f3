//! (being written)

pub mod generate;
