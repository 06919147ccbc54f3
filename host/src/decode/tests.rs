//! Decoding as a whole: each type, each reason to reject, a real producer's records.

mod paths;
mod properties;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal64Type, Float64Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, RecordBatch};

use super::*;
use crate::record::{Partition, RawHeaders};

fn column(name: &str, from: &str, ty: &str) -> SourceColumn {
    let (ty, nullable) = match ty.strip_suffix('?') {
        Some(ty) => (ty, true),
        None => (ty, false),
    };
    SourceColumn {
        name: name.to_owned(),
        from: match from {
            "@key" => ColumnFrom::Key,
            "@timestamp" => ColumnFrom::Timestamp,
            "@partition" => ColumnFrom::Partition,
            "@offset" => ColumnFrom::Offset,
            path => ColumnFrom::Json(path.split('.').map(str::to_owned).collect()),
        },
        ty: ty.parse().unwrap(),
        nullable,
    }
}

fn origin(offset: usize) -> Origin {
    Origin {
        partition: Partition(3),
        offset: offset as i64,
    }
}

fn batch(values: &[&[u8]]) -> RawBatch {
    let mut batch = RawBatch::default();
    for (offset, &value) in values.iter().enumerate() {
        batch.push(RawRecord {
            origin: origin(offset),
            timestamp_ms: Some(1_700_000_000_123),
            key: Some(b"key"),
            value: Some(value),
            headers: RawHeaders::default(),
        });
    }
    batch
}

fn decode(columns: &[SourceColumn], values: &[&[u8]]) -> (Rows, Vec<Rejection>) {
    let mut rejected = Vec::new();
    let rows = Decoder::new(columns).decode(&batch(values), &BTreeSet::new(), &mut rejected);
    (rows, rejected)
}

/// The one value of a record with the field `a`, as Arrow shows it, or the reason against it.
fn value_of(ty: &str, json: &str) -> Result<String, String> {
    let record = format!("{{\"a\":{json}}}");
    let (rows, rejected) = decode(&[column("a", "a", ty)], &[record.as_bytes()]);
    match rejected.as_slice() {
        [] => Ok(shown(&rows.columns, 0)[0].clone()),
        [rejection] => Err(rejection.reason.clone()),
        _ => panic!("one record, {} rejections", rejected.len()),
    }
}

/// A row's values as text; `-` is null.
fn shown(columns: &RecordBatch, row: usize) -> Vec<String> {
    let show = |array: &dyn Array| {
        if array.is_null(row) {
            return "-".to_owned();
        }
        match array.data_type() {
            arrow_schema::DataType::Boolean => array.as_boolean().value(row).to_string(),
            arrow_schema::DataType::Int64 => {
                array.as_primitive::<Int64Type>().value(row).to_string()
            }
            arrow_schema::DataType::Float64 => {
                format!("{:?}", array.as_primitive::<Float64Type>().value(row))
            }
            arrow_schema::DataType::Decimal64(..) => {
                array.as_primitive::<Decimal64Type>().value_as_string(row)
            }
            arrow_schema::DataType::Utf8 => array.as_string::<i32>().value(row).to_owned(),
            arrow_schema::DataType::Binary => format!("{:?}", array.as_binary::<i32>().value(row)),
            arrow_schema::DataType::Date32 => {
                array.as_primitive::<Date32Type>().value(row).to_string()
            }
            arrow_schema::DataType::Timestamp(..) => array
                .as_primitive::<TimestampMicrosecondType>()
                .value(row)
                .to_string(),
            other => panic!("no column has the type {other}"),
        }
    };
    columns.columns().iter().map(|array| show(array)).collect()
}

#[expect(clippy::unnecessary_wraps, reason = "compared with results")]
fn ok(value: &str) -> Result<String, String> {
    Ok(value.to_owned())
}

#[test]
fn each_type_takes_its_values() {
    assert_eq!(value_of("boolean", "true"), ok("true"));
    assert_eq!(value_of("boolean", " false "), ok("false"));
    assert_eq!(
        value_of("int64", "-9223372036854775808"),
        ok("-9223372036854775808")
    );
    assert_eq!(value_of("int64", "5e2"), ok("500"));
    assert_eq!(
        value_of("float64", "2961.8999999999996"),
        ok("2961.8999999999996")
    );
    assert_eq!(value_of("float64", "-0.0"), ok("-0.0"));
    assert_eq!(value_of("decimal(2)", "2961.8999999999996"), ok("2961.90"));
    assert_eq!(value_of("decimal(2)", "\"12.34\""), ok("12.34"));
    assert_eq!(value_of("decimal(2)", r#""1\u0032.34""#), ok("12.34"));
    assert_eq!(value_of("decimal(2)", "1e3"), ok("1000.00"));
    assert_eq!(value_of("binary", r#""\u00e9""#), ok("[195, 169]"));
    assert_eq!(
        value_of("timestamp", "\"1970-01-01T00:00:01.5\""),
        ok("1500000")
    );
    assert_eq!(value_of("timestamp", "1500"), ok("1500000"));
    assert_eq!(value_of("timestamp", "-1"), ok("-1000"));
    assert_eq!(value_of("date", "\"1970-01-02\""), ok("1"));
}

#[test]
fn every_escape_is_read() {
    let text = r#""\"\\\/\b\f\n\r\t\u0041\u00e9\u6f22\ud83d\ude00 é漢😀\u0000""#;
    let read = "\"\\/\u{8}\u{c}\n\r\tAé漢😀 é漢😀\0";
    assert_eq!(value_of("utf8", text), ok(read));
    let expected = serde_json::from_str::<String>(text).unwrap();
    assert_eq!(read, expected);
}

#[test]
fn a_value_of_another_type_is_named() {
    for (ty, json, reason) in [
        ("int64", "2.5", "\"2.5\" has a fraction"),
        ("int64", "\"5\"", "expected an integer, found a string"),
        (
            "int64",
            "9223372036854775808",
            "\"9223372036854775808\" is out of range for int64",
        ),
        ("int64", "true", "expected an integer, found a boolean"),
        ("float64", "1e400", "\"1e400\" is out of range for float64"),
        ("float64", "\"1\"", "expected a number, found a string"),
        (
            "decimal(2)",
            "1e17",
            "\"1e17\" is out of range for decimal(2)",
        ),
        ("decimal(2)", "\"12,34\"", "\"12,34\" is not a number"),
        (
            "decimal(2)",
            "[1]",
            "expected a number, or a string with a number, found an array",
        ),
        ("utf8", "5", "expected a string, found a number"),
        ("utf8", "{\"b\":[1]}", "expected a string, found an object"),
        ("boolean", "\"true\"", "expected a boolean, found a string"),
        ("boolean", "1", "expected a boolean, found a number"),
        (
            "date",
            "20250101",
            "expected a date as a string, found a number",
        ),
        ("timestamp", "1.5", "\"1.5\" has a fraction"),
        (
            "timestamp",
            "\"2025-02-29T00:00\"",
            "\"2025-02-29T00:00\" names a day that does not exist",
        ),
        (
            "timestamp",
            "1e18",
            "\"1e18\" lies outside the years 1 to 9999",
        ),
        ("utf8", "null", "a required value is null"),
        ("decimal(2)", "null", "a required value is null"),
    ] {
        assert_eq!(value_of(ty, json), Err(reason.to_owned()), "{ty} {json}");
    }
}

#[test]
fn a_long_value_is_quoted_in_part() {
    let reason = value_of("date", &format!("\"{}\"", "é".repeat(1_000))).unwrap_err();
    assert!(
        reason.starts_with("\"éé") && reason.contains("…"),
        "{reason}"
    );
    assert!(reason.len() < 200, "{reason}");
}

#[test]
fn a_nullable_column_may_be_null_or_missing_but_not_wrong() {
    assert_eq!(value_of("int64?", "null"), ok("-"));
    assert!(value_of("int64?", "\"x\"").is_err());
    let (rows, rejected) = decode(&[column("a", "a", "utf8?")], &[b"{}", b"{\"a\":\"x\"}"]);
    assert_eq!(rejected, []);
    assert_eq!(shown(&rows.columns, 0), ["-"]);
    assert_eq!(shown(&rows.columns, 1), ["x"]);
}

#[test]
fn what_is_no_json_object_is_rejected_with_the_reason() {
    let deep = [b"{\"x\":".to_vec(), vec![b'['; 1_000_000]].concat();
    let nested = [
        b"{\"a\":1,\"x\":".to_vec(),
        vec![b'['; 500],
        vec![b']'; 500],
        b"}".to_vec(),
    ]
    .concat();
    let cases: &[(&[u8], &str)] = &[
        (b"", "the record is empty"),
        (b" \n", "the record is empty"),
        (b"hello", "not JSON: "),
        (b"{\"a\":1", "not JSON: "),
        (b"{\"a\":1}}", "not JSON: "),
        (b"{\"a\":1} x", "not JSON: "),
        (b"{\"a\":1,}", "not JSON: "),
        (b"{\"a\":01}", "not JSON: "),
        (b"{\"a\":NaN}", "not JSON: "),
        (b"{\"a\":1,\"b\":Infinity}", "not JSON: "),
        (b"{'a':1}", "not JSON: "),
        (b"{\"a\":1,\"b\":\"\x01\"}", "not JSON: "),
        (b"{\"a\":1,\"b\":\"\\x\"}", "not JSON: "),
        (b"{\"a\":1,\"b\":\"\\u12\",\"c\":2}", "not JSON: "),
        (b"{\"a\":1,\"b\":nul}", "not JSON: "),
        (b"[1]", "expected an object, found an array"),
        (b"5", "expected an object, found a number"),
        (b"\"a\"", "expected an object, found a string"),
        (b"null", "expected an object, found null"),
        (b"true", "expected an object, found a boolean"),
        (b"{\"a\":1,\"b\":\"\xff\"}", "invalid UTF-8 after byte 12"),
        (
            b"{\"a\":1,\"\xed\xa0\x80\":1}",
            "invalid UTF-8 after byte 8",
        ),
        (&deep, "more than 128 objects and arrays within each other"),
        (
            &nested,
            "more than 128 objects and arrays within each other",
        ),
    ];
    for (value, reason) in cases {
        let (rows, rejected) = decode(&[column("a", "a", "int64")], &[value]);
        let case = String::from_utf8_lossy(&value[..value.len().min(40)]);
        assert_eq!(rows.columns.num_rows(), 0, "{case}");
        let [rejection] = rejected.as_slice() else {
            panic!("{case}: {rejected:?}");
        };
        assert!(
            rejection.reason.starts_with(reason),
            "{case}: {}",
            rejection.reason
        );
        assert!(
            !rejection.reason.contains('\n'),
            "{case}: {}",
            rejection.reason
        );
        assert_eq!(rejection.column, None, "{case}");
    }
}

#[test]
fn half_a_surrogate_pair_is_rejected() {
    for text in [
        r#""\ud800""#,
        r#""\udc00""#,
        r#""\ud800\ud800""#,
        r#""\ud800x""#,
        r#""\ud83d\n""#,
    ] {
        let reason = value_of("utf8", text).unwrap_err();
        assert_eq!(reason, "the string has half of a surrogate pair", "{text}");
    }
}

#[test]
fn a_tombstone_is_rejected() {
    let mut batch = RawBatch::default();
    batch.push(RawRecord {
        origin: origin(0),
        timestamp_ms: None,
        key: None,
        value: None,
        headers: RawHeaders::default(),
    });
    let mut rejected = Vec::new();
    let rows = Decoder::new(&[]).decode(&batch, &BTreeSet::new(), &mut rejected);
    assert_eq!(rows.columns.num_rows(), 0);
    assert_eq!(rejected[0].reason, "the record has no value (a tombstone)");
}

#[test]
fn the_first_declared_column_that_is_wrong_is_named_whatever_the_order_of_fields() {
    let columns = [
        column("first", "a", "int64"),
        column("second", "b", "int64"),
        column("third", "c", "int64"),
    ];
    for (record, name, reason) in [
        (
            r#"{"c":"x","b":null,"a":1}"#,
            "second",
            "a required value is null",
        ),
        (r#"{"c":"x","b":1}"#, "first", "a required value is missing"),
        (r#"{"b":1,"a":1}"#, "third", "a required value is missing"),
    ] {
        let (_, rejected) = decode(&columns, &[record.as_bytes()]);
        assert_eq!(rejected[0].column.as_deref(), Some(name));
        assert_eq!(rejected[0].reason, reason);
    }
}

#[test]
fn a_records_envelope_can_be_columns() {
    let columns = [
        column("k", "@key", "utf8?"),
        column("kb", "@key", "binary?"),
        column("t", "@timestamp", "timestamp?"),
        column("p", "@partition", "int64"),
        column("o", "@offset", "int64"),
    ];
    let record = |offset, key, timestamp_ms| RawRecord {
        origin: origin(offset),
        timestamp_ms,
        key,
        value: Some(b"{}"),
        headers: RawHeaders::default(),
    };
    let mut batch = RawBatch::default();
    batch.push(record(41, Some(&b"\xc3\xa9"[..]), Some(1_700_000_000_123)));
    batch.push(record(42, None, None));
    batch.push(record(43, Some(&b"\xff"[..]), Some(0)));
    batch.push(record(44, None, Some(i64::MAX)));
    let mut rejected = Vec::new();
    let rows = Decoder::new(&columns).decode(&batch, &BTreeSet::new(), &mut rejected);
    assert_eq!(
        shown(&rows.columns, 0),
        ["é", "[195, 169]", "1700000000123000", "3", "41"]
    );
    assert_eq!(shown(&rows.columns, 1), ["-", "-", "-", "3", "42"]);
    assert_eq!(rejected[0].reason, "the key is not UTF-8");
    assert_eq!(rejected[1].column.as_deref(), Some("t"));

    let required = [
        column("k", "@key", "utf8"),
        column("t", "@timestamp", "timestamp"),
    ];
    rejected.clear();
    Decoder::new(&required).decode(&batch, &BTreeSet::new(), &mut rejected);
    assert_eq!(
        rejected[0].reason,
        "a required value is missing: the record has no key"
    );
}

#[test]
fn records_to_skip_are_neither_rows_nor_rejections() {
    let mut rejected = Vec::new();
    let skip = BTreeSet::from([origin(0), origin(2)]);
    let batch = batch(&[b"{\"a\":1}", b"{\"a\":2}", b"junk", b"{\"a\":4}"]);
    let rows = Decoder::new(&[column("a", "a", "int64")]).decode(&batch, &skip, &mut rejected);
    assert_eq!(rows.records, [1, 3]);
    assert_eq!(rejected, []);
    assert_eq!(shown(&rows.columns, 1), ["4"]);
}

#[test]
fn without_columns_there_are_still_rows() {
    let (rows, rejected) = decode(&[], &[b"{}", b"[]", b"{\"a\":[1,{}]}"]);
    assert_eq!(rows.columns.num_rows(), 2);
    assert_eq!(rows.records, [0, 2]);
    assert_eq!(rejected.len(), 1);
}

/// The columns of the sales records.
pub(crate) fn sales_columns() -> Vec<SourceColumn> {
    [
        ("transaction_id", "transactionId", "utf8"),
        ("product_id", "productId", "utf8"),
        ("product_name", "productName", "utf8"),
        ("product_category", "productCategory", "utf8"),
        ("product_price", "productPrice", "decimal(2)"),
        ("product_quantity", "productQuantity", "int64"),
        ("product_brand", "productBrand", "utf8"),
        ("currency", "currency", "utf8"),
        ("customer_id", "customerId", "utf8"),
        ("transaction_date", "transactionDate", "timestamp"),
        ("payment_method", "paymentMethod", "utf8"),
        ("total_amount", "totalAmount", "decimal(2)"),
    ]
    .map(|(name, from, ty)| column(name, from, ty))
    .to_vec()
}

#[test]
fn a_real_producers_records_are_read_to_the_cent() {
    let records = include_bytes!("../../tests/data/transactions.ndjson");
    let lines: Vec<&[u8]> = records
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .collect();
    let (rows, rejected) = decode(&sales_columns(), &lines);
    assert_eq!(rejected, []);
    assert_eq!(rows.columns.num_rows(), 1_000);
    assert_eq!(
        shown(&rows.columns, 0),
        [
            "a6a3a450-6513-470e-a69e-0d37f2a74de4",
            "product1",
            "headphone",
            "electronic",
            "159.34",
            "1",
            "oneplus",
            "GBP",
            "benjaminhamilton",
            "1767132194299659",
            "credit_card",
            "159.34"
        ]
    );
    let cents = |name: &str| {
        rows.columns
            .column_by_name(name)
            .unwrap()
            .as_primitive::<Decimal64Type>()
            .values()
            .clone()
    };
    let quantity = rows
        .columns
        .column_by_name("product_quantity")
        .unwrap()
        .as_primitive::<Int64Type>();
    for ((price, quantity), total) in cents("product_price")
        .iter()
        .zip(quantity.values())
        .zip(cents("total_amount").iter())
    {
        // The producer multiplied floats: 2961.8999999999996.
        assert_eq!(price * quantity, *total);
    }
}
