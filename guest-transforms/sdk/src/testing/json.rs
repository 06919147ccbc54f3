//! Rows as JSON to columns, and back.

use serde_json::{Map, Number, Value};

use crate::calendar::{Date, Timestamp};
use crate::columns::{Batch, Column, DataType, Field, Values, VarBytes};
use crate::decimal::AnyDecimal;

/// The rows as a batch of these columns.
///
/// # Panics
///
/// When a row is no object, or a value is not one of its column; the message names row and column.
#[must_use]
#[track_caller]
pub fn batch(fields: &[Field], rows: &[Value]) -> Batch {
    for (at, row) in rows.iter().enumerate() {
        assert!(row.is_object(), "row {at} is no JSON object: {row}");
    }
    let mut columns = Vec::with_capacity(fields.len());
    for field in fields {
        let column = column(field, rows);
        columns.push(column.unwrap_or_else(|error| panic!("{error}")));
    }
    Batch {
        rows: rows.len() as u32,
        columns,
    }
}

/// The rows of a batch of these columns.
///
/// # Panics
///
/// When the columns are others.
#[must_use]
pub fn rows(fields: &[Field], batch: &Batch) -> Vec<Value> {
    assert_eq!(fields.len(), batch.columns.len(), "other columns");
    let row = |row: usize| {
        let values = fields.iter().zip(&batch.columns).map(|(field, column)| {
            let value = if column.is_present(row) {
                show(field.ty, &column.values, row)
            } else {
                Value::Null
            };
            (field.name.clone(), value)
        });
        Value::Object(values.collect::<Map<_, _>>())
    };
    (0..batch.rows as usize).map(row).collect()
}

fn column(field: &Field, rows: &[Value]) -> Result<Column, String> {
    let mut values = empty(field.ty);
    let mut validity = Vec::with_capacity(rows.len());
    for (at, row) in rows.iter().enumerate() {
        let value = row.get(&field.name).unwrap_or(&Value::Null);
        let wrong = |why: String| format!("row {at}: column `{}`: {why}", field.name);
        if value.is_null() && !field.nullable {
            return Err(wrong("the value is missing".to_owned()));
        }
        validity.push(u8::from(!value.is_null()));
        push(&mut values, field.ty, value).map_err(wrong)?;
    }
    let all_present = validity.iter().all(|&present| present == 1);
    Ok(Column {
        values,
        validity: (!all_present).then_some(validity),
    })
}

pub(super) fn empty(ty: DataType) -> Values {
    match ty {
        DataType::Boolean => Values::Bools(Vec::new()),
        DataType::Int64 | DataType::Decimal(_) | DataType::Timestamp => Values::I64s(Vec::new()),
        DataType::Float64 => Values::F64s(Vec::new()),
        DataType::Utf8 | DataType::Binary => Values::Bytes(VarBytes::default()),
        DataType::Date => Values::I32s(Vec::new()),
    }
}

/// Appends a value; something without meaning in the place of a missing one.
fn push(values: &mut Values, ty: DataType, value: &Value) -> Result<(), String> {
    let expected = |what: &str| format!("{what} was expected, not {value}");
    match values {
        Values::Bools(values) if value.is_null() => values.push(0),
        Values::I32s(values) if value.is_null() => values.push(-1),
        Values::I64s(values) if value.is_null() => values.push(-77),
        Values::F64s(values) if value.is_null() => values.push(f64::NAN),
        Values::Bytes(values) if value.is_null() => values.push(b"?"),
        Values::Bools(values) => {
            let value = value.as_bool().ok_or_else(|| expected("true or false"))?;
            values.push(u8::from(value));
        }
        Values::I32s(values) => values.push(read_date(value)?.days()),
        Values::I64s(values) => values.push(match ty {
            DataType::Decimal(scale) => read_decimal(value, scale)?,
            DataType::Timestamp => read_time(value)?.micros(),
            _ => value.as_i64().ok_or_else(|| expected("a whole number"))?,
        }),
        Values::F64s(values) => {
            values.push(value.as_f64().ok_or_else(|| expected("a number"))?);
        }
        Values::Bytes(values) => {
            let text = value.as_str().ok_or_else(|| expected("a string"))?;
            values.push(text.as_bytes());
        }
    }
    Ok(())
}

fn read_decimal(value: &Value, scale: u8) -> Result<i64, String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        other => return Err(format!("a number or a string was expected, not {other}")),
    };
    let decimal: AnyDecimal = text.parse().map_err(|error| format!("{error}"))?;
    let decimal = decimal
        .rescale(scale)
        .ok_or_else(|| format!("`{text}` has more than 18 digits in decimal({scale})"))?;
    Ok(decimal.unscaled())
}

fn read_time(value: &Value) -> Result<Timestamp, String> {
    match (value.as_str(), value.as_i64()) {
        (Some(text), _) => text.parse().map_err(|error| format!("{error}")),
        (_, Some(millis)) => Ok(Timestamp::from_micros(millis * 1_000)),
        _ => Err(format!("a time was expected, not {value}")),
    }
}

fn read_date(value: &Value) -> Result<Date, String> {
    let text = value
        .as_str()
        .ok_or_else(|| format!("a date was expected, not {value}"))?;
    text.parse().map_err(|error| format!("{error}"))
}

fn show(ty: DataType, values: &Values, row: usize) -> Value {
    match values {
        Values::Bools(values) => (values[row] != 0).into(),
        Values::I32s(values) => Date::from_days(values[row]).to_string().into(),
        Values::I64s(values) => match ty {
            DataType::Decimal(scale) => AnyDecimal::trusted(values[row], scale).to_string().into(),
            DataType::Timestamp => Timestamp::from_micros(values[row]).to_string().into(),
            _ => values[row].into(),
        },
        Values::F64s(values) => Number::from_f64(values[row])
            .map_or_else(|| values[row].to_string().into(), Value::Number),
        Values::Bytes(values) => String::from_utf8_lossy(values.get(row)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use serde_json::json;

    use crate::testing::fields;

    #[test]
    fn rows_come_out_as_they_went_in() {
        let fields = fields(&[
            ("flag", "boolean"),
            ("whole", "int64"),
            ("float", "float64"),
            ("money", "decimal(2)"),
            ("text", "utf8"),
            ("bytes", "binary"),
            ("time", "timestamp"),
            ("day", "date"),
        ]);
        let in_and_out = [json!({
            "flag": true, "whole": -7, "float": 0.5, "money": "12.50", "text": "é", "bytes": "b",
            "time": "2025-03-01T12:30:00Z", "day": "2025-03-01",
        })];
        assert_eq!(rows(&fields, &batch(&fields, &in_and_out)), in_and_out);
    }

    #[test]
    fn a_missing_value_is_null_whatever_its_type() {
        for ty in [
            "boolean?",
            "int64?",
            "float64?",
            "decimal(2)?",
            "utf8?",
            "date?",
        ] {
            let fields = fields(&[("a", ty)]);
            let batch = batch(&fields, &[json!({}), json!({"a": null})]);
            assert_eq!(batch.columns[0].validity, Some(vec![0, 0]));
            assert_eq!(
                rows(&fields, &batch),
                [json!({"a": null}), json!({"a": null})]
            );
        }
    }

    #[test]
    #[should_panic(expected = "row 1: column `a`: the value is missing")]
    fn a_value_that_has_to_be_there_is_missed_by_name() {
        let _ = batch(&fields(&[("a", "int64")]), &[json!({"a": 1}), json!({})]);
    }

    #[test]
    #[should_panic(expected = "row 0: column `a`: `1,5` is no decimal number")]
    fn a_value_of_another_type_is_named() {
        let _ = batch(&fields(&[("a", "decimal(2)")]), &[json!({"a": "1,5"})]);
    }
}
