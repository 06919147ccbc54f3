//! The columns that rows have: as they are written on a command line, or inferred from the rows.

use anyhow::{Context, anyhow, bail};
use chrono::{DateTime, NaiveDate};
use indexmap::IndexMap;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::rows::RowsFile;
use crate::config::{ColumnFrom, SourceColumn};
use crate::schema::{DECIMAL_DIGITS, DataType, Field, Schema};

/// Digits after the point of an inferred decimal, at least: those of most money.
const SCALE_MIN: u8 = 2;

/// Reads `amount: decimal(2), currency: utf8, note: utf8?`.
///
/// # Errors
///
/// What is wrong with which column.
pub(in crate::cli) fn parse(text: &str) -> Result<Schema, String> {
    let columns = text.trim().trim_end_matches(',');
    if columns.is_empty() {
        return Err("there is no column: write them as in `amount: decimal(2)`".to_owned());
    }
    let fields = columns.split(',').map(|column| {
        let (name, ty) = column
            .rsplit_once(':')
            .ok_or_else(|| format!("column `{}` has no type after a `:`", column.trim()))?;
        let (name, ty) = (name.trim(), ty.trim());
        if name.is_empty() {
            return Err("a column has no name".to_owned());
        }
        let (ty, nullable) = match ty.strip_suffix('?') {
            Some(ty) => (ty.trim_end(), true),
            None => (ty, false),
        };
        let ty = ty
            .parse()
            .map_err(|error| format!("column `{name}`: {error}"))?;
        Ok(Field::new(name, ty, nullable))
    });
    Schema::new(fields.collect::<Result<_, _>>()?).map_err(|error| error.to_string())
}

/// The columns as [`parse`] reads them.
pub(in crate::cli) fn show(schema: &Schema) -> String {
    let columns: Vec<String> = schema.fields().iter().map(show_field).collect();
    columns.join(", ")
}

/// A column as [`parse`] reads it.
pub(in crate::cli) fn show_field(field: &Field) -> String {
    let missing = if field.nullable { "?" } else { "" };
    format!("{}: {}{missing}", field.name, field.ty)
}

/// Each column from the JSON field of its own name.
pub(in crate::cli) fn as_json_fields(schema: &Schema) -> Vec<SourceColumn> {
    let column = |field: &Field| SourceColumn {
        name: field.name.clone(),
        from: ColumnFrom::Json(vec![field.name.clone()]),
        ty: field.ty,
        nullable: field.nullable,
    };
    schema.fields().iter().map(column).collect()
}

/// The narrowest columns that hold all of the rows, in the order in which they first occur.
///
/// # Errors
///
/// When there is no row, one is no object, or a column has values that no single type holds.
pub(in crate::cli) fn infer(file: &RowsFile) -> anyhow::Result<Schema> {
    let mut columns: IndexMap<String, Seen> = IndexMap::new();
    let mut rows = 0_usize;
    for (line, text) in file.texts() {
        let place = || format!("{}, line {line}", file.name());
        let Row(row) = serde_json::from_slice(text)
            .map_err(|error| anyhow!("{}: this is no JSON object: {error}", place()))?;
        rows += 1;
        for (name, value) in row {
            let seen = columns.entry(name).or_default();
            seen.add(&value)
                .map_err(|error| anyhow!("{}: {error}", place()))?;
        }
    }
    if rows == 0 {
        bail!("{} has no rows", file.name());
    }
    let fields = columns.into_iter().map(|(name, seen)| {
        let ty = seen.ty().with_context(|| {
            format!(
                "the column `{name}` of {} has values of different types: say with --schema what it is",
                file.name()
            )
        })?;
        Ok(Field::new(name, ty, seen.present < rows))
    });
    Ok(Schema::new(fields.collect::<anyhow::Result<_>>()?)?)
}

/// What the values of a column were so far.
#[derive(Debug, Default)]
struct Seen {
    /// how many rows have a value
    present: usize,
    booleans: usize,
    integers: usize,
    /// with a point
    fractions: usize,
    /// numbers that no decimal holds exactly
    floats: usize,
    texts: usize,
    timestamps: usize,
    dates: usize,
    /// digits before and after the point, at most
    digits: (u8, u8),
}

impl Seen {
    fn add(&mut self, value: &Value) -> Result<(), String> {
        match value {
            Value::Null => return Ok(()),
            Value::Bool(_) => self.booleans += 1,
            Value::Number(number) => self.add_number(&number.to_string()),
            Value::String(text) => {
                self.texts += 1;
                if DateTime::parse_from_rfc3339(text).is_ok() {
                    self.timestamps += 1;
                } else if NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok() {
                    self.dates += 1;
                }
            }
            Value::Array(_) => return Err("a list is no value of a column".to_owned()),
            Value::Object(_) => return Err("an object is no value of a column".to_owned()),
        }
        self.present += 1;
        Ok(())
    }

    fn add_number(&mut self, text: &str) {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let whole = whole.trim_start_matches('-').len();
        let is_long = whole > usize::from(DECIMAL_DIGITS)
            || fraction.len() > usize::from(DECIMAL_DIGITS)
            || text.contains(['e', 'E']);
        if !text.contains(['.', 'e', 'E']) && text.parse::<i64>().is_ok() {
            self.integers += 1;
        } else if is_long {
            self.floats += 1;
            return;
        } else {
            self.fractions += 1;
        }
        let (before, after) = self.digits;
        self.digits = (
            before.max(u8::try_from(whole).unwrap_or(u8::MAX)),
            after.max(u8::try_from(fraction.len()).unwrap_or(u8::MAX)),
        );
    }

    fn ty(&self) -> Option<DataType> {
        let numbers = self.integers + self.fractions + self.floats;
        let kinds = [self.booleans, numbers, self.texts];
        if kinds.iter().filter(|&&count| count > 0).count() > 1 {
            return None;
        }
        let (before, after) = self.digits;
        let scale = after.max(SCALE_MIN);
        Some(if self.booleans > 0 {
            DataType::Boolean
        } else if self.floats > 0 {
            DataType::Float64
        } else if self.fractions > 0 && before.saturating_add(scale) <= DECIMAL_DIGITS {
            DataType::Decimal(scale)
        } else if self.fractions > 0 {
            DataType::Float64
        } else if self.integers > 0 {
            DataType::Int64
        } else if self.texts > 0 && self.timestamps == self.texts {
            DataType::Timestamp
        } else if self.texts > 0 && self.dates == self.texts {
            DataType::Date
        } else {
            DataType::Utf8
        })
    }
}

/// An object's fields in their order, which `serde_json`'s own map loses.
struct Row(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Row;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object whose keys are names of columns")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row, A::Error> {
                let mut fields: Vec<(String, Value)> = Vec::new();
                while let Some((name, value)) = map.next_entry()? {
                    // Of a field that occurs twice the last one counts, as for the decoder.
                    fields.retain(|(known, _)| *known != name);
                    fields.push((name, value));
                }
                Ok(Row(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inferred(lines: &str) -> Result<String, String> {
        let file = RowsFile::from_bytes("rows.ndjson", lines.as_bytes()).unwrap();
        infer(&file)
            .map(|schema| show(&schema))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn columns_read_back_as_they_are_shown() {
        let text = "amount: decimal(2), currency: utf8, note: utf8?, at: timestamp";
        assert_eq!(show(&parse(text).unwrap()), text);
        assert_eq!(
            show(&parse(" a:int64 ,b : date ? ,").unwrap()),
            "a: int64, b: date?"
        );
    }

    #[test]
    fn what_is_wrong_with_columns_is_said_with_their_name() {
        let error = |text| parse(text).unwrap_err();
        assert_eq!(error("amount"), "column `amount` has no type after a `:`");
        assert!(error("a: string").starts_with("column `a`: no type is called `string`"));
        assert!(error("a: decimal(19)").starts_with("column `a`: the scale"));
        assert_eq!(error("a: utf8, a: utf8"), "column `a` occurs twice");
        assert_eq!(error(": utf8"), "a column has no name");
        assert!(error(" ").starts_with("there is no column"));
    }

    #[test]
    fn the_narrowest_type_that_holds_all_values_is_inferred() {
        let rows = r#"{"b":true,"n":1,"m":10.5,"f":1e300,"t":"x","d":"2026-01-02","at":"2026-01-02T03:04:05Z"}
                      {"b":false,"n":-7,"m":3,"f":2,"t":"2026-01-02","d":"2026-01-03","at":"2026-01-02T03:04:05+01:00"}"#;
        assert_eq!(
            inferred(rows).unwrap(),
            "b: boolean, n: int64, m: decimal(2), f: float64, t: utf8, d: date, at: timestamp"
        );
    }

    #[test]
    fn a_decimal_has_as_many_digits_as_the_longest_value() {
        assert_eq!(inferred("{\"a\":0.12345}").unwrap(), "a: decimal(5)");
        let long = "{\"a\":0.1234}\n{\"a\":123456789012345.5}";
        assert_eq!(inferred(long).unwrap(), "a: float64");
        assert_eq!(
            inferred("{\"a\":18446744073709551615}").unwrap(),
            "a: float64"
        );
    }

    #[test]
    fn a_value_that_some_row_lacks_may_be_missing() {
        let rows = "{\"a\":1,\"b\":\"x\"}\n\n{\"a\":2}\n{\"a\":3,\"b\":null,\"c\":null}";
        assert_eq!(inferred(rows).unwrap(), "a: int64, b: utf8?, c: utf8?");
    }

    #[test]
    fn rows_of_no_single_type_are_refused_with_their_place() {
        let mixed = inferred("{\"a\":1}\n{\"a\":\"x\"}").unwrap_err();
        assert!(mixed.contains("`a` of rows.ndjson has values of different types"));
        let list = inferred("{\"a\":1}\n\n{\"a\":[]}").unwrap_err();
        assert_eq!(list, "rows.ndjson, line 3: a list is no value of a column");
        assert!(
            inferred("[1]")
                .unwrap_err()
                .contains("line 1: this is no JSON object")
        );
        assert_eq!(inferred("\n").unwrap_err(), "rows.ndjson has no rows");
    }
}
