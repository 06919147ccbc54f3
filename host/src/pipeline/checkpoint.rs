//! Checkpoints of a running pipeline: when one is due, and how it becomes durable.
//!
//! ```text
//! reader: due ─► barrier ─► coordinator: snapshot ─► ledger task: epoch committed ─► checkpoint task
//!                                                                                       │ files
//!   journal forgets ◄─ ledger task ◄─ manifest published ◄─ every sink has confirmed ◄──┘
//! ```
//!
//! # Invariants
//!
//! 1. A checkpoint of epoch N is published once the ledger and every other sink have confirmed N, but
//!    for those that lag; and some are kept that are not later than what the last of these has. No
//!    replay misses an epoch that some sink lacks.
//! 2. The journal forgets an epoch, and files are deleted, only after the checkpoint that makes them
//!    superfluous was published and the ledger has seen that this host still owns the pipeline.
//! 3. A store that does not answer never holds up the stream.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, FixedSizeBinaryArray, RecordBatch};
use chrono::Utc;
use tokio::sync::{mpsc, oneshot, watch};

use super::PipelineError;
use super::monitor::Monitor;
use super::patience::{CHECKPOINTS, Patience};
use super::tuning::Tuning;
use super::versions::Versions;
use crate::aggregate::{Segment, TableSnapshot};
use crate::checkpoint::{
    CheckpointError, CheckpointStore, FileName, FileRef, Manifest, Snapshot, off_thread,
};
use crate::epoch::EpochId;
use crate::record::Partition;
use crate::sink::Remedy;

const FINGERPRINT_BYTES: i32 = 16;

/// Says at which epoch's end a checkpoint is due: told the time.
#[derive(Debug)]
pub(super) struct CheckpointClock {
    interval: Duration,
    /// whether the last one is still being written
    busy: Arc<AtomicBool>,
    last: Instant,
    /// whether the next one does not wait for the interval
    interval_left_out: bool,
    /// whether epochs ended since the last one
    behind: bool,
}

impl CheckpointClock {
    /// A clock for a checkpoint every `interval`. `behind`: whether there are epochs already that no
    /// checkpoint has.
    pub(super) fn new(interval: Duration, busy: Arc<AtomicBool>, behind: bool) -> Self {
        Self {
            interval,
            busy,
            last: Instant::now(),
            interval_left_out: false,
            behind,
        }
    }

    /// From now on they are so far apart.
    pub(super) fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
    }

    /// Live epochs begin.
    pub(super) fn begin(&mut self, now: Instant) {
        self.last = now;
    }

    /// Whether the next epoch that ends should have one.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        (self.interval_left_out || now.saturating_duration_since(self.last) >= self.interval)
            && !self.busy.load(Ordering::Acquire)
    }

    /// The next one is due at once, or when the one that is being written is done.
    pub(super) fn hasten(&mut self) {
        self.interval_left_out = true;
    }

    /// Whether there are epochs that no checkpoint has.
    pub(super) fn is_behind(&self) -> bool {
        self.behind
    }

    /// An epoch ends, with a checkpoint or without.
    pub(super) fn cut(&mut self, checkpoint: bool, now: Instant) {
        self.behind = !checkpoint;
        if checkpoint {
            self.interval_left_out = false;
            self.busy.store(true, Ordering::Release);
            self.last = now;
        }
    }
}

/// The files that stored segments are in.
#[derive(Debug, Default)]
pub(super) struct StoredFiles(BTreeMap<Arc<str>, BTreeMap<u64, FileRef>>);

impl StoredFiles {
    /// Segment `number` of an aggregate is in this file.
    pub(super) fn insert(&mut self, aggregate: Arc<str>, number: u64, file: FileRef) {
        self.0.entry(aggregate).or_default().insert(number, file);
    }

    fn get(&self, aggregate: &str, segment: &Segment) -> Option<&FileRef> {
        self.0.get(aggregate)?.get(&segment.number())
    }
}

/// What deduplication remembers, as far as it is stored: by partition, oldest first.
pub(super) type SeenFiles = BTreeMap<Partition, Vec<FileRef>>;

/// A checkpoint was published: the ledger is to forget what is older than the oldest one.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) oldest: EpochId,
    /// answered once the ledger has seen that the pipeline is still ours
    pub(super) noted: oneshot::Sender<()>,
}

/// How far the sinks have come, the ledger included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Reached {
    /// the last epoch that every sink has confirmed
    pub(super) by_all: EpochId,
    /// the last one that those have confirmed without which the stream does not go on now
    pub(super) by_those_who_keep_up: EpochId,
    /// whether something is restored from a checkpoint just now, so that none of them may go
    pub(super) is_restoring: bool,
}

/// What is stored, and needs not be stored again.
pub(super) struct Stored {
    pub(super) files: StoredFiles,
    pub(super) seen_files: SeenFiles,
    /// how many keys of each partition are remembered
    pub(super) remembered: usize,
}

/// The task that writes checkpoints.
pub(super) struct CheckpointTask {
    pub(super) store: CheckpointStore,
    /// says how many are kept
    pub(super) tuning: watch::Receiver<Tuning>,
    pub(super) generation: u64,
    pub(super) stored: Stored,
    /// keys that are in no file yet
    pub(super) unsaved: BTreeMap<Partition, Vec<u128>>,
    /// of epochs that the ledger has committed
    pub(super) inbox: mpsc::Receiver<Snapshot>,
    pub(super) reached: watch::Receiver<Reached>,
    pub(super) published: mpsc::Sender<Published>,
    pub(super) busy: Arc<AtomicBool>,
    /// which files deployments name
    pub(super) versions: Arc<Versions>,
    pub(super) monitor: Arc<Monitor>,
}

/// The ledger's task has ended: it says why itself.
struct LedgerGone;

impl CheckpointTask {
    /// Writes checkpoints until there are no more.
    pub(super) async fn run(mut self) -> Result<(), PipelineError> {
        match self.store.sweep(self.generation).await {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "deleted what unfinished checkpoints have left"),
            Err(error) => tracing::warn!(%error, "what unfinished checkpoints have left stays"),
        }
        while let Some(snapshot) = self.inbox.recv().await {
            let epoch = snapshot.epoch;
            match self.write(snapshot).await {
                Ok(Ok(())) => {}
                Ok(Err(LedgerGone)) => break,
                // The one before is still there, and the next one is tried.
                Err(error) => {
                    self.monitor.checkpoint_failed();
                    tracing::error!(epoch = epoch.0, %error, "a checkpoint could not be written");
                }
            }
            self.busy.store(false, Ordering::Release);
        }
        Ok(())
    }

    async fn write(
        &mut self,
        snapshot: Snapshot,
    ) -> Result<Result<(), LedgerGone>, CheckpointError> {
        let started = Instant::now();
        let epoch = snapshot.epoch;
        let mut manifest = Manifest {
            epoch,
            generation: self.generation,
            written_at: Utc::now(),
            positions: snapshot.positions,
            version: snapshot.version,
            tables: BTreeMap::new(),
            seen: BTreeMap::new(),
        };
        let (mut files, mut bytes) = (StoredFiles::default(), 0);
        for table in snapshot.tables {
            let mut refs = Vec::with_capacity(table.segments.len());
            for segment in &table.segments {
                let file = if let Some(known) = self.stored.files.get(&table.aggregate, segment) {
                    known.clone()
                } else {
                    let file = self.write_segment(epoch, &table, segment).await?;
                    bytes += file.bytes;
                    file
                };
                files.insert(Arc::clone(&table.aggregate), segment.number(), file.clone());
                refs.push(file);
            }
            manifest.tables.insert(table.aggregate.to_string(), refs);
        }
        self.stored.files = files;
        for (partition, fingerprints) in snapshot.seen {
            let unsaved = self.unsaved.entry(partition).or_default();
            unsaved.extend(fingerprints);
        }
        bytes += self.write_seen(epoch).await?;
        manifest.seen.clone_from(&self.stored.seen_files);
        let everybody_has = |r: &Reached| r.by_those_who_keep_up >= epoch;
        if self.reached.wait_for(everybody_has).await.is_err() {
            return Ok(Err(LedgerGone));
        }
        let store = self.store.clone();
        self.persist(epoch, || store.publish(&manifest)).await?;
        self.monitor
            .checkpoint_published(epoch, bytes, started.elapsed());
        tracing::info!(
            epoch = epoch.0,
            new_bytes = bytes,
            took_ms = started.elapsed().as_millis(),
            "checkpoint"
        );
        self.forget(epoch).await
    }

    async fn write_segment(
        &self,
        epoch: EpochId,
        table: &TableSnapshot,
        segment: &Segment,
    ) -> Result<FileRef, CheckpointError> {
        // Several segments may be new, and a life has not as many of them as to repeat a number.
        let name = FileName::table(&table.aggregate, epoch, self.generation)
            .with_part(segment.number() as u32);
        let batch = columns_of(table, segment).await?;
        self.persist(epoch, || self.store.write(&name, &batch))
            .await
    }

    /// Writes the keys that are in no file yet, and leaves out files that are older than all that is
    /// remembered. The bytes that were written.
    async fn write_seen(&mut self, epoch: EpochId) -> Result<u64, CheckpointError> {
        let mut bytes = 0;
        while let Some((&partition, fingerprints)) = self.unsaved.first_key_value() {
            let name = FileName::seen(partition, epoch, self.generation);
            let batch = fingerprints_batch(fingerprints);
            let written = self.persist(epoch, || self.store.write(&name, &batch));
            let file = written.await?;
            bytes += file.bytes;
            self.unsaved.remove(&partition);
            self.stored
                .seen_files
                .entry(partition)
                .or_default()
                .push(file);
        }
        for files in self.stored.seen_files.values_mut() {
            let mut newer = 0;
            let needed = files.iter().rev().take_while(|file| {
                let needed = newer < self.stored.remembered as u64;
                newer += file.rows;
                needed
            });
            let forgotten = files.len() - needed.count();
            files.drain(..forgotten);
        }
        Ok(bytes)
    }

    /// Tells the ledger, then deletes what nobody needs any more.
    async fn forget(&mut self, epoch: EpochId) -> Result<Result<(), LedgerGone>, CheckpointError> {
        let Reached {
            by_all: needed,
            is_restoring,
            ..
        } = *self.reached.borrow();
        if is_restoring {
            // The next one does it.
            return Ok(Ok(()));
        }
        // A sink that lags behind all of them needs the journal from its first entry on.
        // Of both: what is kept must not be older than what the journal is said to be needed for.
        let keep = self.tuning.borrow().checkpoints_kept;
        let looking = || self.store.oldest_kept(keep, needed);
        let oldest = self.persist(epoch, looking).await?.unwrap_or_default();
        let (noted, answer) = oneshot::channel();
        let told = self.published.send(Published { oldest, noted }).await;
        if told.is_err() || answer.await.is_err() {
            return Ok(Err(LedgerGone));
        }
        if let Err(error) = self.store.prune(keep, needed).await {
            // The next one tries again.
            tracing::warn!(%error, "old checkpoints could not be deleted");
        }
        if let Some(named) = self.versions.files_after(oldest)
            && let Err(error) = self.store.keep_backfills(&named, self.generation).await
        {
            tracing::warn!(%error, "what backfills have left could not be deleted");
        }
        Ok(Ok(()))
    }

    /// Tries something until it works, or would never work.
    async fn persist<T, F: Future<Output = Result<T, CheckpointError>>>(
        &self,
        epoch: EpochId,
        work: impl Fn() -> F,
    ) -> Result<T, CheckpointError> {
        let mut patience = Patience::new(self.monitor.waits(), CHECKPOINTS).on_epoch(epoch);
        loop {
            match patience.watch(work()).await {
                Ok(done) => {
                    patience.over();
                    return Ok(done);
                }
                Err(error) if error.remedy() == Remedy::Stop => return Err(error),
                Err(error) => tokio::time::sleep(patience.failed(&error)).await,
            }
        }
    }
}

/// The states of a segment, as a file has them.
pub(super) async fn columns_of(
    table: &TableSnapshot,
    segment: &Segment,
) -> Result<RecordBatch, CheckpointError> {
    let (columns, segment) = (table.columns.clone(), segment.clone());
    let batch = off_thread(segment.bytes(), move || columns.write(&segment)).await;
    let stopping = || "the process is stopping".to_owned();
    let batch = batch.map_or_else(|| Err(stopping()), |b| b.map_err(|e| e.to_string()));
    batch.map_err(|reason| {
        CheckpointError::Permanent(format!(
            "the states of aggregate `{}` are no columns: {reason}",
            table.aggregate
        ))
    })
}

/// Fingerprints as a file has them.
fn fingerprints_batch(fingerprints: &[u128]) -> RecordBatch {
    let bytes: Vec<u8> = fingerprints.iter().flat_map(|f| f.to_le_bytes()).collect();
    let column = FixedSizeBinaryArray::new(FINGERPRINT_BYTES, bytes.into(), None);
    RecordBatch::try_from_iter([("fingerprint", Arc::new(column) as ArrayRef)])
        .expect("one column makes a batch")
}

/// The other way; `None` when the file has something else.
pub(super) fn read_fingerprints(batch: &RecordBatch) -> Option<Vec<u128>> {
    let column = batch.column_by_name("fingerprint")?;
    let column = column.as_fixed_size_binary_opt()?;
    let fingerprint = |bytes: Option<&[u8]>| Some(u128::from_le_bytes(bytes?.try_into().ok()?));
    column.iter().map(fingerprint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_read_back() {
        let fingerprints = [0, 1, u128::MAX, 1 << 64];
        let batch = fingerprints_batch(&fingerprints);
        assert_eq!(read_fingerprints(&batch), Some(fingerprints.to_vec()));
        let other = RecordBatch::new_empty(Arc::new(arrow_schema::Schema::empty()));
        assert_eq!(read_fingerprints(&other), None);
    }

    #[test]
    fn a_checkpoint_is_due_after_the_interval_and_not_while_one_is_written() {
        let busy = Arc::new(AtomicBool::new(false));
        let mut clock = CheckpointClock::new(Duration::from_secs(30), Arc::clone(&busy), false);
        let start = Instant::now();
        clock.begin(start);
        assert!(!clock.is_due(start + Duration::from_secs(29)));
        let due = start + Duration::from_secs(30);
        assert!(clock.is_due(due));
        clock.cut(true, due);
        let later = due + Duration::from_secs(40);
        assert!(!clock.is_due(later));
        busy.store(false, Ordering::Release);
        assert!(clock.is_due(later));
    }

    #[test]
    fn a_checkpoint_that_is_wanted_at_once_waits_for_nothing_but_the_one_before() {
        let busy = Arc::new(AtomicBool::new(true));
        let mut clock = CheckpointClock::new(Duration::from_secs(30), Arc::clone(&busy), false);
        let now = Instant::now();
        clock.begin(now);
        clock.hasten();
        assert!(!clock.is_due(now), "one is being written");
        busy.store(false, Ordering::Release);
        assert!(clock.is_due(now));
        clock.cut(true, now);
        busy.store(false, Ordering::Release);
        assert!(!clock.is_due(now), "the next one waits again");
    }

    #[test]
    fn a_checkpoint_has_all_epochs_up_to_its_own() {
        let busy = Arc::new(AtomicBool::new(false));
        let mut clock = CheckpointClock::new(Duration::from_secs(30), busy, true);
        let now = Instant::now();
        assert!(clock.is_behind());
        clock.cut(true, now);
        assert!(!clock.is_behind());
        clock.cut(false, now);
        assert!(clock.is_behind());
    }
}
