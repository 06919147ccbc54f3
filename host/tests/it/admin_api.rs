//! The admin API: a real server over a real run, with an engine of the test's own behind it.

mod asker;
mod bounds;
mod commands;
mod described;
mod events;
mod harness;
mod reception;
mod schema;
