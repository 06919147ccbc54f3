//! The Rust SDK for guests of wasmill.
