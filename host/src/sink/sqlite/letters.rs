//! Reads the dead letters that the ledger has written.

use std::ops::ControlFlow;
use std::path::Path;

use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat};
use rusqlite::{Connection, Row, params};
use serde_json::json;

use super::catalog::Existing;
use super::failure::Failure;
use super::file::DatabaseFile;
use super::off_the_runtime;
use super::table::FileTable;
use crate::dead_letter::{LetterStore, Selection, Settled, StoredLetter, Visit, parse_headers};
use crate::deployment::Version;
use crate::record::{Origin, Partition};
use crate::sink::SinkError;
use crate::sink::letters::LetterTable;

/// Which letters: `?1` the pipeline; of each other condition, null: it does not matter. Times are texts
/// that sort as time. The places are a JSON list of pairs.
const SELECTED: &str = "\
    pipeline = ?1
    AND (?7 OR settled_by IS NULL)
    AND (?2 IS NULL OR stage = ?2)
    AND (?3 IS NULL OR instr(reason, ?3) > 0)
    AND (?4 IS NULL OR written_at >= ?4)
    AND (?5 IS NULL OR written_at < ?5)
    AND (?6 IS NULL OR (partition, record_offset) IN (
        SELECT value ->> 0, value ->> 1 FROM json_each(?6)))";

/// The table of the dead letters of one pipeline.
pub struct SqliteLetters {
    file: DatabaseFile,
    pipeline: String,
    table: String,
}

impl SqliteLetters {
    /// The letters of `pipeline` in this table of the file.
    #[must_use]
    pub fn new(pipeline: &str, path: &Path, table: &str) -> Self {
        Self {
            file: DatabaseFile::new(path),
            pipeline: pipeline.to_owned(),
            table: table.to_owned(),
        }
    }

    fn read(
        &self,
        selection: &Selection,
        newest: Option<usize>,
        visit: &mut Visit<'_>,
    ) -> Result<(), Failure> {
        let letters = LetterTable::new(&self.table, &self.pipeline, "").map_err(Failure::Sink)?;
        let missing = || Failure::Sink(letters.missing(self.file.what()));
        let connection = self.file.look()?.ok_or_else(missing)?;
        let table = FileTable::new(letters.target().clone()).map_err(Failure::Sink)?;
        let existing = Existing::find(&connection, table.base())?.ok_or_else(missing)?;
        let lacks = existing.additions(&table).into_iter().map(|(name, _)| name);
        let differences = existing.base_differences(&table);
        let checked = letters.check(self.file.what(), &differences, lacks);
        checked.map_err(Failure::Sink)?;
        let sql = letters.select_sql(SELECTED, newest);
        self.visit_rows(&connection, &sql, selection, visit)
            .map_err(Failure::to("read the dead letters"))
    }

    fn visit_rows(
        &self,
        connection: &Connection,
        sql: &str,
        selection: &Selection,
        visit: &mut Visit<'_>,
    ) -> rusqlite::Result<()> {
        let places = selection.places.iter();
        let places: Vec<_> = places
            .map(|place| (place.partition.0, place.offset))
            .collect();
        let places = (!places.is_empty()).then(|| json!(places).to_string());
        let since = selection.since_ms.map(time);
        // The millisecond that is still meant has microseconds.
        let until = selection
            .until_ms
            .map(|until| time(until.saturating_add(1)));
        let mut select = connection.prepare(sql)?;
        let mut rows = select.query(params![
            self.pipeline,
            selection.stage,
            selection.reason,
            since,
            until,
            places,
            selection.with_settled
        ])?;
        while let Some(row) = rows.next()? {
            if let ControlFlow::Break(()) = visit(letter(row)?) {
                break;
            }
        }
        Ok(())
    }
}

/// As [`crate::sink::times`] writes it, for the years that it has four digits for.
fn time(ms: i64) -> String {
    let ms = ms.clamp(-62_135_596_800_000, 253_402_300_799_999);
    let time = DateTime::from_timestamp_millis(ms).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn letter(row: &Row<'_>) -> rusqlite::Result<StoredLetter> {
    let damaged = |column: usize, what: &str| {
        let error = format!("{what} that somebody changed");
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error.into())
    };
    let millis = |column: usize| -> rusqlite::Result<Option<i64>> {
        let text: Option<String> = row.get(column)?;
        let time = text.map(|text| DateTime::parse_from_rfc3339(&text));
        let time = time.transpose().map_err(|_| damaged(column, "a time"))?;
        Ok(time.map(|time| time.timestamp_millis()))
    };
    let document: String = row.get(4)?;
    let headers: Option<String> = row.get(12)?;
    let headers = headers.map_or(Some(Vec::new()), |json| parse_headers(&json));
    Ok(StoredLetter {
        topic: row.get(0)?,
        origin: Origin {
            partition: Partition(row.get(1)?),
            offset: row.get(2)?,
        },
        document: Some(document).filter(|document| !document.is_empty()),
        stage: row.get(3)?,
        component: row.get(5)?,
        column: row.get(6)?,
        reason: row.get(7)?,
        timestamp_ms: millis(10)?,
        key: row.get(11)?,
        headers: headers.ok_or_else(|| damaged(12, "headers"))?,
        value: row.get(13)?,
        left_out_bytes: None,
        epoch: row.get::<_, i64>(8)?.try_into().ok(),
        written_ms: millis(9)?,
        settled: match row.get::<_, Option<u32>>(14)? {
            Some(version) => Some(Settled {
                version: Version(version),
                at_ms: millis(15)?,
            }),
            None => None,
        },
    })
}

#[async_trait]
impl LetterStore for SqliteLetters {
    fn place(&self) -> String {
        format!("table {} in {}", self.table, self.file.what())
    }

    async fn scan(
        &mut self,
        selection: &Selection,
        newest: Option<usize>,
        visit: &mut Visit<'_>,
    ) -> Result<(), SinkError> {
        off_the_runtime(|| self.read(selection, newest, visit))
            .map_err(|failure| failure.into_sink_error(self.file.what()))
    }
}
