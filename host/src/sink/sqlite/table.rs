//! How a table of the pipeline stands in the file: names, types, and the view that shows decimals.
//!
//! SQLite has no decimals, and money is never a float here. So a table with decimals is two things:
//! the base table `NAME_minor` holds integers of minor units (12.30 as a `decimal(2)` is 1230), whose
//! sums are exact; and the view `NAME` shows every column as it is meant, decimals as text with all of
//! their digits ("12.30"). A table without decimals is just a table.

use crate::schema::{DataType, Field};
use crate::sink::SinkError;
use crate::sink::table::{TableTarget, commas, quote};

/// What follows the name of a table whose decimals are minor units.
const MINOR: &str = "_minor";

/// Stands in every view that is ours, and tells it from others.
pub(super) const MARK: &str = "/* made by wasmill */";

/// A table of the pipeline in the file.
#[derive(Debug, Clone)]
pub(super) struct FileTable {
    target: TableTarget,
    base: String,
}

impl FileTable {
    /// The table of `target`.
    ///
    /// # Errors
    ///
    /// [`SinkError::Permanent`] when its name has a schema, or two of its columns are one in SQLite.
    pub(super) fn new(target: TableTarget) -> Result<Self, SinkError> {
        let name = target.name();
        if name.contains('.') {
            return Err(SinkError::Permanent(format!(
                "table `{name}` has a schema in its name, and SQLite has no schemas"
            )));
        }
        let fields = target.schema().fields();
        for (i, field) in fields.iter().enumerate() {
            let same = |other: &&Field| other.name.eq_ignore_ascii_case(&field.name);
            if let Some(other) = fields[..i].iter().find(same) {
                return Err(SinkError::Permanent(format!(
                    "table `{name}` has the columns `{}` and `{}`, which are one in SQLite",
                    other.name, field.name
                )));
            }
        }
        let has_view = fields.iter().any(|field| digits(field.ty) > 0);
        let base = if has_view {
            format!("{name}{MINOR}")
        } else {
            name.to_owned()
        };
        Ok(Self { target, base })
    }

    pub(super) fn target(&self) -> &TableTarget {
        &self.target
    }

    /// What people call it.
    pub(super) fn name(&self) -> &str {
        self.target.name()
    }

    /// What holds the rows.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Whether its name is that of a view.
    pub(super) fn has_view(&self) -> bool {
        self.base != self.name()
    }

    /// Its columns that are decimals, with the digits after the point.
    pub(super) fn decimals(&self) -> impl Iterator<Item = (&str, u8)> {
        let fields = self.target.schema().fields().iter();
        fields.filter_map(|field| match field.ty {
            DataType::Decimal(scale) => Some((field.name.as_str(), scale)),
            _ => None,
        })
    }

    pub(super) fn create_sql(&self) -> String {
        let columns = self.target.schema().fields().iter().map(|field| {
            let null = if field.nullable { "" } else { " NOT NULL" };
            format!("{} {}{null}", quote(&field.name), type_name(field.ty))
        });
        format!(
            "CREATE TABLE {} ({}, PRIMARY KEY ({})) STRICT",
            quote(&self.base),
            commas(columns),
            self.target.quoted_key()
        )
    }

    pub(super) fn create_view_sql(&self) -> String {
        let columns = self.target.schema().fields().iter().map(shown);
        format!(
            "CREATE VIEW {} AS {MARK} SELECT {} FROM {}",
            quote(self.name()),
            commas(columns),
            quote(&self.base)
        )
    }

    pub(super) fn upsert_sql(&self) -> String {
        let values = (1..=self.target.schema().fields().len()).map(|index| format!("?{index}"));
        format!(
            "INSERT INTO {} ({}) VALUES ({}) {}",
            quote(&self.base),
            self.target.quoted_columns(),
            commas(values),
            self.target.conflict_clause()
        )
    }
}

/// Refuses tables whose names, or those of their base tables, are one in SQLite.
pub(super) fn refuse_equal_names(tables: &[FileTable]) -> Result<(), SinkError> {
    let names = |table: &FileTable| {
        let base = table.has_view().then(|| table.base.clone());
        base.into_iter().chain([table.name().to_owned()])
    };
    let all: Vec<(&str, String)> = tables
        .iter()
        .flat_map(|table| names(table).map(|name| (table.name(), name)))
        .collect();
    for (i, (table, name)) in all.iter().enumerate() {
        let same = |(_, other): &&(&str, String)| other.eq_ignore_ascii_case(name);
        if let Some((first, _)) = all[..i].iter().find(same) {
            return Err(SinkError::Permanent(format!(
                "tables `{first}` and `{table}` would both be called `{name}` in SQLite, where the case of letters does not matter and a table with decimals also takes its name with `{MINOR}`"
            )));
        }
    }
    Ok(())
}

/// Digits after the point that a view has to show.
fn digits(ty: DataType) -> u8 {
    match ty {
        DataType::Decimal(scale) => scale,
        _ => 0,
    }
}

/// A column of a view. Of a null all that is joined to it is null, too. No step overflows: a decimal
/// has at most 18 digits.
fn shown(field: &Field) -> String {
    let column = quote(&field.name);
    let digits = digits(field.ty);
    if digits == 0 {
        return column;
    }
    let unit = 10_u64.pow(digits.into());
    // The unit is added for the zeros after the point: 1230 % 100 + 100 is 130, without its 1 "30".
    format!(
        "iif({column} < 0, '-', '') || abs({column} / {unit}) || '.' || substr(abs({column} % {unit}) + {unit}, 2) AS {column}"
    )
}

/// What a STRICT table calls the type that holds these values.
pub(super) fn type_name(ty: DataType) -> &'static str {
    match ty {
        DataType::Boolean | DataType::Int64 | DataType::Decimal(_) => "INTEGER",
        DataType::Float64 => "REAL",
        DataType::Utf8 | DataType::Timestamp | DataType::Date => "TEXT",
        DataType::Binary => "BLOB",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rusqlite::Connection;

    use super::*;
    use crate::config::{OnConflict, Table};
    use crate::schema::Schema;

    fn table(name: &str, fields: &[(&str, DataType)]) -> Result<FileTable, SinkError> {
        let fields = fields.iter().map(|&(name, ty)| {
            // The first one is the key.
            Field::new(name, ty, name != fields[0].0)
        });
        let stream = Schema::new(fields.collect()).unwrap();
        let table = Table {
            from: "sales".into(),
            table: name.into(),
            key: vec![stream.fields()[0].name.clone()],
            columns: None,
            on_conflict: OnConflict::Update,
            span: 0..0,
        };
        FileTable::new(TableTarget::new(&table, &stream).unwrap())
    }

    #[test]
    fn decimals_are_integers_below_a_view_that_shows_them() {
        let columns = [
            ("day", DataType::Date),
            ("total", DataType::Decimal(2)),
            ("count", DataType::Int64),
        ];
        let table = table("per_day", &columns).unwrap();
        assert_eq!(
            table.create_sql(),
            r#"CREATE TABLE "per_day_minor" ("day" TEXT NOT NULL, "total" INTEGER, "count" INTEGER, PRIMARY KEY ("day")) STRICT"#
        );
        assert_eq!(
            table.create_view_sql(),
            r#"CREATE VIEW "per_day" AS /* made by wasmill */ SELECT "day", iif("total" < 0, '-', '') || abs("total" / 100) || '.' || substr(abs("total" % 100) + 100, 2) AS "total", "count" FROM "per_day_minor""#
        );
        assert_eq!(
            table.upsert_sql(),
            r#"INSERT INTO "per_day_minor" ("day", "total", "count") VALUES (?1, ?2, ?3) ON CONFLICT ("day") DO UPDATE SET "total" = EXCLUDED."total", "count" = EXCLUDED."count""#
        );
    }

    #[test]
    fn a_table_without_decimals_is_a_table() {
        let table = table("t", &[("id", DataType::Utf8), ("n", DataType::Decimal(0))]).unwrap();
        assert!(!table.has_view());
        assert_eq!(table.base(), "t");
        assert_eq!(table.decimals().collect::<Vec<_>>(), [("n", 0)]);
    }

    #[test]
    fn names_that_are_one_in_sqlite_are_refused() {
        let key = ("id", DataType::Utf8);
        assert!(table("public.t", &[key]).is_err());
        assert!(table("t", &[key, ("a", DataType::Date), ("A", DataType::Date)]).is_err());
        let with_money = table("t", &[key, ("a", DataType::Decimal(2))]).unwrap();
        let other = |name| table(name, &[key]).unwrap();
        assert!(refuse_equal_names(&[with_money.clone(), other("u")]).is_ok());
        for name in ["T", "t_Minor"] {
            assert!(refuse_equal_names(&[with_money.clone(), other(name)]).is_err());
        }
    }

    proptest! {
        #[test]
        fn a_view_shows_every_decimal_with_all_of_its_digits(
            unscaled in prop_oneof![
                -999_999_999_999_999_999_i64..=999_999_999_999_999_999,
                -1_000_i64..=1_000,
            ],
            scale in 1_u8..=18,
        ) {
            let table = table("t", &[("id", DataType::Int64), ("d", DataType::Decimal(scale))]).unwrap();
            let file = Connection::open_in_memory().unwrap();
            file.execute_batch(&table.create_sql()).unwrap();
            file.execute_batch(&table.create_view_sql()).unwrap();
            file.execute(&table.upsert_sql(), (1, unscaled)).unwrap();
            file.execute(&table.upsert_sql(), (2, None::<i64>)).unwrap();
            let read = |id: i64| -> Option<String> {
                file.query_row("SELECT d FROM t WHERE id = ?1", [id], |row| row.get(0)).unwrap()
            };
            let sign = if unscaled < 0 { "-" } else { "" };
            let digits = format!("{:0width$}", unscaled.unsigned_abs(), width = usize::from(scale) + 1);
            let (whole, fraction) = digits.split_at(digits.len() - usize::from(scale));
            prop_assert_eq!(read(1), Some(format!("{sign}{whole}.{fraction}")));
            prop_assert_eq!(read(2), None);
        }
    }
}
