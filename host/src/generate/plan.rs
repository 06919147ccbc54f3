//! Which records are made, in which order and how fast.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::record::{Origin, Partition};

/// The longest sleep, so that a stop is noticed.
const NAP_MAX: Duration = Duration::from_millis(100);

/// Records to make: one partition after the other gets one.
#[derive(Debug, Clone)]
pub struct Plan {
    /// the offset of the first record in each partition, at least one
    pub first: Vec<i64>,
    /// how many in all; `None`: until stopped
    pub count: Option<u64>,
    /// records a second; `None`: as fast as possible
    pub rate: Option<f64>,
}

/// How much was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Made {
    /// records, faulty ones included
    pub records: u64,
    /// faulty records
    pub faulty: u64,
}

/// Set from outside to end a run after the record in hand.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Ends the run.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was ended.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Plan {
    /// The places of the records, in order, each when its time has come, until `stop` is set.
    pub fn origins<'a>(&'a self, stop: &'a Stop) -> impl Iterator<Item = Origin> + 'a {
        let started = Instant::now();
        let end = self.count.unwrap_or(u64::MAX);
        (0..end)
            .take_while(move |index| self.wait(*index, started, stop))
            .map(|index| self.origin(index))
    }

    fn origin(&self, index: u64) -> Origin {
        let partitions = self.first.len() as u64;
        let partition = (index % partitions) as usize;
        Origin {
            partition: Partition(partition as u32),
            offset: self.first[partition] + (index / partitions).cast_signed(),
        }
    }

    /// Sleeps until the record of this number is due. False: stopped before.
    fn wait(&self, index: u64, started: Instant, stop: &Stop) -> bool {
        if let Some(rate) = self.rate {
            let due = Duration::try_from_secs_f64(index as f64 / rate).unwrap_or(Duration::MAX);
            loop {
                let left = due.saturating_sub(started.elapsed());
                if left.is_zero() || stop.is_set() {
                    break;
                }
                thread::sleep(left.min(NAP_MAX));
            }
        }
        !stop.is_set()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(first: Vec<i64>, count: Option<u64>, rate: Option<f64>) -> Plan {
        Plan { first, count, rate }
    }

    #[test]
    fn partitions_take_turns_and_each_goes_on_at_its_own_offset() {
        let plan = plan(vec![5, 0, 100], Some(7), None);
        let places: Vec<(u32, i64)> = plan
            .origins(&Stop::default())
            .map(|origin| (origin.partition.0, origin.offset))
            .collect();
        assert_eq!(
            places,
            [(0, 5), (1, 0), (2, 100), (0, 6), (1, 1), (2, 101), (0, 7)]
        );
    }

    #[test]
    fn a_stop_ends_a_run_without_a_count() {
        let (plan, stop) = (plan(vec![0], None, None), Stop::default());
        let mut seen = 0;
        for _ in plan.origins(&stop) {
            seen += 1;
            if seen == 10 {
                stop.set();
            }
        }
        assert_eq!(seen, 10);
    }

    #[test]
    fn a_rate_is_not_exceeded() {
        let started = Instant::now();
        let plan = plan(vec![0], Some(21), Some(1_000.0));
        assert_eq!(plan.origins(&Stop::default()).count(), 21);
        assert!(started.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn a_stop_is_noticed_while_waiting() {
        let (plan, stop) = (plan(vec![0], None, Some(1e-9)), Stop::default());
        let mut origins = plan.origins(&stop);
        assert!(origins.next().is_some());
        stop.set();
        assert_eq!(origins.next(), None);
    }
}
