//! When an epoch ends: after so many records or bytes, or so long after its first record; the first one of
//! a run sooner than the others. Pure: told the time.

use std::time::{Duration, Instant};

/// Decides the ends of live epochs.
#[derive(Debug)]
pub struct EpochCutter {
    rows_max: usize,
    bytes_max: usize,
    wait_max: Duration,
    /// how long the current epoch waits
    wait: Duration,
    rows: usize,
    bytes: usize,
    first: Option<Instant>,
}

impl EpochCutter {
    /// Ends epochs after `rows_max` records, once they hold `bytes_max` bytes, or `wait_max` after
    /// the first.
    ///
    /// # Panics
    ///
    /// When `rows_max` is 0, which the configuration refuses.
    #[must_use]
    pub fn new(rows_max: usize, bytes_max: usize, wait_max: Duration) -> Self {
        assert!(rows_max > 0, "an epoch has records");
        Self {
            rows_max,
            bytes_max,
            wait_max,
            wait: wait_max,
            rows: 0,
            bytes: 0,
            first: None,
        }
    }

    /// The same ending the first epoch so long after its first record, if that is sooner: after a start
    /// people wait for what came meanwhile.
    #[must_use]
    pub fn first_after(mut self, wait: Duration) -> Self {
        self.wait = wait.min(self.wait_max);
        self
    }

    /// How many records the current epoch may still take.
    #[must_use]
    pub fn room(&self) -> usize {
        self.rows_max - self.rows
    }

    /// Takes `rows` records of so many `bytes` into the current epoch.
    ///
    /// # Panics
    ///
    /// When they are more than there is [`room`](Self::room) for.
    pub fn add(&mut self, rows: usize, bytes: usize, now: Instant) {
        assert!(rows <= self.room(), "a poll stays within the epoch's room");
        if rows > 0 {
            self.rows += rows;
            self.bytes = self.bytes.saturating_add(bytes);
            self.first.get_or_insert(now);
        }
    }

    /// Whether the current epoch has records and has to end now.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        self.room() == 0
            || (self.rows > 0 && self.bytes >= self.bytes_max)
            || self.wait(now) == Some(Duration::ZERO)
    }

    /// How long until time ends the current epoch; `None` while it is empty.
    #[must_use]
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        let due = self.first? + self.wait;
        Some(due.saturating_duration_since(now))
    }

    /// How many records the current epoch has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// When the current epoch got its first record; `None` while it is empty.
    #[must_use]
    pub fn began(&self) -> Option<Instant> {
        self.first
    }

    /// Whether the current epoch has no records yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Begins the next epoch.
    pub fn cut(&mut self) {
        self.rows = 0;
        self.bytes = 0;
        self.first = None;
        self.wait = self.wait_max;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_epoch_never_ends() {
        let start = Instant::now();
        let cutter = EpochCutter::new(10, 1_000, Duration::from_secs(1));
        assert!(!cutter.is_due(start + Duration::from_hours(1)));
        assert_eq!(cutter.wait(start), None);
    }

    #[test]
    fn the_wait_counts_from_the_first_record_not_the_last() {
        let start = Instant::now();
        let mut cutter = EpochCutter::new(10, 1_000, Duration::from_secs(1));
        cutter.add(1, 1, start);
        cutter.add(1, 1, start + Duration::from_millis(900));
        assert!(!cutter.is_due(start + Duration::from_millis(999)));
        assert!(cutter.is_due(start + Duration::from_secs(1)));
    }

    #[test]
    fn only_the_first_epoch_is_in_a_hurry() {
        let start = Instant::now();
        let soon = Duration::from_millis(100);
        let cutter = |wait_max| EpochCutter::new(10, 1_000, wait_max).first_after(soon);
        let mut hurried = cutter(Duration::from_secs(1));
        hurried.add(1, 1, start);
        assert_eq!(hurried.wait(start), Some(soon));
        hurried.cut();
        hurried.add(1, 1, start);
        assert_eq!(hurried.wait(start), Some(Duration::from_secs(1)));
        let mut short = cutter(Duration::from_millis(10));
        short.add(1, 1, start);
        assert_eq!(short.wait(start), Some(Duration::from_millis(10)));
    }

    #[test]
    fn large_records_end_an_epoch_early() {
        let start = Instant::now();
        let mut cutter = EpochCutter::new(10, 1_000, Duration::from_secs(1));
        cutter.add(1, 999, start);
        assert!(!cutter.is_due(start));
        cutter.add(1, 1, start);
        assert!(cutter.is_due(start));
        cutter.cut();
        cutter.add(1, 1, start);
        assert!(!cutter.is_due(start));
    }

    #[test]
    fn a_full_epoch_ends_at_once_and_the_next_has_room_again() {
        let start = Instant::now();
        let mut cutter = EpochCutter::new(10, 1_000, Duration::from_secs(1));
        cutter.add(4, 4, start);
        assert_eq!(cutter.room(), 6);
        cutter.add(6, 6, start);
        assert!(cutter.is_due(start));
        cutter.cut();
        assert_eq!(cutter.room(), 10);
        assert!(cutter.is_empty());
    }
}
