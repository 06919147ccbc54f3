//! The last epochs, and how long each of their phases took. Written a few times an epoch, so a lock
//! is cheap enough.
//!
//! ```text
//! first record ──read──► cut ──process──► all shares are there ──merge──► output
//!                                          ──queue──► the ledger takes it ──commit──► durable
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::histogram::Histogram;
use crate::epoch::EpochId;
use crate::status::{EpochStatus, RECENT_MAX};

/// What the present speed is taken from.
const RATE_WINDOW: Duration = Duration::from_secs(10);

/// A part of an epoch's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EpochPhase {
    Read,
    Process,
    Merge,
    Queue,
    Commit,
}

impl EpochPhase {
    pub(crate) const ALL: [Self; 5] = [
        Self::Read,
        Self::Process,
        Self::Merge,
        Self::Queue,
        Self::Commit,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Process => "process",
            Self::Merge => "merge",
            Self::Queue => "queue",
            Self::Commit => "commit",
        }
    }
}

/// Epochs under way, and the last ones that were committed.
#[derive(Debug, Default)]
pub(super) struct EpochLog {
    log: Mutex<Log>,
    phases: [Histogram; EpochPhase::ALL.len()],
    whole: Histogram,
}

#[derive(Debug, Default)]
struct Log {
    under_way: BTreeMap<EpochId, UnderWay>,
    recent: VecDeque<Committed>,
    /// when the oldest of `recent` began to count: the commit before it
    base: Option<Instant>,
}

#[derive(Debug)]
struct UnderWay {
    records: u64,
    began: Instant,
    cut: Instant,
    merged: Option<Instant>,
}

#[derive(Debug)]
struct Committed {
    epoch: EpochId,
    records: u64,
    dead_letters: u64,
    duration: Duration,
    commit: Duration,
    at: Instant,
}

impl EpochLog {
    /// The run begins.
    pub(super) fn begin(&self, now: Instant) {
        self.log().base = Some(now);
    }

    /// An epoch of so many records has ended, which began with its first one.
    pub(super) fn cut(&self, epoch: EpochId, records: u64, began: Instant, now: Instant) {
        self.phase(EpochPhase::Read, began, now);
        let under_way = UnderWay {
            records,
            began,
            cut: now,
            merged: None,
        };
        self.log().under_way.insert(epoch, under_way);
    }

    /// Its shares were there at `gathered`, and are merged now.
    pub(super) fn merged(&self, epoch: EpochId, gathered: Instant, now: Instant) {
        let mut log = self.log();
        // An epoch that is read again was never cut in this run.
        if let Some(under_way) = log.under_way.get_mut(&epoch) {
            under_way.merged = Some(now);
            self.phase(EpochPhase::Process, under_way.cut, gathered);
            self.phase(EpochPhase::Merge, gathered, now);
        }
    }

    /// The ledger took it at `taken`, and it is durable now.
    pub(super) fn committed(
        &self,
        epoch: EpochId,
        dead_letters: u64,
        taken: Instant,
        now: Instant,
    ) {
        let mut log = self.log();
        let Some(under_way) = log.under_way.remove(&epoch) else {
            return;
        };
        if let Some(merged) = under_way.merged {
            self.phase(EpochPhase::Queue, merged, taken);
        }
        self.phase(EpochPhase::Commit, taken, now);
        let duration = now.saturating_duration_since(under_way.began);
        self.whole.observe(duration);
        if log.recent.len() == RECENT_MAX {
            let oldest = log.recent.pop_front();
            log.base = oldest.map(|oldest| oldest.at);
        }
        log.recent.push_back(Committed {
            epoch,
            records: under_way.records,
            dead_letters,
            duration,
            commit: now.saturating_duration_since(taken),
            at: now,
        });
    }

    /// The last epochs, newest last.
    pub(super) fn recent(&self, now: Instant) -> Vec<EpochStatus> {
        let log = self.log();
        let status = |epoch: &Committed| EpochStatus {
            epoch: epoch.epoch.0,
            records: epoch.records,
            dead_letters: epoch.dead_letters,
            duration: epoch.duration,
            commit: epoch.commit,
            age: now.saturating_duration_since(epoch.at),
        };
        log.recent.iter().map(status).collect()
    }

    /// Records a second that were committed of late.
    pub(super) fn rate(&self, now: Instant) -> f64 {
        let log = self.log();
        let Some(mut base) = log.base else {
            return 0.0;
        };
        let mut records = 0;
        for epoch in &log.recent {
            if now.saturating_duration_since(epoch.at) > RATE_WINDOW {
                base = epoch.at;
            } else {
                records += epoch.records;
            }
        }
        let time = now.saturating_duration_since(base).min(RATE_WINDOW);
        if records == 0 || time.is_zero() {
            0.0
        } else {
            records as f64 / time.as_secs_f64()
        }
    }

    /// How long this phase took, of all epochs of the run.
    pub(super) fn phase_times(&self, phase: EpochPhase) -> &Histogram {
        &self.phases[phase as usize]
    }

    /// From an epoch's first record to its commit.
    pub(super) fn whole_times(&self) -> &Histogram {
        &self.whole
    }

    fn phase(&self, phase: EpochPhase, from: Instant, to: Instant) {
        self.phases[phase as usize].observe(to.saturating_duration_since(from));
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    fn commit(log: &EpochLog, epoch: u64, records: u64, start: Instant, at: u64) {
        let id = EpochId(epoch);
        log.cut(id, records, after(start, at), after(start, at));
        log.merged(id, after(start, at), after(start, at));
        log.committed(id, 0, after(start, at), after(start, at));
    }

    #[test]
    fn the_phases_of_an_epoch_add_up_to_the_whole() {
        let (log, start) = (EpochLog::default(), Instant::now());
        let id = EpochId(7);
        log.cut(id, 10, start, after(start, 100));
        log.merged(id, after(start, 300), after(start, 350));
        log.committed(id, 2, after(start, 400), after(start, 1_000));
        let took = EpochPhase::ALL.map(|phase| log.phase_times(phase).total().as_millis());
        assert_eq!(took, [100, 200, 50, 50, 600]);
        assert_eq!(log.whole_times().total().as_millis(), 1_000);
        let expected = EpochStatus {
            epoch: 7,
            records: 10,
            dead_letters: 2,
            duration: Duration::from_secs(1),
            commit: Duration::from_millis(600),
            age: Duration::from_secs(2),
        };
        assert_eq!(log.recent(after(start, 3_000)), [expected]);
    }

    #[test]
    fn an_epoch_that_is_read_again_is_not_counted() {
        let (log, start) = (EpochLog::default(), Instant::now());
        log.merged(EpochId(3), start, start);
        log.committed(EpochId(3), 0, start, start);
        assert!(log.recent(start).is_empty());
        assert_eq!(log.whole_times().cumulative()[15], 0);
    }

    #[test]
    fn no_more_than_the_last_epochs_are_kept() {
        let (log, start) = (EpochLog::default(), Instant::now());
        (1..=40).for_each(|epoch| commit(&log, epoch, 1, start, epoch));
        let kept: Vec<u64> = log.recent(start).iter().map(|epoch| epoch.epoch).collect();
        assert_eq!(kept, (9..=40).collect::<Vec<_>>());
        assert!(log.log().under_way.is_empty());
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let (log, start) = (EpochLog::default(), Instant::now());
        assert!(log.rate(start).abs() < f64::EPSILON);
        log.begin(start);
        commit(&log, 1, 1_000_000, start, 1_000);
        assert!((log.rate(after(start, 2_000)) - 500_000.0).abs() < 1e-6);
        commit(&log, 2, 100, start, 12_000);
        commit(&log, 3, 200, start, 20_000);
        assert!((log.rate(after(start, 21_000)) - 30.0).abs() < 1e-9);
        assert!(log.rate(after(start, 40_000)).abs() < f64::EPSILON);
    }

    #[test]
    fn the_rate_of_fast_epochs_counts_from_the_commit_before_the_oldest_kept() {
        let (log, start) = (EpochLog::default(), Instant::now());
        log.begin(start);
        (1..=100).for_each(|epoch| commit(&log, epoch, 10, start, 10 * epoch));
        // 32 epochs are kept, in 320 ms.
        assert!((log.rate(after(start, 1_000)) - 1_000.0).abs() < 1e-6);
    }
}
