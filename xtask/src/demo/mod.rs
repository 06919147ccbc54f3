//! `cargo demo`: builds everything, and shows what it does.
//!
//! Without further ado nothing has to be installed: `wasmill demo` runs the job on generated sales
//! into a SQLite file. With `--services` the job runs as it is in `pipeline.toml`, on real servers.

mod services;
mod totals;

pub(crate) mod screen;

use std::convert::Infallible;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::workspace::{self, Metadata, cargo};
use crate::{group, guests};

/// `cargo demo …`
#[derive(Args)]
pub(crate) struct Options {
    /// Run the job on real Kafka, PostgreSQL and Elasticsearch, which are started for it
    #[arg(long)]
    services: bool,

    /// Stop after so many seconds instead of waiting for q or Ctrl-C
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,

    /// Sales generated a second, 5000 or with --services 500 if nothing is said
    #[arg(long, value_name = "N")]
    rate: Option<u64>,

    /// Delete what earlier runs left
    #[arg(long)]
    fresh: bool,

    /// Lines instead of the view
    #[arg(long, conflicts_with = "services")]
    plain: bool,

    /// Seconds between two looks at the totals, 3 if nothing is said
    #[arg(long, value_name = "N", requires = "services")]
    every: Option<u64>,
}

/// Runs the demo.
pub(crate) fn run(options: &Options, services_dir: &Path) -> Result<ExitCode> {
    let wasmill = build()?;
    if options.services {
        services::run(options, wasmill, services_dir)
    } else {
        // The terminal is its own from here on, and so are Ctrl-C and the exit code.
        match embedded(options, &wasmill)? {}
    }
}

/// Builds the host and the guests, and returns where the host is.
fn build() -> Result<PathBuf> {
    let pipeline = workspace::root().join("pipeline.toml");
    if !pipeline.exists() {
        bail!("{} is missing", pipeline.display());
    }
    eprintln!("1/2 building wasmill in release mode (the first time this takes 5 to 15 minutes)");
    group::run(&mut cargo(["build", "--release", "--package", "wasmill"]))?;
    eprintln!("2/2 building the guests");
    guests::build()?;
    let target = Metadata::load()?.target_directory()?;
    Ok(target.join("release/wasmill"))
}

/// `wasmill demo` in place of this process.
fn embedded(options: &Options, wasmill: &Path) -> Result<Infallible> {
    let mut command = Command::new(wasmill);
    command.current_dir(workspace::root()).arg("demo");
    for (option, value) in [("--seconds", options.seconds), ("--rate", options.rate)] {
        if let Some(value) = value {
            command.args([option, &value.to_string()]);
        }
    }
    command.args(options.fresh.then_some("--fresh"));
    command.args(options.plain.then_some("--plain"));
    let error = command.exec();
    Err(error).with_context(|| format!("failed to start {}", wasmill.display()))
}
