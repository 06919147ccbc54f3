//! Dead letters in a table of the ledger: its columns, and letters as rows of it.
//!
//! The table is one like those of the pipeline, so the ledgers create, compare and fill it like any
//! other, in the transaction of the epoch, or of the confirmation of a sink that refused rows. A letter
//! is told apart by pipeline, topic, partition, offset, stage and, where a document was refused, its
//! index and id: written again, it replaces itself.
//!
//! # Not here
//!
//! Reading them, but for the SQL of it: `letters` of [`super::postgres`] and [`super::sqlite`].

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow_array::builder::{
    BinaryBuilder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};

use super::SinkError;
use super::screen::Bounds;
use super::table::TableTarget;
use crate::config::{OnConflict, Table};
use crate::dead_letter::headers_json;
use crate::epoch::{EpochId, EpochOutput, OutputBatch};
use crate::record::DeadLetter;
use crate::schema::{DataType, Field, Schema};

/// The stream that the table is filled from. No stream of a pipeline has a space in its name.
const STREAM: &str = "dead letters";

/// Its columns: name, type, whether it may be null. No name has to be quoted in SQL.
const COLUMNS: [(&str, DataType, bool); 17] = [
    ("pipeline", DataType::Utf8, false),
    ("topic", DataType::Utf8, false),
    ("partition", DataType::Int64, false),
    ("record_offset", DataType::Int64, false),
    ("stage", DataType::Utf8, false),
    // Empty where no document was refused: what may be null is no key.
    ("document", DataType::Utf8, false),
    ("component", DataType::Utf8, true),
    ("column_name", DataType::Utf8, true),
    ("reason", DataType::Utf8, false),
    ("epoch", DataType::Int64, false),
    ("written_at", DataType::Timestamp, false),
    ("record_time", DataType::Timestamp, true),
    ("key", DataType::Binary, true),
    ("headers", DataType::Utf8, true),
    ("value", DataType::Binary, true),
    // Where its record was processed again: by which version, and when.
    ("settled_by", DataType::Int64, true),
    ("settled_at", DataType::Timestamp, true),
];

/// How many of them, from the first on, tell letters apart.
const KEY_COLUMNS: usize = 6;

/// What a letter is read from, in this order.
const READ: &str = "\
    topic, partition, record_offset, stage, document, component, column_name, reason, epoch, \
    written_at, record_time, key, headers, value, settled_by, settled_at";

/// In which order they are read. Letters of one transaction have one time.
const ORDER: [&str; 6] = [
    "written_at",
    "topic",
    "partition",
    "record_offset",
    "stage",
    "document",
];

/// Bytes of letters in one batch, about: a column has less than 2 GiB.
const BATCH_BYTES: usize = 64 << 20;

/// The table of the dead letters of one pipeline.
#[derive(Debug, Clone)]
pub(super) struct LetterTable {
    target: TableTarget,
    pipeline: String,
    topic: String,
}

impl LetterTable {
    /// The table of this name, for letters of records of `topic`.
    ///
    /// # Errors
    ///
    /// [`SinkError::Permanent`] when the name is none for a table.
    pub(super) fn new(table: &str, pipeline: &str, topic: &str) -> Result<Self, SinkError> {
        let key = COLUMNS[..KEY_COLUMNS].iter();
        let config = Table {
            from: STREAM.to_owned(),
            table: table.to_owned(),
            key: key.map(|&(name, ..)| name.to_owned()).collect(),
            columns: None,
            on_conflict: OnConflict::Update,
            span: 0..0,
        };
        let target = TableTarget::new(&config, &schema())
            .map_err(|error| SinkError::Permanent(format!("dead letters: {error}")))?;
        Ok(Self {
            target,
            pipeline: pipeline.to_owned(),
            topic: topic.to_owned(),
        })
    }

    /// The table as one to be created, compared and filled.
    pub(super) fn target(&self) -> &TableTarget {
        &self.target
    }

    /// Reads the letters of which `selected` is true in the order of their writing: the `newest` so many, or
    /// all of them.
    pub(super) fn select_sql(&self, selected: &str, newest: Option<usize>) -> String {
        let table = self.target.quoted();
        let all = format!("SELECT {READ} FROM {table} WHERE {selected}");
        let order = ORDER.join(", ");
        match newest {
            None => format!("{all} ORDER BY {order}"),
            Some(count) => {
                let backwards = ORDER.join(" DESC, ");
                // PostgreSQL before 16 wants a name for what stands in brackets.
                format!(
                    "SELECT * FROM ({all} ORDER BY {backwards} DESC LIMIT {count}) newest ORDER BY {order}"
                )
            }
        }
    }

    /// Marks letters as settled, in an `UPDATE` of which `record` says which ones they are: it compares
    /// `partition`, `record_offset` and `stage`. `by` and `at` are what it sets.
    pub(super) fn settle_sql(&self, (by, at): (&str, &str), record: &str) -> String {
        let table = self.target.quoted();
        format!(
            "UPDATE {table} SET settled_by = {by}, settled_at = {at} WHERE {record} AND document = ''"
        )
    }

    /// Whose letters they are: the pipeline, and the topic that the records are from.
    pub(super) fn of(&self) -> (&str, &str) {
        (&self.pipeline, &self.topic)
    }

    /// For whoever reads it in a database, `place`, that has no such table.
    pub(super) fn missing(&self, place: &str) -> SinkError {
        SinkError::Permanent(format!(
            "there is no table `{}` in {place}: the pipeline creates it when it first runs",
            self.target.name(),
        ))
    }

    /// Refuses a table of this name whose columns are others.
    ///
    /// # Errors
    ///
    /// [`SinkError::Permanent`] with the differences, if there are any; or with the columns that it lacks
    /// because a version of wasmill made it that did not know them.
    pub(super) fn check(
        &self,
        place: &str,
        differences: &[String],
        lacks: impl Iterator<Item = String>,
    ) -> Result<(), SinkError> {
        let lacks: Vec<String> = lacks.collect();
        if differences.is_empty() && lacks.is_empty() {
            return Ok(());
        }
        if differences.is_empty() {
            return Err(SinkError::Permanent(format!(
                "table `{}` in {place} was made by an older version of wasmill and lacks {}: the pipeline adds what it lacks when it starts",
                self.target.name(),
                lacks.join(" and ")
            )));
        }
        Err(SinkError::Permanent(format!(
            "table `{}` in {place} is none of dead letters:\n  - {}",
            self.target.name(),
            differences.join("\n  - ")
        )))
    }

    /// The letters as rows, within what the database can hold.
    pub(super) fn batches(
        &self,
        epoch: EpochId,
        letters: &[DeadLetter],
        bounds: &Bounds,
    ) -> Vec<OutputBatch> {
        let written = SystemTime::now().duration_since(UNIX_EPOCH);
        let written = written.map_or(0, |time| time.as_micros());
        let written = i64::try_from(written).unwrap_or(i64::MAX);
        let mut batches = Vec::new();
        let mut rest = letters;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |letter: &&DeadLetter| {
                bytes += byte_len(letter);
                bytes <= BATCH_BYTES
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (batch, more) = rest.split_at(count);
            rest = more;
            let mut rows = Rows::new();
            for letter in batch {
                rows.push(self, epoch, written, letter, bounds);
            }
            batches.push(OutputBatch {
                columns: rows.finish(),
                // Without origins, the latest of equal keys stays.
                origins: Vec::new(),
            });
        }
        batches
    }
}

/// The rows of an epoch for a table: those of its stream, or the letters.
pub(super) fn batches_for<'a>(
    target: &TableTarget,
    epoch: &'a EpochOutput,
    letters: &'a [OutputBatch],
) -> &'a [OutputBatch] {
    if target.from() == STREAM {
        return letters;
    }
    epoch.streams.get(target.from()).map_or(&[], Vec::as_slice)
}

fn schema() -> Schema {
    let fields = COLUMNS.map(|(name, ty, nullable)| Field::new(name, ty, nullable));
    Schema::new(fields.into()).expect("the columns have names of their own")
}

fn byte_len(letter: &DeadLetter) -> usize {
    let headers = letter.headers.iter();
    let headers = headers.map(|h| h.name.len() + 2 * h.value.as_ref().map_or(0, Vec::len));
    letter.reason.len()
        + letter.key.as_ref().map_or(0, Vec::len)
        + letter.value.as_ref().map_or(0, Vec::len)
        + headers.sum::<usize>()
}

/// The text without U+0000, which PostgreSQL's texts cannot have: a reason may quote the record.
fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        return text.replace('\0', "\\u0000").into();
    }
    text.into()
}

/// Columns that grow, in the order of [`COLUMNS`].
struct Rows {
    pipeline: StringBuilder,
    topic: StringBuilder,
    partition: Int64Builder,
    offset: Int64Builder,
    stage: StringBuilder,
    document: StringBuilder,
    component: StringBuilder,
    column: StringBuilder,
    reason: StringBuilder,
    epoch: Int64Builder,
    written_at: TimestampMicrosecondBuilder,
    record_time: TimestampMicrosecondBuilder,
    key: BinaryBuilder,
    headers: StringBuilder,
    value: BinaryBuilder,
    settled_by: Int64Builder,
    settled_at: TimestampMicrosecondBuilder,
}

impl Rows {
    fn new() -> Self {
        let times = || TimestampMicrosecondBuilder::new().with_timezone("UTC");
        Self {
            pipeline: StringBuilder::new(),
            topic: StringBuilder::new(),
            partition: Int64Builder::new(),
            offset: Int64Builder::new(),
            stage: StringBuilder::new(),
            document: StringBuilder::new(),
            component: StringBuilder::new(),
            column: StringBuilder::new(),
            reason: StringBuilder::new(),
            epoch: Int64Builder::new(),
            written_at: times(),
            record_time: times(),
            key: BinaryBuilder::new(),
            headers: StringBuilder::new(),
            value: BinaryBuilder::new(),
            settled_by: Int64Builder::new(),
            settled_at: times(),
        }
    }

    fn push(
        &mut self,
        table: &LetterTable,
        epoch: EpochId,
        written: i64,
        letter: &DeadLetter,
        bounds: &Bounds,
    ) {
        let text =
            |text: &'_ Option<String>| text.as_deref().map(|text| storable(text).into_owned());
        let document = letter.document.as_deref().map(storable);
        let micros = letter.timestamp_ms.and_then(|ms| ms.checked_mul(1_000));
        self.pipeline.append_value(&table.pipeline);
        self.topic.append_value(storable(&table.topic));
        self.partition
            .append_value(letter.origin.partition.0.into());
        self.offset.append_value(letter.origin.offset);
        self.stage.append_value(&letter.stage);
        self.document.append_value(document.unwrap_or_default());
        self.component.append_option(text(&letter.component));
        self.column.append_option(text(&letter.column));
        self.reason.append_value(storable(&letter.reason));
        self.epoch.append_value(epoch.0.cast_signed());
        self.written_at.append_value(written);
        let micros = micros.filter(|micros| bounds.micros.contains(micros));
        self.record_time.append_option(micros);
        self.key.append_option(letter.key.as_deref());
        self.headers.append_option(headers_json(&letter.headers));
        self.value.append_option(letter.value.as_deref());
        self.settled_by.append_null();
        self.settled_at.append_null();
    }

    fn finish(mut self) -> RecordBatch {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.pipeline.finish()),
            Arc::new(self.topic.finish()),
            Arc::new(self.partition.finish()),
            Arc::new(self.offset.finish()),
            Arc::new(self.stage.finish()),
            Arc::new(self.document.finish()),
            Arc::new(self.component.finish()),
            Arc::new(self.column.finish()),
            Arc::new(self.reason.finish()),
            Arc::new(self.epoch.finish()),
            Arc::new(self.written_at.finish()),
            Arc::new(self.record_time.finish()),
            Arc::new(self.key.finish()),
            Arc::new(self.headers.finish()),
            Arc::new(self.value.finish()),
            Arc::new(self.settled_by.finish()),
            Arc::new(self.settled_at.finish()),
        ];
        RecordBatch::try_new(Arc::clone(schema().arrow()), columns)
            .expect("the columns are those of the schema")
    }
}
