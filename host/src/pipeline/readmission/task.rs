//! The task that reads what is pending, and hands it to the reader.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Backlog, Chunk, Found, Pending, Readmissions, Retrieval};
use crate::blocking::off_the_runtime;
use crate::epoch::Readmission;
use crate::pipeline::monitor::Monitor;
use crate::pipeline::patience::{Patience, SOURCE};
use crate::pipeline::{OpenSource, PipelineError};
use crate::record::{Origin, Partition, RawBatch};
use crate::source::SourceError;

/// So many records are taken up together at most: they are one epoch, in memory as a whole and in one
/// transaction, and their neighbours wait for it.
const CHUNK_ROWS: usize = 16_384;
/// Or so many bytes, about.
const CHUNK_BYTES: usize = 4 << 20;
/// Records of a batch for the workers, about.
const BATCH_ROWS: usize = 4_096;
/// Places of records that are gone which the log names.
const NAMED_MAX: usize = 10;

/// The task. It goes on for as long as the ledger's task does.
pub(in crate::pipeline) struct Readmitter {
    /// told by the ledger's task
    pub(in crate::pipeline) backlog: watch::Receiver<Backlog>,
    pub(in crate::pipeline) readmissions: Readmissions,
    pub(in crate::pipeline) open_source: OpenSource,
    /// how long the source is waited for at a time
    pub(in crate::pipeline) poll_wait: Duration,
    /// cancelled when the run is to end
    pub(in crate::pipeline) stop: CancellationToken,
    pub(in crate::pipeline) monitor: Arc<Monitor>,
}

/// Why no more is read for now.
enum Pause {
    /// The run ends.
    Ended,
    /// The source cannot be read.
    Failed(SourceError),
}

impl Readmitter {
    /// Works until the run ends.
    pub(in crate::pipeline) async fn run(mut self) -> Result<(), PipelineError> {
        let stop = self.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.work() => {}
        }
        Ok(())
    }

    async fn work(&mut self) {
        loop {
            let some = |backlog: &Backlog| !backlog.pending.is_empty();
            if self.backlog.wait_for(some).await.is_err() {
                return;
            }
            match self.read_all().await {
                Ok(()) => {}
                Err(Pause::Ended) => return,
                Err(Pause::Failed(error)) => {
                    tracing::error!(
                        %error,
                        "what a version rejected that was rolled back cannot be read again: it stays in the dead letters until the next start"
                    );
                    self.readmissions.give_up();
                    // Unless there is more to do: then it is tried once more.
                    if self.backlog.changed().await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Has all that is pending now taken up.
    async fn read_all(&mut self) -> Result<(), Pause> {
        let source = (self.open_source)().map_err(Pause::Failed)?;
        let mut retrieval = {
            let backlog = self.backlog.borrow_and_update();
            Retrieval::new(source, backlog.pending.records())
        };
        while !retrieval.is_over() {
            let found = self.gather(&mut retrieval).await?;
            let chunk = chunk_of(found, &self.backlog.borrow().pending);
            let mut records = chunk.readmission.records.values().flatten();
            let Some(&one) = records.next() else {
                continue;
            };
            warn_of(&chunk.readmission);
            self.readmissions.put(chunk);
            let committed = |backlog: &Backlog| !backlog.pending.has(one);
            if self.backlog.wait_for(committed).await.is_err() {
                return Err(Pause::Ended);
            }
        }
        Ok(())
    }

    /// Reads the next chunk.
    async fn gather(&self, retrieval: &mut Retrieval) -> Result<Found, Pause> {
        let unseen = self.monitor.unseen();
        let mut patience = Patience::new(unseen.waits(), SOURCE);
        let mut found = Found::default();
        let is_full = |found: &Found| {
            let (records, gone) = (&found.records, &found.gone);
            records.len() + gone.len() >= CHUNK_ROWS || records.byte_len() >= CHUNK_BYTES
        };
        while !retrieval.is_over() && !is_full(&found) {
            match off_the_runtime(|| retrieval.step(self.poll_wait, &mut found)) {
                Ok(()) => patience.over(),
                Err(error @ SourceError::Unavailable { .. }) => {
                    tokio::time::sleep(patience.failed(&error)).await;
                }
                Err(error) => return Err(Pause::Failed(error)),
            }
            // Whoever is to stop stops here.
            tokio::task::yield_now().await;
        }
        Ok(found)
    }
}

/// What was found, as the reader takes it.
fn chunk_of(Found { records, gone }: Found, pending: &Pending) -> Chunk {
    let read = records.iter().map(|record| record.origin);
    let readmission = Readmission {
        records: pending.by_stage(read.chain(gone.iter().copied())),
        gone,
    };
    let mut batches: Vec<RawBatch> = Vec::new();
    for record in records.iter() {
        if batches.last().is_none_or(|batch| batch.len() >= BATCH_ROWS) {
            batches.push(RawBatch::default());
        }
        if let Some(batch) = batches.last_mut() {
            batch.push(record);
        }
    }
    Chunk {
        batches,
        readmission,
    }
}

/// Tells of records that stay dead letters because the source has deleted them.
fn warn_of(readmission: &Readmission) {
    let gone = &readmission.gone;
    let Some(first) = gone.first() else {
        return;
    };
    let mut partitions: BTreeMap<Partition, u64> = BTreeMap::new();
    for Origin { partition, .. } in gone {
        *partitions.entry(*partition).or_default() += 1;
    }
    let counts = partitions.iter();
    let counts: Vec<String> = counts.map(|(p, count)| format!("{p}: {count}")).collect();
    let named = gone.iter().take(NAMED_MAX);
    let named: Vec<String> = named
        .map(|origin| format!("{}:{}", origin.partition, origin.offset))
        .collect();
    let more = if gone.len() > NAMED_MAX { ", …" } else { "" };
    tracing::warn!(
        records = gone.len(),
        by_partition = counts.join(", "),
        first_partition = first.partition.0,
        first_offset = first.offset,
        places = format!("{}{more}", named.join(", ")),
        "the source has deleted records that were to be processed again: they stay in the dead letters"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::{
        Backfills, Blueprint, Deployment, Outcome, Rejections, Trigger, Version,
    };
    use crate::epoch::{EpochId, JournalEntry};
    use crate::pipeline::readmission::backlog::Survey;
    use crate::record::{Positions, RawHeaders, RawRecord};

    fn origin(offset: i64) -> Origin {
        Origin {
            partition: Partition(0),
            offset,
        }
    }

    fn pending(offsets: std::ops::Range<i64>) -> Pending {
        let mut survey = Survey::new(&[Deployment {
            version: Version(2),
            trigger: Trigger::File,
            deployed_at: chrono::DateTime::UNIX_EPOCH,
            epoch: EpochId(2),
            positions: Positions::default(),
            blueprint: Blueprint::default(),
            backfills: Backfills::default(),
            former: Rejections::default(),
            outcome: Outcome::RolledBack {
                reason: String::new(),
            },
        }]);
        survey.note(&JournalEntry {
            epoch: EpochId(3),
            version: Version(2),
            rejected: [("sales".into(), offsets.map(origin).collect())].into(),
            ..JournalEntry::default()
        });
        survey.finish().pending
    }

    #[test]
    fn a_chunk_has_batches_for_the_workers_and_names_what_is_gone() {
        let mut found = Found::default();
        for offset in 1..10_000 {
            found.records.push(RawRecord {
                origin: origin(offset),
                timestamp_ms: None,
                key: None,
                value: Some(b"{}"),
                headers: RawHeaders::default(),
            });
        }
        found.gone.insert(origin(0));
        let chunk = chunk_of(found, &pending(0..10_000));
        let sizes: Vec<usize> = chunk.batches.iter().map(RawBatch::len).collect();
        assert_eq!(sizes, [4_096, 4_096, 1_807]);
        assert_eq!(chunk.readmission.gone, [origin(0)].into());
        let all: Vec<Origin> = (0..10_000).map(origin).collect();
        let named = chunk.readmission.records.values().flatten().copied();
        assert_eq!(named.collect::<Vec<_>>(), all);
    }
}
