//! Instructions a record on the hot path, counted by callgrind: the one figure that a busy machine does not
//! change, so a check can compare it with what was recorded.
//!
//! # Invariants
//!
//! What is counted is one function of `bench/src/bin/hot_path.rs`, on the same records each time. Two counts
//! differ by a few in a thousand: hash tables have seeds.
//!
//! # Not here
//!
//! Whatever takes time without instructions: caches, memory, the kernel, waiting.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use toml::Table;

use super::Bench;
use super::results::{Figure, Results, Row, number};
use crate::tools::{self, Tool};
use crate::workspace::{self, Metadata, cargo};
use crate::{group, guests};

pub(super) const GROUP: &str = "instructions";

/// What was recorded, below the root.
const RECORDED: &str = "bench/instructions.toml";
/// What is counted.
const FUNCTION: &str = "hot_path::counted";
/// The kinds of stages, in the order in which they are counted: each with those before it.
const STAGES: [&str; 3] = ["decode", "transforms", "aggregates"];
/// Above what was recorded by this share, a stage has become worse.
const MORE_MAX: f64 = 0.1;
/// By so many a record two counts of the same program may differ.
const NOISE: f64 = 20.0;
/// Whoever meets a change on purpose.
const UPDATE: &str = "cargo xtask bench --only instructions --update";

/// Instructions a record of one kind of stages.
struct Count {
    stage: String,
    instructions: f64,
}

/// A row a stage.
pub(super) fn measure(bench: &Bench<'_>, results: &mut Results) -> Result<()> {
    if !STAGES.iter().any(|stage| bench.wants(GROUP, stage)) {
        return Ok(());
    }
    if let Some(why) = missing() {
        eprintln!("instructions are not counted: {why}");
        return Ok(());
    }
    for Count {
        stage,
        instructions,
    } in count(&bench.programs)?
    {
        let figure = Figure::new("a record", "instructions", vec![instructions]);
        results.add(Row::new(GROUP, &stage, vec![figure]))?;
    }
    Ok(())
}

/// Counts, and compares with what was recorded; returns how many stages. Where nothing can be counted, it says so and
/// is content.
///
/// # Errors
///
/// When a stage takes over a tenth more than was recorded.
pub(crate) fn check() -> Result<u64> {
    if let Some(why) = missing() {
        eprintln!("skipped: {why}");
        return Ok(0);
    }
    let path = workspace::root().join(RECORDED);
    let recorded = fs::read_to_string(&path)
        .with_context(|| format!("failed to read {}", path.display()))?
        .parse()
        .with_context(|| format!("{RECORDED} is no TOML"))?;
    let counts = count(&build()?)?;
    let verdict = compare(&counts, &recorded)?;
    eprint!("{}", verdict.text);
    ensure!(
        verdict.worse.is_empty(),
        "more instructions a record than {RECORDED} says, by over a tenth: {}. If that has to be: {UPDATE}, and commit the file with the change",
        verdict.worse.join(", ")
    );
    Ok(counts.len() as u64)
}

/// Counts, and records.
///
/// # Errors
///
/// Also where nothing can be counted.
pub(super) fn update() -> Result<()> {
    if let Some(why) = missing() {
        bail!("{why}");
    }
    let text = render(&count(&build()?)?);
    let path = workspace::root().join(RECORDED);
    fs::write(&path, &text).with_context(|| format!("failed to write {}", path.display()))?;
    println!("{text}");
    Ok(())
}

/// Why nothing can be counted here, if it cannot.
fn missing() -> Option<String> {
    if !cfg!(target_arch = "x86_64") {
        return Some("what was recorded are instructions of x86-64".to_owned());
    }
    let installed = tools::ensure(&[Tool::Valgrind]);
    installed.err().map(|error| format!("{error:#}"))
}

/// Builds what is counted; returns the folder.
fn build() -> Result<PathBuf> {
    guests::build()?;
    let hot_path = ["--release", "-p", "wasmill-bench", "--bin", "hot_path"];
    group::run(cargo(["build"]).args(hot_path))?;
    Ok(Metadata::load()?.target_directory()?.join("release"))
}

/// Runs the program under callgrind, which writes one file whenever the function returns.
fn count(programs: &Path) -> Result<Vec<Count>> {
    let folder = workspace::root().join("target/bench/instructions");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)
        .with_context(|| format!("failed to create {}", folder.display()))?;
    let files = folder.join("callgrind");
    let printed = group::output(
        Command::new("valgrind")
            .args(["--tool=callgrind", "--quiet"])
            .arg(format!("--toggle-collect={FUNCTION}"))
            .arg(format!("--dump-after={FUNCTION}"))
            .arg(format!("--callgrind-out-file={}", files.display()))
            .arg(programs.join("hot_path"))
            .arg(workspace::root().join("bench/sales.toml"))
            .arg(workspace::root().join("target/bench/cache")),
    )?;
    let mut counts = Vec::new();
    let mut before = 0.0;
    for (index, line) in (1..).zip(printed.lines()) {
        let (stage, records) = line
            .split_once(' ')
            .with_context(|| format!("hot_path printed {line:?}"))?;
        let path = folder.join(format!("callgrind.{index}"));
        let dump = fs::read_to_string(&path)
            .with_context(|| format!("callgrind did not find {FUNCTION}"))?;
        let records: f64 = records.parse().context("hot_path printed no number")?;
        let all = total(&dump).context("callgrind wrote no sum")? / records;
        counts.push(Count {
            stage: stage.to_owned(),
            instructions: all - before,
        });
        before = all;
    }
    let stages = counts.iter().map(|count| count.stage.as_str());
    ensure!(stages.eq(STAGES), "hot_path printed: {printed}");
    Ok(counts)
}

/// The sum of a file of callgrind's.
fn total(dump: &str) -> Option<f64> {
    let mut lines = dump.lines();
    let sum = lines.find_map(|line| line.strip_prefix("summary:"))?;
    sum.trim().parse().ok()
}

/// What came of a comparison.
struct Verdict {
    /// a line a stage
    text: String,
    worse: Vec<String>,
}

fn compare(counts: &[Count], recorded: &Table) -> Result<Verdict> {
    let mut verdict = Verdict {
        text: String::new(),
        worse: Vec::new(),
    };
    for Count {
        stage,
        instructions,
    } in counts
    {
        let before = recorded.get(stage).and_then(toml::Value::as_integer);
        let before = before.with_context(|| format!("{RECORDED} has no `{stage}`: {UPDATE}"))?;
        let before = before as f64;
        writeln!(
            verdict.text,
            "{stage:<12} {:>8} instructions a record, recorded {}",
            number(*instructions),
            number(before)
        )?;
        if *instructions > before * (1.0 + MORE_MAX) + NOISE {
            let worse = format!(
                "{stage} {} instead of {}",
                number(*instructions),
                number(before)
            );
            verdict.worse.push(worse);
        } else if *instructions < before * (1.0 - MORE_MAX) - NOISE {
            writeln!(
                verdict.text,
                "{stage} has become better; so that it stays so: {UPDATE}"
            )?;
        }
    }
    Ok(verdict)
}

fn render(counts: &[Count]) -> String {
    let mut text = String::from(
        "# Instructions a record on the hot path, x86-64, counted by callgrind. `cargo xtask test` compares.\n\
         # Written by: cargo xtask bench --only instructions --update\n\n",
    );
    for Count {
        stage,
        instructions,
    } in counts
    {
        writeln!(text, "{stage} = {instructions:.0}").expect("a string takes every write");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(instructions: [f64; 3]) -> Vec<Count> {
        let stages = STAGES.into_iter().zip(instructions);
        stages
            .map(|(stage, instructions)| Count {
                stage: stage.to_owned(),
                instructions,
            })
            .collect()
    }

    #[test]
    fn a_stage_that_takes_over_a_tenth_more_is_named() {
        let recorded = render(&counts([6_000.0, 200.0, 4_000.0])).parse().unwrap();
        let worse = |instructions| compare(&counts(instructions), &recorded).unwrap().worse;
        assert!(worse([6_600.0, 239.0, 3_000.0]).is_empty());
        assert_eq!(
            worse([6_000.0, 271.0, 4_500.0]),
            [
                "transforms 271 instead of 200",
                "aggregates 4,500 instead of 4,000"
            ]
        );
    }

    #[test]
    fn a_stage_that_was_never_recorded_is_an_error() {
        let recorded = "decode = 1".parse().unwrap();
        assert!(compare(&counts([1.0, 1.0, 1.0]), &recorded).is_err());
    }

    #[test]
    fn the_sum_of_a_dump_is_found() {
        let dump = "events: Ir\nsummary: 119757159\n\nfn=(1) main\n16 400\ntotals: 1\n";
        assert_eq!(total(dump), Some(119_757_159.0));
        assert_eq!(total("events: Ir\n"), None);
    }
}
