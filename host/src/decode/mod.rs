//! JSON records to Arrow columns, and what cannot be decoded to rejections.
//!
//! Every declared column is checked in every record, whether a stage reads it or not.
//!
//! | column | JSON |
//! |---|---|
//! | `boolean` | `true`, `false` |
//! | `int64` | a number that is whole: `5`, `5.0`, `5e2` |
//! | `float64` | any number that is finite as a float |
//! | `decimal(s)` | a number, or a string with one; exact, rounded half to even to `s` digits |
//! | `utf8` | a string |
//! | `binary` | a string: its UTF-8 bytes |
//! | `timestamp` | a string in ISO 8601, UTC where it has no zone, or whole milliseconds since 1970 |
//! | `date` | a string `YYYY-MM-DD` |
//!
//! Fields that no column wants are skipped, but must be JSON. Of a field that occurs twice the last one counts.
//!
//! # Invariants
//!
//! 1. A record is one row or one rejection (or it was to be skipped), whatever its bytes are: it
//!    changes nothing about its neighbours.
//! 2. Decoding is a pure function of the record: a replay gives the same rows and rejections.
//!
//! # Not here
//!
//! Sending rejections to the dead letters: [`crate::dead_letter`].

mod column;
mod cursor;
mod fields;
mod number;
mod run;
mod scan;
mod short;
#[cfg(test)]
pub(crate) mod tests;
mod time;

use std::collections::BTreeSet;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};

use crate::config::{ColumnFrom, SourceColumn};
use crate::record::{Cause, Origin, RawBatch, RawRecord, Rejection, Rows};
use crate::schema::{DataType, Field, Schema};
use column::Column;
use cursor::Cursor;
use fields::{Fault, Fields, Row};

/// Makes columns of records. Keeps nothing from one batch to the next but allocations.
pub struct Decoder {
    schema: Schema,
    columns: Vec<Column>,
    /// where the columns of JSON fields get their values
    fields: Fields,
    /// columns of `@key` and its like
    envelope: Vec<(usize, Envelope)>,
    faults: Vec<Fault>,
    scratch: Vec<u8>,
}

/// What a record has beside its value.
#[derive(Debug, Clone, Copy)]
enum Envelope {
    Key,
    Timestamp,
    Partition,
    Offset,
}

/// Why a record is rejected.
struct Reason {
    column: Option<usize>,
    text: String,
}

impl Decoder {
    /// A decoder for these columns.
    ///
    /// # Panics
    ///
    /// When two columns have the same name: [`crate::config`] refuses such a pipeline.
    #[must_use]
    pub fn new(columns: &[SourceColumn]) -> Self {
        let field =
            |column: &SourceColumn| Field::new(column.name.clone(), column.ty, column.nullable);
        let schema = Schema::new(columns.iter().map(field).collect())
            .expect("a validated pipeline names each column once");
        let mut fields = Fields::default();
        let mut envelope = Vec::new();
        for (at, column) in columns.iter().enumerate() {
            match &column.from {
                ColumnFrom::Json(path) => fields.want(path, at),
                ColumnFrom::Key => envelope.push((at, Envelope::Key)),
                ColumnFrom::Timestamp => envelope.push((at, Envelope::Timestamp)),
                ColumnFrom::Partition => envelope.push((at, Envelope::Partition)),
                ColumnFrom::Offset => envelope.push((at, Envelope::Offset)),
            }
        }
        Self {
            columns: schema.fields().iter().map(Column::new).collect(),
            schema,
            fields,
            envelope,
            faults: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// The columns of the rows that it makes.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// One row of each record that can be decoded; the others are appended to `rejected`, in order.
    /// Records of `skip` are left out without a word.
    ///
    /// # Panics
    ///
    /// Never because of a record.
    pub fn decode(
        &mut self,
        raw: &RawBatch,
        skip: &BTreeSet<Origin>,
        rejected: &mut Vec<Rejection>,
    ) -> Rows {
        // A guess that avoids growing step by step; texts share the bytes that the batch has.
        let text_bytes = raw.byte_len() / self.columns.len().max(4);
        for column in &mut self.columns {
            column.reserve(raw.len(), text_bytes);
        }
        let mut records = Vec::with_capacity(raw.len());
        for (index, record) in raw.iter().enumerate() {
            if !skip.is_empty() && skip.contains(&record.origin) {
                continue;
            }
            match self.decode_record(record, raw.value_onward(index), records.len()) {
                Ok(()) => records.push(index as u32),
                Err(reason) => {
                    for column in &mut self.columns {
                        column.truncate(records.len());
                    }
                    rejected.push(Rejection {
                        record: index as u32,
                        cause: match reason.column {
                            Some(_) => Cause::Value,
                            None => Cause::Malformed,
                        },
                        reason: reason.text,
                        column: reason
                            .column
                            .map(|at| self.schema.fields()[at].name.clone()),
                    });
                }
            }
        }
        let columns: Vec<ArrayRef> = self.columns.iter_mut().map(Column::finish).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(records.len()));
        let schema = self.schema.arrow().clone();
        Rows {
            columns: RecordBatch::try_new_with_options(schema, columns, &options)
                .expect("every column has a value of its own type for each row"),
            records,
        }
    }

    /// Adds row number `index`. On `Err` columns may have a value too many.
    /// `beyond` begins with the record's value.
    fn decode_record(
        &mut self,
        record: RawRecord<'_>,
        beyond: &[u8],
        index: usize,
    ) -> Result<(), Reason> {
        let value = record
            .value
            .ok_or_else(|| Reason::of_record("the record has no value (a tombstone)"))?;
        check_utf8(value).map_err(Reason::of_record)?;
        self.read_fields(value, beyond, index)
            .map_err(Reason::of_record)?;
        for &(at, envelope) in &self.envelope {
            if let Err(reason) = push_envelope(&mut self.columns[at], envelope, record) {
                self.faults.push(Fault { column: at, reason });
            }
        }
        for (at, column) in self.columns.iter_mut().enumerate() {
            let known = |fault: &Fault| fault.column == at;
            if column.len() == index
                && !self.faults.iter().any(known)
                && let Err(reason) = column.push_null("missing")
            {
                self.faults.push(Fault { column: at, reason });
            }
        }
        // The same fault is named each time, whatever the order of the fields is.
        match self.faults.iter_mut().min_by_key(|fault| fault.column) {
            None => Ok(()),
            Some(fault) => Err(Reason {
                column: Some(fault.column),
                text: std::mem::take(&mut fault.reason),
            }),
        }
    }

    /// Adds the values of JSON fields.
    fn read_fields(&mut self, text: &[u8], beyond: &[u8], index: usize) -> Result<(), String> {
        self.faults.clear();
        let mut row = Row {
            columns: &mut self.columns,
            faults: &mut self.faults,
            scratch: &mut self.scratch,
            index,
        };
        let mut cursor = Cursor::new(text, beyond);
        let first = cursor.peek();
        if first == b'{' {
            let read = row.read_object(&self.fields, &mut cursor, 0);
            return read
                .and_then(|()| cursor.end())
                .map_err(|error| error.to_string());
        }
        if text.trim_ascii().is_empty() {
            return Err("the record is empty".to_owned());
        }
        match cursor.skip_value(0).and_then(|()| cursor.end()) {
            Ok(()) => Err(format!("expected an object, found {}", fields::kind(first))),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Reason {
    fn of_record(text: impl Into<String>) -> Self {
        Self {
            column: None,
            text: text.into(),
        }
    }
}

/// That a value is a text.
#[inline]
fn check_utf8(value: &[u8]) -> Result<(), String> {
    // Most are ASCII. Without a way out in the middle that takes a few instructions for many bytes.
    if value.iter().fold(0, |all, byte| all | byte).is_ascii() {
        return Ok(());
    }
    match str::from_utf8(value) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("invalid UTF-8 after byte {}", error.valid_up_to())),
    }
}

fn push_envelope(
    column: &mut Column,
    envelope: Envelope,
    record: RawRecord<'_>,
) -> Result<(), String> {
    match envelope {
        Envelope::Key => match record.key {
            None => column.push_null("missing: the record has no key"),
            Some(key) if column.ty() == DataType::Utf8 => {
                str::from_utf8(key).map_err(|_| "the key is not UTF-8")?;
                column.push_bytes(key)
            }
            Some(key) => column.push_bytes(key),
        },
        Envelope::Timestamp => match record.timestamp_ms {
            None => column.push_null("missing: the record has no timestamp"),
            Some(millis) => {
                let micros = time::from_millis(millis)
                    .map_err(|error| format!("the record's timestamp {millis} ms {error}"))?;
                column.push_long(micros)
            }
        },
        Envelope::Partition => column.push_long(i64::from(record.origin.partition.0)),
        Envelope::Offset => column.push_long(record.origin.offset),
    }
}
