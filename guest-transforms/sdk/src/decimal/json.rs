//! Decimals in a config: a JSON string or a JSON number, read digit by digit.

use std::borrow::Cow;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::{AnyDecimal, Decimal, ParseDecimalError};

/// The digits of a JSON string or number, as they were written.
fn read<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err = ParseDecimalError>,
    D: Deserializer<'de>,
{
    // A number that serde hands over has been a float already.
    let raw = Box::<RawValue>::deserialize(deserializer)?;
    let text = raw.get();
    if text.starts_with('"') {
        let text: String = serde_json::from_str(text).map_err(D::Error::custom)?;
        return text.parse().map_err(D::Error::custom);
    }
    if text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
        return text.parse().map_err(D::Error::custom);
    }
    Err(D::Error::custom(format!(
        "a decimal is a string or a number, not {text}"
    )))
}

fn schema(description: &str) -> Schema {
    json_schema!({ "type": ["string", "number"], "description": description })
}

impl<'de, const S: u8> Deserialize<'de> for Decimal<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(deserializer)
    }
}

impl<const S: u8> Serialize for Decimal<S> {
    fn serialize<T: Serializer>(&self, serializer: T) -> Result<T::Ok, T::Error> {
        serializer.collect_str(self)
    }
}

impl<const S: u8> JsonSchema for Decimal<S> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("decimal_{S}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema(&format!(
            "A decimal number with at most {S} digits after the point. Best as a string, which is exact everywhere."
        ))
    }
}

impl<'de> Deserialize<'de> for AnyDecimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(deserializer)
    }
}

impl Serialize for AnyDecimal {
    fn serialize<T: Serializer>(&self, serializer: T) -> Result<T::Ok, T::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for AnyDecimal {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "decimal".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema(
            "A decimal number of at most 18 digits. Best as a string, which is exact everywhere.",
        )
    }
}
