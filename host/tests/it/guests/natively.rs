//! Arrow to the columns of the SDK, for a guest that runs in this process.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal64Type, Float64Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;

use wasmill::schema::Schema;
use wasmill_guest::{Batch, Column, Field, Values};

pub(super) fn fields(schema: &Schema) -> Vec<Field> {
    let field = |field: &wasmill::schema::Field| Field {
        name: field.name.clone(),
        ty: field.ty.to_string().parse().unwrap(),
        nullable: field.nullable,
    };
    schema.fields().iter().map(field).collect()
}

pub(super) fn batch(batch: &RecordBatch) -> Batch {
    Batch {
        rows: batch.num_rows() as u32,
        columns: batch.columns().iter().map(column).collect(),
    }
}

/// What a guest gets of a column.
fn column(array: &ArrayRef) -> Column {
    let is_there = |row| u8::from(array.is_valid(row));
    let validity = (array.null_count() > 0).then(|| (0..array.len()).map(is_there).collect());
    let values = match array.data_type() {
        DataType::Boolean => {
            let flags = array.as_boolean().values();
            Values::Bools(flags.iter().map(u8::from).collect())
        }
        DataType::Int64 => Values::I64s(array.as_primitive::<Int64Type>().values().to_vec()),
        DataType::Decimal64(..) => {
            Values::I64s(array.as_primitive::<Decimal64Type>().values().to_vec())
        }
        DataType::Timestamp(..) => {
            let times = array.as_primitive::<TimestampMicrosecondType>();
            Values::I64s(times.values().to_vec())
        }
        DataType::Date32 => Values::I32s(array.as_primitive::<Date32Type>().values().to_vec()),
        DataType::Float64 => Values::F64s(array.as_primitive::<Float64Type>().values().to_vec()),
        DataType::Utf8 => {
            let texts = array.as_string::<i32>();
            Values::Bytes(texts.iter().map(Option::unwrap_or_default).collect())
        }
        _ => {
            let bytes = array.as_binary::<i32>();
            Values::Bytes(bytes.iter().map(Option::unwrap_or_default).collect())
        }
    };
    Column { values, validity }
}

/// The numbers of a column without missing values.
pub(super) fn i64s(column: Column) -> Vec<i64> {
    assert_eq!(column.validity, None);
    match column.values {
        Values::I64s(values) => values,
        other => panic!("{other:?}"),
    }
}
