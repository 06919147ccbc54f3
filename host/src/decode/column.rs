//! One column while it is being filled, from which a value can be taken back.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal64Array, Float64Array, Int64Array,
    StringArray, TimestampMicrosecondArray,
};
use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};

use super::{number, time};
use crate::schema::{DataType, Field};

/// Characters of a value that a reason quotes at most.
const QUOTED_MAX: usize = 40;

/// A column that grows by one value a record.
///
/// # Invariants
///
/// A push that fails leaves the column as it was.
pub(super) struct Column {
    ty: DataType,
    nullable: bool,
    values: Values,
    nulls: NullBufferBuilder,
    len: usize,
}

/// Values in their Arrow layout; a null has a default value.
enum Values {
    Boolean(BooleanBufferBuilder),
    /// int64, decimal, timestamp
    Long(Vec<i64>),
    Date(Vec<i32>),
    Float(Vec<f64>),
    /// utf8, binary
    Bytes {
        bytes: Vec<u8>,
        /// where each value begins, and where the last one ends
        offsets: Vec<i32>,
    },
}

impl Column {
    pub(super) fn new(field: &Field) -> Self {
        let values = match field.ty {
            DataType::Boolean => Values::Boolean(BooleanBufferBuilder::new(0)),
            DataType::Int64 | DataType::Decimal(_) | DataType::Timestamp => {
                Values::Long(Vec::new())
            }
            DataType::Date => Values::Date(Vec::new()),
            DataType::Float64 => Values::Float(Vec::new()),
            DataType::Utf8 | DataType::Binary => Values::Bytes {
                bytes: Vec::new(),
                offsets: vec![0],
            },
        };
        Self {
            ty: field.ty,
            nullable: field.nullable,
            values,
            nulls: NullBufferBuilder::new(0),
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn ty(&self) -> DataType {
        self.ty
    }

    /// Makes room for so many values. `bytes` are those of texts.
    pub(super) fn reserve(&mut self, additional: usize, text_bytes: usize) {
        match &mut self.values {
            Values::Boolean(values) => values.reserve(additional),
            Values::Long(values) => values.reserve(additional),
            Values::Date(values) => values.reserve(additional),
            Values::Float(values) => values.reserve(additional),
            Values::Bytes { bytes, offsets } => {
                bytes.reserve(text_bytes);
                offsets.reserve(additional);
            }
        }
    }

    /// Takes back what was pushed after the first `len` values.
    pub(super) fn truncate(&mut self, len: usize) {
        if self.len <= len {
            return;
        }
        match &mut self.values {
            Values::Boolean(values) => values.truncate(len),
            Values::Long(values) => values.truncate(len),
            Values::Date(values) => values.truncate(len),
            Values::Float(values) => values.truncate(len),
            Values::Bytes { bytes, offsets } => {
                offsets.truncate(len + 1);
                bytes.truncate(offsets[len] as usize);
            }
        }
        self.nulls.truncate(len);
        self.len = len;
    }

    /// Pushes a JSON `true` or `false`.
    pub(super) fn push_boolean(&mut self, value: bool) -> Result<(), String> {
        match &mut self.values {
            Values::Boolean(values) => values.append(value),
            _ => return Err(self.wrong_type("a boolean")),
        }
        self.pushed()
    }

    /// Pushes a number, given as its JSON text.
    pub(super) fn push_number(&mut self, text: &str) -> Result<(), String> {
        let ty = self.ty;
        let unfit = |error| unfit(ty, text, error);
        match (ty, &mut self.values) {
            (DataType::Int64, Values::Long(values)) => {
                values.push(number::integer(text).map_err(unfit)?);
            }
            (DataType::Decimal(scale), Values::Long(values)) => {
                values.push(number::decimal(text, scale).map_err(unfit)?);
            }
            (DataType::Timestamp, Values::Long(values)) => {
                let millis = number::integer(text).map_err(unfit)?;
                let micros = time::from_millis(millis).map_err(|error| quoted(text, error))?;
                values.push(micros);
            }
            (DataType::Float64, Values::Float(values)) => {
                values.push(number::float(text).map_err(unfit)?);
            }
            _ => return Err(self.wrong_type("a number")),
        }
        self.pushed()
    }

    /// Pushes what stands in a JSON string.
    pub(super) fn push_text(&mut self, text: &str) -> Result<(), String> {
        match (self.ty, &mut self.values) {
            (DataType::Utf8 | DataType::Binary, Values::Bytes { .. }) => {
                return self.push_bytes(text.as_bytes());
            }
            (DataType::Decimal(scale), Values::Long(values)) => {
                let unfit = |error| unfit(self.ty, text, error);
                values.push(number::decimal(text, scale).map_err(unfit)?);
            }
            (DataType::Timestamp, Values::Long(values)) => {
                values.push(time::timestamp(text).map_err(|error| quoted(text, error))?);
            }
            (DataType::Date, Values::Date(values)) => {
                values.push(time::date(text).map_err(|error| quoted(text, error))?);
            }
            _ => return Err(self.wrong_type("a string")),
        }
        self.pushed()
    }

    /// Pushes bytes into a `binary` column, or UTF-8 into a `utf8` column.
    pub(super) fn push_bytes(&mut self, value: &[u8]) -> Result<(), String> {
        let Values::Bytes { bytes, offsets } = &mut self.values else {
            return Err(self.wrong_type("bytes"));
        };
        let end = i32::try_from(bytes.len() + value.len())
            .map_err(|_| "the texts of a batch exceed 2 GiB".to_owned())?;
        bytes.extend_from_slice(value);
        offsets.push(end);
        self.pushed()
    }

    /// Pushes a value that is in the column's layout already: an int64 or a timestamp.
    pub(super) fn push_long(&mut self, value: i64) -> Result<(), String> {
        match &mut self.values {
            Values::Long(values) => values.push(value),
            _ => return Err(self.wrong_type("an integer")),
        }
        self.pushed()
    }

    /// Pushes a null; `absence` says what to call it where there must be a value.
    pub(super) fn push_null(&mut self, absence: &str) -> Result<(), String> {
        if !self.nullable {
            return Err(format!("a required value is {absence}"));
        }
        match &mut self.values {
            Values::Boolean(values) => values.append(false),
            Values::Long(values) => values.push(0),
            Values::Date(values) => values.push(0),
            Values::Float(values) => values.push(0.0),
            Values::Bytes { bytes, offsets } => offsets.push(bytes.len() as i32),
        }
        self.nulls.append_null();
        self.len += 1;
        Ok(())
    }

    /// The values so far as an Arrow array; the column is empty then.
    pub(super) fn finish(&mut self) -> ArrayRef {
        let nulls = self.nulls.finish();
        self.len = 0;
        match &mut self.values {
            Values::Boolean(values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Values::Date(values) => {
                let values = ScalarBuffer::from(std::mem::take(values));
                Arc::new(Date32Array::new(values, nulls))
            }
            Values::Float(values) => {
                let values = ScalarBuffer::from(std::mem::take(values));
                Arc::new(Float64Array::new(values, nulls))
            }
            Values::Long(values) => {
                let values = ScalarBuffer::from(std::mem::take(values));
                match self.ty {
                    DataType::Decimal(_) => Arc::new(
                        Decimal64Array::new(values, nulls).with_data_type(self.ty.to_arrow()),
                    ),
                    DataType::Timestamp => Arc::new(
                        TimestampMicrosecondArray::new(values, nulls)
                            .with_data_type(self.ty.to_arrow()),
                    ),
                    _ => Arc::new(Int64Array::new(values, nulls)),
                }
            }
            Values::Bytes { bytes, offsets } => {
                let offsets = std::mem::replace(offsets, vec![0]);
                // They begin at 0 and never fall: every push appends the end of what it appended.
                let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
                let bytes = Buffer::from_vec(std::mem::take(bytes));
                match self.ty {
                    DataType::Binary => Arc::new(BinaryArray::new(offsets, bytes, nulls)),
                    _ => Arc::new(StringArray::new(offsets, bytes, nulls)),
                }
            }
        }
    }

    fn pushed(&mut self) -> Result<(), String> {
        self.nulls.append_non_null();
        self.len += 1;
        Ok(())
    }

    /// The reason for a value of another type, which `found` names with its article.
    pub(super) fn wrong_type(&self, found: &str) -> String {
        let expected = match self.ty {
            DataType::Boolean => "a boolean",
            DataType::Int64 => "an integer",
            DataType::Float64 => "a number",
            DataType::Decimal(_) => "a number, or a string with a number",
            DataType::Utf8 | DataType::Binary => "a string",
            DataType::Timestamp => "a timestamp as a string, or as milliseconds since 1970",
            DataType::Date => "a date as a string",
        };
        format!("expected {expected}, found {found}")
    }
}

fn unfit(ty: DataType, text: &str, error: number::NumberError) -> String {
    match error {
        number::NumberError::OutOfRange => quoted(text, format_args!("is out of range for {ty}")),
        error => quoted(text, error),
    }
}

/// A reason that begins with the value, shortened.
fn quoted(text: &str, reason: impl std::fmt::Display) -> String {
    match text.char_indices().nth(QUOTED_MAX) {
        Some((end, _)) => format!("{:?}… {reason}", &text[..end]),
        None => format!("{text:?} {reason}"),
    }
}
