//! `wasmill run`.

use std::path::PathBuf;

use anyhow::bail;

/// What `wasmill run` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  wasmill run pipeline.toml --once")]
pub(super) struct Args {
    /// The pipeline
    #[arg(default_value = "pipeline.toml")]
    pipeline: PathBuf,

    /// Stop at what is there now: process it, commit it, print a summary
    #[arg(long)]
    once: bool,
}

/// Runs the pipeline.
pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let Args { pipeline, once: _ } = args;
    let (pipeline, diagnostics) = super::load(&pipeline)?;
    super::conclude(&diagnostics)?;
    bail!("the stages of {} are not wired yet", pipeline.name)
}
