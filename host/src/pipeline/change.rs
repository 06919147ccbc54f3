//! Another version of the logic on its way through a line: what the reader, the workers and the
//! coordinator each need of it.
//!
//! Everything that takes time is done before: guests are compiled, instantiated and configured. What
//! is left is to put one thing in the place of another, behind the last record of an epoch.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow_array::RecordBatch;

use super::PipelineError;
use super::chain::Chain;
use super::topology::Stages;
use crate::config::Pipeline;
use crate::deployment::{Backfills, Deployment, Outcome, Version};
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

/// What backfills have made of the records that came before aggregates, by their names: their states.
pub(super) type Halves = BTreeMap<Arc<str>, Vec<RecordBatch>>;

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
        halves: &Halves,
    ) -> Result<Self, PipelineError> {
        let tables = incoming(stages, &deployment.backfills, halves)?;
        Ok(Self::with(deployment, None, stages, workers, tables)?)
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
        let chain = || {
            let mut chain = stages.chain()?;
            chain.begin_at(&deployment.backfills);
            Ok::<_, ConfigureError>(chain)
        };
        let chains: Result<_, _> = (0..workers).map(|_| chain()).collect();
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

/// The tables of states of a version, as they are before it comes into force.
pub(super) fn incoming(
    stages: &dyn Stages,
    backfills: &Backfills,
    halves: &Halves,
) -> Result<Vec<Incoming>, PipelineError> {
    let mut tables = Vec::new();
    for (mut states, shown) in stages.states()? {
        if let Some(half) = halves.get(states.name()) {
            for batch in half {
                states.restore(batch)?;
            }
            states.expect_other_half();
        }
        let shown = shown && !backfills.hides(states.name());
        tables.push(Incoming { states, shown });
    }
    Ok(tables)
}

/// Where a change waits until the reader takes it, at the end of an epoch. Clones are the same place.
#[derive(Clone, Default)]
pub(super) struct Changes(Arc<Place>);

#[derive(Default)]
struct Place {
    waiting: Mutex<Option<Change>>,
    /// whether there is one to come, which a run to an end waits for
    is_to_come: AtomicBool,
}

impl Changes {
    fn waiting(&self) -> MutexGuard<'_, Option<Change>> {
        let waiting = &self.0.waiting;
        waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a run that has read everything waits for a change before it ends.
    pub(super) fn expect(&self, is_to_come: bool) {
        self.0.is_to_come.store(is_to_come, Ordering::Release);
    }

    pub(super) fn is_to_come(&self) -> bool {
        self.0.is_to_come.load(Ordering::Acquire)
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
