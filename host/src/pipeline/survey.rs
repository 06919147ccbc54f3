//! Asking the source now and then how much there is, and showing it how far everything is done, both
//! beside the reading.
//!
//! The answers are the ends of the partitions, partitions that are new, and whether there is a source:
//! a client library that reconnects by itself does not tell the reader that its server is away.
//!
//! # Invariants
//!
//! Whatever comes of showing changes nothing in the run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::monitor::Monitor;
use super::patience::{Patience, SOURCE};
use crate::record::Positions;
use crate::source::{Ask, PartitionRange, Show, SourceError, Survey};

/// Between two questions.
const INTERVAL: Duration = Duration::from_secs(2);

/// How long an answer to what is shown may take.
const SHOW_WAIT: Duration = Duration::from_secs(2);

/// After a failure, nothing is shown for so long.
const SHOW_PAUSE: Duration = Duration::from_secs(30);

/// Between two warnings that nothing can be shown.
const WARN_INTERVAL: Duration = Duration::from_mins(10);

/// How long the end of a run waits until the last positions are shown.
const FINISH_WAIT: Duration = Duration::from_secs(2);

/// The questions end with this.
pub(super) struct Surveying {
    asking: JoinHandle<()>,
    finish: CancellationToken,
}

impl Surveying {
    /// Shows where everything ended, if that is quick, and asks no more.
    pub(super) async fn finish(mut self) {
        self.finish.cancel();
        if tokio::time::timeout(FINISH_WAIT, &mut self.asking)
            .await
            .is_err()
        {
            tracing::debug!("the last offsets of the group were not committed in time");
        }
    }
}

impl Drop for Surveying {
    fn drop(&mut self) {
        self.asking.abort();
    }
}

/// Tells of partitions that are new.
pub(super) struct Newcomers(watch::Receiver<Vec<PartitionRange>>);

impl Newcomers {
    /// Those that somebody tells of here.
    pub(super) fn of(told: watch::Receiver<Vec<PartitionRange>>) -> Self {
        Self(told)
    }

    /// Partitions that were found since the last call and have no position here.
    pub(super) fn unknown_to(&mut self, positions: &Positions) -> Vec<PartitionRange> {
        let found = &mut self.0;
        if !found.has_changed().unwrap_or(false) {
            return Vec::new();
        }
        let found = found.borrow_and_update();
        let found = found.iter();
        found
            .filter(|range| positions.get(range.partition).is_none())
            .copied()
            .collect()
    }
}

/// Begins to ask.
pub(super) fn begin(survey: Survey, monitor: Arc<Monitor>) -> (Surveying, Newcomers) {
    begin_every(INTERVAL, survey, monitor)
}

fn begin_every(
    interval: Duration,
    survey: Survey,
    monitor: Arc<Monitor>,
) -> (Surveying, Newcomers) {
    let (told, found) = watch::channel(Vec::new());
    let finish = CancellationToken::new();
    let surveyor = Surveyor {
        ask: survey.partitions,
        shower: survey.show.map(Shower::new),
        monitor,
        told,
    };
    let asking = tokio::spawn(surveyor.run(interval, finish.clone()));
    (Surveying { asking, finish }, Newcomers::of(found))
}

struct Surveyor {
    ask: Ask,
    shower: Option<Shower>,
    monitor: Arc<Monitor>,
    told: watch::Sender<Vec<PartitionRange>>,
}

impl Surveyor {
    async fn run(mut self, interval: Duration, finish: CancellationToken) {
        let monitor = Arc::clone(&self.monitor);
        let mut patience = Patience::new(monitor.waits(), SOURCE);
        loop {
            let is_last = tokio::select! {
                biased;
                () = finish.cancelled() => true,
                () = tokio::time::sleep(interval) => false,
            };
            let done = monitor.done().positions();
            let asked = tokio::task::spawn_blocking(move || {
                let answer = (!is_last).then(|| (self.ask)());
                // Who does not say how much there is, is told nothing either.
                let is_there = !matches!(answer, Some(Err(_)));
                if let Some(shower) = &mut self.shower {
                    shower.turn(done.as_ref().filter(|_| is_there));
                }
                (self, answer)
            });
            let answer = match asked.await {
                Ok((same, answer)) => {
                    self = same;
                    answer
                }
                Err(error) => {
                    tracing::error!(%error, "the source is asked for its ends no longer, please report this");
                    return;
                }
            };
            match answer {
                None => return,
                Some(Ok(ranges)) => {
                    monitor.set_ends(&ranges);
                    patience.over();
                    self.told.send_replace(ranges);
                }
                Some(Err(error @ SourceError::Unavailable { .. })) => {
                    patience.failed(&error);
                }
                // The reader meets it too, and the run ends with it.
                Some(Err(error)) => tracing::debug!(%error, "failed to ask for the ends"),
            }
        }
    }
}

/// Shows positions, and says now and then when that fails.
struct Shower {
    /// `None` once it is known to be in vain
    show: Option<Box<dyn Show>>,
    shown: Positions,
    paused: Option<Instant>,
    warned: Option<Instant>,
}

impl Shower {
    fn new(show: Box<dyn Show>) -> Self {
        Self {
            show: Some(show),
            shown: Positions::default(),
            paused: None,
            warned: None,
        }
    }

    /// Shows what is done, if that is new and may be tried.
    fn turn(&mut self, done: Option<&Positions>) {
        let Some(show) = &mut self.show else {
            return;
        };
        let is_paused = self.paused.is_some_and(|at| at.elapsed() < SHOW_PAUSE);
        let Some(done) = done.filter(|done| !is_paused && **done != self.shown) else {
            show.rest();
            return;
        };
        match show.show(done, SHOW_WAIT) {
            Ok(()) => {
                self.shown = done.clone();
                self.paused = None;
            }
            Err(error @ SourceError::Unavailable { .. }) => {
                self.paused = Some(Instant::now());
                if self.warned.is_none_or(|at| at.elapsed() >= WARN_INTERVAL) {
                    self.warned = Some(Instant::now());
                    tracing::warn!(%error, "failed to commit the offsets of the group, which only tools for lags look at");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the offsets of the group may not be committed; tools for lags will not see this pipeline, and that is all");
                self.show = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use std::sync::Mutex;

    use super::*;
    use crate::epoch::EpochId;
    use crate::record::Partition;

    const INSTANT: Duration = Duration::from_millis(1);

    fn away() -> SourceError {
        SourceError::Unavailable {
            what: "Kafka".into(),
            reason: "refused".into(),
        }
    }

    /// A source that says this and shows nothing.
    fn asking(
        ask: impl FnMut() -> Result<Vec<PartitionRange>, SourceError> + Send + 'static,
    ) -> Survey {
        Survey {
            partitions: Box::new(ask),
            show: None,
        }
    }

    fn at(next: i64) -> Positions {
        [(Partition(0), next)].into_iter().collect()
    }

    async fn until(done: impl Fn() -> bool) {
        for _ in 0..10_000 {
            if done() {
                return;
            }
            tokio::time::sleep(INSTANT).await;
        }
        panic!("it did not happen");
    }

    #[tokio::test]
    async fn a_source_that_does_not_answer_is_waited_for_until_it_does() {
        let monitor = Monitor::bare();
        let failing = Arc::new(AtomicU32::new(1));
        let asked = Arc::clone(&failing);
        let survey = asking(move || match asked.load(Ordering::Relaxed) {
            0 => Ok(Vec::new()),
            _ => Err(away()),
        });
        let (surveying, _) = begin_every(INSTANT, survey, Arc::clone(&monitor));
        until(|| !monitor.waits().list().is_empty()).await;
        let waiting = monitor.waits().list();
        assert_eq!(waiting[0].part, "source");
        assert_eq!(waiting[0].reason, "failed to reach Kafka: refused");
        failing.store(0, Ordering::Relaxed);
        until(|| monitor.waits().list().is_empty()).await;
        drop(surveying);
    }

    #[tokio::test]
    async fn who_stops_asking_waits_for_nobody() {
        let monitor = Monitor::bare();
        let survey = asking(|| Err(away()));
        let (surveying, _) = begin_every(INSTANT, survey, Arc::clone(&monitor));
        until(|| !monitor.waits().list().is_empty()).await;
        drop(surveying);
        until(|| monitor.waits().list().is_empty()).await;
    }

    #[tokio::test]
    async fn a_partition_is_new_once_it_is_there_and_until_it_has_a_position() {
        let monitor = Monitor::bare();
        let ranges = [0, 1].map(|partition| PartitionRange {
            partition: Partition(partition),
            begin: 3,
            end: 9,
        });
        let survey = asking(move || Ok(ranges.to_vec()));
        let (_surveying, mut newcomers) = begin_every(INSTANT, survey, monitor);
        let mut found = Vec::new();
        while found.is_empty() {
            tokio::time::sleep(INSTANT).await;
            found = newcomers.unknown_to(&at(5));
        }
        assert_eq!(found, [ranges[1]]);
    }

    /// Notes what it is shown, and answers what `answer` says to each.
    struct Noting<F> {
        shown: Arc<Mutex<Vec<Positions>>>,
        answer: F,
    }

    impl<F: Fn(usize) -> Result<(), SourceError> + Send> Show for Noting<F> {
        fn show(&mut self, done: &Positions, _: Duration) -> Result<(), SourceError> {
            let mut shown = self.shown.lock().unwrap();
            shown.push(done.clone());
            (self.answer)(shown.len())
        }

        fn rest(&mut self) {}
    }

    fn noting(
        shown: &Arc<Mutex<Vec<Positions>>>,
        answer: impl Fn(usize) -> Result<(), SourceError> + Send + 'static,
    ) -> Box<dyn Show> {
        let shown = Arc::clone(shown);
        Box::new(Noting { shown, answer })
    }

    #[tokio::test]
    async fn what_is_done_is_shown_once_and_the_last_of_it_at_the_end() {
        let monitor = Monitor::bare();
        let shown = Arc::default();
        let survey = Survey {
            show: Some(noting(&shown, |_| Ok(()))),
            ..asking(|| Ok(Vec::new()))
        };
        monitor.done().begin(EpochId(1), &at(5), EpochId(1));
        let (surveying, mut newcomers) = begin_every(INSTANT, survey, Arc::clone(&monitor));
        until(|| !shown.lock().unwrap().is_empty()).await;
        // Some rounds with nothing new.
        for _ in 0..3 {
            newcomers.0.changed().await.unwrap();
        }
        monitor.done().idle(EpochId(1), &at(8));
        surveying.finish().await;
        assert_eq!(*shown.lock().unwrap(), [at(5), at(8)]);
    }

    #[test]
    fn what_cannot_be_shown_is_not_tried_at_once_and_what_may_not_be_never_again() {
        let shown = Arc::default();
        let away_once = |count| if count == 1 { Err(away()) } else { Ok(()) };
        let mut shower = Shower::new(noting(&shown, away_once));
        shower.turn(Some(&at(1)));
        shower.turn(Some(&at(2)));
        assert_eq!(shown.lock().unwrap().len(), 1, "there is a pause");
        shower.paused = None;
        shower.turn(Some(&at(3)));
        shower.turn(Some(&at(3)));
        assert_eq!(*shown.lock().unwrap(), [at(1), at(3)]);

        let forbidden = |_| Err(SourceError::Permanent("no".into()));
        let mut shower = Shower::new(noting(&shown, forbidden));
        shower.turn(Some(&at(4)));
        shower.turn(Some(&at(5)));
        assert_eq!(shown.lock().unwrap().len(), 3);
    }
}
