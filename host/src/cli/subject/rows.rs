//! Rows as a file has them, one JSON object a line, and as columns.
//!
//! Values are read as the source reads them ([`crate::decode`]) and written as Elasticsearch gets
//! them: what a file of rows means is the same as in a pipeline.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, bail};
use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;

use crate::config::SourceColumn;
use crate::decode::Decoder;
use crate::record::{Origin, Partition, RawBatch, RawHeaders, RawRecord, Rows};
use crate::sink::elasticsearch::Documents;

/// A file of rows beyond this is a mistake.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Faulty rows that a message lists at most.
const FAULTS_SHOWN: usize = 10;

/// The lines of a file of rows; empty ones do not count.
#[derive(Debug)]
pub(in crate::cli) struct RowsFile {
    name: String,
    raw: RawBatch,
}

impl RowsFile {
    /// Reads the file, or stdin where it is called `-`.
    ///
    /// # Errors
    ///
    /// When it cannot be read or is too large.
    pub(in crate::cli) fn read(path: &Path) -> anyhow::Result<Self> {
        let (name, bytes) = if path == Path::new("-") {
            ("stdin".to_owned(), read_bounded(io::stdin().lock()))
        } else {
            let bytes = File::open(path).and_then(read_bounded);
            (path.display().to_string(), bytes)
        };
        let bytes = bytes.with_context(|| format!("failed to read the rows of {name}"))?;
        Self::from_bytes(&name, &bytes)
    }

    /// The rows in these bytes.
    ///
    /// # Errors
    ///
    /// When there are too many.
    pub(in crate::cli) fn from_bytes(name: &str, bytes: &[u8]) -> anyhow::Result<Self> {
        if bytes.len() as u64 > FILE_BYTES_MAX {
            bail!("{name} is larger than {} MiB", FILE_BYTES_MAX >> 20);
        }
        let mut raw = RawBatch::default();
        let lines = bytes.split(|&byte| byte == b'\n').zip(1..);
        for (line, number) in lines.filter(|(line, _)| !line.trim_ascii().is_empty()) {
            raw.push(RawRecord {
                origin: Origin {
                    partition: Partition(0),
                    offset: number,
                },
                timestamp_ms: None,
                key: None,
                value: Some(line),
                headers: RawHeaders::default(),
            });
        }
        Ok(Self {
            name: name.to_owned(),
            raw,
        })
    }

    /// What the file is called in messages.
    pub(in crate::cli) fn name(&self) -> &str {
        &self.name
    }

    /// The lines with their numbers, from 1 on.
    pub(in crate::cli) fn texts(&self) -> impl Iterator<Item = (i64, &[u8])> {
        let line = |record: RawRecord<'_>| record.origin.offset;
        let lines = self
            .raw
            .iter()
            .map(move |record| (line(record), record.value));
        lines.map(|(line, text)| (line, text.unwrap_or_default()))
    }

    /// The line that a record stands in, from 1 on.
    pub(in crate::cli) fn line(&self, record: u32) -> i64 {
        self.raw.get(record as usize).origin.offset
    }

    /// The rows as columns; `records` are indices into this file.
    ///
    /// # Errors
    ///
    /// When some rows are not of these columns: the message names the first of them.
    pub(in crate::cli) fn decode(&self, columns: &[SourceColumn]) -> anyhow::Result<Rows> {
        if self.raw.is_empty() {
            bail!("{} has no rows", self.name);
        }
        let mut rejected = Vec::new();
        let rows = Decoder::new(columns).decode(&self.raw, &BTreeSet::new(), &mut rejected);
        if rejected.is_empty() {
            return Ok(rows);
        }
        let shown = rejected.iter().take(FAULTS_SHOWN).map(|rejection| {
            let column = rejection.column.as_deref();
            let column = column.map(|name| format!("column `{name}`: "));
            format!(
                "\n  line {}: {}{}",
                self.line(rejection.record),
                column.unwrap_or_default(),
                rejection.reason
            )
        });
        let shown: String = shown.collect();
        let more = rejected.len().saturating_sub(FAULTS_SHOWN);
        let more = if more > 0 {
            format!("\n  and {more} more")
        } else {
            String::new()
        };
        bail!(
            "{} of {} rows of {} do not have the columns that the guest reads:{shown}{more}",
            rejected.len(),
            self.raw.len(),
            self.name
        );
    }
}

/// The rows as JSON objects, one a line, without line feeds. A missing value is left out.
pub(in crate::cli) fn render(rows: &RecordBatch) -> Vec<String> {
    let documents = Documents::new(rows);
    let line = |row| {
        let mut line = Vec::new();
        documents.write(row, &mut line);
        String::from_utf8(line).expect("a document is JSON, which is text")
    };
    (0..rows.num_rows()).map(line).collect()
}

/// Lines as the text of a file.
pub(in crate::cli) fn text(lines: &[String]) -> String {
    let ends = lines.iter().flat_map(|line| [line.as_str(), "\n"]);
    ends.collect()
}

/// The values of some columns of the rows as texts: those of JSON, strings without their quotes.
/// A missing value is empty.
pub(in crate::cli) fn cells(rows: &RecordBatch, columns: &[usize], row: usize) -> Vec<String> {
    let documents = Documents::new(rows);
    let cell = |&column: &usize| {
        let mut text = Vec::new();
        documents.write_value(column, row, &mut text);
        serde_json::from_slice::<String>(&text)
            .unwrap_or_else(|_| String::from_utf8_lossy(&text).into_owned())
    };
    columns.iter().map(cell).collect()
}

/// Rows number `start` and the following ones.
pub(in crate::cli) fn slice(rows: &Rows, start: usize, length: usize) -> Rows {
    Rows {
        columns: rows.columns.slice(start, length),
        records: rows.records[start..start + length].to_vec(),
    }
}

/// The rows that come from none of these records.
pub(in crate::cli) fn without(rows: &Rows, records: &BTreeSet<u32>) -> Rows {
    if records.is_empty() {
        return rows.clone();
    }
    let stays: Vec<bool> = rows.records.iter().map(|r| !records.contains(r)).collect();
    let columns = filter_record_batch(&rows.columns, &BooleanArray::from(stays))
        .expect("there is one flag for each row");
    let records = rows.records.iter().filter(|r| !records.contains(r));
    Rows {
        columns,
        records: records.copied().collect(),
    }
}

fn read_bounded(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte past the bound tells that there is more; a device may have no end.
    from.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::columns::{as_json_fields, parse};
    use super::*;

    fn decoded(columns: &str, lines: &str) -> anyhow::Result<Rows> {
        let file = RowsFile::from_bytes("rows.ndjson", lines.as_bytes())?;
        file.decode(&as_json_fields(&parse(columns).unwrap()))
    }

    #[test]
    fn rows_come_back_in_one_form_whatever_they_were_written_in() {
        let lines = "{\"b\":\"x\",\"a\":\"10.5\"}\r\n\n  {\"a\":2e1, \"c\":0}";
        let rows = decoded("a: decimal(2), b: utf8?", lines).unwrap();
        assert_eq!(
            render(&rows.columns),
            ["{\"a\":10.50,\"b\":\"x\"}", "{\"a\":20.00}"]
        );
        assert_eq!(cells(&rows.columns, &[1, 0], 0), ["x", "10.50"]);
        assert_eq!(cells(&rows.columns, &[1, 0], 1), ["", "20.00"]);
    }

    #[test]
    fn rows_of_other_columns_are_refused_with_their_lines() {
        let error = decoded("a: int64", "{\"a\":1}\n\n{\"a\":\"x\"}\n{}").unwrap_err();
        assert_eq!(
            error.to_string(),
            "2 of 3 rows of rows.ndjson do not have the columns that the guest reads:\
             \n  line 3: column `a`: expected an integer, found a string\
             \n  line 4: column `a`: a required value is missing"
        );
    }

    #[test]
    fn rows_are_left_out_by_their_record() {
        let rows = decoded("a: int64", "{\"a\":1}\n{\"a\":2}\n{\"a\":3}").unwrap();
        let left = without(&rows, &BTreeSet::from([1]));
        assert_eq!(render(&left.columns), ["{\"a\":1}", "{\"a\":3}"]);
        assert_eq!(left.records, [0, 2]);
        assert_eq!(slice(&left, 1, 1).records, [2]);
    }
}
