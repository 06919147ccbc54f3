//! Rows as bytes: how a group's key and its state are hashed, kept and stored, and what the
//! fingerprint of a record's key is taken of.
//!
//! Per column: for a nullable one a byte, 0 for null (and nothing after it) or 1; then the value,
//! little-endian: `boolean` 1 byte, `date` 4, `int64`, `decimal`, `timestamp` and `float64` 8,
//! `utf8` and `binary` a 32-bit length and the bytes. Two rows are equal if and only if their bytes
//! are (a NaN equals itself, -0 differs from 0).

use std::sync::Arc;

use arrow_array::builder::{
    BinaryBuilder, BooleanBuilder, Date32Builder, Decimal64Builder, Float64Builder, Int64Builder,
    StringBuilder, TimestampMicrosecondBuilder,
};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal64Type, Float64Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, BinaryArray, BooleanArray, StringArray};
use arrow_buffer::NullBuffer;
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
    let mut builders: Vec<Builder> = fields.iter().map(|field| Builder::new(field.ty)).collect();
    for mut row in rows {
        for (field, builder) in fields.iter().zip(&mut builders) {
            let corrupt = || CorruptRow {
                column: field.name.clone(),
            };
            let present = !field.nullable
                || match take::<1>(&mut row) {
                    Some([0]) => false,
                    Some([1]) => true,
                    _ => return Err(corrupt()),
                };
            if present {
                builder.read(&mut row).ok_or_else(corrupt)?;
            } else {
                builder.append_null();
            }
        }
        if !row.is_empty() {
            return Err(CorruptRow {
                column: "(bytes are left over)".into(),
            });
        }
    }
    Ok(builders.into_iter().map(Builder::finish).collect())
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

enum Builder {
    Bool(BooleanBuilder),
    Int(Int64Builder),
    Float(Float64Builder),
    Decimal(Decimal64Builder),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Date(Date32Builder),
}

impl Builder {
    fn new(ty: DataType) -> Self {
        match ty {
            DataType::Boolean => Self::Bool(BooleanBuilder::new()),
            DataType::Int64 => Self::Int(Int64Builder::new()),
            DataType::Float64 => Self::Float(Float64Builder::new()),
            DataType::Decimal(_) => {
                Self::Decimal(Decimal64Builder::new().with_data_type(ty.to_arrow()))
            }
            DataType::Utf8 => Self::Text(StringBuilder::new()),
            DataType::Binary => Self::Bytes(BinaryBuilder::new()),
            DataType::Timestamp => {
                Self::Timestamp(TimestampMicrosecondBuilder::new().with_data_type(ty.to_arrow()))
            }
            DataType::Date => Self::Date(Date32Builder::new()),
        }
    }

    fn read(&mut self, row: &mut &[u8]) -> Option<()> {
        match self {
            Self::Bool(builder) => match take(row)? {
                [0] => builder.append_value(false),
                [1] => builder.append_value(true),
                _ => return None,
            },
            Self::Int(builder) => builder.append_value(i64::from_le_bytes(take(row)?)),
            Self::Float(builder) => builder.append_value(f64::from_le_bytes(take(row)?)),
            Self::Decimal(builder) => builder.append_value(i64::from_le_bytes(take(row)?)),
            Self::Text(builder) => builder.append_value(str::from_utf8(take_bytes(row)?).ok()?),
            Self::Bytes(builder) => builder.append_value(take_bytes(row)?),
            Self::Timestamp(builder) => builder.append_value(i64::from_le_bytes(take(row)?)),
            Self::Date(builder) => builder.append_value(i32::from_le_bytes(take(row)?)),
        }
        Some(())
    }

    fn append_null(&mut self) {
        match self {
            Self::Bool(builder) => builder.append_null(),
            Self::Int(builder) => builder.append_null(),
            Self::Float(builder) => builder.append_null(),
            Self::Decimal(builder) => builder.append_null(),
            Self::Text(builder) => builder.append_null(),
            Self::Bytes(builder) => builder.append_null(),
            Self::Timestamp(builder) => builder.append_null(),
            Self::Date(builder) => builder.append_null(),
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::Bool(mut builder) => Arc::new(builder.finish()),
            Self::Int(mut builder) => Arc::new(builder.finish()),
            Self::Float(mut builder) => Arc::new(builder.finish()),
            Self::Decimal(mut builder) => Arc::new(builder.finish()),
            Self::Text(mut builder) => Arc::new(builder.finish()),
            Self::Bytes(mut builder) => Arc::new(builder.finish()),
            Self::Timestamp(mut builder) => Arc::new(builder.finish()),
            Self::Date(mut builder) => Arc::new(builder.finish()),
        }
    }
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
