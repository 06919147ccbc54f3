//! `wasmill dead-letters list`

use std::ops::ControlFlow;
use std::path::PathBuf;

use serde_json::Value;

use super::groups::Groups;
use super::{Filter, Of, letter, when};
use crate::cli::terminal::{cell, note, print, step, table};
use crate::dead_letter::{LetterStore, Selection, StoredLetter};
use crate::sink::SinkError;

/// What `wasmill dead-letters list` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    wasmill dead-letters list pipeline.toml --count --since 2h\n  \
    wasmill dead-letters list pipeline.toml --stage decode --limit 5 --json")]
pub(super) struct Args {
    /// The pipeline
    #[arg(default_value = "pipeline.toml")]
    pipeline: PathBuf,

    /// Show the newest so many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,

    /// Count them by stage, column and reason
    #[arg(long, conflicts_with = "limit")]
    count: bool,

    /// Also those whose records a later version has processed again
    #[arg(long)]
    settled: bool,

    /// Print a JSON list
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    filter: Filter,

    #[command(flatten)]
    of: Of,
}

/// Prints the newest letters, or how many there are of each kind.
pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let pipeline = args.of.load(&args.pipeline)?;
    let mut store = super::store(&pipeline)?;
    let selection = Selection {
        with_settled: args.settled,
        ..args.filter.selection()
    };
    let runtime = crate::cli::runtime()?;
    let place = store.place();
    if args.count {
        let counting = count(&mut *store, &selection);
        let groups = step(format!("counting in {place}"), || {
            runtime.block_on(counting)
        })?;
        if args.json {
            return print(&format!("{:#}\n", groups.json()));
        }
        if groups.is_empty() {
            note(&format!("no dead letters in {place}"));
            return Ok(());
        }
        return print(&format!("{}\n", groups.table()));
    }
    let limit = args.limit as usize;
    let finding = newest(&mut *store, &selection, limit);
    let letters = step(format!("looking in {place}"), || runtime.block_on(finding))?;
    if args.json {
        let letters: Value = letters.iter().map(letter::json).collect();
        return print(&format!("{letters:#}\n"));
    }
    if letters.is_empty() {
        note(&format!("no dead letters in {place}"));
        return Ok(());
    }
    show(&letters)?;
    if letters.len() == limit {
        note(&format!(
            "the newest {limit} in {place}; there may be more: --limit N shows more, --count counts all"
        ));
    }
    Ok(())
}

async fn count(store: &mut dyn LetterStore, selection: &Selection) -> Result<Groups, SinkError> {
    let mut groups = Groups::default();
    let mut visit = |letter: StoredLetter| {
        groups.add(&letter);
        ControlFlow::Continue(())
    };
    store.scan(selection, None, &mut visit).await?;
    Ok(groups)
}

async fn newest(
    store: &mut dyn LetterStore,
    selection: &Selection,
    limit: usize,
) -> Result<Vec<StoredLetter>, SinkError> {
    let mut letters = Vec::new();
    let mut visit = |letter| {
        letters.push(letter);
        ControlFlow::Continue(())
    };
    store.scan(selection, Some(limit), &mut visit).await?;
    Ok(letters)
}

fn show(letters: &[StoredLetter]) -> anyhow::Result<()> {
    let mut shown = table();
    shown.set_header([
        "partition",
        "offset",
        "stage",
        "column",
        "reason",
        "written",
    ]);
    for letter in letters {
        let (partition, offset) = letter::place(letter);
        shown.add_row([
            partition,
            offset,
            cell(&letter.stage),
            cell(letter.column.as_deref().unwrap_or_default()),
            cell(&letter::reason(letter)),
            letter.written_ms.map_or_else(String::new, when::shown),
        ]);
    }
    print(&format!("{shown}\n"))
}
