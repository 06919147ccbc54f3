//! Waiting for a server: every try is noted for [`Status`](crate::status::Status), and the log tells
//! of the first one, of another reason, of one now and then, and of the end.

use std::error::Error;
use std::pin::pin;
use std::time::{Duration, Instant};

use super::PipelineError;
use crate::backoff::Backoff;
use crate::epoch::EpochId;
use crate::sink::{Remedy, SinkError};
use crate::waiting::{Wait, Waits};

/// Between two lines of the log about the same wait.
const SAY_AGAIN: Duration = Duration::from_secs(30);

/// A call without an answer for so long is waiting, too: the server hangs, or is very busy.
const SLOW: Duration = Duration::from_secs(15);

/// The name that the source has in a status.
pub(super) const SOURCE: &str = "source";
/// The name that the dead letters have in a status.
pub(super) const DEAD_LETTERS: &str = "dead_letters";
/// The part that waits for the store of checkpoints.
pub(super) const CHECKPOINTS: &str = "checkpoints";

/// A part, as an error names it.
pub(super) fn shown(part: &str) -> String {
    match part {
        SOURCE => "the source".to_owned(),
        DEAD_LETTERS => "dead letters".to_owned(),
        CHECKPOINTS => "the checkpoint store".to_owned(),
        sink => sink.to_owned(),
    }
}

/// One piece of work with a server, tried until it is done.
#[derive(Debug)]
pub(super) struct Patience {
    wait: Wait,
    backoff: Backoff,
    epoch: Option<u64>,
    attempts: u32,
    said: Option<Said>,
    slow: Duration,
}

/// A line of the log: when it was written, and the reason in it.
#[derive(Debug)]
struct Said {
    at: Instant,
    reason: String,
}

/// Tries `$step`, a call of a sink, until it is done; `$retried` comes before each other try. Where
/// another one would not help, the function around it returns [`PipelineError::Sink`].
macro_rules! until_done {
    ($patience:expr, $step:expr) => {
        until_done!($patience, {}, $step)
    };
    ($patience:expr, $retried:expr, $step:expr) => {{
        let mut patience = $patience;
        let done = loop {
            match patience.watch($step).await {
                Ok(done) => break done,
                Err(error) => {
                    $retried;
                    patience.retry(error).await?;
                }
            }
        };
        patience.over();
        done
    }};
}
pub(super) use until_done;

impl Patience {
    /// With the server of this part.
    pub(super) fn new(waits: &Waits, part: &str) -> Self {
        Self {
            wait: waits.part(part),
            backoff: Backoff::new(),
            epoch: None,
            attempts: 0,
            said: None,
            slow: SLOW,
        }
    }

    /// The work is on this epoch.
    pub(super) fn on_epoch(mut self, epoch: EpochId) -> Self {
        self.epoch = Some(epoch.0);
        self
    }

    /// Waits for one try. Without an answer for [`SLOW`], this counts as waiting.
    pub(super) async fn watch<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let began = Instant::now();
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = tokio::time::sleep(self.slow) => {}
        }
        let reason = format!("no answer for {} s and more", self.slow.as_secs());
        let waited = self.wait.begin(began, reason.as_str());
        self.say_now_and_then(&reason, waited, None);
        work.await
    }

    /// A try has failed. How long to wait before the next one.
    pub(super) fn failed(&mut self, error: &dyn Error) -> Duration {
        self.attempts = self.attempts.saturating_add(1);
        let pause = self.backoff.wait();
        let reason = error.to_string();
        let waited = self.wait.begin(Instant::now(), reason.as_str());
        self.say_now_and_then(&reason, waited, Some(pause));
        pause
    }

    /// The same for a sink: waits before the next try, or gives up where none would help.
    ///
    /// # Errors
    ///
    /// [`PipelineError::Sink`].
    pub(super) async fn retry(&mut self, error: SinkError) -> Result<(), PipelineError> {
        match error.remedy() {
            Remedy::Retry => {
                tokio::time::sleep(self.failed(&error)).await;
                Ok(())
            }
            Remedy::LeaveOut | Remedy::Stop => Err(PipelineError::Sink {
                sink: shown(self.wait.part()),
                source: error,
            }),
        }
    }

    /// The work is done; the next one begins afresh.
    pub(super) fn over(&mut self) {
        if let Some(waited) = self.wait.end()
            && self.said.take().is_some()
        {
            let part = self.wait.part();
            let (attempts, waited_s) = (self.attempts, tenths(waited));
            tracing::info!(
                part,
                epoch = self.epoch,
                attempts,
                waited_s,
                "the wait is over"
            );
        }
        if self.attempts > 0 {
            self.attempts = 0;
            self.backoff = Backoff::new();
        }
    }

    fn say_now_and_then(&mut self, error: &str, waited: Duration, pause: Option<Duration>) {
        let old = |said: &Said| said.reason != error || said.at.elapsed() >= SAY_AGAIN;
        if !self.said.as_ref().is_none_or(old) {
            return;
        }
        self.said = Some(Said {
            at: Instant::now(),
            reason: error.to_owned(),
        });
        let part = self.wait.part();
        tracing::warn!(
            part,
            epoch = self.epoch,
            attempt = self.attempts,
            error,
            waited_s = tenths(waited),
            next_try_s = pause.map(tenths),
            "waiting for a server"
        );
    }
}

/// Seconds, for a person.
fn tenths(time: Duration) -> f64 {
    (time.as_secs_f64() * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away() -> SinkError {
        SinkError::Unavailable {
            what: "PostgreSQL".into(),
            reason: "refused".into(),
        }
    }

    #[tokio::test]
    async fn who_is_tried_again_is_waited_for_until_the_work_is_done() {
        let waits = Waits::default();
        let mut patience = Patience::new(&waits, "postgres");
        assert!(waits.list().is_empty());
        patience.retry(away()).await.expect("tried again");
        assert_eq!(waits.list()[0].part, "postgres");
        assert_eq!(
            waits.list()[0].reason,
            "failed to reach PostgreSQL: refused"
        );
        patience.over();
        assert!(waits.list().is_empty());
    }

    #[test]
    fn a_reason_is_said_once_and_another_one_at_once() {
        let mut patience = Patience::new(&Waits::default(), "postgres");
        patience.failed(&away());
        let first = patience.said.as_ref().expect("said").at;
        patience.failed(&away());
        let again = patience.said.as_ref().expect("still said").at;
        assert_eq!(again, first);
        patience.failed(&SinkError::Permanent("disk full".into()));
        let other = patience.said.as_ref().expect("said");
        assert!(other.reason.contains("disk full"), "{other:?}");
    }

    #[tokio::test]
    async fn what_another_try_would_not_help_ends_it() {
        let waits = Waits::default();
        let mut patience = Patience::new(&waits, "postgres");
        let error = SinkError::Permanent("no such table".into());
        let error = patience.retry(error).await.expect_err("refused");
        assert!(matches!(error, PipelineError::Sink { sink, .. } if sink == "postgres"));
        drop(patience);
        assert!(waits.list().is_empty());
    }

    #[tokio::test]
    async fn a_server_that_hangs_is_waited_for() {
        let waits = Waits::default();
        let mut patience = Patience::new(&waits, "postgres");
        patience.slow = Duration::from_millis(20);
        let (answer, answered) = tokio::sync::oneshot::channel();
        let looking = async {
            while waits.list().is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            answer.send(waits.list()).expect("still watched");
        };
        let (seen, ()) = tokio::join!(patience.watch(answered), looking);
        let seen = seen.expect("answered");
        assert!(seen[0].since >= Duration::from_millis(20), "{seen:?}");
        patience.over();
        assert!(waits.list().is_empty());
    }
}
