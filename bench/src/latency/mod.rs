//! From a record's hand-over to Kafka's client until its row is visible in PostgreSQL, while `wasmill run` runs in a
//! process of its own: at shares of the rate that all of them together sustain on this machine.
//!
//! A record is made when its time has come, and that moment is kept. A connection of its own asks PostgreSQL how far the
//! journal is, which is committed together with the rows: offsets that were not in the last answer became visible at the
//! latest when this one came. So a latency is too long by up to the time between two answers, which is told, and
//! by the 2 ms that the client waits for more records.

mod load;
mod visible;

use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use serde::Serialize;

use load::Load;
use visible::Journal;

/// Before counting at each rate.
const WARM_UP: Duration = Duration::from_secs(2);
/// How long what was written may take to become visible.
const DRAIN_MAX: Duration = Duration::from_mins(2);
/// Between two looks whether all of it is.
const DRAIN_STEP: Duration = Duration::from_millis(20);

/// What to measure.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// where Kafka is
    #[arg(long)]
    brokers: String,
    /// an existing topic that nobody else writes to, and that the pipeline reads
    #[arg(long)]
    topic: String,
    /// shares of the sustained rate
    #[arg(long, value_delimiter = ',', default_value = "0.2,0.5,0.8")]
    shares: Vec<f64>,
    /// seconds at each rate, and for finding the sustained one
    #[arg(long, default_value_t = 15)]
    seconds: u64,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub(crate) struct Latencies {
    /// records a second that become visible while more are written than that
    sustained: f64,
    /// between two answers of PostgreSQL, median and the 99th of 100, ms
    resolution: [f64; 2],
    loads: Vec<Measured>,
}

/// Latencies at one rate, ms.
#[derive(Debug, Serialize)]
struct Measured {
    share: f64,
    /// records a second, as they were written
    rate: f64,
    records: usize,
    p50: f64,
    p99: f64,
    max: f64,
}

/// Measures. `DATABASE_URL` is the ledger's.
pub(crate) fn measure(args: &Args) -> anyhow::Result<Latencies> {
    let url = std::env::var("DATABASE_URL").context("DATABASE_URL is not set")?;
    let journal = Journal::watch(&url)?;
    let mut load = Load::open(&args.brokers, &args.topic)?;
    let length = Duration::from_secs(args.seconds);

    // One record, so that the pipeline has begun.
    load.write(1.0, Duration::from_secs(1))?;
    drain(&load, &journal)?;
    let sustained = sustained(&mut load, &journal, length)?;
    let mut loads = Vec::new();
    for &share in &args.shares {
        drain(&load, &journal)?;
        load.write(share * sustained, WARM_UP)?;
        let first = load.ends();
        let began = Instant::now();
        load.write(share * sustained, length)?;
        let took = began.elapsed();
        drain(&load, &journal)?;
        let mut latencies = journal.latencies(&load, &first);
        latencies.sort_by(f64::total_cmp);
        loads.push(Measured {
            share,
            rate: latencies.len() as f64 / took.as_secs_f64(),
            records: latencies.len(),
            p50: quantile(&latencies, 0.5),
            p99: quantile(&latencies, 0.99),
            max: quantile(&latencies, 1.0),
        });
    }
    Ok(Latencies {
        sustained,
        resolution: journal.resolution(),
        loads,
    })
}

/// What becomes visible in a second while records are written as fast as they can be made.
fn sustained(load: &mut Load, journal: &Journal, length: Duration) -> anyhow::Result<f64> {
    load.write(f64::INFINITY, WARM_UP)?;
    let (before, began) = (journal.records(), Instant::now());
    load.write(f64::INFINITY, length)?;
    let visible = journal.records() - before;
    Ok(visible as f64 / began.elapsed().as_secs_f64())
}

/// Waits until all that was written is visible.
fn drain(load: &Load, journal: &Journal) -> anyhow::Result<()> {
    load.flush()?;
    let deadline = Instant::now() + DRAIN_MAX;
    while !journal.has(&load.ends())? {
        anyhow::ensure!(
            Instant::now() < deadline,
            "the pipeline does not keep up, or does not run"
        );
        std::thread::sleep(DRAIN_STEP);
    }
    Ok(())
}

/// Of sorted values; 0 of none.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    let index = rank.clamp(1, sorted.len().max(1)) - 1;
    sorted.get(index).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_smallest_value_that_so_many_do_not_exceed() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        let of = |share| quantile(&values, share).to_string();
        assert_eq!([of(0.5), of(0.99), of(1.0)], ["100", "198", "200"]);
        assert_eq!(quantile(&[], 0.5).to_string(), "0");
    }
}
