//! One column while it is being filled, from which a value can be taken back.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal64Array, Float64Array, Int64Array,
    StringArray, TimestampMicrosecondArray,
};
use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};

use super::number::{Number, NumberError};
use super::scan::{chunk, plain, plain_length};
use super::short::Short;
use super::time;
use crate::schema::{DataType, Field};

/// Characters of a value that a reason quotes at most.
const QUOTED_MAX: usize = 40;

/// A column that grows by one value a record.
///
/// # Invariants
///
/// 1. A push that fails leaves the column as it was.
/// 2. What is pushed into a `utf8` column is UTF-8: a JSON string of a text that was checked as a whole,
///    from quote to quote or with its escapes replaced by characters, or a key that was checked.
pub(super) struct Column {
    ty: DataType,
    nullable: bool,
    values: Values,
    /// only where it is nullable
    nulls: NullBufferBuilder,
    len: usize,
}

/// Values in their Arrow layout; a null has a default value.
enum Values {
    Boolean(BooleanBufferBuilder),
    Int64(Vec<i64>),
    /// with its scale
    Decimal(Vec<i64>, u8),
    Timestamp(Vec<i64>),
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
            DataType::Int64 => Values::Int64(Vec::new()),
            DataType::Decimal(scale) => Values::Decimal(Vec::new(), scale),
            DataType::Timestamp => Values::Timestamp(Vec::new()),
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

    #[inline]
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
            Values::Int64(values) | Values::Decimal(values, _) | Values::Timestamp(values) => {
                values.reserve(additional);
            }
            Values::Date(values) => values.reserve(additional),
            Values::Float(values) => values.reserve(additional),
            Values::Bytes { bytes, offsets } => {
                bytes.reserve(text_bytes);
                offsets.reserve(additional);
            }
        }
    }

    /// Takes back what was pushed after the first `len` values.
    #[inline]
    pub(super) fn truncate(&mut self, len: usize) {
        if self.len <= len {
            return;
        }
        match &mut self.values {
            Values::Boolean(values) => values.truncate(len),
            Values::Int64(values) | Values::Decimal(values, _) | Values::Timestamp(values) => {
                values.truncate(len);
            }
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

    /// Reads the value that stands at this place of a text, if it is written as most values of this type
    /// are; where it ends, which is before `end`. Otherwise the column stays as it was.
    #[inline]
    pub(super) fn read_common(&mut self, text: &[u8], at: usize, end: usize) -> Option<usize> {
        let behind = match &mut self.values {
            Values::Bytes { bytes, offsets } => copy_plain(text, at, end, (bytes, offsets))?,
            Values::Decimal(values, scale) => {
                let number = Short::before(text, at, end)?;
                values.push(number.decimal(*scale)?);
                at + number.length
            }
            Values::Int64(values) => {
                let number = Short::before(text, at, end)?;
                values.push(number.integer()?);
                at + number.length
            }
            Values::Float(values) => {
                let number = Short::before(text, at, end)?;
                values.push(number.float());
                at + number.length
            }
            Values::Timestamp(values) => {
                let text = plain_text(text, at, end)?;
                values.push(time::timestamp(text).ok()?);
                at + text.len() + 2
            }
            Values::Boolean(_) | Values::Date(_) => return None,
        };
        self.pushed();
        Some(behind)
    }

    /// Pushes a JSON `true` or `false`.
    #[inline]
    pub(super) fn push_boolean(&mut self, value: bool) -> Result<(), String> {
        match &mut self.values {
            Values::Boolean(values) => values.append(value),
            _ => return Err(self.wrong_type("a boolean")),
        }
        self.pushed();
        Ok(())
    }

    /// Pushes a JSON number.
    #[inline]
    pub(super) fn push_number(&mut self, number: &Number<'_>) -> Result<(), String> {
        let ty = self.ty;
        let unfit = |error| unfit(ty, number.text, error);
        match &mut self.values {
            Values::Int64(values) => values.push(number.integer().map_err(unfit)?),
            Values::Decimal(values, scale) => {
                values.push(number.decimal(*scale).map_err(unfit)?);
            }
            Values::Timestamp(values) => {
                let micros = time::from_millis(number.integer().map_err(unfit)?);
                values.push(micros.map_err(|error| quoted(number.text, error))?);
            }
            Values::Float(values) => values.push(number.float().map_err(unfit)?),
            _ => return Err(self.wrong_type("a number")),
        }
        self.pushed();
        Ok(())
    }

    /// Pushes what a JSON string stands for: UTF-8.
    #[inline]
    pub(super) fn push_text(&mut self, text: &[u8]) -> Result<(), String> {
        let ty = self.ty;
        match &mut self.values {
            Values::Bytes { .. } => return self.push_bytes(text),
            Values::Decimal(values, scale) => {
                let unscaled = Number::whole_text(text).and_then(|number| number.decimal(*scale));
                values.push(unscaled.map_err(|error| unfit(ty, text, error))?);
            }
            Values::Timestamp(values) => {
                values.push(time::timestamp(text).map_err(|error| quoted(text, error))?);
            }
            Values::Date(values) => {
                values.push(time::date(text).map_err(|error| quoted(text, error))?);
            }
            _ => return Err(self.wrong_type("a string")),
        }
        self.pushed();
        Ok(())
    }

    /// Pushes bytes into a `binary` column, or UTF-8 into a `utf8` column.
    #[inline]
    pub(super) fn push_bytes(&mut self, value: &[u8]) -> Result<(), String> {
        let Values::Bytes { bytes, offsets } = &mut self.values else {
            return Err(self.wrong_type("bytes"));
        };
        let end = i32::try_from(bytes.len() + value.len())
            .map_err(|_| "the texts of a batch exceed 2 GiB".to_owned())?;
        bytes.extend_from_slice(value);
        offsets.push(end);
        self.pushed();
        Ok(())
    }

    /// Pushes a value that is in the column's layout already: an int64 or a timestamp.
    #[inline]
    pub(super) fn push_long(&mut self, value: i64) -> Result<(), String> {
        match &mut self.values {
            Values::Int64(values) | Values::Timestamp(values) => values.push(value),
            _ => return Err(self.wrong_type("an integer")),
        }
        self.pushed();
        Ok(())
    }

    /// Pushes a null; `absence` says what to call it where there must be a value.
    pub(super) fn push_null(&mut self, absence: &str) -> Result<(), String> {
        if !self.nullable {
            return Err(format!("a required value is {absence}"));
        }
        match &mut self.values {
            Values::Boolean(values) => values.append(false),
            Values::Int64(values) | Values::Decimal(values, _) | Values::Timestamp(values) => {
                values.push(0);
            }
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
            Values::Int64(values) => {
                let values = ScalarBuffer::from(std::mem::take(values));
                Arc::new(Int64Array::new(values, nulls))
            }
            Values::Decimal(values, _) => {
                let values = ScalarBuffer::from(std::mem::take(values));
                let array = Decimal64Array::new(values, nulls);
                Arc::new(array.with_data_type(self.ty.to_arrow()))
            }
            Values::Timestamp(values) => {
                let values = ScalarBuffer::from(std::mem::take(values));
                let array = TimestampMicrosecondArray::new(values, nulls);
                Arc::new(array.with_data_type(self.ty.to_arrow()))
            }
            Values::Bytes { bytes, offsets } => {
                let offsets = std::mem::replace(offsets, vec![0]);
                // They begin at 0 and never fall: every push appends the end of what it appended.
                let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
                let bytes = Buffer::from_vec(std::mem::take(bytes));
                if self.ty == DataType::Binary {
                    return Arc::new(BinaryArray::new(offsets, bytes, nulls));
                }
                debug_assert!(str::from_utf8(&bytes).is_ok(), "every text is UTF-8");
                // SAFETY: each value is UTF-8 by itself (the column's second invariant), the last offset
                // is where they end, and there is one bit for each value.
                Arc::new(unsafe { StringArray::new_unchecked(offsets, bytes, nulls) })
            }
        }
    }

    #[inline]
    fn pushed(&mut self) {
        if self.nullable {
            self.nulls.append_non_null();
        }
        self.len += 1;
    }

    /// The reason for a value of another type, which `found` names with its article.
    #[cold]
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

/// The text between the quote that stands at this place and the next one, if that is all there is to it.
#[inline]
fn plain_text(text: &[u8], at: usize, end: usize) -> Option<&[u8]> {
    let start = (text.get(at) == Some(&b'"')).then_some(at + 1)?;
    let length = plain_length(text, start);
    let behind = start + length + 1;
    (behind < end && text[behind - 1] == b'"').then(|| &text[start..behind - 1])
}

/// Appends the string whose opening quote stands at this place, if it has no escapes; where it ends.
#[inline]
fn copy_plain(
    text: &[u8],
    at: usize,
    end: usize,
    (bytes, offsets): (&mut Vec<u8>, &mut Vec<i32>),
) -> Option<usize> {
    let start = (text.get(at) == Some(&b'"')).then_some(at + 1)?;
    let before = bytes.len();
    let mut quote = start;
    while let Some(chunk) = chunk(text, quote) {
        // All of it, as that is one move: what is too much is taken back.
        bytes.extend_from_slice(chunk);
        let length = plain(chunk);
        quote += length;
        if length < chunk.len() {
            bytes.truncate(before + quote - start);
            if quote + 1 < end
                && text[quote] == b'"'
                && let Ok(length) = i32::try_from(bytes.len())
            {
                offsets.push(length);
                return Some(quote + 1);
            }
            break;
        }
    }
    bytes.truncate(before);
    None
}

#[cold]
fn unfit(ty: DataType, text: &[u8], error: NumberError) -> String {
    match error {
        NumberError::OutOfRange => quoted(text, format_args!("is out of range for {ty}")),
        error => quoted(text, error),
    }
}

/// A reason that begins with the value, shortened.
#[cold]
fn quoted(text: &[u8], reason: impl std::fmt::Display) -> String {
    let text = String::from_utf8_lossy(text);
    match text.char_indices().nth(QUOTED_MAX) {
        Some((end, _)) => format!("{:?}… {reason}", &text[..end]),
        None => format!("{text:?} {reason}"),
    }
}
