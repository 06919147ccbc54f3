//! Which logic made which epochs.

use tokio_postgres::{Client, Row};

use super::failure::Failure;
use super::progress::Owner;
use super::session::{column, unsigned};
use crate::deployment::{Deployment, Outcome, Version};
use crate::epoch::Deployed;
use crate::sink::deployments::Stored;

/// `xid` is the transaction that it came into force with, and `written` the last one that changed its
/// row: what [`super::provenance`] tells rows by.
pub(super) const CREATE: &str = "\
    CREATE TABLE wasmill_deployments (
        pipeline text, version bigint, trigger text NOT NULL, deployed_at timestamptz NOT NULL,
        epoch bigint NOT NULL, offsets jsonb NOT NULL, pipeline_toml text NOT NULL,
        components jsonb NOT NULL, configs jsonb NOT NULL, states jsonb NOT NULL,
        logic text NOT NULL, backfills jsonb NOT NULL, former_records bigint NOT NULL,
        former_rejected bigint NOT NULL, outcome text NOT NULL, reason text,
        xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
        written xid8 NOT NULL DEFAULT pg_current_xact_id(),
        PRIMARY KEY (pipeline, version))";

const RECORD: &str = "\
    INSERT INTO wasmill_deployments (pipeline, version, trigger, deployed_at, epoch, offsets,
        pipeline_toml, components, configs, states, logic, backfills, former_records,
        former_rejected, outcome, reason)
    VALUES ($1, $2, $3, $4::text::timestamptz, $5, $6::text::jsonb, $7, $8::text::jsonb,
        $9::text::jsonb, $10::text::jsonb, $11, $12::text::jsonb, $13, $14, $15, $16)";

const ALL: &str = "\
    SELECT version, trigger,
        to_char(deployed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), epoch,
        offsets::text, pipeline_toml, components::text, configs::text, states::text, logic,
        backfills::text, former_records, former_rejected, outcome, reason
    FROM wasmill_deployments WHERE pipeline = $1 ORDER BY version";

/// What a dump has brought is never as if it had been written here.
const CONCLUDE: &str = "\
    UPDATE wasmill_deployments SET outcome = $3, reason = $4,
        written = CASE WHEN xmin::text::bigint = written::text::bigint % 4294967296
                       THEN pg_current_xact_id() ELSE written END
    WHERE pipeline = $1 AND version = $2";

/// Writes a deployment down, in the transaction of the epoch that it begins with.
pub(super) async fn record(
    client: &Client,
    pipeline: &str,
    deployed: &Deployed,
) -> Result<(), Failure> {
    let stored = Stored::from(&deployed.deployment);
    client
        .execute(
            RECORD,
            &[
                &pipeline,
                &stored.version,
                &stored.trigger,
                &stored.deployed_at,
                &stored.epoch,
                &stored.offsets,
                &stored.pipeline_toml,
                &stored.components,
                &stored.configs,
                &stored.states,
                &stored.logic,
                &stored.backfills,
                &stored.former_records,
                &stored.former_rejected,
                &stored.outcome,
                &stored.reason,
            ],
        )
        .await
        .map_err(Failure::to("write to wasmill_deployments"))?;
    match &deployed.concludes {
        Some((version, outcome)) => conclude(client, pipeline, *version, outcome).await,
        None => Ok(()),
    }
}

async fn conclude(
    client: &Client,
    pipeline: &str,
    version: Version,
    outcome: &Outcome,
) -> Result<(), Failure> {
    let version = i64::from(version.0);
    let (outcome, reason) = (outcome.name(), outcome.reason());
    client
        .execute(CONCLUDE, &[&pipeline, &version, &outcome, &reason])
        .await
        .map_err(Failure::to("write to wasmill_deployments"))?;
    Ok(())
}

/// All of them, in order.
pub(super) async fn all(client: &Client, pipeline: &str) -> Result<Vec<Deployment>, Failure> {
    client
        .query(ALL, &[&pipeline])
        .await
        .map_err(Failure::to("read wasmill_deployments"))?
        .iter()
        .map(|row| {
            let version = unsigned(row, 0)?;
            read(row)?.read().ok_or_else(|| {
                Failure::permanent(format!(
                    "the row of pipeline `{pipeline}`, version {version} in wasmill_deployments is damaged"
                ))
            })
        })
        .collect()
}

fn read(row: &Row) -> Result<Stored, Failure> {
    Ok(Stored {
        version: column(row, 0)?,
        trigger: column(row, 1)?,
        deployed_at: column(row, 2)?,
        epoch: column(row, 3)?,
        offsets: column(row, 4)?,
        pipeline_toml: column(row, 5)?,
        components: column(row, 6)?,
        configs: column(row, 7)?,
        states: column(row, 8)?,
        logic: column(row, 9)?,
        backfills: column(row, 10)?,
        former_records: column(row, 11)?,
        former_rejected: column(row, 12)?,
        outcome: column(row, 13)?,
        reason: column(row, 14)?,
    })
}

impl Owner {
    /// Notes what became of a deployment.
    pub(super) async fn conclude(
        &self,
        client: &Client,
        version: Version,
        outcome: &Outcome,
    ) -> Result<(), Failure> {
        let failed = || Failure::to("write to wasmill_deployments");
        client.batch_execute("BEGIN").await.map_err(failed())?;
        // Fails where another host owns the pipeline; if not, none does until the transaction ends.
        self.stored(client, &self.ledger).await?;
        conclude(client, &self.pipeline, version, outcome).await?;
        client.batch_execute("COMMIT").await.map_err(failed())
    }
}
