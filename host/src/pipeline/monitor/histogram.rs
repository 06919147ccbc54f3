//! How long something took, over many times: counts in fixed buckets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of the buckets, s; a last one has no bound.
pub(crate) const BOUNDS: [f64; 15] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// Durations that were seen.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// not cumulative; the last one is beyond all bounds
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl Histogram {
    pub(crate) fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = BOUNDS.iter().position(|&bound| seconds <= bound);
        self.counts[bucket.unwrap_or(BOUNDS.len())].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Of each bucket, how many were within its bound; the last one has all.
    pub(crate) fn cumulative(&self) -> [u64; BOUNDS.len() + 1] {
        let mut sum = 0;
        std::array::from_fn(|bucket| {
            sum += self.counts[bucket].load(Ordering::Relaxed);
            sum
        })
    }

    /// All of them added up.
    pub(crate) fn total(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_within_its_own_bound_and_all_greater_ones() {
        let histogram = Histogram::default();
        for millis in [1, 2, 61_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let mut expected = [2; BOUNDS.len() + 1];
        expected[0] = 1;
        expected[BOUNDS.len()] = 3;
        assert_eq!(histogram.cumulative(), expected);
        assert_eq!(histogram.total(), Duration::from_millis(61_003));
    }
}
