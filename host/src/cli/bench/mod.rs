//! `wasmill bench`: what a call across the real border costs, a row.
//!
//! The rows are repeated to fill batches of several sizes, and each size is called often enough for
//! a clock. Measured is the call alone: columns into the guest's memory, the guest, and back,
//! checked. Decoding, grouping and sinks are not in it.

mod measure;

use std::path::PathBuf;

use anyhow::{Context, bail};
use arrow_array::{RecordBatch, UInt32Array};
use arrow_select::take::take_record_batch;
use comfy_table::CellAlignment;
use indexmap::IndexSet;
use serde_json::{Value, json};

use self::measure::{Cost, measure};
use super::inspect::size;
use super::subject::Subject;
use super::subject::SubjectArgs;
use super::subject::rows::{self, RowsFile};
use super::terminal;
use crate::guest::{AggregateGuest, FULL_BATCH_ROWS, Folded, Kind, lowered_bytes};
use crate::record::Rows;
use crate::schema::Schema;

/// Rows of the batches that are measured.
const BATCH_ROWS: [usize; 4] = [64, 1_024, 4_096, FULL_BATCH_ROWS];

/// What `wasmill bench` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
        wasmill bench target/guests/currency.wasm --input rows.ndjson \\\n    \
            --config '{\"base\": \"USD\", \"rates\": {\"EUR\": \"1.08\"}}'\n  \
        wasmill bench --stage sales_per_category --input rows.ndjson --json\n\n\
        A figure is the median of several runs. Whatever else the machine does is in it: `spread` is \
        how far the middle half of the runs lies apart. Over a tenth, something else was running; and \
        two figures that are nearer to each other than that are the same. Compare only figures of one \
        machine.")]
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

    /// Runs that a figure is the median of
    #[arg(long, value_name = "COUNT", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    runs: u32,

    /// Print the figures as one JSON object
    #[arg(long)]
    json: bool,
}

/// Measures and prints.
///
/// # Errors
///
/// When something cannot be read, or the guest fails on the rows.
pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let mut subject = args.subject.open()?;
    if let Some(key) = args.key {
        subject.key = key;
    }
    let file = RowsFile::read(&args.input)?;
    let (input, rows) = subject.read(&file, args.records)?;
    let runs = args.runs as usize;
    let measured = terminal::step("measuring", || match subject.component.kind() {
        Kind::Transform => of_transform(&subject, &input, &rows, runs),
        Kind::Aggregate => of_aggregate(&subject, &input, &rows, runs),
    })?;
    let text = if args.json {
        format!("{:#}\n", as_json(&subject, &measured, runs))
    } else {
        as_text(&measured, runs)
    };
    terminal::print(&text)
}

/// All figures of a component.
struct Measured {
    costs: Vec<Cost>,
    /// of the instance after the last call
    memory_bytes: Option<usize>,
    /// rows of the file that the guest rejects
    rejected: usize,
    /// batches that were not measured, as they are larger than a call takes
    too_large: Vec<usize>,
}

fn of_transform(
    subject: &Subject,
    input: &Schema,
    rows: &Rows,
    runs: usize,
) -> anyhow::Result<Measured> {
    let Subject {
        component,
        stage,
        config,
        limits,
        ..
    } = subject;
    let mut guest = component.transform(stage, input, config, limits)?;
    let needed = rows.columns.project(&guest.contract().needs)?;
    let mut measured = Measured::new();
    let first = guest.apply(&repeated(&needed, needed.num_rows().min(FULL_BATCH_ROWS))?);
    measured.rejected = first
        .context("the guest fails on these rows")?
        .rejections
        .len();
    for size in BATCH_ROWS {
        let batch = repeated(&needed, size)?;
        if lowered_bytes(&batch) > guest.input_bytes_max() {
            measured.too_large.push(size);
            continue;
        }
        let call = || guest.apply(&batch).map(drop);
        measured.costs.push(measure("apply", size, runs, call)?);
    }
    measured.memory_bytes = guest.memory_bytes();
    Ok(measured)
}

fn of_aggregate(
    subject: &Subject,
    input: &Schema,
    rows: &Rows,
    runs: usize,
) -> anyhow::Result<Measured> {
    let Subject {
        component,
        stage,
        config,
        limits,
        ..
    } = subject;
    let mut guest = component.aggregate(stage, input, config, limits)?;
    let mut measured = Measured::new();
    let mut columns = rows.columns.clone();
    if let Some(rejected) = rejected(&mut guest, &columns)? {
        measured.rejected = rejected.len();
        let good = (0..columns.num_rows() as u32).filter(|row| !rejected.contains(row));
        columns = take_record_batch(&columns, &good.collect::<UInt32Array>())?;
    }
    if columns.num_rows() == 0 {
        bail!("the guest rejects every row: there is nothing to measure");
    }
    let keys = key_columns(input, &subject.key)?;
    for size in BATCH_ROWS {
        let batch = repeated(&columns, size)?;
        let (groups, count) = groups(&batch.project(&keys)?);
        let needed = batch.project(&guest.contract().needs)?;
        if lowered_bytes(&needed) > guest.input_bytes_max() {
            measured.too_large.push(size);
            continue;
        }
        let call = || guest.fold(&groups, count, &needed).map(drop);
        measured.costs.push(measure("fold", size, runs, call)?);
    }
    states(&mut guest, &columns, &mut measured, runs)?;
    measured.memory_bytes = guest.memory_bytes();
    Ok(measured)
}

/// Measures `merge` and `finish` on a batch of states, each of one row of the file.
fn states(
    guest: &mut AggregateGuest,
    columns: &RecordBatch,
    measured: &mut Measured,
    runs: usize,
) -> anyhow::Result<()> {
    let size = 1_024;
    let batch = repeated(columns, size)?.project(&guest.contract().needs)?;
    let each: Vec<u32> = (0..size as u32).collect();
    let folded = guest.fold(&each, size as u32, &batch)?;
    let Folded::States(states) = folded else {
        bail!("the guest rejects rows that it folded before");
    };
    // Two states a group: what a partial of a worker meets at the end of an epoch.
    let pairs: Vec<u32> = (0..size as u32).map(|row| row / 2).collect();
    let call = || guest.merge(&pairs, size as u32 / 2, &states).map(drop);
    measured.costs.push(measure("merge", size, runs, call)?);
    let call = || guest.finish(&states).map(drop);
    measured.costs.push(measure("finish", size, runs, call)?);
    Ok(())
}

impl Measured {
    fn new() -> Self {
        Self {
            costs: Vec::new(),
            memory_bytes: None,
            rejected: 0,
            too_large: Vec::new(),
        }
    }
}

/// The rows over and over, until there are so many.
fn repeated(rows: &RecordBatch, count: usize) -> anyhow::Result<RecordBatch> {
    let rows_there = rows.num_rows() as u32;
    let indices: UInt32Array = (0..count as u32).map(|row| row % rows_there).collect();
    take_record_batch(rows, &indices).context("the rows are too large to fill a batch with them")
}

/// The rows that the guest does not fold, if there are any.
fn rejected(guest: &mut AggregateGuest, columns: &RecordBatch) -> anyhow::Result<Option<Vec<u32>>> {
    let needed = columns.project(&guest.contract().needs)?;
    let mut rejected = Vec::new();
    for range in crate::guest::call_ranges(&needed, guest.input_bytes_max()) {
        let groups = vec![0; range.len()];
        let part = needed.slice(range.start, range.len());
        let folded = guest.fold(&groups, 1, &part);
        if let Folded::Rejected(rows) = folded.context("the guest fails on these rows")? {
            rejected.extend(
                rows.iter()
                    .map(|rejection| range.start as u32 + rejection.row),
            );
        }
    }
    Ok((!rejected.is_empty()).then_some(rejected))
}

fn key_columns(input: &Schema, key: &[String]) -> anyhow::Result<Vec<usize>> {
    let column = |name: &String| {
        let index = input.index_of(name);
        index.with_context(|| format!("key column `{name}` is not among the columns"))
    };
    key.iter().map(column).collect()
}

/// The number of each row's group, and how many groups there are.
fn groups(keys: &RecordBatch) -> (Vec<u32>, u32) {
    let mut known = IndexSet::new();
    let number = |line: String| known.insert_full(line).0 as u32;
    let groups = rows::render(keys).into_iter().map(number).collect();
    (groups, known.len() as u32)
}

fn as_text(measured: &Measured, runs: usize) -> String {
    let mut table = terminal::table();
    table.set_header(["call", "rows", "ns a row", "spread", "rows/s"]);
    for cost in &measured.costs {
        table.add_row([
            cost.call.to_owned(),
            cost.rows.to_string(),
            format!("{:.1}", cost.nanos_a_row()),
            format!("{:.0} %", cost.spread() * 100.0),
            grouped(1e9 / cost.nanos_a_row()),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let memory = measured.memory_bytes.map(|bytes| {
        let bytes = size(bytes as u64);
        format!(", instance memory {bytes}")
    });
    let mut lines = vec![
        table.to_string(),
        format!("median of {runs} runs{}", memory.unwrap_or_default()),
    ];
    if measured.rejected > 0 {
        let rejected = measured.rejected;
        lines.push(format!(
            "rows of the file that the guest rejects: {rejected}"
        ));
    }
    lines.extend(
        measured
            .too_large
            .iter()
            .map(|rows| format!("not measured: {rows} such rows are more than one call takes")),
    );
    if measured.costs.iter().any(Cost::is_noisy) {
        lines.push("the spread is large: something else was running, so measure again".to_owned());
    }
    if cfg!(debug_assertions) {
        lines.push("this wasmill is a debug build, whose side of the border is slow".to_owned());
    }
    rows::text(&lines)
}

fn as_json(subject: &Subject, measured: &Measured, runs: usize) -> Value {
    let cost = |cost: &Cost| {
        json!({
            "call": cost.call,
            "rows": cost.rows,
            "nanos_a_row": cost.nanos_a_row(),
            "spread": cost.spread(),
            "rows_a_second": 1e9 / cost.nanos_a_row(),
        })
    };
    json!({
        "component": subject.path.display().to_string(),
        "sha256": subject.component.digest(),
        "runs": runs,
        "costs": measured.costs.iter().map(cost).collect::<Vec<_>>(),
        "memory_bytes": measured.memory_bytes,
        "rejected": measured.rejected,
        "debug_build": cfg!(debug_assertions),
    })
}

/// A large number with its thousands apart.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::super::subject::columns::{as_json_fields, parse};
    use super::*;

    fn batch(lines: &str) -> RecordBatch {
        let file = RowsFile::from_bytes("rows.ndjson", lines.as_bytes()).unwrap();
        let columns = as_json_fields(&parse("k: utf8, n: int64").unwrap());
        file.decode(&columns).unwrap().columns
    }

    #[test]
    fn rows_are_repeated_to_fill_a_batch() {
        let rows = batch("{\"k\":\"a\",\"n\":1}\n{\"k\":\"b\",\"n\":2}");
        let repeated = rows::render(&repeated(&rows.project(&[1]).unwrap(), 5).unwrap());
        assert_eq!(
            repeated,
            [
                "{\"n\":1}",
                "{\"n\":2}",
                "{\"n\":1}",
                "{\"n\":2}",
                "{\"n\":1}"
            ]
        );
    }

    #[test]
    fn groups_are_numbered_by_key_as_they_occur() {
        let rows = batch("{\"k\":\"b\",\"n\":1}\n{\"k\":\"a\",\"n\":1}\n{\"k\":\"b\",\"n\":2}");
        assert_eq!(groups(&rows.project(&[0]).unwrap()), (vec![0, 1, 0], 2));
        assert_eq!(groups(&rows.project(&[]).unwrap()), (vec![0, 0, 0], 1));
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(grouped(7.2), "7");
        assert_eq!(grouped(123.0), "123");
        assert_eq!(grouped(1_234_567.0), "1,234,567");
    }
}
