//! What came out against what was expected.
//!
//! Both sides are compared in one form, so that an expectation may be written by hand: in any order
//! of keys, with `10.5` for `10.50`, with any spelling of a time.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};

use crate::cli::subject::columns::as_json_fields;
use crate::cli::subject::rows::{self, RowsFile};
use crate::cli::terminal;
use crate::decode::Decoder;
use crate::record::{Origin, Partition, RawBatch, RawHeaders, RawRecord};
use crate::schema::{DataType, Field, Schema};

/// Lines around a difference.
const CONTEXT: usize = 2;

/// After this the shortest difference is no longer looked for.
const DIFF_TIME_MAX: Duration = Duration::from_secs(5);

/// Makes the lines what is expected from now on.
pub(super) fn write(path: &Path, lines: &[String]) -> anyhow::Result<()> {
    fs::write(path, rows::text(lines))
        .with_context(|| format!("failed to write {}", path.display()))?;
    terminal::print(&format!("written to {}\n", path.display()))
}

/// Compares the lines with the file's.
///
/// # Errors
///
/// When they differ; the differences are printed then.
pub(super) fn compare(path: &Path, lines: &[String], output: &Schema) -> anyhow::Result<()> {
    if !path.exists() {
        bail!(
            "there is no {}: make it from what comes out with --update",
            path.display()
        );
    }
    let expected = canonical(&RowsFile::read(path)?, output);
    if expected == lines {
        return terminal::print(&format!("as expected in {}\n", path.display()));
    }
    let (differences, text) = difference(&expected, lines, terminal::colours());
    terminal::print(&format!(
        "\n--- {}\n+++ what came out\n{text}",
        path.display()
    ))?;
    let lines = if differences == 1 { "line" } else { "lines" };
    bail!(
        "the output differs from {} in {differences} {lines}: --update takes it as it is now",
        path.display()
    )
}

/// The lines as they would be printed. One that is no row of these columns stays as it is, so that
/// it is a difference.
fn canonical(file: &RowsFile, output: &Schema) -> Vec<String> {
    // Binary values are printed as base64, and read as the text that this is.
    let as_text = |field: &Field| match field.ty {
        DataType::Binary => Field::new(&field.name, DataType::Utf8, field.nullable),
        _ => field.clone(),
    };
    let fields = output.fields().iter().map(as_text).collect();
    let schema = Schema::new(fields).expect("the names are those of a schema");
    let names: BTreeSet<&str> = schema.fields().iter().map(|f| f.name.as_str()).collect();

    let mut lines: Vec<String> = Vec::new();
    let mut raw = RawBatch::default();
    for (_, text) in file.texts() {
        let is_row = match serde_json::from_slice(text) {
            Ok(Value::Object(row)) if row.contains_key("@rejected") => {
                let (line, reason) = (row.get("@line"), row.get("@rejected"));
                lines.push(json!({ "@line": line, "@rejected": reason }).to_string());
                continue;
            }
            Ok(Value::Object(row)) => row.keys().all(|name| names.contains(name.as_str())),
            _ => false,
        };
        if is_row {
            raw.push(RawRecord {
                origin: Origin {
                    partition: Partition(0),
                    offset: lines.len() as i64,
                },
                timestamp_ms: None,
                key: None,
                value: Some(text),
                headers: RawHeaders::default(),
            });
        }
        lines.push(String::from_utf8_lossy(text).trim().to_owned());
    }
    let mut rejected = Vec::new();
    let mut decoder = Decoder::new(&as_json_fields(&schema));
    let read = decoder.decode(&raw, &BTreeSet::new(), &mut rejected);
    for (line, &record) in rows::render(&read.columns).into_iter().zip(&read.records) {
        lines[raw.get(record as usize).origin.offset as usize] = line;
    }
    lines
}

/// How many lines are there on one side only, and the places where they are.
fn difference(expected: &[String], found: &[String], colours: bool) -> (usize, String) {
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    let diff = TextDiff::configure()
        .timeout(DIFF_TIME_MAX)
        .diff_slices(&expected, &found);
    let (mut differences, mut text) = (0, String::new());
    for (place, group) in diff.grouped_ops(CONTEXT).iter().enumerate() {
        if place > 0 {
            text.push_str("...\n");
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let (sign, colour) = match change.tag() {
                ChangeTag::Delete => ('-', "\u{1b}[31m"),
                ChangeTag::Insert => ('+', "\u{1b}[32m"),
                ChangeTag::Equal => (' ', ""),
            };
            differences += usize::from(change.tag() != ChangeTag::Equal);
            let line = terminal::printable(change.value());
            // Writing to a string cannot fail.
            let _ = if colours && !colour.is_empty() {
                writeln!(text, "{colour}{sign}{line}\u{1b}[0m")
            } else {
                writeln!(text, "{sign}{line}")
            };
        }
    }
    (differences, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::subject::columns::parse;

    fn canonical_lines(text: &str) -> Vec<String> {
        let output = parse("a: decimal(2), at: timestamp?, b: binary?").unwrap();
        let file = RowsFile::from_bytes("expected.ndjson", text.as_bytes()).unwrap();
        canonical(&file, &output)
    }

    #[test]
    fn values_are_compared_and_not_their_spelling() {
        let lines = canonical_lines(
            "{ \"at\": \"2026-01-02T01:00:00+01:00\", \"a\": \"10.5\" }\n\n{\"a\":1e1,\"b\":\"AP8=\",\"at\":null}",
        );
        assert_eq!(
            lines,
            [
                "{\"a\":10.50,\"at\":\"2026-01-02T00:00:00.000000Z\"}",
                "{\"a\":10.00,\"b\":\"AP8=\"}"
            ]
        );
    }

    #[test]
    fn a_line_that_is_no_row_of_the_output_stays_and_so_differs() {
        let text = "{\"a\":1,\"typo\":2}\n[]\nnonsense\n{\"a\":\"x\"}";
        assert_eq!(canonical_lines(text), text.split('\n').collect::<Vec<_>>());
    }

    #[test]
    fn a_rejection_is_a_line_of_its_own() {
        let lines = canonical_lines("{\"@rejected\": \"no rate\", \"@line\": 3}");
        assert_eq!(lines, ["{\"@line\":3,\"@rejected\":\"no rate\"}"]);
    }

    #[test]
    fn a_difference_is_shown_with_what_is_around_it() {
        let lines = |from: &[&str]| from.iter().map(ToString::to_string).collect::<Vec<_>>();
        let expected = lines(&["1", "2", "3", "4", "5", "6"]);
        let found = lines(&["1", "2", "3", "x", "5", "6"]);
        let (count, text) = difference(&expected, &found, false);
        assert_eq!((count, text.as_str()), (2, " 2\n 3\n-4\n+x\n 5\n 6\n"));
        let (_, text) = difference(&expected, &found, true);
        assert!(text.contains("\u{1b}[31m-4\u{1b}[0m"), "{text:?}");
    }
}
