//! Which logic made which epochs.

use rusqlite::{Connection, Row, TransactionBehavior};

use super::failure::Failure;
use super::progress::Owner;
use crate::deployment::{Deployment, Outcome, Version};
use crate::epoch::Deployed;
use crate::sink::deployments::Stored;

pub(super) const CREATE: &str = "\
    CREATE TABLE IF NOT EXISTS wasmill_deployments (
        pipeline TEXT NOT NULL, version INTEGER NOT NULL, \"trigger\" TEXT NOT NULL,
        deployed_at TEXT NOT NULL, epoch INTEGER NOT NULL, offsets TEXT NOT NULL,
        pipeline_toml TEXT NOT NULL, components TEXT NOT NULL, configs TEXT NOT NULL,
        states TEXT NOT NULL, logic TEXT NOT NULL, backfills TEXT NOT NULL,
        former_records INTEGER NOT NULL, former_rejected INTEGER NOT NULL, outcome TEXT NOT NULL,
        reason TEXT,
        PRIMARY KEY (pipeline, version)) STRICT, WITHOUT ROWID";

const RECORD: &str = "\
    INSERT INTO wasmill_deployments (pipeline, version, \"trigger\", deployed_at, epoch, offsets,
        pipeline_toml, components, configs, states, logic, backfills, former_records,
        former_rejected, outcome, reason)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14,
        ?15, ?16)";

const ALL: &str = "\
    SELECT version, \"trigger\", deployed_at, epoch, offsets, pipeline_toml, components, configs, states,
        logic, backfills, former_records, former_rejected, outcome, reason
    FROM wasmill_deployments WHERE pipeline = ?1 ORDER BY version";

const CONCLUDE: &str = "\
    UPDATE wasmill_deployments SET outcome = ?3, reason = ?4 WHERE pipeline = ?1 AND version = ?2";

/// Writes a deployment down, in the transaction of the epoch that it begins with.
pub(super) fn record(
    connection: &Connection,
    pipeline: &str,
    deployed: &Deployed,
) -> Result<(), Failure> {
    let stored = Stored::from(&deployed.deployment);
    connection
        .execute(
            RECORD,
            rusqlite::params![
                pipeline,
                stored.version,
                stored.trigger,
                stored.deployed_at,
                stored.epoch,
                stored.offsets,
                stored.pipeline_toml,
                stored.components,
                stored.configs,
                stored.states,
                stored.logic,
                stored.backfills,
                stored.former_records,
                stored.former_rejected,
                stored.outcome,
                stored.reason,
            ],
        )
        .map_err(Failure::to("write to wasmill_deployments"))?;
    if let Some((version, outcome)) = &deployed.concludes {
        let values = (pipeline, version.0, outcome.name(), outcome.reason());
        connection
            .execute(CONCLUDE, values)
            .map_err(Failure::to("write to wasmill_deployments"))?;
    }
    Ok(())
}

/// All of them, in order.
pub(super) fn all(connection: &Connection, pipeline: &str) -> Result<Vec<Deployment>, Failure> {
    let failed = Failure::to("read wasmill_deployments");
    let rows: rusqlite::Result<Vec<Stored>> = connection.prepare(ALL).and_then(|mut all| {
        let rows = all.query_map([pipeline], read)?;
        rows.collect()
    });
    let rows = rows.map_err(failed)?.into_iter();
    rows.map(|stored| {
        let version = stored.version;
        stored.read().ok_or_else(|| {
            Failure::permanent(format!(
                "the row of pipeline `{pipeline}`, version {version} in wasmill_deployments is damaged"
            ))
        })
    })
    .collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok(Stored {
        version: row.get(0)?,
        trigger: row.get(1)?,
        deployed_at: row.get(2)?,
        epoch: row.get(3)?,
        offsets: row.get(4)?,
        pipeline_toml: row.get(5)?,
        components: row.get(6)?,
        configs: row.get(7)?,
        states: row.get(8)?,
        logic: row.get(9)?,
        backfills: row.get(10)?,
        former_records: row.get(11)?,
        former_rejected: row.get(12)?,
        outcome: row.get(13)?,
        reason: row.get(14)?,
    })
}

impl Owner {
    /// Notes what became of a deployment.
    pub(super) fn conclude(
        &self,
        connection: &mut Connection,
        version: Version,
        outcome: &Outcome,
    ) -> Result<(), Failure> {
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(Failure::to("begin a transaction"))?;
        // Fails where another host owns the pipeline; if not, none does until the transaction ends.
        self.stored(&transaction, &self.ledger)?;
        let values = (&self.pipeline, version.0, outcome.name(), outcome.reason());
        transaction
            .execute(CONCLUDE, values)
            .and_then(|_| transaction.commit())
            .map_err(Failure::to("write to wasmill_deployments"))
    }
}
