//! What a run did, by stage: shown at its end. Counted by [`Monitor`](super::Monitor).

use std::fmt;
use std::time::Duration;

use crate::telemetry::process;

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
    /// records left out because their key came before; `None` where nobody looks
    pub duplicates: Option<u64>,
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
        Self {
            cpu: process::cpu().unwrap_or_default(),
            memory_peak: process::memory_peak().unwrap_or_default(),
        }
    }
}

/// A stage's part in a [`Summary`].
#[derive(Debug, Clone)]
pub struct StageSummary {
    /// kind and name
    pub name: String,
    /// rows that it got
    pub rows: u64,
    /// processor time spent in it, summed over threads; for `read` and `write` time on the clock, waiting included
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
        write!(
            f,
            "{} epochs committed, {} dead letters",
            self.epochs, self.dead_letters
        )?;
        match self.duplicates {
            Some(duplicates) => writeln!(f, ", {duplicates} duplicates")?,
            None => writeln!(f)?,
        }
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
            let ms = stage.time.as_secs_f64() * 1e3;
            write!(f, "{:<32}", stage.name)?;
            // A stage of partial states takes in no rows.
            if stage.rows == 0 {
                writeln!(f, "{:>12}{ms:>12.1}{:>12}", "-", "-")?;
            } else {
                let per_row = stage.time.as_nanos() as f64 / stage.rows as f64;
                writeln!(f, "{:>12}{ms:>12.1}{per_row:>12.0}", stage.rows)?;
            }
        }
        Ok(())
    }
}
