//! The table of what went in and what came out.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use comfy_table::Table;

use super::Trial;
use crate::cli::subject::rows::{self, RowsFile};
use crate::cli::terminal::{self, cell};
use crate::record::Rows;

/// A table with at most so many lines, and what it does not show.
pub(super) fn table(trial: &Trial, input: &Rows, file: &RowsFile, lines_max: usize) -> String {
    let (table, left_out) = match &trial.records {
        Some(records) => of_rows(trial, records, input, file, lines_max),
        None => of_groups(trial, lines_max),
    };
    let mut text = format!("{table}\n");
    if left_out > 0 {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "... and {left_out} more");
    }
    match &trial.records {
        Some(_) => text.push_str(&unchanged(trial, input)),
        None => text.push_str(&rejections(trial, file, lines_max)),
    }
    text
}

/// One line for each row that came out, or for a row of which none did.
fn of_rows(
    trial: &Trial,
    records: &[u32],
    input: &Rows,
    file: &RowsFile,
    lines_max: usize,
) -> (Table, usize) {
    let (read, made) = &trial.shown;
    let rejected: BTreeMap<u32, &str> = (trial.rejected.iter())
        .map(|rejection| (rejection.record, rejection.reason.as_str()))
        .collect();
    let fields = input.columns.schema_ref().fields();
    let mut header = vec!["line".to_owned()];
    header.extend(read.iter().map(|&column| cell(fields[column].name())));
    let output = trial.output.fields();
    header.extend(
        made.iter()
            .map(|&column| format!("> {}", cell(&output[column].name))),
    );

    let mut lines = Vec::new();
    let mut next = 0;
    for (row, &record) in input.records.iter().enumerate() {
        let count = records[next..].partition_point(|&of| of <= record);
        let before = |lines: &mut Vec<(Vec<String>, String)>, after: Vec<String>, note: &str| {
            let mut line = vec![file.line(record).to_string()];
            line.extend(rows::cells(&input.columns, read, row));
            line.extend(after);
            lines.push((line, note.to_owned()));
        };
        let blank = || vec![String::new(); made.len()];
        match (count, rejected.get(&record)) {
            (0, Some(reason)) => before(&mut lines, blank(), &format!("rejected: {reason}")),
            (0, None) => before(&mut lines, blank(), "left out"),
            (count, _) => {
                for output in next..next + count {
                    before(&mut lines, rows::cells(&trial.rows, made, output), "");
                }
            }
        }
        next += count;
        if lines.len() >= lines_max {
            break;
        }
    }
    let shown = lines.len().min(lines_max);
    lines.truncate(lines_max);
    // Every record is a line or more; those of the records that were not looked at are counted.
    let all = records.len() + silent(records, input);
    let has_notes = lines.iter().any(|(_, note)| !note.is_empty());
    let mut table = terminal::table();
    if has_notes {
        header.push(String::new());
    }
    table.set_header(header);
    for (mut line, note) in lines {
        if has_notes {
            line.push(note);
        }
        table.add_row(line.iter().map(|text| cell(text)).collect::<Vec<_>>());
    }
    (table, all - shown)
}

/// How many records no row came of.
fn silent(records: &[u32], input: &Rows) -> usize {
    let made = |record: &&u32| records.binary_search(record).is_ok();
    input.records.len() - input.records.iter().filter(made).count()
}

fn of_groups(trial: &Trial, lines_max: usize) -> (Table, usize) {
    let mut table = terminal::table();
    let names = trial.output.fields().iter().map(|field| cell(&field.name));
    table.set_header(names.collect::<Vec<_>>());
    let shown = trial.rows.num_rows().min(lines_max);
    for row in 0..shown {
        let cells = rows::cells(&trial.rows, &trial.shown.1, row);
        table.add_row(cells.iter().map(|text| cell(text)).collect::<Vec<_>>());
    }
    (table, trial.rows.num_rows() - shown)
}

/// The columns that are not in the table because nothing happens to them.
fn unchanged(trial: &Trial, input: &Rows) -> String {
    let (read, made) = &trial.shown;
    let read: Vec<&String> = (read.iter())
        .map(|&column| input.columns.schema_ref().field(column).name())
        .collect();
    let fields = trial.output.fields().iter().enumerate();
    let others =
        fields.filter(|(column, field)| !made.contains(column) && !read.contains(&&field.name));
    let names: Vec<String> = others.map(|(_, field)| cell(&field.name)).collect();
    if names.is_empty() {
        return String::new();
    }
    format!("unchanged: {}\n", names.join(", "))
}

fn rejections(trial: &Trial, file: &RowsFile, lines_max: usize) -> String {
    let line = |rejection: &crate::record::Rejection| {
        let reason = terminal::printable(&rejection.reason);
        format!("line {}: rejected: {reason}\n", file.line(rejection.record))
    };
    trial.rejected.iter().take(lines_max).map(line).collect()
}
