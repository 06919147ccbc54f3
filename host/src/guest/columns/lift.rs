//! The contract to Arrow: everything is checked before it is believed.

use std::sync::Arc;

use arrow_array::types::{
    ArrowPrimitiveType, BinaryType, ByteArrayType, Date32Type, Decimal64Type, Float64Type,
    Int64Type, TimestampMicrosecondType, Utf8Type,
};
use arrow_array::{
    ArrayRef, BooleanArray, GenericByteArray, PrimitiveArray, RecordBatch, RecordBatchOptions,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};

use super::super::bindings::data::{BatchResult, ColumnResult, ValuesResult, VarBytesResult};
use crate::schema::{DECIMAL_DIGITS, DataType, Field, Schema};

/// The least number that no decimal's unscaled value reaches.
const DECIMAL_BOUND: u64 = 10_u64.pow(DECIMAL_DIGITS as u32);

/// A batch that a guest returned, which must have these columns and so many rows.
///
/// # Errors
///
/// What is wrong with it, for a person.
pub(in super::super) fn lift_batch(
    schema: &Schema,
    batch: BatchResult,
    rows: usize,
) -> Result<RecordBatch, String> {
    if batch.rows as usize != rows {
        return Err(format!(
            "it returned {} rows where {rows} were due",
            batch.rows
        ));
    }
    let columns = lift_columns(schema.fields(), batch.columns, rows)?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.arrow().clone(), columns, &options)
        .map_err(|error| error.to_string())
}

/// Columns that a guest returned, which must be these and of this length.
///
/// # Errors
///
/// What is wrong with them, for a person.
pub(in super::super) fn lift_columns(
    fields: &[Field],
    columns: Vec<ColumnResult>,
    rows: usize,
) -> Result<Vec<ArrayRef>, String> {
    if columns.len() != fields.len() {
        return Err(format!(
            "it returned {} columns where its contract has {}",
            columns.len(),
            fields.len()
        ));
    }
    fields
        .iter()
        .zip(columns)
        .map(|(field, column)| {
            lift_column(field, column, rows)
                .map_err(|wrong| format!("in column `{}`, {wrong}", field.name))
        })
        .collect()
}

fn lift_column(field: &Field, column: ColumnResult, rows: usize) -> Result<ArrayRef, String> {
    let nulls = match column.validity {
        Some(validity) => lift_validity(&validity, rows)?,
        None => None,
    };
    if let Some(nulls) = &nulls
        && !field.nullable
    {
        let row = nulls.iter().position(|present| !present).unwrap_or(0);
        return Err(format!("row {row} is null, and the column is not nullable"));
    }
    match (field.ty, column.values) {
        (DataType::Boolean, ValuesResult::Bools(values)) => lift_bools(&values, nulls, rows),
        (DataType::Date, ValuesResult::I32s(values)) => {
            Ok(Arc::new(lift_numbers::<Date32Type>(values, nulls, rows)?))
        }
        (DataType::Int64, ValuesResult::I64s(values)) => {
            Ok(Arc::new(lift_numbers::<Int64Type>(values, nulls, rows)?))
        }
        (DataType::Timestamp, ValuesResult::I64s(values)) => {
            let array = lift_numbers::<TimestampMicrosecondType>(values, nulls, rows)?;
            Ok(Arc::new(array.with_data_type(field.ty.to_arrow())))
        }
        (DataType::Decimal(_), ValuesResult::I64s(values)) => {
            check_digits(&values, nulls.as_ref())?;
            let array = lift_numbers::<Decimal64Type>(values, nulls, rows)?;
            Ok(Arc::new(array.with_data_type(field.ty.to_arrow())))
        }
        (DataType::Float64, ValuesResult::F64s(values)) => {
            Ok(Arc::new(lift_numbers::<Float64Type>(values, nulls, rows)?))
        }
        (DataType::Utf8, ValuesResult::Bytes(values)) => lift_texts(values, nulls, rows),
        (DataType::Binary, ValuesResult::Bytes(values)) => {
            Ok(Arc::new(lift_bytes::<BinaryType>(values, nulls, rows)?))
        }
        (ty, values) => Err(format!(
            "values are {} and its type is {ty}",
            layout_name(&values)
        )),
    }
}

fn layout_name(values: &ValuesResult) -> &'static str {
    match values {
        ValuesResult::Bools(_) => "bools",
        ValuesResult::I32s(_) => "i32s",
        ValuesResult::I64s(_) => "i64s",
        ValuesResult::F64s(_) => "f64s",
        ValuesResult::Bytes(_) => "bytes",
    }
}

fn check_len(what: &str, len: usize, due: usize) -> Result<(), String> {
    if len == due {
        Ok(())
    } else {
        Err(format!("there are {len} {what} where {due} were due"))
    }
}

/// `None` when every value is present.
fn lift_validity(validity: &[u8], rows: usize) -> Result<Option<NullBuffer>, String> {
    check_len("entries of `validity`", validity.len(), rows)?;
    if let Some(row) = validity.iter().position(|&present| present > 1) {
        return Err(format!(
            "`validity` of row {row} is {}, neither 0 nor 1",
            validity[row]
        ));
    }
    let nulls = NullBuffer::new(collect_bits(validity));
    Ok((nulls.null_count() > 0).then_some(nulls))
}

fn collect_bits(bytes: &[u8]) -> BooleanBuffer {
    BooleanBuffer::collect_bool(bytes.len(), |row| bytes[row] & 1 == 1)
}

fn is_present(nulls: Option<&NullBuffer>, row: usize) -> bool {
    nulls.is_none_or(|nulls| nulls.is_valid(row))
}

fn lift_bools(values: &[u8], nulls: Option<NullBuffer>, rows: usize) -> Result<ArrayRef, String> {
    check_len("values", values.len(), rows)?;
    let wrong = |(row, &value): (usize, &u8)| value > 1 && is_present(nulls.as_ref(), row);
    if let Some(row) = values.iter().enumerate().position(wrong) {
        return Err(format!("row {row} is {}, neither 0 nor 1", values[row]));
    }
    Ok(Arc::new(BooleanArray::new(collect_bits(values), nulls)))
}

fn lift_numbers<T: ArrowPrimitiveType>(
    values: Vec<T::Native>,
    nulls: Option<NullBuffer>,
    rows: usize,
) -> Result<PrimitiveArray<T>, String> {
    check_len("values", values.len(), rows)?;
    PrimitiveArray::try_new(ScalarBuffer::from(values), nulls).map_err(|error| error.to_string())
}

fn check_digits(values: &[i64], nulls: Option<&NullBuffer>) -> Result<(), String> {
    // The largest first: one pass without a branch a row, and most columns are right.
    let largest = values.iter().map(|value| value.unsigned_abs()).max();
    if largest.is_none_or(|largest| largest < DECIMAL_BOUND) {
        return Ok(());
    }
    let wrong = |(row, value): (usize, &i64)| {
        value.unsigned_abs() >= DECIMAL_BOUND && is_present(nulls, row)
    };
    match values.iter().enumerate().position(wrong) {
        Some(row) => Err(format!(
            "the decimal in row {row} has more than {DECIMAL_DIGITS} digits"
        )),
        None => Ok(()),
    }
}

fn lift_texts(
    values: VarBytesResult,
    nulls: Option<NullBuffer>,
    rows: usize,
) -> Result<ArrayRef, String> {
    let array = lift_bytes::<BinaryType>(values, nulls, rows)?;
    let (offsets, bytes, nulls) = array.into_parts();
    let lifted =
        GenericByteArray::<Utf8Type>::try_new(offsets.clone(), bytes.clone(), nulls.clone());
    if let Ok(texts) = lifted {
        return Ok(Arc::new(texts));
    }
    // Slower, and rare: find the row, or learn that only null slots hold anything else than UTF-8.
    let array = GenericByteArray::<BinaryType>::new(offsets, bytes, nulls);
    let mut texts = Vec::with_capacity(rows);
    for (row, bytes) in array.iter().enumerate() {
        let text = bytes.map(std::str::from_utf8).transpose();
        texts.push(text.map_err(|_| format!("row {row} is not UTF-8"))?);
    }
    Ok(Arc::new(arrow_array::StringArray::from(texts)))
}

fn lift_bytes<T: ByteArrayType<Offset = i32>>(
    values: VarBytesResult,
    nulls: Option<NullBuffer>,
    rows: usize,
) -> Result<GenericByteArray<T>, String> {
    let VarBytesResult { offsets, bytes } = values;
    check_len("offsets", offsets.len(), rows + 1)?;
    if offsets[0] != 0 {
        return Err(format!("the first offset is {}, not 0", offsets[0]));
    }
    if let Some(row) = offsets.windows(2).position(|pair| pair[0] > pair[1]) {
        return Err(format!(
            "offsets fall from {} to {} at row {row}",
            offsets[row],
            offsets[row + 1]
        ));
    }
    if offsets[rows] as usize != bytes.len() || i32::try_from(bytes.len()).is_err() {
        return Err(format!(
            "the last offset is {} and there are {} bytes",
            offsets[rows],
            bytes.len()
        ));
    }
    let offsets = ScalarBuffer::<i32>::new(Buffer::from_vec(offsets), 0, rows + 1);
    GenericByteArray::try_new(OffsetBuffer::new(offsets), Buffer::from_vec(bytes), nulls)
        .map_err(|error| error.to_string())
}
