use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, Date32Array, Float64Array, StringArray, TimestampMicrosecondArray,
};
use arrow_buffer::NullBuffer;

use super::*;
use crate::config::{OnConflict, Projection, Table, TableColumn};
use crate::schema::Field;
use crate::sink::postgres::BOUNDS;
use crate::sink::sqlite;

fn schema(fields: &[(&str, DataType)]) -> Schema {
    let field = |&(name, ty): &(&str, DataType)| Field::new(name, ty, name != "id");
    Schema::new(fields.iter().map(field).collect()).unwrap()
}

fn sales() -> Schema {
    schema(&[
        ("id", DataType::Utf8),
        ("note", DataType::Utf8),
        ("raw", DataType::Binary),
        ("at", DataType::Timestamp),
        ("day", DataType::Date),
    ])
}

fn table(stream: &Schema, columns: Option<Vec<(&str, Projection)>>) -> TableTarget {
    let columns = columns.map(|columns| {
        let column = |(name, value): (&str, Projection)| TableColumn {
            name: name.to_owned(),
            value,
        };
        columns.into_iter().map(column).collect()
    });
    let table = Table {
        from: "sales".into(),
        table: "stored".into(),
        key: vec!["id".into()],
        columns,
        on_conflict: OnConflict::Update,
        span: 0..0,
    };
    TableTarget::new(&table, stream).unwrap()
}

fn same(name: &str) -> (&str, Projection) {
    (name, Projection::Column(name.to_owned()))
}

/// Rows of `sales`, of the records 10, 20, 30, ...
fn rows(ids: &[&str], notes: &[Option<&str>], micros: &[i64], days: &[i32]) -> Rows {
    let raw: Vec<&[u8]> = ids.iter().map(|_| &b"\0"[..]).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(ids.to_vec())),
        Arc::new(StringArray::from(notes.to_vec())),
        Arc::new(BinaryArray::from(raw)),
        Arc::new(TimestampMicrosecondArray::from(micros.to_vec()).with_timezone("UTC")),
        Arc::new(Date32Array::from(days.to_vec())),
    ];
    Rows {
        columns: RecordBatch::try_new(Arc::clone(sales().arrow()), columns).unwrap(),
        records: (1..=ids.len() as u32).map(|n| n * 10).collect(),
    }
}

/// Record and column of each rejection.
fn rejected(screen: &Screen, rows: &Rows) -> Vec<(u32, String)> {
    let mut rejected = Vec::new();
    screen.check(rows, &mut rejected);
    let found = rejected.into_iter();
    found.map(|r| (r.record, r.column.unwrap())).collect()
}

#[test]
fn a_key_that_no_index_takes_rejects_its_record() {
    let mut screen = Screen::new(&sales(), &BOUNDS);
    screen.add(&table(&sales(), None), 0..5);
    let key_bytes_max = BOUNDS.key_bytes_max.unwrap();
    let (fits, too_long) = ("x".repeat(key_bytes_max), "x".repeat(key_bytes_max + 1));
    let note = "y".repeat(3 * key_bytes_max);
    let rows = rows(&[&fits, &too_long], &[Some(&note), None], &[0; 2], &[0; 2]);
    assert_eq!(rejected(&screen, &rows), [(20, "id".to_owned())]);
}

#[test]
fn a_zero_byte_rejects_the_records_that_have_it() {
    let mut screen = Screen::new(&sales(), &BOUNDS);
    screen.add(&table(&sales(), None), 0..5);
    let rows = rows(
        &["a\0", "b", "\0", ""],
        &[Some("x"), None, Some("\0"), Some("y")],
        &[0; 4],
        &[0; 4],
    );
    let mut found = Vec::new();
    screen.check(&rows, &mut found);
    assert_eq!(
        found[0],
        Rejection {
            record: 10,
            cause: Cause::Unstorable,
            reason: "the value has the character \\u0000, which PostgreSQL cannot store in a text (table `stored`)".into(),
            column: Some("id".into()),
        }
    );
    let expected = [(10, "id"), (30, "id"), (30, "note")];
    assert_eq!(
        rejected(&screen, &rows),
        expected.map(|(record, column)| (record, column.to_owned()))
    );
}

#[test]
fn columns_that_reach_no_table_may_hold_anything() {
    let mut screen = Screen::new(&sales(), &BOUNDS);
    assert!(screen.is_empty());
    let rows = rows(&["a"], &[Some("\0")], &[i64::MIN], &[i32::MIN]);
    assert_eq!(rejected(&screen, &rows), []);
    let year = ("year", Projection::Year("at".into()));
    let month = ("month", Projection::Month("day".into()));
    screen.add(&table(&sales(), Some(vec![same("id"), year, month])), 0..5);
    assert_eq!(rejected(&screen, &rows), []);
}

#[test]
fn times_beyond_the_servers_range_are_rejected() {
    let mut screen = Screen::new(&sales(), &BOUNDS);
    screen.add(&table(&sales(), Some(vec![same("id"), same("at")])), 0..5);
    screen.add(&table(&sales(), Some(vec![same("id"), same("day")])), 0..5);
    let first_micros = *BOUNDS.micros.start();
    let (first_day, last_day) = (*BOUNDS.days.start(), *BOUNDS.days.end());
    let rows = rows(
        &["a", "b", "c", "d"],
        &[None; 4],
        &[first_micros, first_micros - 1, i64::MIN, i64::MAX],
        &[i32::MIN, first_day, last_day, last_day + 1],
    );
    let expected = [(20, "at"), (30, "at"), (10, "day"), (40, "day")];
    assert_eq!(
        rejected(&screen, &rows),
        expected.map(|(record, column)| (record, column.to_owned()))
    );
}

#[test]
fn the_date_of_a_timestamp_is_looked_at_before_it_is_taken() {
    let mut screen = Screen::new(&sales(), &BOUNDS);
    let date = ("date", Projection::Date("at".into()));
    screen.add(&table(&sales(), Some(vec![same("id"), date])), 0..5);
    let first_micros = *BOUNDS.micros.start();
    let micros = [first_micros - 1, first_micros, i64::MAX];
    let rows = rows(&["a", "b", "c"], &[None; 3], &micros, &[i32::MIN; 3]);
    assert_eq!(rejected(&screen, &rows), [(10, "at".to_owned())]);
}

#[test]
fn the_key_of_an_aggregate_is_looked_at_in_the_stream_that_it_reads() {
    let totals = schema(&[
        ("note", DataType::Utf8),
        ("id", DataType::Utf8),
        ("comment", DataType::Utf8),
    ]);
    let mut screen = Screen::new(&sales(), &BOUNDS);
    // The columns `note` and `id` are its key, `comment` is what its guest returns.
    screen.add(&table(&totals, None), [1, 0]);
    let rows = rows(&["a", "b\0"], &[Some("\0"), None], &[0; 2], &[0; 2]);
    assert_eq!(
        rejected(&screen, &rows),
        [(10, "note".to_owned()), (20, "id".to_owned())]
    );
}

#[test]
fn a_column_that_reaches_two_tables_is_looked_at_once() {
    let mut screen = Screen::new(&sales(), &BOUNDS);
    screen.add(&table(&sales(), None), 0..5);
    screen.add(&table(&sales(), None), 0..5);
    let rows = rows(&["\0"], &[None], &[0], &[0]);
    assert_eq!(rejected(&screen, &rows), [(10, "id".to_owned())]);
}

#[test]
fn what_stands_under_a_null_or_outside_of_a_slice_passes() {
    let nulls = NullBuffer::from(vec![true, false]);
    let (offsets, bytes) = (vec![0, 1, 2], b"x\0".to_vec());
    let offsets = arrow_buffer::OffsetBuffer::new(offsets.into());
    let notes = StringArray::new(offsets, bytes.into(), Some(nulls.clone()));
    let micros = TimestampMicrosecondArray::new(vec![0, i64::MIN].into(), Some(nulls.clone()));
    let days = Date32Array::new(vec![0, i32::MIN].into(), Some(nulls));
    for (ty, column) in [
        (DataType::Utf8, &notes as &dyn Array),
        (DataType::Timestamp, &micros),
        (DataType::Date, &days),
    ] {
        let limit = Limit::of(ty, &BOUNDS).unwrap();
        assert!(limit.may_be_exceeded(column), "{limit:?}");
        assert!(!limit.is_exceeded(column, 0), "{limit:?}");
        assert!(!limit.is_exceeded(column, 1), "{limit:?}");
        let slice = column.slice(0, 1);
        assert!(!limit.may_be_exceeded(&slice), "{limit:?}");
        assert!(!limit.may_be_exceeded(&column.slice(0, 0)), "{limit:?}");
    }
}

#[test]
fn what_sqlite_cannot_hold_or_read_is_rejected_for_it() {
    let stream = schema(&[
        ("id", DataType::Utf8),
        ("ratio", DataType::Float64),
        ("at", DataType::Timestamp),
    ]);
    let mut screen = Screen::new(&stream, &sqlite::BOUNDS);
    screen.add(&table(&stream, None), 0..3);
    let long = "x".repeat(10_000);
    let (first, last) = (*sqlite::BOUNDS.micros.start(), *sqlite::BOUNDS.micros.end());
    let times = TimestampMicrosecondArray::from(vec![first, last, last + 1, first - 1]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![&long, "b", "c", "d\0"])),
        Arc::new(Float64Array::from(vec![f64::INFINITY, f64::NAN, 0.0, 1.0])),
        Arc::new(times.with_timezone("UTC")),
    ];
    let rows = Rows {
        columns: RecordBatch::try_new(Arc::clone(stream.arrow()), columns).unwrap(),
        records: vec![10, 20, 30, 40],
    };
    let expected = [(40, "id"), (20, "ratio"), (30, "at"), (40, "at")];
    assert_eq!(
        rejected(&screen, &rows),
        expected.map(|(record, column)| (record, column.to_owned()))
    );
}
