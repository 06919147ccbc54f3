//! Another version of the logic comes into force: what the coordinator needs of it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::Utc;

use super::{Deployed, EpochOutput, Mode};
use crate::aggregate::StateTable;
use crate::deployment::{Deployment, Outcome, Version};
use crate::sink::Targets;

/// What comes into force with an epoch.
pub struct Swap {
    /// Where the epoch is live, it is about to be known which one that is, and with which positions.
    deployment: Deployment,
    concludes: Option<(Version, Outcome)>,
    targets: Arc<Targets>,
    /// taken when it comes into force
    tables: Mutex<Vec<Incoming>>,
}

/// The states of one aggregate of the new version.
pub struct Incoming {
    /// Empty, unless states were brought into it beforehand. What the table of the same name has
    /// before is brought in when it comes into force.
    pub states: StateTable,
    /// whether a sink is shown the aggregate's rows
    pub shown: bool,
}

impl fmt::Debug for Swap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Swap(to version {})", self.deployment.version)
    }
}

impl Swap {
    /// To the version of this deployment. `concludes`: what became of another one by it.
    #[must_use]
    pub fn new(
        deployment: Deployment,
        concludes: Option<(Version, Outcome)>,
        targets: Arc<Targets>,
        tables: Vec<Incoming>,
    ) -> Self {
        Self {
            deployment,
            concludes,
            targets,
            tables: Mutex::new(tables),
        }
    }

    pub(super) fn take_tables(&self) -> Vec<Incoming> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *tables)
    }

    /// What is written down with the epoch that it comes into force with.
    pub(super) fn deployed(&self, output: &EpochOutput, mode: Mode) -> Deployed {
        let mut deployment = self.deployment.clone();
        if mode == Mode::Live {
            deployment.epoch = output.epoch;
            deployment.positions = output.positions.clone();
            deployment.deployed_at = Utc::now();
            deployment.backfills.begin_at(&output.positions);
        }
        Deployed {
            deployment,
            concludes: self.concludes.clone(),
            targets: Arc::clone(&self.targets),
        }
    }
}
