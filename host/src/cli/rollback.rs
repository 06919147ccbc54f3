//! `wasmill rollback`: has the running pipeline go back to a former version.

use std::path::PathBuf;

use super::change::{self, Options};

/// What `wasmill rollback` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  wasmill rollback\n  \
                  wasmill rollback 3 --dry-run\n  \
                  wasmill rollback 3 --pipeline shop.toml\n\n\
                  `wasmill status` lists the newest versions.\n\
                  Exit codes: 0 in force (or planned), 1 the running version stays, 2 wrong command line")]
pub(super) struct Args {
    /// The version to go back to; by default the one before the one in force
    #[arg(value_parser = version)]
    version: Option<u32>,

    /// The pipeline that runs; its `[admin]` says where to ask
    #[arg(long, value_name = "FILE", default_value = "pipeline.toml")]
    pipeline: PathBuf,

    #[command(flatten)]
    options: Options,
}

fn version(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(version) if version > 0 => Ok(version),
        _ => Err("a version is a number from 1; name the pipeline with --pipeline".to_owned()),
    }
}

/// Prints what changes.
///
/// # Errors
///
/// When the running version stays, with the reason; when nobody answers.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let mut body = serde_json::Map::new();
    if let Some(version) = args.version {
        body.insert("version".to_owned(), version.into());
    }
    change::ask_for(&args.pipeline, &args.options, "/api/rollback", body)
}
