//! Waiting between tries: doubling, with jitter, up to a bound.

use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait where none is given.
const LONGEST: Duration = Duration::from_secs(5);

/// How long to wait before the next try.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// Begins with the shortest wait; the longest is 5 s.
    pub(crate) fn new() -> Self {
        Self::up_to(LONGEST)
    }

    /// Begins with the shortest wait.
    pub(crate) fn up_to(longest: Duration) -> Self {
        Self {
            next: FIRST,
            longest,
        }
    }

    /// The wait before the next try: between half of and the whole of a time that doubles.
    pub(crate) fn wait(&mut self) -> Duration {
        let wait = self.next.mul_f64(rand::random_range(0.5..=1.0));
        self.next = (self.next * 2).min(self.longest);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_bound_and_stay_there() {
        let longest = Duration::from_secs(7);
        let mut backoff = Backoff::up_to(longest);
        let waits: Vec<Duration> = (0..20).map(|_| backoff.wait()).collect();
        assert!(waits[0] >= FIRST / 2 && waits[0] <= FIRST);
        assert!(
            waits[10..]
                .iter()
                .all(|w| *w >= longest / 2 && *w <= longest)
        );
    }
}
