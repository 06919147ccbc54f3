//! What the contract suite cannot ask of every source: pace, and the sameness of records.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;
use crate::record::RawBatch;

const CONFIG: config::GeneratorSource = config::GeneratorSource::DEFAULT;

/// No wait, and no limit that matters.
const AT_ONCE: PollLimit = PollLimit {
    records_max: 100_000,
    bytes_max: 1 << 30,
    wait_max: Duration::ZERO,
};

/// A paced source whose time is set by hand, in ms.
fn paced(rate: f64, records: Option<u64>) -> (GeneratorSource, Arc<AtomicU64>) {
    let time = Arc::new(AtomicU64::new(0));
    let read = Arc::clone(&time);
    let clock = Box::new(move || Duration::from_millis(read.load(Ordering::Relaxed)));
    let config = config::GeneratorSource {
        partitions: 2,
        rate: Some(rate),
        records,
        ..CONFIG
    };
    let ends = GeneratorSource::new(&config).ends;
    (GeneratorSource::with_ends(&config, ends, clock), time)
}

fn positions(first: i64, second: i64) -> Positions {
    [(Partition(0), first), (Partition(1), second)]
        .into_iter()
        .collect()
}

fn ends(source: &mut GeneratorSource) -> (i64, i64) {
    let ranges = source.partitions().unwrap();
    (ranges[0].end, ranges[1].end)
}

/// Polls until nothing more is there.
fn drain(source: &mut GeneratorSource, until: &Positions) -> Vec<Origin> {
    let mut all = Vec::new();
    loop {
        let mut batch = RawBatch::default();
        source.poll(until, AT_ONCE, &mut batch).unwrap();
        if batch.is_empty() {
            return all;
        }
        all.extend(batch.iter().map(|record| record.origin));
    }
}

#[test]
fn records_are_dealt_out_in_turn() {
    let dealt = |records| shares(records, 3).collect::<Vec<_>>();
    assert_eq!(dealt(0), [0, 0, 0]);
    assert_eq!(dealt(7), [3, 2, 2]);
    assert_eq!(dealt(u64::MAX), [OFFSETS_MAX; 3]);
}

#[test]
fn time_brings_records_to_the_partitions_in_turn() {
    let (mut source, time) = paced(10.0, None);
    time.store(5_000, Ordering::Relaxed);
    source.seek(&positions(0, 0)).unwrap();
    assert_eq!(ends(&mut source), (0, 0), "time begins with the first seek");
    assert!(drain(&mut source, &Positions::default()).is_empty());
    time.store(5_100, Ordering::Relaxed);
    assert_eq!(ends(&mut source), (1, 0));
    time.store(6_000, Ordering::Relaxed);
    assert_eq!(ends(&mut source), (5, 5));
    assert_eq!(drain(&mut source, &Positions::default()).len(), 10);
    assert_eq!(source.positions(), &positions(5, 5));
}

#[test]
fn a_restart_goes_on_beyond_what_time_would_allow() {
    let (mut source, time) = paced(10.0, None);
    assert_eq!(ends(&mut source), (OFFSETS_MAX, OFFSETS_MAX));
    source.seek(&positions(1_000, 7)).unwrap();
    assert_eq!(ends(&mut source), (1_000, 7));
    time.store(1_000, Ordering::Relaxed);
    let read = drain(&mut source, &Positions::default());
    assert_eq!(read.len(), 10);
    assert_eq!(source.positions(), &positions(1_005, 12));
}

#[test]
fn a_replay_gets_its_records_at_once_and_time_goes_on_behind_it() {
    let (mut source, time) = paced(10.0, Some(1_000));
    source.seek(&positions(100, 100)).unwrap();
    let replayed = drain(&mut source, &positions(300, 250));
    assert_eq!(replayed.len(), 350);
    assert_eq!(ends(&mut source), (300, 250));
    time.store(1_000, Ordering::Relaxed);
    assert_eq!(ends(&mut source), (305, 255));
    // The very end is a goal, which brings nothing before its time.
    assert_eq!(drain(&mut source, &positions(500, 500)).len(), 10);
    time.store(1_000_000, Ordering::Relaxed);
    assert_eq!(ends(&mut source), (500, 500));
    assert_eq!(drain(&mut source, &Positions::default()).len(), 440);
}

#[test]
fn a_partition_that_was_read_to_its_very_end_stays_there() {
    let (mut source, time) = paced(10.0, Some(1_000));
    source.seek(&positions(500, 490)).unwrap();
    assert_eq!(ends(&mut source), (500, 490));
    time.store(1_000, Ordering::Relaxed);
    assert_eq!(ends(&mut source), (500, 495));
    assert_eq!(drain(&mut source, &positions(500, 500)).len(), 5);
}

#[test]
fn seeking_back_takes_nothing_away() {
    let (mut source, time) = paced(10.0, None);
    source.seek(&positions(0, 0)).unwrap();
    time.store(2_000, Ordering::Relaxed);
    let first = drain(&mut source, &Positions::default());
    source.seek(&positions(0, 0)).unwrap();
    assert_eq!(drain(&mut source, &Positions::default()).len(), first.len());
}

#[test]
fn records_that_come_while_a_poll_waits_are_delivered() {
    let config = config::GeneratorSource {
        rate: Some(100.0),
        ..CONFIG
    };
    let mut source = GeneratorSource::new(&config);
    let begins = (0..CONFIG.partitions).map(|p| (Partition(p), 0)).collect();
    source.seek(&begins).unwrap();
    let limit = PollLimit {
        wait_max: Duration::from_mins(1),
        ..AT_ONCE
    };
    let started = Instant::now();
    let mut batch = RawBatch::default();
    source
        .poll(&Positions::default(), limit, &mut batch)
        .unwrap();
    assert!(!batch.is_empty());
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_tombstone_is_a_record_without_a_value() {
    let config = config::GeneratorSource {
        bad_share: 1.0,
        records: Some(1_000),
        ..CONFIG
    };
    let mut source = GeneratorSource::new(&config);
    let begins = (0..CONFIG.partitions).map(|p| (Partition(p), 0)).collect();
    source.seek(&begins).unwrap();
    let mut batch = RawBatch::default();
    while batch.len() < 1_000 {
        source
            .poll(&Positions::default(), AT_ONCE, &mut batch)
            .unwrap();
    }
    assert!(batch.iter().any(|record| record.value.is_none()));
    assert!(batch.iter().all(|record| record.timestamp_ms.is_some()));
}

proptest! {
    /// However reading is cut up, a record is the one that its place says.
    #[test]
    fn a_record_is_the_same_whenever_and_however_it_is_read(
        seed: u64,
        from in 0..10_000_i64,
        records_max in 1..50_usize,
        bytes_max in 1..10_000_usize,
    ) {
        let config = config::GeneratorSource { partitions: 2, seed, bad_share: 0.1, duplicates: 0.3, ..CONFIG };
        let mut source = GeneratorSource::new(&config);
        source.seek(&positions(from, from + 3)).unwrap();
        let until = positions(from + 40, from + 40);
        let limit = PollLimit { records_max, bytes_max, wait_max: Duration::ZERO };
        let generator = Generator::new(Settings { seed, bad_share: 0.1, duplicates: 0.3, ..Settings::default() });
        let mut next = [from, from + 3];
        while !source.positions().reached(&until) {
            let mut batch = RawBatch::default();
            source.poll(&until, limit, &mut batch).unwrap();
            prop_assert!(batch.len() <= records_max);
            for record in batch.iter() {
                let mut value = Vec::new();
                let has_value = generator.generate(record.origin).render(&mut value);
                prop_assert_eq!(record.value, has_value.then_some(&value[..]));
                let next = &mut next[record.origin.partition.0 as usize];
                prop_assert_eq!(record.origin.offset, *next);
                *next += 1;
            }
        }
        prop_assert_eq!(next, [from + 40, from + 40]);
    }
}
