//! The running parts of a pipeline: threads and tasks, each with an owner that waits for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::PipelineError;
use super::monitor::Monitor;
use super::tuning::Tuning;

/// Everything that runs.
pub(super) struct Parts {
    tasks: JoinSet<Result<(), PipelineError>>,
    threads: Vec<JoinHandle<()>>,
    ended: mpsc::UnboundedSender<Result<(), PipelineError>>,
    ends: mpsc::UnboundedReceiver<Result<(), PipelineError>>,
}

enum Event {
    Ended(Result<(), PipelineError>),
    Stop,
    Deadline,
}

impl Parts {
    pub(super) fn new() -> Self {
        // Bounded by the number of threads: each sends once.
        let (ended, ends) = mpsc::unbounded_channel();
        Self {
            tasks: JoinSet::new(),
            threads: Vec::new(),
            ended,
            ends,
        }
    }

    /// Starts a task.
    pub(super) fn task(
        &mut self,
        task: impl Future<Output = Result<(), PipelineError>> + Send + 'static,
    ) {
        self.tasks.spawn(task);
    }

    /// Starts a thread.
    ///
    /// # Panics
    ///
    /// When the system has no more threads, at a start.
    pub(super) fn thread(
        &mut self,
        name: &str,
        work: impl FnOnce() -> Result<(), PipelineError> + Send + 'static,
    ) {
        let ended = self.ended.clone();
        let part = name.to_owned();
        let thread = std::thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
                Err(PipelineError::Panicked {
                    part,
                    message: message_of(&*panic),
                })
            });
            // Nobody listens only when the run has already failed.
            let _ = ended.send(outcome);
        });
        self.threads
            .push(thread.expect("the system has room for a few threads"));
    }

    /// Waits until every part has ended, without a limit. The first error is returned at once: the
    /// others end by it.
    pub(super) async fn ended(mut self) -> Result<(), PipelineError> {
        for _ in 0..self.threads.len() {
            // Every thread sends once, and so it is never closed before.
            self.ends.recv().await.unwrap_or(Ok(()))?;
        }
        Ok(())
    }

    /// Waits until every part has ended. The first error stops the others, and is returned once
    /// they have ended or the deadline has passed, which `tuning` gives when the end begins.
    ///
    /// # Errors
    ///
    /// The first error of a part; [`PipelineError::StopDeadline`] when parts still ran so
    /// long after `stop` was cancelled.
    pub(super) async fn finish(
        mut self,
        stop: &CancellationToken,
        reading: &CancellationToken,
        tuning: &watch::Receiver<Tuning>,
        monitor: &Monitor,
    ) -> Result<(), PipelineError> {
        let mut running = self.threads.len() + self.tasks.len();
        let mut outcome = Ok(());
        let mut deadline = Duration::ZERO;
        let mut due = None;
        while running > 0 {
            let event = tokio::select! {
                biased;
                Some(ended) = self.ends.recv() => Event::Ended(ended),
                Some(ended) = self.tasks.join_next() => Event::Ended(ended.unwrap_or_else(|error| {
                    Err(PipelineError::Panicked {
                        part: "a sink's task".into(),
                        message: error.to_string(),
                    })
                })),
                () = stop.cancelled(), if due.is_none() => Event::Stop,
                () = wait_until(due) => Event::Deadline,
            };
            match event {
                Event::Ended(Ok(())) => running -= 1,
                Event::Ended(Err(error)) => {
                    running -= 1;
                    monitor.stopping();
                    reading.cancel();
                    if due.is_none() {
                        deadline = tuning.borrow().stop_time_max;
                        due = Some(tokio::time::Instant::now() + deadline);
                    }
                    if outcome.is_ok() {
                        outcome = Err(error);
                    }
                }
                Event::Stop => {
                    monitor.stopping();
                    tracing::info!("stopping: finishing the epoch and committing it");
                    deadline = tuning.borrow().stop_time_max;
                    due = Some(tokio::time::Instant::now() + deadline);
                }
                Event::Deadline => {
                    self.tasks.shutdown().await;
                    return outcome.and(Err(PipelineError::StopDeadline(deadline)));
                }
            }
        }
        for thread in self.threads {
            // It has sent its outcome, and a panic with it.
            let _ = thread.join();
        }
        outcome
    }
}

async fn wait_until(due: Option<tokio::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

fn message_of(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stop_takes_as_long_as_the_settings_say_when_it_begins() {
        let tuning = watch::Sender::new(Tuning {
            checkpoints_kept: 1,
            stop_time_max: Duration::from_secs(9),
        });
        let (stop, reading) = (CancellationToken::new(), CancellationToken::new());
        let mut parts = Parts::new();
        parts.task(std::future::pending());
        let (told, stopped) = (tuning.subscribe(), stop.clone());
        let monitor = Monitor::bare();
        let finishing = parts.finish(&stop, &reading, &told, &monitor);
        let changing = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            tuning.send_modify(|tuning| tuning.stop_time_max = Duration::from_secs(40));
            tokio::time::sleep(Duration::from_secs(1)).await;
            stopped.cancel();
        };
        let started = tokio::time::Instant::now();
        let (outcome, ()) = tokio::join!(finishing, changing);
        let forty = Duration::from_secs(40);
        assert!(
            matches!(outcome, Err(PipelineError::StopDeadline(limit)) if limit == forty),
            "{outcome:?}"
        );
        assert_eq!(started.elapsed(), Duration::from_secs(42));
    }
}
