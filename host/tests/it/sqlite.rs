//! The SQLite ledger on real files: what its contract does not ask of every ledger.

mod versions;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{Decimal64Array, Float64Array, RecordBatch, StringArray};
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;
use wasmill::config::{OnConflict, Table};
use wasmill::epoch::{EpochId, EpochOutput, JournalEntry, OutputBatch};
use wasmill::record::{Origin, Partition, Positions};
use wasmill::schema::{DataType, Field, Schema};
use wasmill::sink::sqlite::SqliteLedger;
use wasmill::sink::table::TableTarget;
use wasmill::sink::{Ledger, Remedy, Sink, SinkError};

/// A folder with a file in it that is not there yet.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("sales.sqlite3")
    }

    /// Another program's connection.
    fn file(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    fn sql(&self, sql: &str) {
        self.file().execute_batch(sql).unwrap();
    }

    fn text(&self, sql: &str) -> String {
        self.file().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    fn number(&self, sql: &str) -> i64 {
        self.file().query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

fn sales(scale: u8) -> Schema {
    Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("amount", DataType::Decimal(scale), false),
    ])
    .unwrap()
}

fn target(on_conflict: OnConflict, stream: &Schema) -> TableTarget {
    let table = Table {
        from: "sales".into(),
        table: "sales".into(),
        key: vec!["id".into()],
        columns: None,
        on_conflict,
        span: 0..0,
    };
    TableTarget::new(&table, stream).unwrap()
}

fn ledger_of(path: &Path, pipeline: &str, target: TableTarget) -> SqliteLedger {
    SqliteLedger::new("file", pipeline, path, vec![target]).unwrap()
}

fn ledger(path: &Path) -> SqliteLedger {
    ledger_of(path, "shop", target(OnConflict::Update, &sales(2)))
}

async fn claimed(path: &Path) -> SqliteLedger {
    let mut ledger = ledger(path);
    ledger.prepare().await.unwrap();
    ledger.claim(&json!({}), &[]).await.unwrap();
    ledger
}

fn origin(offset: i64) -> Origin {
    Origin {
        partition: Partition(0),
        offset,
    }
}

/// Rows of `sales`: id, cents, offset.
fn batch(rows: &[(&str, i64, i64)]) -> OutputBatch {
    let amounts = rows.iter().map(|row| row.1).collect::<Decimal64Array>();
    let columns = RecordBatch::try_new(
        Arc::clone(sales(2).arrow()),
        vec![
            Arc::new(rows.iter().map(|row| Some(row.0)).collect::<StringArray>()),
            Arc::new(amounts.with_data_type(DataType::Decimal(2).to_arrow())),
        ],
    );
    OutputBatch {
        columns: columns.unwrap(),
        origins: rows.iter().map(|row| origin(row.2)).collect(),
    }
}

fn epoch(number: u64, batches: Vec<OutputBatch>) -> EpochOutput {
    EpochOutput {
        epoch: EpochId(number),
        positions: Positions::from_iter([(Partition(0), 10 * number.cast_signed())]),
        streams: BTreeMap::from([("sales".into(), batches)]),
        ..EpochOutput::default()
    }
}

async fn write(ledger: &mut SqliteLedger, epoch: &EpochOutput) {
    let durable = ledger.write(epoch).await.unwrap();
    assert!(durable.refused.is_empty());
}

#[track_caller]
fn permanent<T>(result: Result<T, SinkError>) -> String {
    match result {
        Err(error) if error.remedy() == Remedy::Stop => error.to_string(),
        Err(error) => panic!("not for ever: {error}"),
        Ok(_) => panic!("this has to be refused"),
    }
}

#[tokio::test]
async fn money_is_exact_below_and_has_its_point_above() {
    let place = Place::new();
    let mut ledger = claimed(&place.path()).await;
    let rows = [("a", -5, 0), ("b", 123_456, 1), ("c", 100, 2)];
    write(&mut ledger, &epoch(1, vec![batch(&rows)])).await;
    let shown = "SELECT group_concat(amount, ' ') FROM (SELECT amount FROM sales ORDER BY id)";
    assert_eq!(place.text(shown), "-0.05 1234.56 1.00");
    assert_eq!(place.number("SELECT sum(amount) FROM sales_minor"), 123_551);
    let scale = "SELECT scale FROM wasmill_decimals WHERE relation = 'sales_minor'";
    assert_eq!(place.number(scale), 2);
}

#[tokio::test]
async fn a_conflict_that_is_ignored_keeps_the_older_row() {
    let place = Place::new();
    let target = target(OnConflict::Ignore, &sales(2));
    let mut ledger = ledger_of(&place.path(), "shop", target);
    ledger.prepare().await.unwrap();
    ledger.claim(&json!({}), &[]).await.unwrap();
    let first = batch(&[("a", 3, 3), ("a", 1, 1), ("a", 2, 2)]);
    write(&mut ledger, &epoch(1, vec![first])).await;
    write(&mut ledger, &epoch(2, vec![batch(&[("a", 4, 4)])])).await;
    assert_eq!(place.text("SELECT amount FROM sales"), "0.01");
}

#[tokio::test]
async fn a_reader_sees_whole_epochs_while_the_next_one_is_written() {
    let place = Place::new();
    let mut ledger = claimed(&place.path()).await;
    write(&mut ledger, &epoch(1, vec![batch(&[("a", 1, 0)])])).await;
    let reader = place.file();
    reader.execute_batch("BEGIN").unwrap();
    let count = || -> i64 {
        let sql = "SELECT count(*) FROM sales";
        reader.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!(count(), 1);
    write(&mut ledger, &epoch(2, vec![batch(&[("b", 2, 1)])])).await;
    assert_eq!(count(), 1, "its own transaction stands still");
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(count(), 2);
    assert_eq!(place.text("PRAGMA journal_mode"), "wal");
}

#[tokio::test]
async fn another_writer_is_waited_for_and_named() {
    let place = Place::new();
    let mut ledger = claimed(&place.path()).await;
    let other = place.file();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let first = epoch(1, vec![batch(&[("a", 1, 0)])]);
    let error = ledger.write(&first).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::Retry, "{error}");
    let message = error.to_string();
    assert!(message.contains("another process is writing"), "{message}");
    assert!(message.contains("sales.sqlite3"), "{message}");
    other.execute_batch("ROLLBACK").unwrap();
    write(&mut ledger, &first).await;
    assert_eq!(place.number("SELECT count(*) FROM sales"), 1);
}

#[tokio::test]
async fn the_records_whose_rows_are_refused_are_named_and_nothing_is_left_behind() {
    let place = Place::new();
    let mut ledger = claimed(&place.path()).await;
    place.sql(
        "CREATE TRIGGER refuse BEFORE INSERT ON sales_minor WHEN new.id = 'z'
         BEGIN SELECT raise(ABORT, 'no z'); END",
    );
    let both = epoch(1, vec![batch(&[("a", 1, 0), ("z", 2, 1)])]);
    let SinkError::Refused(records) = ledger.write(&both).await.unwrap_err() else {
        panic!("the trigger refuses a row");
    };
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].origin, origin(1));
    let reason = &records[0].reason;
    assert!(
        reason.contains("no z") && reason.contains("sales"),
        "{reason}"
    );
    assert_eq!(place.number("SELECT count(*) FROM sales"), 0);
    assert_eq!(place.number("SELECT max(epoch) FROM wasmill_progress"), 0);
    place.sql("DROP TRIGGER refuse");
    write(&mut ledger, &both).await;
    assert_eq!(place.number("SELECT count(*) FROM sales"), 2);
}

#[tokio::test]
async fn the_journal_reaches_back_to_the_slowest_sink() {
    let place = Place::new();
    let mut ledger = claimed(&place.path()).await;
    let search = ["search".to_owned()];
    ledger.claim(&json!({}), &search).await.unwrap();
    for number in 1..=3 {
        let mut output = epoch(number, vec![]);
        output.excluded = BTreeSet::from([origin(3)]);
        write(&mut ledger, &output).await;
    }
    let ids = |journal: Vec<JournalEntry>| -> Vec<u64> {
        journal.iter().map(|entry| entry.epoch.0).collect()
    };
    ledger
        .confirm("search", EpochId(2), &[], None)
        .await
        .unwrap();
    ledger
        .confirm("search", EpochId(1), &[], None)
        .await
        .unwrap();
    write(&mut ledger, &epoch(4, vec![])).await;
    ledger.checkpointed(EpochId(4)).await.unwrap();
    assert_eq!(
        ids(ledger.journal(EpochId(0), usize::MAX).await.unwrap()),
        [1, 2, 3, 4]
    );

    ledger.claim(&json!({}), &[]).await.unwrap();
    write(&mut ledger, &epoch(5, vec![])).await;
    ledger.checkpointed(EpochId(5)).await.unwrap();
    assert_eq!(
        ids(ledger.journal(EpochId(0), usize::MAX).await.unwrap()),
        [1, 5]
    );
    let message = permanent(ledger.claim(&json!({}), &search).await);
    let begins = "the journal now begins at epoch 5";
    assert!(message.contains(begins), "{message}");
    let late = ["archive".to_owned()];
    let message = permanent(ledger.claim(&json!({}), &late).await);
    assert!(message.contains("sink `archive` is new"), "{message}");
}

#[tokio::test]
async fn a_refused_definition_says_how_to_start_anew() {
    let place = Place::new();
    let mut ledger = claimed(&place.path()).await;
    write(&mut ledger, &epoch(1, vec![])).await;
    let message = permanent(ledger.claim(&json!({"seed": 0.1}), &[]).await);
    assert!(
        message.contains("seed was missing, is now 0.1"),
        "{message}"
    );
    let forget = message
        .lines()
        .find(|line| line.contains("DELETE"))
        .unwrap();
    place.sql(forget);
    let claim = ledger.claim(&json!({"seed": 0.1}), &[]).await.unwrap();
    assert_eq!((claim.epoch, claim.generation), (EpochId(0), 1));
    ledger.claim(&json!({"seed": 0.1}), &[]).await.unwrap();
}

#[tokio::test]
async fn pipelines_of_one_file_do_not_meet() {
    let place = Place::new();
    let mut one = claimed(&place.path()).await;
    let mut other = ledger_of(
        &place.path(),
        "other",
        target(OnConflict::Update, &sales(2)),
    );
    other.prepare().await.unwrap();
    other.claim(&json!({}), &[]).await.unwrap();
    write(&mut one, &epoch(1, vec![batch(&[("a", 1, 0)])])).await;
    write(&mut other, &epoch(1, vec![batch(&[("b", 1, 0)])])).await;
    write(&mut one, &epoch(2, vec![])).await;
    assert_eq!(place.number("SELECT count(*) FROM sales"), 2);
    assert_eq!(
        other.claim(&json!({}), &[]).await.unwrap().epoch,
        EpochId(1)
    );
}

#[tokio::test]
async fn tables_that_do_not_fit_are_refused_with_every_difference_and_nothing_is_created() {
    let place = Place::new();
    place.sql("CREATE TABLE sales_minor (id TEXT, amount REAL); CREATE TABLE sales (a)");
    for message in [
        permanent(ledger(&place.path()).prepare().await),
        permanent(ledger(&place.path()).check().await),
    ] {
        for wanted in [
            "column `amount` is REAL, but has to be INTEGER (decimal(2))",
            "no primary key or unique index is on exactly (id)",
            "`sales` is a table, where a view over `sales_minor` would be",
        ] {
            assert!(message.contains(wanted), "`{wanted}` in {message}");
        }
    }
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'wasmill%'";
    assert_eq!(place.number(tables), 0);
}

#[tokio::test]
async fn minor_units_of_another_scale_are_refused() {
    let place = Place::new();
    let mut first = claimed(&place.path()).await;
    write(&mut first, &epoch(1, vec![batch(&[("a", 123, 0)])])).await;
    let mut other = ledger_of(&place.path(), "shop", target(OnConflict::Update, &sales(4)));
    let message = permanent(other.prepare().await);
    let wanted = "column `amount` holds decimal(2) as minor units, and is decimal(4) now";
    assert!(message.contains(wanted), "{message}");
    assert_eq!(permanent(other.check().await), message);
}

#[tokio::test]
async fn a_view_that_was_dropped_or_is_of_another_version_is_made_again() {
    let place = Place::new();
    let mut first = claimed(&place.path()).await;
    write(&mut first, &epoch(1, vec![batch(&[("a", 123, 0)])])).await;
    place.sql("DROP VIEW sales");
    claimed(&place.path()).await;
    assert_eq!(place.text("SELECT amount FROM sales"), "1.23");
    place.sql("DROP VIEW sales; CREATE VIEW sales AS /* made by wasmill */ SELECT 1 AS amount");
    claimed(&place.path()).await;
    assert_eq!(place.text("SELECT amount FROM sales"), "1.23");
    place.sql("DROP VIEW sales; CREATE VIEW sales AS SELECT 1 AS amount");
    let message = permanent(ledger(&place.path()).prepare().await);
    assert!(message.contains("somebody else made"), "{message}");
}

#[tokio::test]
async fn a_check_creates_nothing() {
    let place = Place::new();
    let below = place.0.path().join("not/there/yet.sqlite3");
    let mut ledger = ledger(&below);
    ledger.check().await.unwrap();
    ledger.check_claim(&json!({}), &[]).await.unwrap();
    assert!(!place.0.path().join("not").exists());
    ledger.prepare().await.unwrap();
    assert!(below.exists(), "the folder is created with the file");
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_named_with_what_to_do() {
    let place = Place::new();
    let text = place.0.path().join("notes.txt");
    fs::write(&text, "no database, just a few words. ".repeat(200)).unwrap();
    let message = permanent(ledger(&text).prepare().await);
    assert!(message.contains("notes.txt"), "{message}");
    assert!(message.contains("another kind of file"), "{message}");
    let message = permanent(ledger(&text).check().await);
    assert!(message.contains("another kind of file"), "{message}");

    let message = permanent(ledger(place.0.path()).prepare().await);
    assert!(
        message.contains("see that `path` names a file"),
        "{message}"
    );

    let below_a_file = text.join("sales.sqlite3");
    let message = permanent(ledger(&below_a_file).prepare().await);
    assert!(message.contains("create its folder"), "{message}");
    let message = permanent(ledger(&below_a_file).check().await);
    assert!(message.contains("notes.txt"), "{message}");
}

#[tokio::test]
async fn a_file_that_goes_away_stops_the_pipeline() {
    let place = Place::new();
    let mut ledger = claimed(&place.path()).await;
    write(&mut ledger, &epoch(1, vec![])).await;
    let away = place.0.path().join("away.sqlite3");
    fs::rename(place.path(), &away).unwrap();
    let message = permanent(ledger.write(&epoch(2, vec![])).await);
    assert!(message.contains("was removed while"), "{message}");

    let mut ledger = claimed(&place.path()).await;
    fs::rename(&away, place.path()).unwrap();
    let message = permanent(ledger.write(&epoch(1, vec![])).await);
    assert!(
        message.contains("was replaced by another file"),
        "{message}"
    );
}

#[tokio::test]
async fn a_file_that_was_put_back_from_a_copy_is_no_place_for_the_next_epoch() {
    let place = Place::new();
    let mut ledger = claimed(&place.path()).await;
    for number in 1..=3 {
        write(&mut ledger, &epoch(number, vec![])).await;
    }
    place.sql("UPDATE wasmill_progress SET epoch = 1");
    let message = permanent(ledger.write(&epoch(4, vec![])).await);
    assert!(message.contains("epoch 1 was the last one"), "{message}");
}

#[tokio::test]
async fn a_value_that_cannot_be_stored_is_named_with_its_record() {
    let place = Place::new();
    let stream = Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("ratio", DataType::Float64, true),
    ])
    .unwrap();
    let mut ledger = ledger_of(&place.path(), "shop", target(OnConflict::Update, &stream));
    ledger.prepare().await.unwrap();
    ledger.claim(&json!({}), &[]).await.unwrap();
    let rows = |ratio: f64| OutputBatch {
        columns: RecordBatch::try_new(
            Arc::clone(stream.arrow()),
            vec![
                Arc::new(StringArray::from(vec!["a"])),
                Arc::new(Float64Array::from(vec![ratio])),
            ],
        )
        .unwrap(),
        origins: vec![origin(47)],
    };
    let message = permanent(ledger.write(&epoch(1, vec![rows(f64::NAN)])).await);
    assert!(
        message
            .contains("column `ratio`: the value from the record at partition 0, offset 47 is NaN"),
        "{message}"
    );
    write(&mut ledger, &epoch(1, vec![rows(f64::INFINITY)])).await;
}

/// Two hosts race for every epoch, on threads of a real runtime.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_hosts_only_the_newer_one_writes() {
    let place = Place::new();
    let mut old = claimed(&place.path()).await;
    let path = place.path();
    let racing = tokio::spawn(async move {
        let started = Instant::now();
        let mut number = 1_u64;
        while started.elapsed() < Duration::from_mins(1) {
            let row = [("old", number.cast_signed(), number.cast_signed())];
            match old.write(&epoch(number, vec![batch(&row)])).await {
                Ok(_) => number += 1,
                Err(SinkError::Fenced { ours, theirs, .. }) => {
                    assert_eq!((ours, theirs), (1, 2));
                    return number;
                }
                Err(error) => assert_eq!(error.remedy(), Remedy::Retry, "{error}"),
            }
        }
        panic!("nobody took over");
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    let mut new = ledger(&path);
    // The old host holds the file nearly all the time.
    while let Err(error) = new.prepare().await {
        assert_eq!(error.remedy(), Remedy::Retry, "{error}");
    }
    let claim = loop {
        match new.claim(&json!({}), &[]).await {
            Ok(claim) => break claim,
            Err(error) => assert_eq!(error.remedy(), Remedy::Retry, "{error}"),
        }
    };
    let next = claim.epoch.0 + 1;
    write(&mut new, &epoch(next, vec![batch(&[("new", 1, 1)])])).await;
    assert_eq!(racing.await.unwrap(), next);
    let amount = "SELECT coalesce(max(amount), 0) FROM sales_minor WHERE id = 'old'";
    assert_eq!(place.number(amount), claim.epoch.0.cast_signed());
    assert_eq!(
        place.number("SELECT count(*) FROM sales WHERE id = 'new'"),
        1
    );
}
