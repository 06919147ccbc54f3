//! Becoming the owner of a pipeline, and what stands in the way of it.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};
use serde_json::Value;

use super::catalog::Existing;
use super::failure::Failure;
use super::progress::{Owner, unsigned};
use crate::epoch::EpochId;
use crate::record::Positions;
use crate::sink::Claim;
use crate::sink::journal::{
    Progress, TABLES, all_sinks, check_definition, confirmed, forget_sql, last_epoch, new_life,
    parse_offsets, refuse_late_sinks, refuse_pruned_journal,
};

const KEEP_DEFINITION: &str = "\
    INSERT INTO wasmill_pipelines (pipeline, definition, life) VALUES (?1, ?2, ?3)
    ON CONFLICT DO NOTHING";

const DEFINITION: &str = "SELECT definition FROM wasmill_pipelines WHERE pipeline = ?1";

const LIFE: &str = "SELECT life FROM wasmill_pipelines WHERE pipeline = ?1";

const PROGRESS: &str = "SELECT sink, epoch, generation FROM wasmill_progress WHERE pipeline = ?1";

const ADD_SINK: &str = "\
    INSERT INTO wasmill_progress (pipeline, sink, epoch, generation) VALUES (?1, ?2, 0, 0)
    ON CONFLICT DO NOTHING";

const OWN: &str = "UPDATE wasmill_progress SET generation = ?2 WHERE pipeline = ?1";

/// The first epoch is always there; what counts is since when there is no gap.
const LAST_EPOCH: &str = "\
    SELECT offsets, dead_letter_bytes,
           (SELECT CASE WHEN max(epoch = 2) THEN 1 ELSE coalesce(min(nullif(epoch, 1)), 1) END
            FROM wasmill_epochs WHERE pipeline = ?1)
    FROM wasmill_epochs WHERE pipeline = ?1 AND epoch = ?2";

/// Whose claim it is, and where.
pub(super) struct Claimant<'a> {
    pub(super) pipeline: &'a str,
    /// the ledger's own name
    pub(super) ledger: &'a str,
    pub(super) path: &'a Path,
}

impl Claimant<'_> {
    /// Claims the pipeline for this host in one transaction.
    pub(super) fn claim(
        &self,
        connection: &mut Connection,
        definition: &Value,
        others: &[String],
    ) -> Result<(Owner, Claim), Failure> {
        let pipeline = self.pipeline;
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(Failure::to("begin a transaction"))?;
        transaction
            .execute(
                KEEP_DEFINITION,
                (pipeline, definition.to_string(), new_life()),
            )
            .map_err(Failure::to("write to wasmill_pipelines"))?;
        let (progress, end) = self.examine(&transaction, definition, others)?;
        let sinks = all_sinks(self.ledger, others);
        let generation = progress.values().map(|row| row.generation).max();
        let generation = generation.unwrap_or(0) + 1;
        let owner = Owner {
            pipeline: pipeline.to_owned(),
            ledger: self.ledger.to_owned(),
            generation,
            sinks,
        };
        take(&transaction, &owner)?;
        let claim = Claim {
            life: transaction
                .query_row(LIFE, [pipeline], |row| row.get(0))
                .map_err(Failure::to("read wasmill_pipelines"))?,
            generation,
            epoch: last_epoch(&progress, self.ledger),
            positions: end.positions,
            confirmed: confirmed(&progress, others),
            dead_letter_bytes: end.dead_letter_bytes,
        };
        transaction
            .commit()
            .map_err(Failure::to("claim the pipeline"))?;
        Ok((owner, claim))
    }

    /// Everything that a claim would refuse, without changing or locking anything.
    pub(super) fn check(
        &self,
        connection: &Connection,
        definition: &Value,
        others: &[String],
    ) -> Result<(), Failure> {
        for (table, _) in TABLES {
            if Existing::find(connection, table)?.is_none() {
                return Ok(());
            }
        }
        self.examine(connection, definition, others).map(drop)
    }

    /// What is stored, unless it stands in the way.
    fn examine(
        &self,
        connection: &Connection,
        definition: &Value,
        others: &[String],
    ) -> Result<(BTreeMap<String, Progress>, End), Failure> {
        let pipeline = self.pipeline;
        let ways_out = format!(
            "{}\n  in {} (or delete the file, if nothing else in it is needed)",
            forget_sql(pipeline),
            self.path.display()
        );
        let stored: Option<String> = connection
            .query_row(DEFINITION, [pipeline], |row| row.get(0))
            .optional()
            .map_err(Failure::to("read wasmill_pipelines"))?;
        if let Some(stored) = stored {
            check_definition(pipeline, &stored, &definition.to_string(), &ways_out)
                .map_err(Failure::Sink)?;
        }
        let progress = read_progress(connection, pipeline)?;
        let sinks = all_sinks(self.ledger, others);
        refuse_late_sinks(pipeline, &sinks, &progress, &ways_out).map_err(Failure::Sink)?;
        let end = End::read(connection, pipeline, last_epoch(&progress, self.ledger))?;
        refuse_pruned_journal(
            pipeline,
            &confirmed(&progress, others),
            end.oldest,
            &ways_out,
        )
        .map_err(Failure::Sink)?;
        Ok((progress, end))
    }
}

fn read_progress(
    connection: &Connection,
    pipeline: &str,
) -> Result<BTreeMap<String, Progress>, Failure> {
    connection
        .prepare(PROGRESS)
        .and_then(|mut progress| {
            let rows = progress.query_map([pipeline], |row| {
                let progress = Progress {
                    epoch: EpochId(unsigned(row, 1)?),
                    generation: unsigned(row, 2)?,
                };
                Ok((row.get(0)?, progress))
            })?;
            rows.collect()
        })
        .map_err(Failure::to("read wasmill_progress"))
}

fn take(connection: &Connection, owner: &Owner) -> Result<(), Failure> {
    let add = |sink: &String| {
        connection
            .execute(ADD_SINK, (&owner.pipeline, sink))
            .map(drop)
    };
    owner
        .sinks
        .iter()
        .try_for_each(add)
        .and_then(|()| connection.execute(OWN, (&owner.pipeline, owner.generation.cast_signed())))
        .map_err(Failure::to("write to wasmill_progress"))?;
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

impl End {
    fn read(connection: &Connection, pipeline: &str, epoch: EpochId) -> Result<Self, Failure> {
        if epoch == EpochId(0) {
            return Ok(Self::default());
        }
        let damaged = || {
            Failure::permanent(format!(
                "the entry of pipeline `{pipeline}`, epoch {epoch} in wasmill_epochs is missing or damaged"
            ))
        };
        let (offsets, dead_letter_bytes, oldest) = connection
            .query_row(LAST_EPOCH, (pipeline, epoch.0.cast_signed()), |row| {
                let offsets: String = row.get(0)?;
                let bytes: Option<i64> = row.get(1)?;
                Ok((offsets, bytes, unsigned(row, 2)?))
            })
            .optional()
            .map_err(Failure::to("read wasmill_epochs"))?
            .ok_or_else(damaged)?;
        Ok(Self {
            positions: parse_offsets(&offsets).ok_or_else(damaged)?,
            dead_letter_bytes: dead_letter_bytes.map(i64::cast_unsigned),
            oldest: EpochId(oldest),
        })
    }
}
