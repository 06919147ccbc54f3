//! `passthrough` in the sandbox: what goes in comes out.

use std::cell::RefCell;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal64Array, Float64Array, Int64Array,
    RecordBatch, StringArray, TimestampMicrosecondArray,
};
use proptest::prelude::*;
use serde_json::json;

use wasmill::schema::{DataType, Schema};

use super::{LIMITS, MOST, in_the_middle, load, schema};

const COLUMNS: [(&str, DataType); 8] = [
    ("boolean", DataType::Boolean),
    ("int64", DataType::Int64),
    ("float64", DataType::Float64),
    ("decimal", DataType::Decimal(7)),
    ("utf8", DataType::Utf8),
    ("binary", DataType::Binary),
    ("timestamp", DataType::Timestamp),
    ("date", DataType::Date),
];

/// One value of each type, each of which may be missing.
pub(super) type Row = (
    (Option<bool>, Option<i64>, Option<f64>, Option<i64>),
    (Option<String>, Option<Vec<u8>>, Option<i64>, Option<i32>),
);

pub(super) fn input() -> Schema {
    schema(&COLUMNS)
}

fn collect<A, T>(rows: &[Row], value: impl Fn(&Row) -> T) -> A
where
    A: FromIterator<T>,
{
    rows.iter().map(value).collect()
}

pub(super) fn batch(rows: &[Row]) -> RecordBatch {
    let decimals: Decimal64Array = collect(rows, |row| row.0.3);
    let times: TimestampMicrosecondArray = collect(rows, |row| row.1.2);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(collect::<BooleanArray, _>(rows, |row| row.0.0)),
        Arc::new(collect::<Int64Array, _>(rows, |row| row.0.1)),
        Arc::new(collect::<Float64Array, _>(rows, |row| row.0.2)),
        Arc::new(decimals.with_precision_and_scale(18, 7).unwrap()),
        Arc::new(collect::<StringArray, _>(rows, |row| row.1.0.clone())),
        Arc::new(collect::<BinaryArray, _>(rows, |row| row.1.1.clone())),
        Arc::new(times.with_timezone("UTC")),
        Arc::new(collect::<Date32Array, _>(rows, |row| row.1.3)),
    ];
    RecordBatch::try_new(input().arrow().clone(), columns).unwrap()
}

pub(super) fn rows() -> impl Strategy<Value = Vec<Row>> {
    let numbers = (
        any::<Option<bool>>(),
        any::<Option<i64>>(),
        any::<Option<f64>>(),
    );
    let numbers = (numbers, prop::option::of(-MOST..=MOST)).prop_map(|((a, b, c), d)| (a, b, c, d));
    let others = (
        prop::option::of(".{0,12}"),
        prop::option::of(prop::collection::vec(any::<u8>(), 0..12)),
        any::<Option<i64>>(),
        any::<Option<i32>>(),
    );
    prop::collection::vec((numbers, others), 0..100)
}

#[test]
fn every_type_comes_back_as_it_went_in() {
    let names = COLUMNS.map(|(name, _)| name);
    let config = json!({"columns": names});
    let guest = load("passthrough").transform("same", &input(), &config, &LIMITS);
    let guest = RefCell::new(guest.unwrap());
    assert_eq!(guest.borrow().contract().output, input());
    proptest!(ProptestConfig::with_cases(64), |(rows in rows(), before in rows())| {
        let batch = in_the_middle(&batch(&rows), &batch(&before));
        let changes = guest.borrow_mut().apply(&batch).unwrap();
        prop_assert_eq!(changes.columns.as_slice(), batch.columns());
        prop_assert_eq!(changes.selection, None);
        prop_assert!(changes.rejections.is_empty());
    });
}

#[test]
fn nothing_crosses_without_config() {
    let guest = load("passthrough").transform("same", &input(), &json!({}), &LIMITS);
    let contract = guest.unwrap().contract().clone();
    assert!(contract.needs.is_empty() && contract.returns.is_empty());
    assert_eq!(contract.output, input());
}
