//! The versions of the logic that a run needs: the one in force, and those that epochs were made by
//! that have to be repeated.
//!
//! # Invariants
//!
//! An epoch is repeated with the version that made it, whatever the pipeline's file says now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::PipelineError;
use super::change::{Change, Halves};
use super::patience::CHECKPOINTS;
use super::topology::Stages;
use super::waiter::{Waiter, patiently};
use crate::checkpoint::{CheckpointError, CheckpointStore};
use crate::deployment::{Backfills, Blueprint, Deployment, Outcome, Rejections, Version};
use crate::epoch::{EpochId, JournalEntry};
use crate::record::{Cause, DeadLetter};
use crate::sink::Targets;

/// Shared by all lines of a run.
pub(super) struct Versions {
    known: Mutex<Known>,
    /// the newest that the ledger has
    newest: watch::Sender<Version>,
}

struct Known {
    /// in order
    deployments: Vec<Deployment>,
    stages: BTreeMap<Version, Arc<dyn Stages>>,
    /// what joins with versions that may have to be repeated
    halves: BTreeMap<Version, Arc<Halves>>,
    /// whether files are being written that no deployment names yet
    is_joining: bool,
    /// what each did, in this run and as far as the journal told at its start
    tallies: BTreeMap<Version, Tally>,
}

/// What a version did, as far as it is committed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// offsets that it went over
    pub(super) records: u64,
    /// records that some stage left out
    pub(super) rejected: u64,
    /// those of them on which a guest failed, in this run
    pub(super) failed: u64,
    /// how it failed first, in this run
    pub(super) example: Option<String>,
}

impl Tally {
    /// How many of its records were rejected, from 0 to 1.
    pub(super) fn rejected_share(&self) -> f64 {
        self.rejected as f64 / self.records.max(1) as f64
    }
}

impl Versions {
    /// What the ledger knows, in order.
    pub(super) fn new(deployments: Vec<Deployment>) -> Self {
        let newest = deployments.last().map_or(Version::default(), |d| d.version);
        Self {
            known: Mutex::new(Known {
                deployments,
                stages: BTreeMap::new(),
                halves: BTreeMap::new(),
                is_joining: false,
                tallies: BTreeMap::new(),
            }),
            newest: watch::Sender::new(newest),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the ledger has a version.
    pub(super) async fn reached(&self, version: Version) {
        let mut newest = self.newest.subscribe();
        // We have the other end ourselves.
        let _ = newest.wait_for(|newest| *newest >= version).await;
    }

    /// A committed epoch of a version.
    pub(super) fn count(&self, version: Version, records: u64, letters: &[DeadLetter]) {
        let mut known = self.known();
        let tally = known.tallies.entry(version).or_default();
        tally.records += records;
        tally.rejected += letters.len() as u64;
        for letter in letters
            .iter()
            .filter(|letter| letter.cause == Cause::Failed)
        {
            tally.failed += 1;
            tally.example.get_or_insert_with(|| letter.reason.clone());
        }
    }

    /// What the journal still tells of what versions did, before this run.
    pub(super) fn recall(&self, journal: &[JournalEntry]) {
        let mut known = self.known();
        let followed = journal.windows(2).filter_map(|pair| match pair {
            [before, entry] if entry.epoch == before.epoch.next() => Some((before, entry)),
            _ => None,
        });
        for (before, entry) in followed.filter(|(_, entry)| entry.readmitted.is_empty()) {
            let tally = known.tallies.entry(entry.version).or_default();
            let offsets = entry.positions.iter().map(|(partition, next)| {
                let from = before.positions.get(partition).unwrap_or(next);
                u64::try_from(next - from).unwrap_or(0)
            });
            tally.records += offsets.sum::<u64>();
            tally.rejected += entry.rejected.values().map(|r| r.len() as u64).sum::<u64>();
        }
    }

    /// What a version did.
    pub(super) fn tally(&self, version: Version) -> Tally {
        self.known()
            .tallies
            .get(&version)
            .cloned()
            .unwrap_or_default()
    }

    /// What the last version before this one did that did anything.
    pub(super) fn tally_before(&self, version: Version) -> Tally {
        let known = self.known();
        let before = known.tallies.range(..version).next_back();
        before.map(|(_, tally)| tally.clone()).unwrap_or_default()
    }

    /// What became of a version.
    pub(super) fn conclude(&self, version: Version, outcome: &Outcome) {
        let mut known = self.known();
        let concerned = known
            .deployments
            .iter_mut()
            .filter(|d| d.version == version);
        concerned.for_each(|deployment| deployment.outcome = outcome.clone());
    }

    /// The newest deployment; `None` before the first one.
    pub(super) fn latest(&self) -> Option<Deployment> {
        self.known().deployments.last().cloned()
    }

    /// How much the last version before this one rejected that did anything.
    pub(super) fn rejections_before(&self, version: Version) -> Rejections {
        let Tally {
            records, rejected, ..
        } = self.tally_before(version);
        Rejections { records, rejected }
    }

    /// What a version is measured by: what its deployment says of the version before, or else what that has
    /// done of late.
    pub(super) fn measure_of(&self, version: Version) -> Tally {
        let before = self.tally_before(version);
        let known = self.known();
        let deployment = known.deployments.iter().find(|d| d.version == version);
        let former = deployment.map(|d| d.former).unwrap_or_default();
        if former.records == 0 {
            return before;
        }
        Tally {
            records: former.records,
            rejected: former.rejected,
            ..before
        }
    }

    /// Whether the version in force is on probation.
    pub(super) fn is_on_trial(&self) -> bool {
        let known = self.known();
        let latest = known.deployments.last();
        latest.is_some_and(|deployment| deployment.outcome == Outcome::Probation)
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

    /// What joins with a version is there.
    pub(super) fn learn_halves(&self, version: Version, halves: Halves) {
        self.known().halves.insert(version, Arc::new(halves));
    }

    /// Nobody will repeat this epoch or one before it: what joined with it is in every checkpoint.
    pub(super) fn forget_halves(&self, epoch: EpochId) {
        let mut known = self.known();
        let Known {
            deployments,
            halves,
            ..
        } = &mut *known;
        let is_needed = |version: &Version| {
            let deployment = deployments.iter().find(|d| d.version == *version);
            deployment.is_none_or(|deployment| deployment.epoch > epoch)
        };
        halves.retain(|version, _| is_needed(version));
    }

    /// Files are about to be written that no deployment names yet, or are no more.
    pub(super) fn join(&self, is_joining: bool) {
        self.known().is_joining = is_joining;
    }

    /// The files of what joins after an epoch; `None` while some are being written.
    pub(super) fn files_after(&self, epoch: EpochId) -> Option<BTreeSet<String>> {
        let known = self.known();
        let later = known.deployments.iter().filter(|d| d.epoch > epoch);
        let files = later.flat_map(|d| d.backfills.joined.values().flatten());
        (!known.is_joining).then(|| files.map(|file| file.name.clone()).collect())
    }

    /// Those aggregates of a version whose rows are not shown yet.
    pub(super) fn backfills(&self, version: Version) -> Backfills {
        let known = self.known();
        let found = known.deployments.iter().find(|d| d.version == version);
        found.map(|d| d.backfills.clone()).unwrap_or_default()
    }

    /// A deployment was written down.
    pub(super) fn note(&self, deployment: Deployment) {
        let mut known = self.known();
        known.deployments.retain(|d| d.version < deployment.version);
        let version = deployment.version;
        known.deployments.push(deployment);
        drop(known);
        self.newest.send_replace(version);
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
        let lacking: Vec<Deployment> = {
            let known = self.known();
            let joins = |d: &&Deployment| d.epoch > epoch && !d.backfills.joined.is_empty();
            let joining = known.deployments.iter().filter(joins);
            let lacking = joining.filter(|d| !known.halves.contains_key(&d.version));
            lacking.cloned().collect()
        };
        for deployment in lacking {
            let halves = load_halves(&deployment, store, waiter).await?;
            self.learn_halves(deployment.version, halves);
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
        let (deployment, halves) = {
            let known = self.known();
            let found = known.deployments.iter().find(|d| d.version == version);
            let found = found.ok_or(PipelineError::NoSuchVersion(version))?;
            (found.clone(), known.halves.get(&version).cloned())
        };
        let mut stages = self.stages(version)?;
        if let Some(sink) = sink {
            stages = stages.of_sink(sink);
        }
        Change::to(deployment, &*stages, workers, &halves.unwrap_or_default())
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
        let binary = patiently(CHECKPOINTS, waiter, || store.component(digest)).await;
        let binary = binary.map_err(|error| failed(version, error))?;
        binaries.insert(digest.clone(), binary.to_vec());
    }
    let made = sibling.sibling(blueprint, &binaries);
    made.map_err(|reason| PipelineError::VersionLost { version, reason })
}

/// What joined with a version, as it was stored.
async fn load_halves(
    deployment: &Deployment,
    store: &CheckpointStore,
    waiter: Waiter<'_>,
) -> Result<Halves, PipelineError> {
    let mut halves = Halves::new();
    for (aggregate, files) in &deployment.backfills.joined {
        let half = halves.entry(aggregate.as_str().into()).or_default();
        for file in files {
            let batch = patiently(CHECKPOINTS, waiter, || store.read(file)).await;
            half.push(batch.map_err(|error| failed(deployment.version, error))?);
        }
    }
    Ok(halves)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Origin, Partition};

    fn entry(epoch: u64, version: u32, next: i64, rejected: &[i64]) -> JournalEntry {
        let partition = Partition(0);
        let rejected = rejected.iter();
        let origins = rejected.map(|&offset| Origin { partition, offset });
        JournalEntry {
            epoch: EpochId(epoch),
            version: Version(version),
            positions: [(partition, next)].into_iter().collect(),
            rejected: [("sales".into(), origins.collect())].into(),
            ..JournalEntry::default()
        }
    }

    #[test]
    fn the_journal_tells_what_versions_did_where_it_has_no_gap() {
        let versions = Versions::new(Vec::new());
        versions.recall(&[
            entry(1, 1, 0, &[]),
            entry(7, 1, 500, &[400]),
            entry(8, 1, 600, &[550]),
            entry(9, 2, 600, &[]),
            entry(10, 2, 610, &[600, 601]),
        ]);
        let tally = |version| {
            let tally = versions.tally(Version(version));
            (tally.records, tally.rejected)
        };
        assert_eq!(tally(1), (100, 1), "who knows how many the first 500 were");
        assert_eq!(tally(2), (10, 2));
        let before = versions.tally_before(Version(2));
        assert_eq!((before.records, before.rejected), (100, 1));
    }
}
