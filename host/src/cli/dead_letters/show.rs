//! `wasmill dead-letters show`

use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::bail;
use serde_json::Value;

use super::{Of, letter};
use crate::cli::terminal::{print, step};
use crate::dead_letter::{Selection, StoredLetter};
use crate::record::Origin;

/// Letters of one record that are shown at most; there are as many as documents of it were refused.
const LETTERS_MAX: usize = 1_000;

/// What `wasmill dead-letters show` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    wasmill dead-letters show pipeline.toml 3:4711\n  \
    wasmill dead-letters show pipeline.toml 3:4711 --json")]
pub(super) struct Args {
    /// The pipeline
    pipeline: PathBuf,

    /// Which record, as `list` shows it
    #[arg(value_name = "PARTITION:OFFSET", value_parser = super::place)]
    place: Origin,

    /// Print a JSON list
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    of: Of,
}

/// Prints all letters of a record.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let pipeline = args.of.load(&args.pipeline)?;
    let mut store = super::store(&pipeline)?;
    let selection = Selection {
        places: vec![args.place],
        with_settled: true,
        ..Selection::default()
    };
    let runtime = crate::cli::runtime()?;
    let mut letters: Vec<StoredLetter> = Vec::new();
    let mut visit = |letter| {
        letters.push(letter);
        ControlFlow::Continue(())
    };
    let store_place = store.place();
    let scan = store.scan(&selection, Some(LETTERS_MAX), &mut visit);
    step(format!("looking in {store_place}"), || {
        runtime.block_on(scan)
    })?;
    if letters.is_empty() {
        let Origin { partition, offset } = args.place;
        bail!("no dead letter of the record {partition}:{offset} in {store_place}");
    }
    if args.json {
        let letters: Value = letters.iter().map(letter::json).collect();
        return print(&format!("{letters:#}\n"));
    }
    let letters: Vec<String> = letters.iter().map(letter::text).collect();
    print(&letters.join("\n"))
}
