//! Bounds of one instance: memory, and time of a call.
//!
//! The third bound, on what a call hands back, is wasmtime's own (`Store::set_hostcall_fuel`).

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use wasmtime::{ResourceLimiter, UpdateDeadline};

use super::batch::FULL_BATCH_ROWS;
use super::meter::GuestMeter;
use super::ticker::TICK;
use crate::telemetry::process::thread_cpu;

/// Core instances of one guest at most.
const INSTANCES_MAX: usize = 256;
/// Linear memories of one guest at most; each reserves 4 GiB of address space.
const MEMORIES_MAX: usize = 16;
/// Tables of one guest at most.
const TABLES_MAX: usize = 64;
/// What wasmtime keeps for an element of a table.
const TABLE_ELEMENT_BYTES: usize = size_of::<usize>();
/// The smallest share of the time limit that a call gets, however few its rows are.
const TIME_FLOOR: f64 = 0.1;

/// Counts what the memories and tables of an instance take.
///
/// Growth beyond the limit fails, as `memory.grow` may: some allocators collect garbage then. Most
/// abort, and `denied` tells such a trap from any other.
#[derive(Debug)]
pub(super) struct Memory {
    limit: usize,
    used: usize,
    /// whether growth was denied since the last [`begin_call`](Self::begin_call)
    denied: bool,
    meter: Arc<GuestMeter>,
}

impl Memory {
    /// Of a new instance, which `meter` counts from now on.
    pub(super) fn new(limit: u64, meter: Arc<GuestMeter>) -> Self {
        meter.instance_made();
        Self {
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            used: 0,
            denied: false,
            meter,
        }
    }

    pub(super) fn begin_call(&mut self) {
        self.denied = false;
    }

    pub(super) fn denied(&self) -> bool {
        self.denied
    }

    /// Bytes that memories and tables take. They never shrink.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    fn grow(&mut self, bytes: usize) -> bool {
        let used = self.used.saturating_add(bytes);
        let granted = used <= self.limit;
        if granted {
            self.used = used;
            self.meter.memory_grown(bytes);
        } else {
            self.denied = true;
        }
        granted
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.meter.instance_gone(self.used);
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let allowed = maximum.is_none_or(|maximum| desired <= maximum);
        Ok(allowed && self.grow(desired.saturating_sub(current)))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let allowed = maximum.is_none_or(|maximum| desired <= maximum);
        let elements = desired.saturating_sub(current);
        Ok(allowed && self.grow(elements.saturating_mul(TABLE_ELEMENT_BYTES)))
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}

/// A call used up its time.
#[derive(Debug, Error)]
#[error("out of time")]
pub(super) struct OutOfTime;

/// When a call must end, in processor time of the thread that makes it.
///
/// Processor time and not time on the wall: a guest cannot wait, so the two differ only where the
/// machine is busy with something else, and that must not send good rows to the dead letters.
#[derive(Debug)]
pub(super) struct Deadline {
    end: Duration,
}

impl Deadline {
    /// A deadline that has passed.
    pub(super) fn passed() -> Self {
        Self {
            end: Duration::ZERO,
        }
    }

    /// Begins a call that may take `allowed`. Returns the ticks until it is worth a look.
    pub(super) fn begin_call(&mut self, allowed: Duration) -> u64 {
        self.end = thread_cpu().saturating_add(allowed);
        ticks(allowed)
    }

    /// What becomes of a call whose ticks are over.
    pub(super) fn check(&self) -> wasmtime::Result<UpdateDeadline> {
        match self.end.checked_sub(thread_cpu()) {
            None | Some(Duration::ZERO) => Err(OutOfTime.into()),
            Some(left) => Ok(UpdateDeadline::Continue(ticks(left))),
        }
    }
}

/// Ticks until `time` has passed, at least one.
fn ticks(time: Duration) -> u64 {
    let ticks = time.as_nanos().div_ceil(TICK.as_nanos());
    u64::try_from(ticks).unwrap_or(u64::MAX).clamp(1, 1 << 40)
}

/// How long a call with `rows` rows may take where a full batch may take `limit`.
pub(super) fn time_for(limit: Duration, rows: usize) -> Duration {
    let share = (rows as f64 / FULL_BATCH_ROWS as f64).max(TIME_FLOOR);
    Duration::try_from_secs_f64(limit.as_secs_f64() * share).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_past_the_limit_is_denied_and_not_counted() {
        let meter = Arc::new(GuestMeter::default());
        let mut memory = Memory::new(100, Arc::clone(&meter));
        assert!(memory.memory_growing(0, 60, None).unwrap());
        assert!(!memory.memory_growing(60, 120, None).unwrap());
        assert!(memory.denied());
        memory.begin_call();
        assert!(memory.table_growing(0, 5, None).unwrap());
        assert!(!memory.table_growing(5, 6, None).unwrap());
        assert_eq!((meter.instances(), meter.memory()), (1, 100));
        drop(memory);
        assert_eq!((meter.instances(), meter.memory()), (0, 0));
    }

    #[test]
    fn a_memory_that_reached_its_own_maximum_was_not_denied() {
        let mut memory = Memory::new(100, Arc::default());
        assert!(!memory.memory_growing(0, 60, Some(50)).unwrap());
        assert!(!memory.denied());
    }

    #[test]
    fn time_grows_with_rows_above_a_floor() {
        let second = Duration::from_secs(1);
        assert_eq!(time_for(second, 8192), second);
        assert_eq!(time_for(second, 4096), second / 2);
        assert_eq!(time_for(second, 16384), second * 2);
        assert_eq!(time_for(second, 1), second / 10);
        assert_eq!(time_for(second, 0), second / 10);
        assert_eq!(time_for(Duration::MAX, usize::MAX), Duration::MAX);
    }

    #[test]
    fn a_deadline_is_extended_until_the_processor_time_is_used() {
        let mut deadline = Deadline::passed();
        assert!(deadline.check().is_err());
        assert_eq!(deadline.begin_call(Duration::from_mins(1)), 6000);
        assert!(deadline.check().is_ok());
        deadline.begin_call(Duration::ZERO);
        assert!(deadline.check().is_err());
    }
}
