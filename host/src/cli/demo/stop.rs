//! How the demo is told to stop: by a key, a signal or its time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Counts requests to stop. Cheap to clone; clones share the count.
#[derive(Debug, Clone)]
pub(super) struct Stop {
    token: CancellationToken,
    requests: Arc<AtomicUsize>,
    /// when it stops by itself
    end: Option<Instant>,
}

impl Stop {
    /// Nobody has asked yet; after `time` it stops by itself.
    pub(super) fn after(time: Option<Duration>) -> Self {
        Self {
            token: CancellationToken::new(),
            requests: Arc::default(),
            // A time that no clock holds never comes.
            end: time.and_then(|time| Instant::now().checked_add(time)),
        }
    }

    /// Cancelled with the first request.
    pub(super) fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// One more request: the first one stops in good order, the second one at once.
    pub(super) fn request(&self) {
        self.requests.fetch_add(1, Ordering::SeqCst);
        self.token.cancel();
    }

    /// Whether the run is to end. Looks at the clock.
    pub(super) fn is_requested(&self) -> bool {
        if self.end.is_some_and(|end| Instant::now() >= end) {
            self.token.cancel();
        }
        self.token.is_cancelled()
    }

    /// Whether whoever asked has asked again.
    pub(super) fn is_urgent(&self) -> bool {
        self.requests.load(Ordering::SeqCst) > 1
    }

    /// Takes signals for requests, for ever. A terminal that has gone away counts as one.
    ///
    /// # Errors
    ///
    /// When signals cannot be listened for.
    pub(super) async fn on_signals(self) -> std::io::Result<()> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hang_up.recv() => {}
            }
            self.request();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_request_is_urgent() {
        let stop = Stop::after(None);
        assert!(!stop.is_requested());
        stop.request();
        assert!(stop.is_requested() && !stop.is_urgent());
        stop.clone().request();
        assert!(stop.is_urgent());
    }

    #[test]
    fn its_time_is_a_request_that_is_not_urgent() {
        let stop = Stop::after(Some(Duration::ZERO));
        assert!(stop.is_requested() && stop.token().is_cancelled());
        stop.request();
        assert!(!stop.is_urgent());
        assert!(!Stop::after(Some(Duration::MAX)).is_requested());
    }
}
