//! Rows "footprint": how large the binary is, how much memory the job takes, how soon its first row is there.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use toml::Value;

use super::Bench;
use super::job::{self, Job};
use super::pipeline::Sales;
use super::results::{Figure, Results, Row, number};
use super::servers::Server::Postgres;
use super::topic::Topic;
use super::turns;
use crate::group::Group;
use crate::signal::Signal;

pub(super) const GROUP: &str = "footprint";
pub(super) const BINARY: &str = "binary";
pub(super) const MEMORY: &str = "memory, 10,000,000 records";
pub(super) const MEMORY_DEDUPLICATING: &str = "memory, 10,000,000 records, deduplication";
pub(super) const WARM: &str = "first row, compiled code cached";
pub(super) const COLD: &str = "first row, nothing cached";

/// Makes a variant of the job.
type Variant = fn(Sales) -> Sales;

/// Records that the marks of memory are about.
const LONG: u64 = 10_000_000;
/// Keys of each partition that deduplication remembers.
const REMEMBERED: i64 = 1_000_000;
/// Waits for the first row; fails after half a minute.
const FIRST_ROW: &str = "DO $$ DECLARE there bool := false; BEGIN \
    FOR turn IN 1..15000 LOOP \
        IF EXISTS (SELECT FROM pg_class WHERE relname = 'transactions') THEN \
            EXECUTE 'SELECT EXISTS (SELECT FROM transactions)' INTO there; \
            IF there THEN RETURN; END IF; \
        END IF; \
        PERFORM pg_sleep(0.002); \
    END LOOP; \
    RAISE EXCEPTION 'no row came'; \
    END $$";
/// How long the run that has written its first row may take to stop.
const STOP_DEADLINE: Duration = Duration::from_secs(20);

pub(super) fn measure(bench: &Bench<'_>, results: &mut Results) -> Result<()> {
    if bench.wants(GROUP, BINARY) {
        binary(bench, results)?;
    }
    for (name, is_cached) in [(WARM, true), (COLD, false)] {
        if bench.wants(GROUP, name) {
            first_row(bench, (name, is_cached), results)?;
        }
    }
    memory(bench, results)
}

/// The job into PostgreSQL, without and with deduplication: once each, as it takes long and varies little. A quick
/// run takes the records that are there.
fn memory(bench: &Bench<'_>, results: &mut Results) -> Result<()> {
    let records = if bench.is_quick { bench.records } else { LONG };
    let name = format!("memory, {} records", number(records as f64));
    let variants: [(String, Variant); 2] = [
        (name.clone(), |sales| sales),
        (format!("{name}, deduplication"), |sales| {
            let key = Value::Array(vec!["transaction_id".into()]);
            sales
                .with("source.deduplicate.key", key)
                .with("source.deduplicate.last", REMEMBERED)
        }),
    ];
    let long = Topic::new(
        &format!("{}_long", bench.topic.name),
        records,
        &bench.folder,
    );
    let topic = if records == bench.records {
        &bench.topic
    } else {
        &long
    };
    let measured = variants
        .iter()
        .filter(|(name, _)| bench.wants(GROUP, name))
        .try_for_each(|(name, variant)| {
            topic.fill(bench)?;
            let sales = variant(Sales::load(bench)?.reading(topic).without_search());
            let job = Job::new("run", &sales.write(&name.replace([',', ' '], "-"))?);
            let run = job.on(&[Postgres]).of_records(records).run(bench)?;
            results.add(Row::new(GROUP, name, job::figures(&[run])))
        });
    long.delete(bench.session)?;
    measured
}

/// The binary, without what only debuggers read.
fn binary(bench: &Bench<'_>, results: &mut Results) -> Result<()> {
    let (from, stripped) = (
        bench.programs.join("wasmill"),
        bench.folder.join("stripped"),
    );
    let strip = Command::new("strip")
        .arg("-o")
        .args([&stripped, &from])
        .status();
    if !strip.is_ok_and(|status| status.success()) {
        eprintln!("there is no `strip`: the size of the binary is left out");
        return Ok(());
    }
    let size = fs::metadata(&stripped)?.len() as f64 / 1e6;
    fs::remove_file(&stripped)?;
    results.add(Row::new(
        GROUP,
        BINARY,
        vec![Figure::new("stripped", "MB", vec![size])],
    ))
}

/// From the start of the process until its first row can be read.
fn first_row(
    bench: &Bench<'_>,
    (name, is_cached): (&str, bool),
    results: &mut Results,
) -> Result<()> {
    let pipeline = bench.sales()?.without_search().write("first-row")?;
    let cache = bench.folder.join("cache-of-first-row");
    let run = || {
        if !is_cached && cache.exists() {
            fs::remove_dir_all(&cache)?;
        }
        until_first_row(bench, &pipeline, &cache)
    };
    if is_cached {
        run()?;
    }
    let [runs] = turns::take(bench.runs, [&run])?;
    results.add(Row::new(GROUP, name, vec![Figure::new("after", "s", runs)]))
}

/// Runs `wasmill` on an empty database until a row is in it; s.
fn until_first_row(bench: &Bench<'_>, pipeline: &Path, cache: &Path) -> Result<f64> {
    bench.database.drop()?;
    bench.database.create()?;
    let log = bench.folder.join("first-row.log");
    let database = &bench.database;
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let found = database.query(FIRST_ROW);
            (Instant::now(), found)
        });
        // It looks for the row before the process is started.
        std::thread::sleep(Duration::from_millis(200));
        let began = Instant::now();
        let mut wasmill = Group::spawn_logged(
            Command::new(bench.programs.join("wasmill"))
                .arg("run")
                .arg(pipeline)
                .env("WASMILL_CACHE", cache)
                .env("DATABASE_URL", bench.database.url()),
            &log,
        )?;
        let Ok((there, found)) = waiting.join() else {
            bail!("waiting for the first row panicked");
        };
        wasmill.stop(Signal::Terminate, STOP_DEADLINE)?;
        found.with_context(|| format!("no first row came: see {}", log.display()))?;
        Ok(there.duration_since(began).as_secs_f64())
    })
}
