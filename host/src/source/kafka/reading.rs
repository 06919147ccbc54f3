//! How far one partition has been read, and what is held back of it (pure: no I/O).
//!
//! librdkafka hands over messages of all partitions mixed, so some lie beyond the bound of their
//! partition while others still have a way to go. They are held, copied into a batch of their own,
//! until a later poll has a higher bound. Epochs that are read again have one bound after another,
//! close together: holding costs a copy, while seeking back would throw away all that was fetched
//! ahead at every one of them.
//!
//! # Invariants
//!
//! 1. `position` ≤ the offset of the first held record ≤ `received`.
//! 2. Nothing exists from `position` to the first held record, or to `received` if none is held.

use crate::record::{RawBatch, RawRecord, TakeRecords};
use crate::source::budget::Budget;

/// One assigned partition.
#[derive(Debug)]
pub(super) struct Reading {
    position: i64,
    /// the offset up to which librdkafka has handed over what exists
    received: i64,
    /// `i64::MAX` without a bound
    bound: i64,
    held: RawBatch,
    held_next: usize,
    /// Taken out of librdkafka's assignment, because too much is held.
    pub(super) is_parked: bool,
}

/// What is to be done with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// it is the next one
    Deliver,
    /// it lies beyond the bound, or behind others that do
    Hold,
    /// it was there before
    Drop,
}

impl Reading {
    pub(super) fn at(position: i64) -> Self {
        Self {
            position,
            received: position,
            bound: i64::MAX,
            held: RawBatch::default(),
            held_next: 0,
            is_parked: false,
        }
    }

    pub(super) fn position(&self) -> i64 {
        self.position
    }

    pub(super) fn is_reached(&self) -> bool {
        self.position >= self.bound
    }

    /// Bytes that are held, those included that were delivered but not forgotten.
    pub(super) fn held_bytes(&self) -> usize {
        self.held.byte_len()
    }

    /// Sets the bound of this poll.
    pub(super) fn set_bound(&mut self, bound: Option<i64>) {
        self.bound = bound.unwrap_or(i64::MAX);
        self.skip_gap();
    }

    /// What becomes of the record at this offset.
    pub(super) fn verdict(&self, offset: i64) -> Verdict {
        if offset < self.received {
            Verdict::Drop
        } else if offset >= self.bound || self.held_next < self.held.len() {
            Verdict::Hold
        } else {
            Verdict::Deliver
        }
    }

    /// Notes that the record at this offset was delivered.
    pub(super) fn delivered(&mut self, offset: i64) {
        self.received = offset + 1;
        self.position = offset + 1;
    }

    /// Keeps a record for later.
    pub(super) fn hold(&mut self, record: RawRecord<'_>) {
        self.received = record.origin.offset + 1;
        self.held.push(record);
        self.skip_gap();
    }

    /// Notes that nothing is there up to this offset but what was handed over.
    pub(super) fn end_at(&mut self, offset: i64) {
        self.received = self.received.max(offset);
        self.skip_gap();
    }

    /// Delivers held records up to the bound. Returns `false` when the budget did not allow all.
    pub(super) fn deliver_held(&mut self, budget: &mut Budget, into: &mut dyn TakeRecords) -> bool {
        while self.held_next < self.held.len() {
            let record = self.held.get(self.held_next);
            let offset = record.origin.offset;
            if offset >= self.bound || !budget.take(record, into) {
                self.skip_gap();
                return offset >= self.bound;
            }
            self.held_next += 1;
            self.position = offset + 1;
        }
        self.held.clear();
        self.held_next = 0;
        self.skip_gap();
        true
    }

    /// The offset from which librdkafka has to read again, if it was told to stop and all that was
    /// held is gone.
    pub(super) fn resume_at(&self) -> Option<i64> {
        (self.is_parked && self.held.is_empty() && !self.is_reached()).then_some(self.received)
    }

    /// Moves the position over offsets that are known not to exist, up to the bound.
    fn skip_gap(&mut self) {
        let next_existing = if self.held_next < self.held.len() {
            self.held.get(self.held_next).origin.offset
        } else {
            self.received
        };
        self.position = self.position.max(next_existing.min(self.bound));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::record::{Origin, Partition, RawHeaders};
    use crate::source::PollLimit;

    fn record(offset: i64) -> RawRecord<'static> {
        RawRecord {
            origin: Origin {
                partition: Partition(0),
                offset,
            },
            timestamp_ms: None,
            key: None,
            value: Some(b"value"),
            headers: RawHeaders::default(),
        }
    }

    fn budget(records_max: usize) -> Budget {
        Budget::new(PollLimit {
            records_max,
            bytes_max: usize::MAX,
            wait_max: Duration::ZERO,
        })
    }

    fn offsets(batch: &RawBatch) -> Vec<i64> {
        batch.iter().map(|record| record.origin.offset).collect()
    }

    #[test]
    fn what_lies_beyond_the_bound_is_held_and_delivered_later() {
        let mut reading = Reading::at(0);
        reading.set_bound(Some(2));
        assert_eq!(reading.verdict(0), Verdict::Deliver);
        reading.delivered(0);
        assert_eq!(reading.verdict(3), Verdict::Hold);
        reading.hold(record(3));
        assert_eq!(reading.position(), 2, "the gap ends beyond the bound");
        reading.hold(record(5));

        let mut into = RawBatch::default();
        reading.set_bound(Some(5));
        assert_eq!(reading.position(), 3);
        assert!(reading.deliver_held(&mut budget(9), &mut into));
        assert_eq!(offsets(&into), [3]);
        assert_eq!(reading.position(), 5);
        assert_eq!(reading.verdict(6), Verdict::Hold, "5 is still held");

        reading.set_bound(None);
        assert!(reading.deliver_held(&mut budget(9), &mut into));
        assert_eq!(offsets(&into), [3, 5]);
        assert_eq!(reading.verdict(6), Verdict::Deliver);
        assert_eq!(reading.held_bytes(), 0);
    }

    #[test]
    fn an_end_beyond_the_bound_is_remembered() {
        let mut reading = Reading::at(4);
        reading.set_bound(Some(6));
        reading.end_at(9);
        assert!(reading.is_reached());
        assert_eq!(reading.position(), 6);
        reading.set_bound(Some(9));
        assert!(reading.is_reached());
        assert_eq!(reading.position(), 9);
    }

    #[test]
    fn a_bound_behind_the_position_moves_nothing() {
        let mut reading = Reading::at(7);
        reading.set_bound(Some(3));
        assert!(reading.is_reached());
        assert_eq!(reading.position(), 7);
    }

    #[test]
    fn a_record_that_was_there_before_is_dropped() {
        let mut reading = Reading::at(7);
        assert_eq!(reading.verdict(6), Verdict::Drop);
        reading.set_bound(Some(8));
        reading.hold(record(9));
        assert_eq!(reading.verdict(9), Verdict::Drop);
    }

    #[test]
    fn a_parked_partition_resumes_once_what_was_held_is_gone() {
        let mut reading = Reading::at(0);
        reading.set_bound(Some(1));
        reading.hold(record(1));
        reading.hold(record(2));
        reading.is_parked = true;
        let mut into = RawBatch::default();
        reading.set_bound(Some(4));
        assert!(!reading.deliver_held(&mut budget(1), &mut into));
        assert_eq!(reading.resume_at(), None);
        assert!(reading.deliver_held(&mut budget(1), &mut into));
        assert_eq!(reading.resume_at(), Some(3));
        reading.set_bound(Some(3));
        assert_eq!(reading.resume_at(), None, "it is at its bound");
    }
}
