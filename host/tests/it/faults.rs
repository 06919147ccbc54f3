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
use super::support::running::{Running, ask_until, log_says, waits_for};
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
            let running = told["phase"] == "running";
            let done = sum("committed")? == self.records && !behind && waiting == 0;
            (running && done).then_some(())
        });
    }

    /// More records come while something is wrong: it is said, mended, and goes on by itself.
    async fn survives(&mut self, part: &str, words: &str, mend: impl AsyncFnOnce(&Self)) {
        self.more(SOME);
        self.waits_for(part, words);
        let said = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap_or_default();
            let mut told = [&line["error"], &line["reason"]].into_iter();
            line["level"] == "WARN"
                && line["part"] == part
                && told.any(|told| told.as_str().is_some_and(|told| told.contains(words)))
        };
        log_says(&self.job, &format!("`{words}` of {part}"), said);
        mend(self).await;
        self.catches_up();
    }

    /// The run gives up, with these words in its last line.
    fn gives_up(&self, mut run: Running, words: &[&str]) {
        run.fails(&self.job);
        let log = self.job.log();
        let last: Vec<&str> = log.lines().filter(|line| !line.starts_with('{')).collect();
        let last = last.join("\n");
        for words in words {
            assert!(last.contains(words), "`{words}` is not in `{last}`: {log}");
        }
    }

    /// Stops in good order; tables, index and dead letters are what all records come to.
    async fn ends_well(&self, mut run: Running) {
        self.catches_up();
        run.stop(&self.job);
        self.is_complete().await;
    }

    async fn is_complete(&self) {
        let expected = truth::expected(&Self::settings(), PARTITIONS, self.records);
        compare(&self.job, &expected).await;
    }

    /// A role that owns the database and is nobody else's, and the URL for it.
    async fn role(&self) -> (String, String) {
        let role = self.job.topic.clone();
        self.sql(&format!(
            "CREATE ROLE {role} LOGIN; ALTER DATABASE {role} OWNER TO {role}"
        ))
        .await;
        let (_, rest) = self.job.database_url.split_once("://").unwrap();
        let server = rest.rsplit_once('@').map_or(rest, |(_, server)| server);
        let url = format!("postgres://{role}@{server}");
        (role, url)
    }

    /// Gives its database back and removes a role.
    async fn drop_role(&self, role: &str) {
        self.sql(&format!(
            "ALTER DATABASE {role} OWNER TO CURRENT_USER;
             REASSIGN OWNED BY {role} TO CURRENT_USER; DROP OWNED BY {role}; DROP ROLE {role}"
        ))
        .await;
    }

    /// Ends the connections of the run.
    async fn terminate(&self) {
        let database = self.job.database().await;
        support::postgres::terminate(&database, "ecommerce-sales").await;
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
