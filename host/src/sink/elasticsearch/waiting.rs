//! Saying that requests wait, now and then, and once that they go on.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::waiting::Wait;

/// Between two lines of the log about the same wait.
const SAY_AGAIN: Duration = Duration::from_secs(30);

/// Who waits for the server: the first one to wait says so in the log, and the last one to go on.
#[derive(Debug)]
pub(super) struct Waiting(Mutex<Waiters>);

#[derive(Debug)]
struct Waiters {
    count: usize,
    wait: Wait,
    said: Option<Instant>,
}

/// One request's part in it. Dropped without [`over`](Self::over), it just stops counting.
#[derive(Debug)]
pub(super) struct RequestWait<'a> {
    all: &'a Waiting,
    counted: bool,
}

impl Waiting {
    /// Nobody waits yet; whoever does is noted in `wait`.
    pub(super) fn of(wait: Wait) -> Self {
        Self(Mutex::new(Waiters {
            count: 0,
            wait,
            said: None,
        }))
    }

    /// A request, which does not wait yet.
    pub(super) fn request(&self) -> RequestWait<'_> {
        RequestWait {
            all: self,
            counted: false,
        }
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RequestWait<'_> {
    /// The request has to wait, or has to go on waiting.
    pub(super) fn begin(&mut self, server: &str, reason: &str) {
        let mut waiters = self.all.waiters();
        if !std::mem::replace(&mut self.counted, true) {
            waiters.count += 1;
        }
        let waited = waiters.wait.begin(Instant::now(), reason);
        if waiters.said.is_none_or(|at| at.elapsed() >= SAY_AGAIN) {
            waiters.said = Some(Instant::now());
            let (part, waited_s) = (waiters.wait.part(), waited.as_secs());
            warn!(part, server, reason, waited_s, "waiting to write");
        }
    }

    /// The request went on.
    pub(super) fn over(&mut self) {
        if let Some(waited) = self.stop_counting() {
            let waiters = self.all.waiters();
            let (part, waited_s) = (waiters.wait.part(), waited.as_secs());
            info!(part, waited_s, "writing goes on");
        }
    }

    /// How long the common wait was, when this was the last one in it.
    fn stop_counting(&mut self) -> Option<Duration> {
        if !std::mem::take(&mut self.counted) {
            return None;
        }
        let mut waiters = self.all.waiters();
        waiters.count -= 1;
        if waiters.count > 0 {
            return None;
        }
        waiters.said = None;
        waiters.wait.end()
    }
}

impl Drop for RequestWait<'_> {
    fn drop(&mut self) {
        self.stop_counting();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waiting::Waits;

    #[test]
    fn only_the_last_of_several_waits_ends_the_common_one() {
        let waits = Waits::default();
        let waiting = Waiting::of(waits.part("search"));
        let (mut a, mut b) = (waiting.request(), waiting.request());
        a.begin("server", "reason");
        a.begin("server", "reason");
        b.begin("server", "busy");
        assert_eq!(waits.list()[0].reason, "busy");
        assert!(a.stop_counting().is_none());
        assert_eq!(waits.list().len(), 1);
        assert!(b.stop_counting().is_some());
        drop(a);
        assert_eq!(waiting.waiters().count, 0);
        assert!(waits.list().is_empty());
    }
}
