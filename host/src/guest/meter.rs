//! What the guests of one stage cost and hold: added to once a call, by all of its instances.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counters of one stage's instances, on all threads.
#[derive(Debug, Default)]
pub struct GuestMeter {
    calls: AtomicU64,
    nanos: AtomicU64,
    failures: [AtomicU64; Failure::ALL.len()],
    instances: AtomicU64,
    memory: AtomicU64,
}

/// How a call failed, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// it panicked, overflowed its stack …
    Trap,
    /// it used up its time
    Time,
    /// it wanted too much memory
    Memory,
    /// it handed back too much
    Output,
    /// its own error for the whole batch
    Refused,
    /// what it returned breaks its contract
    Contract,
    /// no instance of it could be made
    Instance,
}

impl Failure {
    /// Every failure.
    pub const ALL: [Self; 7] = [
        Self::Trap,
        Self::Time,
        Self::Memory,
        Self::Output,
        Self::Refused,
        Self::Contract,
        Self::Instance,
    ];

    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Time => "time",
            Self::Memory => "memory",
            Self::Output => "output",
            Self::Refused => "refused",
            Self::Contract => "contract",
            Self::Instance => "instance",
        }
    }
}

impl GuestMeter {
    pub(super) fn called(&self, elapsed: Duration) {
        let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, failure: Failure) {
        self.failures[failure as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn instance_made(&self) {
        self.instances.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn memory_grown(&self, bytes: usize) {
        self.memory.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// An instance is gone, and so many bytes with it.
    pub(super) fn instance_gone(&self, bytes: usize) {
        self.instances.fetch_sub(1, Ordering::Relaxed);
        self.memory.fetch_sub(bytes as u64, Ordering::Relaxed);
    }

    /// Calls so far, those included that configure.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Time spent in them.
    #[must_use]
    pub fn time(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }

    /// Calls that failed in this way.
    #[must_use]
    pub fn failures(&self, failure: Failure) -> u64 {
        self.failures[failure as usize].load(Ordering::Relaxed)
    }

    /// Instances that there are now.
    #[must_use]
    pub fn instances(&self) -> u64 {
        self.instances.load(Ordering::Relaxed)
    }

    /// Bytes of memories and tables that they have now, all together.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.memory.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_its_own_counter() {
        let meter = GuestMeter::default();
        for (count, failure) in (1..).zip(Failure::ALL) {
            (0..count).for_each(|_| meter.failed(failure));
        }
        let counted: Vec<u64> = Failure::ALL.map(|failure| meter.failures(failure)).into();
        assert_eq!(counted, [1, 2, 3, 4, 5, 6, 7]);
    }
}
