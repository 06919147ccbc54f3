//! Becoming the owner of a pipeline, and what stands in the way of it.

use std::collections::BTreeMap;

use bytes::BytesMut;
use serde_json::Value;
use tokio_postgres::Client;

use super::catalog::Existing;
use super::failure::Failure;
use super::progress::{Owner, TABLES, check_definition, forget_sql, parse_offsets};
use super::session::{Server, Session, column, unsigned};
use super::state::StateTable;
use crate::checkpoint::StateStore;
use crate::epoch::EpochId;
use crate::record::Positions;
use crate::sink::Claim;

/// Reading the whole state may take longer than any statement of an epoch.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = '10min'";

const KEEP_DEFINITION: &str = "\
    INSERT INTO wasmill_pipelines (pipeline, definition) VALUES ($1, $2::text::jsonb)
    ON CONFLICT DO NOTHING";

/// Both sides as the server prints them: it may write a number in another way than we do.
const DEFINITIONS: &str = "\
    SELECT definition::text, $2::text::jsonb::text FROM wasmill_pipelines WHERE pipeline = $1";

const PROGRESS: &str = "\
    SELECT sink, epoch, generation FROM wasmill_progress WHERE pipeline = $1";

/// A claim locks the rows that it reads, and so waits for another claim or for a commit of the
/// previous owner that is on its way.
const LOCK: &str = " FOR UPDATE";

const ADD_SINKS: &str = "\
    INSERT INTO wasmill_progress (pipeline, sink, epoch, generation)
    SELECT $1, sink, 0, 0 FROM unnest($2::text[]) sink ON CONFLICT DO NOTHING";

const OWN: &str = "UPDATE wasmill_progress SET generation = $2 WHERE pipeline = $1";

const LAST_EPOCH: &str = "\
    SELECT offsets::text, dead_letter_bytes,
           (SELECT min(epoch) FROM wasmill_epochs WHERE pipeline = $1) AS oldest
    FROM wasmill_epochs WHERE pipeline = $1 AND epoch = $2";

/// Claims `pipeline` for this host in one transaction.
pub(super) async fn claim(
    server: &Server,
    session: &Session,
    (pipeline, ledger): (&str, &str),
    definition: &Value,
    others: &[String],
) -> Result<(Owner, Claim), Failure> {
    let client = session.client();
    client
        .batch_execute(BEGIN)
        .await
        .map_err(Failure::to("begin a transaction"))?;
    client
        .execute(KEEP_DEFINITION, &[&pipeline, &definition.to_string()])
        .await
        .map_err(Failure::to("write to wasmill_pipelines"))?;
    compare_definition(client, pipeline, definition, LOCK).await?;
    let progress = read_progress(client, pipeline, LOCK).await?;
    let sinks = all_sinks(ledger, others);
    refuse_late_sinks(pipeline, &sinks, &progress)?;
    let generation = progress.values().map(|row| row.generation).max();
    let generation = generation.unwrap_or(0) + 1;
    take(client, pipeline, &sinks, generation).await?;

    let epoch = last_epoch(&progress, ledger);
    let confirmed = confirmed(&progress, others);
    let end = read_end(client, pipeline, epoch).await?;
    refuse_pruned_journal(pipeline, &confirmed, end.oldest)?;
    let state = StateTable {
        server,
        session,
        pipeline,
        buffer: &mut BytesMut::new(),
    }
    .restore()
    .await
    .map_err(Failure::Sink)?;
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
        generation,
        epoch,
        positions: end.positions,
        confirmed,
        dead_letter_bytes: end.dead_letter_bytes,
        state,
    };
    Ok((owner, claim))
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
    refuse_late_sinks(pipeline, &all_sinks(ledger, others), &progress)?;
    let end = read_end(client, pipeline, last_epoch(&progress, ledger)).await?;
    refuse_pruned_journal(pipeline, &confirmed(&progress, others), end.oldest)
}

fn all_sinks(ledger: &str, others: &[String]) -> Vec<String> {
    let ledger = ledger.to_owned();
    others.iter().cloned().chain([ledger]).collect()
}

/// Compares with the stored definition, if there is one.
async fn compare_definition(
    client: &Client,
    pipeline: &str,
    definition: &Value,
    lock: &str,
) -> Result<(), Failure> {
    let sql = format!("{DEFINITIONS}{lock}");
    let stored = client
        .query_opt(&sql, &[&pipeline, &definition.to_string()])
        .await
        .map_err(Failure::to("read wasmill_pipelines"))?;
    match stored {
        Some(row) => check_definition(pipeline, column(&row, 0)?, column(&row, 1)?),
        None => Ok(()),
    }
}

/// How far a sink has come, and under whom.
struct Progress {
    epoch: EpochId,
    generation: u64,
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

fn last_epoch(progress: &BTreeMap<String, Progress>, sink: &str) -> EpochId {
    progress.get(sink).map_or(EpochId(0), |row| row.epoch)
}

fn confirmed(
    progress: &BTreeMap<String, Progress>,
    others: &[String],
) -> BTreeMap<String, EpochId> {
    let others = others.iter();
    others
        .map(|sink| (sink.clone(), last_epoch(progress, sink)))
        .collect()
}

/// A sink that joins a pipeline after its first epoch would miss what came before.
fn refuse_late_sinks(
    pipeline: &str,
    sinks: &[String],
    progress: &BTreeMap<String, Progress>,
) -> Result<(), Failure> {
    let newest = progress.values().map(|row| row.epoch).max();
    let Some(newest) = newest.filter(|&epoch| epoch > EpochId(0)) else {
        return Ok(());
    };
    let late: Vec<String> = sinks
        .iter()
        .filter(|sink| !progress.contains_key(*sink))
        .map(|sink| format!("`{sink}`"))
        .collect();
    if late.is_empty() {
        return Ok(());
    }
    let known: Vec<String> = progress.keys().map(|sink| format!("`{sink}`")).collect();
    Err(Failure::permanent(format!(
        "sink {} is new to pipeline `{pipeline}`, which has come to epoch {newest} with {}, and would miss what came before.\n\
         Go on with the sinks that it had, or give the pipeline another name, or forget the stored state and read everything again:\n  {}",
        late.join(" and "),
        known.join(" and "),
        forget_sql(pipeline)
    )))
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

/// A sink that was left out for a while and comes back may need epochs that were forgotten.
fn refuse_pruned_journal(
    pipeline: &str,
    confirmed: &BTreeMap<String, EpochId>,
    oldest: EpochId,
) -> Result<(), Failure> {
    for (sink, &epoch) in confirmed {
        // A replay needs the entry before its first epoch too: it has the positions to start at.
        if oldest > epoch.max(EpochId(1)) {
            return Err(Failure::permanent(format!(
                "sink `{sink}` has confirmed epoch {epoch} of pipeline `{pipeline}`, but the journal now begins at epoch {oldest}: it was left out for a while and has missed what came between.\n\
                 Go on without it, or give the pipeline another name, or forget the stored state and read everything again:\n  {}",
                forget_sql(pipeline)
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(rows: &[(&str, u64)]) -> BTreeMap<String, Progress> {
        rows.iter()
            .map(|&(sink, epoch)| {
                let row = Progress {
                    epoch: EpochId(epoch),
                    generation: 1,
                };
                (sink.to_owned(), row)
            })
            .collect()
    }

    #[test]
    fn a_sink_may_join_until_the_first_epoch_is_committed() {
        let sinks = ["rows".to_owned(), "search".to_owned()];
        assert!(refuse_late_sinks("p", &sinks, &progress(&[])).is_ok());
        assert!(refuse_late_sinks("p", &sinks, &progress(&[("rows", 0)])).is_ok());
        assert!(refuse_late_sinks("p", &sinks, &progress(&[("rows", 2), ("search", 1)])).is_ok());
        let Err(Failure::Sink(error)) = refuse_late_sinks("p", &sinks, &progress(&[("rows", 2)]))
        else {
            panic!("a late sink has to be refused");
        };
        let message = error.to_string();
        assert!(
            message.contains("sink `search` is new to pipeline `p`"),
            "{message}"
        );
    }

    #[test]
    fn a_sink_may_come_back_as_long_as_the_journal_reaches_back_to_it() {
        let confirmed = |epoch| BTreeMap::from([("search".to_owned(), EpochId(epoch))]);
        assert!(refuse_pruned_journal("p", &confirmed(0), EpochId(0)).is_ok());
        assert!(refuse_pruned_journal("p", &confirmed(0), EpochId(1)).is_ok());
        assert!(refuse_pruned_journal("p", &confirmed(0), EpochId(2)).is_err());
        assert!(refuse_pruned_journal("p", &confirmed(5), EpochId(5)).is_ok());
        assert!(refuse_pruned_journal("p", &confirmed(5), EpochId(6)).is_err());
    }
}
