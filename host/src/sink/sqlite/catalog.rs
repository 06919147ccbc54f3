//! What exists in the file, compared with what is needed.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Row};

use super::failure::Failure;
use super::table::{FileTable, MARK, type_name};
use crate::schema::DataType;
use crate::sink::table::quote;

const FIND: &str = "\
    SELECT type, coalesce(sql, '') FROM sqlite_schema
    WHERE name = ?1 COLLATE NOCASE AND type IN ('table', 'view')";

/// `hidden` is 2 or 3 for a column that SQLite computes.
const COLUMNS: &str = "\
    SELECT name, type, \"notnull\", dflt_value IS NOT NULL, hidden > 1, pk
    FROM pragma_table_xinfo(?1) WHERE hidden <> 1";

/// Unique indices that ON CONFLICT can rely on: a partial one does not count.
const UNIQUE_INDICES: &str = "\
    SELECT name FROM pragma_index_list(?1) WHERE \"unique\" AND NOT partial";

/// Null for an expression.
const INDEX_COLUMNS: &str = "SELECT name FROM pragma_index_info(?1)";

/// Something of a name.
#[derive(Debug)]
pub(super) enum Existing {
    Table(Shape),
    /// the statement that made it
    View(String),
}

/// A table that exists.
#[derive(Debug)]
pub(super) struct Shape {
    columns: Vec<Column>,
    unique_keys: Vec<BTreeSet<String>>,
}

#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are what SQLite says of a column, one by one"
)]
struct Column {
    name: String,
    ty: String,
    not_null: bool,
    has_default: bool,
    computed: bool,
    in_primary_key: bool,
}

impl Column {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            name: row.get(0)?,
            ty: row.get(1)?,
            not_null: row.get(2)?,
            has_default: row.get(3)?,
            computed: row.get(4)?,
            in_primary_key: row.get::<_, i64>(5)? > 0,
        })
    }
}

impl Existing {
    /// Which of these columns it does not have.
    pub(super) fn lacks<'a>(&self, columns: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
        let has = |column: &str| match self {
            Self::Table(shape) => shape.columns.iter().any(|c| c.name == column),
            Self::View(_) => false,
        };
        columns.iter().copied().filter(move |column| !has(column))
    }

    /// What is called so, if anything is.
    pub(super) fn find(connection: &Connection, name: &str) -> Result<Option<Self>, Failure> {
        let failed = || Failure::to(format!("look up table {name}"));
        let found = connection
            .query_row(FIND, [name], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
            })
            .optional()
            .map_err(failed())?;
        match found {
            None => Ok(None),
            Some((kind, sql)) if kind == "view" => Ok(Some(Self::View(sql))),
            Some(_) => {
                let shape = Shape::read(connection, name).map_err(failed())?;
                Ok(Some(Self::Table(shape)))
            }
        }
    }

    /// The columns that this has to get before `table` is written to it: a name and the SQL that adds it
    /// each. They may be null, since the rows that are there have no value.
    pub(super) fn additions(&self, table: &FileTable) -> Vec<(String, String)> {
        let Self::Table(shape) = self else {
            return Vec::new();
        };
        let target = table.target();
        let fields = target.schema().fields().iter();
        let missing =
            fields.filter(|field| target.adds(field) && shape.find(&field.name).is_none());
        missing
            .map(|field| {
                let (column, ty) = (quote(&field.name), type_name(field.ty));
                let table = quote(table.base());
                let sql = format!("ALTER TABLE {table} ADD COLUMN {column} {ty}");
                (field.name.clone(), sql)
            })
            .collect()
    }

    /// Every reason why this cannot be the base of `table`.
    pub(super) fn base_differences(&self, table: &FileTable) -> Vec<String> {
        match self {
            Self::Table(shape) => shape.differences(table),
            Self::View(_) => vec![format!("`{}` is a view", table.base())],
        }
    }

    /// Why this, which has the name of the view of `table`, cannot be replaced by it.
    pub(super) fn view_difference(&self, table: &FileTable) -> Option<String> {
        let name = table.name();
        match self {
            Self::View(sql) if sql.contains(MARK) => None,
            Self::View(_) => Some(format!(
                "there is a view `{name}` that somebody else made, where wasmill's would be: DROP VIEW {}",
                quote(name)
            )),
            Self::Table(_) => Some(format!(
                "`{name}` is a table, where a view over `{}` would be: rename it",
                table.base()
            )),
        }
    }
}

impl Shape {
    fn read(connection: &Connection, name: &str) -> rusqlite::Result<Self> {
        let columns: Vec<Column> = connection
            .prepare(COLUMNS)?
            .query_map([name], Column::read)?
            .collect::<Result<_, _>>()?;
        let primary: BTreeSet<String> = columns
            .iter()
            .filter(|column| column.in_primary_key)
            .map(|column| column.name.to_ascii_lowercase())
            .collect();
        let mut unique_keys: Vec<BTreeSet<String>> = Vec::new();
        let mut indices = connection.prepare(UNIQUE_INDICES)?;
        let indices = indices.query_map([name], |row| row.get::<_, String>(0))?;
        for index in indices {
            let columns: Vec<Option<String>> = connection
                .prepare(INDEX_COLUMNS)?
                .query_map([index?], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            let columns: Option<BTreeSet<String>> = columns
                .into_iter()
                .map(|name| name.map(|name| name.to_ascii_lowercase()))
                .collect();
            unique_keys.extend(columns);
        }
        // A key of one integer is the table itself and has no index.
        if !primary.is_empty() && !unique_keys.contains(&primary) {
            unique_keys.push(primary);
        }
        Ok(Self {
            columns,
            unique_keys,
        })
    }

    fn find(&self, name: &str) -> Option<&Column> {
        let mut columns = self.columns.iter();
        columns.find(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// Every reason why `table` cannot be written here. SQLite cannot change a column's type.
    fn differences(&self, table: &FileTable) -> Vec<String> {
        let base = quote(table.base());
        let mut found = Vec::new();
        for field in table.target().schema().fields() {
            let (name, ty) = (&field.name, type_name(field.ty));
            let Some(existing) = self.find(name) else {
                if table.target().adds(field) {
                    continue;
                }
                let mend = if field.nullable {
                    format!(": ALTER TABLE {base} ADD COLUMN {} {ty}", quote(name))
                } else {
                    String::new()
                };
                found.push(format!("column `{name}` is missing{mend}"));
                continue;
            };
            if existing.computed {
                found.push(format!(
                    "column `{name}` is computed by SQLite: map the stream's column to another name in `columns`"
                ));
            }
            if !holds(&existing.ty, field.ty) {
                found.push(format!(
                    "column `{name}` is {}, but has to be {ty} ({})",
                    existing.ty, field.ty
                ));
            }
            if existing.not_null && field.nullable {
                found.push(format!(
                    "column `{name}` is NOT NULL, but the stream's value may be null"
                ));
            }
        }
        for extra in &self.columns {
            let needed = extra.not_null && !extra.has_default && !extra.computed;
            let fields = table.target().schema().fields();
            if needed
                && !fields
                    .iter()
                    .any(|f| f.name.eq_ignore_ascii_case(&extra.name))
            {
                found.push(format!(
                    "column `{}` is NOT NULL without a default, and nothing fills it",
                    extra.name
                ));
            }
        }
        found.extend(self.key_difference(table));
        found
    }

    fn key_difference(&self, table: &FileTable) -> Option<String> {
        let target = table.target();
        let fields = target.schema().fields();
        let key: BTreeSet<String> = target
            .key()
            .iter()
            .map(|&index| fields[index].name.to_ascii_lowercase())
            .collect();
        if self.unique_keys.contains(&key) {
            return None;
        }
        let list = |key: &BTreeSet<String>| {
            let names: Vec<&str> = key.iter().map(String::as_str).collect();
            format!("({})", names.join(", "))
        };
        let existing = if self.unique_keys.is_empty() {
            "there is none".to_owned()
        } else {
            let keys: Vec<String> = self.unique_keys.iter().map(list).collect();
            format!("there is one on {}", keys.join(" and on "))
        };
        Some(format!(
            "no primary key or unique index is on exactly {} ({existing}): CREATE UNIQUE INDEX {} ON {} ({})",
            list(&key),
            quote(&format!("{}_key", table.base())),
            quote(table.base()),
            target.quoted_key()
        ))
    }
}

/// Whether a column that was declared so keeps values of `ty` as they are: by its affinity, as
/// SQLite's documentation determines it ("Datatypes In SQLite", 3.1).
fn holds(declared: &str, ty: DataType) -> bool {
    let declared = declared.to_ascii_uppercase();
    let has = |parts: &[&str]| parts.iter().any(|part| declared.contains(part));
    let affinity = if has(&["INT"]) {
        "INTEGER"
    } else if has(&["CHAR", "CLOB", "TEXT"]) {
        "TEXT"
    } else if declared.is_empty() || has(&["BLOB"]) {
        "BLOB"
    } else if has(&["REAL", "FLOA", "DOUB"]) {
        "REAL"
    } else {
        "NUMERIC"
    };
    affinity == type_name(ty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{OnConflict, Table};
    use crate::schema::{Field, Schema};
    use crate::sink::table::TableTarget;

    fn table() -> FileTable {
        let stream = Schema::new(vec![
            Field::new("id", DataType::Utf8, false),
            Field::new("amount", DataType::Decimal(2), false),
            Field::new("note", DataType::Utf8, true),
        ])
        .unwrap();
        let table = Table {
            from: "sales".into(),
            table: "sales".into(),
            key: vec!["id".into()],
            columns: None,
            on_conflict: OnConflict::Update,
            span: 0..0,
        };
        FileTable::new(TableTarget::new(&table, &stream).unwrap()).unwrap()
    }

    fn differences(sql: &str) -> Vec<String> {
        let file = Connection::open_in_memory().unwrap();
        file.execute_batch(sql).unwrap();
        let existing = Existing::find(&file, "sales_minor").unwrap().unwrap();
        existing.base_differences(&table())
    }

    #[test]
    fn a_table_with_more_than_is_needed_fits() {
        assert!(differences(&table().create_sql()).is_empty());
        let more = "CREATE TABLE Sales_Minor (
            created TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, note VARCHAR(10), amount BIGINT,
            ID TEXT NOT NULL UNIQUE, extra, twice INTEGER NOT NULL AS (amount * 2))";
        assert_eq!(differences(more), Vec::<String>::new());
    }

    #[test]
    fn every_difference_is_named() {
        let sql = "CREATE TABLE sales_minor (
            amount REAL NOT NULL, note TEXT NOT NULL, shop INTEGER NOT NULL,
            PRIMARY KEY (amount, note)) STRICT;
            CREATE UNIQUE INDEX odd ON sales_minor (lower(note));
            CREATE UNIQUE INDEX part ON sales_minor (note) WHERE amount > 0;";
        assert_eq!(
            differences(sql),
            [
                "column `id` is missing",
                "column `amount` is REAL, but has to be INTEGER (decimal(2))",
                "column `note` is NOT NULL, but the stream's value may be null",
                "column `shop` is NOT NULL without a default, and nothing fills it",
                r#"no primary key or unique index is on exactly (id) (there is one on (amount, note)): CREATE UNIQUE INDEX "sales_minor_key" ON "sales_minor" ("id")"#,
            ]
        );
    }

    #[test]
    fn a_key_of_one_integer_is_found_without_an_index() {
        let file = Connection::open_in_memory().unwrap();
        let sql = "CREATE TABLE t (a INTEGER NOT NULL, PRIMARY KEY (a)) STRICT";
        file.execute_batch(sql).unwrap();
        let shape = Shape::read(&file, "t").unwrap();
        assert_eq!(shape.unique_keys, [BTreeSet::from(["a".to_owned()])]);
    }

    #[test]
    fn only_a_view_of_ours_is_replaced() {
        let view = |sql: &str| Existing::View(sql.to_owned()).view_difference(&table());
        assert_eq!(view(&table().create_view_sql()), None);
        assert!(view("CREATE VIEW sales AS SELECT 1").is_some());
        let file = Connection::open_in_memory().unwrap();
        file.execute_batch("CREATE TABLE sales (a)").unwrap();
        let existing = Existing::find(&file, "sales").unwrap().unwrap();
        assert!(existing.view_difference(&table()).is_some());
        assert!(Existing::find(&file, "other").unwrap().is_none());
    }
}
