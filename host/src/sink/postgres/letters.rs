//! Reads the dead letters that the ledger has written.

use std::ops::ControlFlow;
use std::pin::pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use futures_util::TryStreamExt;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::catalog::Existing;
use super::failure::Failure;
use super::session::{Server, Session, column};
use crate::config::Secret;
use crate::dead_letter::{LetterStore, Selection, Settled, StoredLetter, Visit, parse_headers};
use crate::deployment::Version;
use crate::record::{Origin, Partition};
use crate::sink::SinkError;
use crate::sink::letters::LetterTable;

/// A scan takes as long as it takes; nobody else waits for it, and it changes nothing.
const SETTINGS: &str = "SET statement_timeout = 0; SET default_transaction_read_only = on";

/// Which letters: `$1` the pipeline; of each other condition, null: it does not matter.
const SELECTED: &str = "\
    pipeline = $1
    AND ($8 OR settled_by IS NULL)
    AND ($2::text IS NULL OR stage = $2)
    AND ($3::text IS NULL OR strpos(reason, $3) > 0)
    AND ($4::timestamptz IS NULL OR written_at >= $4)
    AND ($5::timestamptz IS NULL OR written_at < $5)
    AND ($6::bigint[] IS NULL
         OR (partition, record_offset) IN (SELECT * FROM unnest($6::bigint[], $7::bigint[])))";

/// The table of the dead letters of one pipeline.
pub struct PostgresLetters {
    server: Server,
    pipeline: String,
    table: LetterTable,
}

impl PostgresLetters {
    /// The letters of `pipeline` in this table of the sink's database.
    ///
    /// # Errors
    ///
    /// [`SinkError::Permanent`] when `url` is no `postgres://` URL, or the table's name is none; the
    /// message does not quote the URL.
    pub fn new(sink: &str, pipeline: &str, url: &Secret, table: &str) -> Result<Self, SinkError> {
        Ok(Self {
            server: Server::new(sink, pipeline, url)?,
            pipeline: pipeline.to_owned(),
            table: LetterTable::new(table, pipeline, "")?,
        })
    }

    async fn check(&self, session: &Session) -> Result<(), Failure> {
        let target = self.table.target();
        let Some(existing) = Existing::find(session.client(), target.quoted()).await? else {
            return Err(Failure::Sink(self.table.missing(self.server.what())));
        };
        let differences = existing.differences(target);
        let lacks = existing.additions(target).into_iter().map(|(name, _)| name);
        let checked = self.table.check(self.server.what(), &differences, lacks);
        checked.map_err(Failure::Sink)
    }

    async fn read(
        &self,
        session: &Session,
        selection: &Selection,
        newest: Option<usize>,
        visit: &mut Visit<'_>,
    ) -> Result<(), Failure> {
        let failed = || Failure::to("read the dead letters");
        let client = session.client();
        client.batch_execute(SETTINGS).await.map_err(failed())?;
        self.check(session).await?;
        let places = selection.places.iter();
        let (partitions, offsets): (Vec<i64>, Vec<i64>) = places
            .map(|place| (i64::from(place.partition.0), place.offset))
            .unzip();
        let partitions = Some(partitions).filter(|partitions| !partitions.is_empty());
        let since = selection.since_ms.map(time);
        // The millisecond that is still meant has microseconds.
        let until = selection
            .until_ms
            .map(|until| time(until.saturating_add(1)));
        let values: [&(dyn ToSql + Sync); 8] = [
            &self.pipeline,
            &selection.stage,
            &selection.reason,
            &since,
            &until,
            &partitions,
            &offsets,
            &selection.with_settled,
        ];
        let sql = self.table.select_sql(SELECTED, newest);
        let rows = client.query_raw(&sql, values).await.map_err(failed())?;
        let mut rows = pin!(rows);
        while let Some(row) = rows.try_next().await.map_err(failed())? {
            if let ControlFlow::Break(()) = visit(letter(&row)?) {
                break;
            }
        }
        Ok(())
    }
}

fn time(ms: i64) -> SystemTime {
    // Beyond what the server knows, nothing is selected or everything, as is meant.
    let ms = ms.clamp(-62_135_596_800_000, 253_402_300_799_999);
    let distance = Duration::from_millis(ms.unsigned_abs());
    if ms < 0 {
        UNIX_EPOCH - distance
    } else {
        UNIX_EPOCH + distance
    }
}

fn millis(time: SystemTime) -> Option<i64> {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).ok(),
        Err(before) => i64::try_from(before.duration().as_millis())
            .ok()
            .map(|ms| -ms),
    }
}

fn settled(row: &Row) -> Result<Option<Settled>, Failure> {
    let version = column::<Option<i64>>(row, 14)?.and_then(|version| version.try_into().ok());
    let at_ms = column::<Option<SystemTime>>(row, 15)?.and_then(millis);
    Ok(version.map(|version| Settled {
        version: Version(version),
        at_ms,
    }))
}

fn letter(row: &Row) -> Result<StoredLetter, Failure> {
    let partition: i64 = column(row, 1)?;
    let offset = column(row, 2)?;
    let damaged = |what: &str| {
        Failure::permanent(format!(
            "the dead letter {partition}:{offset} has {what} that were changed by somebody"
        ))
    };
    let document: String = column(row, 4)?;
    let headers = column::<Option<&str>>(row, 12)?.map(parse_headers);
    Ok(StoredLetter {
        topic: column(row, 0)?,
        origin: Origin {
            partition: Partition(u32::try_from(partition).map_err(|_| damaged("partitions"))?),
            offset,
        },
        document: Some(document).filter(|document| !document.is_empty()),
        stage: column(row, 3)?,
        component: column(row, 5)?,
        column: column(row, 6)?,
        reason: column(row, 7)?,
        timestamp_ms: column::<Option<SystemTime>>(row, 10)?.and_then(millis),
        key: column(row, 11)?,
        headers: headers
            .unwrap_or(Some(Vec::new()))
            .ok_or_else(|| damaged("headers"))?,
        value: column(row, 13)?,
        left_out_bytes: None,
        epoch: u64::try_from(column::<i64>(row, 8)?).ok(),
        written_ms: millis(column(row, 9)?),
        settled: settled(row)?,
    })
}

#[async_trait]
impl LetterStore for PostgresLetters {
    fn place(&self) -> String {
        format!(
            "table {} in {}",
            self.table.target().name(),
            self.server.what()
        )
    }

    async fn scan(
        &mut self,
        selection: &Selection,
        newest: Option<usize>,
        visit: &mut Visit<'_>,
    ) -> Result<(), SinkError> {
        let session = Session::open(&self.server).await?;
        let read = self.read(&session, selection, newest, visit).await;
        session.close().await;
        read.map_err(|failure| failure.into_sink_error(self.server.what()))
    }
}
