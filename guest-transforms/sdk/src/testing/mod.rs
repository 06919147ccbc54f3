//! Drives a guest natively, as the host would: for unit tests with `cargo test`, without WebAssembly.
//!
//! Rows go in and come out as JSON objects:
//!
//! | column | in | out |
//! |---|---|---|
//! | `boolean` | `true`, `false` | the same |
//! | `int64` | a whole number | a number |
//! | `float64` | a number | a number; `"NaN"`, `"inf"`, `"-inf"` |
//! | `decimal(s)` | a string or a number, rounded half to even to `s` digits | a string with `s` digits: `"12.50"` |
//! | `utf8`, `binary` | a string | a string |
//! | `timestamp` | `"2025-03-01T12:30:00Z"`, or whole milliseconds since 1970 | `"2025-03-01T12:30:00Z"` |
//! | `date` | `"2025-03-01"` | the same |
//!
//! A missing value is `null`, or the field is left out. Fields that are no column are ignored.
//!
//! What the guest answers is held against its contract as the host does it; a breach panics, because it
//! is a mistake in the guest that no caller can mend. So do rows that are not as above.

mod aggregate;
mod check;
mod json;
#[cfg(test)]
mod tests;
mod transform;

use serde_json::Value;

use crate::columns::Field;
use crate::contract::{ColumnAggregate, ColumnTransform};
use crate::rows::{Aggregate, AggregateRows, Transform, TransformRows};

pub use aggregate::AggregateGuest;
pub use json::{batch, rows};
pub use transform::{TransformGuest, Transformed};

/// Columns by name and type, as in `pipeline.toml`; a type that ends in `?` may be missing.
///
/// ```
/// # use wasmill_guest::{DataType, Field, testing};
/// let input = testing::fields(&[("amount", "decimal(2)"), ("note", "utf8?")]);
/// assert_eq!(input[1], Field::nullable("note", DataType::Utf8));
/// ```
///
/// # Panics
///
/// When a type is none.
#[must_use]
#[track_caller]
pub fn fields(columns: &[(&str, &str)]) -> Vec<Field> {
    let mut fields = Vec::new();
    for &(name, ty) in columns {
        let (ty, nullable) = ty
            .strip_suffix('?')
            .map_or((ty, false), |plain| (plain, true));
        fields.push(Field {
            name: name.to_owned(),
            ty: ty
                .parse()
                .unwrap_or_else(|error| panic!("column `{name}`: {error}")),
            nullable,
        });
    }
    fields
}

/// A transform, configured.
///
/// # Errors
///
/// What the guest, or the host in its place, refuses: a wrong config, an input that does not suit it.
pub fn transform<T: Transform>(
    input: &[Field],
    config: Value,
) -> Result<TransformGuest<TransformRows<T>>, String> {
    column_transform(input, config)
}

/// An aggregate, configured.
///
/// # Errors
///
/// What the guest, or the host in its place, refuses: a wrong config, an input that does not suit it.
pub fn aggregate<A: Aggregate>(
    input: &[Field],
    config: Value,
) -> Result<AggregateGuest<AggregateRows<A>>, String> {
    column_aggregate(input, config)
}

/// A transform of the column level, configured.
///
/// # Errors
///
/// What the guest, or the host in its place, refuses: a wrong config, an input that does not suit it.
#[expect(clippy::needless_pass_by_value, reason = "as `json!` makes it")]
pub fn column_transform<T: ColumnTransform>(
    input: &[Field],
    config: Value,
) -> Result<TransformGuest<T>, String> {
    TransformGuest::configure(input, &config)
}

/// An aggregate of the column level, configured.
///
/// # Errors
///
/// What the guest, or the host in its place, refuses: a wrong config, an input that does not suit it.
#[expect(clippy::needless_pass_by_value, reason = "as `json!` makes it")]
pub fn column_aggregate<A: ColumnAggregate>(
    input: &[Field],
    config: Value,
) -> Result<AggregateGuest<A>, String> {
    AggregateGuest::configure(input, &config)
}

/// The config as the host hands it over: `null` stands for none.
fn config_text(config: &Value) -> String {
    if config.is_null() {
        "{}".to_owned()
    } else {
        config.to_string()
    }
}
