//! Arrow to the columns of the SDK, for a guest that runs in this process.

use arrow_array::cast::AsArray;
use arrow_array::types::Decimal64Type;
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;

use wasmill::schema::Schema;
use wasmill_guest::{Batch, Column, Field, Values, VarBytes};

pub(super) fn fields(schema: &Schema) -> Vec<Field> {
    let field = |field: &wasmill::schema::Field| Field {
        name: field.name.clone(),
        ty: field.ty.to_string().parse().unwrap(),
        nullable: field.nullable,
    };
    schema.fields().iter().map(field).collect()
}

/// Decimals and texts, value by value.
pub(super) fn batch(batch: &RecordBatch) -> Batch {
    let column = |array: &arrow_array::ArrayRef| Column {
        values: values(array),
        validity: Some(
            (0..array.len())
                .map(|i| u8::from(array.is_valid(i)))
                .collect(),
        ),
    };
    Batch {
        rows: batch.num_rows() as u32,
        columns: batch.columns().iter().map(column).collect(),
    }
}

fn values(array: &dyn Array) -> Values {
    match array.data_type() {
        DataType::Decimal64(..) => {
            Values::I64s(array.as_primitive::<Decimal64Type>().values().to_vec())
        }
        DataType::Utf8 => {
            let texts = array.as_string::<i32>();
            Values::Bytes(
                (0..texts.len())
                    .map(|i| texts.value(i))
                    .collect::<VarBytes>(),
            )
        }
        other => panic!("no guest here reads {other}"),
    }
}

/// The numbers of a column without missing values.
pub(super) fn i64s(column: Column) -> Vec<i64> {
    assert_eq!(column.validity, None);
    match column.values {
        Values::I64s(values) => values,
        other => panic!("{other:?}"),
    }
}
