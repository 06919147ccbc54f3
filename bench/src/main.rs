//! Measures one thing in a process of its own, and prints what it took as a line of JSON. `cargo xtask bench` runs
//! it and makes a table.
//!
//! Compiled code is kept in the folder `WASMILL_CACHE`, if it is set.

mod border;
mod bulk;
mod chain;
mod discard;
mod growth;
mod http;
mod latency;
mod librdkafka;
mod measured;
mod read;
mod whole;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::bail;
use clap::{Parser, Subcommand};
use serde::Serialize;
use wasmill::config::{self, Diagnostics, Pipeline};

use crate::chain::Logic;
use crate::whole::Sinks;

/// Measures one thing.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Take the messages of the pipeline's topic by librdkafka alone
    Librdkafka { pipeline: PathBuf },
    /// Poll the source, and look at nothing
    Consume { pipeline: PathBuf },
    /// And make columns of all fields
    Decode { pipeline: PathBuf },
    /// The whole pipeline, with a ledger that forgets everything and no other sinks
    Discard {
        pipeline: PathBuf,
        /// Put a clock around the calls of the chain, which this answers
        #[arg(long)]
        logic: Option<Logic>,
    },
    /// The whole pipeline with its sinks
    Run { pipeline: PathBuf },
    /// Write the documents of an index into a file, as bodies of bulks
    SaveBulks { file: PathBuf, index: String },
    /// Store such a file in an index, by two connections
    Bulks { file: PathBuf, index: String },
    /// Columns into a guest and back, by type and size
    Border { guests: PathBuf, rounds: usize },
    /// From a record to its row, while the pipeline runs elsewhere
    Latency(latency::Args),
    /// The whole pipeline on records of a certain shape, without sinks
    Growth(growth::Args),
}

fn main() -> anyhow::Result<()> {
    let began = Instant::now();
    match Args::parse().what {
        What::Librdkafka { pipeline } => print(&librdkafka::consume(&load(&pipeline)?.0, began)?),
        What::Consume { pipeline } => print(&read::consume(&load(&pipeline)?.0, began)?),
        What::Decode { pipeline } => print(&read::decode(&load(&pipeline)?.0, began)?),
        What::Discard { pipeline, logic } => {
            let sinks = Sinks::Discard;
            print(&whole::run(load(&pipeline)?, began, (sinks, logic))?)
        }
        What::Run { pipeline } => print(&whole::run(load(&pipeline)?, began, (Sinks::Real, None))?),
        What::SaveBulks { file, index } => print(&bulk::save(&elasticsearch()?, &index, &file)?),
        What::Bulks { file, index } => {
            print(&bulk::store(&elasticsearch()?, &index, &file, began)?)
        }
        What::Growth(args) => print(&growth::run(load(&args.pipeline)?, &args)?),
        What::Latency(args) => print(&latency::measure(&args)?),
        What::Border { guests, rounds } => print(&border::measure(&guests, rounds)?),
    }
}

fn print(measured: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(measured)?);
    Ok(())
}

fn load(path: &Path) -> anyhow::Result<(Pipeline, Diagnostics)> {
    let environment = |name: &str| std::env::var(name).ok();
    match config::load(path, &environment) {
        Ok(loaded) => Ok(loaded),
        Err(diagnostics) => bail!("{}", diagnostics.render(config::Look::Plain)),
    }
}

fn elasticsearch() -> anyhow::Result<String> {
    Ok(std::env::var("ELASTICSEARCH_URL")?)
}
