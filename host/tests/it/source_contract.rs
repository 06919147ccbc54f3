//! What every [`Source`] has to do, run on all of them.
//!
//! `contract`, `seeking` and `adjusting` have the cases, `benches` what writes to each kind of source. What only Kafka has
//! (transactions, deleted records, brokers that are not there) is in `kafka_only`.

mod adjusting;
mod benches;
mod contract;
mod kafka_only;
mod seeking;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use wasmill::record::{Partition, Positions, RawBatch};
use wasmill::source::{PollLimit, Source};

/// For what takes milliseconds on a quiet machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// No limit that matters, and a short wait.
const LIMIT: PollLimit = PollLimit {
    records_max: 10_000,
    bytes_max: 64 << 20,
    wait_max: Duration::from_millis(500),
};

/// A record that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Read {
    offset: i64,
    timestamp_ms: Option<i64>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

/// Records that were read, by partition, in the order in which they came.
type ByPartition = BTreeMap<u32, Vec<Read>>;

fn positions(of: &[(u32, i64)]) -> Positions {
    of.iter()
        .map(|&(partition, offset)| (Partition(partition), offset))
        .collect()
}

fn no_bound() -> Positions {
    Positions::default()
}

fn begins(source: &mut dyn Source) -> Positions {
    let ranges = source.partitions().expect("there");
    ranges
        .iter()
        .map(|range| (range.partition, range.begin))
        .collect()
}

fn ends(source: &mut dyn Source) -> Positions {
    let ranges = source.partitions().expect("there");
    ranges
        .iter()
        .map(|range| (range.partition, range.end))
        .collect()
}

/// Seeks to the beginning of every partition.
fn rewind(source: &mut dyn Source) {
    let begins = begins(source);
    source.seek(&begins).expect("in range");
}

/// One poll.
fn poll(source: &mut dyn Source, until: &Positions, limit: PollLimit) -> ByPartition {
    let mut batch = RawBatch::default();
    source.poll(until, limit, &mut batch).expect("read");
    by_partition(&batch)
}

fn by_partition(batch: &RawBatch) -> ByPartition {
    let mut read = ByPartition::new();
    for record in batch.iter() {
        read.entry(record.origin.partition.0)
            .or_default()
            .push(Read {
                offset: record.origin.offset,
                timestamp_ms: record.timestamp_ms,
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
            });
    }
    read
}

fn count(read: &ByPartition) -> usize {
    read.values().map(Vec::len).sum()
}

/// Polls until every bound is reached, checking on the way that none is crossed.
fn read_until(source: &mut dyn Source, until: &Positions, limit: PollLimit) -> ByPartition {
    let mut read = ByPartition::new();
    let started = Instant::now();
    while !source.positions().reached(until) {
        assert!(
            started.elapsed() < PATIENCE,
            "reading to {until:?} got no further than {:?}",
            source.positions()
        );
        for (partition, records) in poll(source, until, limit) {
            let bound = until.get(Partition(partition)).unwrap_or(i64::MAX);
            assert!(records.iter().all(|record| record.offset < bound));
            read.entry(partition).or_default().extend(records);
        }
    }
    read
}

/// Polls without bounds until so many records came.
fn read_count(source: &mut dyn Source, wanted: usize) -> ByPartition {
    let mut read = ByPartition::new();
    let started = Instant::now();
    while count(&read) < wanted {
        assert!(
            started.elapsed() < PATIENCE,
            "{} of {wanted} records came",
            count(&read)
        );
        for (partition, records) in poll(source, &no_bound(), LIMIT) {
            read.entry(partition).or_default().extend(records);
        }
    }
    assert_eq!(count(&read), wanted, "more came than there is");
    read
}

/// Everything from the beginning to the end as it is now.
fn read_all(source: &mut dyn Source) -> ByPartition {
    let ends = ends(source);
    rewind(source);
    read_until(source, &ends, LIMIT)
}

fn values(records: &[Read]) -> Vec<&[u8]> {
    records
        .iter()
        .map(|record| record.value.as_deref().expect("no tombstone"))
        .collect()
}

/// Compares long lists without printing them.
#[track_caller]
fn assert_same<T: PartialEq + std::fmt::Debug>(found: &[T], expected: &[T]) {
    let differs = found.iter().zip(expected).position(|(a, b)| a != b);
    if let Some(index) = differs {
        panic!(
            "record {index} is {:?}, not {:?}",
            found[index], expected[index]
        );
    }
    assert_eq!(found.len(), expected.len(), "number of records");
}

fn offsets(records: &[Read]) -> Vec<i64> {
    records.iter().map(|record| record.offset).collect()
}
