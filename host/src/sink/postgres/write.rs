//! One epoch in one transaction.
//!
//! Statements that do not depend on each other's answers are sent together, so an epoch costs about
//! three round trips and one for each table that gets rows. Rows reach their table by a temporary one and
//! an upsert, or straight ([`super::direct`]).

use std::pin::Pin;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::SinkExt;
use futures_util::future::join_all;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, CopyInSink, Error, Statement};

use super::encode::{Encoder, HEADER, TRAILER};
use super::failure::{Failure, cause};
use super::progress::{Fence, Owner};
use super::session::{Session, Staged};
use crate::epoch::{EpochOutput, OutputBatch};
use crate::record::Origin;
use crate::sink::SinkError;
use crate::sink::latest::{Survivors, survivors};
use crate::sink::letters::LetterTable;
use crate::sink::table::TableTarget;

/// Rows go to the server in pieces of about this size.
const CHUNK_BYTES: usize = 1 << 20;

/// A COPY that is under way.
pub(super) struct Copy<'a> {
    sink: Pin<Box<CopyInSink<Bytes>>>,
    buffer: &'a mut BytesMut,
}

impl<'a> Copy<'a> {
    /// Begins it. Nothing that is in `buffer` counts.
    pub(super) async fn start(
        client: &Client,
        statement: &Statement,
        buffer: &'a mut BytesMut,
    ) -> Result<Self, Error> {
        let sink = Box::pin(client.copy_in(statement).await?);
        buffer.clear();
        buffer.put_slice(HEADER);
        Ok(Self { sink, buffer })
    }

    /// Adds one row.
    pub(super) async fn row(&mut self, encode: impl FnOnce(&mut BytesMut)) -> Result<(), Error> {
        encode(self.buffer);
        if self.buffer.len() >= CHUNK_BYTES {
            let chunk = self.buffer.split().freeze();
            self.sink.feed(chunk).await?;
            self.buffer.reserve(CHUNK_BYTES);
        }
        Ok(())
    }

    /// Ends it; the rows are in the temporary table then.
    pub(super) async fn finish(mut self) -> Result<(), Error> {
        self.buffer.put_slice(TRAILER);
        let chunk = self.buffer.split().freeze();
        self.sink.feed(chunk).await?;
        self.sink.as_mut().finish().await?;
        Ok(())
    }
}

/// The rows of one epoch for one table, at most one of each key.
pub(super) struct TableRows<'a> {
    target: &'a TableTarget,
    batches: Vec<Survivors<'a>>,
}

impl<'a> TableRows<'a> {
    pub(super) fn new(target: &'a TableTarget, sources: &'a [OutputBatch]) -> Self {
        let winner = target.on_conflict().into();
        let batches = survivors(target.projector(), sources, target.key(), winner);
        Self { target, batches }
    }

    /// The table.
    pub(super) fn name(&self) -> &str {
        self.target.name()
    }

    /// The record of each row of a batch; empty where they are an aggregate's.
    pub(super) fn origins(&self, batch: usize) -> &[Origin] {
        self.batches[batch].origins
    }

    /// Whether they are made of records, each of which comes once, and not by an aggregate.
    pub(super) fn are_of_records(&self) -> bool {
        self.batches.iter().any(|batch| !batch.origins.is_empty())
    }

    /// Encoders of its batches.
    ///
    /// # Errors
    ///
    /// [`SinkError::Permanent`] names the first value that PostgreSQL cannot hold and its record.
    pub(super) fn encoders(&self) -> Result<Vec<Encoder<'_>>, SinkError> {
        self.batches
            .iter()
            .map(|batch| {
                Encoder::new(self.target.schema(), &batch.columns, batch.rows.as_deref())
                    .map_err(|refusal| refusal.into_error(self.target, batch.origins))
            })
            .collect()
    }
}

/// Rows of one table, ready to be sent.
pub(super) struct TableWrite<'a> {
    pub(super) rows: &'a TableRows<'a>,
    pub(super) encoders: Vec<Encoder<'a>>,
    pub(super) staged: &'a Staged,
    pub(super) buffer: &'a mut BytesMut,
    /// straight into the table: fails where it has one of the keys
    pub(super) is_direct: bool,
}

impl TableWrite<'_> {
    /// Writes them in the transaction that `client` is in.
    pub(super) async fn run(self, client: &Client) -> Result<(), Failure> {
        if self.encoders.iter().all(|encoder| encoder.len() == 0) {
            return Ok(());
        }
        let failed = || Failure::to(format!("write to table `{}`", self.rows.target.name()));
        let statement = if self.is_direct {
            &self.staged.direct
        } else {
            &self.staged.copy
        };
        let mut copy = Copy::start(client, statement, self.buffer)
            .await
            .map_err(failed())?;
        for encoder in &self.encoders {
            for row in encoder.rows() {
                let copied = copy.row(|out| encoder.encode(row, out)).await;
                // The message is made only when it is needed: this is done for every row.
                copied.map_err(|error| failed()(error))?;
            }
        }
        copy.finish().await.map_err(failed())?;
        if !self.is_direct {
            let upserted = client.execute(&self.staged.upsert, &[]).await;
            upserted.map_err(failed())?;
        }
        Ok(())
    }
}

/// Marks the letters that an epoch settles.
async fn settle(
    client: &Client,
    letters: &LetterTable,
    epoch: &EpochOutput,
) -> Result<(), Failure> {
    if epoch.settled.is_empty() {
        return Ok(());
    }
    let (mut partitions, mut offsets, mut stages) = (Vec::new(), Vec::new(), Vec::new());
    for (stage, records) in &epoch.settled {
        for record in records {
            partitions.push(i64::from(record.partition.0));
            offsets.push(record.offset);
            stages.push(&**stage);
        }
    }
    let record = "pipeline = $2 AND topic = $3 AND (partition, record_offset, stage) IN (
        SELECT * FROM unnest($4::bigint[], $5::bigint[], $6::text[]))";
    let sql = letters.settle_sql(("$1", "now()"), record);
    let (pipeline, topic) = letters.of();
    let version = i64::from(epoch.version.0);
    let values: [&(dyn ToSql + Sync); 6] =
        [&version, &pipeline, &topic, &partitions, &offsets, &stages];
    let settled = client.execute(&sql, &values).await;
    settled.map_err(Failure::to("settle dead letters"))?;
    Ok(())
}

/// Writes an epoch and returns once it is committed.
pub(super) async fn write_epoch(
    session: &Session,
    owner: &Owner,
    epoch: &EpochOutput,
    (letters, tables): (Option<&LetterTable>, Vec<TableWrite<'_>>),
) -> Result<(), Failure> {
    let client = session.client();
    let statements = &session.statements().progress;
    // The fence comes first and is waited for: nothing is written by a host that no longer owns the
    // pipeline, and no epoch twice.
    let (begun, fence) = tokio::join!(
        biased;
        client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED"),
        owner.advance(client, statements, epoch.epoch),
    );
    begun.map_err(Failure::to("begin a transaction"))?;
    match fence? {
        Fence::Next => {}
        Fence::Durable => {
            return client
                .batch_execute("ROLLBACK")
                .await
                .map_err(Failure::to("roll back"));
        }
    }

    // Before a record that is rejected again gets its new letter in the place of the old one.
    if let Some(letters) = letters {
        settle(client, letters, epoch).await?;
    }
    let (direct, tables): (Vec<_>, Vec<_>) = tables.into_iter().partition(|table| table.is_direct);
    for table in direct {
        // One may well fail, and the client loses its place where a COPY begins after that.
        table.run(client).await?;
    }
    let (tables, recorded) = tokio::join!(
        biased;
        join_all(tables.into_iter().map(|table| table.run(client))),
        owner.record(client, statements, epoch),
    );
    let failures = tables.into_iter().chain([recorded]);
    if let Some(failure) = cause(failures.filter_map(Result::err)) {
        return Err(failure);
    }
    client
        .batch_execute("COMMIT")
        .await
        .map_err(Failure::to(format!("commit epoch {}", epoch.epoch)))
}
