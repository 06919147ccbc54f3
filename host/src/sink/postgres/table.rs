//! What a table of the sink is filled from, and the statements that create and fill it.
//!
//! # Not here
//!
//! Comparing it with the table that exists: [`super::catalog`].

use thiserror::Error;

use crate::config::{OnConflict, Table};
use crate::schema::{DataType, Schema};
use crate::sink::projection::{ProjectionError, Projector};

/// Bytes of an identifier that PostgreSQL keeps; longer ones it cuts off without an error.
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
    /// A name that PostgreSQL would not keep as it is.
    #[error(
        "`{0}` cannot be a name in PostgreSQL: 1 to {IDENTIFIER_BYTES_MAX} bytes, a table perhaps after one schema and a point"
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
            projector,
        })
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

    pub(super) fn projector(&self) -> &Projector {
        &self.projector
    }

    /// Its name as SQL.
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

    pub(super) fn create_sql(&self) -> String {
        let columns = self.schema().fields().iter().map(|field| {
            let null = if field.nullable { "" } else { " NOT NULL" };
            format!("{} {}{null}", quote(&field.name), type_name(field.ty))
        });
        format!(
            "CREATE TABLE {} ({}, PRIMARY KEY ({}))",
            self.quoted,
            commas(columns),
            self.quoted_key()
        )
    }

    /// Rows are copied into a temporary table without constraints, because COPY itself knows no
    /// ON CONFLICT.
    pub(super) fn create_stage_sql(&self, stage: &str) -> String {
        let columns = self
            .schema()
            .fields()
            .iter()
            .map(|field| format!("{} {}", quote(&field.name), type_name(field.ty)));
        create_stage_sql(stage, &commas(columns))
    }

    pub(super) fn copy_sql(&self, stage: &str) -> String {
        copy_sql(stage, &self.quoted_columns())
    }

    pub(super) fn upsert_sql(&self, stage: &str) -> String {
        let updates: Vec<String> = self
            .schema()
            .fields()
            .iter()
            .enumerate()
            .filter(|(index, _)| !self.key.contains(index))
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
        format!(
            "INSERT INTO {} ({columns}) SELECT {columns} FROM pg_temp.{stage} ON CONFLICT ({}) DO {action}",
            self.quoted,
            self.quoted_key(),
            columns = self.quoted_columns(),
        )
    }

    fn quoted_columns(&self) -> String {
        commas(
            self.schema()
                .fields()
                .iter()
                .map(|field| quote(&field.name)),
        )
    }
}

/// What PostgreSQL calls a type.
pub(super) fn type_name(ty: DataType) -> &'static str {
    match ty {
        DataType::Boolean => "boolean",
        DataType::Int64 => "bigint",
        DataType::Float64 => "double precision",
        DataType::Decimal(_) => "numeric",
        DataType::Utf8 => "text",
        DataType::Binary => "bytea",
        DataType::Timestamp => "timestamp with time zone",
        DataType::Date => "date",
    }
}

/// An identifier as SQL.
pub(super) fn quote(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

pub(super) fn create_stage_sql(stage: &str, columns: &str) -> String {
    format!("CREATE TEMPORARY TABLE pg_temp.{stage} ({columns}) ON COMMIT DELETE ROWS")
}

pub(super) fn copy_sql(stage: &str, columns: &str) -> String {
    format!("COPY pg_temp.{stage} ({columns}) FROM STDIN (FORMAT binary)")
}

fn commas(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

fn is_identifier(name: &str) -> bool {
    (1..=IDENTIFIER_BYTES_MAX).contains(&name.len()) && !name.contains('\0')
}

fn quote_table(name: &str) -> Result<String, TableError> {
    let parts: Vec<&str> = name.split('.').collect();
    if parts.len() > 2 || !parts.iter().all(|part| is_identifier(part)) {
        return Err(TableError::Name(name.to_owned()));
    }
    Ok(parts.into_iter().map(quote).collect::<Vec<_>>().join("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Field;

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
    fn identifiers_are_quoted_in_every_statement() {
        let target = target("shop.sales", &["id"], OnConflict::Update).unwrap();
        assert_eq!(
            target.create_sql(),
            r#"CREATE TABLE "shop"."sales" ("id" text NOT NULL, "amount" numeric NOT NULL, "Odd ""name""" timestamp with time zone, PRIMARY KEY ("id"))"#
        );
        assert_eq!(
            target.create_stage_sql("s"),
            r#"CREATE TEMPORARY TABLE pg_temp.s ("id" text, "amount" numeric, "Odd ""name""" timestamp with time zone) ON COMMIT DELETE ROWS"#
        );
        assert_eq!(
            target.copy_sql("s"),
            r#"COPY pg_temp.s ("id", "amount", "Odd ""name""") FROM STDIN (FORMAT binary)"#
        );
        assert_eq!(
            target.upsert_sql("s"),
            r#"INSERT INTO "shop"."sales" ("id", "amount", "Odd ""name""") SELECT "id", "amount", "Odd ""name""" FROM pg_temp.s ON CONFLICT ("id") DO UPDATE SET "amount" = EXCLUDED."amount", "Odd ""name""" = EXCLUDED."Odd ""name""""#
        );
    }

    #[test]
    fn a_conflict_does_nothing_where_it_is_ignored_or_all_columns_are_key() {
        let ignoring = target("sales", &["id"], OnConflict::Ignore).unwrap();
        assert!(
            ignoring
                .upsert_sql("s")
                .ends_with(r#"ON CONFLICT ("id") DO NOTHING"#)
        );
        let mut all = stream().fields().to_vec();
        all.truncate(2);
        let whole_key = TableTarget::new(
            &table("sales", &["amount", "id"], OnConflict::Update),
            &Schema::new(all).unwrap(),
        )
        .unwrap();
        assert!(
            whole_key
                .upsert_sql("s")
                .ends_with(r#"ON CONFLICT ("amount", "id") DO NOTHING"#)
        );
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
