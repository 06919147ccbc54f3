//! Rows "border": what a column into a guest and back costs, by its type and the rows of a call.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::Bench;
use super::results::{Figure, Results, Row};
use crate::workspace;

pub(super) const GROUP: &str = "border";
/// The case that has a mark, as `wasmill-bench` calls it.
pub(super) const MARKED: &str = "currency: utf8 and decimal in, decimal out";

/// Of each size: they cost little.
const ROUNDS: usize = 9;
const QUICK_ROUNDS: usize = 3;

pub(super) fn measure(bench: &Bench<'_>, results: &mut Results) -> Result<()> {
    if !bench.wants(GROUP, MARKED) {
        return Ok(());
    }
    let rounds = if bench.is_quick { QUICK_ROUNDS } else { ROUNDS };
    let guests = workspace::root().join("target/guests");
    let guests = guests.to_string_lossy();
    let printed = bench.program(["border", &guests, &rounds.to_string()])?;
    let mut cases: Vec<String> = Vec::new();
    let mut figures: BTreeMap<String, Vec<Figure>> = BTreeMap::new();
    for cost in printed.as_array().context("the border has no costs")? {
        let case = cost["case"].as_str().context("a cost has no case")?;
        let rows = cost["rows"].as_u64().context("a cost has no rows")?;
        let runs = cost["runs"].as_array().context("a cost has no runs")?;
        let runs: Vec<f64> = runs.iter().filter_map(serde_json::Value::as_f64).collect();
        if !cases.iter().any(|known| known == case) {
            cases.push(case.to_owned());
        }
        let figure = Figure::new(format!("{rows} rows"), "ns/row", runs);
        figures.entry(case.to_owned()).or_default().push(figure);
    }
    for case in cases {
        let figures = figures.remove(&case).unwrap_or_default();
        results.add(Row::new(GROUP, &case, figures))?;
    }
    Ok(())
}
