//! `wasmill status --row`: the version that the databases name is the one that made the row, which each
//! row tells by its rate.

use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio_postgres::Client;
use wasmill::generate::Settings;

use super::support::http;
use super::support::job::{Job, LOG};
use super::support::running::{Running, ask_until};

const PARTITIONS: u32 = 2;
/// For each version.
const RECORDS: u64 = 800;
const RATES: &str = "rates = { EUR = \"1.08\", GBP = \"1.27\" }";

/// That of version v is v.
fn rates(version: u64) -> String {
    format!("rates = {{ EUR = \"{version}\", GBP = \"{version}\" }}")
}

async fn job(prefix: &str) -> Job {
    Job::new(prefix, |text| {
        [
            (RATES, &*rates(1)),
            ("max_rows = 10_000", "max_rows = 200"),
            ("max_wait = \"1s\"", "max_wait = \"100ms\""),
            ("interval = \"30s\"", "interval = \"1s\""),
            // So the journal soon forgets.
            ("keep = 3 ", "keep = 2 "),
            ("watch = true", "watch = false"),
        ]
        .into_iter()
        .fold(text, |text, (from, to)| {
            assert!(text.contains(from), "the shipped pipeline has {from}");
            text.replacen(from, to, 1)
        })
    })
    .await
}

fn row(job: &Job, args: &[&str]) -> Output {
    let all = ["status", "pipeline.toml", "--json"].iter().chain(args);
    let all: Vec<&str> = all.copied().collect();
    job.wasmill(&all)
        .output()
        .expect("the binary was built with the tests")
}

/// The answers for a row that is there.
fn answers(job: &Job, args: &[&str]) -> Vec<Value> {
    let Output {
        status,
        stdout,
        stderr,
    } = row(job, args);
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{args:?}: {stderr}");
    serde_json::from_slice(&stdout).expect("a list in JSON")
}

/// The answer for a row of PostgreSQL.
fn answer(job: &Job, table: &str, key: &[&str]) -> Value {
    let args = [&["--sink", "postgres", "--row", table], key].concat();
    let mut answers = answers(job, &args);
    assert_eq!(answers.len(), 1, "{answers:?}");
    answers.remove(0)
}

/// What is said where there is no answer.
fn refused(job: &Job, args: &[&str]) -> String {
    let Output { status, stderr, .. } = row(job, args);
    assert_eq!(status.code(), Some(1), "{args:?}");
    String::from_utf8_lossy(&stderr).into_owned()
}

async fn wait_for(database: &Client, sql: &str, job: &Job) {
    let started = Instant::now();
    loop {
        if let Ok(row) = database.query_one(sql, &[]).await
            && row.get::<_, bool>(0)
        {
            return;
        }
        let waited = started.elapsed();
        assert!(waited < Duration::from_mins(2), "{sql}: {}", job.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn run(database: &Client, sql: &str) {
    let done = database.batch_execute(sql).await;
    done.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

/// Has a version more come into force, and the records of that version read.
async fn next_version(job: &Job, database: &Client, version: u64) {
    job.edit(|text| text.replacen(&rates(version - 1), &rates(version), 1));
    let answer = http::request(job.admin, "POST", "/api/reload").expect("an answer");
    assert_eq!(answer.status, 200, "{}: {}", answer.body, job.log());
    assert_eq!(answer.json()["version"], version);
    generate(job, database, version).await;
}

async fn generate(job: &Job, database: &Client, version: u64) {
    let settings = Settings {
        seed: 70 + version,
        ..Settings::default()
    };
    job.generate(&settings, PARTITIONS, RECORDS);
    let rows = RECORDS * version;
    let all = format!("SELECT count(*) = {rows} FROM transactions");
    wait_for(database, &all, job).await;
}

/// Ids of transactions, each with the version that made its row.
async fn made(database: &Client) -> Vec<(String, u64)> {
    let rows = database
        .query(
            "SELECT transaction_id, round(total_amount_base / total_amount)::bigint
             FROM (SELECT *, row_number() OVER (
                       PARTITION BY round(total_amount_base / total_amount) ORDER BY transaction_id) AS n
                   FROM transactions WHERE currency = 'EUR') t
             WHERE n <= 2",
            &[],
        )
        .await
        .expect("the rows");
    rows.iter()
        .map(|row| (row.get(0), row.get::<_, i64>(1).unsigned_abs()))
        .collect()
}

fn version(answer: &Value) -> u64 {
    let version = answer["deployment"]["version"].as_u64();
    version.unwrap_or_else(|| panic!("{answer:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_and_documents_are_told_the_version_that_made_them() {
    let job = job("provenance").await;
    // The topic has to be there.
    job.generate(&Settings::default(), PARTITIONS, 0);
    let mut running = Running::start(&job, LOG, |_| ());
    ask_until(&job, "/readyz", |answer| {
        (answer.status == 200).then_some(())
    });
    let database = job.database().await;
    generate(&job, &database, 1).await;
    next_version(&job, &database, 2).await;
    next_version(&job, &database, 3).await;
    // The journal has forgotten the first version by now, and still knows the last epoch.
    wait_for(
        &database,
        "SELECT bool_and(deployment > 1 OR epoch = 1) FROM wasmill_epochs",
        &job,
    )
    .await;
    rows_are_told(&job, &database).await;
    groups_are_told(&job, &database).await;
    running.stop(&job);
    the_epoch_of_a_late_row_is_that_of_its_document(&job, &database).await;
    documents_are_told(&job, &database).await;
    what_is_not_there_is_refused(&job);
    what_others_write_is_not_taken_for_ours(&job, &database).await;
    what_a_dump_brought_is_not_told(&job, &database).await;
}

async fn rows_are_told(job: &Job, database: &Client) {
    let made = made(database).await;
    assert_eq!(made.len(), 6, "two of each version: {made:?}");
    for (id, made_by) in &made {
        let answer = answer(job, "transactions", &[id]);
        assert_eq!(version(&answer), *made_by, "{id}: {answer:#}");
        assert_eq!(
            answer["deployment"]["trigger"],
            if *made_by == 1 { "start" } else { "api" }
        );
        let digests = &answer["deployment"]["components"];
        assert_eq!(digests["currency"].as_str().map(str::len), Some(64));
        let changes: &[&str] = if *made_by == 1 {
            &[]
        } else {
            &["config of stage `sales`"]
        };
        let said: Vec<&str> = answer["changes"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        assert_eq!(said, changes, "{answer:#}");
        if *made_by == 1 {
            assert_eq!(
                answer["made_by"], "version",
                "its epoch is forgotten: {answer:#}"
            );
        }
    }
    let text = job
        .wasmill(&[
            "status",
            "pipeline.toml",
            "--sink",
            "postgres",
            "--row",
            "transactions",
            &made[5].0,
        ])
        .output()
        .expect("the binary was built with the tests");
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("made by       version "), "{text}");
    assert!(text.contains("component     currency ("), "{text}");
}

/// Rows of aggregates: by what wrote them last.
async fn groups_are_told(job: &Job, database: &Client) {
    let rows = database
        .query(
            "SELECT transaction_date::text, currency, (
                 SELECT max(round(total_amount_base / total_amount))::bigint FROM transactions t
                 WHERE t.transaction_date::timestamptz::date = s.transaction_date
                 AND t.currency = s.currency)
             FROM sales_per_currency s WHERE currency = 'GBP' ORDER BY transaction_date LIMIT 4",
            &[],
        )
        .await
        .expect("the groups");
    assert!(!rows.is_empty());
    for row in rows {
        let (date, currency): (String, String) = (row.get(0), row.get(1));
        let answer = answer(job, "sales_per_currency", &[&date, &currency]);
        let made_by = row.get::<_, i64>(2).unsigned_abs();
        assert_eq!(version(&answer), made_by, "{answer:#}");
    }
}

/// As long as there is no further checkpoint, the journal has the epochs of this run.
async fn the_epoch_of_a_late_row_is_that_of_its_document(job: &Job, database: &Client) {
    job.edit(|text| text.replacen("interval = \"1s\"", "interval = \"1h\"", 1));
    let mut running = Running::start(job, LOG, |_| ());
    generate(job, database, 4).await;
    let sql = "SELECT transaction_id FROM transactions ORDER BY xmin::text::bigint DESC LIMIT 1";
    let last = database.query_one(sql, &[]).await.expect("the last row");
    let id: String = last.get(0);
    let row = answer(job, "transactions", &[&id]);
    assert_eq!(row["made_by"], "epoch", "{row:#}");
    assert!(row["epoch"].is_u64(), "{row:#}");
    assert_eq!(version(&row), 3, "{row:#}");
    running.stop(job);
    // Elasticsearch has got everything by now.
    let documents = answers(job, &["--row", &job.index, &id]);
    assert_eq!(documents[0]["epoch"], row["epoch"], "{documents:?}");
}

/// The version of a document is its epoch.
async fn documents_are_told(job: &Job, database: &Client) {
    for (id, made_by) in made(database).await {
        let answers = answers(job, &["--row", &job.index, &id]);
        assert_eq!(answers.len(), 1);
        assert_eq!(answers[0]["sink"], "search");
        assert_eq!(answers[0]["made_by"], "epoch");
        assert_eq!(version(&answers[0]), made_by, "{:#}", answers[0]);
    }
    let message = refused(job, &["--row", &job.index, "nobody"]);
    assert!(message.contains("has no row with the key"), "{message}");
}

fn what_is_not_there_is_refused(job: &Job) {
    let message = refused(job, &["--row", "transactions", "nobody"]);
    assert!(
        message.contains("`transactions` has no row with the key (transaction_id) = (nobody)"),
        "{message}"
    );
    let message = refused(job, &["--row", "wasmill_epochs", "1"]);
    assert!(
        message.contains("has no table or index `wasmill_epochs`"),
        "{message}"
    );
    assert!(message.contains("sales_per_currency"), "{message}");
    let message = refused(job, &["--row", "sales_per_currency", "2024-01-01"]);
    assert!(message.contains("takes 2 values and not 1"), "{message}");
    let message = refused(
        job,
        &["--row", "sales_per_currency", "yesterday or so", "EUR"],
    );
    assert!(
        message.contains("invalid input syntax for type date"),
        "{message}"
    );
    let message = refused(
        job,
        &["--row", "transactions", "'; DROP TABLE transactions; --"],
    );
    assert!(message.contains("has no row with the key"), "{message}");
    let message = refused(job, &["--sink", "nowhere", "--row", "transactions", "1"]);
    assert!(message.contains("of sink `nowhere`"), "{message}");
}

async fn what_others_write_is_not_taken_for_ours(job: &Job, database: &Client) {
    let made = made(database).await;
    let (id, _) = made.last().expect("some rows");
    let update = format!(
        "UPDATE transactions SET product_quantity = product_quantity + 1 WHERE transaction_id = '{id}'"
    );
    run(database, &update).await;
    let by_hand = answer(job, "transactions", &[id]);
    assert_eq!(by_hand["made_by"], "somebody_else", "{by_hand:#}");
    assert_eq!(
        version(&by_hand),
        3,
        "the version in force is named: {by_hand:#}"
    );
}

/// A dump and restore write everything anew, with other transactions.
async fn what_a_dump_brought_is_not_told(job: &Job, database: &Client) {
    let made = made(database).await;
    let (id, _) = &made[0];
    for table in ["wasmill_deployments", "wasmill_epochs"] {
        // As a dump brings it back: the same values, written by another transaction.
        run(
            database,
            &format!(
                "CREATE TABLE copy AS TABLE {table}; DELETE FROM {table};
                 INSERT INTO {table} SELECT * FROM copy; DROP TABLE copy"
            ),
        )
        .await;
    }
    let answer = answer(job, "transactions", &[id]);
    assert_eq!(answer["made_by"], "unknown", "{answer:#}");
    assert_eq!(answer["deployment"], Value::Null);
    assert!(
        answer["because"]
            .as_str()
            .is_some_and(|because| because.contains("restored from a dump"))
    );
}
