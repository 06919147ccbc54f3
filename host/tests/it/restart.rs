//! The sales job, stopped and killed in the middle: nothing lost, nothing twice.

use std::time::Duration;

use wasmill::generate::Settings;

use super::end_to_end::{Watch, compare};
use super::support::job::{Job, send_signal, wait_for_exit};
use super::support::truth;

const RECORDS: u64 = 60_000;
const PARTITIONS: u32 = 3;
/// How often a run is interrupted.
const TIMES: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_by_sigterm() {
    interrupt("TERM").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_by_sigkill() {
    interrupt("KILL").await;
}

async fn interrupt(signal: &str) {
    let settings = Settings {
        seed: 99,
        bad_share: 0.005,
        ..Settings::default()
    };
    // Small epochs, so that there are many moments to be interrupted at.
    let job = Job::new("restart", |text| {
        text.replace("max_rows = 10_000", "max_rows = 500")
    })
    .await;
    job.generate(&settings, PARTITIONS, RECORDS);
    let watch = Watch::start(&job).await;
    let mut committed = 0;
    for _ in 0..TIMES {
        let mut child = job.start();
        // Until it has committed something new: the next blow comes in the middle of a run.
        job.wait_for_epoch(committed + 3).await;
        send_signal(&child, signal);
        let status = wait_for_exit(&mut child, Duration::from_secs(15));
        if signal == "TERM" {
            assert!(status.success(), "{status}: {}", job.log());
        }
        // What it still committed while it stopped says nothing of the next one.
        committed = job.last_epoch().await;
    }
    let total_epochs = RECORDS / 500;
    assert!(
        job.last_epoch().await < total_epochs,
        "all was done before the last interruption"
    );
    job.run_once();
    watch.end().await;
    compare(&job, &truth::expected(&settings, PARTITIONS, RECORDS)).await;
}
