//! Everything that needs a server, a component or the binary: one test binary.
//!
//! `cargo xtask test` builds the guests, starts the servers and says where they are in
//! `WASMILL_TEST_KAFKA`, `WASMILL_TEST_POSTGRES`, `WASMILL_TEST_ELASTICSEARCH` and `WASMILL_TEST_S3`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod backfill;
mod support;
mod swaps;

mod source_contract;

mod allocations;
mod guests;
mod hostile;
mod sandbox;

mod checkpoint_contract;

mod elasticsearch;
mod postgres;
mod sink_contract;
mod sqlite;

mod dead_letter_commands;
mod dead_letters;
mod deduplicate;
mod letter_contract;

mod generator;
mod kafka_events;

mod command_line;
mod demo;
mod dev;
mod faulty_plans;
mod guest_tools;
mod scaffolds;

mod admin_api;
mod bad_versions;
mod embedded;
mod end_to_end;
mod faults;
mod lagging;
mod live_settings;
mod log_level;
mod new_columns;
mod observability;
mod provenance;
mod queries;
mod readmission;
mod recovery;
mod restart;
mod soak;
mod takeover;
