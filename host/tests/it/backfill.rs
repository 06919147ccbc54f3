//! An aggregate that is new to a job that runs: with `backfill = "earliest"` its table appears when it
//! is whole, and the others never stop.

use std::time::{Duration, Instant};

use tokio_postgres::Client;
use wasmill::generate::Settings;

use super::support::http;
use super::support::job::{Job, LOG, send_signal, wait_for_exit};
use super::support::running::{Running, ask_until};
use super::support::truth;

const PARTITIONS: u32 = 3;

fn settings() -> Settings {
    Settings {
        seed: 71,
        bad_share: 0.05,
        ..Settings::default()
    }
}

/// The aggregate that comes later, and its table, as they stand in the file.
const AGGREGATE: &str = "[[aggregate]]\nname = \"sales_per_currency\"";
const TABLE: &str = "[[sink.tables]]\nfrom = \"sales_per_currency\"";

/// A job without Elasticsearch and without the aggregate; and what is to be added.
async fn job(prefix: &str) -> (Job, Added) {
    let mut added = Added::default();
    let job = Job::new(prefix, |text| {
        let (text, rest) = text.split_once("[[sink]]\nname = \"search\"").unwrap();
        let (_, rest) = rest.split_once("\n# ----").unwrap();
        let mut text = [
            ("max_rows = 10_000", "max_rows = 1_000"),
            ("max_wait = \"1s\"", "max_wait = \"100ms\""),
            ("interval = \"30s\"", "interval = \"1s\""),
            ("watch = true", "watch = false"),
            ("probation = \"30s\"", "probation = \"1s\""),
        ]
        .into_iter()
        .fold(format!("{text}\n# ----{rest}"), |text, (from, to)| {
            assert!(text.contains(from), "the shipped pipeline has {from}");
            text.replacen(from, to, 1)
        });
        added.aggregate = cut(&mut text, AGGREGATE);
        added.table = cut(&mut text, TABLE);
        text
    })
    .await;
    (job, added)
}

#[derive(Default)]
struct Added {
    aggregate: String,
    table: String,
}

impl Added {
    /// Adds them to the job's file.
    fn to(&self, job: &Job) {
        job.edit(|text| {
            let backfilled = self
                .aggregate
                .replacen('\n', "\nbackfill = \"earliest\"\n", 1);
            let before = "[[aggregate]]\nname = \"customer_totals\"";
            assert!(text.contains(before));
            let text = text.replacen(before, &format!("{backfilled}{before}"), 1);
            let before = "[[sink.tables]]\nfrom = \"sales_per_day\"";
            assert!(text.contains(before));
            text.replacen(before, &format!("{}{before}", self.table), 1)
        });
    }
}

/// Takes a section out of a text, up to the next section of its kind or a comment.
fn cut(text: &mut String, begin: &str) -> String {
    let at = text.find(begin).expect("the shipped pipeline has it");
    let rest = &text[at + 2..];
    let ends = ["\n[[", "\n#"].map(|end| rest.find(end).unwrap_or(rest.len()));
    let end = at + 2 + ends[0].min(ends[1]) + 1;
    let section = text[at..end].to_owned();
    text.replace_range(at..end, "");
    section
}

async fn count(database: &Client, sql: &str) -> i64 {
    // A table is not there before its aggregate is.
    match database.query_one(sql, &[]).await {
        Ok(row) => row.get(0),
        Err(_) => 0,
    }
}

async fn wait_for(job: &Job, database: &Client, sql: &str, least: i64) {
    let started = Instant::now();
    while count(database, sql).await < least {
        assert!(
            started.elapsed() < Duration::from_mins(2),
            "{sql} does not come to {least}: {}",
            job.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn reload(job: &Job) -> serde_json::Value {
    let answer = http::request(job.admin, "POST", "/api/reload").unwrap();
    assert_eq!(answer.status, 200, "{}: {}", answer.body, job.log());
    answer.json()
}

/// What triggered the version in force.
fn newest_trigger(job: &Job) -> String {
    ask_until(job, "/api/deployments", |answer| {
        let answer = answer.json();
        let last = answer["deployments"].as_array()?.last()?;
        Some(last["trigger"].as_str()?.to_owned())
    })
}

fn wait_until_joined(job: &Job) {
    let started = Instant::now();
    while newest_trigger(job) != "backfill" {
        assert!(started.elapsed() < Duration::from_mins(2), "{}", job.log());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The rows are what they should be, and the table of the aggregate what they come to.
async fn check(job: &Job, records: u64) {
    let database = job.database().await;
    let expected = truth::expected(&settings(), PARTITIONS, records);
    let rows = count(&database, "SELECT count(*) FROM transactions").await;
    assert_eq!(rows, expected.transactions.len() as i64, "rows");
    check_groups(&database).await;
}

async fn check_groups(database: &Client) {
    let misfits = count(
        database,
        "SELECT count(*) FROM sales_per_currency FULL JOIN (
            SELECT transaction_date::timestamptz::date AS transaction_date, currency,
                sum(total_amount_base) AS total, count(*) AS number
            FROM transactions GROUP BY 1, 2) computed USING (transaction_date, currency)
         WHERE total_sales IS DISTINCT FROM total OR transactions IS DISTINCT FROM number",
    )
    .await;
    assert_eq!(misfits, 0, "groups that differ from their rows");
    let groups = count(database, GROUPS).await;
    assert!(groups > 3, "{groups} groups");
}

const ROWS: &str = "SELECT count(*) FROM transactions";
const GROUPS: &str = "SELECT count(*) FROM sales_per_currency";

#[tokio::test(flavor = "multi_thread")]
async fn a_new_aggregate_appears_whole_and_the_others_never_stop() {
    let (job, added) = job("backfilled").await;
    let records = 40_000;
    job.generate(&settings(), PARTITIONS, records / 2);
    let mut run = Running::start(&job, LOG, |_| ());
    let database = job.database().await;
    wait_for(&job, &database, ROWS, 15_000).await;
    added.to(&job);
    let report = reload(&job);
    let states = report["states"].to_string();
    assert!(
        states.contains("filled from the start of the topic"),
        "{states}"
    );
    // Whoever looks sees nothing of it, or all that the rows come to.
    let mut seen = 0;
    let started = Instant::now();
    job.generate(
        &Settings {
            seed: 72,
            ..settings()
        },
        PARTITIONS,
        records / 2,
    );
    while newest_trigger(&job) != "backfill" || seen == 0 {
        let look = database
            .query_one(
                "SELECT (SELECT count(*) FROM transactions),
                    (SELECT coalesce(sum(transactions), 0)::bigint FROM sales_per_currency)",
                &[],
            )
            .await
            .unwrap();
        let (rows, counted): (i64, i64) = (look.get(0), look.get(1));
        assert!(
            counted == 0 || counted == rows,
            "{counted} of {rows} are counted"
        );
        seen = counted;
        assert!(started.elapsed() < Duration::from_mins(2), "{}", job.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Those of the first half, all but the bad ones of the second.
    wait_for(&job, &database, ROWS, 37_500).await;
    run.stop(&job);
    job.run_once();
    let total = count(
        &database,
        "SELECT coalesce(sum(transactions), 0)::bigint FROM sales_per_currency",
    )
    .await;
    assert_eq!(total, count(&database, ROWS).await);
    let log = job.log();
    assert!(log.contains("reading the topic from its start"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_to_the_end_waits_until_the_new_aggregate_is_whole() {
    let (job, added) = job("backfill_once").await;
    job.generate(&settings(), PARTITIONS, 10_000);
    job.run_once();
    added.to(&job);
    job.run_once();
    check(&job, 10_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregate_is_whole_wherever_its_backfill_is_killed() {
    let (job, added) = job("backfill_killed").await;
    let records = 30_000;
    job.generate(&settings(), PARTITIONS, records);
    let mut run = Running::start(&job, LOG, |_| ());
    let database = job.database().await;
    wait_for(&job, &database, ROWS, 20_000).await;
    added.to(&job);
    reload(&job);
    for wait in [0, 300, 900, 1_200, 1_500] {
        std::thread::sleep(Duration::from_millis(wait));
        send_signal(&run.0, "KILL");
        wait_for_exit(&mut run.0, Duration::from_secs(15));
        run = Running::start(&job, LOG, |_| ());
        ask_until(&job, "/api/deployments", |answer| {
            (answer.status == 200).then_some(())
        });
    }
    wait_until_joined(&job);
    wait_for(&job, &database, GROUPS, 1).await;
    let rows = truth::expected(&settings(), PARTITIONS, records)
        .transactions
        .len();
    wait_for(&job, &database, ROWS, rows as i64).await;
    // Killed once more: what has joined is in a checkpoint, or joins again.
    send_signal(&run.0, "KILL");
    wait_for_exit(&mut run.0, Duration::from_secs(15));
    job.run_once();
    check(&job, records).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregate_that_is_being_filled_is_made_again_where_every_checkpoint_is_lost() {
    let (job, added) = job("backfill_anew").await;
    let probation = ["probation = \"1s\"", "probation = \"5m\""];
    job.edit(|text| {
        assert!(text.contains("keep = 3"));
        let text = text.replacen("keep = 3", "keep = 2", 1);
        text.replacen(probation[0], probation[1], 1)
    });
    job.generate(&settings(), PARTITIONS, 10_000);
    let mut run = Running::start(&job, LOG, |_| ());
    let database = job.database().await;
    wait_for(&job, &database, ROWS, 9_000).await;
    added.to(&job);
    reload(&job);
    // Nothing joins in a probation. What comes now the aggregate has itself, until the journal has forgotten
    // epochs: without a checkpoint their records have to be decided again.
    let more = Settings {
        seed: 72,
        ..settings()
    };
    let oldest = "SELECT min(epoch) FROM wasmill_epochs WHERE epoch > 1";
    let started = Instant::now();
    while count(&database, oldest).await <= 2 {
        job.generate(&more, PARTITIONS, 500);
        assert!(started.elapsed() < Duration::from_mins(2), "{}", job.log());
    }
    send_signal(&run.0, "KILL");
    wait_for_exit(&mut run.0, Duration::from_secs(15));
    assert_eq!(count(&database, GROUPS).await, 0);
    assert!(lose_checkpoints(&job) > 0, "there are checkpoints");
    job.edit(|text| text.replacen(probation[1], probation[0], 1));
    let mut run = Running::start(&job, LOG, |_| ());
    wait_until_joined(&job);
    wait_for(&job, &database, GROUPS, 1).await;
    run.stop(&job);
    assert!(!job.log().contains("restored"), "{}", job.log());
    check_groups(&database).await;
}

/// Deletes the list of its checkpoints; how many there were.
fn lose_checkpoints(job: &Job) -> usize {
    let mut deleted = 0;
    let mut folders = vec![job.path("data/checkpoints")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                std::fs::remove_file(path).unwrap();
                deleted += 1;
            }
        }
    }
    deleted
}
