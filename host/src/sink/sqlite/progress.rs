//! Who owns a pipeline, how far each of its sinks has come, and the journal of its epochs.
//!
//! # Invariants
//!
//! 1. Every row of a pipeline in `wasmill_progress` has the generation of the host that owns it.
//! 2. The journal reaches back to the oldest checkpoint that is kept and to the epoch that the slowest
//!    sink has confirmed. It always has the newest epoch, and the first one, which says where
//!    everything began.

use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior};

use super::deployments;
use super::failure::Failure;
use super::write::TableRows;
use crate::deployment::Version;
use crate::epoch::{EpochId, EpochOutput, JournalEntry};
use crate::sink::journal::{StoredEntry, not_ours};

/// The tables that every pipeline of a file shares.
pub(super) const TABLES: [&str; 4] = [
    "CREATE TABLE IF NOT EXISTS wasmill_pipelines (
        pipeline TEXT NOT NULL PRIMARY KEY, life TEXT NOT NULL, definition TEXT NOT NULL) STRICT",
    "CREATE TABLE IF NOT EXISTS wasmill_progress (
        pipeline TEXT NOT NULL, sink TEXT NOT NULL, epoch INTEGER NOT NULL,
        generation INTEGER NOT NULL, PRIMARY KEY (pipeline, sink)) STRICT, WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS wasmill_epochs (
        pipeline TEXT NOT NULL, epoch INTEGER NOT NULL, deployment INTEGER NOT NULL,
        offsets TEXT NOT NULL, excluded TEXT NOT NULL, rejected TEXT NOT NULL,
        readmitted TEXT NOT NULL, dead_letter_bytes INTEGER,
        PRIMARY KEY (pipeline, epoch)) STRICT, WITHOUT ROWID",
    deployments::CREATE,
];

const FENCE: &str = "\
    UPDATE wasmill_progress SET epoch = ?3
    WHERE pipeline = ?1 AND sink = ?2 AND generation = ?4 AND epoch = ?3 - 1";

const PROGRESS: &str = "\
    SELECT epoch, generation FROM wasmill_progress WHERE pipeline = ?1 AND sink = ?2";

const CONFIRM: &str = "\
    UPDATE wasmill_progress SET epoch = ?3
    WHERE pipeline = ?1 AND sink = ?2 AND generation = ?4 AND epoch <= ?3";

const LETTERS: &str = "\
    UPDATE wasmill_epochs SET dead_letter_bytes = ?2
    WHERE pipeline = ?1 AND epoch = (SELECT max(epoch) FROM wasmill_epochs WHERE pipeline = ?1)";

const RECORD: &str = "\
    INSERT INTO wasmill_epochs
        (pipeline, epoch, offsets, excluded, rejected, readmitted, dead_letter_bytes, deployment)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

/// The sinks are a JSON list.
const PRUNE: &str = "\
    DELETE FROM wasmill_epochs WHERE pipeline = ?1 AND epoch > 1 AND epoch < min(?3, (
        SELECT min(epoch) FROM wasmill_progress
        WHERE pipeline = ?1 AND sink IN (SELECT value FROM json_each(?2))))";

const JOURNAL: &str = "\
    SELECT epoch, deployment, offsets, excluded, rejected, readmitted FROM wasmill_epochs
    WHERE pipeline = ?1 AND epoch > ?2 ORDER BY epoch LIMIT ?3";

/// A pipeline as its owner sees it.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    pub(super) pipeline: String,
    /// the ledger's own name among the sinks
    pub(super) ledger: String,
    pub(super) generation: u64,
    /// every sink of the pipeline, the ledger included
    pub(super) sinks: Vec<String>,
}

/// What became of an epoch's place in the order.
pub(super) enum Fence {
    /// it is next, and nobody else can write until the transaction ends
    Next,
    /// it is committed already
    Durable,
}

impl Owner {
    /// Takes the place of `epoch` in the transaction that is under way.
    pub(super) fn advance(
        &self,
        connection: &Connection,
        epoch: EpochId,
    ) -> Result<Fence, Failure> {
        let values = (
            &self.pipeline,
            &self.ledger,
            epoch.0.cast_signed(),
            self.generation.cast_signed(),
        );
        let updated = connection
            .prepare_cached(FENCE)
            .and_then(|mut fence| fence.execute(values))
            .map_err(Failure::to("write to wasmill_progress"))?;
        if updated > 0 {
            return Ok(Fence::Next);
        }
        let stored = self.stored(connection, &self.ledger)?;
        if stored >= epoch {
            return Ok(Fence::Durable);
        }
        Err(Failure::permanent(format!(
            "epoch {epoch} of pipeline `{}` cannot be written: wasmill_progress says that epoch {stored} was the last one. \
             If the file was restored from a copy, start the pipeline again",
            self.pipeline
        )))
    }

    /// Notes that `sink` has made `epoch` durable but for what is in `letters`, which become dead
    /// letters.
    pub(super) fn confirm(
        &self,
        connection: &mut Connection,
        (sink, epoch, dead_letter_bytes): (&str, EpochId, Option<u64>),
        letters: Option<&TableRows<'_>>,
    ) -> Result<(), Failure> {
        let failed = || Failure::to("write to wasmill_progress");
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(Failure::to("begin a transaction"))?;
        let (id, generation) = (epoch.0.cast_signed(), self.generation.cast_signed());
        let updated = transaction
            .prepare_cached(CONFIRM)
            .and_then(|mut confirm| confirm.execute((&self.pipeline, sink, id, generation)))
            .map_err(failed())?;
        if updated == 0 {
            // Where this does not fail, the sink was further already.
            self.stored(&transaction, sink)?;
        } else if let Some(letters) = letters {
            let mut refused = Vec::new();
            letters.write(&transaction, &mut refused)?;
            if let Some(refused) = refused.pop() {
                return Err(Failure::permanent(refused.reason));
            }
        } else if let Some(bytes) = dead_letter_bytes {
            transaction
                .prepare_cached(LETTERS)
                .and_then(|mut letters| letters.execute((&self.pipeline, bytes.cast_signed())))
                .map_err(Failure::to("write to wasmill_epochs"))?;
        }
        transaction.commit().map_err(failed())
    }

    /// The last epoch of a sink, as long as this host owns the pipeline.
    pub(super) fn stored(&self, connection: &Connection, sink: &str) -> Result<EpochId, Failure> {
        let (epoch, theirs) = connection
            .query_row(PROGRESS, (&self.pipeline, sink), |row| {
                Ok((unsigned(row, 0)?, unsigned(row, 1)?))
            })
            .optional()
            .map_err(Failure::to("read wasmill_progress"))?
            .ok_or_else(|| {
                Failure::permanent(format!(
                    "the row of pipeline `{}` and sink `{sink}` in wasmill_progress is gone: somebody deleted it while the pipeline ran",
                    self.pipeline
                ))
            })?;
        if theirs != self.generation {
            let not_ours = not_ours(&self.pipeline, self.generation, theirs);
            return Err(Failure::Sink(not_ours));
        }
        Ok(EpochId(epoch))
    }

    /// Writes the journal entry of an epoch.
    pub(super) fn record(
        &self,
        connection: &Connection,
        epoch: &EpochOutput,
    ) -> Result<(), Failure> {
        let stored = StoredEntry::of(epoch);
        let entry = (
            &self.pipeline,
            epoch.epoch.0.cast_signed(),
            stored.offsets,
            stored.excluded,
            stored.rejected,
            stored.readmitted,
            epoch.dead_letter_bytes.map(u64::cast_signed),
            epoch.version.0,
        );
        connection
            .prepare_cached(RECORD)
            .and_then(|mut record| record.execute(entry))
            .map_err(Failure::to("write to wasmill_epochs"))?;
        match &epoch.deployed {
            Some(deployed) => deployments::record(connection, &self.pipeline, deployed),
            None => Ok(()),
        }
    }

    /// Forgets the entries of epochs before `oldest`, but for those that a sink still needs.
    pub(super) fn forget(
        &self,
        connection: &mut Connection,
        oldest: EpochId,
    ) -> Result<(), Failure> {
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(Failure::to("begin a transaction"))?;
        // Fails where another host owns the pipeline; if not, none does until the transaction ends.
        self.stored(&transaction, &self.ledger)?;
        let sinks = serde_json::json!(self.sinks).to_string();
        transaction
            .execute(PRUNE, (&self.pipeline, sinks, oldest.0.cast_signed()))
            .and_then(|_| transaction.commit())
            .map_err(Failure::to("write to wasmill_epochs"))
    }
}

/// The committed epochs after `after`, in order.
pub(super) fn journal(
    connection: &Connection,
    pipeline: &str,
    (after, entries_max): (EpochId, usize),
) -> Result<Vec<JournalEntry>, Failure> {
    let entries_max = i64::try_from(entries_max).unwrap_or(i64::MAX);
    let rows: Vec<(u64, u32, StoredEntry<String>)> = connection
        .prepare_cached(JOURNAL)
        .and_then(|mut journal| {
            let rows =
                journal.query_map((pipeline, after.0.cast_signed(), entries_max), |row| {
                    let stored = StoredEntry {
                        offsets: row.get(2)?,
                        excluded: row.get(3)?,
                        rejected: row.get(4)?,
                        readmitted: row.get(5)?,
                    };
                    Ok((unsigned(row, 0)?, row.get(1)?, stored))
                })?;
            rows.collect()
        })
        .map_err(Failure::to("read wasmill_epochs"))?;
    let entries = rows.into_iter().map(|(epoch, version, stored)| {
        let damaged = || {
            Failure::permanent(format!(
                "the entry of pipeline `{pipeline}`, epoch {epoch} in wasmill_epochs is damaged"
            ))
        };
        let entry = stored.read(EpochId(epoch), Version(version));
        entry.ok_or_else(damaged)
    });
    entries.collect()
}

/// A number that is never negative.
pub(super) fn unsigned(row: &Row<'_>, index: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(index)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(index, value))
}
