//! The sales job with `on_unavailable = "continue"`: PostgreSQL goes on while Elasticsearch refuses,
//! and Elasticsearch gets what it lacks from Kafka.

use std::process::Child;
use std::time::{Duration, Instant};

use elasticsearch::http::Method;
use serde_json::{Value, json};
use wasmill::generate::Settings;

use super::end_to_end::compare;
use super::support::elastic::Elastic;
use super::support::job::{Job, send_signal, succeed, wait_for_exit};
use super::support::{elasticsearch, http, truth};

const PARTITIONS: u32 = 3;
const RECORDS: u64 = 24_000;
const EPOCH_ROWS: u64 = 250;

fn settings() -> Settings {
    Settings {
        seed: 11,
        bad_share: 0.005,
        ..Settings::default()
    }
}

/// A job whose Elasticsearch may lag, and gets rows and totals.
struct LaggingJob {
    job: Job,
    elastic: Elastic,
    totals: String,
}

impl LaggingJob {
    async fn new() -> Self {
        let job = Job::new("lagging", |text| {
            let totals = "[[sink.indices]]\nfrom = \"customer_totals\"\nindex = \"TOTALS\"\nid = \"customer_id\"";
            [
                ("max_rows = 10_000", &*format!("max_rows = {EPOCH_ROWS}")),
                ("interval = \"30s\"", "interval = \"1s\""),
                (
                    "type = \"elasticsearch\"\n",
                    "type = \"elasticsearch\"\non_unavailable = \"continue\"\n",
                ),
                (
                    "id = \"transaction_id\"\n",
                    &format!("id = \"transaction_id\"\n\n{totals}\n"),
                ),
            ]
            .into_iter()
            .fold(text, |text, (from, to)| {
                assert!(text.contains(from), "the shipped pipeline has {from}");
                text.replace(from, to)
            })
        })
        .await;
        let totals = format!("{}_totals", job.index);
        job.edit(|text| text.replace("TOTALS", &totals));
        job.generate(&settings(), PARTITIONS, RECORDS);
        Self {
            job,
            elastic: Elastic::new(&elasticsearch()),
            totals,
        }
    }

    /// Starts it, and has Elasticsearch refuse once both have some epochs.
    async fn start_and_refuse(&self) -> Child {
        let child = self.job.start();
        self.until("both have some epochs", || {
            let status = self.status();
            status.is_some_and(|status| epoch(&status) > 8 && of_search(&status, "epoch") > 4)
        })
        .await;
        self.refuse(true).await;
        self.until("the stream goes on without Elasticsearch", || {
            self.status().is_some_and(|status| lags(&status))
        })
        .await;
        child
    }

    async fn until(&self, what: &str, done: impl Fn() -> bool) {
        let started = Instant::now();
        while !done() {
            let log = || self.job.log();
            assert!(
                started.elapsed() < LIMIT,
                "it never came to it that {what}: {}",
                log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn refuse(&self, refuses: bool) {
        for index in [&self.job.index, &self.totals] {
            let settings = json!({ "index.blocks.write": refuses });
            let path = format!("{index}/_settings");
            self.elastic.ok(Method::Put, &path, Some(settings)).await;
        }
    }

    /// What it says of itself; `None` while nobody answers.
    fn status(&self) -> Option<Value> {
        let answer = http::request(self.job.admin, "GET", "/api/status").ok()?;
        Some(answer.json())
    }

    fn is_ready(&self) -> bool {
        http::get(self.job.admin, "/readyz").status == 200
    }

    /// Waits until PostgreSQL has everything.
    async fn wait_for_all_rows(&self) {
        let rows = truth::expected(&settings(), PARTITIONS, RECORDS)
            .transactions
            .len() as i64;
        let database = self.job.database().await;
        let started = Instant::now();
        loop {
            let count = "SELECT count(*) FROM transactions";
            let found: i64 = database.query_one(count, &[]).await.unwrap().get(0);
            if found == rows {
                return;
            }
            assert!(
                started.elapsed() < LIMIT,
                "{found} of {rows}: {}",
                self.job.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Stops it, and compares everything with an independent computation.
    async fn stop_and_compare(&self, mut child: Child) {
        self.until("Elasticsearch has everything", || {
            let status = self.status();
            let has_all = |s: &Value| !lags(s) && of_search(s, "epoch") == epoch(s);
            status.as_ref().is_some_and(has_all)
        })
        .await;
        send_signal(&child, "TERM");
        let status = wait_for_exit(&mut child, Duration::from_secs(30));
        assert!(status.success(), "{status}: {}", self.job.log());
        self.compare().await;
    }

    async fn compare(&self) {
        let expected = truth::expected(&settings(), PARTITIONS, RECORDS);
        compare(&self.job, &expected).await;
        let documents = self.elastic.documents(&self.totals).await;
        let counts = documents.values().map(|(_, source)| {
            let source: Value = serde_json::from_str(source).unwrap();
            source["count"].as_i64().unwrap()
        });
        let totals = &expected.totals["customer_totals"];
        let mut expected: Vec<i64> = totals.values().map(|(_, count)| *count).collect();
        let mut counts: Vec<i64> = counts.collect();
        expected.sort_unstable();
        counts.sort_unstable();
        assert_eq!(counts, expected, "the totals in Elasticsearch");
        self.elastic.remove(&self.totals).await;
    }
}

const LIMIT: Duration = Duration::from_secs(90);

fn epoch(status: &Value) -> u64 {
    status["epoch"].as_u64().unwrap()
}

fn search(status: &Value) -> &Value {
    let sinks = status["sinks"].as_array().unwrap();
    sinks.iter().find(|sink| sink["name"] == "search").unwrap()
}

fn of_search(status: &Value, key: &str) -> u64 {
    search(status)[key].as_u64().unwrap()
}

fn lags(status: &Value) -> bool {
    search(status)["lags"] == true
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_may_lag_gets_what_it_lacks_once_it_answers() {
    let lagging = LaggingJob::new().await;
    let child = lagging.start_and_refuse().await;
    lagging.wait_for_all_rows().await;
    assert!(lagging.is_ready(), "{}", lagging.job.log());
    let behind = lagging.status().unwrap();
    assert!(
        of_search(&behind, "epoch") + 20 < epoch(&behind),
        "{behind}"
    );
    lagging.refuse(false).await;
    lagging.stop_and_compare(child).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_sink_lacks_survives_a_kill_and_a_stop() {
    let lagging = LaggingJob::new().await;
    let mut child = lagging.start_and_refuse().await;
    send_signal(&child, "KILL");
    wait_for_exit(&mut child, Duration::from_secs(10));
    let mut child = lagging.job.start();
    lagging.wait_for_all_rows().await;
    send_signal(&child, "TERM");
    let status = wait_for_exit(&mut child, Duration::from_secs(30));
    assert!(status.success(), "{status}: {}", lagging.job.log());
    lagging.refuse(false).await;
    // A run to the end of the topic ends when everybody has it.
    succeed(lagging.job.wasmill(&["run", "pipeline.toml", "--once"]));
    lagging.compare().await;
}
