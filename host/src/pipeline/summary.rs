//! What a run did, by stage: counted while it runs, shown at its end.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// A stage that time is measured for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Read,
    Decode,
    /// by the transform's index
    Transform(usize),
    /// by the aggregate's index
    Fold(usize),
    Merge,
    /// by the sink's index; the ledger is 0
    Write(usize),
}

#[derive(Debug, Default)]
struct Meter {
    rows: AtomicU64,
    nanos: AtomicU64,
}

/// Counters that all threads of a run share. Added to once a batch, never once a record.
#[derive(Debug)]
pub(super) struct Counters {
    started: Instant,
    records: AtomicU64,
    bytes: AtomicU64,
    dead_letters: AtomicU64,
    epochs: AtomicU64,
    stages: Vec<(Stage, String, Meter)>,
}

impl Counters {
    /// Counters for a pipeline with these names of transforms, aggregates and sinks (the ledger
    /// first).
    pub(super) fn new(transforms: &[&str], aggregates: &[&str], sinks: &[&str]) -> Self {
        let mut stages = vec![
            (Stage::Read, "read".to_owned()),
            (Stage::Decode, "decode".to_owned()),
        ];
        let named = |kind: &str, name: &&str| format!("{kind} {name}");
        let transforms = transforms.iter().enumerate();
        stages.extend(transforms.map(|(i, name)| (Stage::Transform(i), named("transform", name))));
        let aggregates = aggregates.iter().enumerate();
        stages.extend(aggregates.map(|(i, name)| (Stage::Fold(i), named("fold", name))));
        stages.push((Stage::Merge, "merge and finish".to_owned()));
        let sinks = sinks.iter().enumerate();
        stages.extend(sinks.map(|(i, name)| (Stage::Write(i), named("write", name))));
        Self {
            started: Instant::now(),
            records: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            dead_letters: AtomicU64::new(0),
            epochs: AtomicU64::new(0),
            stages: stages
                .into_iter()
                .map(|(stage, name)| (stage, name, Meter::default()))
                .collect(),
        }
    }

    /// Measures one step of a stage over so many rows.
    pub(super) fn time<T>(&self, stage: Stage, rows: usize, step: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let result = step();
        self.add(stage, rows, started.elapsed());
        result
    }

    /// Adds one step of a stage.
    pub(super) fn add(&self, stage: Stage, rows: usize, elapsed: Duration) {
        let found = self.stages.iter().find(|(known, ..)| *known == stage);
        let (_, _, meter) = found.expect("every stage of the pipeline has a meter");
        let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        meter.rows.fetch_add(rows as u64, Ordering::Relaxed);
        meter.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Counts records that were read.
    pub(super) fn add_read(&self, records: usize, bytes: usize) {
        self.records.fetch_add(records as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts a committed epoch and its dead letters.
    pub(super) fn add_epoch(&self, dead_letters: usize) {
        self.epochs.fetch_add(1, Ordering::Relaxed);
        self.add_dead_letters(dead_letters);
    }

    /// Counts dead letters.
    pub(super) fn add_dead_letters(&self, dead_letters: usize) {
        self.dead_letters
            .fetch_add(dead_letters as u64, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub(super) fn summary(&self) -> Summary {
        let stages = self.stages.iter().map(|(_, name, meter)| StageSummary {
            name: name.clone(),
            rows: meter.rows.load(Ordering::Relaxed),
            time: Duration::from_nanos(meter.nanos.load(Ordering::Relaxed)),
        });
        Summary {
            wall: self.started.elapsed(),
            records: self.records.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            dead_letters: self.dead_letters.load(Ordering::Relaxed),
            epochs: self.epochs.load(Ordering::Relaxed),
            process: ProcessUsage::so_far(),
            stages: stages.collect(),
        }
    }
}

/// What a run did.
#[derive(Debug, Clone)]
pub struct Summary {
    /// from the first poll to the last commit
    pub wall: Duration,
    /// records that were read, replayed ones included
    pub records: u64,
    /// their bytes
    pub bytes: u64,
    /// records that were left out
    pub dead_letters: u64,
    /// epochs that were committed
    pub epochs: u64,
    /// what the process used since it began
    pub process: ProcessUsage,
    /// each stage with its time, summed over workers
    pub stages: Vec<StageSummary>,
}

/// What this process used since it began.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessUsage {
    /// user and system time of all threads
    pub cpu: Duration,
    /// the most memory that it ever had resident, bytes
    pub memory_peak: u64,
}

impl ProcessUsage {
    /// What the system says now; zeros where it does not tell.
    #[must_use]
    pub fn so_far() -> Self {
        getrusage(UsageWho::RUSAGE_SELF).map_or_else(
            |_| Self::default(),
            |usage| {
                let micros =
                    usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
                Self {
                    cpu: Duration::from_micros(micros.unsigned_abs()),
                    // Linux counts in KiB.
                    memory_peak: usage.max_rss().unsigned_abs() * 1024,
                }
            },
        )
    }
}

/// A stage's part in a [`Summary`].
#[derive(Debug, Clone)]
pub struct StageSummary {
    /// kind and name
    pub name: String,
    /// rows that it got
    pub rows: u64,
    /// time spent in it, summed over threads; for `read` and `write` waiting is included
    pub time: Duration,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.wall.as_secs_f64();
        let rate = self.records as f64 / seconds.max(1e-9);
        writeln!(
            f,
            "{} records ({:.1} MB) in {seconds:.2} s, {rate:.0} records/s",
            self.records,
            self.bytes as f64 / 1e6
        )?;
        writeln!(
            f,
            "{} epochs committed, {} dead letters",
            self.epochs, self.dead_letters
        )?;
        let cpu = self.process.cpu.as_secs_f64();
        writeln!(
            f,
            "{cpu:.2} s of CPU, {:.0} records per CPU-second, {:.0} MB of memory at most",
            self.records as f64 / cpu.max(1e-9),
            self.process.memory_peak as f64 / 1e6
        )?;
        writeln!(
            f,
            "{:<32}{:>12}{:>12}{:>12}",
            "stage", "rows", "ms", "ns/row"
        )?;
        for stage in &self.stages {
            let per_row = stage.time.as_nanos() as f64 / (stage.rows.max(1)) as f64;
            writeln!(
                f,
                "{:<32}{:>12}{:>12.1}{:>12.0}",
                stage.name,
                stage.rows,
                stage.time.as_secs_f64() * 1e3,
                per_row
            )?;
        }
        Ok(())
    }
}
