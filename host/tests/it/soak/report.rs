//! What the rounds came to: a line each, a table, and a file for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::course::{Course, Fault, Frame};
use super::host::Start;

/// From a kill to the first new row.
#[derive(Debug, Clone)]
pub(crate) struct Recovery {
    pub(crate) first_row: Duration,
    /// what the new process says of its start
    pub(crate) start: Start,
    /// records that were read again, and in how many milliseconds after the start
    pub(crate) replay: Option<(u64, u64)>,
    /// in milliseconds of the new process's life
    pub(crate) first_commit: Option<u64>,
}

/// A round in which all was right.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) seconds: f64,
    records: u64,
    pub(crate) rows: u64,
    pub(crate) dead_letters: u64,
    faults: BTreeMap<Fault, u64>,
    /// faults that came while a checkpoint was being written, or a process started
    pub(crate) in_checkpoints: u64,
    pub(crate) in_starts: u64,
    /// connections that PostgreSQL ended
    pub(crate) connections: usize,
    /// stops that were not done in time
    pub(crate) late_stops: u64,
    pub(crate) recoveries: Vec<Recovery>,
    /// bytes
    memory_peak: u64,
}

impl Outcome {
    pub(crate) fn new(course: &Course) -> Self {
        Self {
            seconds: 0.0,
            records: course.records,
            rows: 0,
            dead_letters: 0,
            faults: BTreeMap::new(),
            in_checkpoints: 0,
            in_starts: 0,
            connections: 0,
            late_stops: 0,
            recoveries: Vec::new(),
            memory_peak: 0,
        }
    }

    pub(crate) fn count(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }

    pub(crate) fn faults_so_far(&self) -> usize {
        self.faults.values().sum::<u64>() as usize
    }

    pub(crate) fn saw_memory(&mut self, bytes: u64) {
        self.memory_peak = self.memory_peak.max(bytes);
    }

    fn kills(&self) -> u64 {
        let killing = [Fault::Kill, Fault::Damage];
        killing
            .iter()
            .filter_map(|fault| self.faults.get(fault))
            .sum()
    }
}

/// All rounds so far.
#[derive(Debug)]
pub(crate) struct Report {
    frame: Frame,
    rounds: Vec<(u64, Outcome)>,
    /// the seed of the round that failed
    failed: Option<u64>,
    to: Option<PathBuf>,
}

impl Report {
    /// An empty one, which is saved where `WASMILL_SOAK_RESULTS` says.
    pub(crate) fn new(frame: &Frame) -> Self {
        Self {
            frame: frame.clone(),
            rounds: Vec::new(),
            failed: None,
            to: std::env::var_os("WASMILL_SOAK_RESULTS").map(PathBuf::from),
        }
    }

    pub(crate) fn rounds(&self) -> usize {
        self.rounds.len()
    }

    pub(crate) fn add(&mut self, seed: u64, outcome: Outcome) {
        self.rounds.push((seed, outcome));
    }

    pub(crate) fn fail(&mut self, seed: u64) {
        self.failed = Some(seed);
    }

    /// Nothing is compared in a round that went wrong before the end.
    fn differences(&self) -> &'static str {
        match self.failed {
            None => "lost 0, doubled 0",
            Some(_) => "a round failed",
        }
    }

    pub(crate) fn last_line(&self) -> String {
        let Some((seed, outcome)) = self.rounds.last() else {
            return String::new();
        };
        let first_row = spread(outcome.recoveries.iter().map(|r| ms(r.first_row)));
        format!(
            "  {} records, {} faults, {} kills ({} while a checkpoint was written), lost 0, doubled 0, \
             kill to first row {first_row}, {} MB at most, {:.0} s (seed {seed})",
            outcome.records,
            outcome.faults_so_far(),
            outcome.kills(),
            outcome.in_checkpoints,
            outcome.memory_peak / 1_000_000,
            outcome.seconds,
        )
    }

    /// Writes the file, if there is to be one.
    pub(crate) fn save(&self) {
        if let Some(path) = &self.to {
            let text = serde_json::to_string_pretty(&self.to_json()).expect("plain values");
            std::fs::write(path, text + "\n").expect("room for the results");
        }
    }

    fn to_json(&self) -> Value {
        let rounds = self.rounds.iter().map(|(seed, outcome)| {
            let faults = outcome.faults.iter();
            let faults: BTreeMap<_, _> = faults.map(|(fault, n)| (fault.name(), n)).collect();
            let recoveries = outcome.recoveries.iter().map(|recovery| {
                json!({
                    "first_row_ms": ms(recovery.first_row),
                    "first_commit_ms": recovery.first_commit,
                    "running_ms": recovery.start.up,
                    "load_ms": recovery.start.load,
                    "ledger_ms": recovery.start.ledger,
                    "sinks_ms": recovery.start.sinks,
                    "checkpoint_ms": recovery.start.checkpoint,
                    "source_ms": recovery.start.source,
                    "replayed_records": recovery.replay.map(|(records, _)| records),
                    "replay_ms": recovery.replay.map(|(_, ms)| ms),
                })
            });
            json!({
                "seed": seed,
                "seconds": outcome.seconds,
                "records": outcome.records,
                "rows": outcome.rows,
                "dead_letters": outcome.dead_letters,
                "faults": faults,
                "kills": outcome.kills(),
                "faults_while_a_checkpoint_was_written": outcome.in_checkpoints,
                "faults_while_starting": outcome.in_starts,
                "connections_ended": outcome.connections,
                "late_stops": outcome.late_stops,
                "memory_peak_bytes": outcome.memory_peak,
                "lost": 0,
                "doubled": 0,
                "recoveries": recoveries.collect::<Vec<_>>(),
            })
        });
        json!({
            "rate": self.frame.rate,
            "failed_seed": self.failed,
            "rounds": rounds.collect::<Vec<_>>(),
        })
    }

    /// From kills to first rows, and what of that time was spent on what.
    fn fmt_recoveries(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds = self.rounds.iter().map(|(_, outcome)| outcome);
        let recoveries: Vec<&Recovery> = rounds.flat_map(|outcome| &outcome.recoveries).collect();
        let of = |value: &dyn Fn(&Recovery) -> Option<u64>| {
            spread(recoveries.iter().filter_map(|r| value(r)))
        };
        writeln!(
            f,
            "from a kill to the first new row, {} times: median / most",
            recoveries.len()
        )?;
        for (name, spread) in [
            ("seen in PostgreSQL", of(&|r| Some(ms(r.first_row)))),
            (
                "committed, since the process began",
                of(&|r| r.first_commit),
            ),
            (
                "running, since the process began",
                of(&|r| Some(r.start.up)),
            ),
            ("  file and components", of(&|r| Some(r.start.load))),
            ("  PostgreSQL, claim", of(&|r| Some(r.start.ledger))),
            (
                "  Elasticsearch, dead letters",
                of(&|r| Some(r.start.sinks)),
            ),
            ("  checkpoint", of(&|r| Some(r.start.checkpoint))),
            ("  Kafka, journal", of(&|r| Some(r.start.source))),
            ("replay", of(&|r| Some(r.replay?.1))),
        ] {
            writeln!(f, "  {name:<36}{spread:>20}")?;
        }
        let replayed: u64 = recoveries.iter().filter_map(|r| Some(r.replay?.0)).sum();
        let replays = recoveries
            .iter()
            .filter(|r| r.replay.is_some())
            .count()
            .max(1) as u64;
        write!(
            f,
            "  {:<36}{:>20}",
            "records read again, on average",
            replayed / replays
        )
    }

    fn sum(&self, of: impl Fn(&Outcome) -> u64) -> u64 {
        self.rounds.iter().map(|(_, outcome)| of(outcome)).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds = self.rounds.iter().map(|(_, outcome)| outcome);
        let seconds: f64 = rounds.clone().map(|outcome| outcome.seconds).sum();
        writeln!(
            f,
            "{} rounds in {seconds:.0} s: {} records, {} rows, {} dead letters, {}",
            self.rounds(),
            self.sum(|outcome| outcome.records),
            self.sum(|outcome| outcome.rows),
            self.sum(|outcome| outcome.dead_letters),
            self.differences(),
        )?;
        for fault in Fault::ALL {
            let count = self.sum(|outcome| outcome.faults.get(&fault).copied().unwrap_or(0));
            if count > 0 {
                writeln!(f, "  {:<36}{count:>8}", fault.name())?;
            }
        }
        let in_checkpoints = self.sum(|outcome| outcome.in_checkpoints);
        writeln!(
            f,
            "  {:<36}{in_checkpoints:>8}",
            "… while a checkpoint was written"
        )?;
        let in_starts = self.sum(|outcome| outcome.in_starts);
        writeln!(f, "  {:<36}{in_starts:>8}", "… while a process started")?;
        let memory = rounds.clone().map(|outcome| outcome.memory_peak).max();
        writeln!(
            f,
            "  {:<36}{:>8}",
            "MB of memory at most",
            memory.unwrap_or(0) / 1_000_000
        )?;
        self.fmt_recoveries(f)
    }
}

fn ms(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

/// Median and maximum of milliseconds.
fn spread(values: impl Iterator<Item = u64>) -> String {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    match values.as_slice() {
        [] => "-".to_owned(),
        [.., most] => format!("{} / {most} ms", values[values.len() / 2]),
    }
}
