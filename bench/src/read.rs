//! The source alone, and the source with the decoder, on one thread as the host's reader polls.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use wasmill::config::Pipeline;
use wasmill::decode::Decoder;
use wasmill::record::{Positions, RawBatch};
use wasmill::source::{self, PollLimit, Source};

use crate::measured::{Measured, Ready};

/// As the host's reader does it.
const LIMIT: PollLimit = PollLimit {
    records_max: 4_096,
    bytes_max: 2 << 20,
    wait_max: Duration::from_millis(100),
};

/// Polls, and looks at nothing.
pub(crate) fn consume(pipeline: &Pipeline, began: Instant) -> anyhow::Result<Measured> {
    read(pipeline, began, |_| ())
}

/// Makes columns of all fields.
pub(crate) fn decode(pipeline: &Pipeline, began: Instant) -> anyhow::Result<Measured> {
    let mut decoder = Decoder::new(&pipeline.source.columns);
    let nothing = BTreeSet::new();
    let mut rejected = Vec::new();
    read(pipeline, began, |raw| {
        rejected.clear();
        std::hint::black_box(decoder.decode(raw, &nothing, &mut rejected));
    })
}

/// Reads everything that is there and hands it on batch by batch.
fn read(
    pipeline: &Pipeline,
    began: Instant,
    mut each: impl FnMut(&RawBatch),
) -> anyhow::Result<Measured> {
    let ready = Ready::now(began);
    let mut source: Box<dyn Source> = source::open(&pipeline.source, &pipeline.name)?;
    let ranges = source.partitions()?;
    let ends: Positions = ranges.iter().map(|r| (r.partition, r.end)).collect();
    source.seek(&ranges.iter().map(|r| (r.partition, r.begin)).collect())?;
    let started = Instant::now();
    let mut records = 0;
    let mut batch = RawBatch::default();
    while !source.positions().reached(&ends) {
        source.poll(&ends, LIMIT, &mut batch)?;
        if batch.len() >= LIMIT.records_max {
            records += batch.len() as u64;
            each(&batch);
            batch.clear();
        }
    }
    records += batch.len() as u64;
    each(&batch);
    Ok(ready.measured(records, started.elapsed(), BTreeMap::new()))
}
