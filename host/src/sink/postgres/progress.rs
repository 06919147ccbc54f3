//! Who owns a pipeline, how far each of its sinks has come, and the journal of its epochs.
//!
//! # Invariants
//!
//! 1. Every row of a pipeline in `wasmill_progress` has the generation of the host that owns it.
//! 2. The journal reaches back to the oldest checkpoint that is kept and to the epoch that the slowest
//!    sink has confirmed. It always has the newest epoch, and the first one, which says where
//!    everything began.

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Statement};

use super::deployments;
use super::failure::Failure;
use super::session::{column, unsigned};
use super::write::TableWrite;
use crate::deployment::Version;
use crate::epoch::{EpochId, EpochOutput, JournalEntry};
use crate::sink::journal::{StoredEntry, not_ours};

/// The tables that every pipeline of a database shares.
pub(super) const TABLES: [(&str, &str); 4] = [
    (
        "wasmill_pipelines",
        "CREATE TABLE wasmill_pipelines (
            pipeline text PRIMARY KEY, life text NOT NULL, definition jsonb NOT NULL)",
    ),
    (
        "wasmill_progress",
        "CREATE TABLE wasmill_progress (
            pipeline text, sink text, epoch bigint NOT NULL, generation bigint NOT NULL,
            PRIMARY KEY (pipeline, sink))",
    ),
    (
        "wasmill_epochs",
        "CREATE TABLE wasmill_epochs (
            pipeline text, epoch bigint, deployment bigint NOT NULL, offsets jsonb NOT NULL,
            excluded jsonb NOT NULL, rejected jsonb NOT NULL, readmitted jsonb NOT NULL,
            dead_letter_bytes bigint,
            xid xid8 NOT NULL DEFAULT pg_current_xact_id(), PRIMARY KEY (pipeline, epoch))",
    ),
    ("wasmill_deployments", deployments::CREATE),
];

/// The rows are locked until the transaction ends: a second host waits here, then finds none.
const FENCE: &str = "\
    UPDATE wasmill_progress SET epoch = $3::bigint
    WHERE pipeline = $1 AND sink = $2 AND generation = $4 AND epoch = $3::bigint - 1";

const PROGRESS: &str = "\
    SELECT epoch, generation FROM wasmill_progress WHERE pipeline = $1 AND sink = $2 FOR UPDATE";

/// The newest entry of the journal is always there, so one row is updated if the sink's is.
const CONFIRM: &str = "\
    WITH confirmed AS (
        UPDATE wasmill_progress SET epoch = $3::bigint
        WHERE pipeline = $1 AND sink = $2 AND generation = $4 AND epoch <= $3::bigint
        RETURNING epoch)
    UPDATE wasmill_epochs SET dead_letter_bytes = coalesce($5, dead_letter_bytes)
    WHERE pipeline = $1 AND EXISTS (SELECT FROM confirmed)
    AND epoch = (SELECT max(epoch) FROM wasmill_epochs WHERE pipeline = $1)";

const RECORD: &str = "\
    INSERT INTO wasmill_epochs
        (pipeline, epoch, offsets, excluded, rejected, readmitted, dead_letter_bytes, deployment)
    VALUES ($1, $2, $3::text::jsonb, $4::text::jsonb, $5::text::jsonb, $6::text::jsonb, $7, $8)";

const PRUNE: &str = "\
    DELETE FROM wasmill_epochs WHERE pipeline = $1 AND epoch > 1 AND epoch < least($3, (
        SELECT min(epoch) FROM wasmill_progress WHERE pipeline = $1 AND sink = ANY ($2)))";

const JOURNAL: &str = "\
    SELECT epoch, deployment, offsets::text, excluded::text, rejected::text, readmitted::text
    FROM wasmill_epochs
    WHERE pipeline = $1 AND epoch > $2 ORDER BY epoch LIMIT $3";

/// What is prepared once per connection.
pub(super) struct Statements {
    fence: Statement,
    confirm: Statement,
    record: Statement,
}

impl Statements {
    pub(super) async fn prepare(client: &Client) -> Result<Self, Error> {
        let (fence, confirm, record) = tokio::try_join!(
            client.prepare(FENCE),
            client.prepare(CONFIRM),
            client.prepare(RECORD)
        )?;
        Ok(Self {
            fence,
            confirm,
            record,
        })
    }
}

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
    /// Takes the place of `epoch` in the transaction that `client` is in.
    pub(super) async fn advance(
        &self,
        client: &Client,
        statements: &Statements,
        epoch: EpochId,
    ) -> Result<Fence, Failure> {
        let (id, generation) = (epoch.0.cast_signed(), self.generation.cast_signed());
        let values: [&(dyn ToSql + Sync); 4] = [&self.pipeline, &self.ledger, &id, &generation];
        let updated = client
            .execute(&statements.fence, &values)
            .await
            .map_err(Failure::to("write to wasmill_progress"))?;
        if updated > 0 {
            return Ok(Fence::Next);
        }
        let stored = self.stored(client, &self.ledger).await?;
        if stored >= epoch {
            return Ok(Fence::Durable);
        }
        Err(Failure::permanent(format!(
            "epoch {epoch} of pipeline `{}` cannot be written: wasmill_progress says that epoch {stored} was the last one. \
             If the database was set back, to a backup perhaps, start the pipeline again",
            self.pipeline
        )))
    }

    /// Notes that `sink` has made `epoch` durable but for what is in `letters`, which become dead
    /// letters. Losing a confirmation without any at a crash of the server costs a repeated write, so
    /// the transaction does not wait for the disk.
    pub(super) async fn confirm(
        &self,
        client: &Client,
        statements: &Statements,
        (sink, epoch, dead_letter_bytes): (&str, EpochId, Option<u64>),
        letters: Option<TableWrite<'_>>,
    ) -> Result<(), Failure> {
        let failed = || Failure::to("write to wasmill_progress");
        let (epoch, generation) = (epoch.0.cast_signed(), self.generation.cast_signed());
        let dead_letter_bytes = dead_letter_bytes.map(u64::cast_signed);
        let values: [&(dyn ToSql + Sync); 5] = [
            &self.pipeline,
            &sink,
            &epoch,
            &generation,
            &dead_letter_bytes,
        ];
        if let Some(letters) = letters {
            client.batch_execute("BEGIN").await.map_err(failed())?;
            let updated = client.execute(&statements.confirm, &values).await;
            if updated.map_err(failed())? == 0 {
                client.batch_execute("ROLLBACK").await.map_err(failed())?;
                return self.stored(client, sink).await.map(drop);
            }
            letters.run(client).await?;
            return client.batch_execute("COMMIT").await.map_err(failed());
        }
        let opening = match dead_letter_bytes {
            // Letters in a file must not outlive the confirmation that they belong to.
            Some(_) => "BEGIN",
            None => "BEGIN; SET LOCAL synchronous_commit = off",
        };
        let (begun, updated, committed) = tokio::join!(
            biased;
            client.batch_execute(opening),
            client.execute(&statements.confirm, &values),
            client.batch_execute("COMMIT"),
        );
        begun.map_err(failed())?;
        let updated = updated.map_err(failed())?;
        committed.map_err(failed())?;
        if updated == 0 {
            // Where this does not fail, the sink was further already.
            self.stored(client, sink).await?;
        }
        Ok(())
    }

    /// The last epoch of a sink, as long as this host owns the pipeline.
    pub(super) async fn stored(&self, client: &Client, sink: &str) -> Result<EpochId, Failure> {
        let row = client
            .query_opt(PROGRESS, &[&self.pipeline, &sink])
            .await
            .map_err(Failure::to("read wasmill_progress"))?
            .ok_or_else(|| {
                Failure::permanent(format!(
                    "the row of pipeline `{}` and sink `{sink}` in wasmill_progress is gone: somebody deleted it while the pipeline ran",
                    self.pipeline
                ))
            })?;
        let theirs = unsigned(&row, 1)?;
        if theirs != self.generation {
            let not_ours = not_ours(&self.pipeline, self.generation, theirs);
            return Err(Failure::Sink(not_ours));
        }
        Ok(EpochId(unsigned(&row, 0)?))
    }

    /// Writes the journal entry of an epoch.
    pub(super) async fn record(
        &self,
        client: &Client,
        statements: &Statements,
        epoch: &EpochOutput,
    ) -> Result<(), Failure> {
        let id = epoch.epoch.0.cast_signed();
        let stored = StoredEntry::of(epoch);
        let dead_letter_bytes = epoch.dead_letter_bytes.map(u64::cast_signed);
        let version = i64::from(epoch.version.0);
        let entry: [&(dyn ToSql + Sync); 8] = [
            &self.pipeline,
            &id,
            &stored.offsets,
            &stored.excluded,
            &stored.rejected,
            &stored.readmitted,
            &dead_letter_bytes,
            &version,
        ];
        client
            .execute(&statements.record, &entry)
            .await
            .map_err(Failure::to("write to wasmill_epochs"))?;
        match &epoch.deployed {
            Some(deployed) => deployments::record(client, &self.pipeline, deployed).await,
            None => Ok(()),
        }
    }

    /// Forgets the entries of epochs before `oldest`, but for those that a sink still needs.
    pub(super) async fn forget(&self, client: &Client, oldest: EpochId) -> Result<(), Failure> {
        client
            .batch_execute("BEGIN; SET LOCAL synchronous_commit = off")
            .await
            .map_err(Failure::to("begin a transaction"))?;
        // Fails where another host owns the pipeline; if not, none does until the transaction ends.
        self.stored(client, &self.ledger).await?;
        let oldest = oldest.0.cast_signed();
        let needed: [&(dyn ToSql + Sync); 3] = [&self.pipeline, &self.sinks, &oldest];
        let (pruned, committed) = tokio::join!(
            biased;
            client.execute(PRUNE, &needed),
            client.batch_execute("COMMIT"),
        );
        pruned
            .and(committed)
            .map_err(Failure::to("write to wasmill_epochs"))
    }
}

/// The committed epochs after `after`, in order, and so many of them at most.
pub(super) async fn journal(
    client: &Client,
    pipeline: &str,
    (after, entries_max): (EpochId, usize),
) -> Result<Vec<JournalEntry>, Failure> {
    let entries_max = i64::try_from(entries_max).unwrap_or(i64::MAX);
    client
        .query(JOURNAL, &[&pipeline, &after.0.cast_signed(), &entries_max])
        .await
        .map_err(Failure::to("read wasmill_epochs"))?
        .iter()
        .map(|row| {
            let epoch = EpochId(unsigned(row, 0)?);
            let damaged = || {
                Failure::permanent(format!(
                    "the entry of pipeline `{pipeline}`, epoch {epoch} in wasmill_epochs is damaged"
                ))
            };
            let version = u32::try_from(unsigned(row, 1)?).map_err(|_| damaged())?;
            let stored = StoredEntry::<&str> {
                offsets: column(row, 2)?,
                excluded: column(row, 3)?,
                rejected: column(row, 4)?,
                readmitted: column(row, 5)?,
            };
            stored.read(epoch, Version(version)).ok_or_else(damaged)
        })
        .collect()
}
