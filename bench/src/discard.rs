//! A ledger that keeps its journal in memory, and forgets the rows.

use async_trait::async_trait;
use wasmill::deployment::{Deployment, Outcome, Version};
use wasmill::epoch::{EpochId, EpochOutput, JournalEntry};
use wasmill::record::DeadLetter;
use wasmill::sink::memory::{MemoryLedger, MemorySink, MemoryStore};
use wasmill::sink::{Claim, Durable, Ledger, Sink, SinkError, Targets};

/// The journal of a ledger that has no tables.
pub(crate) struct Discard(MemoryLedger);

impl Discard {
    /// For a pipeline, in the place of its ledger.
    pub(crate) fn new(pipeline: &str) -> Result<Self, SinkError> {
        let sink = MemorySink::new("discard", &MemoryStore::new(), &[])?;
        Ok(Self(MemoryLedger::new(pipeline, sink)))
    }
}

#[async_trait]
impl Sink for Discard {
    fn name(&self) -> &str {
        self.0.name()
    }

    async fn prepare(&mut self) -> Result<(), SinkError> {
        self.0.prepare().await
    }

    /// Tables are what it has none of.
    fn aim(&mut self, _targets: &Targets) -> Result<(), SinkError> {
        Ok(())
    }

    async fn check(&mut self) -> Result<Vec<String>, SinkError> {
        self.0.check().await
    }

    async fn write(&mut self, epoch: &EpochOutput) -> Result<Durable, SinkError> {
        self.0.write(epoch).await
    }
}

#[async_trait]
impl Ledger for Discard {
    async fn claim(
        &mut self,
        definition: &serde_json::Value,
        others: &[String],
    ) -> Result<Claim, SinkError> {
        self.0.claim(definition, others).await
    }

    async fn check_claim(
        &mut self,
        definition: &serde_json::Value,
        others: &[String],
    ) -> Result<(), SinkError> {
        self.0.check_claim(definition, others).await
    }

    async fn journal(
        &mut self,
        after: EpochId,
        entries_max: usize,
    ) -> Result<Vec<JournalEntry>, SinkError> {
        self.0.journal(after, entries_max).await
    }

    async fn deployments(&mut self) -> Result<Vec<Deployment>, SinkError> {
        self.0.deployments().await
    }

    async fn conclude(&mut self, version: Version, outcome: &Outcome) -> Result<(), SinkError> {
        self.0.conclude(version, outcome).await
    }

    async fn confirm(
        &mut self,
        sink: &str,
        epoch: EpochId,
        refused: &[DeadLetter],
        dead_letter_bytes: Option<u64>,
    ) -> Result<(), SinkError> {
        self.0
            .confirm(sink, epoch, refused, dead_letter_bytes)
            .await
    }

    async fn checkpointed(&mut self, oldest: EpochId) -> Result<(), SinkError> {
        self.0.checkpointed(oldest).await
    }
}
