//! What the ledger's task does for records that are taken up again: it finds them in the journal, and
//! notes that they were committed.

use super::backlog::{Done, Survey};
use crate::deployment::Version;
use crate::epoch::{EpochId, EpochOutput};
use crate::pipeline::PipelineError;
use crate::pipeline::commit::LedgerTask;
use crate::pipeline::patience::until_done;

/// Entries of the journal that are looked at together.
const ENTRIES_MAX: usize = 1_000;

impl LedgerTask {
    /// Finds out what is pending: at the start, and where a version was just rolled back.
    pub(in crate::pipeline) async fn find_pending(&mut self) -> Result<(), PipelineError> {
        let mut survey = Survey::new(&self.versions.all());
        if survey.is_needed() {
            let mut known = EpochId(0);
            loop {
                let entries = until_done!(
                    self.patience(),
                    self.monitor.sink_retried(0),
                    self.ledger.journal(known, ENTRIES_MAX)
                );
                for entry in &entries {
                    survey.note(entry);
                }
                match entries.last() {
                    Some(last) => known = last.epoch,
                    None => break,
                }
            }
        }
        self.backlog.send_replace(survey.finish());
        let by = self.version_in_force();
        let counts = self.backlog.borrow().pending.by_version();
        for (version, records) in counts {
            tracing::info!(
                records,
                rejected_by = version.0,
                version = by.0,
                "processing again what a version rejected that was rolled back"
            );
        }
        self.tell_pending();
        Ok(())
    }

    /// An epoch is committed that took records up again.
    pub(in crate::pipeline) fn readmitted(&mut self, output: &EpochOutput) {
        let mut done = Done::default();
        self.backlog
            .send_modify(|backlog| done = backlog.readmitted(output));
        self.monitor.readmitted(output.readmitted.len());
        self.tell_pending();
        let left = self.backlog.borrow().pending.len();
        let Done { records, rejected } = done;
        let (epoch, version) = (output.epoch.0, output.version.0);
        if left > 0 {
            tracing::debug!(records, rejected, left, epoch, version, "processing again");
        } else {
            tracing::info!(
                records,
                rejected,
                epoch,
                version,
                "all of it is processed again; what was rejected again has new dead letters"
            );
        }
    }

    fn version_in_force(&self) -> Version {
        let latest = self.versions.latest();
        latest.map_or(Version::default(), |deployment| deployment.version)
    }

    /// Tells how many are pending now, with the version that is in force.
    pub(in crate::pipeline) fn tell_pending(&self) {
        let pending = self.backlog.borrow().pending.len();
        self.monitor.readmission_backlog(pending);
        self.readmissions.tell(self.version_in_force(), pending > 0);
    }
}
