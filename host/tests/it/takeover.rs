//! Two hosts of one pipeline: the one that started last writes, and nobody else does.

use std::process::{Child, Stdio};
use std::time::Duration;

use wasmill::generate::Settings;

use super::end_to_end::{Watch, compare};
use super::support::job::{Job, free_address, send_signal, wait_for_exit};
use super::support::truth;

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
    job.wait_for_epoch(10).await;
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
    job.wait_for_epoch(10).await;
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
