//! Records as they come from a source, and rows as they go through the chain.
//!
//! A [`RawBatch`] keeps the bytes of its records until the last stage has accepted them, because a
//! record that some stage rejects goes to the dead letters as it was read. [`Rows`] carry, beside
//! their columns, which record each row came from. A [`DeadLetter`] is a record that was left out.
//!
//! # Not here
//!
//! Turning bytes into columns: [`crate::decode`]. Where dead letters go: [`crate::dead_letter`].

mod headers;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;

pub use self::headers::{HeaderBuffer, RawHeaders, RecordHeader};

/// A partition of the source: a Kafka partition, or the index of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub u32);

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which source record something came from. Ordered by partition, then offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// the record's partition
    pub partition: Partition,
    /// its offset there
    pub offset: i64,
}

impl Origin {
    /// Where a row comes from that comes from no single record: that of an aggregate.
    pub const NO_RECORD: Self = Self {
        partition: Partition(0),
        offset: -1,
    };

    /// Whether there is a record there.
    #[must_use]
    pub fn is_record(self) -> bool {
        self.offset >= 0
    }
}

/// The next offset to read in each partition. A partition that is absent has no position yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Positions(BTreeMap<Partition, i64>);

impl Positions {
    /// The next offset to read in this partition.
    #[must_use]
    pub fn get(&self, partition: Partition) -> Option<i64> {
        self.0.get(&partition).copied()
    }

    /// Sets the next offset to read in this partition.
    pub fn set(&mut self, partition: Partition, next: i64) {
        self.0.insert(partition, next);
    }

    /// Partitions with their positions, in order of partition.
    pub fn iter(&self) -> impl Iterator<Item = (Partition, i64)> + '_ {
        self.0.iter().map(|(&partition, &next)| (partition, next))
    }

    /// Whether no partition has a position.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every position of `goal` is reached here.
    #[must_use]
    pub fn reached(&self, goal: &Self) -> bool {
        goal.iter()
            .all(|(partition, end)| self.get(partition).is_some_and(|next| next >= end))
    }
}

impl FromIterator<(Partition, i64)> for Positions {
    fn from_iter<I: IntoIterator<Item = (Partition, i64)>>(positions: I) -> Self {
        Self(positions.into_iter().collect())
    }
}

/// One record of a [`RawBatch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawRecord<'a> {
    /// where it was read
    pub origin: Origin,
    /// the record's own timestamp, ms since 1970 UTC; `None` where the source has none
    pub timestamp_ms: Option<i64>,
    /// Kafka's key
    pub key: Option<&'a [u8]>,
    /// the payload; `None` is a tombstone
    pub value: Option<&'a [u8]>,
    /// Kafka's headers
    pub headers: RawHeaders<'a>,
}

#[derive(Debug, Clone)]
struct Entry {
    origin: Origin,
    timestamp_ms: Option<i64>,
    key: Option<Range<u32>>,
    value: Option<Range<u32>>,
    /// empty: there are none
    headers: Range<u32>,
}

/// Takes records as they are read.
pub trait TakeRecords {
    /// Takes one, copying its bytes.
    fn push(&mut self, record: RawRecord<'_>);
}

/// Records as they were read, of any partitions, in order within each: bytes back to back in one
/// allocation. Holds less than 4 GiB.
#[derive(Debug, Clone, Default)]
pub struct RawBatch {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl RawBatch {
    /// Appends one record, copying its bytes.
    ///
    /// # Panics
    ///
    /// When the batch would hold 4 GiB or more; sources stop at their byte limit long before.
    pub fn push(&mut self, record: RawRecord<'_>) {
        let key = record.key.map(|key| self.store(key));
        let value = record.value.map(|value| self.store(value));
        let headers = self.store(record.headers.0);
        self.entries.push(Entry {
            origin: record.origin,
            timestamp_ms: record.timestamp_ms,
            key,
            value,
            headers,
        });
    }

    #[inline]
    fn store(&mut self, bytes: &[u8]) -> Range<u32> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        let end = u32::try_from(self.bytes.len()).expect("a batch holds less than 4 GiB");
        start as u32..end
    }

    /// How many records it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of keys, values and headers.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// The record at `index`.
    ///
    /// # Panics
    ///
    /// When `index` is not below [`len`](Self::len).
    #[must_use]
    pub fn get(&self, index: usize) -> RawRecord<'_> {
        let entry = &self.entries[index];
        let slice = |range: &Range<u32>| &self.bytes[range.start as usize..range.end as usize];
        RawRecord {
            origin: entry.origin,
            timestamp_ms: entry.timestamp_ms,
            key: entry.key.as_ref().map(slice),
            value: entry.value.as_ref().map(slice),
            headers: RawHeaders(slice(&entry.headers)),
        }
    }

    /// The value of the record at `index`, and all bytes that follow it here; nothing for a tombstone.
    ///
    /// # Panics
    ///
    /// When `index` is not below [`len`](Self::len).
    pub(crate) fn value_onward(&self, index: usize) -> &[u8] {
        let value = self.entries[index].value.as_ref();
        value.map_or(&[], |range| &self.bytes[range.start as usize..])
    }

    /// All records in order.
    pub fn iter(&self) -> impl Iterator<Item = RawRecord<'_>> + '_ {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Forgets the records, keeps the allocations.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }

    /// The batch without its records, to be filled again; `None` where more than `bytes_max` would be kept
    /// for it.
    pub(crate) fn emptied(mut self, bytes_max: usize) -> Option<Self> {
        self.clear();
        (self.bytes.capacity() <= bytes_max).then_some(self)
    }
}

impl TakeRecords for RawBatch {
    fn push(&mut self, record: RawRecord<'_>) {
        Self::push(self, record);
    }
}

/// Rows on their way through the chain.
///
/// # Invariants
///
/// `records` has one entry per row, never falling: the index in the [`RawBatch`] of the record that
/// the row came from. Several rows may come from one record.
#[derive(Debug, Clone)]
pub struct Rows {
    /// the values
    pub columns: RecordBatch,
    /// for each row, its record's index in the raw batch
    pub records: Vec<u32>,
}

impl Rows {
    /// Keeps those whose records are meant.
    ///
    /// # Panics
    ///
    /// When `records` has not one entry per row.
    pub fn keep(&mut self, is_meant: impl Fn(&u32) -> bool) {
        if self.records.iter().all(&is_meant) {
            return;
        }
        let mask: BooleanArray = self.records.iter().map(|r| Some(is_meant(r))).collect();
        self.columns =
            filter_record_batch(&self.columns, &mask).expect("the mask is as long as the batch");
        self.records.retain(is_meant);
    }
}

/// Why a record was left out, in a word, for counting; the reason for a person stands beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// it is no JSON object
    Malformed,
    /// a value is missing, or not of its column's type
    Value,
    /// a guest rejected it
    Rejected,
    /// a guest failed on it
    Failed,
    /// an aggregate has no group for it
    Group,
    /// a table cannot hold it
    Unstorable,
    /// a sink refused it
    Refused,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 7] = [
        Self::Malformed,
        Self::Value,
        Self::Rejected,
        Self::Failed,
        Self::Group,
        Self::Unstorable,
        Self::Refused,
    ];

    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Value => "value",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Group => "group",
            Self::Unstorable => "unstorable",
            Self::Refused => "refused",
        }
    }
}

/// A record that a stage could not use. It is left out of everything and goes to the dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// index in the raw batch
    pub record: u32,
    /// why, in a word
    pub cause: Cause,
    /// what is wrong, for a person
    pub reason: String,
    /// the column that is at fault, where there is one
    pub column: Option<String>,
}

/// A record that was left out, with why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// where it was read; [`Origin::NO_RECORD`] for the row of an aggregate
    pub origin: Origin,
    /// The document that a sink refused, as `index/id`: there may be several of one record.
    pub document: Option<String>,
    /// which stage left it out: `decode`, or the name of a transform, aggregate or sink
    pub stage: String,
    /// the component that rejected it, where it was one
    pub component: Option<String>,
    /// the column at fault, where there is one
    pub column: Option<String>,
    /// why, in a word
    pub cause: Cause,
    /// what is wrong, for a person
    pub reason: String,
    /// the record's own timestamp, ms since 1970 UTC
    pub timestamp_ms: Option<i64>,
    /// Kafka's key as it was read
    pub key: Option<Vec<u8>>,
    /// Kafka's headers as they were read
    pub headers: Vec<RecordHeader>,
    /// The payload as it was read; `None` is a tombstone. Where a sink refused a document, this is
    /// the document.
    pub value: Option<Vec<u8>>,
}
