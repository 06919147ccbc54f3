//! The meters that a [`Monitor`](super::Monitor) is made of: plain atomics.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::histogram::Histogram;
use crate::record::{Cause, Partition, Positions};
use crate::source::PartitionRange;

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add_time(&self, time: Duration) {
        self.add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(super) fn time(&self) -> Duration {
        Duration::from_nanos(self.get())
    }
}

/// A number that is what it was last set to.
#[derive(Debug, Default)]
pub(super) struct Gauge(AtomicU64);

impl Gauge {
    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Rows that went through a stage, and the time that they took.
#[derive(Debug, Default)]
pub(super) struct StageMeter {
    pub(super) rows: Counter,
    pub(super) nanos: Counter,
}

/// The ledger or another sink.
#[derive(Debug, Default)]
pub(super) struct SinkMeter {
    pub(super) name: String,
    /// whether the stream goes on while it does not answer
    pub(super) may_lag: bool,
    /// 1 while it does
    pub(super) lags: Gauge,
    pub(super) rows: Counter,
    /// the last epoch that it confirmed
    pub(super) epoch: Gauge,
    pub(super) retries: Counter,
    /// of whole epochs, waiting included
    pub(super) writes: Histogram,
    /// ns; 0 before the first one
    pub(super) last_write: Gauge,
}

/// A partition of the source.
#[derive(Debug)]
pub(super) struct PartitionMeter {
    pub(super) partition: Partition,
    position: AtomicI64,
    committed: AtomicI64,
    end: AtomicI64,
    /// offsets that were passed over because they were deleted before they were read
    pub(super) lost: Counter,
}

impl PartitionMeter {
    pub(super) fn new(range: &PartitionRange, live: Option<i64>) -> Self {
        let live = live.unwrap_or(range.begin);
        Self {
            partition: range.partition,
            position: AtomicI64::new(live),
            committed: AtomicI64::new(live),
            end: AtomicI64::new(range.end),
            lost: Counter::default(),
        }
    }

    pub(super) fn position(&self) -> i64 {
        self.position.load(Ordering::Relaxed)
    }

    pub(super) fn committed(&self) -> i64 {
        self.committed.load(Ordering::Relaxed)
    }

    /// Asked for now and then, so the position may have passed it since.
    pub(super) fn end(&self) -> i64 {
        self.end.load(Ordering::Relaxed).max(self.position())
    }

    /// How many offsets are still to be read.
    pub(super) fn lag(&self) -> i64 {
        self.end() - self.position()
    }

    pub(super) fn set_end(&self, end: i64) {
        self.end.store(end, Ordering::Relaxed);
    }
}

/// Which of its positions a partition is told.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which {
    Position,
    Committed,
}

/// Tells the partitions, which are in order of partition, where they are.
pub(super) fn tell(partitions: &[PartitionMeter], positions: &Positions, which: Which) {
    for (partition, position) in positions.iter() {
        let found = partitions.binary_search_by_key(&partition, |meter| meter.partition);
        let Some(meter) = found.ok().and_then(|index| partitions.get(index)) else {
            continue;
        };
        let place = match which {
            Which::Position => &meter.position,
            Which::Committed => &meter.committed,
        };
        place.store(position, Ordering::Relaxed);
    }
}

/// A queue between two parts. Who waits for room in it counts as being in it.
#[derive(Debug)]
pub(crate) struct Queue {
    name: String,
    capacity: usize,
    depth: AtomicI64,
}

impl Queue {
    pub(super) fn new(name: impl Into<String>, capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            capacity,
            depth: AtomicI64::new(0),
        })
    }

    /// Something wants in.
    pub(crate) fn entered(&self) {
        self.depth.fetch_add(1, Ordering::Relaxed);
    }

    /// Something was taken out.
    pub(crate) fn left(&self) {
        self.depth.fetch_sub(1, Ordering::Relaxed);
    }

    /// It is another one now, and empty.
    pub(super) fn begin_anew(&self) {
        self.depth.store(0, Ordering::Relaxed);
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn depth(&self) -> u64 {
        u64::try_from(self.depth.load(Ordering::Relaxed)).unwrap_or(0)
    }
}

/// Since when a thread has been at one piece of work. Waiting for a queue is no work.
#[derive(Debug)]
pub(crate) struct Pulse {
    name: String,
    started: Instant,
    /// µs after `started`, and one more; 0 while idle
    busy_since: AtomicU64,
}

impl Pulse {
    pub(super) fn new(name: impl Into<String>) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            started: Instant::now(),
            busy_since: AtomicU64::new(0),
        })
    }

    /// Does one piece of work.
    pub(crate) fn busy<T>(&self, work: impl FnOnce() -> T) -> T {
        let now = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX - 1);
        self.busy_since.store(now + 1, Ordering::Relaxed);
        let done = work();
        self.busy_since.store(0, Ordering::Relaxed);
        done
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// How long it has been at it; `None` while idle.
    pub(super) fn busy_for(&self) -> Option<Duration> {
        let since = self.busy_since.load(Ordering::Relaxed).checked_sub(1)?;
        Some(
            self.started
                .elapsed()
                .saturating_sub(Duration::from_micros(since)),
        )
    }
}

/// The keys that one worker remembers.
#[derive(Debug, Default)]
pub(super) struct KeyMeter {
    pub(super) keys: Gauge,
    pub(super) bytes: Gauge,
}

/// The states of one aggregate.
#[derive(Debug, Default)]
pub(super) struct StateMeter {
    pub(super) aggregate: String,
    pub(super) groups: Gauge,
    pub(super) bytes: Gauge,
}

/// The checkpoints of this run.
#[derive(Debug, Default)]
pub(super) struct CheckpointMeter {
    pub(super) published: Counter,
    pub(super) failures: Counter,
    /// the epoch of the last one, of an earlier run too
    pub(super) epoch: Gauge,
    /// ms since 1970; 0 before the first one
    pub(super) last_ms: Gauge,
    /// of what was new
    pub(super) bytes: Counter,
    /// from the end of the epoch to the manifest
    pub(super) writes: Histogram,
    /// how long the coordinator took to make a snapshot
    pub(super) pauses: Histogram,
}

/// Versions that came into force.
#[derive(Debug, Default)]
pub(super) struct ReloadMeter {
    /// the one in force
    pub(super) version: Gauge,
    pub(super) reloads: Counter,
    pub(super) refusals: Counter,
    /// records that were processed again
    pub(super) readmitted: Counter,
    /// records that are to be
    pub(super) backlog: Gauge,
    /// how long a worker or the coordinator took to change over
    pub(super) pauses: Histogram,
    /// what a new aggregate has not got yet, in offsets
    pub(super) backfill_left: Gauge,
}

/// Records that one stage left out, by cause.
#[derive(Debug)]
pub(super) struct RejectionMeter {
    pub(super) stage: String,
    /// what it may leave records out for
    pub(super) causes: Vec<Cause>,
    counts: [Counter; Cause::ALL.len()],
}

impl RejectionMeter {
    pub(super) fn new(stage: &str, causes: Vec<Cause>) -> Self {
        Self {
            stage: stage.to_owned(),
            causes,
            counts: Default::default(),
        }
    }

    pub(super) fn expects(&self, cause: Cause) -> bool {
        self.causes.contains(&cause)
    }

    pub(super) fn add(&self, cause: Cause) {
        self.counts[cause as usize].add(1);
    }

    pub(super) fn get(&self, cause: Cause) -> u64 {
        self.counts[cause as usize].get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_told_apart_and_unknown_ones_passed_over() {
        let range = |partition| PartitionRange {
            partition: Partition(partition),
            begin: 5,
            end: 9,
        };
        let meters = [
            PartitionMeter::new(&range(0), Some(6)),
            PartitionMeter::new(&range(2), None),
        ];
        let positions = |of: &[(u32, i64)]| -> Positions {
            of.iter().map(|&(p, at)| (Partition(p), at)).collect()
        };
        tell(&meters, &positions(&[(2, 7)]), Which::Position);
        tell(
            &meters,
            &positions(&[(0, 8), (1, 1), (3, 1)]),
            Which::Committed,
        );
        let seen = meters.each_ref().map(|m| (m.position(), m.committed()));
        assert_eq!(seen, [(6, 8), (7, 5)]);
    }

    #[test]
    fn the_end_is_never_before_the_position() {
        let range = PartitionRange {
            partition: Partition(0),
            begin: 0,
            end: 3,
        };
        let meter = PartitionMeter::new(&range, Some(0));
        assert_eq!(meter.end(), 3);
        let meters = [meter];
        tell(
            &meters,
            &[(Partition(0), 5)].into_iter().collect(),
            Which::Position,
        );
        assert_eq!(meters[0].end(), 5);
    }

    #[test]
    fn a_thread_is_busy_for_as_long_as_it_works() {
        let pulse = Pulse::new("worker 0");
        assert_eq!(pulse.busy_for(), None);
        pulse.busy(|| {
            std::thread::sleep(Duration::from_millis(5));
            assert!(pulse.busy_for() >= Some(Duration::from_millis(5)));
        });
        assert_eq!(pulse.busy_for(), None);
    }

    #[test]
    fn a_queue_that_was_left_before_it_was_entered_is_empty() {
        let queue = Queue::new("ledger", 1);
        queue.left();
        assert_eq!(queue.depth(), 0);
        queue.entered();
        queue.entered();
        assert_eq!(queue.depth(), 1);
    }
}
