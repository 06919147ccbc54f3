//! Rows as JSON documents, written straight from the columns into a byte buffer.
//!
//! Money keeps every digit: a decimal becomes a JSON number with the text of its exact value. A
//! missing value is left out of its document. Times are ISO 8601 in UTC with six digits after the
//! point; binary is base64, as Elasticsearch wants it.
//!
//! A float that is no number (NaN, an infinity) has no JSON form. It becomes a string, which the
//! server refuses for a `double`: so the document goes to the dead letters and says why, and is
//! not stored with a value missing in silence.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal64Type, Float64Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{
    Array, BinaryArray, BooleanArray, Date32Array, Decimal64Array, Float64Array, Int64Array,
    RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::DataType as Arrow;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::sink::times::{write_day, write_digits, write_timestamp};

/// The rows of one batch, as documents.
pub(crate) struct Documents<'a> {
    fields: Vec<Field<'a>>,
}

struct Field<'a> {
    /// `,"name":`
    key: Vec<u8>,
    values: Values<'a>,
    array: &'a dyn Array,
}

enum Values<'a> {
    Boolean(&'a BooleanArray),
    Int64(&'a Int64Array),
    Float64(&'a Float64Array),
    Decimal(&'a Decimal64Array, u32),
    Utf8(&'a StringArray),
    Binary(&'a BinaryArray),
    Timestamp(&'a TimestampMicrosecondArray),
    Date(&'a Date32Array),
}

impl<'a> Documents<'a> {
    /// The documents of these rows; every column is a field.
    ///
    /// # Panics
    ///
    /// When a column has a layout that is none of [`crate::schema::DataType`]'s.
    pub(crate) fn new(rows: &'a RecordBatch) -> Self {
        let fields = rows
            .schema_ref()
            .fields()
            .iter()
            .zip(rows.columns())
            .map(|(field, column)| Field {
                key: {
                    let mut key = vec![b','];
                    write_text(field.name(), &mut key);
                    key.push(b':');
                    key
                },
                values: Values::new(column),
                array: column,
            })
            .collect();
        Self { fields }
    }

    /// Appends the document of `row`, without a line feed.
    pub(crate) fn write(&self, row: usize, out: &mut Vec<u8>) {
        let start = out.len();
        for field in &self.fields {
            if field.array.is_valid(row) {
                out.extend_from_slice(&field.key);
                field.values.write(row, out);
            }
        }
        // Each field brings a comma before itself; the first one's place is that of the brace.
        match out.get_mut(start) {
            Some(comma) => *comma = b'{',
            None => out.push(b'{'),
        }
        out.push(b'}');
    }

    /// Appends one value of `row`; nothing where it is missing.
    pub(crate) fn write_value(&self, column: usize, row: usize, out: &mut Vec<u8>) {
        let field = &self.fields[column];
        if field.array.is_valid(row) {
            field.values.write(row, out);
        }
    }
}

impl<'a> Values<'a> {
    fn new(column: &'a dyn Array) -> Self {
        match column.data_type() {
            Arrow::Boolean => Self::Boolean(column.as_boolean()),
            Arrow::Int64 => Self::Int64(column.as_primitive::<Int64Type>()),
            Arrow::Float64 => Self::Float64(column.as_primitive::<Float64Type>()),
            Arrow::Decimal64(_, scale) => Self::Decimal(
                column.as_primitive::<Decimal64Type>(),
                u32::try_from(*scale).expect("a decimal's scale is 0 to 18"),
            ),
            Arrow::Utf8 => Self::Utf8(column.as_string()),
            Arrow::Binary => Self::Binary(column.as_binary()),
            Arrow::Timestamp(..) => {
                Self::Timestamp(column.as_primitive::<TimestampMicrosecondType>())
            }
            Arrow::Date32 => Self::Date(column.as_primitive::<Date32Type>()),
            other => panic!("no column of the host has the layout {other}"),
        }
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::Boolean(values) => {
                let text: &[u8] = if values.value(row) { b"true" } else { b"false" };
                out.extend_from_slice(text);
            }
            Self::Int64(values) => write_int(values.value(row), out),
            Self::Float64(values) => write_float(values.value(row), out),
            Self::Decimal(values, scale) => write_decimal(values.value(row), *scale, out),
            Self::Utf8(values) => write_text(values.value(row), out),
            Self::Binary(values) => {
                out.push(b'"');
                let start = out.len();
                let bytes = values.value(row);
                let length = base64::encoded_len(bytes.len(), true)
                    .expect("an Arrow column is smaller than 2 GiB");
                out.resize(start + length, 0);
                BASE64
                    .encode_slice(bytes, &mut out[start..])
                    .expect("the room was made for it");
                out.push(b'"');
            }
            Self::Timestamp(values) => {
                out.push(b'"');
                write_timestamp(values.value(row), out);
                out.push(b'"');
            }
            Self::Date(values) => {
                out.push(b'"');
                write_day(i64::from(values.value(row)), out);
                out.push(b'"');
            }
        }
    }
}

/// Appends a JSON string.
pub(super) fn write_text(text: &str, out: &mut Vec<u8>) {
    // Most texts have nothing to escape. Looking at all bytes without a way out is vectorised.
    let escapes = |byte: &u8| u8::from(*byte < b' ' || *byte == b'"' || *byte == b'\\');
    if text
        .as_bytes()
        .iter()
        .fold(0, |any, byte| any | escapes(byte))
        == 0
    {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    serde_json::to_writer(&mut *out, text).expect("a Vec takes every byte");
}

/// Appends a whole number.
pub(super) fn write_int(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    write_digits(value.unsigned_abs(), 1, out);
}

fn write_float(value: f64, out: &mut Vec<u8>) {
    if value.is_finite() {
        serde_json::to_writer(&mut *out, &value).expect("a Vec takes every byte");
    } else if value.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else if value > 0.0 {
        out.extend_from_slice(b"\"Infinity\"");
    } else {
        out.extend_from_slice(b"\"-Infinity\"");
    }
}

fn write_decimal(unscaled: i64, scale: u32, out: &mut Vec<u8>) {
    if unscaled < 0 {
        out.push(b'-');
    }
    let magnitude = unscaled.unsigned_abs();
    let unit = 10_u64.pow(scale);
    write_digits(magnitude / unit, 1, out);
    if scale > 0 {
        out.push(b'.');
        write_digits(magnitude % unit, scale as usize, out);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::ArrayRef;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::schema::DataType;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(
            columns
                .into_iter()
                .map(|(name, column)| (name, column, true)),
        )
        .unwrap()
    }

    fn document(rows: &RecordBatch, row: usize) -> String {
        let mut out = b"before".to_vec();
        Documents::new(rows).write(row, &mut out);
        String::from_utf8(out.split_off(b"before".len())).unwrap()
    }

    fn text_of(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn decimals(values: Vec<Option<i64>>, scale: u8) -> ArrayRef {
        Arc::new(Decimal64Array::from(values).with_data_type(DataType::Decimal(scale).to_arrow()))
    }

    #[test]
    fn every_type_has_its_json_form() {
        let rows = batch(vec![
            ("boolean", Arc::new(BooleanArray::from(vec![true]))),
            ("int64", Arc::new(Int64Array::from(vec![i64::MIN]))),
            ("float64", Arc::new(Float64Array::from(vec![0.1]))),
            ("decimal", decimals(vec![Some(-123_456)], 2)),
            (
                "utf8",
                Arc::new(StringArray::from(vec!["a\"\\\n\u{1}\u{7f}é\u{2028}😀"])),
            ),
            (
                "binary",
                Arc::new(BinaryArray::from(vec![&[0_u8, 255, 16, 7][..]])),
            ),
            (
                "timestamp",
                Arc::new(TimestampMicrosecondArray::from(vec![-1]).with_timezone("UTC")),
            ),
            ("date", Arc::new(Date32Array::from(vec![-1]))),
        ]);
        assert_eq!(
            document(&rows, 0),
            "{\"boolean\":true,\"int64\":-9223372036854775808,\"float64\":0.1,\
             \"decimal\":-1234.56,\"utf8\":\"a\\\"\\\\\\n\\u0001\u{7f}é\u{2028}😀\",\
             \"binary\":\"AP8QBw==\",\"timestamp\":\"1969-12-31T23:59:59.999999Z\",\
             \"date\":\"1969-12-31\"}"
        );
    }

    #[test]
    fn a_missing_value_is_left_out_wherever_it_stands() {
        let column = |values: Vec<Option<i64>>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
        let rows = batch(vec![
            ("a", column(vec![None, Some(1), None])),
            ("b", column(vec![Some(2), None, None])),
        ]);
        assert_eq!(document(&rows, 0), "{\"b\":2}");
        assert_eq!(document(&rows, 1), "{\"a\":1}");
        assert_eq!(document(&rows, 2), "{}");
    }

    #[test]
    fn a_slice_of_a_batch_renders_its_own_rows() {
        let rows = batch(vec![(
            "a",
            Arc::new(StringArray::from(vec!["x", "y", "z"])),
        )]);
        assert_eq!(document(&rows.slice(1, 2), 0), "{\"a\":\"y\"}");
    }

    #[test]
    fn decimals_keep_every_digit() {
        let text = |value, scale| text_of(|out| write_decimal(value, scale, out));
        assert_eq!(text(999_999_999_999_999_999, 18), "0.999999999999999999");
        assert_eq!(text(-999_999_999_999_999_999, 2), "-9999999999999999.99");
        assert_eq!(text(-5, 2), "-0.05");
        assert_eq!(text(10, 2), "0.10");
        assert_eq!(text(0, 0), "0");
        assert_eq!(text(7, 0), "7");
    }

    #[test]
    fn a_float_that_is_no_number_becomes_text() {
        let text = |value| text_of(|out| write_float(value, out));
        assert_eq!(text(f64::NAN), "\"NaN\"");
        assert_eq!(text(f64::INFINITY), "\"Infinity\"");
        assert_eq!(text(f64::NEG_INFINITY), "\"-Infinity\"");
    }

    #[test]
    fn extremes_of_every_column_type_render_without_overflow() {
        let rows = batch(vec![
            ("i", Arc::new(Int64Array::from(vec![i64::MIN, i64::MAX]))),
            (
                "t",
                Arc::new(
                    TimestampMicrosecondArray::from(vec![i64::MIN, i64::MAX]).with_timezone("UTC"),
                ),
            ),
            ("d", Arc::new(Date32Array::from(vec![i32::MIN, i32::MAX]))),
        ]);
        for row in 0..2 {
            let parsed: Value = serde_json::from_str(&document(&rows, row)).unwrap();
            assert_eq!(parsed.as_object().unwrap().len(), 3);
        }
    }

    proptest! {
        #[test]
        fn a_document_parses_back_to_its_values(
            name in ".{0,12}",
            text in proptest::option::of(any::<String>()),
            number in proptest::option::of(any::<i64>()),
            flag in proptest::option::of(any::<bool>()),
            bytes in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
        ) {
            let rows = batch(vec![
                ("number", Arc::new(Int64Array::from(vec![number]))),
                ("flag", Arc::new(BooleanArray::from(vec![flag]))),
                ("bytes", Arc::new(BinaryArray::from(vec![bytes.as_deref()]))),
                (&format!("text {name}"), Arc::new(StringArray::from(vec![text.as_deref()]))),
            ]);
            let parsed: Value = serde_json::from_str(&document(&rows, 0)).unwrap();
            let mut expected = serde_json::Map::new();
            let mut expect = |name: &str, value: Value| {
                if !value.is_null() {
                    expected.insert(name.to_owned(), value);
                }
            };
            expect("number", json!(number));
            expect("flag", json!(flag));
            expect("bytes", json!(bytes.map(|bytes| BASE64.encode(bytes))));
            expect(&format!("text {name}"), json!(text));
            prop_assert_eq!(parsed, Value::Object(expected));
        }

        #[test]
        fn a_float_reads_back_bit_by_bit(value in proptest::num::f64::ANY) {
            let text = text_of(|out| write_float(value, out));
            prop_assert!(serde_json::from_str::<Value>(&text).is_ok(), "{} is JSON", text);
            if value.is_finite() {
                prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits());
            }
        }

        #[test]
        fn a_decimal_is_its_unscaled_value_with_a_point(
            unscaled in -999_999_999_999_999_999_i64..=999_999_999_999_999_999,
            scale in 0_u32..=18,
        ) {
            let text = text_of(|out| write_decimal(unscaled, scale, out));
            prop_assert_eq!(text.split_once('.').map_or(0, |(_, fraction)| fraction.len()), scale as usize);
            prop_assert_eq!(text.replace('.', "").parse::<i64>().unwrap(), unscaled);
            prop_assert!(serde_json::from_str::<Value>(&text).is_ok(), "{} is JSON", text);
        }
    }
}
