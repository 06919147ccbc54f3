//! Repeating committed epochs: no clock, limit or threshold is asked, only the journal.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::Ending;
use super::intake::{BATCH_ROWS, Intake};
use crate::deployment::Version;
use crate::epoch::{EpochId, JournalEntry, Mode};
use crate::pipeline::PipelineError;
use crate::pipeline::change::Logic;
use crate::pipeline::readmission::{Found, Retrieval};
use crate::pipeline::versions::Versions;
use crate::record::{Origin, Positions};
use crate::source::SourceError;

/// States that are made anew are merged every so many records.
const REBUILD_ROWS: usize = 16 * BATCH_ROWS;

/// What is read again before anything else.
pub(in crate::pipeline) struct Replay {
    rebuild: Option<Rebuild>,
    /// committed epochs to repeat, in order
    entries: VecDeque<JournalEntry>,
    /// what the first of them leaves out, once it was begun
    excluded: Option<Arc<BTreeSet<Origin>>>,
    /// what the first of them took up again, while that is read
    readmitted: Option<Retrieval>,
    /// the last epoch that every sink that is shown them has confirmed
    confirmed: EpochId,
    in_force: InForce,
}

/// The version that the stages of a line are of, and the way to others.
pub(in crate::pipeline) struct InForce {
    pub(in crate::pipeline) version: Version,
    pub(in crate::pipeline) versions: Arc<Versions>,
    /// for which of the sinks behind the ledger it is, if not for all
    pub(in crate::pipeline) sink: Option<String>,
}

impl InForce {
    /// What has to come into force before an epoch of this version is repeated, if anything.
    fn change_to(
        &mut self,
        version: Version,
        workers: usize,
    ) -> Result<Option<Logic>, PipelineError> {
        if version == self.version {
            return Ok(None);
        }
        let sink = self.sink.as_deref();
        let change = self.versions.change_to(version, sink, workers)?;
        self.version = version;
        Ok(change.logic)
    }
}

/// States that are made anew, in pieces, from the records alone.
#[derive(Debug)]
pub(in crate::pipeline) struct Rebuild {
    /// the epoch at whose end they are as they were
    pub(in crate::pipeline) epoch: EpochId,
    /// the positions there
    pub(in crate::pipeline) end: Positions,
    /// records of the piece that was begun
    pub(in crate::pipeline) rows: usize,
}

impl Replay {
    /// First the states are made anew, if they are to be, then the entries are repeated. Sinks are
    /// shown those after `confirmed`.
    pub(in crate::pipeline) fn new(
        rebuild: Option<Rebuild>,
        entries: VecDeque<JournalEntry>,
        confirmed: EpochId,
        in_force: InForce,
    ) -> Self {
        Self {
            rebuild,
            entries,
            excluded: None,
            readmitted: None,
            confirmed,
            in_force,
        }
    }

    /// Whether all is repeated.
    pub(super) fn is_over(&self) -> bool {
        self.rebuild.is_none() && self.entries.is_empty()
    }

    /// More to repeat, behind what there is.
    pub(super) fn add(&mut self, entries: Vec<JournalEntry>) {
        self.entries.extend(entries);
    }

    /// Goes on with it.
    pub(super) fn step(&mut self, intake: &mut Intake) -> Result<(), Ending> {
        match self.rebuild.take() {
            Some(rebuild) => self.make_anew(rebuild, intake),
            None => self.repeat(intake),
        }
    }

    /// Goes on with the epochs that the journal has forgotten.
    fn make_anew(&mut self, mut rebuild: Rebuild, intake: &mut Intake) -> Result<(), Ending> {
        let none = Arc::default();
        if !intake.source.positions().reached(&rebuild.end) {
            let rows_max = REBUILD_ROWS - rebuild.rows;
            let until = no_further_than(&rebuild.end, intake);
            let read = intake.poll(&until, rows_max, intake.poll_wait, Mode::Rebuild)?;
            rebuild.rows += read.records;
            intake.send_full(&none, Mode::Rebuild)?;
        }
        let done = intake.source.positions().reached(&rebuild.end);
        if done || rebuild.rows >= REBUILD_ROWS {
            rebuild.rows = 0;
            let epoch = (rebuild.epoch, self.in_force.version);
            let positions = intake.source.positions().clone();
            let barrier = intake.barrier(epoch, positions, Mode::Rebuild);
            intake.cut(&barrier, &none)?;
        }
        self.rebuild = (!done).then_some(rebuild);
        Ok(())
    }

    /// Goes on with the next epoch of the journal.
    fn repeat(&mut self, intake: &mut Intake) -> Result<(), Ending> {
        let Some(mut entry) = self.entries.pop_front() else {
            return Ok(());
        };
        let excluded = self.excluded.take();
        let excluded = excluded.unwrap_or_else(|| Arc::new(std::mem::take(&mut entry.excluded)));
        let mode = Mode::Replay {
            shown: entry.epoch > self.confirmed,
        };
        if !intake.source.positions().reached(&entry.positions) {
            let until = no_further_than(&entry.positions, intake);
            intake.poll(&until, usize::MAX, intake.poll_wait, mode)?;
            intake.send_full(&excluded, mode)?;
        }
        let read = entry.readmitted.is_empty() || self.read_again(&entry, &excluded, intake)?;
        if !read || !intake.source.positions().reached(&entry.positions) {
            self.entries.push_front(entry);
            self.excluded = Some(excluded);
            return Ok(());
        }
        self.readmitted = None;
        let barrier = intake.barrier((entry.epoch, entry.version), entry.positions, mode);
        let workers = intake.lanes.len();
        match self.in_force.change_to(entry.version, workers)? {
            Some(Logic { chains, swap, .. }) => intake.put_in_force(chains, swap, barrier),
            None => intake.cut(&barrier, &excluded),
        }
    }
}

impl Replay {
    /// Goes on reading what an epoch took up again and kept; true once all of it is on its way to the
    /// workers.
    fn read_again(
        &mut self,
        entry: &JournalEntry,
        excluded: &Arc<BTreeSet<Origin>>,
        intake: &mut Intake,
    ) -> Result<bool, Ending> {
        let mut retrieval = if let Some(begun) = self.readmitted.take() {
            begun
        } else {
            let source = (intake.open_source)().map_err(PipelineError::Source)?;
            Retrieval::new(source, entry.readmitted.difference(excluded).copied())
        };
        let mut found = Found::default();
        let stepped = retrieval.step(intake.poll_wait, &mut found);
        let mode = Mode::Replay {
            shown: entry.epoch > self.confirmed,
        };
        intake.distribute(&found.records, excluded, mode)?;
        intake.lost_again(&found.gone)?;
        match stepped {
            Ok(()) => intake.patience.over(),
            Err(error @ SourceError::Unavailable { .. }) => {
                let _ = intake.patience.failed(&error);
                std::thread::sleep(intake.poll_wait);
            }
            Err(error) => return Err(PipelineError::Source(error).into()),
        }
        let is_over = retrieval.is_over();
        self.readmitted = Some(retrieval);
        Ok(is_over)
    }
}

/// A bound for every partition: those that the end does not know yet stay where they are.
fn no_further_than(end: &Positions, intake: &Intake) -> Positions {
    let mut until = intake.source.positions().clone();
    for (partition, next) in end.iter() {
        until.set(partition, next);
    }
    until
}
