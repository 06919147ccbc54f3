//! What a table of a sink is filled from.
//!
//! # Not here
//!
//! The SQL that creates and fills it, and the comparison with the table that exists: those differ
//! from database to database, [`super::postgres`] and [`super::sqlite`] have them.

use thiserror::Error;

use super::projection::{ProjectionError, Projector};
use crate::config::{OnConflict, OnNewColumn, Table};
use crate::schema::{Field, Schema};

/// Bytes of an identifier: PostgreSQL cuts longer ones off without an error.
const IDENTIFIER_BYTES_MAX: usize = 63;

/// Why a stream cannot fill a table.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TableError {
    /// A column cannot be computed from the stream.
    #[error("table `{table}`: {source}")]
    Projection {
        /// the table
        table: String,
        /// why
        source: ProjectionError,
    },
    /// A key column is no column of the table.
    #[error("table `{table}` has no column `{column}` to be its key: there are {}", .known.join(", "))]
    KeyMissing {
        /// the table
        table: String,
        /// the name in `key`
        column: String,
        /// every column of the table, in order
        known: Vec<String>,
    },
    /// A key column may be null, and null is equal to nothing.
    #[error(
        "key column `{column}` of table `{table}` may be null: take another key, or a column without `nullable`"
    )]
    KeyNullable {
        /// the table
        table: String,
        /// the key column
        column: String,
    },
    /// A key column is named twice, or none is.
    #[error("the key of table `{0}` has to name its columns once each, at least one")]
    Key(String),
    /// A name that a database would not keep as it is.
    #[error(
        "`{0}` cannot be a name in a database: 1 to {IDENTIFIER_BYTES_MAX} bytes, a table perhaps after one schema and a point"
    )]
    Name(String),
}

/// A table and how a stream fills it.
#[derive(Debug, Clone)]
pub struct TableTarget {
    from: String,
    name: String,
    quoted: String,
    projector: Projector,
    key: Vec<usize>,
    on_conflict: OnConflict,
    on_new_column: OnNewColumn,
}

impl TableTarget {
    /// The table of `config`, filled from a stream with this schema.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the stream cannot fill it, or the key is none.
    pub fn new(config: &Table, stream: &Schema) -> Result<Self, TableError> {
        let table = || config.table.clone();
        let projector = Projector::new(stream, config.columns.as_deref()).map_err(|source| {
            TableError::Projection {
                table: table(),
                source,
            }
        })?;
        let fields = projector.schema().fields();
        if let Some(field) = fields.iter().find(|field| !is_identifier(&field.name)) {
            return Err(TableError::Name(field.name.clone()));
        }
        let mut key = Vec::with_capacity(config.key.len());
        for column in &config.key {
            let index =
                projector
                    .schema()
                    .index_of(column)
                    .ok_or_else(|| TableError::KeyMissing {
                        table: table(),
                        column: column.clone(),
                        known: fields.iter().map(|field| field.name.clone()).collect(),
                    })?;
            if fields[index].nullable {
                return Err(TableError::KeyNullable {
                    table: table(),
                    column: column.clone(),
                });
            }
            if key.contains(&index) {
                return Err(TableError::Key(table()));
            }
            key.push(index);
        }
        if key.is_empty() {
            return Err(TableError::Key(table()));
        }
        Ok(Self {
            from: config.from.clone(),
            name: table(),
            quoted: quote_table(&config.table)?,
            key,
            on_conflict: config.on_conflict,
            on_new_column: OnNewColumn::Refuse,
            projector,
        })
    }

    /// The same doing this where the table that exists lacks a column; unless it is said, such a table is
    /// refused.
    #[must_use]
    pub fn on_new_column(mut self, on_new_column: OnNewColumn) -> Self {
        self.on_new_column = on_new_column;
        self
    }

    /// Whether a column that the table lacks is added to it. One of the key is not: rows that are there
    /// have no value of it.
    pub(super) fn adds(&self, field: &Field) -> bool {
        let fields = self.schema().fields();
        let mut key = self.key.iter().map(|&index| &fields[index].name);
        self.on_new_column == OnNewColumn::Add && key.all(|name| *name != field.name)
    }

    /// The stream that fills it.
    #[must_use]
    pub fn from(&self) -> &str {
        &self.from
    }

    /// Its name, perhaps with a schema, as in `pipeline.toml`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its columns.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        self.projector.schema()
    }

    /// Indices of its key columns.
    #[must_use]
    pub fn key(&self) -> &[usize] {
        &self.key
    }

    /// What happens to a row whose key is already there.
    #[must_use]
    pub fn on_conflict(&self) -> OnConflict {
        self.on_conflict
    }

    /// For a person: that it gets this column.
    pub(super) fn addition(&self, column: &str) -> String {
        format!("table `{}` gets column `{column}`", self.name)
    }

    pub(super) fn projector(&self) -> &Projector {
        &self.projector
    }

    /// Its name as SQL, which is the same in all databases.
    pub(super) fn quoted(&self) -> &str {
        &self.quoted
    }

    /// The schema in its name as SQL, where the name has one.
    pub(super) fn quoted_schema(&self) -> Option<&str> {
        // No part of a name has a point.
        self.quoted.split_once('.').map(|(schema, _)| schema)
    }

    /// Its key columns as SQL, with commas.
    pub(super) fn quoted_key(&self) -> String {
        let fields = self.schema().fields();
        commas(self.key.iter().map(|&index| quote(&fields[index].name)))
    }

    /// What an INSERT does with a row whose key is already there, as SQL.
    pub(super) fn conflict_clause(&self) -> String {
        let fields = self.schema().fields().iter().enumerate();
        let others = fields.filter(|(index, _)| !self.key.contains(index));
        let updates: Vec<String> = others
            .map(|(_, field)| {
                let column = quote(&field.name);
                format!("{column} = EXCLUDED.{column}")
            })
            .collect();
        let action = match self.on_conflict {
            OnConflict::Update if !updates.is_empty() => {
                format!("UPDATE SET {}", updates.join(", "))
            }
            OnConflict::Update | OnConflict::Ignore => "NOTHING".to_owned(),
        };
        format!("ON CONFLICT ({}) DO {action}", self.quoted_key())
    }

    /// Its columns as SQL, with commas.
    pub(super) fn quoted_columns(&self) -> String {
        commas(
            self.schema()
                .fields()
                .iter()
                .map(|field| quote(&field.name)),
        )
    }
}

/// An identifier as SQL.
pub(crate) fn quote(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// A list as SQL.
pub(super) fn commas(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

fn is_identifier(name: &str) -> bool {
    (1..=IDENTIFIER_BYTES_MAX).contains(&name.len()) && !name.contains('\0')
}

/// The name of a table, perhaps after a schema, as SQL.
pub(super) fn quote_table(name: &str) -> Result<String, TableError> {
    let parts: Vec<&str> = name.split('.').collect();
    if parts.len() > 2 || !parts.iter().all(|part| is_identifier(part)) {
        return Err(TableError::Name(name.to_owned()));
    }
    Ok(parts.into_iter().map(quote).collect::<Vec<_>>().join("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{DataType, Field};

    fn stream() -> Schema {
        Schema::new(vec![
            Field::new("id", DataType::Utf8, false),
            Field::new("amount", DataType::Decimal(2), false),
            Field::new("Odd \"name\"", DataType::Timestamp, true),
        ])
        .unwrap()
    }

    fn table(name: &str, key: &[&str], on_conflict: OnConflict) -> Table {
        Table {
            from: "sales".into(),
            table: name.into(),
            key: key.iter().map(|&column| column.to_owned()).collect(),
            columns: None,
            on_conflict,
            span: 0..0,
        }
    }

    fn target(
        name: &str,
        key: &[&str],
        on_conflict: OnConflict,
    ) -> Result<TableTarget, TableError> {
        TableTarget::new(&table(name, key, on_conflict), &stream())
    }

    #[test]
    fn a_key_has_to_be_there_once_and_never_null() {
        let error = |key: &[&str]| {
            target("sales", key, OnConflict::Update)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            error(&["Odd \"name\""]),
            "key column `Odd \"name\"` of table `sales` may be null: \
             take another key, or a column without `nullable`"
        );
        assert_eq!(
            error(&["nope"]),
            "table `sales` has no column `nope` to be its key: there are id, amount, Odd \"name\""
        );
        let once = "the key of table `sales` has to name its columns once each, at least one";
        assert_eq!(error(&["id", "id"]), once);
        assert_eq!(error(&[]), once);
    }

    #[test]
    fn names_that_the_server_would_not_keep_are_refused() {
        for name in ["", "a.b.c", ".a", "a.", &"x".repeat(64), "a\0"] {
            assert_eq!(
                target(name, &["id"], OnConflict::Update).unwrap_err(),
                TableError::Name(name.to_owned())
            );
        }
    }
}
