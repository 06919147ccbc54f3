//! `wasmill test`: rows through a component in the real sandbox, and what came out.
//!
//! The rows go through the same stages as in a pipeline: [`crate::transform`] and
//! [`crate::aggregate`]. Beside the result, the laws of the contract are tried: that it makes no
//! difference how rows are cut into batches.

mod aggregate;
mod expect;
mod show;
mod transform;

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, bail};
use arrow_array::RecordBatch;
use serde_json::json;

use super::subject::SubjectArgs;
use super::subject::rows::{self, RowsFile};
use super::terminal;
use crate::guest::Kind;
use crate::record::{Rejection, Rows};
use crate::schema::Schema;

/// Rows at the beginning of the file that the laws are tried on, one at a time.
const LAW_ROWS_MAX: usize = 1_000;

/// What `wasmill test` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
        wasmill test target/guests/currency.wasm --input rows.ndjson \\\n    \
            --config '{\"base\": \"USD\", \"rates\": {\"EUR\": \"1.08\"}}' --expect expected.ndjson\n  \
        wasmill test target/guests/totals.wasm --input rows.ndjson --key country \\\n    \
            --config '{\"column\": \"amount\"}' --schema 'country: utf8, amount: decimal(2)'\n  \
        wasmill test --stage sales --pipeline pipeline.toml --input sales.ndjson --records\n\n\
        The rows are JSON objects, one a line, whose keys are names of columns. Without --schema and \
        --stage the columns are inferred from them.\n\
        --expect compares values, not spelling: 10.5 and 10.50 are the same decimal. A row that the \
        guest rejects is a line {\"@line\": 3, \"@rejected\": \"why\"}.\n\
        Exit code 1: the output differs from the expectation, or a law of the contract is broken.")]
pub(super) struct Args {
    #[command(flatten)]
    subject: SubjectArgs,

    /// The rows: one JSON object a line; `-` is stdin
    #[arg(long, value_name = "FILE")]
    input: PathBuf,

    /// The rows are records as the source of the pipeline reads them
    #[arg(long, requires = "stage")]
    records: bool,

    /// Columns that an aggregate groups by [default: those of the stage, or none]
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    key: Option<Vec<String>>,

    /// Compare what comes out with this file
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,

    /// Write what comes out to the file of --expect
    #[arg(long, requires = "expect")]
    update: bool,

    /// Print what comes out as JSON, one object a line, and no table
    #[arg(long, conflicts_with = "expect")]
    json: bool,

    /// Rows of the table at most
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    rows: usize,
}

/// Runs the rows through the component and shows what came of them.
///
/// # Errors
///
/// When something cannot be read or run, the output differs from what was expected, or a law of
/// the contract is broken.
pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let mut subject = args.subject.open()?;
    if let Some(key) = args.key {
        subject.key = key;
    }
    let file = RowsFile::read(&args.input)?;
    let (input, rows) = subject.read(&file, args.records)?;
    let trial = match subject.component.kind() {
        Kind::Transform if !subject.key.is_empty() => {
            bail!("a transform makes no groups: leave --key away")
        }
        Kind::Transform => transform::run(&subject, &input, &rows)?,
        Kind::Aggregate => aggregate::run(&subject, &input, &rows)?,
    };
    let lines = trial.lines(&file);
    if args.json {
        terminal::print(&rows::text(&lines))?;
        terminal::note(&trial.summary(rows.records.len()));
    } else {
        terminal::print(&show::table(&trial, &rows, &file, args.rows))?;
        terminal::print(&format!("{}\n", trial.summary(rows.records.len())))?;
    }
    if let Some(expected) = &args.expect {
        if args.update {
            expect::write(expected, &lines)?;
        } else {
            expect::compare(expected, &lines, &trial.output)?;
        }
    }
    match trial.broken_law {
        None => Ok(()),
        Some(law) => bail!("the guest breaks a law of the contract: {law}"),
    }
}

/// What came of the rows.
struct Trial {
    /// the columns of `rows`
    output: Schema,
    /// what came out
    rows: RecordBatch,
    /// for each row of `rows` the record that it came from; none of an aggregate
    records: Option<Vec<u32>>,
    /// what the guest could not use, in order
    rejected: Vec<Rejection>,
    /// which of the input columns the table shows, and which of the output columns
    shown: (Vec<usize>, Vec<usize>),
    /// so many rows were tried on their own too
    tried: usize,
    /// how the guest breaks a law of the contract
    broken_law: Option<String>,
}

impl Trial {
    /// What came out as JSON, one object a line: of a transform in the order of the records, of an
    /// aggregate its rows and then what it rejected.
    fn lines(&self, file: &RowsFile) -> Vec<String> {
        let rows = rows::render(&self.rows);
        let last = |row: usize| self.records.as_ref().map_or(0, |records| records[row]);
        let mut lines = Vec::with_capacity(rows.len() + self.rejected.len());
        let mut rejected = self.rejected.iter().peekable();
        for (row, line) in rows.into_iter().enumerate() {
            while let Some(rejection) = rejected.next_if(|next| next.record < last(row)) {
                lines.push(rejection_line(rejection, file));
            }
            lines.push(line);
        }
        lines.extend(rejected.map(|rejection| rejection_line(rejection, file)));
        lines
    }

    fn summary(&self, input: usize) -> String {
        let counted = |count: usize, word: &str| match count {
            1 => format!("1 {word}"),
            count => format!("{count} {word}s"),
        };
        let mut summary = format!(
            "{} in, {} out, {} rejected",
            counted(input, "row"),
            self.rows.num_rows(),
            self.rejected.len()
        );
        if self.broken_law.is_none() && self.tried > 0 {
            let tried = counted(self.tried, "row");
            let how = match self.records {
                Some(_) => "",
                None => " and were merged in other orders",
            };
            // Writing to a string cannot fail.
            let _ = write!(
                summary,
                "; no difference when {tried} came one at a time{how}"
            );
        }
        summary
    }
}

fn rejection_line(rejection: &Rejection, file: &RowsFile) -> String {
    json!({ "@line": file.line(rejection.record), "@rejected": rejection.reason }).to_string()
}

/// The batches that rows come in, as large as one call takes.
fn batches(rows: &Rows) -> impl Iterator<Item = Rows> {
    let size = crate::guest::FULL_BATCH_ROWS;
    let count = rows.records.len();
    (0..count)
        .step_by(size)
        .map(move |start| rows::slice(rows, start, size.min(count - start)))
}

/// The batches as one.
fn joined(schema: &Schema, batches: &[RecordBatch]) -> anyhow::Result<RecordBatch> {
    arrow_select::concat::concat_batches(schema.arrow(), batches)
        .context("the output is too large for one table: give fewer rows")
}
