//! Versions that are no good, put into force while records flow: the running version goes on, or the one
//! before comes back; no record is lost, and everybody is told why.
//!
//! ```text
//! source ─► doubled (a transform) ─► table `doubled`
//!              └─► sums (an aggregate) ─► table `sums`
//! ```
//!
//! Both guests do as their configuration says: the version in force at first behaves.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio_postgres::Client;

use super::support::guest;
use super::support::job::{Job, LOG, send_signal, wait_for_exit};
use super::support::kafka::{Record, Topic};
use super::support::postgres::count;
use super::support::running::{Running, ask_until, reload};

const PARTITIONS: u32 = 2;
/// The value that bad versions take offence at.
const POISON: i64 = 13;
/// One of so many records of each partition has it, where some do.
const POISONED_OF: i64 = 50;
/// Enough for a verdict on the share of rejected records before the end of a probation.
const ENOUGH: i64 = 12_000;
/// For what takes seconds on a quiet machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// What differs between versions.
struct Version {
    transform: PathBuf,
    transform_config: Value,
    aggregate: PathBuf,
    aggregate_config: Value,
    probation: &'static str,
    max_rows: usize,
}

impl Version {
    /// One that does nothing wrong.
    fn good() -> Self {
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
    fn of(transform: impl Into<PathBuf>) -> Self {
        Self {
            transform: transform.into(),
            ..Self::good()
        }
    }

    /// One whose transform does this.
    fn transforming(config: Value) -> Self {
        Self {
            transform_config: config,
            ..Self::good()
        }
    }

    /// One whose aggregate does this.
    fn aggregating(config: Value) -> Self {
        Self {
            aggregate_config: config,
            ..Self::good()
        }
    }

    fn text(&self, topic: &str) -> String {
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
struct Trial {
    run: Running,
    topic: Topic,
    job: Job,
    database: Client,
    runtime: Runtime,
    /// records that were written
    records: i64,
    /// those of them with the poison
    poisoned: i64,
}

impl Trial {
    /// One whose good version has done some records.
    fn begin(version: Version) -> Self {
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
            poisoned: 0,
        };
        trial.write(3_000, false);
        trial.all_done();
        let rows = trial.count("SELECT count(*) FROM doubled");
        assert_eq!(rows, trial.records, "the good version rejects nothing");
        trial
    }

    /// Writes so many records more, some of them with the poison.
    fn write(&mut self, count: i64, poisoned: bool) {
        self.write_with(count, |index| {
            poisoned && index / i64::from(PARTITIONS) % POISONED_OF == 0
        });
    }

    /// Writes so many records more that have the poison.
    fn write_all_poisoned(&mut self, count: i64) {
        self.write_with(count, |_| true);
    }

    fn write_with(&mut self, count: i64, is_bad: impl Fn(i64) -> bool) {
        let begin = self.records;
        let records: Vec<(u32, String)> = (begin..begin + count)
            .map(|index| {
                let is_bad = is_bad(index);
                self.poisoned += i64::from(is_bad);
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

    fn count(&self, sql: &str) -> i64 {
        self.runtime.block_on(count(&self.database, sql))
    }

    /// How many records are in the table or in the dead letters.
    fn done(&self) -> i64 {
        self.count(
            "SELECT count(*) FROM (SELECT kafka_partition, kafka_offset FROM doubled
                UNION SELECT partition, record_offset FROM wasmill_dead_letters) places",
        )
    }

    /// Waits until each record is in the table or a dead letter.
    fn all_done(&self) {
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

    fn kill(&mut self) {
        send_signal(&self.run.0, "KILL");
        wait_for_exit(&mut self.run.0, Duration::from_secs(15));
    }

    /// Starts it again.
    fn restart(&mut self) {
        self.run = Running::start(&self.job, LOG, |_| ());
    }

    fn edit(&self, version: &Version) {
        self.job.edit(|_| version.text(&self.job.topic));
    }

    /// Has a version come into force; its number.
    fn put_in_force(&self, version: &Version) -> u64 {
        self.edit(version);
        let answer = reload(&self.job);
        assert_eq!(answer.status, 200, "{}: {}", answer.body, self.job.log());
        answer.json()["version"].as_u64().expect("another version")
    }

    /// Has a version refused, in these words, by everybody who tells.
    fn refused(&self, case: &str, version: &Version, kind: &str, words: &str) {
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

    fn deployments(&self) -> Value {
        ask_until(&self.job, "/api/deployments", |answer| {
            (answer.status == 200).then(|| answer.json())
        })
    }

    /// Waits until this version was rolled back; why.
    fn rolled_back(&self, version: u64) -> String {
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
    fn told(&self, case: &str, words: &[&str]) {
        let log = self.job.log();
        // It says whether the pipeline is ready by its exit code, which is no matter here.
        let asked = self.job.wasmill(&["status", "pipeline.toml"]).output();
        let status = String::from_utf8(asked.expect("it runs").stdout).expect("UTF-8");
        for word in words {
            assert!(log.contains(word), "{case}: `{word}` is due in {log}");
            assert!(status.contains(word), "{case}: `{word}` is due in {status}");
        }
    }

    /// Ends the run, and compares what there is with what there has to be: `left_out` of the records are
    /// dead letters.
    fn end(mut self, case: &str, left_out: LeftOut) {
        self.all_done();
        self.run.stop(&self.job);
        self.check(case, left_out);
    }

    fn check(&self, case: &str, left_out: LeftOut) {
        assert_eq!(self.done(), self.records, "{case}: rows and dead letters");
        let innocent = "SELECT count(*) FROM doubled WHERE value <> 13";
        let letters = "SELECT count(DISTINCT (partition, record_offset)) FROM wasmill_dead_letters";
        let letters = self.count(letters);
        match left_out {
            LeftOut::Nobody => assert_eq!(letters, 0, "{case}"),
            LeftOut::Poisoned => {
                let innocent = self.count(innocent);
                assert_eq!(innocent, self.records - self.poisoned, "{case}");
            }
            // Once the version that came back makes up for what the bad one rejected, every record is a
            // row here; until then each is a row or a dead letter, as was compared above.
            LeftOut::Some => {}
        }
        let wrong = "SELECT count(*) FROM doubled WHERE doubled <> 2 * value";
        assert_eq!(self.count(wrong), 0, "{case}: rows");
        let wrong = "SELECT count(*) FROM sums FULL JOIN (
                SELECT shop, sum(value)::bigint AS s, count(*) AS n FROM doubled GROUP BY shop
            ) computed USING (shop) WHERE sum IS DISTINCT FROM s OR count IS DISTINCT FROM n";
        assert_eq!(self.count(wrong), 0, "{case}: totals");
    }
}

/// Whom a bad version may have cost.
#[derive(Debug, Clone, Copy)]
enum LeftOut {
    Nobody,
    /// only records with the poison
    Poisoned,
    /// others too, while it was in force
    Some,
}

/// A file of bytes in the job's folder.
fn file(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn what_is_no_component_of_this_contract_is_refused_by_name() {
    let trial = Trial::begin(Version::good());
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let good = std::fs::read(guest("hostile")).unwrap();
    let text = file(folder, "text.wasm", b"error[E0425]: cannot find value");
    let half = file(folder, "half.wasm", &good[..good.len() / 2]);
    let empty = file(
        folder,
        "empty.wasm",
        &wat::parse_str("(component)").unwrap(),
    );
    // The contract's name and version as they are in the file, and others of the same length.
    let later = replaced(
        &good,
        b"wasmill:guest/transform@0.1.0",
        b"wasmill:guest/transform@9.1.0",
    );
    let later = file(folder, "later.wasm", &later);
    let config = |config| Version::transforming(config);
    for (case, version, words) in [
        (
            "no component at all",
            Version::of(text),
            "is not a WebAssembly binary",
        ),
        (
            "half a component",
            Version::of(half),
            "is not a valid component",
        ),
        (
            "no file",
            Version::of(folder.join("none.wasm")),
            "does not exist",
        ),
        (
            "another kind",
            Version::of(guest("totals")),
            "is an aggregate",
        ),
        ("no export", Version::of(empty), "exports"),
        (
            "another version of the contract",
            Version::of(later),
            "9.1.0",
        ),
        (
            "a configuration that it refuses",
            config(json!({ "mode": "unconfigurable" })),
            "never right",
        ),
        (
            "a column that is not there",
            config(json!({ "mode": "greedy" })),
            "everything",
        ),
    ] {
        trial.refused(case, &version, "invalid", words);
    }
    trial.end("refused", LeftOut::Nobody);
}

/// The same bytes with each `from` replaced, which has to be there.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes.to_vec();
    let places: Vec<usize> = (0..bytes.len() - from.len())
        .filter(|&at| bytes[at..].starts_with(from))
        .collect();
    assert!(!places.is_empty(), "{}", String::from_utf8_lossy(from));
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}

#[test]
fn what_fails_or_rejects_more_on_the_last_records_is_refused() {
    let mut trial = Trial::begin(Version::good());
    // A batch is kept to rehearse on once a second.
    std::thread::sleep(Duration::from_millis(1_100));
    trial.write(2_000, true);
    trial.all_done();
    for (case, config, words) in [
        (
            "traps at once",
            json!({ "mode": "trap" }),
            "poison in a batch of",
        ),
        (
            "traps at a record",
            json!({ "mode": "trap", "poison": POISON }),
            "poison in a batch of 1",
        ),
        (
            "rejects everything",
            json!({ "mode": "trap" }),
            "its code fails on",
        ),
        (
            "rejects 2 % more",
            json!({ "mode": "reject", "poison": POISON }),
            "`rejected_share`",
        ),
        (
            "too slow",
            json!({ "mode": "spin", "poison": POISON }),
            "used up its time",
        ),
        (
            "too much memory",
            json!({ "mode": "allocate", "poison": POISON }),
            "67108864 bytes of memory",
        ),
        (
            "too much output",
            json!({ "mode": "flood", "poison": POISON }),
            "8388608 bytes of output",
        ),
        (
            "wrong rows",
            json!({ "mode": "short", "poison": POISON }),
            "there are 0 values where 1 were due",
        ),
    ] {
        trial.refused(case, &Version::transforming(config), "rehearsal", words);
    }
    for (case, mode, words) in [
        ("a fold that traps", "trap", "poison in"),
        ("a fold that is too slow", "spin", "used up its time"),
    ] {
        let config = json!({ "mode": mode, "in": "fold", "poison": POISON });
        trial.refused(case, &Version::aggregating(config), "rehearsal", words);
    }
    trial.end("rehearsed", LeftOut::Nobody);
}

/// A version that is found bad in its probation, and what is told of it.
fn found_bad(case: &str, version: Version, records: i64, left_out: LeftOut, words: &str) {
    let mut trial = Trial::begin(Version::good());
    let number = trial.put_in_force(&version);
    trial.write(records, true);
    let reason = trial.rolled_back(number);
    assert!(reason.contains(words), "{case}: {reason}");
    trial.told(case, &[words]);
    // The one that came back does what there is to do.
    trial.write(2_000, false);
    trial.end(case, left_out);
}

#[test]
fn a_trap_in_its_probation_brings_the_version_before_back() {
    let version = Version::transforming(json!({ "mode": "trap", "poison": POISON }));
    found_bad(
        "a trap",
        version,
        2_000,
        LeftOut::Poisoned,
        "poison in a batch of 1",
    );
}

#[test]
fn a_call_beyond_its_time_brings_the_version_before_back() {
    let version = Version::transforming(json!({ "mode": "spin", "poison": POISON }));
    found_bad("too slow", version, 500, LeftOut::Some, "used up its time");
}

#[test]
fn memory_beyond_the_limit_brings_the_version_before_back() {
    let version = Version::transforming(json!({ "mode": "allocate", "poison": POISON }));
    found_bad(
        "memory",
        version,
        2_000,
        LeftOut::Poisoned,
        "67108864 bytes of memory",
    );
}

#[test]
fn output_beyond_the_limit_brings_the_version_before_back() {
    let version = Version::transforming(json!({ "mode": "flood", "poison": POISON }));
    found_bad(
        "output",
        version,
        2_000,
        LeftOut::Poisoned,
        "8388608 bytes of output",
    );
}

#[test]
fn two_per_cent_more_rejected_records_bring_the_version_before_back() {
    let version = Version::transforming(json!({ "mode": "reject", "poison": POISON }));
    found_bad(
        "2 % more",
        version,
        ENOUGH,
        LeftOut::Poisoned,
        "`rejected_share`",
    );
}

#[test]
fn a_version_that_rejects_everything_goes_before_long() {
    let mut trial = Trial::begin(Version::good());
    // Nothing of it was to be seen on the records before.
    let version = Version {
        probation: "3s",
        ..Version::transforming(json!({ "mode": "reject", "poison": POISON }))
    };
    let number = trial.put_in_force(&version);
    trial.write_all_poisoned(400);
    let reason = trial.rolled_back(number);
    assert!(
        reason.contains("it rejects 100.00 % of the first 400 records"),
        "{reason}"
    );
    trial.told("rejects everything", &[&reason]);
    trial.write(2_000, false);
    trial.end("rejects everything", LeftOut::Some);
}

#[test]
fn a_version_is_not_accepted_before_its_first_records_are_done() {
    let mut trial = Trial::begin(Version::good());
    // Each call takes its time to the limit, and the probation ends before the first epoch.
    let version = Version {
        probation: "4s",
        ..Version::transforming(json!({ "mode": "spin", "poison": POISON }))
    };
    let number = trial.put_in_force(&version);
    trial.write_all_poisoned(3_000);
    let reason = trial.rolled_back(number);
    assert!(reason.contains("used up its time"), "{reason}");
    trial.end("stands", LeftOut::Some);
}

#[test]
fn a_trap_every_thousandth_batch_costs_no_record() {
    let good = || Version {
        max_rows: 8,
        ..Version::good()
    };
    let mut trial = Trial::begin(good());
    let version = Version {
        transform_config: json!({ "mode": "trap", "every": 1_000 }),
        ..good()
    };
    trial.put_in_force(&version);
    trial.write(20_000, false);
    trial.all_done();
    let metrics = super::support::http::get(trial.job.admin, "/metrics").body;
    let traps = metrics.lines().find_map(|line| {
        line.strip_prefix(
            "wasmill_guest_failures_total{stage=\"doubled\",component=\"doubling\",failure=\"trap\"} ",
        )
    });
    let traps: u64 = traps.expect("it is counted").parse().unwrap();
    assert!(traps > 0, "{metrics}");
    let outcome = trial.deployments()["deployments"][1]["outcome"].clone();
    assert_eq!(outcome, "probation", "nothing has come of it");
    trial.end("every thousandth", LeftOut::Nobody);
}

#[test]
fn states_that_cannot_be_merged_bring_the_version_before_back() {
    let mut trial = Trial::begin(Version::good());
    for (mode, words) in [
        ("trap", "poison in 7 states"),
        ("spin", "used up its time"),
        ("allocate", "67108864 bytes of memory"),
        ("flood", "8388608 bytes of output"),
    ] {
        let config = json!({ "mode": mode, "in": "merge" });
        let number = trial.put_in_force(&Version::aggregating(config));
        trial.write(1_000, true);
        let reason = trial.rolled_back(number);
        let is_told = reason.contains(words) && reason.contains("aggregate `sums`");
        assert!(is_told, "{mode}: {reason}");
        trial.told(mode, &[words]);
        trial.all_done();
    }
    trial.end("merge", LeftOut::Nobody);
}

#[test]
fn a_start_with_a_version_that_stops_the_run_goes_back_and_so_does_the_next_one() {
    let mut trial = Trial::begin(Version::good());
    trial.run.stop(&trial.job);
    let config = json!({ "mode": "trap", "in": "merge" });
    trial.edit(&Version::aggregating(config));
    trial.write(1_000, false);
    trial.restart();
    let reason = trial.rolled_back(2);
    assert!(reason.contains("poison in 7 states"), "{reason}");
    trial.all_done();
    // Its files are still there, and whoever supervises it starts it again and again.
    for _ in 0..2 {
        trial.kill();
        trial.write(500, false);
        trial.restart();
        trial.all_done();
        let deployments = trial.deployments();
        let deployments = deployments["deployments"].as_array().expect("a list");
        assert_eq!(deployments.len(), 3, "{deployments:?}");
        assert!(
            trial.job.log().contains("rolled back"),
            "{}",
            trial.job.log()
        );
    }
    trial.end("start", LeftOut::Nobody);
}

#[test]
fn a_version_that_was_killed_in_its_probation_and_stops_the_next_run_goes_back_there() {
    let mut trial = Trial::begin(Version::good());
    let config = json!({ "mode": "trap", "in": "merge" });
    let number = trial.put_in_force(&Version::aggregating(config));
    trial.kill();
    trial.write(1_000, false);
    trial.restart();
    let reason = trial.rolled_back(number);
    assert!(reason.contains("poison in 7 states"), "{reason}");
    trial.end("killed", LeftOut::Nobody);
}
