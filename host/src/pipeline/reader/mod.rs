//! The reader: polls the source, cuts epochs, and hands records to the workers by partition.
//!
//! First it repeats epochs exactly as the journal has them ([`replay`]). Then it either goes on live
//! ([`live`]): it alone decides what an epoch contains, and after which one a checkpoint is due. Or it
//! goes on along the journal ([`follow`]), for a sink that lags.

mod follow;
mod intake;
mod live;
mod replay;

use std::time::Instant;

pub(super) use self::follow::{Follow, JournalRequest, More};
pub(super) use self::intake::{Intake, Lane, worker_of};
pub(super) use self::live::Live;
pub(super) use self::replay::{InForce, Rebuild, Replay};
use super::PipelineError;

/// Records on their way from the source to the workers.
pub(super) struct Reader {
    pub(super) intake: Intake,
    pub(super) replay: Replay,
    pub(super) then: Then,
}

/// What a reader does when it has repeated what it was to.
pub(super) enum Then {
    Live(Live),
    Follow(Follow),
    /// nothing more: it waits until it is told to stop
    Wait,
}

/// Whether there is more to do. It ends when it was told to stop, everything was read, or nobody
/// listens any more: then some other part has failed and tells why itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    More,
    End,
}

/// Why a step was not done to its end.
enum Ending {
    /// Nobody listens any more.
    HungUp,
    Failed(PipelineError),
}

impl From<PipelineError> for Ending {
    fn from(error: PipelineError) -> Self {
        Self::Failed(error)
    }
}

impl Reader {
    /// Reads until there is no more to do.
    pub(super) fn run(mut self) -> Result<(), PipelineError> {
        while self.step()? == Flow::More {}
        Ok(())
    }

    /// Polls the source once at most, and sends what is to be sent then.
    pub(super) fn step(&mut self) -> Result<Flow, PipelineError> {
        match self.try_step() {
            Ok(flow) => Ok(flow),
            Err(Ending::HungUp) => Ok(Flow::End),
            Err(Ending::Failed(error)) => Err(error),
        }
    }

    /// Whether it has read again what it had to.
    #[cfg(test)]
    pub(super) fn is_live(&self) -> bool {
        self.replay.is_over()
    }

    fn try_step(&mut self) -> Result<Flow, Ending> {
        let Self {
            intake,
            replay,
            then,
        } = self;
        if !replay.is_over() {
            if intake.stop.is_cancelled() {
                return Ok(Flow::End);
            }
            replay.step(intake)?;
            if replay.is_over()
                && let Then::Live(live) = then
            {
                live.begin(now());
                intake.monitor.replayed();
            }
            return Ok(Flow::More);
        }
        match then {
            Then::Live(live) => live.step(intake),
            Then::Follow(follow) => follow.step(intake, replay),
            Then::Wait if intake.stop.is_cancelled() => Ok(Flow::End),
            Then::Wait => {
                std::thread::sleep(intake.poll_wait);
                Ok(Flow::More)
            }
        }
    }
}

/// The runtime's clock: a simulation turns it.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
