//! The real binary against the real servers while it is killed, stopped, frozen and cut off at random
//! moments, compared at the end of each round with an independent computation.
//!
//! A round has a topic, a database and an index of its own. Its seed decides the records, the settings of
//! the job, the faults and the moments: so many records committed, a checkpoint being written, so long after
//! a start. What the servers and the scheduler do in between is theirs, so a seed repeats a round as far as
//! that is possible.
//!
//! The short round runs with the other tests; `cargo xtask soak` runs the long ones, with an optimised binary
//! and servers of its own. `WASMILL_SOAK_SEED` repeats either of them.

mod audit;
mod course;
mod faults;
mod host;
mod observer;
mod report;
mod round;

use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use elasticsearch::http::Method;

use super::support::elastic::Elastic;
use super::support::elasticsearch;
use super::support::job::succeed;
use audit::{Truth, audit};
use course::{Fault, Frame};
use report::Report;

/// What names the seed of the first round.
const SEED: &str = "WASMILL_SOAK_SEED";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_by_kills_at_random_moments() {
    let frame = Frame {
        records: 40_000,
        rate: 4_000,
        faults: 6,
        kinds: vec![Fault::Kill],
        interval: Some(Duration::from_secs(1)),
    };
    let mut report = Report::new(&frame);
    play(&frame, first_seed(), &mut report).await;
    println!("{report}");
}

/// Who compares has to see what is missing, what is too much, and what is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_tampered_with_is_found() {
    const RECORDS: u64 = 2_000;
    let job = round::small_job().await;
    let settings = wasmill::generate::Settings {
        seed: 5,
        bad_share: 0.01,
        duplicates: 0.1,
        ..Default::default()
    };
    job.generate(&settings, 2, RECORDS);
    succeed(round::run_once(&job));
    let truth = Arc::new(Truth::new(&settings, 2, RECORDS));
    audit(&job, &truth).await.assert_none();

    let database = job.database().await;
    let first = "(SELECT min(transaction_id) FROM transactions)";
    for (tamper, lost, doubled, wrong) in [
        // Each one on top of those before it.
        (format!("DELETE FROM transactions WHERE transaction_id = {first}"), 1, 0, 0),
        (format!("UPDATE transactions SET transaction_id = 'x' WHERE transaction_id = {first}"), 2, 1, 0),
        (format!("UPDATE transactions SET currency = 'XTS' WHERE transaction_id = {first}"), 2, 1, 1),
        ("DELETE FROM wasmill_dead_letters WHERE record_offset = (SELECT min(record_offset) FROM wasmill_dead_letters)".into(), 3, 1, 1),
        ("UPDATE wasmill_dead_letters SET record_offset = 999999 WHERE record_offset = (SELECT max(record_offset) FROM wasmill_dead_letters)".into(), 4, 2, 1),
        ("UPDATE sales_per_month SET transactions = transactions + 2 WHERE (year, month) = (2024, 5)".into(), 4, 4, 1),
        ("UPDATE sales_per_month SET total_sales = 0 WHERE (year, month) = (2024, 6)".into(), 4, 4, 2),
        ("DELETE FROM customer_totals WHERE customer_id = (SELECT customer_id FROM customer_totals WHERE transactions = 1 LIMIT 1)".into(), 5, 4, 2),
    ] {
        let changed = database.execute(&tamper, &[]).await.unwrap();
        assert_eq!(changed, 1, "{tamper}");
        let found = audit(&job, &truth).await;
        assert_eq!((found.lost, found.doubled, found.wrong), (lost, doubled, wrong), "{tamper}: {found:?}");
    }
    let elastic = Elastic::new(&elasticsearch());
    let sql = "SELECT transaction_id FROM transactions WHERE transaction_id <> 'x' LIMIT 1";
    let row = database.query_one(sql, &[]).await.unwrap();
    let path = format!("{}/_doc/{}", job.index, row.get::<_, &str>(0));
    elastic.ok(Method::Delete, &path, None).await;
    let stray = serde_json::json!({ "transaction_id": "y" });
    elastic
        .ok(Method::Put, &format!("{}/_doc/y", job.index), Some(stray))
        .await;
    let found = audit(&job, &truth).await;
    assert_eq!(
        (found.lost, found.doubled, found.wrong),
        (6, 5, 2),
        "{found:?}"
    );
}

/// `cargo xtask soak` sets the variables.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes as long as it is told to: run it with `cargo xtask soak`"]
async fn rounds_of_random_faults() {
    // The line that the test harness has begun.
    println!();
    let minutes: f64 = setting("WASMILL_SOAK_MINUTES", 1.0);
    let rounds: u64 = setting("WASMILL_SOAK_ROUNDS", u64::MAX);
    let seconds: Option<f64> = optional("WASMILL_SOAK_INTERVAL");
    let default = Frame {
        records: setting("WASMILL_SOAK_RECORDS", 240_000),
        rate: setting("WASMILL_SOAK_RATE", 4_000),
        faults: setting("WASMILL_SOAK_FAULTS", 10),
        kinds: Fault::ALL.to_vec(),
        interval: seconds.map(Duration::from_secs_f64),
    };
    let frame = Frame {
        kinds: Fault::chosen(),
        ..default
    };
    let mut report = Report::new(&frame);
    let end = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    let first = first_seed();
    for round in 0..rounds {
        play(&frame, first.wrapping_add(round), &mut report).await;
        println!("{}", report.last_line());
        report.save();
        if Instant::now() >= end {
            break;
        }
    }
    println!("\n{report}");
}

/// One round. What it found goes into the report; what is wrong ends the test, after it was said how to
/// repeat it.
async fn play(frame: &Frame, seed: u64, report: &mut Report) {
    let course = frame.course(seed);
    let (number, started) = (report.rounds() + 1, Instant::now());
    println!("round {number}, seed {seed}: {course}");
    let played = tokio::spawn(round::play(course)).await;
    match played {
        Ok(mut outcome) => {
            outcome.seconds = started.elapsed().as_secs_f64();
            report.add(seed, outcome);
        }
        Err(failed) => {
            report.fail(seed);
            report.save();
            println!(
                "\nround {number} failed; everything was left in place. The same again: {SEED}={seed}, \
                 or `cargo xtask soak --rounds 1 --seed {seed}` with the options of this run\n"
            );
            match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(other) => panic!("round {number}: {other}"),
            }
        }
    }
}

/// The one that is set, or another one each time.
fn first_seed() -> u64 {
    optional(SEED).unwrap_or_else(|| {
        let now = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
        now.as_millis() as u64 % 1_000_000_000
    })
}

fn setting<T: FromStr>(variable: &str, default: T) -> T {
    optional(variable).unwrap_or(default)
}

fn optional<T: FromStr>(variable: &str) -> Option<T> {
    let text = std::env::var(variable).ok()?;
    let parsed = text.parse().ok();
    assert!(parsed.is_some(), "{variable} cannot be `{text}`");
    parsed
}
