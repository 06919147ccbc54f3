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

use super::BOUNDS;
use super::numeric::put_numeric;
use crate::schema::{DataType, Schema};
use crate::sink::screen::{Refusal, find_refusal};

/// What a COPY begins with: signature, flags, length of the header's extension.
pub(super) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// What a COPY ends with.
pub(super) const TRAILER: &[u8] = &(-1_i16).to_be_bytes();

/// 2000-01-01, PostgreSQL's epoch, in days since 1970-01-01.
const EPOCH_DAYS: i32 = 10_957;

/// The same in µs.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

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
        if let Some(refusal) = find_refusal(schema, batch, staying, &BOUNDS) {
            return Err(refusal);
        }
        let columns = schema.fields().iter().zip(batch.columns());
        Ok(Self {
            columns: columns
                .map(|(field, array)| Column::new(field.ty, array))
                .collect(),
            rows: batch.num_rows(),
            staying,
        })
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
    Decimal { unscaled: &'a [i64], scale: u8 },
    Bytes { offsets: &'a [i32], bytes: &'a [u8] },
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
                }
            }
            DataType::Binary => {
                let array = array.as_binary::<i32>();
                Values::Bytes {
                    offsets: array.value_offsets(),
                    bytes: array.value_data(),
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
            Values::Bytes { offsets, bytes } => put_bytes(slice(offsets, bytes, row), out),
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{BinaryArray, Date32Array, StringArray, TimestampMicrosecondArray};

    use super::*;
    use crate::schema::Field;
    use crate::sink::screen::Limit;

    fn schema(fields: &[(&str, DataType)]) -> Schema {
        Schema::new(
            fields
                .iter()
                .map(|&(name, ty)| Field::new(name, ty, true))
                .collect(),
        )
        .unwrap()
    }

    fn batch(schema: &Schema, columns: Vec<ArrayRef>) -> RecordBatch {
        RecordBatch::try_new(Arc::clone(schema.arrow()), columns).unwrap()
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
                limit: Limit::of(DataType::Utf8, &BOUNDS).unwrap()
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
            Encoder::new(&fields, &rows, None).err().map(|r| r.limit)
        };
        assert_eq!(refusal(0, 0), None);
        assert_eq!(
            refusal(i64::MIN, 0),
            Limit::of(DataType::Timestamp, &BOUNDS)
        );
        let last_of_4715_bc = -210_866_803_200_000_001;
        assert_eq!(
            refusal(last_of_4715_bc, 0),
            Limit::of(DataType::Timestamp, &BOUNDS)
        );
        assert_eq!(refusal(last_of_4715_bc + 1, 0), None);
        assert_eq!(refusal(i64::MAX, 0), None, "the year 294247");
        assert_eq!(refusal(0, i32::MIN), Limit::of(DataType::Date, &BOUNDS));
        assert_eq!(refusal(0, i32::MAX), Limit::of(DataType::Date, &BOUNDS));
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
}
