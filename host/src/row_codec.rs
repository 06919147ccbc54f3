//! Rows as bytes: how a group's key and its state are hashed, kept and stored, and what the
//! fingerprint of a record's key is taken of.
//!
//! Per column: for a nullable one a byte, 0 for null (and nothing after it) or 1; then the value,
//! little-endian: `boolean` 1 byte, `date` 4, `int64`, `decimal`, `timestamp` and `float64` 8,
//! `utf8` and `binary` a 32-bit length and the bytes. Two rows are equal if and only if their bytes
//! are (a NaN equals itself, -0 differs from 0).

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal64Type, Float64Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, BinaryArray, BooleanArray, PrimitiveArray, StringArray};
use arrow_buffer::{Buffer, NullBuffer, NullBufferBuilder, OffsetBuffer};
use thiserror::Error;

use crate::schema::{DataType, Field};

/// Bytes that this codec did not write, or wrote for another schema.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a stored row is damaged or was written for other columns (at column `{column}`)")]
pub struct CorruptRow {
    /// where reading failed
    pub column: String,
}

enum Values<'a> {
    Bool(&'a BooleanArray),
    Word32(&'a [i32]),
    Word64(&'a [i64]),
    Float(&'a [f64]),
    Text(&'a StringArray),
    Bytes(&'a BinaryArray),
}

struct Column<'a> {
    values: Values<'a>,
    nullable: bool,
    nulls: Option<&'a NullBuffer>,
}

/// Writes rows of some columns.
pub(crate) struct RowWriter<'a> {
    columns: Vec<Column<'a>>,
}

impl<'a> RowWriter<'a> {
    /// A writer for `arrays`, which lie as `fields` say.
    ///
    /// # Panics
    ///
    /// When an array is not of its field's layout.
    pub(crate) fn new(fields: &[Field], arrays: &'a [ArrayRef]) -> Self {
        assert_eq!(fields.len(), arrays.len(), "one array a field");
        let columns = fields
            .iter()
            .zip(arrays)
            .map(|(field, array)| Column {
                values: values(field.ty, array),
                nullable: field.nullable,
                nulls: array.nulls(),
            })
            .collect();
        Self { columns }
    }

    /// Appends the bytes of one row.
    pub(crate) fn write(&self, row: usize, out: &mut Vec<u8>) {
        for column in &self.columns {
            if column.nullable {
                let present = column.nulls.is_none_or(|nulls| nulls.is_valid(row));
                out.push(u8::from(present));
                if !present {
                    continue;
                }
            }
            match &column.values {
                Values::Bool(array) => out.push(u8::from(array.value(row))),
                Values::Word32(values) => out.extend_from_slice(&values[row].to_le_bytes()),
                Values::Word64(values) => out.extend_from_slice(&values[row].to_le_bytes()),
                Values::Float(values) => out.extend_from_slice(&values[row].to_le_bytes()),
                Values::Text(array) => write_bytes(array.value(row).as_bytes(), out),
                Values::Bytes(array) => write_bytes(array.value(row), out),
            }
        }
    }
}

fn values(ty: DataType, array: &ArrayRef) -> Values<'_> {
    match ty {
        DataType::Boolean => Values::Bool(array.as_boolean()),
        DataType::Int64 => Values::Word64(array.as_primitive::<Int64Type>().values()),
        DataType::Float64 => Values::Float(array.as_primitive::<Float64Type>().values()),
        DataType::Decimal(_) => Values::Word64(array.as_primitive::<Decimal64Type>().values()),
        DataType::Utf8 => Values::Text(array.as_string()),
        DataType::Binary => Values::Bytes(array.as_binary()),
        DataType::Timestamp => {
            Values::Word64(array.as_primitive::<TimestampMicrosecondType>().values())
        }
        DataType::Date => Values::Word32(array.as_primitive::<Date32Type>().values()),
    }
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(bytes.len()).expect("Arrow's 32-bit offsets bound a value");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Reads rows of these columns back into arrays, one per field.
///
/// # Errors
///
/// [`CorruptRow`] when a row has other bytes than [`RowWriter`] writes for these fields.
pub(crate) fn read_rows<'a>(
    fields: &[Field],
    rows: impl Iterator<Item = &'a [u8]>,
) -> Result<Vec<ArrayRef>, CorruptRow> {
    let mut rows: Vec<&[u8]> = rows.collect();
    let mut columns = Vec::with_capacity(fields.len());
    for field in fields {
        let column = read_column(field, &mut rows).ok_or_else(|| CorruptRow {
            column: field.name.clone(),
        });
        columns.push(column?);
    }
    if rows.iter().all(|rest| rest.is_empty()) {
        Ok(columns)
    } else {
        Err(CorruptRow {
            column: "(bytes are left over)".into(),
        })
    }
}

/// Takes one column off the front of all rows.
fn read_column(field: &Field, rows: &mut [&[u8]]) -> Option<ArrayRef> {
    let nullable = field.nullable;
    Some(match field.ty {
        DataType::Boolean => {
            let flag = |row: &mut &[u8]| match take(row)? {
                [0] => Some(false),
                [1] => Some(true),
                _ => None,
            };
            let (flags, nulls) = read_values(nullable, rows, flag)?;
            Arc::new(BooleanArray::new(flags.into(), nulls))
        }
        DataType::Int64 => Arc::new(read_numbers::<Int64Type>(field, rows, word64)?),
        DataType::Decimal(_) => Arc::new(read_numbers::<Decimal64Type>(field, rows, word64)?),
        DataType::Timestamp => Arc::new(read_numbers::<TimestampMicrosecondType>(
            field, rows, word64,
        )?),
        DataType::Date => {
            let day = |row: &mut &[u8]| take(row).map(i32::from_le_bytes);
            Arc::new(read_numbers::<Date32Type>(field, rows, day)?)
        }
        DataType::Float64 => {
            let float = |row: &mut &[u8]| take(row).map(f64::from_le_bytes);
            Arc::new(read_numbers::<Float64Type>(field, rows, float)?)
        }
        DataType::Utf8 => {
            let (offsets, bytes, nulls) = read_bytes(nullable, rows)?;
            Arc::new(StringArray::try_new(offsets, bytes, nulls).ok()?)
        }
        DataType::Binary => {
            let (offsets, bytes, nulls) = read_bytes(nullable, rows)?;
            Arc::new(BinaryArray::try_new(offsets, bytes, nulls).ok()?)
        }
    })
}

fn read_numbers<T: ArrowPrimitiveType>(
    field: &Field,
    rows: &mut [&[u8]],
    read: impl Fn(&mut &[u8]) -> Option<T::Native>,
) -> Option<PrimitiveArray<T>> {
    let (values, nulls) = read_values(field.nullable, rows, read)?;
    let array = PrimitiveArray::<T>::new(values.into(), nulls);
    Some(array.with_data_type(field.ty.to_arrow()))
}

/// A value of each row, which is the default where it is null.
fn read_values<'a, T: Default>(
    nullable: bool,
    rows: &mut [&'a [u8]],
    read: impl Fn(&mut &'a [u8]) -> Option<T>,
) -> Option<(Vec<T>, Option<NullBuffer>)> {
    let mut values = Vec::with_capacity(rows.len());
    if !nullable {
        for row in rows {
            values.push(read(row)?);
        }
        return Some((values, None));
    }
    let mut nulls = NullBufferBuilder::new(rows.len());
    for row in rows {
        let present = match take::<1>(row)? {
            [0] => false,
            [1] => true,
            _ => return None,
        };
        values.push(if present { read(row)? } else { T::default() });
        nulls.append(present);
    }
    Some((values, nulls.finish()))
}

fn read_bytes(
    nullable: bool,
    rows: &mut [&[u8]],
) -> Option<(OffsetBuffer<i32>, Buffer, Option<NullBuffer>)> {
    let (values, nulls) = read_values(nullable, rows, take_bytes)?;
    let length: usize = values.iter().map(|value| value.len()).sum();
    // Arrow's offsets have 32 bits, and no more was ever written.
    i32::try_from(length).ok()?;
    let mut bytes = Vec::with_capacity(length);
    for value in &values {
        bytes.extend_from_slice(value);
    }
    let offsets = OffsetBuffer::from_lengths(values.iter().map(|value| value.len()));
    Some((offsets, bytes.into(), nulls))
}

fn word64(row: &mut &[u8]) -> Option<i64> {
    take(row).map(i64::from_le_bytes)
}

fn take<const N: usize>(row: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = row.split_first_chunk::<N>()?;
    *row = rest;
    Some(*head)
}

fn take_bytes<'a>(row: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_le_bytes(take(row)?) as usize;
    let (head, rest) = row.split_at_checked(length)?;
    *row = rest;
    Some(head)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields() -> Vec<Field> {
        [
            ("flag", DataType::Boolean, true),
            ("count", DataType::Int64, false),
            ("ratio", DataType::Float64, true),
            ("total", DataType::Decimal(2), false),
            ("name", DataType::Utf8, true),
            ("sketch", DataType::Binary, false),
            ("at", DataType::Timestamp, true),
            ("day", DataType::Date, false),
        ]
        .map(|(name, ty, nullable)| Field::new(name, ty, nullable))
        .into()
    }

    type Row = (
        Option<bool>,
        i64,
        Option<f64>,
        i64,
        Option<String>,
        Vec<u8>,
        Option<i64>,
        i32,
    );

    fn arrays(rows: &[Row]) -> Vec<ArrayRef> {
        use arrow_array::{
            Date32Array, Decimal64Array, Float64Array, Int64Array, TimestampMicrosecondArray,
        };
        vec![
            Arc::new(rows.iter().map(|r| r.0).collect::<BooleanArray>()),
            Arc::new(rows.iter().map(|r| Some(r.1)).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|r| r.2).collect::<Float64Array>()),
            Arc::new(
                rows.iter()
                    .map(|r| Some(r.3))
                    .collect::<Decimal64Array>()
                    .with_data_type(DataType::Decimal(2).to_arrow()),
            ),
            Arc::new(rows.iter().map(|r| r.4.as_deref()).collect::<StringArray>()),
            Arc::new(
                rows.iter()
                    .map(|r| Some(r.5.as_slice()))
                    .collect::<BinaryArray>(),
            ),
            Arc::new(
                rows.iter()
                    .map(|r| r.6)
                    .collect::<TimestampMicrosecondArray>()
                    .with_timezone("UTC"),
            ),
            Arc::new(rows.iter().map(|r| Some(r.7)).collect::<Date32Array>()),
        ]
    }

    fn encode(arrays: &[ArrayRef], rows: usize) -> Vec<Vec<u8>> {
        let writer_fields = fields();
        let writer = RowWriter::new(&writer_fields, arrays);
        (0..rows)
            .map(|row| {
                let mut out = Vec::new();
                writer.write(row, &mut out);
                out
            })
            .collect()
    }

    proptest! {
        #[test]
        fn rows_read_back_as_they_were_written(rows in prop::collection::vec(any::<Row>(), 0..20), cut in 0usize..20) {
            let arrays = arrays(&rows);
            let cut = cut.min(rows.len());
            let sliced: Vec<ArrayRef> = arrays.iter().map(|a| a.slice(cut, rows.len() - cut)).collect();
            let encoded = encode(&sliced, rows.len() - cut);
            let back = read_rows(&fields(), encoded.iter().map(Vec::as_slice)).expect("our own bytes");
            for (before, after) in sliced.iter().zip(&back) {
                prop_assert_eq!(before, after);
            }
        }

        #[test]
        fn arbitrary_bytes_are_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = read_rows(&fields(), std::iter::once(bytes.as_slice()));
        }

        #[test]
        fn a_row_cut_short_is_damaged(row in any::<Row>(), keep in 0.0f64..1.0) {
            let encoded = encode(&arrays(&[row]), 1).remove(0);
            let short = &encoded[..(encoded.len() as f64 * keep) as usize];
            prop_assert!(read_rows(&fields(), std::iter::once(short)).is_err());
        }
    }
}
