//! Rows "growth": what becomes of the rate, of memory and of checkpoints as something grows. Nothing is written to sinks.
//!
//! Keys, windows, transforms and sizes on records that `wasmill-bench growth` makes as it reads them; partitions on
//! topics, and workers on files, with the sales job.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use super::job::{self, Job};
use super::pipeline::Sales;
use super::results::{Figure, Results, Row};
use super::servers::Server::Kafka;
use super::{Bench, turns};
use crate::{group, workspace};

pub(super) const GROUP: &str = "growth";
/// The rows of marks.
pub(super) const STATE: &str = "10,000,000 keys against 1,000";
pub(super) const WORKERS: &str = "two workers ÷ one, from files";

const KEYS: [u64; 5] = [1_000, 10_000, 100_000, 1_000_000, 10_000_000];
/// More are left out where it has to be quick.
const KEYS_QUICK: u64 = 1_000_000;
/// Bytes of a key: `k00000000`.
const KEY_BYTES: f64 = 9.0;
const WINDOWS: [u64; 3] = [1, 100, 10_000];
const TRANSFORMS: [usize; 4] = [1, 2, 5, 10];
const BYTES: [u64; 4] = [100, 350, 1_000, 10_000];
/// Records of such a row hold so many bytes at most.
const BYTES_MAX: u64 = 2_000_000_000;
const PARTITIONS: [u32; 4] = [1, 4, 16, 64];

/// What one run told.
type Grown = Value;

/// The rows of each thing that grows.
pub(super) fn measure(bench: &Bench<'_>, results: &mut Results) -> Result<()> {
    keys(bench, results)?;
    let by_key = Shape::default();
    for days in WINDOWS {
        let by_day = Shape {
            by_day: true,
            arguments: vec![("--days", days), ("--keys", 1)],
            ..Shape::default()
        };
        by_day.measure(bench, &format!("{days} windows"), results)?;
    }
    for transforms in TRANSFORMS {
        let shape = Shape {
            transforms,
            ..by_key.clone()
        };
        shape.measure(bench, &format!("{transforms} transforms"), results)?;
    }
    for bytes in BYTES {
        let shape = Shape {
            arguments: vec![("--bytes", bytes)],
            records_max: BYTES_MAX / bytes,
            ..by_key.clone()
        };
        shape.measure(bench, &format!("{bytes} bytes a record"), results)?;
    }
    for partitions in PARTITIONS {
        partitioned(bench, partitions, results)?;
    }
    workers(bench, results)
}

/// From a thousand keys to ten million; the states are in memory, and checkpoints are written.
fn keys(bench: &Bench<'_>, results: &mut Results) -> Result<()> {
    let (mut first, mut last) = (None, None);
    for keys in KEYS {
        if bench.is_quick && keys > KEYS_QUICK {
            continue;
        }
        let shape = Shape {
            arguments: vec![("--keys", keys)],
            ..Shape::default()
        };
        let name = format!("{keys} keys");
        if bench.wants(GROUP, &name) || bench.wants(GROUP, STATE) {
            last = Some((keys, shape.run(bench, &name, results)?));
            first = first.or(last.clone());
        }
    }
    let (Some((few, few_runs)), Some((many, many_runs))) = (first, last) else {
        return Ok(());
    };
    if bench.is_quick || few == many {
        return Ok(());
    }
    let rate = |run: &Grown| of(run, "records") / of(run, "wall");
    let memory = |run: &Grown| of(run, "memory_peak");
    let beside = few_runs.iter().zip(&many_runs);
    let beside =
        beside.map(|(few, many)| (memory(many) - memory(few)) / of(many, "groups") - KEY_BYTES);
    let figures = vec![
        Figure::new("rate", "", turns::ratios(&many_runs, &few_runs, rate)),
        Figure::new("a key", "bytes", beside.collect()),
    ];
    let note = "memory beside the key's own bytes, at the peak";
    results.add(Row::new(GROUP, STATE, figures).note(note))
}

/// The sales job on a topic of so many partitions.
fn partitioned(bench: &Bench<'_>, partitions: u32, results: &mut Results) -> Result<()> {
    let name = format!("{partitions} partitions");
    if !bench.wants(GROUP, &name) {
        return Ok(());
    }
    let topic = format!("{}_of_{partitions}", bench.topic.name);
    let sales = bench.sales()?.totals_only();
    group::run(
        std::process::Command::new(bench.programs.join("wasmill"))
            .args(["generate", "--brokers", bench.session.kafka()])
            .args(["--topic", &topic])
            .args(["--partitions", &partitions.to_string()])
            .args(["--count", &bench.records.to_string()]),
    )?;
    let path = sales
        .with("source.topic", &*topic)
        .write(&format!("growth-{partitions}-partitions"))?;
    let runs = Job::new("discard", &path).and_uses(&[Kafka]).runs(bench);
    bench.session.delete_topic(&topic)?;
    results.add(Row::new(GROUP, &name, job::figures(&runs?)))
}

/// The sales job from files, by one worker and by two, in turns.
fn workers(bench: &Bench<'_>, results: &mut Results) -> Result<()> {
    if !bench.wants(GROUP, WORKERS) {
        return Ok(());
    }
    let job = |workers: i64| {
        let sales = bench.sales()?.totals_only();
        let sales = sales.from_files(&bench.topic.files(bench)?);
        let sales: Sales = sales.with("pipeline.workers", workers);
        let path = sales.write(&format!("growth-{workers}-workers"))?;
        anyhow::Ok(Job::new("discard", &path))
    };
    let (one, two) = (job(1)?, job(2)?);
    let [one, two] = turns::take(bench.runs, [&|| one.run(bench), &|| two.run(bench)])?;
    for (name, runs) in [
        ("one worker, from files", &one),
        ("two workers, from files", &two),
    ] {
        results.add(Row::new(GROUP, name, job::figures(runs)))?;
    }
    let rate = turns::ratios(&one, &two, |run| run.wall);
    results.add(Row::new(
        GROUP,
        WORKERS,
        vec![Figure::new("rate", "", rate)],
    ))
}

/// What is run on which records.
#[derive(Debug, Clone)]
struct Shape {
    transforms: usize,
    /// one group a day instead of one a key
    by_day: bool,
    arguments: Vec<(&'static str, u64)>,
    records_max: u64,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            transforms: 1,
            by_day: false,
            arguments: Vec::new(),
            records_max: u64::MAX,
        }
    }
}

impl Shape {
    fn measure(&self, bench: &Bench<'_>, name: &str, results: &mut Results) -> Result<()> {
        if bench.wants(GROUP, name) {
            self.run(bench, name, results)?;
        }
        Ok(())
    }

    fn run(&self, bench: &Bench<'_>, name: &str, results: &mut Results) -> Result<Vec<Grown>> {
        let store = bench.folder.join("checkpoints");
        let path = bench.folder.join("pipelines").join("growth.toml");
        fs::create_dir_all(bench.folder.join("pipelines"))?;
        fs::write(&path, self.pipeline(&store.to_string_lossy()))
            .with_context(|| format!("failed to write {}", path.display()))?;
        let records = bench.records.min(self.records_max);
        let mut arguments = vec!["growth".to_owned(), path.to_string_lossy().into_owned()];
        for (name, value) in self.arguments.iter().chain(&[("--records", records)]) {
            arguments.extend([(*name).to_owned(), value.to_string()]);
        }
        let run = || {
            remove(&store)?;
            bench.program(&arguments)
        };
        let [runs] = turns::take(bench.runs, [&run])?;
        remove(&store)?;
        results.add(Row::new(GROUP, name, figures(&runs)))?;
        Ok(runs)
    }

    /// A chain over `key`, `amount` and `time`, and one aggregate; a checkpoint a second.
    fn pipeline(&self, store: &str) -> String {
        let guests = workspace::root().join("target/guests");
        let guests = guests.display();
        let transform = |number: usize| {
            let from = match number {
                1 => "source".to_owned(),
                number => format!("pass{}", number - 1),
            };
            format!(
                "[[transform]]\nname = \"pass{number}\"\nfrom = \"{from}\"\ncomponent = \"passthrough\"\n\
                 config = {{ columns = [\"amount\"] }}\n"
            )
        };
        let transforms: String = (1..=self.transforms).map(transform).collect();
        let last = self.transforms;
        let (group, key) = if self.by_day {
            let window = "{ kind = \"tumbling\", every = \"1 day\", time = \"time\" }";
            (format!("key = []\nwindow = {window}"), "window_start")
        } else {
            (
                "key = [\"key\"]\nwindow = { kind = \"none\" }".to_owned(),
                "key",
            )
        };
        format!(
            r#"
[pipeline]
name = "growth"
[source]
type = "file"
paths = ["never-read.ndjson"]
format = "json"
columns = [
  {{ name = "key", from = "key", type = "utf8" }},
  {{ name = "amount", from = "amount", type = "decimal(2)" }},
  {{ name = "time", from = "time", type = "timestamp" }},
]
[commit]
max_rows = 10_000
[checkpoint]
interval = "1s"
store = "file:{store}"
[components.passthrough]
path = "{guests}/passthrough.wasm"
[components.totals]
path = "{guests}/totals.wasm"
{transforms}
[[aggregate]]
name = "totals"
from = "pass{last}"
component = "totals"
config = {{ column = "amount" }}
{group}
[[sink]]
name = "postgres"
type = "postgres"
url = "postgres://nobody@127.0.0.1:1/nowhere"
tables = [{{ from = "totals", table = "totals", key = ["{key}"] }}]
[dead_letters]
type = "file"
path = "{store}.dead"
"#
        )
    }
}

fn figures(runs: &[Grown]) -> Vec<Figure> {
    let all = |value: &dyn Fn(&Grown) -> f64| runs.iter().map(value).collect::<Vec<_>>();
    let records = |run: &Grown| of(run, "records");
    // There may be none in a short run.
    let each = |run: &Grown, what: &str| of(run, what) / of(run, "checkpoints").max(1.0);
    vec![
        Figure::new(
            "rate",
            "records/s",
            all(&|run| records(run) / of(run, "wall")),
        ),
        Figure::new(
            "CPU",
            "s/million",
            all(&|run| of(run, "cpu") / records(run) * 1e6),
        ),
        Figure::new(
            "peak memory",
            "MB",
            all(&|run| of(run, "memory_peak") / 1e6),
        ),
        Figure::new("groups", "", all(&|run| of(run, "groups"))),
        Figure::new("states", "MB", all(&|run| of(run, "state_bytes") / 1e6)),
        Figure::new(
            "a checkpoint",
            "MB",
            all(&|run| each(run, "checkpoint_bytes") / 1e6),
        ),
        Figure::new(
            "its pause",
            "ms",
            all(&|run| each(run, "checkpoint_pause") * 1e3),
        ),
    ]
}

fn of(run: &Grown, what: &str) -> f64 {
    run[what].as_f64().unwrap_or(f64::NAN)
}

fn remove(folder: &PathBuf) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("failed to remove {}", folder.display()))?;
    }
    Ok(())
}
