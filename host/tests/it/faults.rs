//! The sales job while its servers are away, hang, refuse and are changed underneath: what passes is
//! waited for, what does not pass is said, and in the end everything is as if nothing had been.
//!
//! # Not here
//!
//! The same faults in every order, on servers in memory: `simulation` in the pipeline's own tests. What
//! Elasticsearch says of single documents: [`super::elasticsearch`].

mod away;
mod cut;
mod elastic;
mod hanging;
mod permanent;
mod postgres;

use serde_json::Value;
use wasmill::generate::Settings;

use super::end_to_end::{Watch, compare};
use super::support::elastic::Elastic;
use super::support::job::Job;
use super::support::proxy::Proxy;
use super::support::running::{Running, ask_until, waits_for};
use super::support::{self, truth};

const PARTITIONS: u32 = 2;
/// Records before a fault, and as many more while it lasts.
const SOME: u64 = 600;

/// A sales job whose servers are reached through proxies. Epochs are small, and time limits short.
struct Sales {
    job: Job,
    records: u64,
    postgres: Proxy,
    search: Proxy,
    kafka: Proxy,
}

impl Sales {
    /// Nothing is in the topic yet.
    async fn new(edit: impl FnOnce(String) -> String) -> Self {
        let limits = [
            ("max_rows = 10_000", "max_rows = 200"),
            ("max_wait = \"1s\"", "max_wait = \"200ms\""),
            ("interval = \"30s\"", "interval = \"1s\""),
            (
                "type = \"postgres\"\nurl",
                "type = \"postgres\"\ntimeout = \"6s\"\nurl",
            ),
            (
                "type = \"elasticsearch\"\nurl",
                "type = \"elasticsearch\"\ntimeout = \"2s\"\nurl",
            ),
        ];
        let job = Job::new("faults", |text| {
            edit(limits.into_iter().fold(text, |text, (from, to)| {
                assert!(text.contains(from), "the shipped pipeline has {from}");
                text.replace(from, to)
            }))
        })
        .await;
        let search = support::elasticsearch();
        let (_, search) = search.split_once("://").unwrap();
        Self {
            records: 0,
            postgres: Proxy::to(&job.database_server()),
            search: Proxy::to(search.trim_end_matches('/')),
            kafka: Proxy::to(&support::kafka()),
            job,
        }
    }

    fn settings() -> Settings {
        Settings {
            seed: 1_917,
            bad_share: 0.01,
            ..Settings::default()
        }
    }

    /// More records.
    fn more(&mut self, count: u64) {
        self.job.generate(&Self::settings(), PARTITIONS, count);
        self.records += count;
    }

    fn start(&self) -> Running {
        self.start_as(&self.job.database_url)
    }

    /// The same with another URL of the database, which is reached through the proxy all the same.
    fn start_as(&self, database_url: &str) -> Running {
        Running::start(&self.job, "wasmill.log", |command| {
            command
                .env("DATABASE_URL", self.postgres.instead_of(database_url))
                .env(
                    "ELASTICSEARCH_URL",
                    format!("http://{}", self.search.address()),
                )
                .env("KAFKA_BROKERS", self.kafka.address().to_string());
        })
    }

    fn waits_for(&self, part: &str, words: &str) -> String {
        waits_for(&self.job, part, words)
    }

    /// Waits until everything is committed and nobody is waited for.
    fn catches_up(&self) {
        ask_until(&self.job, "/api/status", |answer| {
            let told = answer.json();
            let sum = |key: &str| -> Option<u64> {
                let partitions = told["partitions"].as_array()?;
                partitions.iter().map(|p| p[key].as_u64()).sum()
            };
            let sinks = told["sinks"].as_array()?;
            let behind = sinks.iter().any(|sink| sink["epoch"] != told["epoch"]);
            let waiting = told["waiting_for"].as_array()?.len();
            (sum("committed")? == self.records && !behind && waiting == 0).then_some(())
        });
    }

    /// More records come while something is wrong: it is said, mended, and goes on by itself.
    fn survives(&mut self, part: &str, words: &str, mend: impl FnOnce(&Self)) {
        self.more(SOME);
        let reason = self.waits_for(part, words);
        mend(self);
        self.catches_up();
        let log = self.job.log();
        let reason = &reason[..reason.len().min(40)];
        let said = log.lines().any(|line| {
            let line: Value = serde_json::from_str(line).unwrap_or_default();
            let told = [&line["error"], &line["reason"]];
            let told = told.into_iter().filter_map(Value::as_str);
            line["level"] == "WARN"
                && line["part"] == part
                && told
                    .into_iter()
                    .any(|t| t.contains(reason.split(':').next().unwrap_or_default()))
        });
        assert!(said, "{reason} is not in {log}");
    }

    /// Stops in good order; tables, index and dead letters are what all records come to.
    async fn ends_well(self, mut run: Running) {
        self.catches_up();
        run.stop(&self.job);
        self.is_complete().await;
    }

    async fn is_complete(&self) {
        let expected = truth::expected(&Self::settings(), PARTITIONS, self.records);
        compare(&self.job, &expected).await;
    }

    /// Statements in its database, by the user of the tests and past the proxy.
    async fn sql(&self, sql: &str) {
        let database = self.job.database().await;
        database.batch_execute(sql).await.unwrap();
    }
}

/// The server itself, past the proxy.
fn elastic() -> Elastic {
    Elastic::new(&support::elasticsearch())
}
