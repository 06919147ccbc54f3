//! Creates what is missing and compares what is there.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};
use tracing::info;

use super::catalog::Existing;
use super::failure::Failure;
use super::progress;
use super::table::FileTable;
use crate::sink::journal;

/// How many digits after the point each column of minor units has. It is in no other place: where it
/// changed, the integers that are there would mean something else.
const DECIMALS: &str = "\
    CREATE TABLE IF NOT EXISTS wasmill_decimals (
        relation TEXT NOT NULL, \"column\" TEXT NOT NULL, scale INTEGER NOT NULL,
        PRIMARY KEY (relation, \"column\")) STRICT, WITHOUT ROWID";

const SCALE: &str = "SELECT scale FROM wasmill_decimals WHERE relation = ?1 AND \"column\" = ?2";

const KEEP_SCALE: &str = "\
    INSERT INTO wasmill_decimals (relation, \"column\", scale) VALUES (?1, ?2, ?3)
    ON CONFLICT DO UPDATE SET scale = excluded.scale";

/// Creates wasmill's own tables and those of the pipeline where they are missing, and compares those
/// that are there. All of it happens or nothing.
pub(super) fn set_up(
    connection: &mut Connection,
    what: &str,
    tables: &[FileTable],
) -> Result<(), Failure> {
    // A second host that starts at the same time waits here.
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(Failure::to("begin a transaction"))?;
    refuse_others(&transaction)?;
    for sql in progress::TABLES.iter().chain([&DECIMALS]) {
        transaction
            .execute_batch(sql)
            .map_err(Failure::to("create wasmill's tables"))?;
    }
    let mut misfits = Vec::new();
    for table in tables {
        match misfit(&transaction, table)? {
            Some(misfit) => misfits.push(misfit),
            None => create(&transaction, table)?,
        }
    }
    refuse(what, &misfits)?;
    transaction
        .commit()
        .map_err(Failure::to("create the tables"))
}

/// Compares the tables that are there. What would be added to them.
pub(super) fn check(
    connection: &Connection,
    what: &str,
    tables: &[FileTable],
) -> Result<Vec<String>, Failure> {
    refuse_others(connection)?;
    let (mut misfits, mut additions) = (Vec::new(), Vec::new());
    for table in tables {
        misfits.extend(misfit(connection, table)?);
        if let Some(existing) = Existing::find(connection, table.base())? {
            let columns = existing.additions(table).into_iter();
            additions.extend(columns.map(|(column, _)| table.target().addition(&column)));
        }
    }
    refuse(what, &misfits)?;
    Ok(additions)
}

/// Refuses tables of wasmill's own that are not ours.
fn refuse_others(connection: &Connection) -> Result<(), Failure> {
    let mut lacking = Vec::new();
    for (table, columns) in journal::TABLES {
        if let Some(found) = Existing::find(connection, table)? {
            lacking.extend(found.lacks(columns).map(|column| (table, column)));
        }
    }
    journal::refuse_other_tables(&lacking).map_err(Failure::Sink)
}

/// Why what is there cannot be this table.
fn misfit(connection: &Connection, table: &FileTable) -> Result<Option<String>, Failure> {
    let mut differences = Vec::new();
    if let Some(base) = Existing::find(connection, table.base())? {
        differences.extend(base.base_differences(table));
        for (column, scale) in table.decimals() {
            let stored = stored_scale(connection, table, column)?;
            if let Some(stored) = stored.filter(|&stored| stored != i64::from(scale)) {
                differences.push(format!(
                    "column `{column}` holds decimal({stored}) as minor units, and is decimal({scale}) now"
                ));
            }
        }
    }
    if table.has_view()
        && let Some(view) = Existing::find(connection, table.name())?
    {
        differences.extend(view.view_difference(table));
    }
    Ok((!differences.is_empty()).then(|| {
        format!(
            "table `{}` does not fit stream `{}`:\n  - {}",
            table.base(),
            table.target().from(),
            differences.join("\n  - ")
        )
    }))
}

fn stored_scale(
    connection: &Connection,
    table: &FileTable,
    column: &str,
) -> Result<Option<i64>, Failure> {
    if Existing::find(connection, "wasmill_decimals")?.is_none() {
        return Ok(None);
    }
    connection
        .query_row(SCALE, (table.base(), column), |row| row.get(0))
        .optional()
        .map_err(Failure::to("read wasmill_decimals"))
}

fn refuse(what: &str, misfits: &[String]) -> Result<(), Failure> {
    if misfits.is_empty() {
        return Ok(());
    }
    Err(Failure::permanent(format!(
        "{what}: {}\nChange the table, name another one in pipeline.toml, or drop it and let wasmill create it",
        misfits.join("\n")
    )))
}

/// Creates what is missing of a table that fits, and adds what it lacks.
fn create(transaction: &Transaction<'_>, table: &FileTable) -> Result<(), Failure> {
    let failed = || Failure::to(format!("create table {}", table.base()));
    if let Some(existing) = Existing::find(transaction, table.base())? {
        add(transaction, table, &existing)?;
    } else {
        transaction
            .execute_batch(&table.create_sql())
            .map_err(failed())?;
        info!(table = table.base(), "created table");
    }
    for (column, scale) in table.decimals() {
        transaction
            .execute(KEEP_SCALE, (table.base(), column, scale))
            .map_err(failed())?;
    }
    if !table.has_view() {
        return Ok(());
    }
    let sql = table.create_view_sql();
    match Existing::find(transaction, table.name())? {
        Some(Existing::View(existing)) if existing == sql => return Ok(()),
        Some(_) => {
            let drop = format!("DROP VIEW {}", crate::sink::table::quote(table.name()));
            transaction.execute_batch(&drop).map_err(failed())?;
        }
        None => {}
    }
    transaction.execute_batch(&sql).map_err(failed())
}

/// Adds what a table that fits lacks.
fn add(transaction: &Transaction<'_>, table: &FileTable, to: &Existing) -> Result<(), Failure> {
    let name = table.base();
    for (column, sql) in to.additions(table) {
        transaction
            .execute_batch(&sql)
            .map_err(Failure::to(format!(
                "add column `{column}` to table {name}"
            )))?;
        info!(
            table = name,
            column, "added a column, null in the rows that are there"
        );
    }
    Ok(())
}
