//! The text's tables, made into a [`Pipeline`], or reported.
//!
//! Each function reads all keys of its section before it gives up, so that one run reports every
//! mistake. `None` means that a report was made.

mod admin;
mod checkpoint;
mod components;
mod dead_letters;
mod deduplicate;
mod names;
mod projection;
mod reload;
mod sinks;
mod source;
mod stages;
mod streams;
mod warnings;

use std::path::Path;
use std::thread;
use std::time::Duration;

use toml::de::DeTable;

use self::components::Components;
use self::stages::Chain;
use self::streams::Streams;
use super::embed::generated_columns;
use super::reader::{Reader, Section};
use super::{Commit, Diagnostic, Pipeline, Places, Shutdown, SourceKind};
use crate::telemetry;

const WORKERS_MAX: u64 = 256;

/// The pipeline in `root`. Relative paths in it begin at `base`.
pub(super) fn pipeline(reader: &Reader<'_>, root: &DeTable<'_>, base: &Path) -> Option<Pipeline> {
    let mut file = Section::new(reader, "the file", Places::ROOT, root);
    let head = file
        .required_table("pipeline", "`[pipeline]`")
        .and_then(head);
    let source = file
        .required_table("source", "`[source]`")
        .and_then(|section| source::source(section, base));
    let commit = match file.table("commit", "`[commit]`") {
        Some(section) => commit(section),
        None => COMMIT,
    };
    let checkpoint = file.table("checkpoint", "`[checkpoint]`");
    let checkpoint = checkpoint::checkpoint(checkpoint, base);
    let shutdown = shutdown(file.table("shutdown", "`[shutdown]`"));
    let components = match file.table("components", "`[components]`") {
        Some(section) => Components::read(section, base),
        None => Components::default(),
    };
    // Every name before any stage, so that none is blamed for reading one that is faulty.
    let mut streams = Streams::of_source();
    let transforms = streams.transforms(file.tables("transform", "`[[transform]]`"));
    let aggregates = streams.aggregates(file.tables("aggregate", "`[[aggregate]]`"));
    let sinks = file.tables("sink", "`[[sink]]`");
    let dead_letters = file
        .required_table("dead_letters", "`[dead_letters]`")
        .and_then(|section| dead_letters::dead_letters(section, source.as_ref(), base));
    let admin = file.table("admin", "`[admin]`").and_then(admin::admin);
    let reload = reload::reload(file.table("reload", "`[reload]`"));
    let log_level = file.table("log", "`[log]`").and_then(log_level);
    file.finish();

    let Chain {
        transforms,
        aggregates,
    } = stages::chain(transforms, aggregates, &streams, &components);
    let sinks = sinks::sinks(reader, sinks, &streams, base);
    if let Some(letters) = &dead_letters {
        dead_letters::fits_the_sinks(reader, letters, &sinks);
    }

    if reader.has_errors() {
        return None;
    }
    let head = head?;
    let pipeline = Pipeline {
        name: head.name,
        takeover: head.takeover,
        workers: head.workers,
        source: source?,
        commit,
        checkpoint: checkpoint?,
        shutdown,
        components: components.valid,
        transforms,
        aggregates,
        sinks,
        dead_letters: dead_letters?.settings,
        admin,
        reload,
        log_level,
        places: Places::of(root),
    };
    review(reader, &pipeline);
    (!reader.has_errors()).then_some(pipeline)
}

/// Reports what only the whole shows.
fn review(reader: &Reader<'_>, pipeline: &Pipeline) {
    let faults = match pipeline.source.kind {
        SourceKind::Generator(_) => generated_columns(pipeline),
        _ => Vec::new(),
    };
    let reports = if faults.is_empty() {
        warnings::warnings(pipeline)
    } else {
        faults
    };
    for report in reports {
        reader.push(report);
    }
}

/// `[pipeline]`
struct Head {
    name: String,
    takeover: bool,
    workers: usize,
}

fn head(mut section: Section<'_>) -> Option<Head> {
    let name = section.required_text("name");
    let name = name.and_then(|name| names::name(&section, "name", name));
    let takeover = section.boolean("takeover");
    let workers = section.integer("workers", 1..=WORKERS_MAX);
    section.finish();
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    Some(Head {
        name: name?.value,
        takeover: takeover.unwrap_or(true),
        workers: workers.map_or_else(cores, |workers| workers as usize),
    })
}

/// What holds where `[commit]` says nothing.
const COMMIT: Commit = Commit {
    max_rows: 10_000,
    max_wait: Duration::from_secs(1),
    in_flight: 2,
};

fn commit(mut section: Section<'_>) -> Commit {
    let waits = Duration::from_millis(1)..=Duration::from_mins(10);
    let max_rows = section.integer("max_rows", 1..=1_000_000);
    let max_wait = section.duration("max_wait", waits);
    let in_flight = section.integer("in_flight", 1..=16);
    section.finish();
    Commit {
        max_rows: max_rows.map_or(COMMIT.max_rows, |rows| rows as usize),
        max_wait: max_wait.unwrap_or(COMMIT.max_wait),
        in_flight: in_flight.map_or(COMMIT.in_flight, |epochs| epochs as usize),
    }
}

fn shutdown(section: Option<Section<'_>>) -> Shutdown {
    let Some(mut section) = section else {
        return Shutdown::DEFAULT;
    };
    let bounds = Duration::from_secs(1)..=Duration::from_hours(1);
    let timeout = section.duration("timeout", bounds);
    section.finish();
    Shutdown {
        timeout: timeout.unwrap_or(Shutdown::DEFAULT.timeout),
    }
}

const LOG_LEVELS: &str = "it is `off`, `error`, `warn`, `info`, `debug` or `trace`, or one of these by module, as \
     in `info,wasmill::sink=debug`";

/// `[log]`
fn log_level(mut section: Section<'_>) -> Option<String> {
    let level = section.text("level");
    // The parser's own words may quote what came from the environment.
    let filter = |text: &str| telemetry::log_filter(text).map_err(|_| LOG_LEVELS);
    let level = level.and_then(|text| section.parsed("level", &text, filter));
    section.finish();
    level
}

/// "`x` occurs twice", with both places.
fn twice(shown: &str, second: &super::Span, first: &super::Span) -> Diagnostic {
    Diagnostic::error(format!("{shown} occurs twice"))
        .at(second)
        .label("here again")
        .also(first, "here first")
}
