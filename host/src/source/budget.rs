//! What one poll may still add to its batch.

use super::PollLimit;
use crate::record::{RawRecord, TakeRecords};

/// Counts down the limits of one poll.
#[derive(Debug)]
pub(super) struct Budget {
    records: usize,
    bytes: usize,
    is_untouched: bool,
}

impl Budget {
    pub(super) fn new(limit: PollLimit) -> Self {
        Self {
            records: limit.records_max,
            bytes: limit.bytes_max,
            is_untouched: true,
        }
    }

    /// Appends the record, unless the poll has had enough: then it returns `false`. The first
    /// record is taken whatever its size (and then alone), so that a large one cannot hold up its
    /// partition.
    pub(super) fn take(&mut self, record: RawRecord<'_>, into: &mut dyn TakeRecords) -> bool {
        let size = record.key.map_or(0, <[u8]>::len)
            + record.value.map_or(0, <[u8]>::len)
            + record.headers.byte_len();
        if self.records == 0 || (size > self.bytes && !self.is_untouched) {
            return false;
        }
        self.records -= 1;
        if let Some(left) = self.bytes.checked_sub(size) {
            self.bytes = left;
        } else {
            self.records = 0;
        }
        self.is_untouched = false;
        into.push(record);
        true
    }

    /// Records that may still be added.
    pub(super) fn records_left(&self) -> usize {
        self.records
    }

    /// Whether nothing was added yet.
    pub(super) fn is_untouched(&self) -> bool {
        self.is_untouched
    }
}
