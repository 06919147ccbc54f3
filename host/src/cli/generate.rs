//! `wasmill generate`.

use anyhow::bail;

/// What `wasmill generate` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  wasmill generate")]
pub(super) struct Args {}

/// Makes records.
pub(super) fn run(Args {}: Args) -> anyhow::Result<()> {
    bail!("the generator is not wired yet")
}
