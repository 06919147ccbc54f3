//! Every value that goes in comes out equal.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal64Array, Float64Array, Int64Array,
    RecordBatch, StringArray, TimestampMicrosecondArray,
};
use chrono::{DateTime, NaiveDate};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use wasmill::config::OnConflict;
use wasmill::epoch::OutputBatch;
use wasmill::schema::{DataType, Field, Schema};
use wasmill::sink::table::TableTarget;

use super::{claimed_with, epoch, table, write};
use crate::support::postgres::Database;
use crate::support::unique;

const SCALES: [u8; 4] = [0, 2, 7, 18];

/// A stream with a column of every type.
fn every_type() -> Schema {
    let mut fields = vec![
        Field::new("id", DataType::Int64, false),
        Field::new("flag", DataType::Boolean, true),
        Field::new("ratio", DataType::Float64, true),
        Field::new("text", DataType::Utf8, true),
        Field::new("bytes", DataType::Binary, true),
        Field::new("time", DataType::Timestamp, true),
        Field::new("day", DataType::Date, true),
    ];
    fields.extend(
        SCALES.map(|scale| Field::new(format!("decimal_{scale}"), DataType::Decimal(scale), true)),
    );
    Schema::new(fields).unwrap()
}

#[derive(Debug, Clone, Default)]
struct Values {
    flag: Option<bool>,
    ratio: Option<f64>,
    text: Option<String>,
    bytes: Option<Vec<u8>>,
    /// µs since 1970
    time: Option<i64>,
    /// days since 1970
    day: Option<i32>,
    /// unscaled, one for each of `SCALES`
    decimals: [Option<i64>; 4],
}

fn any_values() -> impl Strategy<Value = Values> {
    let text = prop::collection::vec(any::<char>(), 0..20)
        .prop_map(|chars| chars.into_iter().filter(|&c| c != '\0').collect::<String>());
    let unscaled = || prop::option::of(-999_999_999_999_999_999_i64..=999_999_999_999_999_999);
    (
        any::<Option<bool>>(),
        any::<Option<f64>>(),
        prop::option::of(text),
        any::<Option<Vec<u8>>>(),
        prop::option::of(-210_866_803_200_000_000..=i64::MAX),
        prop::option::of(-2_440_588..2_145_042_906),
        [unscaled(), unscaled(), unscaled(), unscaled()],
    )
        .prop_map(|(flag, ratio, text, bytes, time, day, decimals)| Values {
            flag,
            ratio,
            text,
            bytes,
            time,
            day,
            decimals,
        })
}

fn columns_of(rows: &[Values]) -> RecordBatch {
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(0..rows.len() as i64)),
        Arc::new(rows.iter().map(|row| row.flag).collect::<BooleanArray>()),
        Arc::new(rows.iter().map(|row| row.ratio).collect::<Float64Array>()),
        Arc::new(
            rows.iter()
                .map(|row| row.text.as_deref())
                .collect::<StringArray>(),
        ),
        Arc::new(
            rows.iter()
                .map(|row| row.bytes.as_deref())
                .collect::<BinaryArray>(),
        ),
        Arc::new(
            rows.iter()
                .map(|row| row.time)
                .collect::<TimestampMicrosecondArray>()
                .with_timezone("UTC"),
        ),
        Arc::new(rows.iter().map(|row| row.day).collect::<Date32Array>()),
    ];
    for (index, &scale) in SCALES.iter().enumerate() {
        let unscaled: Decimal64Array = rows.iter().map(|row| row.decimals[index]).collect();
        columns.push(Arc::new(
            unscaled
                .with_precision_and_scale(18, scale.cast_signed())
                .unwrap(),
        ));
    }
    RecordBatch::try_new(Arc::clone(every_type().arrow()), columns).unwrap()
}

async fn write_values(database: &Database, rows: &[Values]) {
    let target = TableTarget::new(
        &table("everything", &["id"], OnConflict::Update),
        &every_type(),
    )
    .unwrap();
    let mut ledger = claimed_with(database, &unique("values"), vec![target]).await;
    let batch = OutputBatch {
        columns: columns_of(rows),
        origins: vec![],
    };
    write(&mut ledger, &epoch(1, vec![batch])).await;
}

fn decimal_text(unscaled: i64, scale: u8) -> String {
    let scale = usize::from(scale);
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if unscaled < 0 { "-" } else { "" };
    let point = if scale == 0 { "" } else { "." };
    format!("{sign}{whole}{point}{fraction}")
}

fn hex(bytes: &[u8]) -> String {
    let mut hex = String::new();
    for byte in bytes {
        write!(hex, "{byte:02x}").unwrap();
    }
    hex
}

#[tokio::test]
async fn familiar_values_read_as_the_server_prints_them() {
    let database = Database::fresh().await;
    let micros = |text: &str| {
        DateTime::parse_from_rfc3339(text)
            .unwrap()
            .timestamp_micros()
    };
    let day = NaiveDate::from_ymd_opt(1899, 12, 31).unwrap();
    let epoch_day = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
    let rows = [
        Values {
            flag: Some(true),
            ratio: Some(-0.1),
            text: Some("Grüße, 東京 🎉\n\\N\t\"'".into()),
            bytes: Some(vec![0, 1, 255]),
            time: Some(micros("2024-02-29T23:59:59.999999Z")),
            day: Some((day - epoch_day).num_days() as i32),
            decimals: [Some(-7), Some(-5), Some(12_345_678), Some(1)],
        },
        Values {
            flag: Some(false),
            ratio: Some(f64::NAN),
            text: Some(String::new()),
            bytes: Some(vec![]),
            time: Some(micros("1969-12-31T23:59:59+01:00")),
            day: Some(0),
            decimals: [
                Some(0),
                Some(100_000_000),
                Some(0),
                Some(-999_999_999_999_999_999),
            ],
        },
        Values::default(),
    ];
    write_values(&database, &rows).await;
    let first = ["0", "t", "-0.1", "Grüße, 東京 🎉\n\\N\t\"'", "\\x0001ff"];
    let second = ["1", "f", "NaN", "", "\\x"];
    let expected = [
        [
            &first[..],
            &["2024-02-29 23:59:59.999999+00", "1899-12-31"],
            &["-7", "-0.05", "1.2345678", "0.000000000000000001"],
        ]
        .concat(),
        [
            &second[..],
            &["1969-12-31 22:59:59+00", "1970-01-01"],
            &["0", "1000000.00", "0.0000000", "-0.999999999999999999"],
        ]
        .concat(),
        [&["2"][..], &["∅"; 10]].concat(),
    ];
    assert_eq!(
        database.rows("SELECT * FROM everything ORDER BY id").await,
        expected
    );
}

#[tokio::test]
async fn any_values_read_back_equal() {
    let database = Database::fresh().await;
    let strategy = prop::collection::vec(any_values(), 1_000);
    let rows = strategy
        .new_tree(&mut TestRunner::deterministic())
        .unwrap()
        .current();
    write_values(&database, &rows).await;
    let expected: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let mut texts = vec![
                row.flag.map(|flag| if flag { "t" } else { "f" }.to_owned()),
                row.ratio.map(|ratio| hex(&ratio.to_be_bytes())),
                row.text.clone(),
                row.bytes.as_deref().map(hex),
                row.time.map(|micros| micros.to_string()),
                row.day.map(|days| days.to_string()),
            ];
            texts.extend(
                row.decimals
                    .iter()
                    .zip(SCALES)
                    .map(|(value, scale)| value.map(|unscaled| decimal_text(unscaled, scale))),
            );
            texts
                .into_iter()
                .map(|text| text.unwrap_or_else(|| "∅".into()))
                .collect()
        })
        .collect();
    let stored = database
        .rows(
            "SELECT flag, encode(float8send(ratio), 'hex'), text, encode(bytes, 'hex'),
                    (extract(epoch FROM time) * 1000000)::bigint, day - date '1970-01-01',
                    decimal_0, decimal_2, decimal_7, decimal_18
             FROM everything ORDER BY id",
        )
        .await;
    assert_eq!(stored.len(), expected.len());
    for (index, (stored, expected)) in stored.iter().zip(&expected).enumerate() {
        assert_eq!(stored, expected, "{:?}", rows[index]);
    }
}

#[tokio::test]
async fn more_rows_than_one_chunk_arrive_whole() {
    let database = Database::fresh().await;
    let text = |row: usize| format!("{row}{}", "é".repeat(50_000));
    let rows: Vec<Values> = (0..50)
        .map(|row| Values {
            text: Some(text(row)),
            ..Values::default()
        })
        .collect();
    write_values(&database, &rows).await;
    let stored = database
        .rows("SELECT text FROM everything ORDER BY id")
        .await;
    assert_eq!(stored.len(), 50);
    for (row, stored) in stored.iter().enumerate() {
        assert_eq!(stored[0], text(row));
    }
}
