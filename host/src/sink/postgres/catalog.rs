//! The tables that exist, compared with those that are needed.

use std::collections::BTreeSet;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use super::failure::Failure;
use super::session::column;
use super::table::type_name;
use crate::schema::{DECIMAL_DIGITS, DataType};
use crate::sink::table::{TableTarget, quote};

const FIND: &str = "\
    SELECT c.oid, c.relkind = ANY ('{r,p}') FROM pg_class c WHERE c.oid = to_regclass($1)";

const COLUMNS: &str = "\
    SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull,
           a.atthasdef OR a.attidentity <> '', a.attgenerated <> '' OR a.attidentity = 'a'
    FROM pg_attribute a
    WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum";

/// Indices that ON CONFLICT can rely on. A partial one, one on expressions, or a deferrable one
/// does not count.
const UNIQUE_KEYS: &str = "\
    SELECT array(SELECT a.attname::text FROM generate_series(0, i.indnkeyatts - 1) n
                 JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[n])
    FROM pg_index i
    WHERE i.indrelid = $1 AND i.indisunique AND i.indimmediate AND i.indisvalid
      AND i.indpred IS NULL AND i.indexprs IS NULL";

/// A column of a table that exists.
#[derive(Debug)]
struct Column {
    name: String,
    /// as `format_type` prints it
    ty: String,
    not_null: bool,
    has_default: bool,
    /// the server alone computes it
    computed: bool,
}

impl Column {
    fn read(row: &Row) -> Result<Self, Failure> {
        Ok(Self {
            name: column(row, 0)?,
            ty: column(row, 1)?,
            not_null: column(row, 2)?,
            has_default: column(row, 3)?,
            computed: column(row, 4)?,
        })
    }
}

/// A table that exists.
#[derive(Debug)]
pub(super) struct Existing {
    /// not a view or something else
    is_table: bool,
    columns: Vec<Column>,
    unique_keys: Vec<BTreeSet<String>>,
}

impl Existing {
    /// The table of this (quoted) name, if there is one.
    pub(super) async fn find(client: &Client, table: &str) -> Result<Option<Self>, Failure> {
        let failed = || Failure::to(format!("look up table {table}"));
        let Some(found) = client.query_opt(FIND, &[&table]).await.map_err(failed())? else {
            return Ok(None);
        };
        let oid: u32 = column(&found, 0)?;
        let relation: [&(dyn ToSql + Sync); 1] = [&oid];
        let (columns, keys) = tokio::try_join!(
            client.query(COLUMNS, &relation),
            client.query(UNIQUE_KEYS, &relation)
        )
        .map_err(failed())?;
        Ok(Some(Self {
            is_table: column(&found, 1)?,
            columns: columns.iter().map(Column::read).collect::<Result<_, _>>()?,
            unique_keys: keys
                .iter()
                .map(|row| Ok(column::<Vec<String>>(row, 0)?.into_iter().collect()))
                .collect::<Result<_, Failure>>()?,
        }))
    }

    /// Which of these columns it does not have.
    pub(super) fn lacks<'a>(&self, columns: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
        let columns = columns.iter().copied();
        columns.filter(|column| !self.has(column))
    }

    /// The type of a column, as SQL.
    pub(super) fn type_of(&self, column: &str) -> Option<&str> {
        let mut columns = self.columns.iter();
        let found = columns.find(|existing| existing.name == column)?;
        Some(&found.ty)
    }

    /// The columns that this has to get before `target` is written to it: a name and the SQL that adds it
    /// each. They may be null, since the rows that are there have no value.
    pub(super) fn additions(&self, target: &TableTarget) -> Vec<(String, String)> {
        if !self.is_table {
            return Vec::new();
        }
        let fields = target.schema().fields().iter();
        let missing = fields.filter(|field| target.adds(field) && !self.has(&field.name));
        missing
            .map(|field| {
                let (column, ty) = (quote(&field.name), type_name(field.ty));
                let table = target.quoted();
                let sql = format!("ALTER TABLE {table} ADD COLUMN {column} {ty}");
                (field.name.clone(), sql)
            })
            .collect()
    }

    fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|existing| existing.name == column)
    }

    /// Every reason why `target` cannot be written to this table, each with the SQL that mends it.
    pub(super) fn differences(&self, target: &TableTarget) -> Vec<String> {
        if !self.is_table {
            return vec!["it is not a table; take another name in pipeline.toml".to_owned()];
        }
        let alter = format!("ALTER TABLE {}", target.quoted());
        let mut found = Vec::new();
        for field in target.schema().fields() {
            let (column, ty) = (quote(&field.name), type_name(field.ty));
            let not_null = if field.nullable { "" } else { " NOT NULL" };
            let Some(existing) = self.columns.iter().find(|c| c.name == field.name) else {
                if target.adds(field) {
                    continue;
                }
                found.push(format!(
                    "column `{}` is missing: {alter} ADD COLUMN {column} {ty}{not_null}",
                    field.name
                ));
                continue;
            };
            if existing.computed {
                found.push(format!(
                    "column `{}` is computed by the server: map the stream's column to another name in `columns`",
                    field.name
                ));
            }
            if !holds(&existing.ty, field.ty) {
                found.push(format!(
                    "column `{}` is {}, but has to be {ty} ({}): {alter} ALTER COLUMN {column} TYPE {ty}",
                    field.name, existing.ty, field.ty
                ));
            }
            if existing.not_null && field.nullable {
                found.push(format!(
                    "column `{}` is NOT NULL, but the stream's value may be null: {alter} ALTER COLUMN {column} DROP NOT NULL",
                    field.name
                ));
            }
        }
        for extra in &self.columns {
            let needed = extra.not_null && !extra.has_default && !extra.computed;
            if needed && target.schema().index_of(&extra.name).is_none() {
                found.push(format!(
                    "column `{}` is NOT NULL without a default, and nothing fills it: {alter} ALTER COLUMN {} DROP NOT NULL",
                    extra.name,
                    quote(&extra.name)
                ));
            }
        }
        found.extend(self.key_difference(target));
        found
    }

    fn key_difference(&self, target: &TableTarget) -> Option<String> {
        let fields = target.schema().fields();
        let key: BTreeSet<String> = target
            .key()
            .iter()
            .map(|&index| fields[index].name.clone())
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
            "no primary key or unique constraint is on exactly {} ({existing}): ALTER TABLE {} ADD UNIQUE ({})",
            list(&key),
            target.quoted(),
            target.quoted_key()
        ))
    }
}

/// Whether a column of the type that `format_type` prints so holds every value of `ty` unchanged.
fn holds(existing: &str, ty: DataType) -> bool {
    match ty {
        DataType::Decimal(scale) => {
            let Some(bounds) = existing.strip_prefix("numeric") else {
                return false;
            };
            bounds.is_empty() || numeric_holds(bounds, scale).unwrap_or(false)
        }
        DataType::Utf8 => matches!(existing, "text" | "character varying"),
        DataType::Timestamp => matches!(
            existing,
            "timestamp with time zone" | "timestamp(6) with time zone"
        ),
        DataType::Boolean
        | DataType::Int64
        | DataType::Float64
        | DataType::Binary
        | DataType::Date => existing == type_name(ty),
    }
}

/// `bounds` is `(precision,scale)`.
fn numeric_holds(bounds: &str, scale: u8) -> Option<bool> {
    let (precision, existing_scale) = bounds
        .strip_prefix('(')?
        .strip_suffix(')')?
        .split_once(',')?;
    let precision: i32 = precision.parse().ok()?;
    let existing_scale: i32 = existing_scale.parse().ok()?;
    let scale = i32::from(scale);
    let whole_digits = i32::from(DECIMAL_DIGITS) - scale;
    Some(existing_scale >= scale && precision - existing_scale >= whole_digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{OnConflict, Table};
    use crate::schema::{Field, Schema};

    fn target() -> TableTarget {
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
        TableTarget::new(&table, &stream).unwrap()
    }

    fn column(name: &str, ty: &str, not_null: bool) -> Column {
        Column {
            name: name.into(),
            ty: ty.into(),
            not_null,
            has_default: false,
            computed: false,
        }
    }

    fn existing(columns: Vec<Column>, keys: &[&[&str]]) -> Existing {
        Existing {
            is_table: true,
            columns,
            unique_keys: keys
                .iter()
                .map(|key| key.iter().map(|&name| name.to_owned()).collect())
                .collect(),
        }
    }

    #[test]
    fn a_table_with_more_than_is_needed_fits() {
        let mut filled = column("created", "timestamp without time zone", true);
        filled.has_default = true;
        let table = existing(
            vec![
                filled,
                column("note", "character varying", false),
                column("amount", "numeric(20,3)", false),
                column("id", "text", true),
                column("extra", "integer", false),
            ],
            &[&["note"], &["id"]],
        );
        assert_eq!(table.differences(&target()), Vec::<String>::new());
    }

    #[test]
    fn every_difference_is_named_with_what_mends_it() {
        let table = existing(
            vec![
                column("amount", "double precision", true),
                column("note", "text", true),
                column("shop", "integer", true),
            ],
            &[&["amount", "note"]],
        );
        assert_eq!(
            table.differences(&target()),
            [
                r#"column `id` is missing: ALTER TABLE "sales" ADD COLUMN "id" text NOT NULL"#,
                r#"column `amount` is double precision, but has to be numeric (decimal(2)): ALTER TABLE "sales" ALTER COLUMN "amount" TYPE numeric"#,
                r#"column `note` is NOT NULL, but the stream's value may be null: ALTER TABLE "sales" ALTER COLUMN "note" DROP NOT NULL"#,
                r#"column `shop` is NOT NULL without a default, and nothing fills it: ALTER TABLE "sales" ALTER COLUMN "shop" DROP NOT NULL"#,
                r#"no primary key or unique constraint is on exactly (id) (there is one on (amount, note)): ALTER TABLE "sales" ADD UNIQUE ("id")"#,
            ]
        );
    }

    #[test]
    fn a_view_and_a_computed_column_cannot_be_written() {
        let mut view = existing(vec![], &[]);
        view.is_table = false;
        assert_eq!(view.differences(&target()).len(), 1);
        let mut computed = column("note", "text", false);
        computed.computed = true;
        let table = existing(
            vec![
                column("id", "text", true),
                column("amount", "numeric", true),
                computed,
            ],
            &[&["id"]],
        );
        let differences = table.differences(&target());
        assert_eq!(differences.len(), 1);
        assert!(differences[0].contains("computed by the server"));
    }

    #[test]
    fn a_numeric_has_to_have_room_on_both_sides_of_the_point() {
        let money = DataType::Decimal(2);
        for fits in ["numeric", "numeric(18,2)", "numeric(19,3)"] {
            assert!(holds(fits, money), "{fits}");
        }
        for narrow in [
            "numeric(18,3)",
            "numeric(17,2)",
            "numeric(20,1)",
            "numeric(20,0)",
            "money",
        ] {
            assert!(!holds(narrow, money), "{narrow}");
        }
        assert!(!holds("timestamp(3) with time zone", DataType::Timestamp));
        assert!(!holds("timestamp without time zone", DataType::Timestamp));
        assert!(!holds("integer", DataType::Int64));
    }
}
