//! The versions of the logic that a run needs: the one in force, and those that epochs were made by
//! that have to be repeated.
//!
//! # Invariants
//!
//! An epoch is repeated with the version that made it, whatever the pipeline's file says now.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::PipelineError;
use super::change::Change;
use super::patience::{CHECKPOINTS, Patience};
use super::start::Waiter;
use super::topology::Stages;
use crate::checkpoint::{CheckpointError, CheckpointStore};
use crate::deployment::{Blueprint, Deployment, Version};
use crate::epoch::EpochId;
use crate::sink::{Remedy, Targets};

/// Shared by all lines of a run.
pub(super) struct Versions(Mutex<Known>);

struct Known {
    /// in order
    deployments: Vec<Deployment>,
    stages: BTreeMap<Version, Arc<dyn Stages>>,
}

impl Versions {
    /// What the ledger knows, in order.
    pub(super) fn new(deployments: Vec<Deployment>) -> Self {
        Self(Mutex::new(Known {
            deployments,
            stages: BTreeMap::new(),
        }))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest deployment; `None` before the first one.
    pub(super) fn latest(&self) -> Option<Deployment> {
        self.known().deployments.last().cloned()
    }

    /// All deployments, in order.
    pub(super) fn all(&self) -> Vec<Deployment> {
        self.known().deployments.clone()
    }

    /// The version in force at an epoch.
    pub(super) fn at(&self, epoch: EpochId) -> Option<Version> {
        let known = self.known();
        Deployment::at(&known.deployments, epoch).map(|deployment| deployment.version)
    }

    /// The logic of a version is there.
    pub(super) fn learn(&self, version: Version, stages: Arc<dyn Stages>) {
        self.known().stages.insert(version, stages);
    }

    /// A deployment was written down.
    pub(super) fn note(&self, deployment: Deployment) {
        let mut known = self.known();
        known.deployments.retain(|d| d.version < deployment.version);
        known.deployments.push(deployment);
    }

    /// The logic of a version that was loaded.
    ///
    /// # Errors
    ///
    /// [`PipelineError::NoSuchVersion`].
    pub(super) fn stages(&self, version: Version) -> Result<Arc<dyn Stages>, PipelineError> {
        let stages = self.known().stages.get(&version).cloned();
        stages.ok_or(PipelineError::NoSuchVersion(version))
    }

    /// Loads the version at an epoch, and all later ones, from what was kept of them. `sibling` is some
    /// version of the pipeline.
    pub(super) async fn load_since(
        &self,
        epoch: EpochId,
        (sibling, store): (&dyn Stages, &CheckpointStore),
        waiter: Waiter<'_>,
    ) -> Result<(), PipelineError> {
        let first = self.at(epoch).unwrap_or(Version::FIRST);
        let missing: Vec<(Version, Blueprint)> = {
            let known = self.known();
            let needed = known.deployments.iter().filter(|d| d.version >= first);
            let missing = needed.filter(|d| !known.stages.contains_key(&d.version));
            missing.map(|d| (d.version, d.blueprint.clone())).collect()
        };
        for (version, blueprint) in missing {
            let stages = load(version, &blueprint, (sibling, store), waiter).await?;
            self.learn(version, stages);
        }
        Ok(())
    }

    /// What it takes to put a version into force that was in force before.
    pub(super) fn change_to(
        &self,
        version: Version,
        sink: Option<&str>,
        workers: usize,
    ) -> Result<Change, PipelineError> {
        let deployment = {
            let known = self.known();
            let found = known.deployments.iter().find(|d| d.version == version);
            found
                .cloned()
                .ok_or(PipelineError::NoSuchVersion(version))?
        };
        let mut stages = self.stages(version)?;
        if let Some(sink) = sink {
            stages = stages.of_sink(sink);
        }
        Ok(Change::to(deployment, &*stages, workers)?)
    }

    /// Where the rows of the epoch after this one go.
    pub(super) fn targets_after(&self, epoch: EpochId) -> Option<Arc<Targets>> {
        let version = self.at(epoch.next())?;
        Some(self.stages(version).ok()?.targets())
    }
}

/// Makes a version again.
pub(super) async fn load(
    version: Version,
    blueprint: &Blueprint,
    (sibling, store): (&dyn Stages, &CheckpointStore),
    waiter: Waiter<'_>,
) -> Result<Arc<dyn Stages>, PipelineError> {
    let mut binaries = BTreeMap::new();
    for digest in blueprint.components.values() {
        let binary = fetch(digest, store, waiter).await;
        let binary = binary.map_err(|error| failed(version, error))?;
        binaries.insert(digest.clone(), binary.to_vec());
    }
    let made = sibling.sibling(blueprint, &binaries);
    made.map_err(|reason| PipelineError::VersionLost { version, reason })
}

async fn fetch(
    digest: &str,
    store: &CheckpointStore,
    waiter: Waiter<'_>,
) -> Result<bytes::Bytes, PipelineError> {
    let mut patience = Patience::new(waiter.waits, CHECKPOINTS);
    loop {
        match waiter
            .unless_stopped(CHECKPOINTS, store.component(digest))
            .await?
        {
            Ok(binary) => {
                patience.over();
                return Ok(binary);
            }
            Err(error) if error.remedy() == Remedy::Retry => {
                waiter.pause(CHECKPOINTS, patience.failed(&error)).await?;
            }
            Err(error) => return Err(PipelineError::Checkpoint(error)),
        }
    }
}

fn failed(version: Version, error: PipelineError) -> PipelineError {
    match error {
        PipelineError::Checkpoint(error @ CheckpointError::Damaged { .. }) => {
            PipelineError::VersionLost {
                version,
                reason: error.to_string(),
            }
        }
        other => other,
    }
}
