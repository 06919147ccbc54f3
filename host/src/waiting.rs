//! Who is waited for right now: noted by whoever waits, read by whoever asks.
//!
//! # Invariants
//!
//! A note lasts as long as its [`Wait`] at most: whoever waits cannot forget to take it back.
//!
//! # Not here
//!
//! How long to wait between tries: `backoff`. Logging it, for the parts of a pipeline: `patience` in
//! [`crate::pipeline`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::status::Waiting;

/// Everybody who waits. Cheap to clone; clones share the notes.
#[derive(Debug, Clone, Default)]
pub struct Waits(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    next: AtomicU64,
    notes: Mutex<BTreeMap<u64, Note>>,
}

#[derive(Debug)]
struct Note {
    part: Arc<str>,
    reason: String,
    since: Instant,
}

/// One place that may have to wait.
#[derive(Debug)]
pub struct Wait {
    waits: Waits,
    id: u64,
    part: Arc<str>,
    since: Option<Instant>,
}

impl Waits {
    /// A place in the part of this name (`source`, a sink, `dead_letters`), which does not wait yet.
    #[must_use]
    pub fn part(&self, part: &str) -> Wait {
        Wait {
            waits: self.clone(),
            id: self.0.next.fetch_add(1, Ordering::Relaxed),
            part: part.into(),
            since: None,
        }
    }

    /// Every part that waits, once, the one that has waited longest first.
    #[must_use]
    pub fn list(&self) -> Vec<Waiting> {
        let now = Instant::now();
        let mut list: Vec<Waiting> = Vec::new();
        let notes = self.notes();
        let mut oldest_first: Vec<&Note> = notes.values().collect();
        oldest_first.sort_by_key(|note| note.since);
        for note in oldest_first {
            if list.iter().all(|waiting| *waiting.part != *note.part) {
                list.push(Waiting {
                    part: note.part.to_string(),
                    reason: note.reason.clone(),
                    since: now.saturating_duration_since(note.since),
                    holds_up: true,
                });
            }
        }
        list
    }

    fn notes(&self) -> MutexGuard<'_, BTreeMap<u64, Note>> {
        self.0.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wait {
    /// The part that waits.
    #[must_use]
    pub fn part(&self) -> &str {
        &self.part
    }

    /// Waits since `since` for this reason; when it waits already, since then and for this reason
    /// now. Returns how long it has waited.
    pub fn begin(&mut self, since: Instant, reason: impl Into<String>) -> Duration {
        let since = *self.since.get_or_insert(since);
        let note = Note {
            part: Arc::clone(&self.part),
            reason: reason.into(),
            since,
        };
        self.waits.notes().insert(self.id, note);
        since.elapsed()
    }

    /// Waits no longer. How long it did; `None` when it did not.
    pub fn end(&mut self) -> Option<Duration> {
        let since = self.since.take()?;
        self.waits.notes().remove(&self.id);
        Some(since.elapsed())
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(waits: &Waits) -> Vec<(String, String)> {
        let list = waits.list().into_iter();
        list.map(|waiting| (waiting.part, waiting.reason)).collect()
    }

    #[test]
    fn the_longest_wait_comes_first_and_each_part_once() {
        let waits = Waits::default();
        let now = Instant::now();
        let (mut a, mut b, mut c) = (waits.part("a"), waits.part("b"), waits.part("a"));
        a.begin(now, "young");
        b.begin(now.checked_sub(Duration::from_secs(2)).unwrap(), "middle");
        c.begin(now.checked_sub(Duration::from_secs(9)).unwrap(), "old");
        let expected = [("a", "old"), ("b", "middle")];
        assert_eq!(
            parts(&waits),
            expected.map(|(part, reason)| (part.to_owned(), reason.to_owned()))
        );
        assert!(waits.list()[0].since >= Duration::from_secs(9));
    }

    #[test]
    fn a_wait_keeps_its_beginning_and_takes_the_newest_reason() {
        let waits = Waits::default();
        let mut wait = waits.part("a");
        let long_ago = Instant::now().checked_sub(Duration::from_mins(1)).unwrap();
        wait.begin(long_ago, "first");
        let waited = wait.begin(Instant::now(), "second");
        assert!(waited >= Duration::from_mins(1));
        assert_eq!(parts(&waits), [("a".to_owned(), "second".to_owned())]);
        assert!(
            wait.end()
                .is_some_and(|waited| waited >= Duration::from_mins(1))
        );
        assert_eq!(wait.end(), None);
        assert!(waits.list().is_empty());
    }

    #[test]
    fn whoever_is_gone_waits_no_longer() {
        let waits = Waits::default();
        waits.part("a").begin(Instant::now(), "gone");
        assert!(waits.list().is_empty());
    }
}
