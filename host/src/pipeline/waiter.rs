//! Waiting for servers at a start, or beside the stream: until they answer, or somebody says stop.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::PipelineError;
use super::patience::{Patience, SOURCE, shown};
use crate::blocking::off_the_runtime;
use crate::checkpoint::CheckpointError;
use crate::record::Positions;
use crate::sink::Remedy;
use crate::source::{PartitionRange, Source, SourceError};
use crate::waiting::Waits;

/// Who waits: until the server answers, or somebody says stop.
#[derive(Clone, Copy)]
pub(super) struct Waiter<'a> {
    pub(super) stop: &'a CancellationToken,
    pub(super) waits: &'a Waits,
}

/// Tries `$step` until it works; gives up where waiting would not help, or when told to stop.
macro_rules! wait_for {
    ($waiter:expr, $part:expr, $step:expr) => {{
        let mut patience = $crate::pipeline::patience::Patience::new($waiter.waits, $part);
        loop {
            let tried = tokio::select! {
                biased;
                () = $waiter.stop.cancelled() => return Err($crate::pipeline::waiter::stopped_while_waiting($part)),
                tried = patience.watch($step) => tried,
            };
            match tried {
                Ok(done) => {
                    patience.over();
                    break done;
                }
                Err(error) if error.remedy() != Remedy::Retry => {
                    return Err(PipelineError::Sink {
                        sink: shown($part),
                        source: error,
                    });
                }
                Err(error) => $waiter.pause($part, patience.failed(&error)).await?,
            }
        }
    }};
}

impl Waiter<'_> {
    /// Waits for something, unless told to stop.
    pub(super) async fn unless_stopped<T>(
        self,
        part: &str,
        work: impl Future<Output = T>,
    ) -> Result<T, PipelineError> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(stopped_while_waiting(part)),
            done = work => Ok(done),
        }
    }

    pub(super) async fn pause(self, part: &str, wait: Duration) -> Result<(), PipelineError> {
        tokio::select! {
            () = self.stop.cancelled() => Err(stopped_while_waiting(part)),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }
}

/// Told to stop before that.
pub(super) fn stopped_while_waiting(part: &str) -> PipelineError {
    PipelineError::StoppedWhileStarting(shown(part))
}

pub(super) use wait_for;

/// Asks the store of checkpoints until it answers; gives up where waiting would not help, or when told
/// to stop.
pub(super) async fn patiently<T, F: Future<Output = Result<T, CheckpointError>>>(
    part: &str,
    waiter: Waiter<'_>,
    work: impl Fn() -> F,
) -> Result<T, PipelineError> {
    let mut patience = Patience::new(waiter.waits, part);
    loop {
        match waiter.unless_stopped(part, work()).await? {
            Ok(done) => {
                patience.over();
                return Ok(done);
            }
            Err(error) if error.remedy() == Remedy::Retry => {
                waiter.pause(part, patience.failed(&error)).await?;
            }
            Err(error) => return Err(PipelineError::Checkpoint(error)),
        }
    }
}

/// What each partition holds.
pub(super) async fn partitions(
    source: &mut dyn Source,
    waiter: Waiter<'_>,
) -> Result<Vec<PartitionRange>, PipelineError> {
    let mut patience = Patience::new(waiter.waits, SOURCE);
    loop {
        match off_the_runtime(|| source.partitions()) {
            Ok(ranges) => {
                patience.over();
                return Ok(ranges);
            }
            Err(error) => wait_for_source(waiter, error, &mut patience).await?,
        }
    }
}

/// Moves a source to these positions.
pub(super) async fn seek(
    source: &mut dyn Source,
    positions: &Positions,
    waiter: Waiter<'_>,
) -> Result<(), PipelineError> {
    let mut patience = Patience::new(waiter.waits, SOURCE);
    loop {
        match off_the_runtime(|| source.seek(positions)) {
            Ok(()) => {
                patience.over();
                return Ok(());
            }
            Err(error) => wait_for_source(waiter, error, &mut patience).await?,
        }
    }
}

async fn wait_for_source(
    waiter: Waiter<'_>,
    error: SourceError,
    patience: &mut Patience,
) -> Result<(), PipelineError> {
    match error {
        SourceError::Unavailable { .. } => waiter.pause(SOURCE, patience.failed(&error)).await,
        error => Err(PipelineError::Source(error)),
    }
}
