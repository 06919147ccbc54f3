//! What is pending, as the journal says, and how far back the journal has to reach for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::deployment::{Deployment, Outcome, Version};
use crate::epoch::{ByStage, EpochId, EpochOutput, JournalEntry};
use crate::record::Origin;

/// Records that are to be processed again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::pipeline) struct Pending(BTreeMap<Origin, RejectedBy>);

/// Who rejected a record last.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RejectedBy {
    version: Version,
    stage: Arc<str>,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn has(&self, record: Origin) -> bool {
        self.0.contains_key(&record)
    }

    pub(super) fn records(&self) -> impl Iterator<Item = Origin> + '_ {
        self.0.keys().copied()
    }

    /// These of them, by the stage that rejected them.
    pub(super) fn by_stage(&self, records: impl IntoIterator<Item = Origin>) -> ByStage {
        let mut by_stage = ByStage::new();
        for record in records {
            if let Some(RejectedBy { stage, .. }) = self.0.get(&record) {
                by_stage
                    .entry(Arc::clone(stage))
                    .or_default()
                    .insert(record);
            }
        }
        by_stage
    }

    /// How many each version rejected.
    pub(super) fn by_version(&self) -> BTreeMap<Version, usize> {
        let mut counts = BTreeMap::new();
        for by in self.0.values() {
            *counts.entry(by.version).or_default() += 1;
        }
        counts
    }

    /// An epoch has taken up these.
    pub(super) fn remove(&mut self, readmitted: &BTreeSet<Origin>) {
        for record in readmitted {
            self.0.remove(record);
        }
    }
}

/// Until which epoch the journal keeps which entries, for the sake of records that are taken up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Keep {
    /// before the first epoch that rejected some of them
    from: EpochId,
    /// the last one that took some up again
    until: EpochId,
}

/// What is pending, and what the journal has to keep.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::pipeline) struct Backlog {
    pub(super) pending: Pending,
    keep: Option<Keep>,
    pub(super) done: Done,
}

/// What was processed again since something was found to be pending.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) records: usize,
    /// those of them that were rejected again
    pub(super) rejected: usize,
}

/// Goes through the journal for it, from its beginning.
pub(super) struct Survey {
    /// with the epochs before those that they begin with
    rolled_back: BTreeMap<Version, EpochId>,
    backlog: Backlog,
}

impl Survey {
    /// Of a pipeline with these deployments.
    pub(super) fn new(deployments: &[Deployment]) -> Self {
        let rolled_back = deployments
            .iter()
            .filter(|deployment| matches!(deployment.outcome, Outcome::RolledBack { .. }));
        Self {
            rolled_back: rolled_back.map(|d| (d.version, before(d))).collect(),
            backlog: Backlog::default(),
        }
    }

    /// Whether there can be anything.
    pub(super) fn is_needed(&self) -> bool {
        !self.rolled_back.is_empty()
    }

    pub(super) fn note(&mut self, entry: &JournalEntry) {
        let Backlog { pending, keep, .. } = &mut self.backlog;
        if !entry.readmitted.is_empty() {
            pending.remove(&entry.readmitted);
            if let Some(keep) = keep {
                keep.until = entry.epoch;
            }
        }
        let Some(&from) = self.rolled_back.get(&entry.version) else {
            return;
        };
        for (stage, records) in &entry.rejected {
            let keep = keep.get_or_insert(Keep {
                from,
                until: entry.epoch,
            });
            keep.from = keep.from.min(from);
            pending.0.extend(records.iter().map(|&record| {
                let stage = Arc::clone(stage);
                let version = entry.version;
                (record, RejectedBy { version, stage })
            }));
        }
    }

    pub(super) fn finish(self) -> Backlog {
        self.backlog
    }
}

/// The epoch before a deployment's first one: states that are made anew from all records end there, and
/// with the version before.
fn before(deployment: &Deployment) -> EpochId {
    EpochId(deployment.epoch.0.saturating_sub(1))
}

impl Backlog {
    /// An epoch has taken records up again; what that comes to so far.
    pub(super) fn readmitted(&mut self, output: &EpochOutput) -> Done {
        self.pending.remove(&output.readmitted);
        if let Some(keep) = &mut self.keep {
            keep.until = output.epoch;
        }
        self.done.records += output.readmitted.len();
        self.done.rejected += output.rejected.values().map(BTreeSet::len).sum::<usize>();
        self.done
    }

    /// The oldest epoch of the journal that has to stay, where no checkpoint is older than that of epoch
    /// `oldest`. The last of the deployments is in force.
    ///
    /// Where states have to be made anew from all records, the oldest entry says up to where they are
    /// decided again, by its version. That must not lie between an epoch that rejected a record and the
    /// one that took it up: the record would count twice.
    pub(in crate::pipeline) fn oldest(
        &mut self,
        oldest: EpochId,
        deployments: &[Deployment],
    ) -> EpochId {
        if self.pending.is_empty() && self.keep.is_some_and(|keep| oldest >= keep.until) {
            self.keep = None;
        }
        let on_trial = deployments.last();
        let on_trial = on_trial.filter(|d| d.outcome == Outcome::Probation);
        let kept = self.keep.map(|keep| keep.from);
        kept.into_iter()
            .chain(on_trial.map(before))
            .fold(oldest, EpochId::min)
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::deployment::{Backfills, Blueprint, Rejections, Trigger};
    use crate::record::{Partition, Positions};

    fn origin(offset: i64) -> Origin {
        Origin {
            partition: Partition(0),
            offset,
        }
    }

    fn records(offsets: &[i64]) -> BTreeSet<Origin> {
        offsets.iter().map(|&offset| origin(offset)).collect()
    }

    fn entry(epoch: u64, version: u32, rejected: &[i64], readmitted: &[i64]) -> JournalEntry {
        let mut by_stage = ByStage::new();
        if !rejected.is_empty() {
            by_stage.insert("sales".into(), records(rejected));
        }
        JournalEntry {
            epoch: EpochId(epoch),
            version: Version(version),
            rejected: by_stage,
            readmitted: records(readmitted),
            ..JournalEntry::default()
        }
    }

    fn deployment(version: u32, epoch: u64, outcome: Outcome) -> Deployment {
        Deployment {
            version: Version(version),
            trigger: Trigger::File,
            deployed_at: DateTime::UNIX_EPOCH,
            epoch: EpochId(epoch),
            positions: Positions::default(),
            blueprint: Blueprint::default(),
            backfills: Backfills::default(),
            former: Rejections::default(),
            outcome,
        }
    }

    fn rolled_back() -> Outcome {
        Outcome::RolledBack {
            reason: String::new(),
        }
    }

    /// Version 2 was in force from epoch 10 to 19, version 4 from 30 to 39; both were rolled back.
    fn deployments() -> [Deployment; 5] {
        [
            deployment(1, 1, Outcome::Accepted),
            deployment(2, 10, rolled_back()),
            deployment(3, 20, Outcome::Accepted),
            deployment(4, 30, rolled_back()),
            deployment(5, 40, Outcome::Accepted),
        ]
    }

    fn survey(deployments: &[Deployment], journal: &[JournalEntry]) -> Backlog {
        let mut survey = Survey::new(deployments);
        for entry in journal {
            survey.note(entry);
        }
        survey.finish()
    }

    fn pending(backlog: &Backlog) -> Vec<i64> {
        backlog.pending.records().map(|r| r.offset).collect()
    }

    #[test]
    fn what_versions_rejected_that_were_rolled_back_is_pending_until_it_is_taken_up() {
        let journal = [
            entry(5, 1, &[1], &[]),
            entry(11, 2, &[2, 3], &[]),
            entry(12, 2, &[4], &[]),
            entry(21, 3, &[5], &[]),
            entry(22, 3, &[], &[2]),
        ];
        let backlog = survey(&deployments(), &journal);
        assert_eq!(pending(&backlog), [3, 4]);
        assert_eq!(
            backlog.pending.by_stage([origin(3), origin(9)]),
            [("sales".into(), records(&[3]))].into()
        );
    }

    #[test]
    fn what_is_rejected_again_is_pending_again_only_if_that_version_goes_too() {
        // Taken up by version 3, which rejected it for good; and by version 4, which was bad itself.
        let journal = [
            entry(11, 2, &[2, 3], &[]),
            entry(22, 3, &[2], &[2]),
            entry(31, 4, &[3], &[3]),
        ];
        let backlog = survey(&deployments(), &journal);
        assert_eq!(pending(&backlog), [3]);
        assert_eq!(backlog.pending.by_version(), [(Version(4), 1)].into());
    }

    #[test]
    fn the_journal_reaches_back_before_the_version_until_a_checkpoint_has_all_that_was_taken_up() {
        let all = deployments();
        let journal = [entry(11, 2, &[2, 3], &[]), entry(22, 3, &[], &[2])];
        let mut backlog = survey(&all, &journal);
        assert_eq!(backlog.oldest(EpochId(5), &all), EpochId(5));
        assert_eq!(backlog.oldest(EpochId(50), &all), EpochId(9));
        let done = backlog.readmitted(&EpochOutput {
            epoch: EpochId(60),
            readmitted: records(&[3]),
            ..EpochOutput::default()
        });
        assert_eq!((done.records, done.rejected), (1, 0));
        assert_eq!(backlog.oldest(EpochId(59), &all), EpochId(9));
        assert_eq!(backlog.oldest(EpochId(60), &all), EpochId(60));
        assert_eq!(backlog.keep, None);
    }

    #[test]
    fn a_start_keeps_what_the_run_before_has_kept() {
        let all = deployments();
        let journal = [entry(11, 2, &[2], &[]), entry(22, 3, &[], &[2])];
        let mut backlog = survey(&all, &journal);
        assert!(backlog.pending.is_empty());
        assert_eq!(backlog.oldest(EpochId(21), &all), EpochId(9));
        assert_eq!(backlog.oldest(EpochId(22), &all), EpochId(22));
    }

    #[test]
    fn the_entries_of_a_version_on_probation_stay() {
        let all = [
            deployment(1, 1, Outcome::Accepted),
            deployment(2, 10, Outcome::Probation),
        ];
        assert_eq!(Backlog::default().oldest(EpochId(50), &all), EpochId(9));
        // It was followed by another one before it had passed.
        let later = [&all[..], &[deployment(3, 20, Outcome::Accepted)]].concat();
        assert_eq!(Backlog::default().oldest(EpochId(50), &later), EpochId(50));
    }
}
