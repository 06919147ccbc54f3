//! How long to wait before the next attempt, and saying so once.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

const DELAY_MIN: Duration = Duration::from_millis(100);
const DELAY_MAX: Duration = Duration::from_secs(10);

/// Delays that double up to a bound, half of each left to chance.
#[derive(Debug)]
pub(super) struct Backoff {
    ceiling: Duration,
}

impl Backoff {
    /// Begins with the shortest delay.
    pub(super) fn new() -> Self {
        Self { ceiling: DELAY_MIN }
    }

    /// How long to wait now.
    pub(super) fn next_delay(&mut self) -> Duration {
        let half = self.ceiling / 2;
        self.ceiling = (self.ceiling * 2).min(DELAY_MAX);
        half + half.mul_f64(rand::random_range(0.0..=1.0))
    }
}

/// Who waits for the server: the first one to wait says so in the log, and the last one to go on.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<Waiters>);

#[derive(Debug, Default)]
struct Waiters {
    count: usize,
    since: Option<Instant>,
}

/// One request's part in it. Dropped without [`over`](Self::over), it just stops counting.
#[derive(Debug)]
pub(super) struct Wait<'a> {
    all: &'a Waiting,
    sink: &'a str,
    counted: bool,
}

impl Waiting {
    /// A request of this sink, which does not wait yet.
    pub(super) fn request<'a>(&'a self, sink: &'a str) -> Wait<'a> {
        Wait {
            all: self,
            sink,
            counted: false,
        }
    }
}

impl Wait<'_> {
    /// The request has to wait.
    pub(super) fn begin(&mut self, server: &str, reason: &str) {
        if std::mem::replace(&mut self.counted, true) {
            return;
        }
        let mut waiters = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiters.count += 1;
        if waiters.count == 1 {
            waiters.since = Some(Instant::now());
            warn!(sink = self.sink, server, reason, "waiting to write");
        }
    }

    /// The request went on.
    pub(super) fn over(&mut self) {
        if let Some(since) = self.stop_counting() {
            let waited_s = since.elapsed().as_secs_f64();
            info!(sink = self.sink, waited_s, "writing goes on");
        }
    }

    /// The beginning of the common wait, when this was the last one in it.
    fn stop_counting(&mut self) -> Option<Instant> {
        if !std::mem::take(&mut self.counted) {
            return None;
        }
        let mut waiters = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiters.count -= 1;
        if waiters.count > 0 {
            return None;
        }
        waiters.since.take()
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.stop_counting();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_a_bound_and_never_below_half_of_it() {
        let mut backoff = Backoff::new();
        assert!(backoff.next_delay() <= DELAY_MIN);
        for _ in 0..20 {
            let delay = backoff.next_delay();
            assert!(delay <= DELAY_MAX && delay >= DELAY_MIN, "{delay:?}");
        }
        assert!(backoff.next_delay() >= DELAY_MAX / 2);
    }

    #[test]
    fn only_the_last_of_several_waits_ends_the_common_one() {
        let waiting = Waiting::default();
        let (mut a, mut b) = (waiting.request("s"), waiting.request("s"));
        a.begin("server", "reason");
        a.begin("server", "reason");
        b.begin("server", "reason");
        assert!(a.stop_counting().is_none());
        assert!(b.stop_counting().is_some());
        drop(a);
        assert_eq!(waiting.0.lock().unwrap().count, 0);
    }
}
