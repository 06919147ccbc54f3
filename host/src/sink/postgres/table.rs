//! The statements that create and fill a table.
//!
//! # Not here
//!
//! Comparing it with the table that exists: [`super::catalog`].

use crate::schema::DataType;
use crate::sink::table::{TableTarget, commas, quote};

impl TableTarget {
    pub(super) fn create_sql(&self) -> String {
        let columns = self.schema().fields().iter().map(|field| {
            let null = if field.nullable { "" } else { " NOT NULL" };
            format!("{} {}{null}", quote(&field.name), type_name(field.ty))
        });
        format!(
            "CREATE TABLE {} ({}, PRIMARY KEY ({}))",
            self.quoted(),
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

    pub(super) fn direct_sql(&self) -> String {
        format!(
            "COPY {} ({}) FROM STDIN (FORMAT binary)",
            self.quoted(),
            self.quoted_columns()
        )
    }

    pub(super) fn upsert_sql(&self, stage: &str) -> String {
        format!(
            "INSERT INTO {} ({columns}) SELECT {columns} FROM pg_temp.{stage} {}",
            self.quoted(),
            self.conflict_clause(),
            columns = self.quoted_columns(),
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

pub(super) fn create_stage_sql(stage: &str, columns: &str) -> String {
    format!("CREATE TEMPORARY TABLE pg_temp.{stage} ({columns}) ON COMMIT DELETE ROWS")
}

pub(super) fn copy_sql(stage: &str, columns: &str) -> String {
    format!("COPY pg_temp.{stage} ({columns}) FROM STDIN (FORMAT binary)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{OnConflict, Table};
    use crate::schema::{Field, Schema};
    use crate::sink::table::TableError;

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
            target.direct_sql(),
            r#"COPY "shop"."sales" ("id", "amount", "Odd ""name""") FROM STDIN (FORMAT binary)"#
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
}
