//! Becoming the owner of a pipeline, and what stands in the way of it.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio_postgres::Client;

use super::catalog::Existing;
use super::failure::Failure;
use super::presence::{Presence, refuse_owned};
use super::progress::{Owner, TABLES};
use super::session::{Server, Session, column, unsigned};
use crate::epoch::EpochId;
use crate::record::Positions;
use crate::sink::Claim;
use crate::sink::journal::{
    Progress, all_sinks, check_definition, confirmed, forget_sql, last_epoch, new_life,
    parse_offsets, refuse_late_sinks, refuse_pruned_journal,
};

const KEEP_DEFINITION: &str = "\
    INSERT INTO wasmill_pipelines (pipeline, definition, life) VALUES ($1, $2::text::jsonb, $3)
    ON CONFLICT DO NOTHING";

/// Both sides as the server prints them: it may write a number in another way than we do.
const DEFINITIONS: &str = "\
    SELECT definition::text, $2::text::jsonb::text, life FROM wasmill_pipelines WHERE pipeline = $1";

const PROGRESS: &str = "\
    SELECT sink, epoch, generation FROM wasmill_progress WHERE pipeline = $1";

/// A claim locks the rows that it reads, and so waits for another claim or for a commit of the
/// previous owner that is on its way.
const LOCK: &str = " FOR UPDATE";

const ADD_SINKS: &str = "\
    INSERT INTO wasmill_progress (pipeline, sink, epoch, generation)
    SELECT $1, sink, 0, 0 FROM unnest($2::text[]) sink ON CONFLICT DO NOTHING";

const OWN: &str = "UPDATE wasmill_progress SET generation = $2 WHERE pipeline = $1";

/// The first epoch is always there; what counts is since when there is no gap.
const LAST_EPOCH: &str = "\
    SELECT offsets::text, dead_letter_bytes,
           (SELECT CASE WHEN bool_or(epoch = 2) THEN 1 ELSE coalesce(min(nullif(epoch, 1)), 1) END
            FROM wasmill_epochs WHERE pipeline = $1) AS oldest
    FROM wasmill_epochs WHERE pipeline = $1 AND epoch = $2";

/// Claims `pipeline` for this host in one transaction. `polite`: the server where a host that runs it
/// already keeps it, and this one tells others that it does.
pub(super) async fn claim(
    session: &Session,
    (pipeline, ledger): (&str, &str),
    definition: &Value,
    others: &[String],
    polite: Option<&Server>,
) -> Result<(Owner, Claim, Option<Presence>), Failure> {
    let client = session.client();
    client
        .batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        .await
        .map_err(Failure::to("begin a transaction"))?;
    client
        .execute(
            KEEP_DEFINITION,
            &[&pipeline, &definition.to_string(), &new_life()],
        )
        .await
        .map_err(Failure::to("write to wasmill_pipelines"))?;
    let life = compare_definition(client, pipeline, definition, LOCK).await?;
    let progress = read_progress(client, pipeline, LOCK).await?;
    if polite.is_some() {
        // Of two that wait for the same host, the second one meets the first here.
        refuse_owned(session, pipeline).await?;
    }
    let sinks = all_sinks(ledger, others);
    let forget = forget_sql(pipeline);
    refuse_late_sinks(pipeline, &sinks, &progress, &forget).map_err(Failure::Sink)?;
    let generation = progress.values().map(|row| row.generation).max();
    let generation = generation.unwrap_or(0) + 1;
    take(client, pipeline, &sinks, generation).await?;

    let epoch = last_epoch(&progress, ledger);
    let confirmed = confirmed(&progress, others);
    let end = read_end(client, pipeline, epoch).await?;
    refuse_pruned_journal(pipeline, &confirmed, end.oldest, &forget).map_err(Failure::Sink)?;
    // Before anybody can see the claim.
    let presence = match polite {
        Some(server) => Some(Presence::begin(server, pipeline, generation).await),
        None => None,
    };
    client
        .batch_execute("COMMIT")
        .await
        .map_err(Failure::to("claim the pipeline"))?;

    let owner = Owner {
        pipeline: pipeline.to_owned(),
        ledger: ledger.to_owned(),
        generation,
        sinks,
    };
    let claim = Claim {
        life: life.unwrap_or_default(),
        generation,
        epoch,
        positions: end.positions,
        confirmed,
        dead_letter_bytes: end.dead_letter_bytes,
    };
    Ok((owner, claim, presence))
}

/// Everything that a claim would refuse, in a transaction that changes and locks nothing.
pub(super) async fn check(
    client: &Client,
    (pipeline, ledger): (&str, &str),
    definition: &Value,
    others: &[String],
) -> Result<(), Failure> {
    for (table, _) in TABLES {
        if Existing::find(client, table).await?.is_none() {
            return Ok(());
        }
    }
    compare_definition(client, pipeline, definition, "").await?;
    let progress = read_progress(client, pipeline, "").await?;
    let (sinks, forget) = (all_sinks(ledger, others), forget_sql(pipeline));
    refuse_late_sinks(pipeline, &sinks, &progress, &forget).map_err(Failure::Sink)?;
    let end = read_end(client, pipeline, last_epoch(&progress, ledger)).await?;
    let confirmed = confirmed(&progress, others);
    refuse_pruned_journal(pipeline, &confirmed, end.oldest, &forget).map_err(Failure::Sink)
}

/// Compares with the stored definition, if there is one; the pipeline's life then.
async fn compare_definition(
    client: &Client,
    pipeline: &str,
    definition: &Value,
    lock: &str,
) -> Result<Option<String>, Failure> {
    let sql = format!("{DEFINITIONS}{lock}");
    let stored = client
        .query_opt(&sql, &[&pipeline, &definition.to_string()])
        .await
        .map_err(Failure::to("read wasmill_pipelines"))?;
    let Some(row) = stored else {
        return Ok(None);
    };
    let (stored, new) = (column(&row, 0)?, column(&row, 1)?);
    check_definition(pipeline, stored, new, &forget_sql(pipeline)).map_err(Failure::Sink)?;
    Ok(Some(column(&row, 2)?))
}

async fn read_progress(
    client: &Client,
    pipeline: &str,
    lock: &str,
) -> Result<BTreeMap<String, Progress>, Failure> {
    client
        .query(&format!("{PROGRESS}{lock}"), &[&pipeline])
        .await
        .map_err(Failure::to("read wasmill_progress"))?
        .iter()
        .map(|row| {
            let progress = Progress {
                epoch: EpochId(unsigned(row, 1)?),
                generation: unsigned(row, 2)?,
            };
            Ok((column(row, 0)?, progress))
        })
        .collect()
}

async fn take(
    client: &Client,
    pipeline: &str,
    sinks: &[String],
    generation: u64,
) -> Result<(), Failure> {
    let failed = || Failure::to("write to wasmill_progress");
    client
        .execute(ADD_SINKS, &[&pipeline, &sinks])
        .await
        .map_err(failed())?;
    client
        .execute(OWN, &[&pipeline, &generation.cast_signed()])
        .await
        .map_err(failed())?;
    Ok(())
}

/// What the journal says about the last committed epoch.
#[derive(Default)]
struct End {
    positions: Positions,
    dead_letter_bytes: Option<u64>,
    /// the oldest epoch in the journal
    oldest: EpochId,
}

async fn read_end(client: &Client, pipeline: &str, epoch: EpochId) -> Result<End, Failure> {
    if epoch == EpochId(0) {
        return Ok(End::default());
    }
    let damaged = || {
        Failure::permanent(format!(
            "the entry of pipeline `{pipeline}`, epoch {epoch} in wasmill_epochs is missing or damaged"
        ))
    };
    let row = client
        .query_opt(LAST_EPOCH, &[&pipeline, &epoch.0.cast_signed()])
        .await
        .map_err(Failure::to("read wasmill_epochs"))?
        .ok_or_else(damaged)?;
    Ok(End {
        positions: parse_offsets(column(&row, 0)?).ok_or_else(damaged)?,
        dead_letter_bytes: column::<Option<i64>>(&row, 1)?.map(i64::cast_unsigned),
        oldest: EpochId(unsigned(&row, 2)?),
    })
}
