//! A small pipeline around one guest that is up to no good, run to its end in this process.
//!
//! ```text
//! source ─┬─► guilty ─┬─► behind            table `behind`
//!         │           └─► totals            table `totals`
//!         ├─► beside                        table `beside`
//!         └─► guilty_totals (an aggregate)  table `guilty_totals`
//! ```
//!
//! `guilty`, or for an aggregate `guilty_totals`, is the guest of the test; everything else is
//! honest. Two partitions on two workers, several batches and epochs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use wasmill::config;
use wasmill::guest::{Failure, GuestEngine};
use wasmill::pipeline::{self, Endpoints, Monitor, PipelineError, Plan, RunOptions, Summary};

use crate::support;

/// Records of each partition.
pub(super) const RECORDS: u32 = 600;
pub(super) const PARTITIONS: u32 = 2;
/// Of each group, by the honest aggregate.
const SHOPS: u32 = 7;
/// The value that the guest of the test is told to take offence at.
pub(super) const POISON: i64 = -1;
/// Where it is: two records in one batch, and the last one of all.
const POISONED: [(u32, u32); 3] = [(0, 17), (0, 240), (1, RECORDS - 1)];

/// One engine for all tests, as a host has it. What is compiled is kept for the next run.
pub(super) fn engine() -> &'static GuestEngine {
    static ENGINE: LazyLock<GuestEngine> = LazyLock::new(|| {
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hostile-guests");
        GuestEngine::new(Some(cache)).unwrap()
    });
    &ENGINE
}

/// Partition and offset.
pub(super) type Place = (u32, u32);

/// Every record that there is.
pub(super) fn all() -> BTreeSet<Place> {
    let offsets = |partition| (0..RECORDS).map(move |offset| (partition, offset));
    (0..PARTITIONS).flat_map(offsets).collect()
}

/// The records with the poison.
pub(super) fn poisoned() -> BTreeSet<Place> {
    BTreeSet::from(POISONED)
}

fn value((partition, offset): Place) -> i64 {
    if POISONED.contains(&(partition, offset)) {
        POISON
    } else {
        i64::from(partition * RECORDS + offset)
    }
}

fn id((partition, offset): Place) -> String {
    format!("{partition}-{offset}")
}

/// Cents.
fn amount((partition, offset): Place) -> i64 {
    i64::from(partition + 3 * offset)
}

fn shop((_, offset): Place) -> String {
    format!("shop {}", offset % SHOPS)
}

/// Which stage is the test's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Transform,
    Aggregate,
}

impl Role {
    /// The name of its stage.
    pub(super) fn stage(self) -> &'static str {
        match self {
            Self::Transform => "guilty",
            Self::Aggregate => "guilty_totals",
        }
    }
}

/// One pipeline in a folder of its own.
pub(super) struct Job {
    folder: TempDir,
    role: Role,
}

/// What a run left behind.
pub(super) struct Run {
    pub(super) ended: Result<Summary, PipelineError>,
    pub(super) metrics: String,
}

impl Job {
    /// With the component in the file `guest`, configured so.
    pub(super) fn new(role: Role, guest: &Path, config: &Value) -> Self {
        let job = Self {
            folder: tempfile::tempdir().unwrap(),
            role,
        };
        for partition in 0..PARTITIONS {
            let mut lines = String::new();
            for offset in 0..RECORDS {
                let place = (partition, offset);
                let record = json!({
                    "id": id(place),
                    "value": value(place),
                    "amount": amount(place) as f64 / 100.0,
                    "shop": shop(place),
                });
                writeln!(lines, "{record}").unwrap();
            }
            fs::write(job.path(&format!("{partition}.ndjson")), lines).unwrap();
        }
        job.configure(guest, config);
        job
    }

    /// Another guest in its place, or another config.
    pub(super) fn configure(&self, guest: &Path, config: &Value) {
        let text = text(self.role, guest, config);
        fs::write(self.path("pipeline.toml"), text).unwrap();
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Fits everything together.
    ///
    /// # Errors
    ///
    /// What a person is told.
    pub(super) fn plan(&self) -> Result<(config::Pipeline, Plan), String> {
        let path = self.path("pipeline.toml");
        let told = |diagnostics: &config::Diagnostics| {
            let entries = diagnostics.entries().iter();
            let entries: Vec<String> = entries.map(|entry| format!("{entry:?}\n")).collect();
            entries.concat()
        };
        let (pipeline, mut diagnostics) =
            config::load(&path, &|_| None).map_err(|diagnostics| told(&diagnostics))?;
        match Plan::build(&pipeline, engine(), &mut diagnostics) {
            Some(plan) => Ok((pipeline, plan)),
            None => Err(told(&diagnostics)),
        }
    }

    /// Runs it to the end of its files.
    pub(super) async fn run(&self) -> Run {
        let (pipeline, plan) = self.plan().expect("the pipeline fits together");
        let plan = Arc::new(plan);
        let monitor = Monitor::new(&pipeline, &plan);
        let options = RunOptions {
            once: true,
            stop: CancellationToken::new(),
            monitor: Arc::clone(&monitor),
            reloading: None,
        };
        let ended = pipeline::run(&plan, &Endpoints::of(&plan), &options).await;
        Run {
            ended,
            metrics: monitor.metrics(),
        }
    }

    pub(super) fn letters(&self) -> Vec<Letter> {
        let text = fs::read_to_string(self.path("dead.ndjson")).unwrap_or_default();
        let letter = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap();
            // Offsets of a file are bytes; which record it was says the record.
            let record: Value = serde_json::from_str(line["value"].as_str().unwrap()).unwrap();
            let (partition, offset) = record["id"].as_str().unwrap().split_once('-').unwrap();
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            Letter {
                place: (partition.parse().unwrap(), offset.parse().unwrap()),
                stage: text("stage"),
                component: text("component"),
                reason: text("reason"),
            }
        };
        text.lines().map(letter).collect()
    }

    fn database(&self) -> Connection {
        Connection::open(self.path("hostile.sqlite3")).unwrap()
    }

    /// How many records of each partition are in the table `behind`, where these are its first ones.
    pub(super) fn beginnings(&self) -> BTreeMap<u32, u32> {
        let ids = self.texts("SELECT id, id FROM behind");
        let of = |partition: u32| {
            let start = format!("{partition}-");
            let count = ids.keys().filter(|id| id.starts_with(&start)).count();
            (partition, u32::try_from(count).unwrap())
        };
        (0..PARTITIONS).map(of).collect()
    }

    fn texts(&self, sql: &str) -> BTreeMap<String, String> {
        let database = self.database();
        let mut statement = database.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.unwrap().map(Result::unwrap).collect()
    }

    /// Compares the tables with what the records come to without these ones.
    ///
    /// # Errors
    ///
    /// The first difference.
    pub(super) fn compare(&self, left_out: &BTreeSet<Place>) -> Result<(), String> {
        let innocent = || all().into_iter().filter(|place| !left_out.contains(place));
        let same = |what: &str, found: BTreeMap<String, String>, due: BTreeMap<String, String>| {
            if found == due {
                return Ok(());
            }
            let differing = due
                .iter()
                .find(|(key, value)| found.get(*key) != Some(value));
            let surplus = found.iter().find(|(key, _)| !due.contains_key(*key));
            Err(format!(
                "table `{what}` has {} rows where {} were due; missing or other: {differing:?}, too many: {surplus:?}",
                found.len(),
                due.len()
            ))
        };
        let ids = innocent().map(|place| (id(place), value(place).to_string()));
        let beside = self.texts("SELECT id, cast(value AS TEXT) FROM beside");
        same("beside", beside, ids.collect())?;
        let behind = self.texts("SELECT id, cast(doubled AS TEXT) FROM behind");
        let is_text = behind.values().any(|doubled| doubled == "fine");
        let doubled = |place: Place| {
            if is_text {
                "fine".to_owned()
            } else {
                (2 * value(place)).to_string()
            }
        };
        let doubled = innocent().map(|place| (id(place), doubled(place)));
        same("behind", behind, doubled.collect())?;

        let mut totals: BTreeMap<String, (i64, i64, i64)> = BTreeMap::new();
        for place in innocent() {
            let (cents, values, count) = totals.entry(shop(place)).or_default();
            *cents += amount(place);
            *values += value(place);
            *count += 1;
        }
        let sql = "SELECT shop, printf('%.2f', total) || ' of ' || count FROM totals";
        let due = totals.iter().map(|(shop, (cents, _, count))| {
            (
                shop.clone(),
                format!("{}.{:02} of {count}", cents / 100, cents % 100),
            )
        });
        same("totals", self.texts(sql), due.collect())?;
        if self.role == Role::Aggregate {
            let sql = "SELECT shop, sum || ' of ' || count FROM guilty_totals";
            let due = totals
                .iter()
                .map(|(shop, (_, values, count))| (shop.clone(), format!("{values} of {count}")));
            same("guilty_totals", self.texts(sql), due.collect())?;
        }
        Ok(())
    }
}

impl Run {
    /// Calls of the stage that failed in this way, as Prometheus is told.
    pub(super) fn failures(&self, role: Role, failure: Failure) -> u64 {
        let start = format!(
            "wasmill_guest_failures_total{{stage=\"{}\",component=\"guilty\",failure=\"{}\"}} ",
            role.stage(),
            failure.name()
        );
        self.number(&start)
    }

    /// The value of the sample that begins so.
    pub(super) fn number(&self, start: &str) -> u64 {
        let mut lines = self.metrics.lines();
        let value = lines.find_map(|line| line.strip_prefix(start));
        let value = value.unwrap_or_else(|| panic!("no metric `{start}`"));
        value.parse().unwrap()
    }
}

/// A dead letter, as far as these tests look.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) place: Place,
    pub(super) stage: String,
    pub(super) component: String,
    pub(super) reason: String,
}

/// The pipeline. With an honest transform in place of the guilty one where that is an aggregate.
#[expect(clippy::too_many_lines, reason = "it is one text")]
fn text(role: Role, guest: &Path, config: &Value) -> String {
    let toml = |value: &Value| toml_of(value);
    let doubling = support::guest("hostile");
    let (transform, transform_config) = match role {
        Role::Transform => ("guilty", toml(config)),
        Role::Aggregate => ("doubling", toml(&json!({ "mode": "behave" }))),
    };
    let aggregate = match role {
        Role::Transform => String::new(),
        Role::Aggregate => format!(
            r#"
[[aggregate]]
name = "guilty_totals"
from = "source"
component = "guilty"
config = {}
key = ["shop"]
window = {{ kind = "none" }}
"#,
            toml(config)
        ),
    };
    let aggregate_table = match role {
        Role::Transform => "",
        Role::Aggregate => {
            r#", { from = "guilty_totals", table = "guilty_totals", key = ["shop"] }"#
        }
    };
    format!(
        r#"
[pipeline]
name = "hostile"
workers = 2

[source]
type = "file"
paths = ["0.ndjson", "1.ndjson"]
columns = [
  {{ name = "id", from = "id", type = "utf8" }},
  {{ name = "value", from = "value", type = "int64" }},
  {{ name = "amount", from = "amount", type = "decimal(2)" }},
  {{ name = "shop", from = "shop", type = "utf8" }},
]

[commit]
max_rows = 500

[checkpoint]
store = "file:checkpoints"

[components.guilty]
path = "{guest}"
limits = {{ memory = "64MiB", time = "1s", output = "8MiB" }}

[components.doubling]
path = "{doubling}"

[components.passthrough]
path = "{passthrough}"

[components.totals]
path = "{totals}"

[[transform]]
name = "guilty"
from = "source"
component = "{transform}"
config = {transform_config}

[[transform]]
name = "behind"
from = "guilty"
component = "passthrough"
config = {{ columns = ["doubled"] }}

[[transform]]
name = "beside"
from = "source"
component = "passthrough"
config = {{ columns = ["value"] }}

[[aggregate]]
name = "totals"
from = "guilty"
component = "totals"
config = {{ column = "amount" }}
key = ["shop"]
window = {{ kind = "none" }}
{aggregate}
[[sink]]
name = "db"
type = "sqlite"
path = "hostile.sqlite3"
tables = [
  {{ from = "behind", table = "behind", key = ["id"] }},
  {{ from = "beside", table = "beside", key = ["id"] }},
  {{ from = "totals", table = "totals", key = ["shop"] }}{aggregate_table}
]

[dead_letters]
type = "file"
path = "dead.ndjson"
"#,
        guest = guest.display(),
        doubling = doubling.display(),
        passthrough = support::guest("passthrough").display(),
        totals = support::guest("totals").display(),
    )
}

/// A JSON object as an inline table.
fn toml_of(value: &Value) -> String {
    let entries = value.as_object().unwrap().iter();
    let entries: Vec<String> = entries
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    format!("{{ {} }}", entries.join(", "))
}
