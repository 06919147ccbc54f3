//! A JSON object's fields, straight into columns.
//!
//! Uses `sonic-rs` through serde: seeds push each value as it is met, there is nothing in between.
//! Where the exact text matters (numbers) or may (timestamps), a field is read as a
//! [`LazyValue`], which is the text itself.
//!
//! # Invariants
//!
//! 1. A value that a column cannot take is noted as a [`Fault`] and reading goes on: whether the
//!    text is JSON at all is always found out, and a field that occurs again replaces the first one,
//!    as it does in `serde_json`.
//! 2. Nothing here calls itself deeper than [`super::screen::NESTING_MAX`] and the declared paths.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use sonic_rs::LazyValue;

use super::column::Column;
use crate::schema::DataType;

/// A value that its column cannot take.
#[derive(Debug)]
pub(super) struct Fault {
    /// index of the column
    pub(super) column: usize,
    /// what is wrong, for a person
    pub(super) reason: String,
}

/// The columns of the record that is being read.
pub(super) struct Row<'a> {
    /// all columns; those of JSON fields have `index` or `index + 1` values
    pub(super) columns: &'a mut [Column],
    /// what was found wrong with the record so far
    pub(super) faults: &'a mut Vec<Fault>,
    /// how many rows are complete
    pub(super) index: usize,
}

/// Which fields of an object are wanted, in the order of the columns.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<Wanted>);

/// A field that is wanted.
#[derive(Debug)]
struct Wanted {
    name: String,
    /// columns that take its value
    columns: Vec<usize>,
    /// fields of the object that it is
    inside: Fields,
    /// `columns`, and all columns of `inside`
    all: Vec<usize>,
}

impl Fields {
    /// Adds the field of this path, which is not empty, for a column.
    pub(super) fn want(&mut self, path: &[String], column: usize) {
        let Some((name, rest)) = path.split_first() else {
            return;
        };
        let at = self.0.iter().position(|wanted| wanted.name == *name);
        let at = at.unwrap_or_else(|| {
            self.0.push(Wanted {
                name: name.clone(),
                columns: Vec::new(),
                inside: Self::default(),
                all: Vec::new(),
            });
            self.0.len() - 1
        });
        let wanted = &mut self.0[at];
        wanted.all.push(column);
        if rest.is_empty() {
            wanted.columns.push(column);
        } else {
            wanted.inside.want(rest, column);
        }
    }

    /// Reads the fields of the object that `text` is. Columns of fields that are not there stay as
    /// they are.
    ///
    /// # Errors
    ///
    /// When it is not JSON, or not an object. Columns then hold what was read before.
    pub(super) fn read(&self, text: &str, row: &mut Row<'_>) -> sonic_rs::Result<()> {
        let mut deserializer = sonic_rs::Deserializer::from_str(text);
        deserializer.deserialize_map(ObjectVisitor { fields: self, row })?;
        deserializer.end()
    }

    /// Where the field of this name stands. Producers write fields in one order, and columns are
    /// mostly declared in it too: so it is first looked for where it is `expected`.
    fn find(&self, name: &str, expected: usize) -> Option<usize> {
        match self.0.get(expected) {
            Some(wanted) if wanted.name == name => Some(expected),
            _ => self.0.iter().position(|wanted| wanted.name == name),
        }
    }
}

struct ObjectVisitor<'f, 'r, 'a> {
    fields: &'f Fields,
    row: &'r mut Row<'a>,
}

impl<'de> Visitor<'de> for ObjectVisitor<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut expected = 0;
        while let Some(found) = map.next_key_seed(NameSeed(self.fields, expected))? {
            let Some(at) = found else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            expected = at + 1;
            map.next_value_seed(FieldSeed(&self.fields.0[at], self.row))?;
        }
        Ok(())
    }
}

/// Reads a field's name: where it stands among the wanted ones.
struct NameSeed<'f>(&'f Fields, usize);

impl<'de> DeserializeSeed<'de> for NameSeed<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for NameSeed<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.find(name, self.1))
    }
}

/// Reads the value of a wanted field.
struct FieldSeed<'f, 'r, 'a>(&'f Wanted, &'r mut Row<'a>);

impl<'de> DeserializeSeed<'de> for FieldSeed<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Self(wanted, row) = self;
        for &column in &wanted.all {
            row.forget(column);
        }
        match wanted.all[..] {
            [column] if wanted.inside.0.is_empty() => row.read_into(column, deserializer),
            _ => {
                let value = LazyValue::deserialize(deserializer)?;
                row.read_branch(wanted, value.as_raw_str());
                Ok(())
            }
        }
    }
}

impl Row<'_> {
    /// Takes back the column's value of this record, if the field was met before.
    fn forget(&mut self, column: usize) {
        self.columns[column].truncate(self.index);
        if !self.faults.is_empty() {
            self.faults.retain(|fault| fault.column != column);
        }
    }

    fn note(&mut self, column: usize, result: Result<(), String>) {
        if let Err(reason) = result {
            self.faults.push(Fault { column, reason });
        }
    }

    /// Reads one value into one column.
    fn read_into<'de, D: Deserializer<'de>>(
        &mut self,
        column: usize,
        deserializer: D,
    ) -> Result<(), D::Error> {
        let result = match self.columns[column].ty() {
            DataType::Boolean | DataType::Utf8 | DataType::Binary => {
                deserializer.deserialize_any(ValueVisitor(&mut self.columns[column]))?
            }
            _ => {
                let value = LazyValue::deserialize(deserializer)?;
                push_raw(&mut self.columns[column], value.as_raw_str())
            }
        };
        self.note(column, result);
        Ok(())
    }

    /// Reads one value, given as its text, into several columns or the columns of its fields.
    fn read_branch(&mut self, wanted: &Wanted, text: &str) {
        for &column in &wanted.columns {
            let mut deserializer = sonic_rs::Deserializer::from_str(text);
            if let Err(error) = self.read_into(column, &mut deserializer) {
                self.note(column, Err(super::not_json(&error)));
            }
        }
        let below = wanted.all.iter().filter(|at| !wanted.columns.contains(at));
        match text.as_bytes() {
            // Not there for all that is in it, which is found out at the end of the record.
            [b'n', ..] => {}
            [b'{', ..] => {
                if let Err(error) = wanted.inside.read(text, self) {
                    for &column in below {
                        self.note(column, Err(super::not_json(&error)));
                    }
                }
            }
            _ => {
                for &column in below {
                    let found = super::kind(text);
                    self.note(
                        column,
                        Err(format!(
                            "expected `{}` to be an object, found {found}",
                            wanted.name
                        )),
                    );
                }
            }
        }
    }
}

/// Pushes a value that is given as its JSON text.
fn push_raw(column: &mut Column, text: &str) -> Result<(), String> {
    match text.as_bytes() {
        [b'"', inner @ .., b'"'] if !inner.contains(&b'\\') => {
            column.push_text(&text[1..text.len() - 1])
        }
        [b'-' | b'0'..=b'9', ..] => column.push_number(text),
        // Rare: null, other types, strings with escapes.
        _ => match sonic_rs::Deserializer::from_str(text).deserialize_any(ValueVisitor(column)) {
            Ok(result) => result,
            Err(error) => Err(super::not_json(&error)),
        },
    }
}

/// Pushes any value but numbers. Its own value is what the column said.
struct ValueVisitor<'c>(&'c mut Column);

impl<'de> Visitor<'de> for ValueVisitor<'_> {
    type Value = Result<(), String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(self.0.push_text(text))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(self.0.push_boolean(value))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(self.0.push_null("null"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Err(self.0.wrong_type("a number")))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Err(self.0.wrong_type("a number")))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Err(self.0.wrong_type("a number")))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Err(self.0.wrong_type("an array")))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Err(self.0.wrong_type("an object")))
    }
}
