//! What happens to a topic and its brokers while a pipeline reads it, on real ones: the binary goes on,
//! and every record counts once.
//!
//! The pipeline is a small one: each record is a row under its partition and offset, and in a sum. So
//! the file that it writes says exactly what was read.

mod brokers;
mod gaps;
mod group;
mod lost;
mod partitions;
mod waiting;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tempfile::TempDir;

use super::support::exposition::Exposition;
use super::support::http::{self, Answer};
use super::support::job::{free_address, send_signal, wait_for_exit};
use super::support::kafka::{Record, Topic};
use super::support::{guest, kafka, unique};

/// For what takes seconds on a quiet machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A pipeline on a topic of its own.
struct Pipeline {
    topic: Topic,
    name: String,
    brokers: String,
    folder: TempDir,
    admin: SocketAddr,
    /// what was written, by partition and offset
    written: BTreeMap<(u32, i64), i64>,
    /// the next number to write
    next: i64,
}

impl Pipeline {
    /// On the shared broker, with so many partitions. `source` is added to `[source]`.
    fn new(partitions: u32, source: &str) -> Self {
        let pipeline = Self::on(&kafka(), source);
        pipeline.topic.make(partitions, &[]);
        pipeline
    }

    /// On these brokers, without its topic.
    fn on(brokers: &str, source: &str) -> Self {
        let name = unique("events");
        let pipeline = Self {
            topic: Topic::on(brokers, name.clone()),
            name,
            brokers: brokers.to_owned(),
            folder: tempfile::tempdir().expect("a temporary folder"),
            admin: free_address(),
            written: BTreeMap::new(),
            next: 1,
        };
        pipeline.configure(source);
        pipeline
    }

    /// Writes `pipeline.toml`.
    fn configure(&self, source: &str) {
        let (name, brokers) = (&self.name, &self.brokers);
        let (admin, totals) = (self.admin, guest("totals"));
        let text = format!(
            r#"
[pipeline]
name = "{name}"
workers = 2

[source]
type = "kafka"
brokers = "{brokers}"
topic = "{name}"
{source}
columns = [
  {{ name = "part", from = "@partition", type = "int64" }},
  {{ name = "place", from = "@offset", type = "int64" }},
  {{ name = "amount", from = "amount", type = "decimal(0)" }},
]

[commit]
max_rows = 100
max_wait = "50ms"

[checkpoint]
interval = "1h"
store = "file:checkpoints"

[components.totals]
path = "{}"

[[aggregate]]
name = "sums"
from = "source"
component = "totals"
config = {{ column = "amount" }}
key = ["part"]
window = {{ kind = "none" }}

[[sink]]
name = "file"
type = "sqlite"
path = "out.sqlite3"
tables = [
  {{ from = "source", table = "read", key = ["part", "place"] }},
  {{ from = "sums", table = "sums", key = ["part"], columns = {{ part = "part", total = "total" }} }},
]

[dead_letters]
type = "file"
path = "dead.ndjson"

[admin]
listen = "{admin}"
"#,
            totals.display()
        );
        fs::write(self.path("pipeline.toml"), text).expect("room for a file");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes so many records to a partition of which the next offset is the one after the last that
    /// was written here.
    fn write(&mut self, partition: u32, count: usize) {
        let last = self.written.range((partition, 0)..=(partition, i64::MAX));
        let begin = last.last().map_or(0, |((_, offset), _)| offset + 1);
        self.write_from(partition, begin, count);
    }

    /// The same where the next offset is another one.
    fn write_from(&mut self, partition: u32, begin: i64, count: usize) {
        let values = self.values(count);
        self.topic.write(records(partition, &values));
        self.note(partition, begin, values.len());
    }

    /// Values of records that were not written yet.
    fn values(&self, count: usize) -> Vec<String> {
        let numbers = (self.next..).take(count);
        numbers.map(|n| format!(r#"{{"amount": {n}}}"#)).collect()
    }

    /// Notes that the next so many values were written there.
    fn note(&mut self, partition: u32, begin: i64, count: usize) {
        for (offset, _) in (begin..).zip(0..count) {
            self.written.insert((partition, offset), self.next);
            self.next += 1;
        }
    }

    fn wasmill(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wasmill"));
        command
            .args(arguments)
            .env_remove("WASMILL_LOG")
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// Starts a run that goes on.
    fn start(&self) -> Run {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("log"));
        let mut command = self.wasmill(&["run", "pipeline.toml"]);
        command
            .stdout(Stdio::null())
            .stderr(log.expect("room for a log"));
        Run(command
            .spawn()
            .expect("the binary was built with the tests"))
    }

    /// Runs to the end; has to work.
    fn run_once(&self) -> Output {
        let output = self.try_once();
        assert!(output.status.success(), "{}", said(&output));
        output
    }

    /// Runs to the end.
    fn try_once(&self) -> Output {
        let mut command = self.wasmill(&["run", "pipeline.toml", "--once"]);
        command.output().expect("the binary starts")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn file(&self) -> Connection {
        let file = Connection::open(self.path("out.sqlite3")).expect("a file");
        file.busy_timeout(PATIENCE).expect("set");
        file
    }

    /// The amounts that were read, by partition and offset; nothing before there is a table.
    fn read(&self) -> BTreeMap<(u32, i64), i64> {
        let file = self.file();
        let Ok(mut rows) = file.prepare("SELECT part, place, amount FROM read") else {
            return BTreeMap::new();
        };
        let rows = rows.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)));
        rows.expect("a table")
            .collect::<Result<_, _>>()
            .expect("rows")
    }

    /// The sums by partition.
    fn sums(&self) -> BTreeMap<u32, i64> {
        let file = self.file();
        let mut rows = file
            .prepare("SELECT part, total FROM sums")
            .expect("a table");
        let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.expect("a table")
            .collect::<Result<_, _>>()
            .expect("rows")
    }

    /// The positions of the last epoch, by partition.
    fn committed(&self) -> BTreeMap<u32, i64> {
        let sql = "SELECT key, value FROM wasmill_epochs, json_each(offsets) \
                   WHERE epoch = (SELECT max(epoch) FROM wasmill_epochs)";
        let file = self.file();
        let mut rows = file.prepare(sql).expect("a journal");
        let rows = rows.query_map([], |row| {
            let key: String = row.get(0)?;
            Ok((key.parse().expect("a partition"), row.get(1)?))
        });
        rows.expect("a journal")
            .collect::<Result<_, _>>()
            .expect("rows")
    }

    /// Waits until all that was written is read.
    fn wait_for_all(&self) {
        self.wait("all is read", || self.read().len() >= self.written.len());
    }

    /// Waits until something is so.
    fn wait(&self, what: &str, is_so: impl Fn() -> bool) {
        let started = Instant::now();
        while !is_so() {
            let waited = started.elapsed();
            assert!(
                waited < PATIENCE,
                "not within {waited:?}: {what}; {} of {} rows; {}",
                self.read().len(),
                self.written.len(),
                self.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// All that was written was read once, and is in the sums once.
    fn assert_exact(&self) {
        assert_same(&self.read(), &self.written);
        assert_eq!(self.sums(), sums(&self.written));
    }

    /// Asks until something is made of the answer.
    fn ask<T>(&self, path: &str, mut found: impl FnMut(&Answer) -> Option<T>) -> T {
        let started = Instant::now();
        let mut last = None;
        while started.elapsed() < PATIENCE {
            if let Ok(answer) = http::request(self.admin, "GET", path) {
                if let Some(found) = found(&answer) {
                    return found;
                }
                last = Some(answer);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{path} said {last:?} in the end; {}", self.log());
    }

    fn wait_until_ready(&self) {
        self.ask("/readyz", |answer| (answer.status == 200).then_some(()));
    }

    /// Waits until the metric of a partition has this value.
    fn wait_for_metric(&self, name: &str, partition: u32, value: f64) {
        let partition = partition.to_string();
        self.ask("/metrics", |answer| {
            let metrics = Exposition::parse(&answer.body);
            let samples = &metrics.0.get(name)?.samples;
            let of = |labels: &BTreeMap<String, String>| labels["partition"] == partition;
            let found = samples.iter().find(|(_, labels, _)| of(labels))?;
            (found.2 - value).abs().lt(&0.5).then_some(())
        });
    }
}

/// A run that ends with the test.
struct Run(Child);

impl Run {
    fn kill(mut self) {
        self.0.kill().expect("a child of ours");
        self.0.wait().expect("a child of ours");
    }

    fn signal(&self, signal: &str) {
        send_signal(&self.0, signal);
    }

    /// Waits for it to end by itself; its exit code.
    fn end(mut self) -> Option<i32> {
        wait_for_exit(&mut self.0, PATIENCE).code()
    }

    /// Stops it in good order.
    fn stop(mut self, pipeline: &Pipeline) {
        self.signal("TERM");
        let ended = wait_for_exit(&mut self.0, Duration::from_secs(30));
        assert!(ended.success(), "{ended}: {}", pipeline.log());
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn records(partition: u32, values: &[String]) -> impl Iterator<Item = Record<'_>> {
    values.iter().map(move |value| Record {
        partition,
        value: Some(value.as_bytes()),
        ..Record::default()
    })
}

/// The sums that these amounts come to.
fn sums(amounts: &BTreeMap<(u32, i64), i64>) -> BTreeMap<u32, i64> {
    let mut sums = BTreeMap::new();
    for ((partition, _), amount) in amounts {
        *sums.entry(*partition).or_default() += amount;
    }
    sums
}

#[track_caller]
fn assert_same(found: &BTreeMap<(u32, i64), i64>, expected: &BTreeMap<(u32, i64), i64>) {
    for (place, amount) in expected {
        assert_eq!(found.get(place), Some(amount), "at {place:?}");
    }
    let strays: Vec<_> = found
        .keys()
        .filter(|place| !expected.contains_key(place))
        .collect();
    assert!(strays.is_empty(), "nobody wrote {strays:?}");
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
