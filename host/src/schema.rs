//! Column types and schemas, as `pipeline.toml` and the guest contract name them.
//!
//! [`DataType`] is the closed set of what a value can mean. Each has exactly one Arrow layout
//! ([`DataType::to_arrow`]); every column in the host is an Arrow array of that layout.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow_schema::TimeUnit;
use thiserror::Error;

/// Digits that a decimal holds at most.
pub const DECIMAL_DIGITS: u8 = 18;

/// What a value means. The set is that of the guest contract (`wit/data.wit`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataType {
    /// `boolean`
    Boolean,
    /// `int64`
    Int64,
    /// `float64`
    Float64,
    /// `decimal(scale)`: unscaled / 10^scale in an `i64`, scale ≤ 18, at most 18 digits
    Decimal(u8),
    /// `utf8`
    Utf8,
    /// `binary`
    Binary,
    /// `timestamp`: µs since 1970-01-01T00:00:00Z
    Timestamp,
    /// `date`: days since 1970-01-01
    Date,
}

impl DataType {
    /// The one Arrow layout of this type.
    ///
    /// `Decimal(s)` is `Decimal64(18, s)`, `Timestamp` is microseconds in `UTC`, `Utf8` and
    /// `Binary` have 32-bit offsets.
    #[must_use]
    pub fn to_arrow(self) -> arrow_schema::DataType {
        use arrow_schema::DataType as Arrow;
        match self {
            Self::Boolean => Arrow::Boolean,
            Self::Int64 => Arrow::Int64,
            Self::Float64 => Arrow::Float64,
            Self::Decimal(scale) => Arrow::Decimal64(DECIMAL_DIGITS, scale.cast_signed()),
            Self::Utf8 => Arrow::Utf8,
            Self::Binary => Arrow::Binary,
            Self::Timestamp => Arrow::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Date => Arrow::Date32,
        }
    }
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
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TypeNameError {
    /// `decimal(s)` with a scale that is no number from 0 to 18.
    #[error("the scale of a decimal is a number from 0 to {DECIMAL_DIGITS}, not `{0}`")]
    Scale(String),
    /// No type has this name.
    #[error(
        "no type is called `{0}`: there are boolean, int64, float64, decimal(scale), utf8, binary, timestamp and date"
    )]
    Unknown(String),
}

impl FromStr for DataType {
    type Err = TypeNameError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let plain = match name {
            "boolean" => Some(Self::Boolean),
            "int64" => Some(Self::Int64),
            "float64" => Some(Self::Float64),
            "utf8" => Some(Self::Utf8),
            "binary" => Some(Self::Binary),
            "timestamp" => Some(Self::Timestamp),
            "date" => Some(Self::Date),
            _ => None,
        };
        if let Some(plain) = plain {
            return Ok(plain);
        }
        let Some(scale) = name
            .strip_prefix("decimal(")
            .and_then(|rest| rest.strip_suffix(')'))
        else {
            return Err(TypeNameError::Unknown(name.to_owned()));
        };
        match scale.trim().parse::<u8>() {
            Ok(scale) if scale <= DECIMAL_DIGITS => Ok(Self::Decimal(scale)),
            _ => Err(TypeNameError::Scale(scale.to_owned())),
        }
    }
}

/// Name and type of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// unique within its schema
    pub name: String,
    /// what its values mean
    pub ty: DataType,
    /// whether a value may be missing
    pub nullable: bool,
}

impl Field {
    /// A column of this name and type.
    pub fn new(name: impl Into<String>, ty: DataType, nullable: bool) -> Self {
        Self {
            name: name.into(),
            ty,
            nullable,
        }
    }

    /// Name and type, for a definition that is compared: `customer_id: utf8 or null`.
    pub(crate) fn described(&self) -> String {
        let null = if self.nullable { " or null" } else { "" };
        format!("{}: {}{null}", self.name, self.ty)
    }
}

/// A name occurs twice in a schema.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("column `{0}` occurs twice")]
pub struct DuplicateColumn(pub String);

/// The columns of a stream, in order; names are unique. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    fields: Arc<[Field]>,
    arrow: arrow_schema::SchemaRef,
}

impl Schema {
    /// A schema of these columns.
    ///
    /// # Errors
    ///
    /// [`DuplicateColumn`] when two fields have the same name.
    pub fn new(fields: Vec<Field>) -> Result<Self, DuplicateColumn> {
        for (i, field) in fields.iter().enumerate() {
            if fields[..i].iter().any(|other| other.name == field.name) {
                return Err(DuplicateColumn(field.name.clone()));
            }
        }
        let arrow = fields
            .iter()
            .map(|f| arrow_schema::Field::new(&f.name, f.ty.to_arrow(), f.nullable))
            .collect::<Vec<_>>();
        Ok(Self {
            fields: fields.into(),
            arrow: Arc::new(arrow_schema::Schema::new(arrow)),
        })
    }

    /// The columns in order.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Where the column of this name stands.
    #[must_use]
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }

    /// The same as an Arrow schema.
    #[must_use]
    pub fn arrow(&self) -> &arrow_schema::SchemaRef {
        &self.arrow
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
    fn a_scale_over_eighteen_is_refused() {
        assert_eq!(
            "decimal(19)".parse::<DataType>(),
            Err(TypeNameError::Scale("19".into()))
        );
    }

    #[test]
    fn a_column_cannot_occur_twice() {
        let field = Field::new("a", DataType::Int64, false);
        assert_eq!(
            Schema::new(vec![field.clone(), field]),
            Err(DuplicateColumn("a".into()))
        );
    }
}
