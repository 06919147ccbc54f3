//! Saying once that requests wait, and once that they go on.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;
use tracing::{info, warn};

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
