//! Producers that send records twice, on real servers.

use std::mem::ManuallyDrop;

use wasmill::generate::{Generator, Settings};

use super::end_to_end::compare;
use super::support::job::Job;
use super::support::kafka::{Record, Topic};
use super::support::truth;

const SAMPLE: &str = include_str!("../data/transactions.ndjson");

/// A producer that sends a fifth of its records twice, and then all of them again.
#[tokio::test(flavor = "multi_thread")]
async fn repeated_records_leave_what_the_distinct_ones_come_to() {
    const RECORDS: u64 = 30_000;
    const PARTITIONS: u32 = 3;
    let settings = Settings {
        seed: 9,
        bad_share: 0.01,
        duplicates: 0.2,
        ..Settings::default()
    };
    let job = Job::new("repeated", |text| {
        text.replace("max_rows = 10_000", "max_rows = 7_000")
    })
    .await;
    job.generate(&settings, PARTITIONS, RECORDS);
    send_again(&job, &settings, PARTITIONS, RECORDS);
    let printed = job.run_once();

    let mut expected = truth::expected(&settings, PARTITIONS, RECORDS);
    // What is rejected is not remembered, so it is rejected again.
    let length = (RECORDS / u64::from(PARTITIONS)).cast_signed();
    let again = expected.dead.iter();
    let again: Vec<truth::Place> = again.map(|(p, offset)| (*p, offset + length)).collect();
    expected.dead.extend(again);
    let kept = expected.transactions.len() as u64;
    let duplicates = 2 * RECORDS - kept - expected.dead.len() as u64;
    assert!(
        kept > RECORDS / 2 && duplicates > RECORDS,
        "{kept} {duplicates}"
    );
    let counts = format!(
        "{} dead letters, {duplicates} duplicates\n",
        expected.dead.len()
    );
    assert!(printed.contains(&counts), "{printed}");
    compare(&job, &expected).await;
    // Elasticsearch has confirmed every epoch, so the journal is short.
    let sql = "SELECT excluded::text FROM wasmill_epochs ORDER BY epoch DESC LIMIT 1";
    let row = job.database().await.query_one(sql, &[]).await.unwrap();
    let excluded: String = row.get(0);
    assert!(excluded.contains("[["), "ranges: {excluded}");
}

/// Writes the same records behind the first ones, in the same partitions.
fn send_again(job: &Job, settings: &Settings, partitions: u32, records: u64) {
    let generator = Generator::new(settings.clone());
    let values: Vec<(u32, Option<Vec<u8>>)> = truth::places(partitions, records)
        .map(|origin| {
            let mut value = Vec::new();
            let has_value = generator.generate(origin).render(&mut value);
            (origin.partition.0, has_value.then_some(value))
        })
        .collect();
    its_topic(job.topic.clone()).write(values.iter().map(|(partition, value)| Record {
        partition: *partition,
        value: value.as_deref(),
        ..Record::default()
    }));
}

/// The topic of a job, which removes it itself.
fn its_topic(name: String) -> ManuallyDrop<Topic> {
    ManuallyDrop::new(Topic::named(name))
}

/// A sale of the sample with this id and currency.
fn sale(id: &str, currency: &str) -> String {
    let line = SAMPLE.lines().next().expect("samples");
    let old = "a6a3a450-6513-470e-a69e-0d37f2a74de4";
    assert!(line.contains(old) && line.contains("\"GBP\""));
    line.replace(old, id)
        .replace("\"GBP\"", &format!("\"{currency}\""))
}

/// The shipped job with `last`, on a topic of two partitions.
async fn small_job(prefix: &str, last: u32, max_rows: u32) -> (Job, ManuallyDrop<Topic>) {
    let job = Job::new(prefix, |text| {
        let old = ["last = 1_000_000", "max_rows = 10_000"];
        assert!(old.iter().all(|line| text.contains(line)));
        text.replace(old[0], &format!("last = {last}"))
            .replace(old[1], &format!("max_rows = {max_rows}"))
    })
    .await;
    let name = job.topic.clone();
    let made = tokio::task::spawn_blocking(|| {
        let topic = its_topic(name);
        topic.make(2, &[]);
        topic
    });
    (job, made.await.unwrap())
}

fn write(topic: &Topic, sales: &[(u32, String)]) {
    topic.write(sales.iter().map(|(partition, value)| Record {
        partition: *partition,
        value: Some(value.as_bytes()),
        ..Record::default()
    }));
}

/// How many sales the totals have, and how many rows there are.
async fn counted(job: &Job) -> (i64, i64) {
    let sql =
        "SELECT (SELECT sum(transactions)::bigint FROM sales_per_day), count(*) FROM transactions";
    let row = job.database().await.query_one(sql, &[]).await.unwrap();
    (row.get(0), row.get(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_in_another_partition_is_another_record() {
    let (job, topic) = small_job("elsewhere", 1_000, 10_000).await;
    let sales = [
        (0, sale("a", "USD")),
        (1, sale("a", "USD")),
        (1, sale("a", "USD")),
    ];
    write(&topic, &sales);
    let printed = job.run_once();
    assert!(
        printed.contains("0 dead letters, 1 duplicates"),
        "{printed}"
    );
    assert_eq!(counted(&job).await, (2, 1));
}

/// In one batch, and again when each record is an epoch of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_record_may_come_again_mended() {
    for max_rows in [10_000, 1] {
        let (job, topic) = small_job("mended", 1_000, max_rows).await;
        // No rate has the currency XTS, so the transform rejects it.
        let sales = ["XTS", "XTS", "USD", "USD", "XTS"].map(|currency| (0, sale("a", currency)));
        write(&topic, &sales);
        let printed = job.run_once();
        assert!(
            printed.contains("2 dead letters, 2 duplicates"),
            "{printed}"
        );
        assert_eq!(counted(&job).await, (1, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_horizon_a_record_is_taken_again() {
    let (job, topic) = small_job("horizon", 2, 1).await;
    let sales = ["a", "b", "b", "c", "a", "c", "b"].map(|id| (0, sale(id, "USD")));
    write(&topic, &sales);
    let printed = job.run_once();
    // The second b and c are known; the second a was forgotten for c, and the third b for a.
    assert!(
        printed.contains("0 dead letters, 2 duplicates"),
        "{printed}"
    );
    assert_eq!(counted(&job).await, (5, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_or_horizon_is_refused_by_name() {
    let (job, topic) = small_job("other_key", 1_000, 10_000).await;
    write(&topic, &[(0, sale("a", "USD"))]);
    job.run_once();
    job.edit(|text| {
        text.replace(
            "key = [\"transaction_id\"]\nlast = 1000",
            "key = [\"customer_id\"]\nlast = 5",
        )
    });
    let output = job
        .wasmill(&["run", "pipeline.toml", "--once"])
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    for difference in [
        "source.deduplicate.key[0] was \"transaction_id: utf8\", is now \"customer_id: utf8\"",
        "source.deduplicate.last was 1000, is now 5",
    ] {
        assert!(printed.contains(difference), "{printed}");
    }
}
