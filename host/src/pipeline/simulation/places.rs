//! The places that outlive a host: the ledger's tables, another sink's documents, dead letters. Each
//! with the moments at which a call to it can be interrupted or fail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use async_trait::async_trait;
use serde_json::Value;

use super::bugs::Bug;
use super::dice::{Dice, Fate};
use super::logic::{LEDGER, REFUSED, ROWS, SUMS};
use crate::dead_letter::DeadLetterSink;
use crate::deployment::{Deployment, Outcome, Version};
use crate::epoch::{ByStage, EpochId, EpochOutput, JournalEntry};
use crate::record::{DeadLetter, Origin};
use crate::sink::memory::{MemoryLedger, MemorySink, MemoryStore};
use crate::sink::{Claim, Durable, Ledger, Refused, Sink, SinkError, Targets};

/// The name of the other sink.
pub(super) const SEARCH: &str = "search";

fn away() -> SinkError {
    SinkError::Unavailable {
        what: "a simulated server".to_owned(),
        reason: "the dice fell so".to_owned(),
    }
}

/// Does something to a place, unless the call is lost on its way, there or back.
macro_rules! attempt {
    ($dice:expr, $work:expr) => {{
        $dice.moment().await;
        let fate = $dice.fate();
        if fate == Fate::FailsBefore {
            return Err(away());
        }
        let done = $work;
        $dice.moment().await;
        if fate == Fate::FailsAfter {
            return Err(away());
        }
        done
    }};
}

/// A ledger in memory, and what may be wrong with it.
pub(super) struct SimulatedLedger {
    ledger: MemoryLedger,
    rows: MemorySink,
    store: MemoryStore,
    dice: Dice,
    bug: Option<Bug>,
    notes: Notes,
}

/// What is known of a whole world. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Notes {
    /// records that were refused once
    refused_once: Arc<Mutex<Vec<Origin>>>,
    /// records that epochs have taken up again
    taken_up: Arc<Mutex<BTreeMap<EpochId, BTreeSet<Origin>>>>,
}

impl Notes {
    pub(super) fn taken_up(&self) -> BTreeMap<EpochId, BTreeSet<Origin>> {
        lock(&self.taken_up).clone()
    }
}

impl SimulatedLedger {
    pub(super) fn new(
        store: &MemoryStore,
        targets: &Targets,
        dice: &Dice,
        bug: Option<Bug>,
        notes: &Notes,
    ) -> Self {
        let sink = || {
            let mut sink = MemorySink::new(LEDGER, store, &[]).expect("there are no tables yet");
            sink.aim(targets).expect("they are told apart");
            sink
        };
        Self {
            ledger: MemoryLedger::new("simulated", sink()),
            rows: sink(),
            store: store.clone(),
            dice: dice.clone(),
            bug,
            notes: notes.clone(),
        }
    }

    /// Records with rows that it does not take.
    fn refused(epoch: &EpochOutput) -> Vec<Refused> {
        let mut refused = Vec::new();
        for batch in epoch.streams.get(ROWS).into_iter().flatten() {
            let amounts = batch.columns.column(2).as_primitive::<Int64Type>().values();
            let rows = amounts.iter().zip(&batch.origins);
            refused.extend(
                rows.filter(|(amount, _)| **amount == REFUSED)
                    .map(|(_, origin)| Refused {
                        origin: *origin,
                        reason: "refused".to_owned(),
                    }),
            );
        }
        refused
    }

    fn check_refused(&self, epoch: &EpochOutput) -> Result<(), SinkError> {
        let mut refused = Self::refused(epoch);
        if self.bug == Some(Bug::RefusalForgotten) {
            let mut known = lock(&self.notes.refused_once);
            refused.retain(|refused| !known.contains(&refused.origin));
            known.extend(refused.iter().map(|refused| refused.origin));
        }
        if refused.is_empty() || self.bug == Some(Bug::RefusedRowDropped) {
            return Ok(());
        }
        Err(SinkError::Refused(refused))
    }

    async fn write_now(&mut self, epoch: &EpochOutput) -> Result<Durable, SinkError> {
        self.check_refused(epoch)?;
        let mut epoch = epoch.clone();
        if self.bug == Some(Bug::ExclusionNotJournalled) {
            epoch.excluded.clear();
        }
        let taken_up = epoch.readmitted.clone();
        if self.bug == Some(Bug::RejectionNotJournalled) {
            epoch.rejected.clear();
        }
        if self.bug == Some(Bug::RefusedRowDropped) {
            drop_refused(&mut epoch);
        }
        if self.bug == Some(Bug::DeploymentForgotten) && epoch.epoch > EpochId::FIRST {
            epoch.deployed = None;
        }
        if self.bug == Some(Bug::DeploymentElsewhere)
            && let Some(deployed) = epoch.deployed.as_mut().map(Arc::make_mut)
        {
            let before = deployed.deployment.positions.iter();
            deployed.deployment.positions =
                before.map(|(p, next)| (p, (next - 1).max(0))).collect();
        }
        if self.bug == Some(Bug::GenerationNotChecked) {
            self.ledger.adopt_generation();
        }
        if self.bug == Some(Bug::ProgressOutsideTheTransaction) {
            // Refused as the ledger would refuse it, but then in two steps.
            self.ledger.journal(epoch.epoch, usize::MAX).await?;
            let written = self.rows.write(&epoch).await?;
            self.dice.moment().await;
            epoch.streams.clear();
            drop(written);
        }
        let written = self.ledger.write(&epoch).await?;
        if !epoch.readmitted.is_empty() {
            lock(&self.notes.taken_up).insert(epoch.epoch, taken_up);
        }
        Ok(written)
    }
}

fn drop_refused(epoch: &mut EpochOutput) {
    for batch in epoch.streams.get_mut(ROWS).into_iter().flatten() {
        let amounts = batch.columns.column(2).as_primitive::<Int64Type>();
        let keep: arrow_array::BooleanArray = amounts
            .values()
            .iter()
            .map(|a| Some(*a != REFUSED))
            .collect();
        let kept = batch.origins.iter().zip(keep.values().iter());
        batch.origins = kept.filter(|(_, keep)| *keep).map(|(o, _)| *o).collect();
        batch.columns = arrow_select::filter::filter_record_batch(&batch.columns, &keep)
            .expect("the mask is as long as the batch");
    }
}

#[async_trait]
impl Sink for SimulatedLedger {
    fn name(&self) -> &str {
        LEDGER
    }

    async fn prepare(&mut self) -> Result<(), SinkError> {
        attempt!(self.dice, self.ledger.prepare().await)
    }

    fn aim(&mut self, targets: &Targets) -> Result<(), SinkError> {
        self.rows.aim(targets)?;
        self.ledger.aim(targets)
    }

    async fn check(&mut self) -> Result<Vec<String>, SinkError> {
        self.ledger.check().await
    }

    async fn write(&mut self, epoch: &EpochOutput) -> Result<Durable, SinkError> {
        attempt!(self.dice, self.write_now(epoch).await)
    }
}

#[async_trait]
impl Ledger for SimulatedLedger {
    async fn claim(&mut self, definition: &Value, others: &[String]) -> Result<Claim, SinkError> {
        let mut claim = attempt!(self.dice, self.ledger.claim(definition, others).await)?;
        if self.bug == Some(Bug::StalePositions) {
            let journal = self.ledger.journal(EpochId(0), usize::MAX).await?;
            if let [.., before, _] = journal.as_slice() {
                claim.positions = before.positions.clone();
            }
        }
        Ok(claim)
    }

    async fn check_claim(
        &mut self,
        definition: &Value,
        others: &[String],
    ) -> Result<(), SinkError> {
        self.ledger.check_claim(definition, others).await
    }

    async fn journal(
        &mut self,
        after: EpochId,
        entries_max: usize,
    ) -> Result<Vec<JournalEntry>, SinkError> {
        let cut_short = self.bug == Some(Bug::JournalCutShort) && entries_max < usize::MAX;
        let entries_max = if cut_short { 2 } else { entries_max };
        let mut entries = attempt!(self.dice, self.ledger.journal(after, entries_max).await)?;
        if self.bug == Some(Bug::ReplayedByTheNewest)
            && let Some(newest) = self.store.deployments("simulated").last()
        {
            for entry in &mut entries {
                entry.version = newest.version;
            }
        }
        Ok(entries)
    }

    async fn deployments(&mut self) -> Result<Vec<Deployment>, SinkError> {
        attempt!(self.dice, self.ledger.deployments().await)
    }

    async fn conclude(&mut self, version: Version, outcome: &Outcome) -> Result<(), SinkError> {
        attempt!(self.dice, self.ledger.conclude(version, outcome).await)
    }

    async fn confirm(
        &mut self,
        sink: &str,
        epoch: EpochId,
        refused: &[DeadLetter],
        dead_letter_bytes: Option<u64>,
    ) -> Result<(), SinkError> {
        let too_much = self.bug == Some(Bug::ConfirmedTooMuch);
        let epoch = if too_much { epoch.next() } else { epoch };
        attempt!(
            self.dice,
            self.ledger
                .confirm(sink, epoch, refused, dead_letter_bytes)
                .await
        )
    }

    async fn checkpointed(&mut self, oldest: EpochId) -> Result<(), SinkError> {
        if self.bug == Some(Bug::JournalForgetsTooEarly) {
            self.store.forget_all("simulated");
        }
        attempt!(self.dice, self.ledger.checkpointed(oldest).await)
    }
}

/// A document: the epoch that wrote it, and its columns.
type Document = (EpochId, Vec<String>);

/// What another sink holds.
#[derive(Debug, Clone, Default)]
pub(super) struct Documents(Arc<Mutex<Index>>);

#[derive(Debug, Default)]
struct Index {
    /// by stream and key
    documents: BTreeMap<(String, String), Document>,
    /// the newest epoch of all
    newest: EpochId,
    /// whether nobody can reach it
    is_away: bool,
}

impl Documents {
    /// The columns of each, by key.
    pub(super) fn of(&self, stream: &str) -> BTreeMap<String, Vec<String>> {
        let index = lock(&self.0);
        let of_stream = index.documents.iter().filter(|((s, _), _)| s == stream);
        of_stream
            .map(|((_, key), (_, columns))| (key.clone(), columns.clone()))
            .collect()
    }

    /// Nobody can reach it from now on, or everybody again.
    pub(super) fn set_away(&self, is_away: bool) {
        lock(&self.0).is_away = is_away;
    }

    /// Whether nobody can reach it.
    pub(super) fn is_away(&self) -> bool {
        lock(&self.0).is_away
    }

    /// The newest epoch of all.
    pub(super) fn newest(&self) -> EpochId {
        lock(&self.0).newest
    }
}

/// A sink without transactions, whose documents have versions, as Elasticsearch is one.
pub(super) struct SimulatedSearch {
    pub(super) documents: Documents,
    pub(super) dice: Dice,
    pub(super) bug: Option<Bug>,
}

impl SimulatedSearch {
    async fn write_now(&mut self, epoch: &EpochOutput) -> Result<Durable, SinkError> {
        if self.documents.is_away() {
            return Err(away());
        }
        for stream in [ROWS, SUMS] {
            for batch in epoch.streams.get(stream).into_iter().flatten() {
                for row in 0..batch.columns.num_rows() {
                    self.store(stream, epoch.epoch, &batch.columns, row);
                    if self.bug == Some(Bug::ConfirmedBeforeWritten) && self.dice.chance(0.01) {
                        return Ok(Durable::default());
                    }
                    if self.dice.chance(0.1) {
                        self.dice.moment().await;
                    }
                }
            }
        }
        Ok(Durable::default())
    }

    fn store(&self, stream: &str, epoch: EpochId, columns: &arrow_array::RecordBatch, row: usize) {
        let text = |column: &dyn Array| match column.as_string_opt::<i32>() {
            Some(texts) => texts.value(row).to_owned(),
            None => column.as_primitive::<Int64Type>().value(row).to_string(),
        };
        let values: Vec<String> = columns.columns().iter().map(|c| text(&**c)).collect();
        let mut index = lock(&self.documents.0);
        index.newest = index.newest.max(epoch);
        let documents = &mut index.documents;
        let key = (stream.to_owned(), values[0].clone());
        let stored = documents.get(&key).map_or(EpochId(0), |(epoch, _)| *epoch);
        if epoch > stored || self.bug == Some(Bug::VersionsNotCompared) {
            documents.insert(key, (epoch, values));
        }
    }
}

#[async_trait]
impl Sink for SimulatedSearch {
    fn name(&self) -> &str {
        SEARCH
    }

    async fn prepare(&mut self) -> Result<(), SinkError> {
        let is_away = self.documents.is_away();
        attempt!(self.dice, if is_away { Err(away()) } else { Ok(()) })
    }

    fn aim(&mut self, _: &Targets) -> Result<(), SinkError> {
        Ok(())
    }

    async fn check(&mut self) -> Result<Vec<String>, SinkError> {
        Ok(Vec::new())
    }

    async fn write(&mut self, epoch: &EpochOutput) -> Result<Durable, SinkError> {
        attempt!(self.dice, self.write_now(epoch).await)
    }
}

/// Dead letters, as in a file whose length the journal knows: here, how many there are.
#[derive(Debug, Clone, Default)]
pub(super) struct Letters(Arc<Mutex<LetterFile>>);

#[derive(Debug, Default)]
struct LetterFile {
    /// each that was written, or that is settled from there on
    letters: Vec<(Origin, Written)>,
    /// how many hosts have opened it: only the last one may write
    opened: u64,
}

impl Letters {
    /// How many letters there are of each record that are not settled.
    pub(super) fn open(&self) -> BTreeMap<Origin, usize> {
        let mut open = BTreeMap::new();
        for (origin, written) in &lock(&self.0).letters {
            match written {
                Written::Letter => *open.entry(*origin).or_default() += 1,
                Written::Settled => drop(open.remove(origin)),
            }
        }
        open
    }
}

pub(super) struct SimulatedLetters {
    pub(super) letters: Letters,
    /// which host this is, once it has opened the file
    pub(super) opened: u64,
    pub(super) dice: Dice,
    pub(super) bug: Option<Bug>,
}

#[async_trait]
impl DeadLetterSink for SimulatedLetters {
    async fn recover(&mut self, committed: Option<u64>) -> Result<Option<u64>, SinkError> {
        let recovered = async {
            let mut file = lock(&self.letters.0);
            file.opened += 1;
            self.opened = file.opened;
            if let Some(committed) = committed
                && self.bug != Some(Bug::LettersNotCutBack)
            {
                file.letters.truncate(committed as usize);
            }
            Ok(Some(file.letters.len() as u64))
        };
        attempt!(self.dice, recovered.await)
    }

    async fn write(&mut self, letters: &[DeadLetter]) -> Result<Option<u64>, SinkError> {
        let letters = letters.iter().map(|letter| letter.origin);
        self.append(letters.map(|o| (o, Written::Letter)).collect())
            .await
    }

    async fn settle(
        &mut self,
        settled: &ByStage,
        _version: Version,
    ) -> Result<Option<u64>, SinkError> {
        let settled = settled.values().flatten();
        self.append(settled.map(|o| (*o, Written::Settled)).collect())
            .await
    }
}

impl SimulatedLetters {
    async fn append(&mut self, lines: Vec<(Origin, Written)>) -> Result<Option<u64>, SinkError> {
        self.dice.moment().await;
        if self.dice.fate() == Fate::FailsBefore {
            return Err(away());
        }
        // As with a file: what fails in the middle is cut off before it is written again.
        let mut file = lock(&self.letters.0);
        if file.opened != self.opened {
            return Err(SinkError::Fenced {
                pipeline: "simulated".to_owned(),
                ours: self.opened,
                theirs: file.opened,
            });
        }
        let all = &mut file.letters;
        all.extend(lines);
        Ok(Some(all.len() as u64))
    }
}

/// What a line of the file says of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    Letter,
    Settled,
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
