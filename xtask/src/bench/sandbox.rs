//! Rows "sandbox": the chain in Wasm against the same code compiled natively, in turns, with one worker.
//!
//! The whole process is everything from Kafka to the merged states, decoding included. The chain alone is the
//! time inside of its stages: calls, grouping, putting outputs together. Its calls alone are what differs.

use anyhow::{Context, Result};

use super::Bench;
use super::job::{self, Job, Run};
use super::results::{Figure, Results, Row};
use super::turns;

pub(super) const GROUP: &str = "sandbox";
pub(super) const PRICE: &str = "price of the sandbox, Wasm ÷ native";

pub(super) fn measure(bench: &Bench<'_>, results: &mut Results) -> Result<()> {
    if !bench.wants(GROUP, PRICE) {
        return Ok(());
    }
    let pipeline = bench
        .sales()?
        .totals_only()
        .with("pipeline.workers", 1)
        .write("sandbox")?;
    let job = |logic| {
        Job::new("discard", &pipeline)
            .argument("--logic")
            .argument(logic)
    };
    let (wasm, native) = (job("wasm"), job("native"));
    let variants: [&dyn Fn() -> Result<Run>; 2] = [&|| wasm.run(bench), &|| native.run(bench)];
    let [wasm, native] = turns::take(bench.runs, variants)?;
    for (name, runs) in [("Wasm", &wasm), ("native", &native)] {
        let mut figures = job::figures(runs);
        let each = |value: &dyn Fn(&Run) -> f64| {
            let values = runs.iter().map(|run| value(run) / run.records * 1e9);
            values.collect::<Vec<_>>()
        };
        figures.push(Figure::new("chain alone", "ns/record", each(&chain)));
        figures.push(Figure::new("its calls alone", "ns/record", each(&calls)));
        results.add(Row::new(GROUP, name, figures))?;
    }
    wasm.first()
        .and_then(|run| run.calls)
        .context("no clock ran")?;
    let ratios = |value: &dyn Fn(&Run) -> f64| turns::ratios(&wasm, &native, value);
    let figures = vec![
        Figure::new("whole process", "", ratios(&|run| run.cpu)),
        Figure::new("chain alone", "", ratios(&chain)),
        Figure::new("its calls alone", "", ratios(&calls)),
    ];
    let note = "natively, the SDK's columns are copied once and not checked when they come back";
    results.add(Row::new(GROUP, PRICE, figures).note(note))
}

/// Time inside of the chain's stages, s.
fn chain(run: &Run) -> f64 {
    let stages = run.stages.iter();
    let chain =
        stages.filter(|(name, _)| name.starts_with("transform") || name.starts_with("fold"));
    chain.map(|(_, time)| time).sum()
}

/// CPU time inside of its calls, s.
fn calls(run: &Run) -> f64 {
    run.calls.unwrap_or_default()
}
