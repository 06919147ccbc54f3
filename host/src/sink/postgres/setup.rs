//! Creates what is missing and compares what is there.

use tracing::info;

use super::catalog::Existing;
use super::failure::Failure;
use super::progress::TABLES;
use super::session::Session;
use super::table::TableTarget;

/// Two hosts that start at once create tables one after the other: the key of an advisory lock,
/// "wasmill" in ASCII.
const SETUP_LOCK: i64 = 0x0077_6173_6d69_6c6c;

/// Creates wasmill's own tables and those of `targets` where they are missing, and compares those
/// that are there. All of it happens or nothing.
pub(super) async fn set_up(
    session: &Session,
    what: &str,
    targets: &[TableTarget],
) -> Result<(), Failure> {
    let client = session.client();
    client
        .batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        .await
        .map_err(Failure::to("begin a transaction"))?;
    client
        .execute("SELECT pg_advisory_xact_lock($1)", &[&SETUP_LOCK])
        .await
        .map_err(Failure::to("wait for another host that creates tables"))?;
    for (table, create_sql) in TABLES {
        if Existing::find(client, table).await?.is_none() {
            create(session, table, create_sql).await?;
        }
    }
    let mut misfits = Vec::new();
    for target in targets {
        let Some(existing) = Existing::find(client, target.quoted()).await? else {
            create(session, target.quoted(), &target.create_sql()).await?;
            continue;
        };
        let differences = existing.differences(target);
        if !differences.is_empty() {
            misfits.push(format!(
                "table `{}` does not fit stream `{}`:\n  - {}",
                target.name(),
                target.from(),
                differences.join("\n  - ")
            ));
        }
    }
    if !misfits.is_empty() {
        return Err(Failure::permanent(format!(
            "{what}: {}\nChange the table as shown, name another one in pipeline.toml, or drop it and let wasmill create it",
            misfits.join("\n")
        )));
    }
    client
        .batch_execute("COMMIT")
        .await
        .map_err(Failure::to("create tables"))
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
