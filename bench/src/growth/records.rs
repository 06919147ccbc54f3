//! A source of records of a certain shape. Which record is at which offset never changes.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use wasmill::pipeline::ProcessUsage;
use wasmill::record::{Origin, Partition, Positions, RawHeaders, RawRecord, TakeRecords};
use wasmill::source::{PartitionRange, PollLimit, Source, SourceError, Survey};

use super::Shape;

/// 2020-01-01, ms since 1970.
const FIRST_DAY: u64 = 1_577_836_800_000;
/// ms
const DAY: u64 = 86_400_000;

/// When the last key had come for the first time. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct Turn(Arc<Moments>);

#[derive(Debug, Default)]
struct Moments {
    first_poll: OnceLock<Instant>,
    /// and what the process had used of the processors by then
    all_keys: OnceLock<(Instant, Duration)>,
}

impl Turn {
    /// How long after the first poll it was, and what the process had used of the processors by then.
    pub(super) fn get(&self) -> Option<(Duration, Duration)> {
        let (moment, used) = self.0.all_keys.get()?;
        Some((moment.duration_since(*self.0.first_poll.get()?), *used))
    }
}

/// The records: each key once, then others.
pub(super) struct Records {
    shape: Shape,
    turn: Turn,
    positions: Positions,
    /// which partition is served next
    next: u32,
    /// in all partitions
    polled: u64,
    value: Vec<u8>,
}

impl Records {
    pub(super) fn new(shape: Shape, turn: Turn) -> Self {
        Self {
            shape,
            turn,
            positions: Positions::default(),
            next: 0,
            polled: 0,
            value: Vec::with_capacity(shape.bytes),
        }
    }

    /// Makes the record of this number.
    fn make(&mut self, number: u64) {
        use std::io::Write;
        let Shape {
            keys, days, bytes, ..
        } = self.shape;
        let mixed = mix(number);
        let key = if number < keys { number } else { mixed % keys };
        let day = mix(mixed) % days;
        let time = FIRST_DAY + day * DAY + mixed % DAY;
        let cents = mixed % 100_000;
        self.value.clear();
        write!(
            self.value,
            r#"{{"key":"k{key:08}","amount":{}.{:02},"time":{time},"rest":""#,
            cents / 100,
            cents % 100
        )
        .expect("a vector takes every write");
        let rest = bytes.saturating_sub(2);
        self.value.resize(rest.max(self.value.len()), b'x');
        self.value.extend_from_slice(br#""}"#);
    }
}

/// Any number of any other (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl Shape {
    fn ranges(self) -> Vec<PartitionRange> {
        let all = self.keys + self.records;
        let partitions = u64::from(self.partitions);
        let range = |partition: u32| PartitionRange {
            partition: Partition(partition),
            begin: 0,
            end: (all / partitions + u64::from(u64::from(partition) < all % partitions)) as i64,
        };
        (0..self.partitions).map(range).collect()
    }
}

impl Source for Records {
    fn partitions(&mut self) -> Result<Vec<PartitionRange>, SourceError> {
        Ok(self.shape.ranges())
    }

    fn survey(&self) -> Survey {
        let shape = self.shape;
        Survey {
            partitions: Box::new(move || Ok(shape.ranges())),
            show: None,
        }
    }

    fn seek(&mut self, positions: &Positions) -> Result<(), SourceError> {
        self.positions = positions.clone();
        Ok(())
    }

    fn adjust(&mut self, positions: &Positions) -> Result<(), SourceError> {
        for (partition, next) in positions.iter() {
            let at = self.positions.get(partition).unwrap_or(next);
            self.positions.set(partition, at.max(next));
        }
        Ok(())
    }

    /// A record of each partition in turn, as many as the limit allows.
    fn poll(
        &mut self,
        until: &Positions,
        limit: PollLimit,
        into: &mut dyn TakeRecords,
    ) -> Result<(), SourceError> {
        self.turn.0.first_poll.get_or_init(Instant::now);
        let ends: Vec<i64> = self.shape.ranges().iter().map(|range| range.end).collect();
        let (mut records, mut bytes, mut passed) = (0, 0, 0);
        while records < limit.records_max && bytes < limit.bytes_max && passed < ends.len() {
            let partition = Partition(self.next);
            self.next = (self.next + 1) % self.shape.partitions;
            let end = ends[partition.0 as usize];
            let end = until.get(partition).map_or(end, |until| until.min(end));
            let Some(offset) = self.positions.get(partition).filter(|next| *next < end) else {
                passed += 1;
                continue;
            };
            passed = 0;
            self.make(offset as u64 * u64::from(self.shape.partitions) + u64::from(partition.0));
            into.push(RawRecord {
                origin: Origin { partition, offset },
                timestamp_ms: None,
                key: None,
                value: Some(&self.value),
                headers: RawHeaders::default(),
            });
            self.positions.set(partition, offset + 1);
            records += 1;
            bytes += self.value.len();
        }
        let before = self.polled;
        self.polled += records as u64;
        if before < self.shape.keys && self.polled >= self.shape.keys {
            self.turn
                .0
                .all_keys
                .get_or_init(|| (Instant::now(), ProcessUsage::so_far().cpu));
        }
        Ok(())
    }

    fn positions(&self) -> &Positions {
        &self.positions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape {
        keys: 10,
        days: 3,
        bytes: 120,
        partitions: 3,
        records: 7,
    };

    fn read(limit: usize) -> Vec<(Origin, Vec<u8>)> {
        let mut source = Records::new(SHAPE, Turn::default());
        let ranges = source.partitions().unwrap();
        let begins = ranges.iter().map(|r| (r.partition, r.begin)).collect();
        let ends: Positions = ranges.iter().map(|r| (r.partition, r.end)).collect();
        source.seek(&begins).unwrap();
        let mut batch = wasmill::record::RawBatch::default();
        let limit = PollLimit {
            records_max: limit,
            bytes_max: usize::MAX,
            wait_max: Duration::ZERO,
        };
        while !source.positions().reached(&ends) {
            source.poll(&ends, limit, &mut batch).unwrap();
        }
        let owned = |record: RawRecord<'_>| (record.origin, record.value.unwrap().to_vec());
        batch.iter().map(owned).collect()
    }

    #[test]
    fn every_key_comes_first_and_records_have_their_size() {
        let records = read(100);
        assert_eq!(records.len(), 17);
        for (number, (_, value)) in records.iter().enumerate() {
            assert_eq!(value.len(), 120);
            let value: serde_json::Value = serde_json::from_slice(value).unwrap();
            if number < 10 {
                assert_eq!(value["key"], format!("k{number:08}"));
            }
        }
    }

    #[test]
    fn batches_make_no_difference() {
        let sorted = |limit| {
            let mut records = read(limit);
            records.sort();
            records
        };
        assert_eq!(sorted(1), sorted(100));
    }
}
