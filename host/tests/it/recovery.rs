//! The sales job after a stop, with its checkpoints whole, damaged or gone: the states are the same.

use std::path::PathBuf;
use std::time::Duration;

use wasmill::generate::Settings;

use super::end_to_end::{Watch, compare};
use super::support::job::{Job, send_signal, wait_for_exit};
use super::support::{outcome, truth};

const RECORDS: u64 = 30_000;
const PARTITIONS: u32 = 3;

fn settings() -> Settings {
    Settings {
        seed: 7,
        bad_share: 0.005,
        ..Settings::default()
    }
}

/// A job that was stopped in the middle, several times, and so has several checkpoints.
async fn stopped_job(prefix: &str) -> Job {
    let job = Job::new(prefix, |text| {
        text.replace("max_rows = 10_000", "max_rows = 250")
    })
    .await;
    job.generate(&settings(), PARTITIONS, RECORDS);
    let mut epoch = 0;
    for _ in 0..3 {
        let mut child = job.start();
        // It has to be this run that commits: before that, it may not listen for signals yet.
        job.wait_for_epoch(epoch + 8).await;
        send_signal(&child, "TERM");
        let status = wait_for_exit(&mut child, Duration::from_secs(15));
        assert!(status.success(), "{status}: {}", job.log());
        epoch = job.last_epoch().await;
    }
    assert!(epoch < RECORDS / 250, "all was done before the last stop");
    assert!(manifests(&job).len() >= 2, "{:?}", manifests(&job));
    job
}

/// Manifests, the oldest first.
fn manifests(job: &Job) -> Vec<PathBuf> {
    let mut found = files_below(job.path("data/checkpoints"));
    found.retain(|path| path.extension().is_some_and(|e| e == "json"));
    found.sort();
    found
}

fn files_below(folder: PathBuf) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files
}

/// Starts it until it runs and stops it again: what it logged.
async fn log_of_a_start(job: &Job) -> String {
    let before = job.log().len();
    let epoch = job.last_epoch().await;
    let mut child = job.start();
    job.wait_for_epoch(epoch + 1).await;
    send_signal(&child, "TERM");
    let status = wait_for_exit(&mut child, Duration::from_secs(15));
    assert!(status.success(), "{status}: {}", job.log());
    job.log().split_off(before)
}

async fn finish(job: &Job) {
    let watch = Watch::start(job).await;
    job.run_once();
    watch.end().await;
    compare(job, &truth::expected(&settings(), PARTITIONS, RECORDS)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_after_a_stop_reads_nothing_again() {
    let job = stopped_job("recovery").await;
    let log = log_of_a_start(&job).await;
    assert!(log.contains("restored from a checkpoint"), "{log}");
    assert!(!log.contains("again"), "{log}");
    finish(&job).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_checkpoint_is_named_and_the_one_before_it_is_used() {
    let job = stopped_job("recovery").await;
    let newest = manifests(&job).pop().unwrap();
    let mut bytes = std::fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&newest, bytes).unwrap();
    let log = log_of_a_start(&job).await;
    let name = newest.file_name().unwrap().to_str().unwrap();
    for part in [
        "cannot be used",
        name,
        "restored from a checkpoint",
        "again",
    ] {
        assert!(log.contains(part), "{part} is not in {log}");
    }
    finish(&job).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_states_that_is_cut_short_costs_its_checkpoint_only() {
    let job = stopped_job("recovery").await;
    let mut files = files_below(job.path("data/checkpoints"));
    files.retain(|path| path.extension().is_some_and(|e| e == "arrow"));
    files.sort_by_key(|path| std::fs::metadata(path).unwrap().modified().unwrap());
    let newest = files.pop().unwrap();
    let bytes = std::fs::read(&newest).unwrap();
    std::fs::write(&newest, &bytes[..bytes.len() / 2]).unwrap();
    let log = log_of_a_start(&job).await;
    for part in ["its manifest says", "restored from a checkpoint", "again"] {
        assert!(log.contains(part), "{part} is not in {log}");
    }
    finish(&job).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_checkpoint_the_states_are_made_anew_from_all_records() {
    let job = stopped_job("recovery").await;
    // What came between the first epoch and the oldest checkpoint that was kept is forgotten.
    let database = job.database().await;
    let oldest = "DELETE FROM wasmill_epochs WHERE epoch BETWEEN 2 AND 20";
    database.execute(oldest, &[]).await.unwrap();
    std::fs::remove_dir_all(job.path("data/checkpoints")).unwrap();
    let log = log_of_a_start(&job).await;
    assert!(log.contains("making the states anew"), "{log}");
    finish(&job).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_the_database_refuses_is_left_out_of_everything() {
    let job = stopped_job("recovery").await;
    // Rows that are there already do not count.
    let constraint = "ALTER TABLE transactions ADD CONSTRAINT no_small_change \
                      CHECK (total_amount_base >= 20) NOT VALID";
    let database = job.database().await;
    database.batch_execute(constraint).await.unwrap();
    let watch = Watch::start(&job).await;
    let log = job.run_once();
    watch.end().await;

    let whole = truth::expected(&settings(), PARTITIONS, RECORDS);
    let found = outcome::found(&job).await;
    let missing = whole.transactions.len() - found.transactions.len();
    assert!(missing > 10, "only {missing} are left out: {log}");
    for (id, row) in &found.transactions {
        assert_eq!(whole.transactions.get(id), Some(row));
    }
    let letters = found.dead.len() - whole.dead.len();
    assert_eq!(letters, missing);
    let sums = "SELECT (SELECT sum(total_amount_base) FROM transactions) = \
                (SELECT sum(total_sales) FROM sales_per_month), count(*) FROM transactions";
    let row = database.query_one(sums, &[]).await.unwrap();
    assert!(row.get::<_, bool>(0), "totals and rows differ");
    for (name, totals) in &found.totals {
        let count: i64 = totals.values().map(|(_, count)| count).sum();
        assert_eq!(count, row.get::<_, i64>(1), "{name}");
    }
}
