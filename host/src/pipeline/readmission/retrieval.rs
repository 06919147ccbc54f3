//! Reading certain records again, and telling which of them are gone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::record::{Origin, Partition, Positions, RawBatch};
use crate::source::{PollLimit, Source, SourceError};

/// How much is read at a time, of what is meant and what lies between.
const POLL_ROWS: usize = 4_096;
const POLL_BYTES: usize = 2 << 20;

/// Reads them from a source of its own, from the least to the greatest offset of each partition.
pub(in crate::pipeline) struct Retrieval {
    source: Box<dyn Source>,
    /// what was neither found yet nor is known to be gone
    wanted: BTreeMap<Partition, BTreeSet<i64>>,
    /// where reading ends in each partition; `None` where it has to begin first
    until: Option<Positions>,
    /// what is being read, the records between included
    read: RawBatch,
}

/// What a step has come to.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct Found {
    /// records, in order within each partition
    pub(in crate::pipeline) records: RawBatch,
    /// those that the source does not have any more
    pub(in crate::pipeline) gone: BTreeSet<Origin>,
}

impl Retrieval {
    /// Of these records.
    pub(in crate::pipeline) fn new(
        source: Box<dyn Source>,
        records: impl IntoIterator<Item = Origin>,
    ) -> Self {
        let mut wanted: BTreeMap<Partition, BTreeSet<i64>> = BTreeMap::new();
        for Origin { partition, offset } in records {
            wanted.entry(partition).or_default().insert(offset);
        }
        Self {
            source,
            wanted,
            until: None,
            read: RawBatch::default(),
        }
    }

    /// Whether each of them was found, or is known to be gone.
    pub(in crate::pipeline) fn is_over(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Asks the source once, which waits for `wait_max` at most, and adds what that gives.
    ///
    /// # Errors
    ///
    /// [`SourceError`]; what was found before is there all the same, and the next step goes on.
    pub(in crate::pipeline) fn step(
        &mut self,
        wait_max: Duration,
        found: &mut Found,
    ) -> Result<(), SourceError> {
        let Some(until) = &self.until else {
            return self.begin(found);
        };
        let limit = PollLimit {
            records_max: POLL_ROWS,
            bytes_max: POLL_BYTES,
            wait_max,
        };
        self.read.clear();
        let polled = self.source.poll(until, limit, &mut self.read);
        for record in self.read.iter() {
            let Origin { partition, offset } = record.origin;
            let wanted = self.wanted.get_mut(&partition);
            if wanted.is_some_and(|offsets| offsets.remove(&offset)) {
                found.records.push(record);
            }
        }
        // What was passed without being delivered is not there: deleted one by one, by compaction.
        let positions = self.source.positions();
        for (&partition, offsets) in &mut self.wanted {
            let next = positions.get(partition).unwrap_or(i64::MIN);
            let left = offsets.split_off(&next);
            let passed = std::mem::replace(offsets, left);
            add_gone(partition, passed, found);
        }
        self.wanted.retain(|_, offsets| !offsets.is_empty());
        match polled {
            // Deleted from the front meanwhile.
            Err(SourceError::OutOfRange { position, end, .. }) if position <= end => {
                self.until = None;
                Ok(())
            }
            polled => polled,
        }
    }

    /// Finds out what is still there, and goes to the first of it.
    fn begin(&mut self, found: &mut Found) -> Result<(), SourceError> {
        let ranges = self.source.partitions()?;
        let (mut from, mut until) = (Positions::default(), Positions::default());
        for (&partition, offsets) in &mut self.wanted {
            let range = ranges.iter().find(|range| range.partition == partition);
            let (begin, end) = range.map_or((0, 0), |range| (range.begin, range.end));
            let mut there = offsets.split_off(&begin);
            let behind = there.split_off(&end);
            let deleted = std::mem::take(offsets);
            add_gone(partition, deleted.into_iter().chain(behind), found);
            if let (Some(first), Some(last)) = (there.first(), there.last()) {
                from.set(partition, *first);
                until.set(partition, last + 1);
            }
            *offsets = there;
        }
        self.wanted.retain(|_, offsets| !offsets.is_empty());
        if self.wanted.is_empty() {
            return Ok(());
        }
        match self.source.seek(&from) {
            Ok(()) => {
                self.until = Some(until);
                Ok(())
            }
            // Deleted from the front meanwhile.
            Err(SourceError::OutOfRange { position, end, .. }) if position <= end => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn add_gone(partition: Partition, offsets: impl IntoIterator<Item = i64>, found: &mut Found) {
    let offsets = offsets.into_iter();
    found
        .gone
        .extend(offsets.map(|offset| Origin { partition, offset }));
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::source::{MemoryPartitions, MemoryRecord};

    fn origin(partition: u32, offset: i64) -> Origin {
        Origin {
            partition: Partition(partition),
            offset,
        }
    }

    /// Two partitions of so many records each.
    fn partitions(records: i64) -> MemoryPartitions {
        let partitions = MemoryPartitions::new(2);
        for partition in 0..2 {
            for number in 0..records {
                let text = Bytes::from(format!("{partition}:{number}"));
                partitions.append(Partition(partition), MemoryRecord::of(text));
            }
        }
        partitions
    }

    fn retrieve(
        partitions: &MemoryPartitions,
        wanted: &[Origin],
        mut at_each_step: impl FnMut(usize),
    ) -> (Vec<(Origin, String)>, Vec<Origin>) {
        let source = Box::new(partitions.source());
        let mut retrieval = Retrieval::new(source, wanted.iter().copied());
        let mut found = Found::default();
        for step in 0.. {
            if retrieval.is_over() {
                break;
            }
            at_each_step(step);
            let stepped = retrieval.step(Duration::from_millis(1), &mut found);
            stepped.expect("the source is in memory");
            assert!(step < 1_000, "it comes to an end");
        }
        let records = found.records.iter().map(|record| {
            let text = record.value.map(String::from_utf8_lossy);
            (record.origin, text.unwrap_or_default().into_owned())
        });
        (records.collect(), found.gone.into_iter().collect())
    }

    #[test]
    fn exactly_the_records_that_are_meant_are_read() {
        let wanted = [origin(0, 3), origin(0, 7), origin(1, 0), origin(1, 19)];
        let (mut records, gone) = retrieve(&partitions(20), &wanted, |_| ());
        records.sort();
        let expected = wanted.map(|o| (o, format!("{}:{}", o.partition, o.offset)));
        assert_eq!(records, expected);
        assert_eq!(gone, []);
    }

    #[test]
    fn what_was_deleted_is_told_and_the_rest_is_read() {
        let partitions = partitions(20);
        partitions.delete_before(Partition(0), 5);
        let wanted = [origin(0, 3), origin(0, 7), origin(1, 25), origin(9, 0)];
        let (records, gone) = retrieve(&partitions, &wanted, |_| ());
        assert_eq!(records, [(origin(0, 7), "0:7".to_owned())]);
        assert_eq!(gone, [origin(0, 3), origin(1, 25), origin(9, 0)]);
    }

    #[test]
    fn what_is_deleted_while_it_is_read_is_told_too() {
        let partitions = partitions(20_000);
        let wanted = [origin(0, 1), origin(0, 15_000), origin(0, 19_999)];
        let (records, gone) = retrieve(&partitions, &wanted, |step| {
            if step == 2 {
                partitions.delete_before(Partition(0), 16_000);
            }
        });
        let read: Vec<Origin> = records.iter().map(|(origin, _)| *origin).collect();
        assert_eq!(read, [origin(0, 1), origin(0, 19_999)]);
        assert_eq!(gone, [origin(0, 15_000)]);
    }

    #[test]
    fn nothing_is_over_at_once() {
        assert_eq!(retrieve(&partitions(1), &[], |_| ()), (vec![], vec![]));
    }
}
