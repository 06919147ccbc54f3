//! `wasmill check`: everything that would stop a pipeline from starting, without starting it.

mod connect;

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::bail;
use serde_json::{Value, json};

use super::terminal::print;
use crate::config::{
    DeadLetters, Diagnostic, Diagnostics, Every, GeneratorSource, Pipeline, Severity, SinkKind,
    SourceKind, Window,
};

/// What `wasmill check` is told.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  wasmill check pipeline.toml --connect\n  wasmill check pipeline.toml --json"
)]
pub(super) struct Args {
    /// The pipeline
    #[arg(default_value = "pipeline.toml")]
    pipeline: PathBuf,

    /// Reach the servers too, and compare the tables with those that are there
    #[arg(long)]
    connect: bool,

    /// Print the reports to stdout as a JSON list, and nothing else
    #[arg(long)]
    json: bool,
}

/// Prints reports to stderr, and what the pipeline does to stdout when none of them is an error.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let (fits, mut diagnostics) = super::examine(&args.pipeline)?;
    let mut fine = Vec::new();
    if let (true, Some((loaded, plan))) = (args.connect, &fits) {
        let runtime = super::runtime()?;
        let checking = connect::check(loaded, plan, &mut diagnostics);
        let checked = runtime.block_on(checking);
        // What still waits for a server does not hold up the exit.
        runtime.shutdown_background();
        fine = checked?;
    }
    if args.json {
        return report(&diagnostics);
    }
    for line in fine {
        print(&format!("{line}\n"))?;
    }
    let Some((loaded, _)) = fits.filter(|_| !diagnostics.has_errors()) else {
        return Err(super::refuse(&diagnostics));
    };
    super::print(&diagnostics);
    let fine = format!("{} is fine\n\n", args.pipeline.display());
    print(&(fine + &summary(&loaded)))
}

/// Prints the reports for a program to read.
fn report(diagnostics: &Diagnostics) -> anyhow::Result<()> {
    let entry = |entry: &Diagnostic| {
        let (line, column) = diagnostics.line_and_column(entry).unzip();
        json!({
            "severity": match entry.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            "message": entry.message,
            "file": diagnostics.file_name(),
            "line": line,
            "column": column,
            "label": entry.label,
            "help": entry.help,
        })
    };
    let mut in_order: Vec<&Diagnostic> = diagnostics.entries().iter().collect();
    in_order.sort_by_key(|entry| entry.span.as_ref().map_or(usize::MAX, |span| span.start));
    let entries: Value = in_order.into_iter().map(entry).collect();
    print(&format!("{entries:#}\n"))?;
    if diagnostics.has_errors() {
        bail!(diagnostics.summary());
    }
    Ok(())
}

/// What the pipeline does, a line for every stage and table. Addresses are left out: they may have
/// passwords.
fn summary(pipeline: &Pipeline) -> String {
    let mut lines = vec![
        ("pipeline", pipeline.name.clone()),
        ("source", source(pipeline)),
    ];
    for stage in &pipeline.transforms {
        let what = format!("{} = {}({})", stage.name, stage.component, stage.from);
        lines.push(("transform", what));
    }
    for stage in &pipeline.aggregates {
        let mut what = format!("{} = {}({})", stage.name, stage.component, stage.from);
        if !stage.key.is_empty() {
            let _ = write!(what, " by {}", stage.key.join(", "));
        }
        let _ = match &stage.window {
            Window::Tumbling { every, time } => {
                write!(what, " for every {} of {time}", length(*every))
            }
            Window::None => write!(what, " for all time"),
        };
        lines.push(("aggregate", what));
    }
    if !pipeline.aggregates.is_empty() {
        // No window closes, so none of the aggregates ever drops a state.
        let kept = "kept for ever, in memory and in the ledger: one for each key and window";
        lines.push(("state", kept.to_owned()));
    }
    for sink in &pipeline.sinks {
        match &sink.kind {
            SinkKind::Postgres { tables, .. } | SinkKind::Sqlite { tables, .. } => {
                lines.extend(tables.iter().map(|table| {
                    let key = table.key.join(", ");
                    (
                        "table",
                        format!("{} ({key}) from {}", table.table, table.from),
                    )
                }));
            }
            SinkKind::Elasticsearch { indices, .. } => lines.extend(indices.iter().map(|index| {
                (
                    "index",
                    format!("{} ({}) from {}", index.index, index.id, index.from),
                )
            })),
        }
    }
    lines.push(("dead letters", dead_letters(pipeline)));
    let mut summary = String::new();
    for (what, text) in lines {
        let _ = writeln!(summary, "{what:>12}  {text}");
    }
    summary
}

fn source(pipeline: &Pipeline) -> String {
    let columns = pipeline.source.columns.len();
    match &pipeline.source.kind {
        SourceKind::Kafka(kafka) => format!("topic {}, {columns} columns", kafka.topic),
        SourceKind::File { paths } => format!("{} files, {columns} columns", paths.len()),
        SourceKind::Generator(generator) => {
            let GeneratorSource {
                partitions, seed, ..
            } = generator;
            format!("generator, seed {seed}, {partitions} partitions, {columns} columns")
        }
    }
}

fn dead_letters(pipeline: &Pipeline) -> String {
    match &pipeline.dead_letters {
        DeadLetters::Kafka { topic, .. } => format!("topic {topic}"),
        DeadLetters::File { path } => format!("file {}", path.display()),
        DeadLetters::Table { table } => format!("table {table}"),
    }
}

fn length(every: Every) -> String {
    let calendar = |count: u32, unit: &str| match count {
        1 => unit.to_owned(),
        _ => format!("{count} {unit}s"),
    };
    match every {
        Every::Micros(micros) => format!("{} s", micros as f64 / 1e6),
        Every::Days(count) => calendar(count, "day"),
        Every::Weeks(count) => calendar(count, "week"),
        Every::Months(count) => calendar(count, "month"),
        Every::Years(count) => calendar(count, "year"),
    }
}
