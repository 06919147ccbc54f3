//! The sales job whose logic is changed again and again while records flow: each record is made into
//! rows by exactly one version, as the deployments say; and whatever becomes of a version, nothing is
//! lost.

mod kills;
mod migration;

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio_postgres::Client;
use wasmill::generate::Settings;

use super::support::http::{self, Answer};
use super::support::job::{Job, LOG, send_signal, wait_for_exit};
use super::support::postgres::count;
use super::support::running::{Running, reload};
use super::support::truth;

const PARTITIONS: u32 = 3;
/// Swaps, unless `WASMILL_TEST_SWAPS` says how many: then epochs are as large as in the shipped file,
/// and records enough for all swaps to happen while they flow.
const SWAPS: usize = 8;
/// Records for each of them.
const RECORDS_A_SWAP: u64 = 12_000;
/// The same where the swaps are measured.
const RECORDS_A_MEASURED_SWAP: u64 = 40_000;

fn settings() -> Settings {
    Settings {
        seed: 61,
        ..Settings::default()
    }
}

/// Of version 1; that of version v is v.
const RATES: &str = "rates = { EUR = \"1\", GBP = \"1\" }";

/// A job without Elasticsearch, whose rows say where they came from and whose rates tell the version.
async fn job(prefix: &str) -> Job {
    Job::new(prefix, |text| {
        let (text, rest) = text.split_once("[[sink]]\nname = \"search\"").expect("it has two sinks");
        let (_, rest) = rest.split_once("\n# ----").expect("something comes behind it");
        let places = "columns = [\n  { name = \"kafka_partition\", from = \"@partition\", type = \"int64\" },\n  \
                      { name = \"kafka_offset\", from = \"@offset\", type = \"int64\" },\n";
        [
            ("columns = [\n", places),
            ("rates = { EUR = \"1.08\", GBP = \"1.27\" }", RATES),
            ("max_rows = 10_000", "max_rows = 1_000"),
            ("max_wait = \"1s\"", "max_wait = \"100ms\""),
            ("interval = \"30s\"", "interval = \"1s\""),
            ("watch = true", "watch = false"),
        ]
        .into_iter()
        .fold(format!("{text}\n# ----{rest}"), |text, (from, to)| {
            assert!(text.contains(from), "the shipped pipeline has {from}");
            text.replacen(from, to, 1)
        })
    })
    .await
}

/// Has the job's file say the rates of another version, and the limits of the totals something else.
fn edit_to(job: &Job, version: usize) {
    job.edit(|text| {
        let memory = format!("limits = {{ memory = \"{}MiB\" }}", 64 + version);
        let line = |line: &str| {
            if line.starts_with("config = { base = \"USD\"") {
                let rates = format!("rates = {{ EUR = \"{version}\", GBP = \"{version}\" }}");
                return vec![format!("config = {{ base = \"USD\", {rates} }}")];
            }
            match line {
                "[components.totals]" => vec![line.to_owned(), memory.clone()],
                // That of the version before.
                line if line.starts_with("limits = { memory") && !line.contains("time") => vec![],
                line => vec![line.to_owned()],
            }
        };
        let lines: Vec<String> = text.lines().flat_map(line).collect();
        lines.join("\n") + "\n"
    });
}

fn post(job: &Job, path: &str) -> Answer {
    http::request(job.admin, "POST", path).expect("the admin server answers")
}

/// Waits until so many rows are there, and tells how many there are.
async fn wait_for_rows(job: &Job, database: &Client, rows: i64) -> i64 {
    wait_for(job, database, "SELECT count(*) FROM transactions", rows).await
}

/// The same by the journal, which costs the server nothing: for what rejects no record.
async fn wait_for_records(job: &Job, database: &Client, records: i64) -> i64 {
    let committed = "SELECT coalesce(sum(value::bigint), 0)::bigint FROM (
            SELECT offsets FROM wasmill_epochs ORDER BY epoch DESC LIMIT 1) last,
        jsonb_each_text(offsets)";
    wait_for(job, database, committed, records).await
}

async fn wait_for(job: &Job, database: &Client, question: &str, enough: i64) -> i64 {
    let (mut last, mut moved) = (0, Instant::now());
    loop {
        let found = count(database, question).await;
        if found >= enough {
            return found;
        }
        if found > last {
            (last, moved) = (found, Instant::now());
        }
        assert!(
            moved.elapsed() < Duration::from_mins(2),
            "{found} of {enough}: {}",
            job.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Every row was made by the version that the deployments say, and the totals are those of the rows.
async fn check(job: &Job, records: u64) {
    let database = job.database().await;
    let expected = truth::expected(&settings(), PARTITIONS, records);
    let rows = count(&database, "SELECT count(*) FROM transactions").await;
    assert_eq!(rows, expected.transactions.len() as i64, "rows");
    // What the journal says in words of SQL: the deployment with the greatest begin that is not behind
    // the record.
    let misfits = count(
        &database,
        "SELECT count(*) FROM transactions t, LATERAL (
            SELECT d.configs -> 'sales' -> 'rates' ->> 'EUR' AS rate FROM wasmill_deployments d
            WHERE (d.offsets ->> t.kafka_partition::text)::bigint <= t.kafka_offset
            ORDER BY d.version DESC LIMIT 1) made_by
         WHERE total_amount_base <> total_amount
            * CASE currency WHEN 'USD' THEN 1 ELSE made_by.rate::numeric END",
    )
    .await;
    assert_eq!(misfits, 0, "rows that another version has made");
    for (table, keys) in [
        ("sales_per_day", "transaction_date"),
        ("sales_per_currency", "transaction_date, currency"),
        ("customer_totals", "customer_id"),
    ] {
        let misfits = count(
            &database,
            &format!(
                "SELECT count(*) FROM {table} FULL JOIN (
                    SELECT {keys}, sum(total_amount_base) AS total, count(*) AS number
                    FROM (SELECT transaction_date::timestamptz::date AS transaction_date, currency,
                            customer_id, total_amount_base FROM transactions) t
                    GROUP BY {keys}) computed USING ({keys})
                 WHERE total_sales IS DISTINCT FROM total OR transactions IS DISTINCT FROM number"
            ),
        )
        .await;
        assert_eq!(misfits, 0, "groups of {table} that differ from their rows");
    }
}

/// Prints how long workers and the merging did nothing but change over.
fn tell_pauses(job: &Job) {
    let metrics = http::get(job.admin, "/metrics").body;
    let lines = metrics.lines();
    lines
        .filter(|line| line.starts_with("wasmill_reload"))
        .for_each(|line| println!("{line}"));
}

fn version_in_force(job: &Job) -> u64 {
    let answer = http::get(job.admin, "/api/deployments").json();
    let deployments = answer["deployments"].as_array().expect("a list");
    let last = deployments.last().expect("one at least");
    last["version"].as_u64().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_is_made_by_the_version_that_the_deployments_say() {
    let swaps = std::env::var("WASMILL_TEST_SWAPS")
        .ok()
        .and_then(|swaps| swaps.parse().ok());
    let measured = swaps.is_some();
    let swaps: usize = swaps.unwrap_or(SWAPS);
    let job = job("swaps").await;
    if measured {
        job.edit(|text| text.replacen("max_rows = 1_000", "max_rows = 10_000", 1));
    }
    let records = swaps as u64
        * if measured {
            RECORDS_A_MEASURED_SWAP
        } else {
            RECORDS_A_SWAP
        };
    job.generate(&settings(), PARTITIONS, records);
    edit_to(&job, 1);
    let mut run = Running::start(&job, LOG, |_| ());
    let database = job.database().await;
    wait_for_rows(&job, &database, 1).await;
    let mut rows = wait_for_records(&job, &database, 1).await;
    let (began, started) = (rows, Instant::now());
    for swap in 0..swaps {
        rows = wait_for_records(&job, &database, (rows + 500).min(records as i64)).await;
        edit_to(&job, swap + 2);
        let answer = reload(&job);
        assert_eq!(answer.status, 200, "{}: {}", answer.body, job.log());
        assert_eq!(answer.json()["version"], swap as u64 + 2);
    }
    let rate = |rows: i64| (rows - began) as f64 / started.elapsed().as_secs_f64();
    println!(
        "{swaps} swaps, {:.0} records/s meanwhile, {} left",
        rate(rows),
        records as i64 - rows
    );
    wait_for_records(&job, &database, records as i64).await;
    println!("{:.0} records/s to the last one", rate(records as i64));
    tell_pauses(&job);
    run.stop(&job);
    check(&job, records).await;
    let versions = count(&database, "SELECT count(*) FROM wasmill_deployments").await;
    assert_eq!(versions, swaps as i64 + 1);
    let made = count(
        &database,
        "SELECT count(DISTINCT total_amount_base / total_amount) FROM transactions WHERE currency = 'EUR'",
    )
    .await;
    assert!(made > 2, "{made} versions have made rows");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_does_not_fit_is_refused_and_the_running_one_goes_on() {
    let job = job("misfits").await;
    job.generate(&settings(), PARTITIONS, 2_000);
    let mut run = Running::start(&job, LOG, |_| ());
    let database = job.database().await;
    wait_for_rows(&job, &database, 2_000).await;
    let text = std::fs::read_to_string(job.path("pipeline.toml")).expect("the file");
    let refused = |from: &str, to: &str, kind: &str, words: &str| {
        assert!(text.contains(from), "{from}");
        job.edit(|_| text.replacen(from, to, 1));
        let answer = post(&job, "/api/reload");
        assert_eq!(answer.status, 422, "{from}: {}", answer.body);
        let answer: Value = answer.json();
        assert_eq!(answer["kind"], kind, "{answer}");
        let reason = answer["error"].as_str().expect("a reason");
        assert!(reason.contains(words), "{from}: {reason}");
        assert_eq!(version_in_force(&job), 1);
    };
    refused("[commit]", "[commits]", "invalid", "commits");
    refused("currency.wasm", "missing.wasm", "invalid", "does not exist");
    refused(
        "/currency.wasm",
        "/totals.wasm",
        "invalid",
        "is an aggregate",
    );
    refused(
        "from = \"source\"\ncomponent",
        "from = \"nowhere\"\ncomponent",
        "invalid",
        "nowhere",
    );
    refused(&job.topic, "another_topic", "not_live", "topic");
    refused(
        "every = \"1 day\"",
        "every = \"1 week\"",
        "states",
        "sales_per_day",
    );
    // Nothing but dollars can be used: the last records say so.
    refused(RATES, "rates = {}", "rehearsal", "rejects");
    job.edit(|_| text.clone());
    let answer = post(&job, "/api/reload");
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["version"], Value::Null, "nothing has changed");
    run.stop(&job);
    check(&job, 2_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_rejects_more_in_its_probation_is_rolled_back_and_stays_so() {
    let job = job("probation").await;
    // The first records are all dollars: only later ones tell that a rate is missing.
    job.generate(&settings(), PARTITIONS, 3_000);
    job.edit(|text| text.replacen("rejected_share = 0.01", "rejected_share = 0.9", 1));
    let mut run = Running::start(&job, LOG, |_| ());
    let database = job.database().await;
    wait_for_rows(&job, &database, 3_000).await;
    // The rehearsal lets it pass; then the share that it may reject is small again.
    job.edit(|text| text.replacen(RATES, "rates = { EUR = \"1\" }", 1));
    let answer = reload(&job);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let version = answer.json()["version"].as_u64().expect("another version");
    job.edit(|text| text.replacen("rejected_share = 0.9", "rejected_share = 0.01", 1));
    run.stop(&job);
    let more = Settings {
        seed: 62,
        ..settings()
    };
    job.generate(&more, PARTITIONS, 30_000);
    let mut run = Running::start(&job, LOG, |_| ());
    let started = Instant::now();
    while version_of(&job) != Some(version + 1) {
        assert!(started.elapsed() < Duration::from_mins(2), "{}", job.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    let outcome = database
        .query_one(
            "SELECT outcome, reason FROM wasmill_deployments WHERE version = $1",
            &[&(version as i64)],
        )
        .await
        .expect("its row");
    assert_eq!(outcome.get::<_, String>(0), "rolled_back");
    assert!(
        outcome.get::<_, String>(1).contains("it rejects"),
        "{outcome:?}"
    );
    run.stop(&job);
    // The file is still that of the bad version: a start does not put it into force again.
    let mut run = Running::start(&job, LOG, |_| ());
    let started = Instant::now();
    while version_of(&job).is_none() && started.elapsed() < Duration::from_mins(1) {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(version_of(&job), Some(version + 1), "{}", job.log());
    assert!(job.log().contains("rolled back"), "{}", job.log());
    run.stop(&job);
}

/// The version in force, once there is somebody to ask.
fn version_of(job: &Job) -> Option<u64> {
    let answer = http::request(job.admin, "GET", "/api/deployments").ok()?;
    let answer = answer.json();
    answer["deployments"].as_array()?.last()?["version"].as_u64()
}
