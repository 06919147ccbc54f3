//! Runs one stage of a pipeline over what its source holds now, and prints what that took as a line
//! of JSON. `cargo xtask bench` runs one process a stage and makes a table of them.
//!
//! | stage | does |
//! |---|---|
//! | `consume` | polls the source, looks at nothing |
//! | `decode` | and makes columns |
//! | `transforms` | and calls the chain of transforms |
//! | `aggregates` | the whole pipeline, sinks that forget everything |
//! | `run` | the whole pipeline with its sinks |

mod discard;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Parser, ValueEnum};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use wasmill::config::{self, Pipeline};
use wasmill::decode::Decoder;
use wasmill::guest::GuestEngine;
use wasmill::pipeline::{self, Connect, Endpoints, Monitor, Plan, ProcessUsage, RunOptions};
use wasmill::record::{Positions, RawBatch};
use wasmill::source::{self, PollLimit, Source};
use wasmill::transform::TransformStage;
use wasmill::waiting::Waits;

/// As the host's reader does it.
const LIMIT: PollLimit = PollLimit {
    records_max: 4_096,
    bytes_max: 2 << 20,
    wait_max: Duration::from_millis(100),
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    Consume,
    Decode,
    Transforms,
    Aggregates,
    Run,
}

/// Measures one stage.
#[derive(Debug, Parser)]
struct Args {
    /// what to run
    stage: Stage,
    /// the pipeline
    pipeline: PathBuf,
}

/// What a stage took.
#[derive(Debug, Serialize)]
struct Measured {
    records: u64,
    /// from the first poll on, s
    wall: f64,
    /// of this process and all its threads, start included, s
    cpu: f64,
    /// the most resident memory, bytes
    memory_peak: u64,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let environment = |name: &str| std::env::var(name).ok();
    let (pipeline, mut diagnostics) = match config::load(&args.pipeline, &environment) {
        Ok(loaded) => loaded,
        Err(diagnostics) => bail!("{}", diagnostics.render(config::Look::Plain)),
    };
    let engine = GuestEngine::new(None)?;
    let (records, wall) = match args.stage {
        Stage::Consume => read(&pipeline, |_| Ok(()))?,
        Stage::Decode => decode(&pipeline)?,
        Stage::Transforms => transforms(&pipeline, &engine)?,
        Stage::Aggregates | Stage::Run => {
            let Some(plan) = Plan::build(&pipeline, &engine, &mut diagnostics) else {
                bail!("{}", diagnostics.render(config::Look::Plain));
            };
            let plan = Arc::new(plan);
            let (of, discards) = (Arc::clone(&plan), args.stage == Stage::Aggregates);
            let connect: Arc<Connect> = Arc::new(move |waits: &Waits| {
                let mut endpoints = Endpoints::open(&of, waits)?;
                if discards {
                    endpoints.ledger = Box::new(discard::Discard::default());
                    endpoints.sinks.clear();
                }
                Ok(endpoints)
            });
            let options = RunOptions {
                once: true,
                stop: CancellationToken::new(),
                monitor: Monitor::new(&pipeline, &plan),
                reloading: None,
            };
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()?;
            let run = pipeline::run(&plan, &connect, &options);
            let summary = runtime.block_on(run)?;
            eprintln!("{summary}");
            (summary.records, summary.wall)
        }
    };
    let usage = ProcessUsage::so_far();
    let measured = Measured {
        records,
        wall: wall.as_secs_f64(),
        cpu: usage.cpu.as_secs_f64(),
        memory_peak: usage.memory_peak,
    };
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

/// Reads everything that is there and hands it on batch by batch.
fn read(
    pipeline: &Pipeline,
    mut each: impl FnMut(&RawBatch) -> anyhow::Result<()>,
) -> anyhow::Result<(u64, Duration)> {
    let mut source: Box<dyn Source> = source::open(&pipeline.source, &pipeline.name)?;
    let ranges = source.partitions()?;
    let ends: Positions = ranges.iter().map(|r| (r.partition, r.end)).collect();
    source.seek(&ranges.iter().map(|r| (r.partition, r.begin)).collect())?;
    let started = Instant::now();
    let mut records = 0;
    let mut batch = RawBatch::default();
    let mut polled = RawBatch::default();
    while !source.positions().reached(&ends) {
        source.poll(&ends, LIMIT, &mut polled)?;
        records += polled.len() as u64;
        polled.iter().for_each(|record| batch.push(record));
        polled.clear();
        if batch.len() >= LIMIT.records_max {
            each(&batch)?;
            batch.clear();
        }
    }
    each(&batch)?;
    Ok((records, started.elapsed()))
}

fn decode(pipeline: &Pipeline) -> anyhow::Result<(u64, Duration)> {
    let mut decoder = Decoder::new(&pipeline.source.columns);
    let nothing = BTreeSet::new();
    let mut rejected = Vec::new();
    read(pipeline, |raw| {
        rejected.clear();
        std::hint::black_box(decoder.decode(raw, &nothing, &mut rejected));
        Ok(())
    })
}

fn transforms(pipeline: &Pipeline, engine: &GuestEngine) -> anyhow::Result<(u64, Duration)> {
    let mut decoder = Decoder::new(&pipeline.source.columns);
    let mut schema = decoder.schema().clone();
    let mut chain = Vec::new();
    for transform in &pipeline.transforms {
        let component = pipeline
            .components
            .get(&transform.component)
            .context("a validated pipeline has its components")?;
        let loaded = engine.load(&transform.component, &component.path)?;
        let guest = loaded.transform(
            &transform.name,
            &schema,
            &transform.config,
            &component.limits,
        )?;
        schema = guest.contract().output.clone();
        chain.push(TransformStage::new(&transform.name, guest));
    }
    let nothing = BTreeSet::new();
    let mut rejected = Vec::new();
    read(pipeline, |raw| {
        rejected.clear();
        let mut rows = decoder.decode(raw, &nothing, &mut rejected);
        for stage in &mut chain {
            rows = stage.apply(&rows, &mut rejected)?;
        }
        std::hint::black_box(rows);
        Ok(())
    })
}
