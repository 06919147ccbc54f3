//! The whole pipeline on records of a certain shape, made as they are read: so many keys, days and bytes.
//!
//! First comes every key once; then, and only that is measured, as many records as were asked for, of keys and days
//! all over. Nothing is written but checkpoints.

mod records;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Parser;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use wasmill::config::{Diagnostics, Look, Pipeline};
use wasmill::guest::GuestEngine;
use wasmill::pipeline::{
    self, Connect, Endpoints, Monitor, PipelineError, Plan, ProcessUsage, RunOptions,
};
use wasmill::source::Source;
use wasmill::waiting::Waits;

use crate::discard::Discard;
use records::{Records, Turn};

/// What to run on what.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// reads `key`, `amount` and `time`
    pub(crate) pipeline: PathBuf,
    #[command(flatten)]
    shape: Shape,
}

/// What records are like.
#[derive(Debug, Clone, Copy, clap::Args)]
struct Shape {
    /// different keys
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// days that their times are spread over
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    days: u64,
    /// of a record, at least 100
    #[arg(long, default_value_t = 350)]
    bytes: usize,
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    partitions: u32,
    /// that are measured
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
}

/// What the measured records took, and the states at the end.
#[derive(Debug, Serialize)]
pub(crate) struct Grown {
    records: u64,
    /// up to the last commit, s
    wall: f64,
    /// of the process, what it writes checkpoints with included, s
    cpu: f64,
    /// the most resident memory, all keys included, bytes
    memory_peak: u64,
    /// groups of all aggregates
    groups: f64,
    /// of them and their states, bytes
    state_bytes: f64,
    checkpoints: f64,
    /// written with all checkpoints
    checkpoint_bytes: f64,
    /// that merging stood still for all of them, s
    checkpoint_pause: f64,
}

/// Runs it.
pub(crate) fn run(
    (pipeline, mut diagnostics): (Pipeline, Diagnostics),
    shape: &Args,
) -> anyhow::Result<Grown> {
    let shape = shape.shape;
    let cache = std::env::var_os("WASMILL_CACHE").map(PathBuf::from);
    let engine = GuestEngine::new(cache)?;
    let Some(plan) = Plan::build(&pipeline, &engine, &mut diagnostics) else {
        bail!("{}", diagnostics.render(Look::Plain));
    };
    let plan = Arc::new(plan);
    let turn = Turn::default();
    let (of, at) = (Arc::clone(&plan), turn.clone());
    let connect: Arc<Connect> = Arc::new(move |waits: &Waits| {
        let mut endpoints = Endpoints::open(&of, waits)?;
        let at = at.clone();
        endpoints.open_source = Arc::new(move || {
            let records: Box<dyn Source> = Box::new(Records::new(shape, at.clone()));
            Ok(records)
        });
        let discard = Discard::new(&of.pipeline().name);
        let discard = discard.map_err(|source| PipelineError::Sink {
            sink: of.ledger().to_owned(),
            source,
        })?;
        endpoints.ledger = Box::new(discard);
        Ok(endpoints)
    });
    let monitor = Monitor::new(&pipeline, &plan);
    let options = RunOptions {
        once: true,
        stop: CancellationToken::new(),
        monitor: Arc::clone(&monitor),
        reloading: None,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let summary = runtime.block_on(pipeline::run(&plan, &connect, &options))?;
    let (filling, before) = turn.get().context("the keys were never all there")?;
    let (usage, metrics) = (ProcessUsage::so_far(), monitor.metrics());
    let metric = |name: &str| sum(&metrics, name);
    Ok(Grown {
        records: shape.records,
        wall: summary.wall.saturating_sub(filling).as_secs_f64(),
        cpu: usage.cpu.saturating_sub(before).as_secs_f64(),
        memory_peak: usage.memory_peak,
        groups: metric("wasmill_state_groups"),
        state_bytes: metric("wasmill_state_bytes"),
        checkpoints: metric("wasmill_checkpoint_pause_seconds_count"),
        checkpoint_bytes: metric("wasmill_checkpoint_bytes_total"),
        checkpoint_pause: metric("wasmill_checkpoint_pause_seconds_sum"),
    })
}

/// The sum of a metric over its labels.
fn sum(metrics: &str, name: &str) -> f64 {
    let of_name = |line: &&str| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
    };
    let lines = metrics.lines().filter(of_name);
    let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    values.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels_and_no_other() {
        let metrics = "# HELP a b\na{x=\"1\"} 2\na{x=\"2\"} 3\na_total 7\n";
        assert_eq!(sum(metrics, "a").to_string(), "5");
        assert_eq!(sum(metrics, "a_total").to_string(), "7");
    }
}
