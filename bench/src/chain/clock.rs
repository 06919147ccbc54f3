//! The CPU time of calls: of the thread that makes them, so that it does not matter who else runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow_array::RecordBatch;
use nix::time::{ClockId, clock_gettime};
use wasmill::aggregate::{AggregateLogic, StateKind};
use wasmill::guest::{CallError, Changes, Folded, TransformContract};
use wasmill::transform::TransformLogic;

/// Adds up, for all threads.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clock(Arc<AtomicU64>);

impl Clock {
    /// Runs `call`, and adds what it took.
    pub(crate) fn time<T>(&self, call: impl FnOnce() -> T) -> T {
        let begin = thread_cpu();
        let result = call();
        let took = thread_cpu().saturating_sub(begin).as_nanos() as u64;
        self.0.fetch_add(took, Ordering::Relaxed);
        result
    }

    /// The sum so far.
    pub(crate) fn total(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// What this thread has used so far; zero where the system does not tell.
pub(crate) fn thread_cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// Logic with a clock around its calls.
pub(super) struct Clocked<L> {
    logic: L,
    clock: Clock,
}

impl<L> Clocked<L> {
    pub(super) fn new(logic: L, clock: Clock) -> Self {
        Self { logic, clock }
    }
}

impl<L: TransformLogic> TransformLogic for Clocked<L> {
    fn contract(&self) -> &TransformContract {
        self.logic.contract()
    }

    fn input_bytes_max(&self) -> usize {
        self.logic.input_bytes_max()
    }

    fn output_bytes_max(&self) -> u64 {
        self.logic.output_bytes_max()
    }

    fn apply(&mut self, input: &RecordBatch) -> Result<Changes, CallError> {
        self.clock.time(|| self.logic.apply(input))
    }
}

impl<L: AggregateLogic> AggregateLogic for Clocked<L> {
    fn fold(
        &mut self,
        groups: &[u32],
        group_count: u32,
        input: &RecordBatch,
    ) -> Result<Folded, CallError> {
        self.clock
            .time(|| self.logic.fold(groups, group_count, input))
    }

    fn merge(
        &mut self,
        groups: &[u32],
        group_count: u32,
        parts: &RecordBatch,
    ) -> Result<RecordBatch, CallError> {
        self.clock
            .time(|| self.logic.merge(groups, group_count, parts))
    }

    fn finish(&mut self, states: &RecordBatch) -> Result<RecordBatch, CallError> {
        self.clock.time(|| self.logic.finish(states))
    }

    fn migrate(&mut self, of: &StateKind, states: &RecordBatch) -> Result<RecordBatch, CallError> {
        self.logic.migrate(of, states)
    }
}
