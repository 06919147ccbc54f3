//! Runs one stage of a pipeline over what its source holds now, and prints what that took as a line
//! of JSON. `cargo xtask bench` runs one process a stage and makes a table of them.
//!
//! | stage | does |
//! |---|---|
//! | `consume` | polls the source, looks at nothing |
//! | `decode` | and makes columns of all fields |
//! | `discard` | the whole pipeline, with a ledger that forgets everything and no other sinks |
//! | `run` | the whole pipeline with its sinks |
//!
//! Compiled code is kept in the folder `WASMILL_CACHE`, if it is set.

mod discard;
mod measured;
mod read;
mod whole;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::bail;
use clap::{Parser, ValueEnum};
use wasmill::config::{self, Diagnostics, Pipeline};

use whole::Sinks;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    Consume,
    Decode,
    Discard,
    Run,
}

/// Measures one stage.
#[derive(Debug, Parser)]
struct Args {
    /// what to run
    stage: Stage,
    /// the pipeline
    pipeline: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let began = Instant::now();
    let args = Args::parse();
    let loaded = load(&args.pipeline)?;
    let measured = match args.stage {
        Stage::Consume => read::consume(&loaded.0, began)?,
        Stage::Decode => read::decode(&loaded.0, began)?,
        Stage::Discard => whole::run(loaded, began, Sinks::Discard)?,
        Stage::Run => whole::run(loaded, began, Sinks::Real)?,
    };
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

fn load(path: &Path) -> anyhow::Result<(Pipeline, Diagnostics)> {
    let environment = |name: &str| std::env::var(name).ok();
    match config::load(path, &environment) {
        Ok(loaded) => Ok(loaded),
        Err(diagnostics) => bail!("{}", diagnostics.render(config::Look::Plain)),
    }
}
