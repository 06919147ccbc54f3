//! Partitions in memory, for tests and simulations of the rest of the host.
//!
//! [`MemoryPartitions`] is the handle that writes, [`MemorySource`] the source that reads; any
//! number of each may share the same partitions. Offsets are counted by one, gaps are made on
//! purpose.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;

use super::budget::Budget;
use super::{
    PartitionRange, PollLimit, Source, SourceError, Survey, ahead_of, all_reached, check_positions,
};
use crate::record::{Origin, Partition, Positions, RawHeaders, RawRecord, TakeRecords};

/// One record to append.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryRecord {
    /// ms since 1970 UTC
    pub timestamp_ms: Option<i64>,
    /// the key
    pub key: Option<Bytes>,
    /// the payload; `None` is a tombstone
    pub value: Option<Bytes>,
}

impl MemoryRecord {
    /// A record that has nothing but a payload.
    #[must_use]
    pub fn of(value: impl Into<Bytes>) -> Self {
        Self {
            value: Some(value.into()),
            ..Self::default()
        }
    }
}

/// Shared partitions: the writing side.
#[derive(Debug, Clone)]
pub struct MemoryPartitions(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    partitions: Mutex<Vec<Log>>,
    grown: Condvar,
}

#[derive(Debug, Default)]
struct Log {
    begin: i64,
    end: i64,
    /// in order of offset, all within `begin..end`
    records: VecDeque<(i64, MemoryRecord)>,
}

impl MemoryPartitions {
    /// So many partitions, all empty.
    #[must_use]
    pub fn new(count: u32) -> Self {
        let partitions = (0..count).map(|_| Log::default()).collect();
        Self(Arc::new(Shared {
            partitions: Mutex::new(partitions),
            grown: Condvar::new(),
        }))
    }

    /// A source that reads them; it stands nowhere until its first seek.
    #[must_use]
    pub fn source(&self) -> MemorySource {
        MemorySource {
            shared: Arc::clone(&self.0),
            positions: Positions::default(),
            turn: 0,
        }
    }

    /// Appends one record and returns its offset.
    ///
    /// # Panics
    ///
    /// When there is no such partition.
    pub fn append(&self, partition: Partition, record: MemoryRecord) -> i64 {
        self.change(partition, |log| {
            let offset = log.end;
            log.records.push_back((offset, record));
            log.end += 1;
            offset
        })
    }

    /// What each partition holds.
    #[cfg(test)]
    pub(crate) fn ranges(&self) -> Vec<PartitionRange> {
        ranges(&self.0.lock())
    }

    /// The offset after the newest record of each partition.
    #[cfg(test)]
    pub(crate) fn ends(&self) -> Vec<(Partition, i64)> {
        let partitions = self.0.lock();
        let ends = (0..).zip(partitions.iter());
        ends.map(|(partition, log)| (Partition(partition), log.end))
            .collect()
    }

    /// Adds a partition, which is empty.
    pub fn add(&self) {
        self.0.lock().push(Log::default());
    }

    /// Leaves a gap of so many offsets at the end, as transaction markers do in Kafka.
    ///
    /// # Panics
    ///
    /// When there is no such partition.
    pub fn skip(&self, partition: Partition, offsets: u32) {
        self.change(partition, |log| log.end += i64::from(offsets));
    }

    /// Deletes all before `offset` (at most all there is), as retention does in Kafka.
    ///
    /// # Panics
    ///
    /// When there is no such partition.
    pub fn delete_before(&self, partition: Partition, offset: i64) {
        self.change(partition, |log| {
            log.begin = offset.clamp(log.begin, log.end);
            log.records.drain(..log.index_of(log.begin));
        });
    }

    fn change<T>(&self, partition: Partition, change: impl FnOnce(&mut Log) -> T) -> T {
        let changed = change(&mut self.0.lock()[partition.0 as usize]);
        self.0.grown.notify_all();
        changed
    }
}

impl Shared {
    /// Every change is complete before it can panic, so a poisoned lock guards sound data.
    fn lock(&self) -> MutexGuard<'_, Vec<Log>> {
        self.partitions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    /// Index of the first record at or beyond this offset.
    fn index_of(&self, offset: i64) -> usize {
        self.records.partition_point(|&(at, _)| at < offset)
    }

    /// Delivers what is wanted of `position..bound` and returns the new position.
    fn read(
        &self,
        partition: Partition,
        mut position: i64,
        bound: i64,
        budget: &mut Budget,
        into: &mut dyn TakeRecords,
    ) -> i64 {
        for (offset, record) in self.records.range(self.index_of(position)..) {
            let raw = RawRecord {
                origin: Origin {
                    partition,
                    offset: *offset,
                },
                timestamp_ms: record.timestamp_ms,
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers: RawHeaders::default(),
            };
            if *offset >= bound || !budget.take(raw, into) {
                return position.max(bound.min(*offset));
            }
            position = offset + 1;
        }
        position.max(bound.min(self.end))
    }
}

/// A [`Source`] over [`MemoryPartitions`].
#[derive(Debug)]
pub struct MemorySource {
    shared: Arc<Shared>,
    positions: Positions,
    /// which partition is served first: the next one in every poll
    turn: usize,
}

fn ranges(logs: &[Log]) -> Vec<PartitionRange> {
    (0u32..)
        .zip(logs)
        .map(|(partition, log)| PartitionRange {
            partition: Partition(partition),
            begin: log.begin,
            end: log.end,
        })
        .collect()
}

impl Source for MemorySource {
    fn partitions(&mut self) -> Result<Vec<PartitionRange>, SourceError> {
        Ok(ranges(&self.shared.lock()))
    }

    fn survey(&self) -> Survey {
        let shared = Arc::clone(&self.shared);
        Survey {
            partitions: Box::new(move || Ok(ranges(&shared.lock()))),
            show: None,
        }
    }

    fn seek(&mut self, positions: &Positions) -> Result<(), SourceError> {
        check_positions(positions, &ranges(&self.shared.lock()))?;
        self.positions = positions.clone();
        Ok(())
    }

    fn adjust(&mut self, positions: &Positions) -> Result<(), SourceError> {
        check_positions(positions, &ranges(&self.shared.lock()))?;
        for (partition, position) in ahead_of(&self.positions, positions).iter() {
            self.positions.set(partition, position);
        }
        Ok(())
    }

    fn poll(
        &mut self,
        until: &Positions,
        limit: PollLimit,
        into: &mut dyn TakeRecords,
    ) -> Result<(), SourceError> {
        let deadline = Instant::now() + limit.wait_max;
        let mut budget = Budget::new(limit);
        self.turn = self.turn.wrapping_add(1);
        let mut order: Vec<_> = self
            .positions
            .iter()
            .map(|(partition, _)| partition)
            .collect();
        if !order.is_empty() {
            let first = self.turn % order.len();
            order.rotate_left(first);
        }
        let mut logs = self.shared.lock();
        loop {
            for &partition in &order {
                let log = &logs[partition.0 as usize];
                let position = self.positions.get(partition).unwrap_or(log.begin);
                if position < log.begin {
                    return Err(SourceError::OutOfRange {
                        partition,
                        begin: log.begin,
                        end: log.end,
                        position,
                    });
                }
                let bound = until.get(partition).unwrap_or(i64::MAX);
                let position = log.read(partition, position, bound, &mut budget, into);
                self.positions.set(partition, position);
            }
            let now = Instant::now();
            if !budget.is_untouched()
                || budget.records_left() == 0
                || all_reached(&self.positions, until)
                || now >= deadline
            {
                return Ok(());
            }
            (logs, _) = self
                .shared
                .grown
                .wait_timeout(logs, deadline - now)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn positions(&self) -> &Positions {
        &self.positions
    }
}
