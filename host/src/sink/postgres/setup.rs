//! Creates what is missing and compares what is there.

use std::collections::BTreeMap;

use tokio_postgres::Client;
use tracing::info;

use super::catalog::Existing;
use super::failure::Failure;
use super::progress::TABLES;
use super::session::{Session, column};
use crate::sink::journal;
use crate::sink::table::TableTarget;

/// Two hosts that start at once create tables one after the other: the key of an advisory lock,
/// "wasmill" in ASCII.
const SETUP_LOCK: i64 = 0x0077_6173_6d69_6c6c;

/// The schema, whether it is there and takes new tables from this user (null: it is not there), and
/// the user. `$1` is a schema as SQL, null for the first one of the `search_path` that is there.
const MAY_CREATE: &str = "\
    SELECT s, has_schema_privilege(to_regnamespace(s)::oid, 'CREATE'), quote_ident(current_user)
    FROM coalesce($1::text, quote_ident(current_schema())) s";

/// What our tables have in this database alone.
const TRANSACTIONS: [(&str, &[&str]); 2] = [
    ("wasmill_epochs", &["xid"]),
    ("wasmill_deployments", &["xid", "written"]),
];

/// Creates wasmill's own tables and those of `targets` where they are missing, and compares those
/// that are there. All of it happens or nothing. The tables of `targets` that were created.
pub(super) async fn set_up(
    session: &Session,
    what: &str,
    targets: &[TableTarget],
) -> Result<Vec<String>, Failure> {
    let client = session.client();
    client
        .batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        .await
        .map_err(Failure::to("begin a transaction"))?;
    client
        .execute("SELECT pg_advisory_xact_lock($1)", &[&SETUP_LOCK])
        .await
        .map_err(Failure::to("wait for another host that creates tables"))?;
    for table in refuse_others(client).await? {
        let own = TABLES.iter().find(|(name, _)| *name == table);
        let (_, create_sql) = own.expect("they are the same tables");
        create(session, table, create_sql).await?;
    }
    let mut created = Vec::new();
    let mut misfits = Vec::new();
    for target in targets {
        if let Some(existing) = Existing::find(client, target.quoted()).await? {
            misfits.extend(misfit(target, &existing));
            // If anything does not fit, this is undone with everything else.
            for (column, sql) in existing.additions(target) {
                add(session, target, &column, &sql).await?;
            }
        } else {
            create(session, target.quoted(), &target.create_sql()).await?;
            created.push(target.name().to_owned());
        }
    }
    refuse(what, &misfits, &[])?;
    client
        .batch_execute("COMMIT")
        .await
        .map_err(Failure::to("create tables"))?;
    Ok(created)
}

/// Compares the tables that are there, and asks whether those that are missing could be created. What
/// would be added to those that are there.
pub(super) async fn check(
    session: &Session,
    what: &str,
    targets: &[TableTarget],
) -> Result<Vec<String>, Failure> {
    let client = session.client();
    let (mut misfits, mut additions) = (Vec::new(), Vec::new());
    // By schema, `None` for where names without a schema lead.
    let mut missing: BTreeMap<Option<&str>, Vec<&str>> = BTreeMap::new();
    let own = refuse_others(client).await?;
    if !own.is_empty() {
        missing.insert(None, own);
    }
    for target in targets {
        match Existing::find(client, target.quoted()).await? {
            Some(existing) => {
                misfits.extend(misfit(target, &existing));
                let columns = existing.additions(target).into_iter();
                additions.extend(columns.map(|(column, _)| target.addition(&column)));
            }
            None => missing
                .entry(target.quoted_schema())
                .or_default()
                .push(target.name()),
        }
    }
    let mut obstacles = Vec::new();
    for (schema, tables) in missing {
        obstacles.extend(obstacle(client, schema, &tables).await?);
    }
    refuse(what, &misfits, &obstacles)?;
    Ok(additions)
}

/// Which of wasmill's own tables are missing. Those that are there are ours.
async fn refuse_others(client: &Client) -> Result<Vec<&'static str>, Failure> {
    let (mut missing, mut lacking) = (Vec::new(), Vec::new());
    for (table, columns) in journal::TABLES {
        match Existing::find(client, table).await? {
            Some(found) => {
                let more = TRANSACTIONS.iter().filter(|(name, _)| *name == table);
                let columns = more.map(|(_, columns)| *columns).chain([columns]);
                let lacks = columns.flat_map(|columns| found.lacks(columns));
                lacking.extend(lacks.map(|column| (table, column)));
            }
            None => missing.push(table),
        }
    }
    journal::refuse_other_tables(&lacking).map_err(Failure::Sink)?;
    Ok(missing)
}

/// Why these tables, which are missing, cannot be created.
async fn obstacle(
    client: &Client,
    schema: Option<&str>,
    tables: &[&str],
) -> Result<Option<String>, Failure> {
    let row = client
        .query_one(MAY_CREATE, &[&schema])
        .await
        .map_err(Failure::to("look up where tables are created"))?;
    let schema: Option<&str> = column(&row, 0)?;
    let may_create: Option<bool> = column(&row, 1)?;
    let user: &str = column(&row, 2)?;
    let tables = tables.join(", ");
    Ok(match (schema, may_create) {
        (Some(_), Some(true)) => None,
        (Some(schema), Some(false)) => Some(format!(
            "{user} may not create tables in schema {schema}, and {tables} would be created there: GRANT CREATE ON SCHEMA {schema} TO {user}"
        )),
        (Some(schema), None) => Some(format!(
            "there is no schema {schema}, and {tables} would be created there: CREATE SCHEMA {schema}"
        )),
        (None, _) => Some(format!(
            "no schema of the search_path is there, and {tables} would be created in the first one: create one that SHOW search_path names"
        )),
    })
}

fn misfit(target: &TableTarget, existing: &Existing) -> Option<String> {
    let differences = existing.differences(target);
    (!differences.is_empty()).then(|| {
        format!(
            "table `{}` does not fit stream `{}`:\n  - {}",
            target.name(),
            target.from(),
            differences.join("\n  - ")
        )
    })
}

fn refuse(what: &str, misfits: &[String], obstacles: &[String]) -> Result<(), Failure> {
    if misfits.is_empty() && obstacles.is_empty() {
        return Ok(());
    }
    let advice = (!misfits.is_empty()).then(|| {
        "Change the table as shown, name another one in pipeline.toml, or drop it and let wasmill create it".to_owned()
    });
    let lines: Vec<String> = [obstacles, misfits]
        .concat()
        .into_iter()
        .chain(advice)
        .collect();
    Err(Failure::permanent(format!("{what}: {}", lines.join("\n"))))
}

async fn create(session: &Session, table: &str, sql: &str) -> Result<(), Failure> {
    session
        .client()
        .batch_execute(sql)
        .await
        .map_err(Failure::to(format!("create table {table}")))?;
    info!(table, "created table");
    Ok(())
}

async fn add(
    session: &Session,
    target: &TableTarget,
    column: &str,
    sql: &str,
) -> Result<(), Failure> {
    let table = target.name();
    session
        .client()
        .batch_execute(sql)
        .await
        .map_err(Failure::to(format!(
            "add column `{column}` to table `{table}`"
        )))?;
    info!(
        table,
        column, "added a column, null in the rows that are there"
    );
    Ok(())
}
