//! Columns as the contract has them (`wit/data.wit`), in owned Rust types.
//!
//! The bindings of an exported guest are made over these very types, so a batch that crosses the
//! border is lifted into them and lowered from them without a copy in between.
//!
//! # Not here
//!
//! Rows as structs: see [`crate::Transform`] and [`crate::Aggregate`].

mod data_type;
mod find;

pub use data_type::{DataType, TypeNameError};
pub(crate) use find::wrong_type;
pub use find::{decimal_scale, find, text, typed};

/// Name and type of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// unique among the columns of its stream; upper and lower case differ
    pub name: String,
    /// what its values mean
    pub ty: DataType,
    /// whether a value may be missing
    pub nullable: bool,
}

impl Field {
    /// A column whose values are all there.
    #[must_use]
    pub fn new(name: impl Into<String>, ty: DataType) -> Self {
        Self {
            name: name.into(),
            ty,
            nullable: false,
        }
    }

    /// A column whose values may be missing.
    #[must_use]
    pub fn nullable(name: impl Into<String>, ty: DataType) -> Self {
        Self {
            name: name.into(),
            ty,
            nullable: true,
        }
    }
}

/// Values of variable length, back to back. Value `i` is `bytes[offsets[i] .. offsets[i + 1]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VarBytes {
    /// rows + 1 entries: the first is 0, none is less than the one before, the last is the length
    /// of `bytes`
    pub offsets: Vec<u32>,
    /// all values, in order, with nothing between them
    pub bytes: Vec<u8>,
}

impl VarBytes {
    /// No values, with room for so many of so many bytes together.
    #[must_use]
    pub fn with_capacity(rows: usize, bytes: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self {
            offsets,
            bytes: Vec::with_capacity(bytes),
        }
    }

    /// Appends a value.
    ///
    /// # Panics
    ///
    /// When all values together have more than 4 GiB, more than the memory of a guest.
    pub fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        let end = u32::try_from(self.bytes.len()).expect("a guest's memory is below 4 GiB");
        self.offsets.push(end);
    }

    /// Value `row`.
    ///
    /// # Panics
    ///
    /// When there is no such row, or the offsets are none.
    #[must_use]
    pub fn get(&self, row: usize) -> &[u8] {
        &self.bytes[self.offsets[row] as usize..self.offsets[row + 1] as usize]
    }

    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Default for VarBytes {
    fn default() -> Self {
        Self::with_capacity(0, 0)
    }
}

impl<V: AsRef<[u8]>> FromIterator<V> for VarBytes {
    fn from_iter<I: IntoIterator<Item = V>>(values: I) -> Self {
        let values = values.into_iter();
        let mut all = Self::with_capacity(values.size_hint().0, 0);
        values.for_each(|value| all.push(value.as_ref()));
        all
    }
}

/// How the values of a column lie, one entry a row; [`DataType`] says what they mean. What stands in
/// the place of a missing value has no meaning (but has to be there, and `offsets` hold).
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// `boolean`: one byte a row, 0 or 1
    Bools(Vec<u8>),
    /// `date`
    I32s(Vec<i32>),
    /// `int64`, `decimal` and `timestamp`
    I64s(Vec<i64>),
    /// `float64`
    F64s(Vec<f64>),
    /// `utf8` and `binary`; text is UTF-8 value by value
    Bytes(VarBytes),
}

impl Values {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Bools(values) => values.len(),
            Self::I32s(values) => values.len(),
            Self::I64s(values) => values.len(),
            Self::F64s(values) => values.len(),
            Self::Bytes(values) => values.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this is how values of the type lie.
    #[must_use]
    pub fn fit(&self, ty: DataType) -> bool {
        match self {
            Self::Bools(_) => ty == DataType::Boolean,
            Self::I32s(_) => ty == DataType::Date,
            Self::I64s(_) => matches!(
                ty,
                DataType::Int64 | DataType::Decimal(_) | DataType::Timestamp
            ),
            Self::F64s(_) => ty == DataType::Float64,
            Self::Bytes(_) => matches!(ty, DataType::Utf8 | DataType::Binary),
        }
    }
}

/// One column of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// the values, one a row
    pub values: Values,
    /// Which values are there: one byte a row, 1 = present, 0 = missing. `None`: all are present.
    /// Only a column whose field is `nullable` may have a missing value.
    pub validity: Option<Vec<u8>>,
}

impl Column {
    /// A column whose values are all there.
    #[must_use]
    pub fn new(values: Values) -> Self {
        Self {
            values,
            validity: None,
        }
    }

    /// Whether the value of a row is there.
    ///
    /// # Panics
    ///
    /// When `validity` has no such row.
    #[must_use]
    pub fn is_present(&self, row: usize) -> bool {
        self.validity
            .as_ref()
            .is_none_or(|validity| validity[row] != 0)
    }
}

/// Some rows of some columns. Which columns, and in which order, is settled by the contract that
/// `configure` returned; a batch does not repeat it.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// how many rows; each column has exactly as many
    pub rows: u32,
    /// the columns, in the order of their list of names or fields
    pub columns: Vec<Column>,
}

/// One input row that the guest cannot use. Its record goes to the dead letters, and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// index of the row in the input batch
    pub row: u32,
    /// what is wrong with it, for a person: name the column and the value
    pub reason: String,
}

/// What a guest says of itself. Shown to people; decides nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// a short name
    pub name: String,
    /// the guest's own version
    pub version: String,
    /// what it does, in a sentence or two
    pub about: String,
    /// a JSON Schema of the configuration
    pub config_schema: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_variable_length_lie_back_to_back() {
        let values: VarBytes = ["EUR", "", "é"].into_iter().collect();
        assert_eq!(values.offsets, [0, 3, 3, 5]);
        assert_eq!(values.get(2), "é".as_bytes());
        assert_eq!((values.len(), VarBytes::default().len()), (3, 0));
    }

    #[test]
    fn a_value_without_validity_is_there() {
        let mut column = Column::new(Values::I64s(vec![1, 2]));
        assert!(column.is_present(1));
        column.validity = Some(vec![1, 0]);
        assert!(column.is_present(0) && !column.is_present(1));
    }
}
