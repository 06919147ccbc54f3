//! Leaves out records whose key came before: a producer may have sent them twice.
//!
//! Of each partition, the keys of the last so many records that were kept are remembered, as
//! fingerprints of 128 bits. A live record whose key is remembered, or came before in the same batch, is a
//! duplicate. It is left out of everything, and the journal has it among the excluded.
//!
//! ```text
//! decode ─► check ─► stages ─► remember what was kept
//!             ▲          │
//!             └─ again ◄─┘  a key whose first record the stages rejected, and that came again in the
//!                           same batch: its next record is tried
//! ```
//!
//! # Invariants
//!
//! 1. Remembered are the keys of the records that were kept, in order of offset, and of no others: not of
//!    one that a stage rejected, so that it may come again mended.
//! 2. A replay checks nothing: what the journal does not exclude was kept. So what is remembered is a
//!    function of the journal, however its epochs are cut into batches and dealt out to workers.
//! 3. No record is allocated for; a partition's memory grows with what it holds.
//!
//! # Why XXH3
//!
//! Equal fingerprints of different keys lose a record. By chance that happens to one record in 10^32,
//! where a million keys are remembered. On purpose it can be brought about, for XXH3 is no cryptographic
//! hash; but whoever can produce a record with a forged fingerprint can as well produce one with the key
//! itself.
//!
//! # Not here
//!
//! Where the fingerprints survive a restart: the checkpoint, which has them from
//! [`EpochPart::seen`](crate::epoch::EpochPart::seen) and gives them to [`Deduplicator::restore`].

mod index;
mod memory;
#[cfg(test)]
mod tests;

use std::hash::BuildHasher;
use std::hint::black_box;

use arrow_array::{ArrayRef, BooleanArray};
use arrow_select::filter::filter_record_batch;
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashTable};
use xxhash_rust::xxh3::xxh3_128;

use crate::config::Deduplicate;
use crate::record::{Cause, Origin, Partition, RawBatch, Rejection, Rows};
use crate::row_codec::RowWriter;
use crate::schema::{Field, Schema};
use memory::Memory;

/// Records of one key in one batch that are tried one after the other, as long as each is rejected. What
/// is left then is rejected untried: a guest that times out on every one of them would hold up the
/// stream for minutes.
const TRIES_MAX: usize = 32;

/// Keys whose places in memory are loaded at the same time: as many as a processor's first cache holds
/// with room to spare.
const LOADED: usize = 64;

/// The fingerprints that partitions remembered, in order of offset.
pub type Seen = Vec<(Partition, Vec<u128>)>;

/// Tells duplicates apart, for the partitions of one worker.
pub struct Deduplicator {
    key: Vec<Field>,
    /// where the key columns stand
    key_indices: Vec<usize>,
    last: usize,
    numbers: HashMap<Partition, u32, RandomState>,
    /// by number
    partitions: Vec<Remembered>,
    batch: Batch,
}

struct Remembered {
    partition: Partition,
    memory: Memory,
    /// what it remembered since the last [`Deduplicator::take_seen`]
    seen: Vec<u128>,
}

/// What is known of the batch in hand; kept for its allocations.
#[derive(Default)]
struct Batch {
    /// of each row of the decoder
    keys: Vec<Key>,
    states: Vec<State>,
    /// the row with each key that goes through the stages, or went last
    firsts: HashTable<u32>,
    hasher: RandomState,
    /// rows whose key came before in the batch, in order
    waiting: Vec<u32>,
    /// all rows, if some are waiting
    rows: Option<Rows>,
    tries: usize,
    /// the bytes of a key
    bytes: Vec<u8>,
}

/// The key of a row. Partitions share none.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    fingerprint: u128,
    /// the number of its partition
    partition: u32,
    record: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// goes through the stages, or went
    Taken,
    /// its key is remembered, or that of a record before it in the batch which was kept
    Duplicate,
    /// there is one with its key before it in the batch, and whether that one is kept is not known yet
    Waiting,
}

impl Deduplicator {
    /// For records with these columns.
    ///
    /// # Panics
    ///
    /// When a key column is not among them: [`crate::config`] refuses such a pipeline.
    #[must_use]
    pub fn new(config: &Deduplicate, schema: &Schema) -> Self {
        let index_of = |name: &String| schema.index_of(name);
        let key_indices: Vec<usize> = config.key.iter().filter_map(index_of).collect();
        assert_eq!(key_indices.len(), config.key.len(), "keys are declared");
        Self {
            key: key_indices
                .iter()
                .map(|&i| schema.fields()[i].clone())
                .collect(),
            key_indices,
            last: config.last as usize,
            numbers: HashMap::default(),
            partitions: Vec::new(),
            batch: Batch::default(),
        }
    }

    /// Goes on with what another one with the same key remembers.
    pub fn take_over(&mut self, before: Self) {
        self.numbers = before.numbers;
        self.partitions = before.partitions;
    }

    /// Takes back what a partition remembered, in order of offset, before any batch.
    pub fn restore(&mut self, partition: Partition, fingerprints: &[u128]) {
        let number = self.number(partition);
        let memory = &mut self.partitions[number as usize].memory;
        for &fingerprint in fingerprints {
            memory.remember(fingerprint);
        }
    }

    /// Of a live batch the rows that go through the stages: of each key that is not remembered, the
    /// first one. `rows` are the decoder's, one a record.
    #[must_use]
    pub fn check(&mut self, raw: &RawBatch, rows: Rows) -> Rows {
        self.take_in(raw, &rows);
        let Self {
            partitions, batch, ..
        } = self;
        // One after the other and nothing else in this loop, so that the processor fetches for many
        // records at a time what is not in its cache.
        for (key, state) in batch.keys.iter().zip(&mut batch.states) {
            let memory = &partitions[key.partition as usize].memory;
            if memory.contains(key.fingerprint) {
                *state = State::Duplicate;
            }
        }
        for row in 0..batch.keys.len() {
            if batch.states[row] == State::Taken && batch.came_before(row as u32) {
                batch.states[row] = State::Waiting;
                batch.waiting.push(row as u32);
            }
        }
        if batch.states.iter().all(|state| *state == State::Taken) {
            return rows;
        }
        let taken = selected(&rows, |row| batch.states[row] == State::Taken);
        if !batch.waiting.is_empty() {
            batch.rows = Some(rows);
        }
        taken
    }

    /// Of a batch of a replay, whose `rows` were kept before and all go through the stages.
    pub fn admit(&mut self, raw: &RawBatch, rows: &Rows) {
        self.take_in(raw, rows);
    }

    /// After the stages: the rows that go through them too, because all records with their keys so far
    /// were rejected. `None` when there are none, and nothing is left open then. What was tried too often
    /// is appended to `rejected`.
    pub fn again(
        &mut self,
        is_rejected: impl Fn(u32) -> bool,
        rejected: &mut Vec<Rejection>,
    ) -> Option<Rows> {
        self.batch.again(is_rejected, rejected)
    }

    /// Ends a batch: remembers the keys of what was kept, and appends the duplicates.
    pub fn remember(
        &mut self,
        raw: &RawBatch,
        is_rejected: impl Fn(u32) -> bool,
        duplicates: &mut Vec<Origin>,
    ) {
        let Self {
            partitions, batch, ..
        } = self;
        debug_assert!(batch.waiting.is_empty(), "every row was decided about");
        let steps = batch.keys.chunks(LOADED).zip(batch.states.chunks(LOADED));
        for (keys, states) in steps {
            let is_kept =
                |key: &Key, state: &State| *state == State::Taken && !is_rejected(key.record);
            let mut read = 0;
            for (key, state) in keys.iter().zip(states) {
                if is_kept(key, state) {
                    let memory = &mut partitions[key.partition as usize].memory;
                    read ^= memory.load(key.fingerprint);
                }
            }
            black_box(read);
            for (key, state) in keys.iter().zip(states) {
                if is_kept(key, state) {
                    let partition = &mut partitions[key.partition as usize];
                    partition.memory.remember(key.fingerprint);
                    partition.seen.push(key.fingerprint);
                } else if *state == State::Duplicate {
                    duplicates.push(raw.get(key.record as usize).origin);
                }
            }
        }
    }

    /// What was remembered since the last call, by partition.
    pub fn take_seen(&mut self) -> Seen {
        let seen = self.partitions.iter_mut().filter(|p| !p.seen.is_empty());
        let mut seen: Seen = seen
            .map(|p| (p.partition, std::mem::take(&mut p.seen)))
            .collect();
        seen.sort_unstable_by_key(|(partition, _)| *partition);
        seen
    }

    /// How many keys are remembered, and the bytes that this takes.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let memories = self.partitions.iter().map(|p| &p.memory);
        memories.fold((0, 0), |(keys, bytes), memory| {
            (keys + memory.len(), bytes + memory.bytes())
        })
    }

    /// What each partition remembers, in order of offset.
    #[cfg(test)]
    pub(crate) fn remembered(&self) -> impl Iterator<Item = (Partition, Vec<u128>)> {
        let memories = self.partitions.iter().filter(|p| p.memory.len() > 0);
        memories.map(|p| (p.partition, p.memory.fingerprints().collect()))
    }

    /// Takes in the keys of a batch, all of which go through the stages so far.
    fn take_in(&mut self, raw: &RawBatch, rows: &Rows) {
        let arrays: Vec<ArrayRef> = self
            .key_indices
            .iter()
            .map(|&index| rows.columns.column(index).clone())
            .collect();
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        let writer = RowWriter::new(&self.key, &arrays);
        let mut last = None;
        for (row, &record) in rows.records.iter().enumerate() {
            let partition = raw.get(record as usize).origin.partition;
            let number = match last {
                Some((known, number)) if known == partition => number,
                _ => self.number(partition),
            };
            last = Some((partition, number));
            batch.bytes.clear();
            writer.write(row, &mut batch.bytes);
            batch.keys.push(Key {
                fingerprint: xxh3_128(&batch.bytes),
                partition: number,
                record,
            });
        }
        batch.states.resize(batch.keys.len(), State::Taken);
        self.batch = batch;
    }

    /// The number of a partition, which is new if need be.
    fn number(&mut self, partition: Partition) -> u32 {
        let Self {
            numbers,
            partitions,
            last,
            ..
        } = self;
        *numbers.entry(partition).or_insert_with(|| {
            partitions.push(Remembered {
                partition,
                memory: Memory::of_last(*last),
                seen: Vec::new(),
            });
            partitions.len() as u32 - 1
        })
    }
}

impl Batch {
    fn clear(&mut self) {
        self.keys.clear();
        self.states.clear();
        self.firsts.clear();
        self.waiting.clear();
        self.rows = None;
        self.tries = 1;
    }

    /// Whether a row before this one has the same key; if none has, this is the first.
    fn came_before(&mut self, row: u32) -> bool {
        let Self {
            keys,
            firsts,
            hasher,
            ..
        } = self;
        let key = keys[row as usize];
        let hash = |row: &u32| hasher.hash_one(keys[*row as usize].fingerprint);
        let same = |other: &u32| keys[*other as usize].is_same(key);
        match firsts.entry(hash(&row), same, hash) {
            hashbrown::hash_table::Entry::Occupied(_) => true,
            hashbrown::hash_table::Entry::Vacant(free) => {
                free.insert(row);
                false
            }
        }
    }

    /// See [`Deduplicator::again`].
    fn again(
        &mut self,
        is_rejected: impl Fn(u32) -> bool,
        rejected: &mut Vec<Rejection>,
    ) -> Option<Rows> {
        let mut next: Vec<u32> = Vec::new();
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain(|&row| {
            let key = self.keys[row as usize];
            let same = |other: &u32| self.keys[*other as usize].is_same(key);
            let first = self
                .firsts
                .find_mut(self.hasher.hash_one(key.fingerprint), same);
            let first = first.expect("who waits has one before it");
            let state = &mut self.states[row as usize];
            if next.binary_search(first).is_ok() {
                return true;
            }
            if !is_rejected(self.keys[*first as usize].record) {
                *state = State::Duplicate;
            } else if self.tries == TRIES_MAX {
                *state = State::Taken;
                rejected.push(untried(key.record));
            } else {
                *state = State::Taken;
                *first = row;
                next.push(row);
            }
            false
        });
        self.waiting = waiting;
        self.tries += 1;
        if next.is_empty() {
            return None;
        }
        let rows = self.rows.as_ref().expect("kept while a row is waiting");
        Some(selected(rows, |row| {
            next.binary_search(&(row as u32)).is_ok()
        }))
    }
}

impl Key {
    fn is_same(self, other: Self) -> bool {
        self.fingerprint == other.fingerprint && self.partition == other.partition
    }
}

fn untried(record: u32) -> Rejection {
    Rejection {
        record,
        cause: Cause::Rejected,
        reason: format!(
            "the {TRIES_MAX} records with its key before it in the batch were all rejected, and it was not tried"
        ),
        column: None,
    }
}

/// Some of the rows.
fn selected(rows: &Rows, is_meant: impl Fn(usize) -> bool) -> Rows {
    let mask: BooleanArray = (0..rows.records.len())
        .map(|row| Some(is_meant(row)))
        .collect();
    let records = rows.records.iter().enumerate();
    let records = records.filter(|(row, _)| is_meant(*row));
    Rows {
        columns: filter_record_batch(&rows.columns, &mask)
            .expect("the mask is as long as the batch"),
        records: records.map(|(_, &record)| record).collect(),
    }
}
