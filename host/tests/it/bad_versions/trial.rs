//! A job of two guests that do as their configuration says, and the versions that are tried on it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio_postgres::Client;

use crate::support::guest;
use crate::support::job::{Job, LOG, send_signal, wait_for_exit};
use crate::support::kafka::{Record, Topic};
use crate::support::postgres::count;
use crate::support::running::{Running, ask_until, reload};

const PARTITIONS: u32 = 2;
/// The value that bad versions take offence at.
pub(super) const POISON: i64 = 13;
/// One of so many records of each partition has it, where some do.
const POISONED_OF: i64 = 50;
/// For what takes seconds on a quiet machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// What differs between versions.
pub(super) struct Version {
    pub(super) transform: PathBuf,
    pub(super) transform_config: Value,
    pub(super) aggregate: PathBuf,
    pub(super) aggregate_config: Value,
    pub(super) probation: &'static str,
    pub(super) max_rows: usize,
}

impl Version {
    /// One that does nothing wrong.
    pub(super) fn good() -> Self {
        Self {
            transform: guest("hostile"),
            transform_config: json!({ "mode": "behave" }),
            aggregate: guest("hostile_aggregate"),
            aggregate_config: json!({ "mode": "none", "in": "none" }),
            probation: "1m",
            max_rows: 1_000,
        }
    }

    /// One whose transform has this component, if it has any.
    pub(super) fn of(transform: impl Into<PathBuf>) -> Self {
        Self {
            transform: transform.into(),
            ..Self::good()
        }
    }

    /// One whose transform does this.
    pub(super) fn transforming(config: Value) -> Self {
        Self {
            transform_config: config,
            ..Self::good()
        }
    }

    /// One whose aggregate does this.
    pub(super) fn aggregating(config: Value) -> Self {
        Self {
            aggregate_config: config,
            ..Self::good()
        }
    }

    pub(super) fn text(&self, topic: &str) -> String {
        format!(
            r#"
[pipeline]
name = "bad-versions"
workers = 2
[source]
type = "kafka"
brokers = "${{KAFKA_BROKERS}}"
topic = "{topic}"
start = "earliest"
columns = [
  {{ name = "id", from = "id", type = "utf8" }},
  {{ name = "value", from = "value", type = "int64" }},
  {{ name = "shop", from = "shop", type = "utf8" }},
  {{ name = "kafka_partition", from = "@partition", type = "int64" }},
  {{ name = "kafka_offset", from = "@offset", type = "int64" }},
]
[commit]
max_rows = {max_rows}
max_wait = "100ms"
[checkpoint]
interval = "1s"
store = "file:checkpoints"
[components.doubling]
path = "{transform}"
limits = {{ memory = "64MiB", time = "200ms", output = "8MiB" }}
[components.summing]
path = "{aggregate}"
limits = {{ memory = "64MiB", time = "200ms", output = "8MiB" }}
[[transform]]
name = "doubled"
from = "source"
component = "doubling"
config = {transform_config}
[[aggregate]]
name = "sums"
from = "doubled"
component = "summing"
config = {aggregate_config}
key = ["shop"]
window = {{ kind = "none" }}
[[sink]]
name = "db"
type = "postgres"
url = "${{DATABASE_URL}}"
tables = [
  {{ from = "doubled", table = "doubled", key = ["id"] }},
  {{ from = "sums", table = "sums", key = ["shop"] }},
]
[dead_letters]
type = "postgres"
[admin]
listen = "${{ADMIN_LISTEN}}"
[reload]
watch = false
probation = "{probation}"
"#,
            max_rows = self.max_rows,
            transform = self.transform.display(),
            aggregate = self.aggregate.display(),
            transform_config = inline(&self.transform_config),
            aggregate_config = inline(&self.aggregate_config),
            probation = self.probation,
        )
    }
}

/// A JSON object as an inline table.
fn inline(config: &Value) -> String {
    let entries = config.as_object().expect("an object").iter();
    let entries: Vec<String> = entries
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    format!("{{ {} }}", entries.join(", "))
}

/// A job whose versions are tried.
pub(super) struct Trial {
    pub(super) run: Running,
    topic: Topic,
    pub(super) job: Job,
    database: Client,
    runtime: Runtime,
    /// records that were written
    records: i64,
}

impl Trial {
    /// One whose good version has done some records.
    pub(super) fn begin(version: &Version) -> Self {
        let runtime = Runtime::new().unwrap();
        let job = runtime.block_on(Job::new("bad_versions", |text| text));
        let topic = Topic::named(job.topic.clone());
        topic.make(PARTITIONS, &[]);
        job.edit(|_| version.text(&job.topic));
        let run = Running::start(&job, LOG, |_| ());
        let database = runtime.block_on(job.database());
        let mut trial = Self {
            job,
            topic,
            database,
            runtime,
            run,
            records: 0,
        };
        trial.write(3_000, false);
        trial.all_done();
        let rows = trial.count("SELECT count(*) FROM doubled");
        assert_eq!(rows, trial.records, "the good version rejects nothing");
        trial
    }

    /// Writes so many records more, some of them with the poison.
    pub(super) fn write(&mut self, count: i64, poisoned: bool) {
        self.write_with(count, |index| {
            poisoned && index / i64::from(PARTITIONS) % POISONED_OF == 0
        });
    }

    /// Writes so many records more that have the poison.
    pub(super) fn write_all_poisoned(&mut self, count: i64) {
        self.write_with(count, |_| true);
    }

    pub(super) fn write_with(&mut self, count: i64, is_bad: impl Fn(i64) -> bool) {
        let begin = self.records;
        let records: Vec<(u32, String)> = (begin..begin + count)
            .map(|index| {
                let is_bad = is_bad(index);
                let value = if is_bad { POISON } else { 100 + index % 50 };
                let shop = format!("shop {}", index % 7);
                let record = json!({ "id": index.to_string(), "value": value, "shop": shop });
                (index as u32 % PARTITIONS, record.to_string())
            })
            .collect();
        self.records += count;
        self.topic
            .write(records.iter().map(|(partition, value)| Record {
                partition: *partition,
                value: Some(value.as_bytes()),
                ..Record::default()
            }));
    }

    pub(super) fn count(&self, sql: &str) -> i64 {
        self.runtime.block_on(count(&self.database, sql))
    }

    /// How many records are in the table or in the dead letters.
    pub(super) fn done(&self) -> i64 {
        self.count(
            "SELECT count(*) FROM (SELECT kafka_partition, kafka_offset FROM doubled
                UNION SELECT partition, record_offset FROM wasmill_dead_letters) places",
        )
    }

    /// Waits until each record is in the table or a dead letter.
    pub(super) fn all_done(&self) {
        let (mut last, mut moved) = (0, Instant::now());
        loop {
            let done = self.done();
            if done >= self.records {
                return;
            }
            if done > last {
                (last, moved) = (done, Instant::now());
            }
            let log = || self.job.log();
            assert!(
                moved.elapsed() < PATIENCE,
                "{done} of {}: {}",
                self.records,
                log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(super) fn kill(&mut self) {
        send_signal(&self.run.0, "KILL");
        wait_for_exit(&mut self.run.0, Duration::from_secs(15));
    }

    /// Starts it again.
    pub(super) fn restart(&mut self) {
        self.run = Running::start(&self.job, LOG, |_| ());
    }

    pub(super) fn edit(&self, version: &Version) {
        self.job.edit(|_| version.text(&self.job.topic));
    }

    /// Has a version come into force; its number.
    pub(super) fn put_in_force(&self, version: &Version) -> u64 {
        self.edit(version);
        let answer = reload(&self.job);
        assert_eq!(answer.status, 200, "{}: {}", answer.body, self.job.log());
        answer.json()["version"].as_u64().expect("another version")
    }

    /// Has a version refused, in these words, by everybody who tells.
    pub(super) fn refused(&self, case: &str, version: &Version, kind: &str, words: &str) {
        let before = self.deployments()["deployments"].clone();
        self.edit(version);
        let answer = reload(&self.job);
        assert_eq!(answer.status, 422, "{case}: {}", answer.body);
        let answer = answer.json();
        assert_eq!(answer["kind"], kind, "{case}: {answer}");
        let reason = answer["error"].as_str().expect("a reason");
        assert!(reason.contains(words), "{case}: {reason}");
        // It is told to whoever asks later a moment after the answer.
        ask_until(&self.job, "/api/deployments", |answer| {
            let known = answer.json();
            assert_eq!(known["deployments"], before, "{case}");
            (known["refused"]["reason"] == reason).then_some(())
        });
        self.told(case, &[words]);
    }

    pub(super) fn deployments(&self) -> Value {
        ask_until(&self.job, "/api/deployments", |answer| {
            (answer.status == 200).then(|| answer.json())
        })
    }

    /// Waits until this version was rolled back; why.
    pub(super) fn rolled_back(&self, version: u64) -> String {
        ask_until(&self.job, "/api/deployments", |answer| {
            let answer = answer.json();
            let deployments = answer["deployments"].as_array()?;
            let last = deployments.last()?;
            let bad = deployments.iter().find(|d| d["version"] == version)?;
            let is_over = bad["outcome"] == "rolled_back" && last["trigger"] == "probation";
            is_over.then(|| bad["reason"].as_str().unwrap_or_default().to_owned())
        })
    }

    /// These words are in the log and in the status.
    pub(super) fn told(&self, case: &str, words: &[&str]) {
        let log = self.job.log();
        // It says whether the pipeline is ready by its exit code, which is no matter here.
        let asked = self.job.wasmill(&["status", "pipeline.toml"]).output();
        let status = String::from_utf8(asked.expect("it runs").stdout).expect("UTF-8");
        for word in words {
            assert!(log.contains(word), "{case}: `{word}` is due in {log}");
            assert!(status.contains(word), "{case}: `{word}` is due in {status}");
        }
    }

    /// Ends the run, once every record is a row: what bad versions rejected was processed again.
    pub(super) fn end(mut self, case: &str) {
        let (started, rows) = (Instant::now(), "SELECT count(*) FROM doubled");
        while self.count(rows) < self.records {
            let log = || self.job.log();
            assert!(started.elapsed() < PATIENCE, "{case}: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
        self.run.stop(&self.job);
        self.check(case);
    }

    /// Each record is a row, once, and no letter is open.
    pub(super) fn check(&self, case: &str) {
        let rows = "SELECT count(DISTINCT (kafka_partition, kafka_offset)) FROM doubled";
        assert_eq!(self.count(rows), self.records, "{case}: rows");
        let open = "SELECT count(*) FROM wasmill_dead_letters WHERE settled_by IS NULL";
        assert_eq!(self.count(open), 0, "{case}: letters");
        let wrong = "SELECT count(*) FROM doubled WHERE doubled <> 2 * value";
        assert_eq!(self.count(wrong), 0, "{case}: rows");
        let wrong = "SELECT count(*) FROM sums FULL JOIN (
                SELECT shop, sum(value)::bigint AS s, count(*) AS n FROM doubled GROUP BY shop
            ) computed USING (shop) WHERE sum IS DISTINCT FROM s OR count IS DISTINCT FROM n";
        assert_eq!(self.count(wrong), 0, "{case}: totals");
    }
}
