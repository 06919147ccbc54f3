//! Journal, progress and generation beside the tables.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::{Contents, MemorySink, MemoryTable};
use crate::deployment::{Deployment, Outcome, Version};
use crate::epoch::{EpochId, EpochOutput, JournalEntry};
use crate::record::{DeadLetter, Positions};
use crate::sink::journal::new_life;
use crate::sink::{Claim, Durable, Ledger, Sink, SinkError, Targets};

/// What a pipeline's ledger holds.
#[derive(Debug, Default)]
pub(super) struct Books {
    life: Option<String>,
    definition: Option<serde_json::Value>,
    generation: u64,
    journal: Vec<JournalEntry>,
    deployments: Vec<Deployment>,
    confirmed: BTreeMap<String, EpochId>,
    dead_letter_bytes: Option<u64>,
}

impl Books {
    /// The last epoch and the positions after it.
    #[cfg(test)]
    pub(super) fn progress(&self) -> (EpochId, Positions) {
        let last = self.journal.last();
        last.map_or_else(Default::default, |e| (e.epoch, e.positions.clone()))
    }

    #[cfg(test)]
    pub(super) fn deployments(&self) -> Vec<Deployment> {
        self.deployments.clone()
    }

    /// The last epoch that another sink has confirmed.
    #[cfg(test)]
    pub(super) fn confirmed(&self, sink: &str) -> EpochId {
        self.confirmed.get(sink).copied().unwrap_or_default()
    }

    /// Forgets all epochs but the first and the last one.
    #[cfg(test)]
    pub(super) fn forget_all(&mut self) {
        let last = self.epoch();
        self.journal
            .retain(|entry| entry.epoch <= EpochId(1) || entry.epoch == last);
    }

    /// The last committed epoch.
    fn epoch(&self) -> EpochId {
        self.journal
            .last()
            .map_or(EpochId::default(), |entry| entry.epoch)
    }

    fn conclude(&mut self, version: Version, outcome: &Outcome) {
        let concerned = self.deployments.iter_mut();
        let concerned = concerned.filter(|deployment| deployment.version == version);
        concerned.for_each(|deployment| deployment.outcome = outcome.clone());
    }

    fn check_definition(&self, pipeline: &str, new: &serde_json::Value) -> Result<(), SinkError> {
        let stored = self.definition.as_ref().unwrap_or(new);
        let differing = differing_keys(stored, new);
        if differing.is_empty() {
            return Ok(());
        }
        Err(SinkError::Permanent(format!(
            "pipeline `{pipeline}` was started with other settings: {} changed; go back to the old ones, \
             or give the pipeline another name",
            differing.join(", ")
        )))
    }

    fn check_generation(&self, pipeline: &str, ours: u64) -> Result<(), SinkError> {
        if self.generation == ours {
            return Ok(());
        }
        Err(SinkError::Fenced {
            pipeline: pipeline.to_owned(),
            ours,
            theirs: self.generation,
        })
    }
}

/// A [`Ledger`]: tables, journal and progress in one store.
#[derive(Debug)]
pub struct MemoryLedger {
    sink: MemorySink,
    pipeline: String,
    generation: u64,
}

impl MemoryLedger {
    /// The ledger of this pipeline in the store of `sink`.
    #[must_use]
    pub fn new(pipeline: impl Into<String>, sink: MemorySink) -> Self {
        Self {
            sink,
            pipeline: pipeline.into(),
            generation: 0,
        }
    }

    /// Forgets that another host may have claimed the pipeline.
    #[cfg(test)]
    pub(crate) fn adopt_generation(&mut self) {
        let contents = self.sink.store.lock();
        let books = contents.pipelines.get(&self.pipeline);
        self.generation = books.map_or(0, |books| books.generation);
    }

    /// Does `action` with the contents and this pipeline's books, if it is still ours.
    fn as_owner<T>(
        &self,
        action: impl FnOnce(&mut Books, &mut BTreeMap<String, MemoryTable>) -> Result<T, SinkError>,
    ) -> Result<T, SinkError> {
        let mut contents = self.sink.store.lock();
        let Contents { tables, pipelines } = &mut *contents;
        let books = pipelines.entry(self.pipeline.clone()).or_default();
        books.check_generation(&self.pipeline, self.generation)?;
        action(books, tables)
    }
}

#[async_trait]
impl Sink for MemoryLedger {
    fn name(&self) -> &str {
        self.sink.name()
    }

    async fn prepare(&mut self) -> Result<(), SinkError> {
        self.sink.prepare().await
    }

    fn aim(&mut self, targets: &Targets) -> Result<(), SinkError> {
        self.sink.aim(targets)
    }

    async fn check(&mut self) -> Result<Vec<String>, SinkError> {
        self.sink.check().await
    }

    async fn write(&mut self, epoch: &EpochOutput) -> Result<Durable, SinkError> {
        self.as_owner(|books, tables| {
            if epoch.epoch <= books.epoch() {
                // It was committed, and the answer got lost.
                return Ok(());
            }
            if epoch.epoch != books.epoch().next() {
                return Err(SinkError::Permanent(format!(
                    "epoch {} cannot follow epoch {}",
                    epoch.epoch,
                    books.epoch()
                )));
            }
            self.sink.write_tables(epoch, tables)?;
            books.dead_letter_bytes = epoch.dead_letter_bytes;
            if let Some(deployed) = &epoch.deployed {
                if let Some((version, outcome)) = &deployed.concludes {
                    books.conclude(*version, outcome);
                }
                books.deployments.push(deployed.deployment.clone());
            }
            books.journal.push(JournalEntry {
                epoch: epoch.epoch,
                version: epoch.version,
                positions: epoch.positions.clone(),
                excluded: epoch.excluded.clone(),
                rejected: epoch.rejected.clone(),
                readmitted: epoch.readmitted.clone(),
            });
            Ok(())
        })?;
        Ok(Durable::default())
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn claim(
        &mut self,
        definition: &serde_json::Value,
        others: &[String],
    ) -> Result<Claim, SinkError> {
        let mut contents = self.sink.store.lock();
        let books = contents.pipelines.entry(self.pipeline.clone()).or_default();
        books.check_definition(&self.pipeline, definition)?;
        books.definition.get_or_insert_with(|| definition.clone());
        books.generation += 1;
        self.generation = books.generation;
        Ok(Claim {
            life: books.life.get_or_insert_with(new_life).clone(),
            generation: books.generation,
            epoch: books.epoch(),
            positions: books
                .journal
                .last()
                .map_or_else(Positions::default, |entry| entry.positions.clone()),
            confirmed: others
                .iter()
                .map(|sink| {
                    // From the first claim on, the journal keeps what it lacks.
                    let confirmed = books.confirmed.entry(sink.clone()).or_default();
                    (sink.clone(), *confirmed)
                })
                .collect(),
            dead_letter_bytes: books.dead_letter_bytes,
        })
    }

    async fn check_claim(
        &mut self,
        definition: &serde_json::Value,
        _others: &[String],
    ) -> Result<(), SinkError> {
        match self.sink.store.lock().pipelines.get(&self.pipeline) {
            Some(books) => books.check_definition(&self.pipeline, definition),
            None => Ok(()),
        }
    }

    async fn journal(
        &mut self,
        after: EpochId,
        entries_max: usize,
    ) -> Result<Vec<JournalEntry>, SinkError> {
        self.as_owner(|books, _| {
            let entries = books.journal.iter().filter(|entry| entry.epoch > after);
            Ok(entries.take(entries_max).cloned().collect())
        })
    }

    async fn deployments(&mut self) -> Result<Vec<Deployment>, SinkError> {
        self.as_owner(|books, _| Ok(books.deployments.clone()))
    }

    async fn conclude(&mut self, version: Version, outcome: &Outcome) -> Result<(), SinkError> {
        self.as_owner(|books, _| {
            books.conclude(version, outcome);
            Ok(())
        })
    }

    async fn confirm(
        &mut self,
        sink: &str,
        epoch: EpochId,
        _refused: &[DeadLetter],
        dead_letter_bytes: Option<u64>,
    ) -> Result<(), SinkError> {
        self.as_owner(|books, _| {
            books.confirmed.insert(sink.to_owned(), epoch);
            books.dead_letter_bytes = dead_letter_bytes.or(books.dead_letter_bytes);
            Ok(())
        })
    }

    async fn checkpointed(&mut self, oldest: EpochId) -> Result<(), SinkError> {
        self.as_owner(|books, _| {
            let needed = books.confirmed.values().copied().min();
            let oldest = needed.map_or(oldest, |needed| needed.min(oldest));
            books
                .journal
                .retain(|entry| entry.epoch <= EpochId(1) || entry.epoch >= oldest);
            Ok(())
        })
    }
}

/// The keys of two definitions whose values differ; "everything" when one is no object.
fn differing_keys(stored: &serde_json::Value, new: &serde_json::Value) -> Vec<String> {
    if stored == new {
        return Vec::new();
    }
    let (Some(old), Some(new)) = (stored.as_object(), new.as_object()) else {
        return vec!["everything".to_owned()];
    };
    let added = new.keys().filter(|key| !old.contains_key(*key));
    old.keys()
        .chain(added)
        .filter(|key| old.get(*key) != new.get(*key))
        .map(|key| format!("`{key}`"))
        .collect()
}
