//! Values as the stored rows have them.

use std::fmt;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal64Type, Float64Type, Int64Type, TimestampMicrosecondType,
};

use crate::schema::DataType;

/// One value of a stored row, with its meaning.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// a missing value
    Null,
    /// `boolean`
    Boolean(bool),
    /// `int64`
    Int64(i64),
    /// `float64`
    Float64(f64),
    /// `decimal(scale)`
    Decimal {
        /// its digits without the point
        unscaled: i64,
        /// digits after the point
        scale: u8,
    },
    /// `utf8`
    Utf8(String),
    /// `binary`
    Binary(Vec<u8>),
    /// `timestamp`: µs since 1970-01-01T00:00:00Z
    Timestamp(i64),
    /// `date`: days since 1970-01-01
    Date(i32),
}

impl Value {
    pub(super) fn read(column: &dyn Array, ty: DataType, row: usize) -> Self {
        if column.is_null(row) {
            return Self::Null;
        }
        match ty {
            DataType::Boolean => Self::Boolean(column.as_boolean().value(row)),
            DataType::Int64 => Self::Int64(column.as_primitive::<Int64Type>().value(row)),
            DataType::Float64 => Self::Float64(column.as_primitive::<Float64Type>().value(row)),
            DataType::Decimal(scale) => Self::Decimal {
                unscaled: column.as_primitive::<Decimal64Type>().value(row),
                scale,
            },
            DataType::Utf8 => Self::Utf8(column.as_string::<i32>().value(row).to_owned()),
            DataType::Binary => Self::Binary(column.as_binary::<i32>().value(row).to_vec()),
            DataType::Timestamp => {
                let column = column.as_primitive::<TimestampMicrosecondType>();
                Self::Timestamp(column.value(row))
            }
            DataType::Date => Self::Date(column.as_primitive::<Date32Type>().value(row)),
        }
    }
}

/// As text: exact, one text for each value of a type. Times are whole numbers (see the variants).
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Boolean(value) => value.fmt(f),
            Self::Int64(value) | Self::Timestamp(value) => value.fmt(f),
            Self::Float64(value) => write!(f, "{value:?}"),
            Self::Decimal { unscaled, scale } => {
                let sign = if *unscaled < 0 { "-" } else { "" };
                let unit = 10_u64.pow(u32::from(*scale));
                let magnitude = unscaled.unsigned_abs();
                write!(f, "{sign}{}", magnitude / unit)?;
                if *scale > 0 {
                    let width = usize::from(*scale);
                    write!(f, ".{:0width$}", magnitude % unit)?;
                }
                Ok(())
            }
            Self::Utf8(value) => f.write_str(value),
            Self::Binary(value) => value.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            Self::Date(value) => value.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_one_exact_text() {
        let decimal = |unscaled, scale| Value::Decimal { unscaled, scale }.to_string();
        assert_eq!(decimal(-5, 2), "-0.05");
        assert_eq!(decimal(123, 0), "123");
        assert_eq!(Value::Binary(vec![0, 255]).to_string(), "00ff");
        assert_eq!(Value::Float64(1.0).to_string(), "1.0");
    }
}
