//! Another version of the logic on its way through a line: what the reader, the workers and the
//! coordinator each need of it.
//!
//! Everything that takes time is done before: guests are compiled, instantiated and configured. What
//! is left is to put one thing in the place of another, behind the last record of an epoch.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::topology::Stages;
use super::worker::Chain;
use crate::config::Pipeline;
use crate::deployment::{Deployment, Outcome, Version};
use crate::epoch::{Incoming, Swap};
use crate::guest::ConfigureError;

/// How epochs are cut, and how often a checkpoint is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    pub(super) max_rows: usize,
    pub(super) max_wait: Duration,
    pub(super) checkpoint_interval: Duration,
}

/// Another version, or another pace, or both.
#[derive(Default)]
pub(super) struct Change {
    pub(super) logic: Option<Logic>,
    pub(super) pace: Option<Pace>,
}

/// Another version.
pub(super) struct Logic {
    pub(super) version: Version,
    /// for the coordinator
    pub(super) swap: Arc<Swap>,
    /// for each worker
    pub(super) chains: Vec<Chain>,
}

impl Pace {
    pub(super) fn of(pipeline: &Pipeline) -> Self {
        Self {
            max_rows: pipeline.commit.max_rows,
            max_wait: pipeline.commit.max_wait,
            checkpoint_interval: pipeline.checkpoint.interval,
        }
    }
}

impl Change {
    /// To these stages, with states that come into them when it comes into force.
    pub(super) fn to(
        deployment: Deployment,
        stages: &dyn Stages,
        workers: usize,
    ) -> Result<Self, ConfigureError> {
        let tables = stages.states()?.into_iter();
        let tables = tables.map(|(states, shown)| Incoming { states, shown });
        Self::with(deployment, None, stages, workers, tables.collect())
    }

    /// To these stages, with tables of states that some were brought into. `concludes` is written down
    /// in the same transaction.
    pub(super) fn with(
        deployment: Deployment,
        concludes: Option<(Version, Outcome)>,
        stages: &dyn Stages,
        workers: usize,
        tables: Vec<Incoming>,
    ) -> Result<Self, ConfigureError> {
        let chains: Result<_, _> = (0..workers).map(|_| stages.chain()).collect();
        Ok(Self {
            logic: Some(Logic {
                version: deployment.version,
                chains: chains?,
                swap: Arc::new(Swap::new(deployment, concludes, stages.targets(), tables)),
            }),
            pace: None,
        })
    }
}

/// Where a change waits until the reader takes it, at the end of an epoch. Clones are the same place.
#[derive(Clone, Default)]
pub(super) struct Changes(Arc<Mutex<Option<Change>>>);

impl Changes {
    fn waiting(&self) -> MutexGuard<'_, Option<Change>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a change come into force. What waited before and was not taken does not.
    pub(super) fn put(&self, change: Change) {
        *self.waiting() = Some(change);
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.waiting().is_some()
    }

    pub(super) fn take(&self) -> Option<Change> {
        self.waiting().take()
    }
}
