//! The sales job with a version that rejects too much: what it rejected is processed again by the one
//! that comes back, once, wherever the host is killed meanwhile. In the end everything is as if the bad
//! version had never been.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use elasticsearch::http::Method;
use serde_json::{Value, json};
use tokio_postgres::Client;
use wasmill::generate::Settings;

use super::end_to_end::Watch;
use super::support::elastic::Elastic;
use super::support::http;
use super::support::job::{Job, LOG, send_signal, succeed, wait_for_exit};
use super::support::kafka::Topic;
use super::support::running::{Running, ask_until};
use super::support::truth::{Outcome, Place};
use super::support::{elasticsearch, outcome, truth};

const PARTITIONS: u32 = 3;
/// Records before the bad version, all of which are taken.
const BEFORE: u64 = 3_000;
const PATIENCE: Duration = Duration::from_mins(2);

fn settings() -> Settings {
    Settings {
        seed: 71,
        // Some are bad whatever the version.
        bad_share: 0.01,
        // And some came before, to a version that took them or to the bad one.
        duplicates: 0.01,
        ..Settings::default()
    }
}

/// Where its dead letters go.
const TABLE: &str = "type = \"postgres\"";

/// A job whose file is that of a good version, with these dead letters; with Elasticsearch or without.
async fn job(prefix: &str, letters: &str, is_searched: bool) -> Job {
    Job::new(prefix, |text| {
        let (kept, rest) = text.split_once("[dead_letters]").expect("it has them");
        let (_, rest) = rest
            .split_once("\n# ----")
            .expect("something comes behind it");
        let mut text = format!("{kept}[dead_letters]\n{letters}\n# ----{rest}");
        if !is_searched {
            let (kept, rest) = text
                .split_once("[[sink]]\nname = \"search\"")
                .expect("two sinks");
            let (_, rest) = rest
                .split_once("\n# ----")
                .expect("something comes behind it");
            text = format!("{kept}\n# ----{rest}");
        }
        [
            ("max_rows = 10_000", "max_rows = 1_000"),
            ("max_wait = \"1s\"", "max_wait = \"100ms\""),
            ("interval = \"30s\"", "interval = \"1s\""),
            ("watch = true", "watch = false"),
            // The rehearsal lets anything pass, and nobody goes back by themselves.
            ("probation = \"30s\"", "probation = \"1h\""),
            ("rejected_share = 0.01", "rejected_share = 1.0"),
        ]
        .into_iter()
        .fold(text, |text, (from, to)| {
            assert!(text.contains(from), "the shipped pipeline has {from}");
            text.replacen(from, to, 1)
        })
    })
    .await
}

/// Has the bad version come into force once there is a good one, and lets it go over `records` more.
async fn let_a_bad_version_go_over(job: &Job, settings: &Settings, records: u64) -> Running {
    job.generate(settings, PARTITIONS, BEFORE);
    let run = Running::start(job, LOG, |_| ());
    let database = job.database().await;
    wait_for_offsets(job, &database, BEFORE).await;
    // It knows dollars alone.
    let rates = "rates = { EUR = \"1.08\", GBP = \"1.27\" }";
    job.edit(|text| {
        assert!(text.contains(rates));
        text.replacen(rates, "rates = {}", 1)
    });
    assert_eq!(post(job, "/api/reload")["version"], 2);
    job.generate(settings, PARTITIONS, records);
    wait_for_offsets(job, &database, BEFORE + records).await;
    run
}

fn post(job: &Job, path: &str) -> Value {
    let answer = http::request(job.admin, "POST", path).expect("the admin server answers");
    assert_eq!(answer.status, 200, "{}: {}", answer.body, job.log());
    answer.json()
}

async fn number(database: &Client, sql: &str) -> i64 {
    // The tables are not there before the first start.
    match database.query_one(sql, &[]).await {
        Ok(row) => row.get::<_, Option<i64>>(0).unwrap_or(0),
        Err(_) => 0,
    }
}

async fn wait_until(job: &Job, what: &str, mut done: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !done().await {
        assert!(started.elapsed() < PATIENCE, "{what}: {}", job.log());
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// Waits until so many offsets are committed.
async fn wait_for_offsets(job: &Job, database: &Client, offsets: u64) {
    const COMMITTED: &str = "SELECT sum(value::bigint)::bigint FROM jsonb_each_text((
        SELECT offsets FROM wasmill_epochs ORDER BY epoch DESC LIMIT 1))";
    wait_until(job, "not all is committed", async || {
        number(database, COMMITTED).await == offsets.cast_signed()
    })
    .await;
}

/// Waits until there are so many rows, of what a version rejected too that was rolled back, and nothing of
/// that is left to be processed again.
async fn wait_for_the_end(job: &Job, database: &Client, rows_expected: usize) {
    wait_until(job, "not all rows are there", async || {
        rows(database).await == rows_expected as i64
    })
    .await;
    ask_until(job, "/metrics", |answer| {
        let value = |name: &str| {
            let mut lines = answer.body.lines();
            let line = lines.find_map(|line| line.strip_prefix(name))?;
            line.trim().parse::<u64>().ok()
        };
        let version = value("wasmill_deployment_version ")?;
        let backlog = value("wasmill_readmission_backlog_records ")?;
        (version >= 3 && backlog == 0).then_some(())
    });
}

/// How many of these have rows.
async fn rows(database: &Client) -> i64 {
    number(database, "SELECT count(*) FROM transactions").await
}

/// The letters that are shown, with all arguments: places.
fn letters(job: &Job, more: &[&str]) -> BTreeSet<Place> {
    let args = [
        "dead-letters",
        "list",
        "pipeline.toml",
        "--json",
        "--limit",
        "100000",
    ];
    let printed = succeed(job.wasmill(&[&args, more].concat()));
    let letters: Vec<Value> = serde_json::from_str(&printed).expect("a list");
    let place = |letter: &Value| {
        let partition = letter["partition"].as_u64().expect("a partition");
        (
            partition as u32,
            letter["offset"].as_i64().expect("an offset"),
        )
    };
    letters.iter().map(place).collect()
}

/// Rows and totals are those of all records, and the open letters those of the records that no version
/// can use.
async fn check(job: &Job, expected: &Outcome) {
    let found = outcome::totals_and_rows(job).await;
    assert_eq!(
        found.transactions.len(),
        expected.transactions.len(),
        "{}",
        job.log()
    );
    assert!(found.transactions == expected.transactions, "rows differ");
    for (table, totals) in &expected.totals {
        assert!(found.totals[table] == *totals, "{table} differs");
    }
    assert_eq!(letters(job, &[]), expected.dead, "open letters");
    let dry = job.wasmill(&[
        "dead-letters",
        "replay",
        "pipeline.toml",
        "--all",
        "--dry-run",
    ]);
    let printed = succeed(dry);
    let would = format!("{} records would be produced", expected.dead.len());
    assert!(printed.contains(&would), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_bad_version_rejected_is_in_all_tables_and_documents_in_the_end() {
    const RECORDS: u64 = 15_000;
    let job = job("readmission", TABLE, true).await;
    let mut run = let_a_bad_version_go_over(&job, &settings(), RECORDS).await;
    let database = job.database().await;
    let all = truth::expected(&settings(), PARTITIONS, BEFORE + RECORDS);
    let rejected = letters(&job, &[]);
    assert!(rejected.len() > 5_000, "{} were rejected", rejected.len());
    // The rest are duplicates.
    let known = rows(&database).await as usize + rejected.len();
    assert!(known < (BEFORE + RECORDS) as usize, "{known}");
    run.stop(&job);

    // What the bad version does is seen now; it goes by itself. Its rows and totals agree all the time.
    job.edit(|text| text.replacen("rejected_share = 1.0", "rejected_share = 0.01", 1));
    job.generate(&settings(), PARTITIONS, RECORDS);
    let watch = Watch::start(&job).await;
    let mut run = Running::start(&job, LOG, |_| ());
    wait_for_offsets(&job, &database, BEFORE + 2 * RECORDS).await;
    let expected = truth::expected(&settings(), PARTITIONS, BEFORE + 2 * RECORDS);
    wait_for_the_end(&job, &database, expected.transactions.len()).await;
    watch.end().await;
    let readmitted = ask_until(&job, "/metrics", |answer| {
        let mut lines = answer.body.lines();
        let line = lines.find_map(|line| line.strip_prefix("wasmill_readmitted_records_total "))?;
        line.trim().parse::<usize>().ok()
    });
    let settled = number(
        &database,
        "SELECT count(*) FROM wasmill_dead_letters WHERE settled_by = 3 AND settled_at IS NOT NULL",
    )
    .await;
    run.stop(&job);

    check(&job, &expected).await;
    assert!(all.dead.is_subset(&expected.dead));
    // Those that were rejected again have a new letter in the place of the old one.
    let again = expected.dead.intersection(&rejected).count();
    assert!(
        readmitted > rejected.len(),
        "{readmitted} were processed again"
    );
    assert!(
        settled > 0 && settled as usize <= readmitted - again,
        "{settled} are settled"
    );
    let shown = letters(&job, &["--settled"]);
    assert!(
        shown.is_superset(&rejected),
        "settled letters are still there"
    );
    let indexed = outcome::indexed(&job).await;
    assert_eq!(indexed.len(), expected.transactions.len());
    for (id, row) in &expected.transactions {
        assert_eq!(indexed[id], outcome::document(id, row));
    }
}

/// Kills the host so many times while it processes records again, and lets it come to the end.
async fn kill_while_it_goes_on(job: &Job, mut run: Running, expected: &Outcome, kills: u64) {
    let database = job.database().await;
    let admin = job.admin;
    // Nobody answers who was killed.
    let asking = std::thread::spawn(move || http::request(admin, "POST", "/api/rollback"));
    for kill in 0..kills {
        let before = rows(&database).await;
        if kill % 2 == 0 {
            // From before the version is back to when the first records are on their way again.
            tokio::time::sleep(Duration::from_millis(150 * kill + 15)).await;
        } else {
            // Some are committed, and others wait for the reader.
            wait_until(job, "nothing is processed again", async || {
                let rows = rows(&database).await;
                rows > before || rows == expected.transactions.len() as i64
            })
            .await;
        }
        send_signal(&run.0, "KILL");
        wait_for_exit(&mut run.0, Duration::from_secs(15));
        let rows = rows(&database).await;
        println!("killed at {rows} of {} rows", expected.transactions.len());
        run = Running::start(job, LOG, |_| ());
        wait_until(job, "it does not start", async || {
            http::request(job.admin, "GET", "/readyz").is_ok_and(|answer| answer.status == 200)
        })
        .await;
        if number(&database, "SELECT max(version) FROM wasmill_deployments").await == 2 {
            post(job, "/api/rollback");
        }
    }
    let _ = asking.join();
    wait_for_the_end(job, &database, expected.transactions.len()).await;
    run.stop(job);
    check(job, expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_killed_meanwhile_goes_on_where_it_was_with_letters_in_a_table() {
    const RECORDS: u64 = 45_000;
    let job = job("readmission_killed", TABLE, false).await;
    let run = let_a_bad_version_go_over(&job, &settings(), RECORDS).await;
    let expected = truth::expected(&settings(), PARTITIONS, BEFORE + RECORDS);
    kill_while_it_goes_on(&job, run, &expected, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn states_are_the_same_when_they_are_made_anew_from_all_records() {
    const RECORDS: u64 = 15_000;
    let job = job("readmission_anew", TABLE, false).await;
    let mut run = let_a_bad_version_go_over(&job, &settings(), RECORDS).await;
    let database = job.database().await;
    let expected = truth::expected(&settings(), PARTITIONS, BEFORE + RECORDS);
    assert_eq!(post(&job, "/api/rollback")["version"], 3);
    wait_for_the_end(&job, &database, expected.transactions.len()).await;
    let mut records = BEFORE + RECORDS;
    // While the journal still has the bad version, and once it has forgotten it.
    for has_forgotten in [false, true] {
        if has_forgotten {
            wait_until(&job, "the journal keeps it all", async || {
                let kept = "SELECT count(*) FROM wasmill_epochs WHERE readmitted <> '{}'";
                job.generate(&settings(), PARTITIONS, 30);
                records += 30;
                number(&database, kept).await == 0
            })
            .await;
            wait_for_offsets(&job, &database, records).await;
        }
        send_signal(&run.0, "KILL");
        wait_for_exit(&mut run.0, Duration::from_secs(15));
        remove_manifests(&job);
        // The version that came back by hand has passed it soon: until then its epochs stay.
        job.edit(|text| text.replacen("probation = \"1h\"", "probation = \"1s\"", 1));
        records += 3_000;
        job.generate(&settings(), PARTITIONS, 3_000);
        run = Running::start(&job, LOG, |_| ());
        wait_for_offsets(&job, &database, records).await;
        let log = job.log();
        assert!(!log.contains("restored from a checkpoint"), "{log}");
        check(&job, &truth::expected(&settings(), PARTITIONS, records)).await;
    }
    run.stop(&job);
}

/// Takes all checkpoints away; components stay.
fn remove_manifests(job: &Job) {
    let mut folders = vec![job.path("data/checkpoints")];
    let mut removed = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                std::fs::remove_file(path).expect("a manifest");
                removed += 1;
            }
        }
    }
    assert!(removed > 0, "there are checkpoints");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_lagged_meanwhile_gets_what_was_processed_again() {
    const RECORDS: u64 = 6_000;
    let job = job("readmission_lagging", TABLE, true).await;
    job.edit(|text| {
        let kind = "type = \"elasticsearch\"\n";
        text.replacen(kind, &format!("{kind}on_unavailable = \"continue\"\n"), 1)
    });
    let elastic = Elastic::new(&elasticsearch());
    let refuse = async |refuses: bool| {
        let settings = json!({ "index.blocks.write": refuses });
        let path = format!("{}/_settings", job.index);
        elastic.ok(Method::Put, &path, Some(settings)).await;
    };
    let mut run = let_a_bad_version_go_over(&job, &settings(), RECORDS).await;
    refuse(true).await;
    let database = job.database().await;
    let expected = truth::expected(&settings(), PARTITIONS, BEFORE + RECORDS);
    assert_eq!(post(&job, "/api/rollback")["version"], 3);
    wait_for_the_end(&job, &database, expected.transactions.len()).await;
    let more = BEFORE + RECORDS + 3_000;
    job.generate(&settings(), PARTITIONS, 3_000);
    wait_for_offsets(&job, &database, more).await;
    ask_until(&job, "/api/status", |answer| {
        let lags = &answer.json()["sinks"][1]["lags"];
        (lags == true).then_some(())
    });
    refuse(false).await;
    let expected = truth::expected(&settings(), PARTITIONS, more);
    wait_until(&job, "Elasticsearch lacks documents", async || {
        elastic.count(&job.index).await == expected.transactions.len() as u64
    })
    .await;
    run.stop(&job);
    check(&job, &expected).await;
    let indexed = outcome::indexed(&job).await;
    for (id, row) in &expected.transactions {
        assert_eq!(indexed[id], outcome::document(id, row));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_killed_meanwhile_goes_on_where_it_was_with_letters_in_a_file() {
    const RECORDS: u64 = 30_000;
    let letters = "type = \"file\"\npath = \"dead.ndjson\"";
    let job = job("readmission_file", letters, false).await;
    let run = let_a_bad_version_go_over(&job, &settings(), RECORDS).await;
    let expected = truth::expected(&settings(), PARTITIONS, BEFORE + RECORDS);
    kill_while_it_goes_on(&job, run, &expected, 4).await;
    let text = std::fs::read_to_string(job.path("dead.ndjson")).expect("the file");
    let lines = text.lines();
    let lines = lines.map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let settled: Vec<Value> = lines.filter(|line| !line["settled_by"].is_null()).collect();
    let place = |line: &Value| (line["partition"].as_u64(), line["offset"].as_u64());
    let once: BTreeSet<_> = settled.iter().map(place).collect();
    assert!(!once.is_empty());
    assert_eq!(once.len(), settled.len(), "each is settled once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_topic_has_deleted_stays_in_the_dead_letters() {
    const RECORDS: u64 = 6_000;
    const DELETED: i64 = 2_000;
    let letters_in_kafka = |topic: &str| format!("type = \"kafka\"\ntopic = \"{topic}.dead\"");
    let job = job(
        "readmission_gone",
        "type = \"file\"\npath = \"dead.ndjson\"",
        false,
    )
    .await;
    let topic = job.topic.clone();
    job.edit(|text| {
        let file = "type = \"file\"\npath = \"dead.ndjson\"";
        text.replacen(file, &letters_in_kafka(&topic), 1)
    });
    // Of what was deleted nothing comes again later.
    let settings = Settings {
        duplicates: 0.0,
        ..settings()
    };
    let mut run = let_a_bad_version_go_over(&job, &settings, RECORDS).await;
    let rejected = letters(&job, &[]);
    // Nobody reads these any more, the checkpoints have them.
    let topic = job.topic.clone();
    let deleting = std::thread::spawn(move || {
        // The job removes it.
        let topic = std::mem::ManuallyDrop::new(Topic::named(topic));
        topic.delete_before(0, DELETED);
    });
    deleting
        .join()
        .expect("the broker deletes what it is told to");
    let expected = truth::expected(&settings, PARTITIONS, BEFORE + RECORDS);
    let is_gone = |(partition, offset): &&Place| *partition == 0 && *offset < DELETED;
    let gone: BTreeSet<Place> = rejected.iter().filter(is_gone).copied().collect();
    assert!(gone.len() > 500, "{} are gone", gone.len());
    let there = expected.transactions.len() - gone.difference(&expected.dead).count();
    assert_eq!(post(&job, "/api/rollback")["version"], 3);
    let database = job.database().await;
    wait_for_the_end(&job, &database, there).await;
    run.stop(&job);
    assert!(
        job.log().contains("they stay in the dead letters"),
        "{}",
        job.log()
    );
    let open: BTreeSet<Place> = expected.dead.union(&gone).copied().collect();
    assert_eq!(letters(&job, &[]), open);
    // They are told once: a start has nothing left to do.
    let mut run = Running::start(&job, "later.log", |_| ());
    wait_for_the_end(&job, &database, there).await;
    run.stop(&job);
    let log = std::fs::read_to_string(job.path("later.log")).expect("a log");
    assert!(!log.contains("stay in the dead letters"), "{log}");
}
