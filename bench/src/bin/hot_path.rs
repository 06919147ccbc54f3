//! Runs a fixed set of sales through the stages of the hot path, for counting instructions:
//! `cargo xtask test --only instructions` runs it under callgrind.
//!
//! Three times: decoding only, then with the transforms, then with the aggregates (fold, merge, finish), whose
//! rows are all that sinks would get. No source, no sinks, one thread. What is counted is [`counted`], once for each of the three; before it
//! everything was called that has to be set up, so the difference of two counts is what a stage costs.
//!
//! It prints what was counted, one line for each, and the number of records of each.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use wasmill::config::{self, Diagnostics, Pipeline, SinkKind};
use wasmill::guest::GuestEngine;
use wasmill::pipeline::{Plan, Stepper};
use wasmill::record::RawBatch;
use wasmill::source::{GeneratorSource, PollLimit, Source};

/// As the host's reader gathers them.
const BATCH: PollLimit = PollLimit {
    records_max: 4_096,
    bytes_max: 2 << 20,
    wait_max: Duration::ZERO,
};
/// Before counting. The states of nearly all groups are there then.
const EPOCHS_BEFORE: u64 = 2;
/// Counted.
const EPOCHS: u64 = 2;
/// An instruction takes fifty times as long under callgrind, and so do the guests.
const GUEST_TIME: Duration = Duration::from_mins(10);

/// Records of one epoch, in batches.
type Epoch = Vec<RawBatch>;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(path), cache) = (arguments.next(), arguments.next()) else {
        bail!("usage: hot_path PIPELINE [FOLDER_FOR_COMPILED_CODE]");
    };
    let (pipeline, mut diagnostics) = load(&path)?;
    let engine = GuestEngine::new(cache)?;
    let epochs = epochs(&pipeline)?;
    for (stage, pipeline) in prefixes(&pipeline) {
        let Some(plan) = Plan::build(&pipeline, &engine, &mut diagnostics) else {
            bail!("{}", diagnostics.render(config::Look::Plain));
        };
        let mut stepper = Stepper::new(&plan)?;
        let mut epochs = epochs.clone();
        let measured = epochs.split_off(EPOCHS_BEFORE as usize);
        let records: usize = measured.iter().flatten().map(RawBatch::len).sum();
        run(&mut stepper, epochs)?;
        let rows = counted(&mut stepper, measured)?;
        ensure!(
            pipeline.aggregates.is_empty() || rows > 0,
            "no aggregate has a row"
        );
        println!("{stage} {records}");
    }
    Ok(())
}

/// What is counted: callgrind finds it by its name, and writes down a count each time that it returns.
#[inline(never)]
fn counted(stepper: &mut Stepper, epochs: Vec<Epoch>) -> anyhow::Result<usize> {
    std::hint::black_box(run(stepper, epochs))
}

/// Runs epochs to their ends. Returns how many rows sinks would get.
#[inline(never)]
fn run(stepper: &mut Stepper, epochs: Vec<Epoch>) -> anyhow::Result<usize> {
    let mut rows = 0;
    for epoch in epochs {
        for batch in epoch {
            stepper.process(batch)?;
        }
        let output = stepper.end_epoch()?;
        ensure!(output.dead_letters.is_empty(), "no record is rejected");
        let batches = output.streams.values().flatten();
        rows += batches.map(|batch| batch.columns.num_rows()).sum::<usize>();
    }
    Ok(rows)
}

fn load(path: &Path) -> anyhow::Result<(Pipeline, Diagnostics)> {
    let environment = |name: &str| std::env::var(name).ok();
    let (mut pipeline, diagnostics) = match config::load(path, &environment) {
        Ok(loaded) => loaded,
        Err(diagnostics) => bail!("{}", diagnostics.render(config::Look::Plain)),
    };
    for component in pipeline.components.values_mut() {
        component.limits.time = GUEST_TIME;
    }
    let aggregates = &pipeline.aggregates;
    for sink in &mut pipeline.sinks {
        if let SinkKind::Postgres { tables, .. } = &mut sink.kind {
            tables.retain(|table| aggregates.iter().any(|a| a.name == table.from));
        }
    }
    pipeline.sinks.retain(|sink| sink.kind.is_ledger());
    Ok((pipeline, diagnostics))
}

/// The pipeline up to each of its kinds of stages.
fn prefixes(pipeline: &Pipeline) -> [(&'static str, Pipeline); 3] {
    let mut transforms = pipeline.clone();
    transforms.aggregates.clear();
    let mut decode = transforms.clone();
    decode.transforms.clear();
    [
        ("decode", decode),
        ("transforms", transforms),
        ("aggregates", pipeline.clone()),
    ]
}

/// The same sales every time, in epochs of the pipeline's size.
fn epochs(pipeline: &Pipeline) -> anyhow::Result<Vec<Epoch>> {
    let epoch_records = pipeline.commit.max_rows;
    let epochs = EPOCHS_BEFORE + EPOCHS;
    let mut source = GeneratorSource::new(&config::GeneratorSource {
        records: Some(epochs * epoch_records as u64),
        ..config::GeneratorSource::DEFAULT
    });
    let ranges = source.partitions()?;
    source.seek(&ranges.iter().map(|r| (r.partition, r.begin)).collect())?;
    let ends = ranges.iter().map(|r| (r.partition, r.end)).collect();
    let mut read_epoch = || {
        let mut epoch = Epoch::new();
        let mut left = epoch_records;
        while left > 0 {
            let mut batch = RawBatch::default();
            let limit = PollLimit {
                records_max: left.min(BATCH.records_max),
                ..BATCH
            };
            source.poll(&ends, limit, &mut batch)?;
            left = left
                .checked_sub(batch.len())
                .filter(|_| !batch.is_empty())
                .context("the generator has too few records")?;
            epoch.push(batch);
        }
        Ok(epoch)
    };
    (0..epochs).map(|_| read_epoch()).collect()
}
