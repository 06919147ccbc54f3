//! Arrow columns to the SDK's and back.

use std::sync::Arc;

use anyhow::{Context, bail};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal64Type, Float64Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal64Array, Float64Array,
    Int64Array, RecordBatch, RecordBatchOptions, StringArray, TimestampMicrosecondArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use wasmill::schema::{DataType, Field, Schema};
use wasmill_guest as sdk;

/// Digits of a decimal, in Arrow's terms.
const DECIMAL_DIGITS: u8 = 18;

/// The SDK's fields of a schema.
pub(super) fn fields(schema: &Schema) -> Vec<sdk::Field> {
    let field = |field: &Field| sdk::Field {
        name: field.name.clone(),
        ty: match field.ty {
            DataType::Boolean => sdk::DataType::Boolean,
            DataType::Int64 => sdk::DataType::Int64,
            DataType::Float64 => sdk::DataType::Float64,
            DataType::Decimal(scale) => sdk::DataType::Decimal(scale),
            DataType::Utf8 => sdk::DataType::Utf8,
            DataType::Binary => sdk::DataType::Binary,
            DataType::Timestamp => sdk::DataType::Timestamp,
            DataType::Date => sdk::DataType::Date,
        },
        nullable: field.nullable,
    };
    schema.fields().iter().map(field).collect()
}

/// A copy of a batch, which may be a slice.
pub(super) fn lower(batch: &RecordBatch) -> anyhow::Result<sdk::Batch> {
    let columns = batch.columns().iter().map(|column| {
        let nulls = column.nulls();
        Ok(sdk::Column {
            values: values(column)?,
            validity: nulls.map(|nulls| nulls.iter().map(u8::from).collect()),
        })
    });
    Ok(sdk::Batch {
        rows: batch.num_rows() as u32,
        columns: columns.collect::<anyhow::Result<_>>()?,
    })
}

fn values(column: &ArrayRef) -> anyhow::Result<sdk::Values> {
    use arrow_schema::DataType as Arrow;
    Ok(match column.data_type() {
        Arrow::Boolean => {
            let bits = column.as_boolean().values();
            sdk::Values::Bools(bits.iter().map(u8::from).collect())
        }
        Arrow::Int64 => sdk::Values::I64s(column.as_primitive::<Int64Type>().values().to_vec()),
        Arrow::Float64 => sdk::Values::F64s(column.as_primitive::<Float64Type>().values().to_vec()),
        Arrow::Decimal64(..) => {
            sdk::Values::I64s(column.as_primitive::<Decimal64Type>().values().to_vec())
        }
        Arrow::Timestamp(..) => {
            let values = column.as_primitive::<TimestampMicrosecondType>().values();
            sdk::Values::I64s(values.to_vec())
        }
        Arrow::Date32 => sdk::Values::I32s(column.as_primitive::<Date32Type>().values().to_vec()),
        Arrow::Utf8 => {
            let texts = column.as_string::<i32>();
            bytes(texts.offsets(), texts.values())
        }
        Arrow::Binary => {
            let binaries = column.as_binary::<i32>();
            bytes(binaries.offsets(), binaries.values())
        }
        other => bail!("no stream has a column of type {other}"),
    })
}

fn bytes(offsets: &[i32], bytes: &[u8]) -> sdk::Values {
    let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
    sdk::Values::Bytes(sdk::VarBytes {
        offsets: offsets.iter().map(|end| (end - first) as u32).collect(),
        bytes: bytes[first as usize..last as usize].to_vec(),
    })
}

/// What came back, as a batch.
pub(super) fn lift_batch(schema: &Schema, batch: sdk::Batch) -> anyhow::Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(batch.rows as usize));
    let columns = lift(schema.fields(), batch.columns)?;
    let schema = Arc::clone(schema.arrow());
    Ok(RecordBatch::try_new_with_options(
        schema, columns, &options,
    )?)
}

/// What came back, without a copy.
pub(super) fn lift(fields: &[Field], columns: Vec<sdk::Column>) -> anyhow::Result<Vec<ArrayRef>> {
    let pairs = fields.iter().zip(columns);
    pairs
        .map(|(field, column)| lift_column(field.ty, column))
        .collect()
}

fn lift_column(ty: DataType, column: sdk::Column) -> anyhow::Result<ArrayRef> {
    use sdk::Values;
    let nulls = column.validity.map(|validity| {
        validity
            .iter()
            .map(|&present| present != 0)
            .collect::<NullBuffer>()
    });
    Ok(match (ty, column.values) {
        (DataType::Boolean, Values::Bools(values)) => {
            let bits = values.iter().map(|&bit| bit != 0).collect();
            Arc::new(BooleanArray::new(bits, nulls))
        }
        (DataType::Int64, Values::I64s(values)) => Arc::new(Int64Array::new(values.into(), nulls)),
        (DataType::Float64, Values::F64s(values)) => {
            Arc::new(Float64Array::new(values.into(), nulls))
        }
        (DataType::Decimal(scale), Values::I64s(values)) => {
            let decimals = Decimal64Array::new(values.into(), nulls);
            let scale = i8::try_from(scale).context("a scale is at most 18")?;
            Arc::new(decimals.with_precision_and_scale(DECIMAL_DIGITS, scale)?)
        }
        (DataType::Timestamp, Values::I64s(values)) => {
            let times = TimestampMicrosecondArray::new(values.into(), nulls);
            Arc::new(times.with_timezone("UTC"))
        }
        (DataType::Date, Values::I32s(values)) => Arc::new(Date32Array::new(values.into(), nulls)),
        (DataType::Utf8, Values::Bytes(values)) => {
            let (offsets, bytes) = raw(values);
            Arc::new(StringArray::try_new(offsets, bytes.into(), nulls)?)
        }
        (DataType::Binary, Values::Bytes(values)) => {
            let (offsets, bytes) = raw(values);
            Arc::new(BinaryArray::try_new(offsets, bytes.into(), nulls)?)
        }
        (ty, values) => bail!("a column of type {ty} came back as {values:?}"),
    })
}

fn raw(values: sdk::VarBytes) -> (OffsetBuffer<i32>, Vec<u8>) {
    let offsets: Vec<i32> = values.offsets.iter().map(|&end| end as i32).collect();
    (OffsetBuffer::new(offsets.into()), values.bytes)
}
