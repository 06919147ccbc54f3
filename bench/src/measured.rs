//! What a run took, the start of the process apart.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;
use wasmill::pipeline::ProcessUsage;

/// What a stage took. CPU time is that of all threads of this process, user and system.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    records: u64,
    /// from the first poll to the last commit, s
    wall: f64,
    /// once it was ready, s
    cpu: f64,
    /// until it was ready, s
    start: f64,
    /// until it was ready, s
    start_cpu: f64,
    /// the most resident memory, bytes
    memory_peak: u64,
    /// processor time in each stage, but for reading and writing, all threads together, s
    stages: BTreeMap<String, f64>,
    /// CPU time inside of calls of the chain, where a clock was put around them, s
    calls: Option<f64>,
}

/// The moment when a process is ready: it has read its pipeline, and its components are compiled.
pub(crate) struct Ready {
    usage: ProcessUsage,
    age: Duration,
}

impl Ready {
    /// Now; `began` is when `main` did.
    pub(crate) fn now(began: Instant) -> Self {
        Self {
            usage: ProcessUsage::so_far(),
            age: began.elapsed(),
        }
    }

    /// What it took from then on.
    pub(crate) fn measured(
        self,
        records: u64,
        wall: Duration,
        stages: BTreeMap<String, f64>,
    ) -> Measured {
        let usage = ProcessUsage::so_far();
        Measured {
            records,
            wall: wall.as_secs_f64(),
            cpu: usage.cpu.saturating_sub(self.usage.cpu).as_secs_f64(),
            start: self.age.as_secs_f64(),
            start_cpu: self.usage.cpu.as_secs_f64(),
            memory_peak: usage.memory_peak,
            stages,
            calls: None,
        }
    }
}

impl Measured {
    /// With the time inside of calls.
    pub(crate) fn with_calls(self, calls: Duration) -> Self {
        Self {
            calls: Some(calls.as_secs_f64()),
            ..self
        }
    }
}
