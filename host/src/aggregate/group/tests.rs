//! Groups by numbers are those by bytes.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, Decimal64Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use proptest::prelude::*;

use super::*;
use crate::schema::{DataType, Schema};

/// Time, text, number, number or null, float.
type Row = (i64, String, i64, Option<i64>, f64);

fn row() -> impl Strategy<Value = Row> {
    let day = 86_400_000_000_i64;
    (
        prop_oneof![
            4 => 0..900 * day,
            1 => PRINTABLE,
            1 => Just(PRINTABLE.start),
            1 => Just(PRINTABLE.end - 1),
        ],
        prop_oneof![9 => "[ab]{0,2}", 3 => "[ab\0]{13,15}", 1 => "a{14,17}"],
        prop_oneof![3 => -5..5_i64, 1 => any::<i64>(), 1 => Just(i64::MIN), 1 => Just(i64::MAX)],
        prop::option::of(0..3_i64),
        prop_oneof![Just(0.0), Just(-0.0), Just(f64::NAN), Just(1.5)],
    )
}

fn lengths() -> impl Strategy<Value = Every> {
    prop_oneof![
        Just(Every::Micros(1)),
        Just(Every::Micros(i64::MAX)),
        (1i64..10_000_000_000_000).prop_map(Every::Micros),
        (1u32..5).prop_map(Every::Days),
        (1u32..3).prop_map(Every::Weeks),
        (1u32..14).prop_map(Every::Months),
        (1u32..3).prop_map(Every::Years),
    ]
}

fn fields() -> Vec<Field> {
    vec![
        Field::new("time", DataType::Timestamp, false),
        Field::new("text", DataType::Utf8, false),
        Field::new("number", DataType::Int64, false),
        Field::new("perhaps", DataType::Decimal(2), true),
        Field::new("float", DataType::Float64, false),
    ]
}

fn rows(of: &[Row]) -> Rows {
    let perhaps: Decimal64Array = of.iter().map(|row| row.3).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(
            of.iter()
                .map(|row| Some(row.0))
                .collect::<TimestampMicrosecondArray>()
                .with_timezone("UTC"),
        ),
        Arc::new(of.iter().map(|row| Some(&row.1)).collect::<StringArray>()),
        Arc::new(of.iter().map(|row| Some(row.2)).collect::<Int64Array>()),
        Arc::new(perhaps.with_data_type(DataType::Decimal(2).to_arrow())),
        Arc::new(of.iter().map(|row| Some(row.4)).collect::<Float64Array>()),
    ];
    let schema = Schema::new(fields()).expect("names differ");
    Rows {
        columns: RecordBatch::try_new(schema.arrow().clone(), columns).expect("they fit"),
        records: (0..of.len() as u32).collect(),
    }
}

fn grouping(every: Option<Every>, key: &[usize]) -> Grouping {
    Grouping {
        window: every.map(|every| (Tumbling::new(every), 0)),
        key: key.iter().map(|&index| fields()[index].clone()).collect(),
        key_indices: key.to_vec(),
    }
}

/// The bytes of each row's group, without any numbers.
fn bytes_of(rows: &Rows, every: Option<Every>, key: &[usize]) -> Vec<Vec<u8>> {
    let fields: Vec<Field> = key.iter().map(|&index| fields()[index].clone()).collect();
    let arrays: Vec<ArrayRef> = key
        .iter()
        .map(|&index| rows.columns.column(index).clone())
        .collect();
    let writer = RowWriter::new(&fields, &arrays);
    let bytes_of = |row: usize| {
        let mut bytes = Vec::new();
        if let Some(every) = every {
            let start = Tumbling::new(every).start_of(times(rows, 0)[row]);
            bytes.extend_from_slice(&start.expect("in range").to_le_bytes());
        }
        writer.write(row, &mut bytes);
        bytes
    };
    (0..rows.records.len()).map(bytes_of).collect()
}

/// Whether groups are those bytes, and their numbers in the order of the rows.
fn check(grouped: &Grouped, expected: &[Vec<u8>]) -> Result<(), TestCaseError> {
    let mut next = 0;
    prop_assert_eq!(grouped.groups().len(), expected.len());
    for (&group, bytes) in grouped.groups().iter().zip(expected) {
        prop_assert!(group <= next);
        next += u32::from(group == next);
        prop_assert_eq!(grouped.keys.get(group as usize), bytes.as_slice());
    }
    prop_assert_eq!(grouped.keys.len(), next as usize);
    let distinct: std::collections::BTreeSet<&[u8]> = grouped.keys.iter().collect();
    prop_assert_eq!(distinct.len(), grouped.keys.len());
    Ok(())
}

proptest! {
    #[test]
    fn rows_share_a_group_when_they_share_its_bytes(
        some in prop::collection::vec(row(), 0..60),
        every in prop::option::of(lengths()),
        key in prop::sample::subsequence(vec![1, 2, 3, 4, 0], 0..4),
    ) {
        let rows = rows(&some);
        let grouped = grouping(every, &key).group(&rows, &mut Groupings::default());
        check(&grouped.expect("all have groups"), &bytes_of(&rows, every, &key))?;
    }

    #[test]
    fn what_is_shared_does_not_change_the_groups(
        some in prop::collection::vec(row(), 0..40),
        all in prop::collection::vec(
            (prop::option::of(lengths()), prop::sample::subsequence(vec![1, 2, 3, 4, 0], 0..4)),
            1..6,
        ),
    ) {
        let rows = rows(&some);
        let mut shared = Groupings::default();
        for (every, key) in &all {
            let grouped = grouping(*every, key).group(&rows, &mut shared);
            check(&grouped.expect("all have groups"), &bytes_of(&rows, *every, key))?;
        }
    }

    #[test]
    fn a_part_has_the_groups_of_its_rows(
        some in prop::collection::vec(row(), 1..40),
        from in 0..40_usize,
        to in 0..40_usize,
    ) {
        let rows = rows(&some);
        let (from, to) = (from.min(some.len()), to.min(some.len()));
        let range = from.min(to)..from.max(to);
        let every = Some(Every::Days(1));
        let grouped = grouping(every, &[1]).group(&rows, &mut Groupings::default());
        let part = grouped.expect("all have groups").part(range.clone());
        check(&part, &bytes_of(&rows, every, &[1])[range])?;
    }
}

#[test]
fn a_time_in_no_window_is_rejected_with_its_column() {
    let sale = |time| (time, String::new(), 0, None, 0.0);
    let rows = rows(&[sale(0), sale(PRINTABLE.end), sale(i64::MIN)]);
    let grouped = grouping(Some(Every::Years(1)), &[]).group(&rows, &mut Groupings::default());
    let rejections = grouped.expect_err("two times are outside");
    let found: Vec<_> = rejections
        .iter()
        .map(|rejection| (rejection.record, rejection.column.as_deref()))
        .collect();
    assert_eq!(found, [(1, Some("time")), (2, Some("time"))]);
}

#[test]
fn texts_of_different_lengths_differ_and_zero_bytes_count() {
    let texts = [
        "",
        "\0",
        "\0\0",
        "a",
        "a\0",
        "\0a",
        "abcdefghijklmno",
        "a",
        "abcdefghijklmn\0",
        "",
    ];
    let sale = |text: &&str| (0, (*text).to_owned(), 0, None, 0.0);
    for longer in [None, Some("abcdefghijklmnop")] {
        let texts: Vec<&str> = texts.into_iter().chain(longer).collect();
        let rows = rows(&texts.iter().map(sale).collect::<Vec<_>>());
        let grouped = grouping(None, &[1]).group(&rows, &mut Groupings::default());
        let grouped = grouped.expect("all have groups");
        assert_eq!(grouped.groups()[..10], [0, 1, 2, 3, 4, 5, 6, 3, 7, 0]);
    }
}

#[test]
fn values_far_apart_need_no_large_table() {
    let rows = rows(&[
        (PRINTABLE.start, "a".into(), i64::MIN, None, 0.0),
        (PRINTABLE.end - 1, "b".into(), i64::MAX, None, 0.0),
        (PRINTABLE.start, "a".into(), i64::MIN, None, 0.0),
    ]);
    for every in [Every::Micros(1), Every::Days(1)] {
        let grouped = grouping(Some(every), &[2]).group(&rows, &mut Groupings::default());
        assert_eq!(grouped.expect("all have groups").groups(), [0, 1, 0]);
    }
}
