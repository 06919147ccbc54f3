//! The shipped sales job on real servers, against what it must come to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wasmill::generate::Settings;

use super::support::job::{Job, succeed};
use super::support::{outcome, truth};

const RECORDS: u64 = 200_000;
const PARTITIONS: u32 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn the_sales_job_leaves_what_its_records_come_to() {
    let settings = Settings {
        seed: 20_260,
        bad_share: 0.01,
        ..Settings::default()
    };
    let job = Job::new("sales", |text| text).await;
    job.generate(&settings, PARTITIONS, RECORDS);

    let watch = Watch::start(&job).await;
    let printed = job.run_once();
    let looks = watch.end().await;
    assert!(looks > 0, "nobody looked while the job ran");
    assert!(printed.contains(&format!("{RECORDS} records")), "{printed}");

    let expected = truth::expected(&settings, PARTITIONS, RECORDS);
    let dead = format!("{} dead letters", expected.dead.len());
    assert!(printed.contains(&dead), "{printed}");
    assert_covers_the_calendar(&expected);
    compare(&job, &expected).await;

    let again = job.run_once();
    assert!(again.contains("0 records"), "{again}");
    compare(&job, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_read_like_a_topic() {
    let settings = Settings {
        seed: 7,
        ..Settings::default()
    };
    let job = file_job("files", "\"sales/part-0.ndjson\", \"sales/part-1.ndjson\"").await;
    succeed(job.wasmill(&[
        "generate",
        "--output",
        "sales/",
        "--partitions",
        "2",
        "--count",
        "5000",
        "--seed",
        "7",
    ]));
    job.run_once();
    let expected = truth::expected(&settings, 2, 5_000);
    let database = job.database().await;
    let row = database
        .query_one(
            "SELECT count(*), (SELECT (sum(total_sales) * 100)::bigint FROM sales_per_day), \
             (SELECT sum(transactions)::bigint FROM sales_per_month) FROM transactions",
            &[],
        )
        .await
        .unwrap();
    let days = expected.totals["sales_per_day"].values();
    let total: i128 = days.map(|day| day.0).sum();
    assert_eq!(row.get::<_, i64>(0), 5_000);
    assert_eq!(i128::from(row.get::<_, i64>(1)), total);
    assert_eq!(row.get::<_, i64>(2), 5_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_is_refused_stays_in_the_dead_letters() {
    let job = file_job("refused", "\"sales.ndjson\"").await;
    let line = include_str!("../data/transactions.ndjson").lines().next();
    // PostgreSQL takes an id of 600 bytes, Elasticsearch does not.
    let id = "a6a3a450-6513-470e-a69e-0d37f2a74de4";
    let line = line.expect("samples").replace(id, &"x".repeat(600));
    std::fs::write(job.path("sales.ndjson"), line + "\n").unwrap();
    for _ in 0..2 {
        job.run_once();
        let letters = std::fs::read_to_string(job.path("dead.ndjson")).unwrap();
        assert_eq!(letters.lines().count(), 1, "{letters}");
        assert!(letters.contains("\"stage\":\"search\""), "{letters}");
    }
}

/// The shipped job on ndjson files, with its dead letters in `dead.ndjson`.
async fn file_job(prefix: &str, paths: &str) -> Job {
    let paths = format!("type = \"file\"\npaths = [{paths}]\n# topic");
    Job::new(prefix, |text| {
        let kafka = "type = \"kafka\"\nbrokers = \"${KAFKA_BROKERS:-localhost:9092}\"\ntopic";
        let text = text.replacen(kafka, &paths, 1);
        let text = text.replace("start = \"earliest\"", "# start =");
        let (text, _) = text
            .split_once("[dead_letters]")
            .expect("the shipped pipeline has them");
        format!("{text}[dead_letters]\ntype = \"file\"\npath = \"dead.ndjson\"\n")
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_aggregate_is_refused_by_name() {
    let settings = Settings::default();
    let job = Job::new("changed", |text| text).await;
    job.generate(&settings, 1, 100);
    job.run_once();
    job.edit(|text| {
        text.replace("key = [\"product_category\"]", "key = [\"product_brand\"]")
            .replace(
                "category = \"product_category\"",
                "category = \"product_brand\"",
            )
    });
    let output = job
        .wasmill(&["run", "pipeline.toml", "--once"])
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(printed.contains("sales_per_category"), "{printed}");
    assert!(printed.contains("product_brand"), "{printed}");
}

/// The tables, the dead letters and the index are what they have to be.
pub(crate) async fn compare(job: &Job, expected: &truth::Outcome) {
    let found = outcome::found(job).await;
    assert_eq!(found.dead, expected.dead, "the dead letters");
    for (table, totals) in &expected.totals {
        assert_eq!(found.totals.get(table), Some(totals), "{table}");
    }
    assert_eq!(found.totals.len(), expected.totals.len());
    assert_eq!(found.transactions.len(), expected.transactions.len());
    for (id, row) in &expected.transactions {
        assert_eq!(found.transactions.get(id), Some(row), "transaction {id}");
    }
    let mut indexed = outcome::indexed(job).await;
    for (id, row) in &expected.transactions {
        let document = outcome::document(id, row);
        assert_eq!(indexed.remove(id), Some(document), "document {id}");
    }
    assert!(indexed.is_empty(), "nothing else is in the index");
}

/// The records have what is easily got wrong.
fn assert_covers_the_calendar(expected: &truth::Outcome) {
    for day in [
        "2024-02-29",
        "2023-12-31",
        "2024-01-01",
        "2024-12-31",
        "2025-01-01",
    ] {
        let days = &expected.totals["sales_per_day"];
        assert!(days.contains_key(&vec![day.to_owned()]), "no sale on {day}");
    }
    let foreign = |row: &Vec<String>| row.iter().any(|text| !text.is_ascii());
    assert!(expected.transactions.values().any(foreign));
}

/// A second connection that looks at the totals all the time.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    looks: tokio::task::JoinHandle<u64>,
}

impl Watch {
    pub(crate) async fn start(job: &Job) -> Self {
        let database = job.database().await;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let looks = tokio::spawn(async move {
            let mut looks = 0;
            while !stopped.load(Ordering::Relaxed) {
                looks += u64::from(look(&database).await);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            looks
        });
        Self { stop, looks }
    }

    /// How often it looked and found rows.
    ///
    /// # Panics
    ///
    /// When the totals were ever different.
    pub(crate) async fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.looks.await.expect("the totals were always equal")
    }
}

/// Compares the totals in one statement; false while the tables are not all there.
///
/// # Panics
///
/// When the totals are different.
pub(crate) async fn look(database: &tokio_postgres::Client) -> bool {
    let sums = outcome::TOTALS
        .map(|(table, _)| format!("(SELECT sum(total_sales)::text FROM {table})"))
        .join(", ");
    let sql = format!("SELECT (SELECT sum(total_amount_base)::text FROM transactions), {sums}");
    let Ok(row) = database.query_one(&sql, &[]).await else {
        return false;
    };
    let totals: Vec<Option<String>> = (0..row.len()).map(|i| row.get(i)).collect();
    assert!(
        totals.iter().all(|total| *total == totals[0]),
        "the totals differ: {totals:?}"
    );
    totals[0].is_some()
}
