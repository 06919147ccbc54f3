//! The closed set of column types, and their names in `pipeline.toml`.

use std::fmt;
use std::str::FromStr;

use crate::decimal::SCALE_MAX;

/// What the values of a column mean. How they lie is told by [`Values`](super::Values).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataType {
    /// true or false
    Boolean,
    /// a signed 64-bit integer
    Int64,
    /// an IEEE 754 double
    Float64,
    /// An exact number of at most 18 digits, stored as value × 10^scale; the scale is 0 to 18.
    Decimal(u8),
    /// text in UTF-8
    Utf8,
    /// bytes
    Binary,
    /// a point in time: µs since 1970-01-01T00:00:00Z
    Timestamp,
    /// a calendar day: days since 1970-01-01
    Date,
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean => f.write_str("boolean"),
            Self::Int64 => f.write_str("int64"),
            Self::Float64 => f.write_str("float64"),
            Self::Decimal(scale) => write!(f, "decimal({scale})"),
            Self::Utf8 => f.write_str("utf8"),
            Self::Binary => f.write_str("binary"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Date => f.write_str("date"),
        }
    }
}

/// A type name that is none of [`DataType`]'s.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypeNameError {
    /// `decimal(s)` with a scale that is no number from 0 to 18
    Scale(String),
    /// no type has this name
    Unknown(String),
}

impl fmt::Display for TypeNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scale(scale) => write!(
                f,
                "the scale of a decimal is a number from 0 to {SCALE_MAX}, not `{scale}`"
            ),
            Self::Unknown(name) => write!(
                f,
                "no type is called `{name}`: there are boolean, int64, float64, decimal(scale), \
                 utf8, binary, timestamp and date"
            ),
        }
    }
}

impl std::error::Error for TypeNameError {}

impl FromStr for DataType {
    type Err = TypeNameError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let scale = name
            .strip_prefix("decimal(")
            .and_then(|rest| rest.strip_suffix(')'));
        Ok(match (name, scale) {
            ("boolean", _) => Self::Boolean,
            ("int64", _) => Self::Int64,
            ("float64", _) => Self::Float64,
            ("utf8", _) => Self::Utf8,
            ("binary", _) => Self::Binary,
            ("timestamp", _) => Self::Timestamp,
            ("date", _) => Self::Date,
            (_, Some(scale)) => match scale.trim().parse() {
                Ok(number) if number <= SCALE_MAX => Self::Decimal(number),
                _ => return Err(TypeNameError::Scale(scale.to_owned())),
            },
            _ => return Err(TypeNameError::Unknown(name.to_owned())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_reads_back_from_its_own_name() {
        for ty in [
            DataType::Boolean,
            DataType::Int64,
            DataType::Float64,
            DataType::Decimal(0),
            DataType::Decimal(18),
            DataType::Utf8,
            DataType::Binary,
            DataType::Timestamp,
            DataType::Date,
        ] {
            assert_eq!(ty.to_string().parse(), Ok(ty));
        }
    }

    #[test]
    fn a_name_that_is_none_is_refused_with_those_there_are() {
        let error = |name: &str| name.parse::<DataType>().unwrap_err().to_string();
        assert!(error("string").starts_with("no type is called `string`: there are boolean"));
        assert_eq!(
            error("decimal(19)"),
            "the scale of a decimal is a number from 0 to 18, not `19`"
        );
    }
}
