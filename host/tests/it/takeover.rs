//! Two hosts of one pipeline: the one that started last writes, and nobody else does.

use std::process::{Child, Stdio};
use std::time::Duration;

use wasmill::generate::Settings;

use super::end_to_end::{Watch, compare};
use super::support::job::{Job, free_address, send_signal, wait_for_exit};
use super::support::running::{Running, ask_until, waits_for};
use super::support::{http, truth};

const RECORDS: u64 = 20_000;
const PARTITIONS: u32 = 3;

fn settings() -> Settings {
    Settings {
        seed: 31,
        bad_share: 0.005,
        ..Settings::default()
    }
}

async fn job() -> Job {
    let job = Job::new("takeover", |text| {
        text.replace("max_rows = 10_000", "max_rows = 250")
    })
    .await;
    job.generate(&settings(), PARTITIONS, RECORDS);
    job
}

/// A host that writes its log to a file of its own.
fn start(job: &Job, log: &str, once: bool) -> Child {
    let mut command = job.wasmill(&["run", "pipeline.toml"]);
    if once {
        command.arg("--once");
    }
    let log = std::fs::File::create(job.path(log)).unwrap();
    command
        .env("ADMIN_LISTEN", free_address().to_string())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn log(job: &Job, name: &str) -> String {
    std::fs::read_to_string(job.path(name)).unwrap()
}

fn assert_taken_over(job: &Job, first: &mut Child) {
    let status = wait_for_exit(first, Duration::from_mins(2));
    let log = log(job, "first.log");
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("another host has taken over"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_host_takes_over_and_the_first_one_stops() {
    let job = job().await;
    let mut first = start(&job, "first.log", false);
    job.wait_for_epoch(10, "first.log").await;
    let watch = Watch::start(&job).await;
    let mut second = start(&job, "second.log", true);
    assert_taken_over(&job, &mut first);
    let status = wait_for_exit(&mut second, Duration::from_mins(5));
    assert!(status.success(), "{}", log(&job, "second.log"));
    watch.end().await;
    compare(&job, &truth::expected(&settings(), PARTITIONS, RECORDS)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_stood_still_while_another_took_over_changes_nothing_when_it_wakes() {
    let job = job().await;
    let expected = truth::expected(&settings(), PARTITIONS, RECORDS);
    let mut first = start(&job, "first.log", false);
    job.wait_for_epoch(10, "first.log").await;
    // Wherever it is: in most cases in the middle of a transaction, whose locks it loses after 10 s.
    send_signal(&first, "STOP");
    let watch = Watch::start(&job).await;
    let mut second = start(&job, "second.log", true);
    let status = wait_for_exit(&mut second, Duration::from_mins(5));
    assert!(status.success(), "{}", log(&job, "second.log"));
    compare(&job, &expected).await;
    send_signal(&first, "CONT");
    assert_taken_over(&job, &mut first);
    watch.end().await;
    compare(&job, &expected).await;
}

/// Both hosts have `takeover = false`; the first one ends by `signal`, and the second one takes over.
async fn the_second_waits_until_the_first_ends(signal: &str) {
    let polite = "[pipeline]\ntakeover = false";
    let job = Job::new("polite", |text| {
        text.replace("max_rows = 10_000", "max_rows = 250")
            .replace("[pipeline]", polite)
    })
    .await;
    let mut first = Running::start(&job, "first.log", |command| {
        command.env("ADMIN_LISTEN", free_address().to_string());
    });
    job.generate(&settings(), PARTITIONS, 3_000);
    job.wait_for_epoch(10, "first.log").await;

    let mut second = Running::start(&job, "wasmill.log", |_| {});
    let waiting = "another host runs pipeline `ecommerce-sales` (generation 1, connected from ";
    let reason = waits_for(&job, "postgres", waiting);
    assert!(reason.contains("`takeover = false`"), "{reason}");
    // The first one loses every connection, and is still the owner.
    let lose = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE application_name LIKE 'wasmill%' AND datname = current_database()";
    job.database().await.batch_execute(lose).await.unwrap();
    job.generate(&settings(), PARTITIONS, 3_000);
    job.wait_for_epoch(20, "first.log").await;
    // Much longer than the second one would wait to be sure.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let generation = "SELECT max(generation) FROM wasmill_progress";
    let generation = job.database().await.query_one(generation, &[]).await;
    assert_eq!(generation.unwrap().get::<_, i64>(0), 1);
    waits_for(&job, "postgres", waiting);

    send_signal(&first.0, signal);
    if signal == "STOP" {
        let took_over = |answer: &http::Answer| (answer.status == 200).then_some(());
        ask_until(&job, "/readyz", took_over);
        send_signal(&first.0, "CONT");
    }
    let ended = wait_for_exit(&mut first.0, Duration::from_secs(30));
    assert_eq!(
        ended.success(),
        signal == "TERM",
        "{}",
        log(&job, "first.log")
    );
    job.generate(&settings(), PARTITIONS, 3_000);
    ask_until(&job, "/api/status", |answer| {
        let told = answer.json();
        let committed = told["partitions"].as_array()?.iter();
        let committed: Option<u64> = committed.map(|p| p["committed"].as_u64()).sum();
        (committed? == 9_000).then_some(())
    });
    second.stop(&job);
    compare(&job, &truth::expected(&settings(), PARTITIONS, 9_000)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_takeover_a_second_host_waits_until_the_first_is_stopped() {
    the_second_waits_until_the_first_ends("TERM").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_takeover_a_second_host_waits_until_the_first_is_killed() {
    the_second_waits_until_the_first_ends("KILL").await;
}

/// The server closes the connection of an owner that says nothing for half a minute.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute"]
async fn without_takeover_a_second_host_does_not_wait_for_one_that_stands_still() {
    the_second_waits_until_the_first_ends("STOP").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_takeover_a_second_embedded_run_waits_until_the_first_ends() {
    let job = Job::new("polite", |text| {
        text.replace("[pipeline]", "[pipeline]\ntakeover = false")
    })
    .await;
    let start = |log: &str, admin: String| {
        let mut command = job.wasmill(&["run", "pipeline.toml", "--embedded", "--rate", "200"]);
        command.env("ADMIN_LISTEN", admin).stdout(Stdio::null());
        let log = std::fs::File::create(job.path(log)).unwrap();
        Running(command.stderr(log).spawn().unwrap())
    };
    let (admin, ready) = (free_address(), |answer: http::Answer| answer.status == 200);
    let first = start("first.log", admin.to_string());
    while !http::request(admin, "GET", "/readyz").is_ok_and(ready) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut second = start("wasmill.log", job.admin.to_string());
    let reason = waits_for(&job, "postgres", "another host runs pipeline");
    assert!(reason.contains(".owner"), "{reason}");
    drop(first);
    ask_until(&job, "/readyz", |answer| {
        (answer.status == 200).then_some(())
    });
    second.stop(&job);
}
