//! `wasmill reload`: has the running pipeline take its files as they are now.

use std::path::PathBuf;

use super::change::{self, Options};

/// What `wasmill reload` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  wasmill reload --dry-run\n  \
                  wasmill reload pipeline.toml --json\n  \
                  WASMILL_TOKEN=... wasmill reload --admin 10.0.0.5:8080\n\n\
                  The files are those of the machine that runs the pipeline.\n\
                  Exit codes: 0 in force (or planned), 1 the running version stays, 2 wrong command line")]
pub(super) struct Args {
    /// The pipeline that runs; its `[admin]` says where to ask
    #[arg(default_value = "pipeline.toml")]
    pipeline: PathBuf,

    #[command(flatten)]
    options: Options,
}

/// Prints what changes.
///
/// # Errors
///
/// When the running version stays, with the reason; when nobody answers.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let body = serde_json::Map::new();
    change::ask_for(&args.pipeline, &args.options, "/api/reload", body)
}
