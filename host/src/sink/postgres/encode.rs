//! Rows as PostgreSQL's binary COPY format, straight from Arrow columns.
//!
//! The format: a header, for each row the number of its fields and for each field its length in
//! bytes (-1 for null) and its binary form, a trailer; all big-endian. Source: PostgreSQL's
//! documentation of `COPY`, "Binary Format", and the `*_recv` functions of the types.
//!
//! # Invariants
//!
//! An [`Encoder`] exists only for rows whose every value PostgreSQL can hold.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal64Type, Float64Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow_buffer::NullBuffer;
use bytes::{BufMut, BytesMut};
use thiserror::Error;

use crate::schema::{DataType, Schema};

/// What a COPY begins with: signature, flags, length of the header's extension.
pub(super) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// What a COPY ends with.
pub(super) const TRAILER: &[u8] = &(-1_i16).to_be_bytes();

/// 2000-01-01, PostgreSQL's epoch, in days since 1970-01-01.
const EPOCH_DAYS: i32 = 10_957;

/// The same in µs.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// The dates that PostgreSQL can hold, in days since 2000-01-01: 4714-11-24 BC to 5874897-12-31.
const DATES: std::ops::Range<i32> = -2_451_545..2_145_031_949;

/// The timestamps that PostgreSQL can hold, in µs since 2000-01-01: 4714-11-24 BC to 294276-12-31.
const TIMESTAMPS: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;

/// A value that no PostgreSQL column of its type can hold.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum Unstorable {
    #[error("has the character \\u0000, which PostgreSQL cannot store in a text")]
    Nul,
    #[error("is beyond PostgreSQL's timestamps (4714 BC to 294276 AD)")]
    Timestamp,
    #[error("is beyond PostgreSQL's dates (4714 BC to 5874897 AD)")]
    Date,
}

/// Where an [`Unstorable`] value stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) row: usize,
    pub(super) column: usize,
    pub(super) reason: Unstorable,
}

/// Encodes rows of one batch.
pub(super) struct Encoder<'a> {
    columns: Vec<Column<'a>>,
    rows: usize,
    staying: Option<&'a [u32]>,
}

impl<'a> Encoder<'a> {
    /// An encoder of the rows in `staying`, or of all, of a batch that has this schema.
    ///
    /// # Errors
    ///
    /// The first value, column by column, that PostgreSQL cannot hold.
    pub(super) fn new(
        schema: &Schema,
        batch: &'a RecordBatch,
        staying: Option<&'a [u32]>,
    ) -> Result<Self, Refusal> {
        let encoder = Self {
            columns: schema
                .fields()
                .iter()
                .zip(batch.columns())
                .map(|(field, array)| Column::new(field.ty, array))
                .collect(),
            rows: batch.num_rows(),
            staying,
        };
        for (column, values) in encoder.columns.iter().enumerate() {
            if let Some((row, reason)) = values.first_unstorable(&encoder) {
                return Err(Refusal {
                    row,
                    column,
                    reason,
                });
            }
        }
        Ok(encoder)
    }

    /// How many rows it encodes.
    pub(super) fn len(&self) -> usize {
        self.staying.map_or(self.rows, <[u32]>::len)
    }

    /// The indices of these rows in the batch.
    pub(super) fn rows(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.len()).map(|index| match self.staying {
            Some(staying) => staying[index] as usize,
            None => index,
        })
    }

    /// Appends one of [`rows`](Self::rows).
    pub(super) fn encode(&self, row: usize, out: &mut BytesMut) {
        put_field_count(self.columns.len(), out);
        for column in &self.columns {
            column.encode(row, out);
        }
    }
}

/// Begins a row.
pub(super) fn put_field_count(fields: usize, out: &mut BytesMut) {
    // A table has at most 1,600 columns, which the server checked when it was created.
    out.put_i16(fields as i16);
}

/// Appends a `text` or `bytea`.
pub(super) fn put_bytes(bytes: &[u8], out: &mut BytesMut) {
    // An Arrow column with 32-bit offsets has less than 2 GiB, and so has each of its values.
    out.put_i32(bytes.len() as i32);
    out.put_slice(bytes);
}

struct Column<'a> {
    values: Values<'a>,
    nulls: Option<&'a NullBuffer>,
}

enum Values<'a> {
    Boolean(&'a BooleanArray),
    Int64(&'a [i64]),
    Float64(&'a [f64]),
    Decimal {
        unscaled: &'a [i64],
        scale: u8,
    },
    Bytes {
        offsets: &'a [i32],
        bytes: &'a [u8],
        text: bool,
    },
    Timestamp(&'a [i64]),
    Date(&'a [i32]),
}

impl<'a> Column<'a> {
    fn new(ty: DataType, array: &'a ArrayRef) -> Self {
        let values = match ty {
            DataType::Boolean => Values::Boolean(array.as_boolean()),
            DataType::Int64 => Values::Int64(array.as_primitive::<Int64Type>().values()),
            DataType::Float64 => Values::Float64(array.as_primitive::<Float64Type>().values()),
            DataType::Decimal(scale) => Values::Decimal {
                unscaled: array.as_primitive::<Decimal64Type>().values(),
                scale,
            },
            DataType::Utf8 => {
                let array = array.as_string::<i32>();
                Values::Bytes {
                    offsets: array.value_offsets(),
                    bytes: array.value_data(),
                    text: true,
                }
            }
            DataType::Binary => {
                let array = array.as_binary::<i32>();
                Values::Bytes {
                    offsets: array.value_offsets(),
                    bytes: array.value_data(),
                    text: false,
                }
            }
            DataType::Timestamp => {
                Values::Timestamp(array.as_primitive::<TimestampMicrosecondType>().values())
            }
            DataType::Date => Values::Date(array.as_primitive::<Date32Type>().values()),
        };
        Self {
            values,
            nulls: array.nulls().filter(|nulls| nulls.null_count() > 0),
        }
    }

    fn is_null(&self, row: usize) -> bool {
        self.nulls.is_some_and(|nulls| nulls.is_null(row))
    }

    /// Looks at the whole column at once first, which is cheap and nearly always enough.
    fn first_unstorable(&self, encoder: &Encoder<'_>) -> Option<(usize, Unstorable)> {
        let first = |bad: &dyn Fn(usize) -> bool| {
            encoder.rows().find(|&row| !self.is_null(row) && bad(row))
        };
        match self.values {
            Values::Bytes {
                offsets,
                bytes,
                text: true,
            } => {
                let (Some(&start), Some(&end)) = (offsets.first(), offsets.last()) else {
                    return None;
                };
                memchr::memchr(0, &bytes[start as usize..end as usize])?;
                first(&|row| memchr::memchr(0, slice(offsets, bytes, row)).is_some())
                    .map(|row| (row, Unstorable::Nul))
            }
            Values::Timestamp(values) => {
                let bad = |micros: &i64| {
                    micros
                        .checked_sub(EPOCH_MICROS)
                        .is_none_or(|micros| !TIMESTAMPS.contains(&micros))
                };
                values.iter().find(|&micros| bad(micros))?;
                first(&|row| bad(&values[row])).map(|row| (row, Unstorable::Timestamp))
            }
            Values::Date(values) => {
                let bad = |days: &i32| {
                    days.checked_sub(EPOCH_DAYS)
                        .is_none_or(|days| !DATES.contains(&days))
                };
                values.iter().find(|&days| bad(days))?;
                first(&|row| bad(&values[row])).map(|row| (row, Unstorable::Date))
            }
            Values::Boolean(_)
            | Values::Int64(_)
            | Values::Float64(_)
            | Values::Decimal { .. }
            | Values::Bytes { text: false, .. } => None,
        }
    }

    fn encode(&self, row: usize, out: &mut BytesMut) {
        if self.is_null(row) {
            out.put_i32(-1);
            return;
        }
        match self.values {
            Values::Boolean(values) => {
                out.put_i32(1);
                out.put_u8(values.value(row).into());
            }
            Values::Int64(values) => {
                out.put_i32(8);
                out.put_i64(values[row]);
            }
            Values::Float64(values) => {
                out.put_i32(8);
                out.put_f64(values[row]);
            }
            Values::Decimal { unscaled, scale } => put_numeric(unscaled[row], scale, out),
            Values::Bytes { offsets, bytes, .. } => put_bytes(slice(offsets, bytes, row), out),
            Values::Timestamp(values) => {
                out.put_i32(8);
                out.put_i64(values[row] - EPOCH_MICROS);
            }
            Values::Date(values) => {
                out.put_i32(4);
                out.put_i32(values[row] - EPOCH_DAYS);
            }
        }
    }
}

fn slice<'a>(offsets: &[i32], bytes: &'a [u8], row: usize) -> &'a [u8] {
    &bytes[offsets[row] as usize..offsets[row + 1] as usize]
}

/// Appends unscaled / 10^scale as `numeric`: digits to the base of 10,000, the weight of the first
/// one, the sign, and how many decimal digits are shown after the point.
fn put_numeric(unscaled: i64, scale: u8, out: &mut BytesMut) {
    const POSITIVE: u16 = 0x0000;
    const NEGATIVE: u16 = 0x4000;
    /// 19 decimal digits, cut at any place, fill at most six groups of four.
    const GROUPS_MAX: usize = 6;

    let mut groups = [0_u16; GROUPS_MAX]; // the least significant first
    let mut count = 0;
    let mut rest = unscaled.unsigned_abs();
    // Groups are aligned to the point: the last one may have fewer than four of our digits.
    let cut = u32::from(scale % 4);
    if cut > 0 {
        let unit = 10_u64.pow(cut);
        groups[0] = (rest % unit) as u16 * 10_u16.pow(4 - cut);
        rest /= unit;
        count = 1;
    }
    while rest > 0 {
        groups[count] = (rest % 10_000) as u16;
        rest /= 10_000;
        count += 1;
    }
    let zeros = groups[..count].iter().take_while(|&&group| group == 0);
    let digits = &groups[zeros.count()..count];
    let weight = if digits.is_empty() {
        0
    } else {
        count as i16 - 1 - i16::from(scale.div_ceil(4))
    };

    out.put_i32(8 + 2 * digits.len() as i32);
    out.put_i16(digits.len() as i16);
    out.put_i16(weight);
    out.put_u16(if unscaled < 0 { NEGATIVE } else { POSITIVE });
    out.put_u16(u16::from(scale));
    for &digit in digits.iter().rev() {
        out.put_u16(digit);
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::sync::Arc;

    use arrow_array::{BinaryArray, Date32Array, StringArray, TimestampMicrosecondArray};
    use bytes::Buf;
    use proptest::prelude::*;

    use super::*;
    use crate::schema::Field;

    /// The value of a `numeric` field in text, as the server would print it.
    fn numeric_text(mut field: &[u8]) -> String {
        assert_eq!(field.get_i32() as usize, field.len());
        let (count, weight) = (field.get_i16(), field.get_i16());
        let negative = match field.get_u16() {
            0x0000 => false,
            0x4000 => true,
            other => panic!("sign {other:#x}"),
        };
        let shown = usize::from(field.get_u16());
        let digits: Vec<u16> = (0..count).map(|_| field.get_u16()).collect();
        assert!(field.is_empty());
        assert!(digits.iter().all(|&digit| digit < 10_000));
        assert_ne!(
            digits.first(),
            Some(&0),
            "a leading zero group is not canonical"
        );
        assert_ne!(
            digits.last(),
            Some(&0),
            "a trailing zero group is not canonical"
        );
        let group = |place: i16| {
            usize::try_from(weight - place)
                .ok()
                .and_then(|index| digits.get(index).copied())
                .unwrap_or(0)
        };
        let (mut whole, mut fraction) = (String::new(), String::new());
        for place in (0..=weight.max(0)).rev() {
            write!(whole, "{:04}", group(place)).unwrap();
        }
        for place in 1..=5 {
            write!(fraction, "{:04}", group(-place)).unwrap();
        }
        assert!(fraction[shown..].bytes().all(|b| b == b'0'));
        let whole = whole.trim_start_matches('0');
        let sign = if negative { "-" } else { "" };
        let whole = if whole.is_empty() { "0" } else { whole };
        if shown == 0 {
            format!("{sign}{whole}")
        } else {
            format!("{sign}{whole}.{}", &fraction[..shown])
        }
    }

    fn decimal_text(unscaled: i64, scale: u8) -> String {
        let scale = usize::from(scale);
        let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        let sign = if unscaled < 0 { "-" } else { "" };
        let point = if scale == 0 { "" } else { "." };
        format!("{sign}{whole}{point}{fraction}")
    }

    fn encoded_numeric(unscaled: i64, scale: u8) -> Vec<u8> {
        let mut out = BytesMut::new();
        put_numeric(unscaled, scale, &mut out);
        out.to_vec()
    }

    fn schema(fields: &[(&str, DataType)]) -> Schema {
        Schema::new(
            fields
                .iter()
                .map(|&(name, ty)| Field {
                    name: name.into(),
                    ty,
                    nullable: true,
                })
                .collect(),
        )
        .unwrap()
    }

    fn batch(schema: &Schema, columns: Vec<ArrayRef>) -> RecordBatch {
        RecordBatch::try_new(Arc::clone(schema.arrow()), columns).unwrap()
    }

    #[test]
    fn numerics_are_as_the_server_sends_them() {
        // 1234.5 is [1234, 5000] with weight 0; 0.000005 is [500] with weight -2.
        assert_eq!(
            encoded_numeric(12_345, 1),
            [0, 0, 0, 12, 0, 2, 0, 0, 0, 0, 0, 1, 0x04, 0xd2, 0x13, 0x88]
        );
        assert_eq!(
            encoded_numeric(-5, 6),
            [0, 0, 0, 10, 0, 1, 0xff, 0xfe, 0x40, 0, 0, 6, 0x01, 0xf4]
        );
        assert_eq!(encoded_numeric(0, 2), [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 2]);
    }

    #[test]
    fn a_text_with_a_zero_byte_is_found_only_where_it_stays() {
        let schema = schema(&[("a", DataType::Binary), ("b", DataType::Utf8)]);
        let rows = batch(
            &schema,
            vec![
                Arc::new(BinaryArray::from_vec(vec![b"\0", b"", b""])),
                Arc::new(StringArray::from(vec!["x", "y\0", "z"])),
            ],
        );
        assert_eq!(
            Encoder::new(&schema, &rows, None).err(),
            Some(Refusal {
                row: 1,
                column: 1,
                reason: Unstorable::Nul
            })
        );
        assert!(Encoder::new(&schema, &rows, Some(&[0, 2])).is_ok());
        assert!(Encoder::new(&schema, &rows.slice(2, 1), None).is_ok());
    }

    #[test]
    fn times_beyond_the_servers_range_are_refused() {
        let fields = schema(&[("t", DataType::Timestamp), ("d", DataType::Date)]);
        let refusal = |micros: i64, days: i32| {
            let times = TimestampMicrosecondArray::from(vec![micros]).with_timezone("UTC");
            let rows = batch(
                &fields,
                vec![Arc::new(times), Arc::new(Date32Array::from(vec![days]))],
            );
            Encoder::new(&fields, &rows, None).err().map(|r| r.reason)
        };
        assert_eq!(refusal(0, 0), None);
        assert_eq!(refusal(i64::MIN, 0), Some(Unstorable::Timestamp));
        let last_of_4715_bc = -210_866_803_200_000_001;
        assert_eq!(refusal(last_of_4715_bc, 0), Some(Unstorable::Timestamp));
        assert_eq!(refusal(last_of_4715_bc + 1, 0), None);
        assert_eq!(refusal(i64::MAX, 0), None, "the year 294247");
        assert_eq!(refusal(0, i32::MIN), Some(Unstorable::Date));
        assert_eq!(refusal(0, i32::MAX), Some(Unstorable::Date));
    }

    #[test]
    fn what_stands_under_a_null_does_not_matter() {
        let fields = schema(&[("t", DataType::Timestamp)]);
        let nulls = NullBuffer::from(vec![false]);
        let times =
            TimestampMicrosecondArray::new(vec![i64::MIN].into(), Some(nulls)).with_timezone("UTC");
        let rows = batch(&fields, vec![Arc::new(times)]);
        let mut out = BytesMut::new();
        Encoder::new(&fields, &rows, None)
            .ok()
            .unwrap()
            .encode(0, &mut out);
        assert_eq!(&out[..], [0, 1, 0xff, 0xff, 0xff, 0xff]);
    }

    #[test]
    fn slices_encode_their_own_rows() {
        let fields = schema(&[("s", DataType::Utf8), ("t", DataType::Timestamp)]);
        let micros = vec![0, EPOCH_MICROS + 1];
        let whole = batch(
            &fields,
            vec![
                Arc::new(StringArray::from(vec!["skipped", "é"])),
                Arc::new(TimestampMicrosecondArray::from(micros).with_timezone("UTC")),
            ],
        );
        let slice = whole.slice(1, 1);
        let mut out = BytesMut::new();
        let encoder = Encoder::new(&fields, &slice, None).ok().unwrap();
        for row in encoder.rows() {
            encoder.encode(row, &mut out);
        }
        assert_eq!(
            &out[..],
            [
                0, 2, 0, 0, 0, 2, 0xc3, 0xa9, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1
            ]
        );
    }

    proptest! {
        #[test]
        fn a_numeric_decodes_to_the_same_decimal(unscaled in any::<i64>(), scale in 0_u8..=18) {
            prop_assert_eq!(
                numeric_text(&encoded_numeric(unscaled, scale)),
                decimal_text(unscaled, scale)
            );
        }

        #[test]
        fn a_round_numeric_decodes_to_the_same_decimal(
            short in -9999_i64..=9999, zeros in 0_u32..=14, scale in 0_u8..=18,
        ) {
            let unscaled = short * 10_i64.pow(zeros);
            prop_assert_eq!(
                numeric_text(&encoded_numeric(unscaled, scale)),
                decimal_text(unscaled, scale)
            );
        }
    }
}
