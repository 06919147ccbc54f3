//! The cases about seeking: what may be sought, and what comes after.

use std::time::Instant;

use wasmill::record::{Partition, RawBatch};
use wasmill::source::{PollLimit, SourceError};

use super::benches::{Bench, Retention};
use super::contract::{filled, slices};
use super::{
    LIMIT, PATIENCE, assert_same, begins, by_partition, count, ends, no_bound, poll, positions,
    read_all, read_count, read_until, values,
};

pub(super) fn seeking_back_delivers_the_same_again<B: Bench>() {
    let (bench, ..) = filled::<B>();
    let mut source = bench.source();
    let all = read_all(source.as_mut());
    assert_eq!(read_all(source.as_mut()), all);
    // From the middle of one and the end of the other.
    let ends = ends(source.as_mut());
    let from = positions(&[
        (0, all[&0][150].offset),
        (1, ends.get(Partition(1)).expect("there")),
    ]);
    source.seek(&from).expect("in range");
    assert_eq!(source.positions(), &from);
    let read = read_until(
        source.as_mut(),
        &positions(&[(0, ends.get(Partition(0)).expect("there"))]),
        LIMIT,
    );
    assert_same(&read[&0], &all[&0][150..]);
    assert!(!read.contains_key(&1));
}

pub(super) fn seeking_leaves_nothing_behind<B: Bench>() {
    let bench = B::create(2);
    for partition in 0..2 {
        bench.fill(partition, "record", 6_000);
    }
    let mut source = bench.source();
    let all = read_all(source.as_mut());
    let ends = ends(source.as_mut());
    // Less than what is at hand, so that something is left over when the next seek happens.
    let small = PollLimit {
        bytes_max: 9_000,
        ..LIMIT
    };
    for round in 0..25 {
        let index = [round * 241 % 6_000, round * 1_303 % 6_000];
        let from = positions(&[(0, all[&0][index[0]].offset), (1, all[&1][index[1]].offset)]);
        source.seek(&from).expect("in range");
        let mut read = RawBatch::default();
        while read.len() < 900 {
            source.poll(&no_bound(), small, &mut read).expect("read");
            if source.positions() == &ends {
                break;
            }
        }
        for (partition, records) in by_partition(&read) {
            let from = index[partition as usize];
            assert_eq!(
                records,
                all[&partition][from..from + records.len()],
                "round {round}"
            );
        }
    }
}

pub(super) fn reads_no_partition_but_those_sought<B: Bench>() {
    let (bench, _, second) = filled::<B>();
    let mut source = bench.source();
    read_all(source.as_mut());
    source.seek(&positions(&[(1, 0)])).expect("in range");
    let read = read_count(source.as_mut(), second.len());
    assert_same(&values(&read[&1]), &slices(&second));
    assert_eq!(count(&poll(source.as_mut(), &no_bound(), LIMIT)), 0);
    assert_eq!(source.positions().get(Partition(0)), None);
    assert_eq!(source.positions().get(Partition(2)), None);
}

pub(super) fn a_position_out_of_range_is_refused<B: Bench>() {
    let (bench, ..) = filled::<B>();
    let mut source = bench.source();
    let end = ends(source.as_mut()).get(Partition(1)).expect("there");
    for wrong in [end + 1, -1] {
        let error = source
            .seek(&positions(&[(0, 0), (1, wrong)]))
            .expect_err("out of range");
        let SourceError::OutOfRange {
            partition,
            begin,
            end: to,
            position,
        } = error
        else {
            panic!("{error}");
        };
        assert_eq!(
            (partition, begin, to, position),
            (Partition(1), 0, end, wrong)
        );
    }
}

pub(super) fn a_partition_that_does_not_exist_is_refused<B: Bench>() {
    let bench = B::create(2);
    let mut source = bench.source();
    let error = source
        .seek(&positions(&[(2, 0)]))
        .expect_err("there are two");
    assert!(matches!(error, SourceError::Permanent(_)), "{error}");
}

pub(super) fn a_refused_seek_changes_nothing<B: Bench>() {
    let (bench, first, _) = filled::<B>();
    let mut source = bench.source();
    source.seek(&positions(&[(0, 0)])).expect("in range");
    let few = PollLimit {
        records_max: 10,
        wait_max: PATIENCE,
        ..LIMIT
    };
    let mut batch = RawBatch::default();
    source.poll(&no_bound(), few, &mut batch).expect("read");
    source
        .seek(&positions(&[(0, i64::MAX)]))
        .expect_err("out of range");
    while batch.len() < first.len() {
        source.poll(&no_bound(), few, &mut batch).expect("read");
    }
    let read = by_partition(&batch);
    assert_same(&values(&read[&0]), &slices(&first));
}

pub(super) fn deleted_records_move_the_beginning<B: Retention>() {
    let (bench, first, _) = filled::<B>();
    let mut source = bench.source();
    bench.delete_before(0, 120);
    assert_eq!(
        begins(source.as_mut()),
        positions(&[(0, 120), (1, 0), (2, 0)])
    );
    let error = source.seek(&positions(&[(0, 119)])).expect_err("deleted");
    assert!(
        matches!(
            error,
            SourceError::OutOfRange {
                begin: 120,
                position: 119,
                ..
            }
        ),
        "{error}"
    );
    source.seek(&positions(&[(0, 120)])).expect("in range");
    let read = read_count(source.as_mut(), first.len() - 120);
    assert_same(&values(&read[&0]), &slices(&first[120..]));
}

/// What a source has fetched ahead it may still deliver, but it never jumps over what was deleted.
pub(super) fn deletion_ahead_of_the_position_is_an_error<B: Retention>() {
    let (bench, first, _) = filled::<B>();
    let mut source = bench.source();
    source.seek(&positions(&[(0, 0)])).expect("in range");
    bench.delete_before(0, 120);
    let started = Instant::now();
    let mut batch = RawBatch::default();
    let error = loop {
        assert!(started.elapsed() < PATIENCE, "no error came");
        match source.poll(&no_bound(), LIMIT, &mut batch) {
            Ok(()) if batch.len() == first.len() => return,
            Ok(()) => {}
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, SourceError::OutOfRange { begin: 120, .. }),
        "{error}"
    );
    let again = source
        .poll(&no_bound(), LIMIT, &mut batch)
        .expect_err("still gone");
    assert!(
        matches!(again, SourceError::OutOfRange { begin: 120, .. }),
        "{again}"
    );
    for records in by_partition(&batch).values() {
        assert_same(&values(records), &slices(&first[..records.len()]));
    }
    source.seek(&positions(&[(0, 120)])).expect("in range");
    let read = read_count(source.as_mut(), first.len() - 120);
    assert_same(&values(&read[&0]), &slices(&first[120..]));
}
