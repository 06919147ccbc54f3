//! Typed rows of one stream with a column of every type, and epochs made of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal64Array, Float64Array, Int64Array,
    RecordBatch, StringArray, TimestampMicrosecondArray,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sonic_rs::{JsonValueTrait, LazyValue};
use wasmill::config;
use wasmill::epoch::{EpochId, EpochOutput, OutputBatch};
use wasmill::record::{Origin, Partition, Positions};
use wasmill::schema::{DataType, Field, Schema};

/// The name of the stream.
pub(crate) const STREAM: &str = "sales";

/// One row. `id` is the key.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) flag: Option<bool>,
    pub(crate) count: Option<i64>,
    pub(crate) ratio: Option<f64>,
    /// unscaled, two digits after the point
    pub(crate) amount: Option<i64>,
    /// unscaled, eighteen digits after the point
    pub(crate) precise: Option<i64>,
    pub(crate) note: Option<String>,
    pub(crate) raw: Option<Vec<u8>>,
    /// µs since 1970
    pub(crate) at: Option<i64>,
    /// days since 1970
    pub(crate) day: Option<i32>,
}

/// What a store holds: by id, the text of each column that is not null (see [`Row::texts`]).
pub(crate) type Stored = BTreeMap<String, BTreeMap<String, String>>;

/// A row with nothing but a key and a number.
pub(crate) fn row(id: &str, count: i64) -> Row {
    Row {
        id: id.to_owned(),
        count: Some(count),
        ..Row::default()
    }
}

impl Row {
    /// The columns that are not null: floats as Rust's `{:?}`, decimals with all of their digits,
    /// bytes in hex, times as µs and days since 1970.
    pub(crate) fn texts(&self) -> BTreeMap<String, String> {
        let columns = [
            ("id", Some(self.id.clone())),
            ("flag", self.flag.map(|value| value.to_string())),
            ("count", self.count.map(|value| value.to_string())),
            ("ratio", self.ratio.map(|value| format!("{value:?}"))),
            ("amount", self.amount.map(|value| decimal_text(value, 2))),
            ("precise", self.precise.map(|value| decimal_text(value, 18))),
            ("note", self.note.clone()),
            ("raw", self.raw.as_deref().map(hex)),
            ("at", self.at.map(|value| value.to_string())),
            ("day", self.day.map(|value| value.to_string())),
        ];
        columns
            .into_iter()
            .filter_map(|(name, text)| Some((name.to_owned(), text?)))
            .collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .map(|digit| char::from_digit(digit.into(), 16).unwrap())
        .collect()
}

fn decimal_text(unscaled: i64, scale: usize) -> String {
    let sign = if unscaled < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    format!("{sign}{whole}.{fraction}")
}

/// What a store has to hold after these rows were written, later ones replacing earlier ones.
pub(crate) fn stored<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Stored {
    rows.into_iter()
        .map(|row| (row.id.clone(), row.texts()))
        .collect()
}

/// The stream's columns.
pub(crate) fn schema() -> Schema {
    let columns = [
        ("id", DataType::Utf8),
        ("flag", DataType::Boolean),
        ("count", DataType::Int64),
        ("ratio", DataType::Float64),
        ("amount", DataType::Decimal(2)),
        ("precise", DataType::Decimal(18)),
        ("note", DataType::Utf8),
        ("raw", DataType::Binary),
        ("at", DataType::Timestamp),
        ("day", DataType::Date),
    ];
    let fields = columns.map(|(name, ty)| Field::new(name, ty, name != "id"));
    Schema::new(fields.into()).unwrap()
}

/// A table of this stream with the key `id`.
pub(crate) fn table(name: &str) -> config::Table {
    config::Table {
        from: STREAM.to_owned(),
        table: name.to_owned(),
        key: vec!["id".to_owned()],
        columns: None,
        on_conflict: config::OnConflict::Update,
        span: 0..0,
    }
}

/// An index of this stream with the id `id`.
pub(crate) fn index(name: &str) -> config::Index {
    config::Index {
        from: STREAM.to_owned(),
        index: name.to_owned(),
        id: "id".to_owned(),
        columns: None,
        span: 0..0,
    }
}

/// Rows without origins, as an aggregate has them.
pub(crate) fn batch(rows: &[Row]) -> OutputBatch {
    fn column<'a, T, A: FromIterator<Option<T>>>(
        rows: &'a [Row],
        value: impl Fn(&'a Row) -> Option<T>,
    ) -> A {
        rows.iter().map(value).collect()
    }
    let decimals =
        |values: Decimal64Array, scale| values.with_data_type(DataType::Decimal(scale).to_arrow());
    let times: TimestampMicrosecondArray = column(rows, |row| row.at);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(column::<_, StringArray>(rows, |row| Some(row.id.as_str()))),
        Arc::new(column::<_, BooleanArray>(rows, |row| row.flag)),
        Arc::new(column::<_, Int64Array>(rows, |row| row.count)),
        Arc::new(column::<_, Float64Array>(rows, |row| row.ratio)),
        Arc::new(decimals(column(rows, |row| row.amount), 2)),
        Arc::new(decimals(column(rows, |row| row.precise), 18)),
        Arc::new(column::<_, StringArray>(rows, |row| row.note.as_deref())),
        Arc::new(column::<_, BinaryArray>(rows, |row| row.raw.as_deref())),
        Arc::new(times.with_timezone("UTC")),
        Arc::new(column::<_, Date32Array>(rows, |row| row.day)),
    ];
    OutputBatch {
        columns: RecordBatch::try_new(Arc::clone(schema().arrow()), columns).unwrap(),
        origins: Vec::new(),
    }
}

/// Rows that were read from partition 0 from this offset on.
pub(crate) fn batch_from(offset: i64, rows: &[Row]) -> OutputBatch {
    OutputBatch {
        origins: (offset..).take(rows.len()).map(origin).collect(),
        ..batch(rows)
    }
}

/// The record at this offset of partition 0.
pub(crate) fn origin(offset: i64) -> Origin {
    Origin {
        partition: Partition(0),
        offset,
    }
}

/// An epoch of these batches. It ends at offset 100 × its number in partition 0.
pub(crate) fn epoch(number: u64, batches: Vec<OutputBatch>) -> EpochOutput {
    EpochOutput {
        epoch: EpochId(number),
        positions: Positions::from_iter([(Partition(0), 100 * number.cast_signed())]),
        streams: BTreeMap::from([(STREAM.into(), batches)]),
        ..EpochOutput::default()
    }
}

/// The texts (see [`Row::texts`]) of a JSON document as Elasticsearch keeps it: numbers by their own
/// text, so that no digit is lost on the way.
pub(crate) fn of_document(source: &str) -> BTreeMap<String, String> {
    use chrono::{DateTime, NaiveDate};
    let fields = sonic_rs::to_object_iter(source);
    fields
        .map(|field| {
            let (name, value) = field.unwrap();
            let raw = value.as_raw_str();
            let text = |value: &LazyValue<'_>| value.as_str().unwrap().to_owned();
            let text = match name.as_ref() {
                "flag" | "count" | "amount" | "precise" => raw.to_owned(),
                "ratio" => format!("{:?}", raw.parse::<f64>().unwrap()),
                "at" => DateTime::parse_from_rfc3339(&text(&value))
                    .unwrap()
                    .timestamp_micros()
                    .to_string(),
                "day" => {
                    let day: NaiveDate = text(&value).parse().unwrap();
                    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
                    (day - epoch).num_days().to_string()
                }
                "raw" => hex(&BASE64.decode(text(&value)).unwrap()),
                _ => text(&value),
            };
            (name.to_string(), text)
        })
        .collect()
}
