//! Round trips, and every kind of nonsense that a guest can return.

use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal64Array, Float64Array,
    Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use proptest::prelude::*;
use std::sync::Arc;

use super::super::bindings::data::{
    BatchResult, ColumnParam, ColumnResult, ValuesParam, ValuesResult, VarBytesResult,
};
use super::*;
use crate::schema::{DataType, Field, Schema};

fn schema() -> Schema {
    let field = |name: &str, ty| Field::new(name, ty, true);
    Schema::new(vec![
        field("boolean", DataType::Boolean),
        field("int64", DataType::Int64),
        field("float64", DataType::Float64),
        field("decimal", DataType::Decimal(2)),
        field("utf8", DataType::Utf8),
        field("binary", DataType::Binary),
        field("timestamp", DataType::Timestamp),
        field("date", DataType::Date),
    ])
    .unwrap()
}

type Row = (
    Option<bool>,
    Option<i64>,
    Option<f64>,
    Option<i64>,
    Option<String>,
    Option<Vec<u8>>,
    Option<i64>,
    Option<i32>,
);

fn batch(rows: &[Row]) -> RecordBatch {
    let decimals: Decimal64Array = rows.iter().map(|row| row.3).collect();
    let timestamps: TimestampMicrosecondArray = rows.iter().map(|row| row.6).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.0).collect::<BooleanArray>()),
        Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>()),
        Arc::new(decimals.with_precision_and_scale(18, 2).unwrap()),
        Arc::new(
            rows.iter()
                .map(|row| row.4.clone())
                .collect::<StringArray>(),
        ),
        Arc::new(
            rows.iter()
                .map(|row| row.5.as_deref())
                .collect::<BinaryArray>(),
        ),
        Arc::new(timestamps.with_timezone("UTC")),
        Arc::new(rows.iter().map(|row| row.7).collect::<Date32Array>()),
    ];
    RecordBatch::try_new(schema().arrow().clone(), columns).unwrap()
}

/// What the guest would send back if it returned its input.
fn echo(column: &ColumnParam<'_>) -> ColumnResult {
    let values = match &column.values {
        ValuesParam::Bools(values) => ValuesResult::Bools(values.to_vec()),
        ValuesParam::I32s(values) => ValuesResult::I32s(values.to_vec()),
        ValuesParam::I64s(values) => ValuesResult::I64s(values.to_vec()),
        ValuesParam::F64s(values) => ValuesResult::F64s(values.to_vec()),
        ValuesParam::Bytes(values) => ValuesResult::Bytes(VarBytesResult {
            offsets: values.offsets.to_vec(),
            bytes: values.bytes.to_vec(),
        }),
    };
    ColumnResult {
        values,
        validity: column.validity.map(<[u8]>::to_vec),
    }
}

fn round_trip(input: &RecordBatch, scratch: &mut Scratch) -> RecordBatch {
    let columns = lower(input, scratch).iter().map(echo).collect();
    let rows = input.num_rows();
    let batch = BatchResult {
        rows: rows as u32,
        columns,
    };
    lift_batch(&schema(), batch, rows).unwrap()
}

proptest! {
    #[test]
    fn columns_come_back_as_they_went(
        rows in proptest::collection::vec(any_row(), 0..150),
        cut in (0.0..1.0, 0.0..1.0),
    ) {
        let whole = batch(&rows);
        let start = (rows.len() as f64 * cut.0) as usize;
        let len = ((rows.len() - start) as f64 * cut.1) as usize;
        let mut scratch = Scratch::default();
        prop_assert_eq!(&round_trip(&whole, &mut scratch), &whole);
        let slice = whole.slice(start, len);
        prop_assert_eq!(&round_trip(&slice, &mut scratch), &slice);
        prop_assert_eq!(&round_trip(&whole, &mut scratch), &whole);
    }

    #[test]
    fn the_lowered_size_is_that_of_the_lists(
        rows in proptest::collection::vec(any_row(), 1..50),
    ) {
        let batch = batch(&rows).slice(rows.len() / 2, rows.len() - rows.len() / 2);
        let mut scratch = Scratch::default();
        for (column, param) in batch.columns().iter().zip(lower(&batch, &mut scratch)) {
            let values = match param.values {
                ValuesParam::Bools(values) => values.len(),
                ValuesParam::I32s(values) => size_of_val(values),
                ValuesParam::I64s(values) => size_of_val(values),
                ValuesParam::F64s(values) => size_of_val(values),
                ValuesParam::Bytes(values) => size_of_val(values.offsets) + values.bytes.len(),
            };
            let validity = param.validity.map_or(0, <[u8]>::len);
            prop_assert_eq!(lowered_bytes(column), values + validity);
        }
    }
}

fn any_row() -> impl Strategy<Value = Row> {
    let digits = -999_999_999_999_999_999..=999_999_999_999_999_999_i64;
    (
        any::<Option<bool>>(),
        any::<Option<i64>>(),
        proptest::option::of(-1e300..1e300),
        proptest::option::of(digits),
        any::<Option<String>>(),
        any::<Option<Vec<u8>>>(),
        any::<Option<i64>>(),
        any::<Option<i32>>(),
    )
}

#[test]
fn numbers_and_bytes_are_lowered_where_they_lie() {
    let numbers = Int64Array::from(vec![1, 2, 3]);
    let texts = StringArray::from(vec!["é", "", "long"]);
    let columns = [
        ("a", Arc::new(numbers.clone()) as ArrayRef),
        ("b", Arc::new(texts.clone()) as ArrayRef),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut scratch = Scratch::default();
    let lowered = lower(&batch, &mut scratch);
    let ValuesParam::I64s(values) = lowered[0].values else {
        panic!("{:?}", lowered[0]);
    };
    assert_eq!(values.as_ptr(), numbers.values().as_ptr());
    let ValuesParam::Bytes(values) = &lowered[1].values else {
        panic!("{:?}", lowered[1]);
    };
    assert_eq!(values.bytes.as_ptr(), texts.value_data().as_ptr());
    assert_eq!(
        values.offsets.as_ptr().cast(),
        texts.value_offsets().as_ptr()
    );
}

fn lift_one(
    ty: DataType,
    nullable: bool,
    column: ColumnResult,
    rows: usize,
) -> Result<ArrayRef, String> {
    let field = Field::new("c", ty, nullable);
    lift_columns(&[field], vec![column], rows).map(|mut columns| columns.remove(0))
}

fn column(values: ValuesResult, validity: Option<Vec<u8>>) -> ColumnResult {
    ColumnResult { values, validity }
}

fn texts(offsets: Vec<u32>, bytes: &[u8]) -> ValuesResult {
    ValuesResult::Bytes(VarBytesResult {
        offsets,
        bytes: bytes.to_vec(),
    })
}

/// Two rows of a column that is not nullable.
fn assert_refused(ty: DataType, values: ValuesResult, validity: Option<Vec<u8>>, due: &str) {
    let wrong = lift_one(ty, false, column(values, validity), 2).unwrap_err();
    assert!(wrong.starts_with("in column `c`, "), "{wrong}");
    assert!(wrong.contains(due), "{wrong} lacks {due}");
}

#[test]
fn values_that_break_the_contract_are_named() {
    let long = || ValuesResult::I64s(vec![1, 2]);
    let cases = [
        (
            ValuesResult::I64s(vec![1]),
            None,
            "there are 1 values where 2 were due",
        ),
        (
            ValuesResult::I32s(vec![1, 2]),
            None,
            "values are i32s and its type is int64",
        ),
        (long(), Some(vec![1]), "1 entries of `validity` where 2"),
        (long(), Some(vec![1, 3]), "`validity` of row 1 is 3"),
        (long(), Some(vec![1, 0]), "row 1 is null, and the column"),
    ];
    for (values, validity, due) in cases {
        assert_refused(DataType::Int64, values, validity, due);
    }
    let mistyped = "values are i64s and its type is date";
    assert_refused(DataType::Date, long(), None, mistyped);
    let two = ValuesResult::Bools(vec![1, 2]);
    assert_refused(DataType::Boolean, two, None, "row 1 is 2, neither 0 nor 1");
    for (row, unscaled) in [(0, vec![i64::MIN, 0]), (1, vec![0, 10_i64.pow(18)])] {
        let due = format!("row {row} has more than 18 digits");
        assert_refused(
            DataType::Decimal(2),
            ValuesResult::I64s(unscaled),
            None,
            &due,
        );
    }
}

#[test]
fn texts_that_break_the_contract_are_named() {
    let cases: [(&[u32], &[u8], &str); 9] = [
        (&[0, 1], b"ab", "there are 2 offsets where 3 were due"),
        (&[], b"", "there are 0 offsets where 3 were due"),
        (&[1, 1, 2], b"ab", "the first offset is 1"),
        (&[0, 2, 1], b"a", "offsets fall from 2 to 1 at row 1"),
        (
            &[0, 1, 3],
            b"ab",
            "the last offset is 3 and there are 2 bytes",
        ),
        (&[0, 1, u32::MAX], b"ab", "the last offset is 4294967295"),
        (
            &[0, 1, 1],
            b"ab",
            "the last offset is 1 and there are 2 bytes",
        ),
        (&[0, 1, 2], b"a\xff", "row 1 is not UTF-8"),
        (&[0, 1, 2], "é".as_bytes(), "row 0 is not UTF-8"),
    ];
    for (offsets, bytes, due) in cases {
        assert_refused(DataType::Utf8, texts(offsets.to_vec(), bytes), None, due);
    }
}

#[test]
fn a_null_slot_may_hold_anything() {
    let second_is_null = || Some(vec![1, 0]);
    let decimals = column(ValuesResult::I64s(vec![1, i64::MAX]), second_is_null());
    assert!(lift_one(DataType::Decimal(2), true, decimals, 2).is_ok());
    let bools = column(ValuesResult::Bools(vec![1, 77]), second_is_null());
    assert!(lift_one(DataType::Boolean, true, bools, 2).is_ok());
    let bytes = column(texts(vec![0, 1, 3], b"a\xff\xff"), second_is_null());
    let lifted = lift_one(DataType::Utf8, true, bytes, 2).unwrap();
    assert_eq!(
        lifted.as_string::<i32>().iter().collect::<Vec<_>>(),
        [Some("a"), None]
    );
}

#[test]
fn a_validity_of_ones_suits_a_column_that_is_not_nullable() {
    let present = column(ValuesResult::I64s(vec![1, 2]), Some(vec![1, 1]));
    let lifted = lift_one(DataType::Int64, false, present, 2).unwrap();
    assert!(lifted.nulls().is_none());
}

#[test]
fn a_batch_of_no_columns_keeps_its_rows() {
    let batch = BatchResult {
        rows: 3,
        columns: vec![],
    };
    let lifted = lift_batch(&Schema::new(vec![]).unwrap(), batch, 3).unwrap();
    assert_eq!(lifted.num_rows(), 3);
}

#[test]
fn a_batch_must_have_the_columns_and_rows_that_are_due() {
    let batch = |rows, columns| BatchResult { rows, columns };
    let wrong = lift_batch(&schema(), batch(2, vec![]), 2).unwrap_err();
    assert_eq!(wrong, "it returned 0 columns where its contract has 8");
    let wrong = lift_batch(&schema(), batch(3, vec![]), 2).unwrap_err();
    assert_eq!(wrong, "it returned 3 rows where 2 were due");
}
