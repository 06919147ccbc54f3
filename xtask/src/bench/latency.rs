//! Rows "latency": from a record to its row in PostgreSQL, the full job, at shares of the rate that the machine sustains
//! with all of it: the producer, Kafka, wasmill and PostgreSQL. `bench/src/latency` says how it is seen.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::results::{Figure, Results, Row};
use super::{Bench, topic};
use crate::group::{self, Group};
use crate::signal::Signal;

pub(super) const GROUP: &str = "latency";
/// The row of the mark.
pub(super) const HALF: &str = "max_wait 50ms, 50 % of the rate";

/// Of an epoch, as `pipeline.toml` says it.
const WAITS: [&str; 2] = ["50ms", "1s"];
/// Percents of the rate.
const SHARES: [u32; 3] = [20, 50, 80];
/// At each rate, s.
const SECONDS: &str = "15";
const SECONDS_QUICK: &str = "4";
/// How long the pipeline may take to stop.
const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// One run of the pipeline for each wait, with all rates in turn.
pub(super) fn measure(bench: &Bench<'_>, results: &mut Results) -> Result<()> {
    for wait in WAITS {
        let name = |share: u32| format!("max_wait {wait}, {share} % of the rate");
        if !SHARES.iter().any(|share| bench.wants(GROUP, &name(*share))) {
            continue;
        }
        let topic = format!("{}_latency_{wait}", bench.topic.name);
        let run = run(bench, &topic, wait);
        bench.session.delete_topic(&topic)?;
        let run = run?;
        let sustained = figure(&run["sustained"])?;
        for (share, load) in SHARES
            .iter()
            .zip(run["loads"].as_array().into_iter().flatten())
        {
            let of = |what: &'static str, unit| {
                let value = figure(&load[what])?;
                anyhow::Ok(Figure::new(what, unit, vec![value]))
            };
            let figures = vec![
                of("p50", "ms")?,
                of("p99", "ms")?,
                of("max", "ms")?,
                of("rate", "records/s")?,
            ];
            let note = format!(
                "of {sustained:.0} records/s; too long by up to {:.1} ms (median), {:.1} ms (one in a hundred)",
                figure(&run["resolution"][0])?,
                figure(&run["resolution"][1])?,
            );
            results.add(Row::new(GROUP, &name(*share), figures).note(note))?;
        }
    }
    Ok(())
}

fn figure(value: &Value) -> Result<f64> {
    value.as_f64().context("wasmill-bench printed less")
}

/// Runs the pipeline on a topic of its own, and has it measured.
fn run(bench: &Bench<'_>, topic: &str, wait: &str) -> Result<Value> {
    // Makes the topic, with a record in each partition.
    let target = ["--brokers", bench.session.kafka(), "--topic", topic];
    topic::generate(bench, &target, topic::PARTITIONS.into())?;
    bench.database.drop()?;
    bench.database.create()?;
    let sales = bench.sales()?.without_search();
    let sales = sales
        .with("source.topic", topic)
        .with("commit.max_wait", wait);
    let path = sales.write(&format!("latency-{wait}"))?;
    let log = bench.folder.join(format!("latency-{wait}.log"));
    let mut wasmill = start(bench, &path, &log)?;
    let seconds = if bench.is_quick {
        SECONDS_QUICK
    } else {
        SECONDS
    };
    let shares = SHARES.map(|share| (f64::from(share) / 100.0).to_string());
    let measured = bench.program([&["latency"][..], &target].concat().into_iter().chain([
        "--seconds",
        seconds,
        "--shares",
        &shares.join(","),
    ]));
    wasmill.stop(Signal::Terminate, STOP_DEADLINE)?;
    measured.with_context(|| format!("see {}:\n{}", log.display(), group::tail(&log)))
}

fn start(bench: &Bench<'_>, pipeline: &Path, log: &Path) -> Result<Group> {
    Group::spawn_logged(
        Command::new(bench.programs.join("wasmill"))
            .arg("run")
            .arg(pipeline)
            .env("WASMILL_CACHE", bench.folder.join("cache"))
            .env("DATABASE_URL", bench.database.url()),
        log,
    )
}
