//! Guest `mask`: hashes, redacts, shortens or empties columns.
//!
//! A masked column takes the place of the one that it was made of. `method` has what is done to a
//! value. A missing value stays missing, whatever the method.

mod method;

use std::collections::BTreeMap;
use std::io::Write;

use schemars::JsonSchema;
use serde::Deserialize;
use wasmill_guest::columns::find;
use wasmill_guest::{
    Batch, Changes, Column, ColumnTransform, DataType, Field, TransformContract, Values, VarBytes,
};

use method::{HASH_DIGITS, Hasher};

/// Bytes that a key has at least: fewer could be guessed.
const KEY_BYTES_MIN: usize = 16;

/// What becomes of which column.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// column = method
    columns: BTreeMap<String, Method>,
    /// the secret of all hashes, of 16 bytes or more: take it from the environment
    key: Option<String>,
}

/// What is done to the values of a column.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(tag = "method", rename_all = "lowercase", deny_unknown_fields)]
enum Method {
    /// the HMAC-SHA-256 of a text, of bytes or of an integer's digits, in hexadecimal; SHA-256 without
    /// a key
    Hash {
        /// hexadecimal digits that are kept: 1 to 64
        #[serde(default = "all_digits")]
        length: u8,
    },
    /// the same text for every value
    Redact {
        /// that text
        #[serde(default = "stars")]
        with: String,
    },
    /// the ends of a text
    Keep {
        /// characters at the beginning that stay
        #[serde(default)]
        first: u16,
        /// characters at the end that stay
        #[serde(default)]
        last: u16,
        /// what stands for those between them
        #[serde(default = "stars")]
        with: String,
    },
    /// no value
    Null {},
}

fn all_digits() -> u8 {
    HASH_DIGITS
}

fn stars() -> String {
    "***".to_owned()
}

/// The guest.
#[derive(Debug)]
pub struct Mask {
    stages: Vec<Stage>,
}

/// One masked column.
#[derive(Debug)]
struct Stage {
    mask: Applied,
    ty: DataType,
    /// the place of its values in the batch, where they are needed
    needs: Option<usize>,
}

/// A method that has been made ready.
#[derive(Debug)]
enum Applied {
    Hash(Hasher),
    Redact(String),
    Keep {
        first: usize,
        last: usize,
        with: String,
    },
    Null,
}

wasmill_guest::column_transform!(Mask);

impl ColumnTransform for Mask {
    type Config = Config;

    fn configure(input: &[Field], config: Config) -> Result<(Self, TransformContract), String> {
        let mut contract = TransformContract::default();
        let mut stages = Vec::new();
        let key = checked(config.key.as_ref())?;
        if config.columns.is_empty() {
            return Err("`columns` names no column to mask".to_owned());
        }
        for (name, method) in config.columns {
            let field = find(input, &name)?;
            let mask = applied(field, method, key)?;
            let (ty, nullable) = match mask {
                Applied::Null => (field.ty, true),
                _ => (DataType::Utf8, field.nullable),
            };
            // Whether a value is missing is in the column too.
            let is_needed = match mask {
                Applied::Null => false,
                Applied::Redact(_) => field.nullable,
                Applied::Hash(_) | Applied::Keep { .. } => true,
            };
            let needs = is_needed.then(|| {
                contract.needs.push(name.clone());
                contract.needs.len() - 1
            });
            contract.returns.push(Field { name, ty, nullable });
            stages.push(Stage {
                mask,
                ty: field.ty,
                needs,
            });
        }
        Ok((Self { stages }, contract))
    }

    fn apply(&self, mut input: Batch) -> Result<Changes, String> {
        let rows = input.rows as usize;
        let mut columns = Vec::with_capacity(self.stages.len());
        for stage in &self.stages {
            let column = match stage.needs {
                None => None,
                Some(index) => {
                    let column = input.columns.get_mut(index).ok_or_else(other_columns)?;
                    Some(std::mem::replace(
                        column,
                        Column::new(Values::Bools(Vec::new())),
                    ))
                }
            };
            columns.push(stage.apply(column, rows)?);
        }
        Ok(Changes {
            columns,
            ..Changes::default()
        })
    }
}

/// The key, checked wherever it is given: an empty one is more likely a variable that is not set.
fn checked(key: Option<&String>) -> Result<Option<&str>, String> {
    match key {
        Some(key) if key.len() < KEY_BYTES_MIN => Err(format!(
            "`key` has {} bytes, and takes {KEY_BYTES_MIN} at least: shorter ones can be guessed",
            key.len()
        )),
        key => Ok(key.map(String::as_str)),
    }
}

fn other_columns() -> String {
    "got other columns than configured".to_owned()
}

fn applied(field: &Field, method: Method, key: Option<&str>) -> Result<Applied, String> {
    let Field { name, ty, .. } = field;
    match method {
        Method::Hash { length } => {
            if !(1..=HASH_DIGITS).contains(&length) {
                return Err(format!(
                    "column `{name}`: the `length` of a hash is 1 to {HASH_DIGITS}, not {length}"
                ));
            }
            if !matches!(ty, DataType::Utf8 | DataType::Binary | DataType::Int64) {
                return Err(format!(
                    "column `{name}` is {ty}: only utf8, binary and int64 can be hashed (`project` \
                     casts others to utf8)"
                ));
            }
            Ok(Applied::Hash(Hasher::new(key, length)))
        }
        Method::Redact { with } => Ok(Applied::Redact(with)),
        Method::Keep { first, last, with } => {
            if *ty != DataType::Utf8 {
                return Err(format!(
                    "column `{name}` is {ty}: only utf8 has characters to keep"
                ));
            }
            Ok(Applied::Keep {
                first: first.into(),
                last: last.into(),
                with,
            })
        }
        Method::Null {} => Ok(Applied::Null),
    }
}

impl Stage {
    fn apply(&self, column: Option<Column>, rows: usize) -> Result<Column, String> {
        let (values, validity) = match column {
            None => (None, None),
            Some(Column { values, validity }) => (Some(values), validity),
        };
        let masked = match (&self.mask, values) {
            (Applied::Null, _) => {
                return Ok(Column {
                    values: nothing(self.ty, rows),
                    validity: Some(vec![0; rows]),
                });
            }
            (Applied::Redact(with), _) => {
                let mut texts = VarBytes::with_capacity(rows, rows * with.len());
                (0..rows).for_each(|_| texts.push(with.as_bytes()));
                texts
            }
            (Applied::Hash(hasher), Some(Values::Bytes(values))) => {
                let mut texts = VarBytes::with_capacity(rows, rows * usize::from(HASH_DIGITS));
                for row in 0..values.len() {
                    if is_present(validity.as_deref(), row) {
                        hasher.hash(values.get(row), &mut texts.bytes);
                    }
                    texts.push(&[]);
                }
                texts
            }
            (Applied::Hash(hasher), Some(Values::I64s(integers))) => {
                hash_integers(hasher, &integers)
            }
            (Applied::Keep { first, last, with }, Some(Values::Bytes(values))) => {
                let mut texts = VarBytes::with_capacity(rows, values.bytes.len());
                for row in 0..values.len() {
                    let text = std::str::from_utf8(values.get(row)).unwrap_or_default();
                    if is_present(validity.as_deref(), row) {
                        method::ends(text, *first, *last, with, &mut texts.bytes);
                    }
                    texts.push(&[]);
                }
                texts
            }
            _ => return Err(other_columns()),
        };
        Ok(Column {
            values: Values::Bytes(masked),
            validity,
        })
    }
}

/// Of the decimal digits, so that an integer and its text have the same hash.
fn hash_integers(hasher: &Hasher, integers: &[i64]) -> VarBytes {
    let mut texts =
        VarBytes::with_capacity(integers.len(), integers.len() * usize::from(HASH_DIGITS));
    let mut digits = Vec::new();
    for integer in integers {
        digits.clear();
        write!(digits, "{integer}").expect("writing to memory cannot fail");
        hasher.hash(&digits, &mut texts.bytes);
        texts.push(&[]);
    }
    texts
}

fn is_present(validity: Option<&[u8]>, row: usize) -> bool {
    validity.is_none_or(|validity| validity[row] != 0)
}

/// So many values that stand for nothing.
fn nothing(ty: DataType, rows: usize) -> Values {
    match ty {
        DataType::Boolean => Values::Bools(vec![0; rows]),
        DataType::Date => Values::I32s(vec![0; rows]),
        DataType::Int64 | DataType::Decimal(_) | DataType::Timestamp => Values::I64s(vec![0; rows]),
        DataType::Float64 => Values::F64s(vec![0.0; rows]),
        DataType::Utf8 | DataType::Binary => Values::Bytes(VarBytes {
            offsets: vec![0; rows + 1],
            bytes: Vec::new(),
        }),
    }
}

#[cfg(test)]
mod tests;
