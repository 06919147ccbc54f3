//! `wasmill dead-letters`: looks at the records that were left out, and sends them again.
//!
//! Components are not loaded and the pipeline is not claimed: it may run meanwhile, or be broken.

mod groups;
mod letter;
mod list;
mod replay;
mod show;
mod when;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;

use crate::config::{self, Embedding, Pipeline};
use crate::dead_letter::{LetterStore, Selection, open_store};
use crate::record::{Origin, Partition};

/// What `wasmill dead-letters` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    wasmill dead-letters list pipeline.toml --count\n  \
    wasmill dead-letters show pipeline.toml 3:4711\n  \
    wasmill dead-letters replay pipeline.toml --stage sales --reason 'no rate' --dry-run")]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show which records were left out, and why
    List(list::Args),
    /// Show everything about one of them
    Show(show::Args),
    /// Produce them to the source's topic again
    Replay(replay::Args),
}

pub(super) fn run(args: Args) -> anyhow::Result<()> {
    match args.action {
        Action::List(args) => list::run(args),
        Action::Show(args) => show::run(&args),
        Action::Replay(args) => replay::run(args),
    }
}

/// Which pipeline's letters.
#[derive(Debug, clap::Args)]
struct Of {
    /// Those of `wasmill run --embedded`
    #[arg(long)]
    embedded: bool,

    /// Where the embedded run has its files; `data` beside the pipeline by default
    #[arg(long, value_name = "FOLDER", requires = "embedded")]
    data: Option<PathBuf>,
}

impl Of {
    /// The pipeline at `path`, without its components.
    fn load(&self, path: &Path) -> anyhow::Result<Pipeline> {
        let refuse = |found: config::Diagnostics| super::refuse(&found);
        if !self.embedded {
            let (pipeline, _) = config::load(path, &super::environment).map_err(refuse)?;
            return Ok(pipeline);
        }
        let (pipeline, mut found) =
            config::load_embedded(path, &super::environment).map_err(refuse)?;
        let beside = || path.parent().unwrap_or(Path::new("")).join("data");
        let embedding = Embedding {
            data: self.data.clone().unwrap_or_else(beside),
            ..Embedding::default()
        };
        let embedded = config::embed(pipeline, &embedding, &mut found);
        Ok(embedded.ok_or_else(|| super::refuse(&found))?.pipeline)
    }
}

/// Which letters, by what they say.
#[derive(Debug, clap::Args)]
struct Filter {
    /// Only those of this stage: `decode`, a transform, an aggregate or a sink
    #[arg(long)]
    stage: Option<String>,

    /// Only those whose reason has this text in it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    /// Only those written at this time or later: 2026-01-31, 2026-01-31T06:00:00Z, or 90m, 2h, 3d ago
    #[arg(long, value_name = "TIME", value_parser = when::since)]
    since: Option<i64>,
}

impl Filter {
    fn selection(self) -> Selection {
        Selection {
            places: Vec::new(),
            stage: self.stage,
            reason: self.reason,
            since_ms: self.since,
            until_ms: None,
            with_settled: false,
        }
    }
}

/// The letters of a pipeline.
fn store(pipeline: &Pipeline) -> anyhow::Result<Box<dyn LetterStore>> {
    open_store(pipeline).context("failed to open the dead letters")
}

/// `PARTITION:OFFSET`
fn place(text: &str) -> Result<Origin, String> {
    let place = text.split_once(':').and_then(|(partition, offset)| {
        let origin = Origin {
            partition: Partition(partition.parse().ok()?),
            offset: offset.parse().ok()?,
        };
        origin.is_record().then_some(origin)
    });
    place.ok_or_else(|| "a record is PARTITION:OFFSET, such as 3:4711".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_partition_and_an_offset() {
        let expected = Origin {
            partition: Partition(3),
            offset: 4711,
        };
        assert_eq!(place("3:4711"), Ok(expected));
        for text in ["3", "3:", ":1", "-1:2", "3:-1", "3:4:5", "a:b", ""] {
            assert!(place(text).is_err(), "{text}");
        }
    }
}
