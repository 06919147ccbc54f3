//! A ledger that takes everything and keeps nothing but its last position.

use async_trait::async_trait;
use wasmill::deployment::{Deployment, Outcome, Version};
use wasmill::epoch::{EpochId, EpochOutput, JournalEntry};
use wasmill::record::DeadLetter;
use wasmill::sink::{Claim, Durable, Ledger, Sink, SinkError, Targets};

/// Forgets what it is given.
#[derive(Debug, Default)]
pub(crate) struct Discard {
    last: Option<JournalEntry>,
}

#[async_trait]
impl Sink for Discard {
    fn name(&self) -> &'static str {
        "discard"
    }

    async fn prepare(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn aim(&mut self, _targets: &Targets) -> Result<(), SinkError> {
        Ok(())
    }

    async fn check(&mut self) -> Result<Vec<String>, SinkError> {
        Ok(Vec::new())
    }

    async fn write(&mut self, epoch: &EpochOutput) -> Result<Durable, SinkError> {
        self.last = Some(JournalEntry {
            epoch: epoch.epoch,
            positions: epoch.positions.clone(),
            ..JournalEntry::default()
        });
        Ok(Durable::default())
    }
}

#[async_trait]
impl Ledger for Discard {
    async fn claim(
        &mut self,
        _definition: &serde_json::Value,
        _others: &[String],
    ) -> Result<Claim, SinkError> {
        Ok(Claim::default())
    }

    async fn check_claim(
        &mut self,
        _definition: &serde_json::Value,
        _others: &[String],
    ) -> Result<(), SinkError> {
        Ok(())
    }

    async fn journal(
        &mut self,
        after: EpochId,
        entries_max: usize,
    ) -> Result<Vec<JournalEntry>, SinkError> {
        let last = self.last.iter().filter(|entry| entry.epoch > after);
        Ok(last.take(entries_max).cloned().collect())
    }

    async fn deployments(&mut self) -> Result<Vec<Deployment>, SinkError> {
        Ok(Vec::new())
    }

    async fn conclude(&mut self, _version: Version, _outcome: &Outcome) -> Result<(), SinkError> {
        Ok(())
    }

    async fn confirm(
        &mut self,
        _sink: &str,
        _epoch: EpochId,
        _refused: &[DeadLetter],
        _dead_letter_bytes: Option<u64>,
    ) -> Result<(), SinkError> {
        Ok(())
    }

    async fn checkpointed(&mut self, _oldest: EpochId) -> Result<(), SinkError> {
        Ok(())
    }
}
