//! The cases about changing some positions and leaving the others alone.

use wasmill::record::{Partition, RawBatch};
use wasmill::source::{PollLimit, SourceError};

use super::benches::Bench;
use super::contract::filled;
use super::{
    ByPartition, LIMIT, assert_same, by_partition, ends, no_bound, poll, positions, read_all,
    read_until,
};

/// Less than what is at hand, so that something is left over.
const SMALL: PollLimit = PollLimit {
    records_max: 7,
    ..LIMIT
};

fn together(mut read: ByPartition, more: ByPartition) -> ByPartition {
    for (partition, records) in more {
        read.entry(partition).or_default().extend(records);
    }
    read
}

pub(super) fn a_partition_is_added_and_nothing_of_the_others_lost<B: Bench>() {
    let (bench, ..) = filled::<B>();
    let mut source = bench.source();
    let all = read_all(source.as_mut());
    let ends = ends(source.as_mut());
    source.seek(&positions(&[(0, 0)])).expect("in range");
    let mut read = poll(source.as_mut(), &no_bound(), SMALL);
    // One after the other, each in the middle of what was fetched.
    for partition in [1, 2] {
        let new = positions(&[(partition, 0)]);
        source.adjust(&new).expect("in range");
        assert_eq!(source.positions().get(Partition(partition)), Some(0));
        let more = poll(source.as_mut(), &no_bound(), SMALL);
        read = together(read, more);
    }
    let more = read_until(source.as_mut(), &ends, LIMIT);
    let read = together(read, more);
    assert_same(&read[&0], &all[&0]);
    assert_same(&read[&1], &all[&1]);
    assert_eq!(source.positions(), &ends);
}

pub(super) fn what_was_fetched_before_a_jump_is_passed_over<B: Bench>() {
    let (bench, ..) = filled::<B>();
    let mut source = bench.source();
    let all = read_all(source.as_mut());
    let ends = ends(source.as_mut());
    for (read_before, jump_to) in [(0, 1), (10, 11), (10, 150), (10, 299), (299, 299)] {
        let start = positions(&[(0, 0), (1, 0)]);
        source.seek(&start).expect("in range");
        // The bound has records held that lie beyond it.
        let bound = positions(&[(0, all[&0][read_before].offset), (1, 0)]);
        let read = read_until(source.as_mut(), &bound, SMALL);
        let more = poll(source.as_mut(), &bound, SMALL);
        assert!(more.is_empty(), "all bounds are reached");
        let jump = positions(&[(0, all[&0][jump_to].offset)]);
        source.adjust(&jump).expect("in range");
        let until = ends.iter().filter(|(p, _)| p.0 < 2).collect();
        let read = together(read, read_until(source.as_mut(), &until, LIMIT));
        let (before, after) = (&all[&0][..read_before], &all[&0][jump_to..]);
        assert_same(&read[&0], &[before, after].concat());
        assert_same(&read[&1], &all[&1]);
    }
}

pub(super) fn adjusting_never_moves_back<B: Bench>() {
    let (bench, ..) = filled::<B>();
    let mut source = bench.source();
    let all = read_all(source.as_mut());
    let ends = ends(source.as_mut());
    source
        .seek(&positions(&[(0, 0), (1, 0)]))
        .expect("in range");
    let mut batch = RawBatch::default();
    while batch.len() < 50 {
        source.poll(&no_bound(), SMALL, &mut batch).expect("read");
    }
    let stand = source.positions().clone();
    source
        .adjust(&positions(&[(0, 0), (1, 0)]))
        .expect("in range");
    assert_eq!(source.positions(), &stand);
    let until = ends.iter().filter(|(p, _)| p.0 < 2).collect();
    let more = read_until(source.as_mut(), &until, LIMIT);
    let read = together(by_partition(&batch), more);
    assert_same(&read[&0], &all[&0]);
    assert_same(&read[&1], &all[&1]);
}

pub(super) fn a_refused_adjustment_changes_nothing<B: Bench>() {
    let (bench, ..) = filled::<B>();
    let mut source = bench.source();
    let all = read_all(source.as_mut());
    let ends = ends(source.as_mut());
    let end = ends.get(Partition(1)).expect("there");
    source.seek(&positions(&[(0, 0)])).expect("in range");
    let read = poll(source.as_mut(), &no_bound(), SMALL);
    let stand = source.positions().clone();
    let beyond = positions(&[(0, all[&0][299].offset), (1, end + 1)]);
    let error = source.adjust(&beyond).expect_err("out of range");
    assert!(matches!(error, SourceError::OutOfRange { .. }), "{error}");
    let error = source.adjust(&positions(&[(3, 0)])).expect_err("not there");
    assert!(matches!(error, SourceError::Permanent(_)), "{error}");
    assert_eq!(source.positions(), &stand);
    let until = ends.iter().filter(|(p, _)| p.0 == 0).collect();
    let read = together(read, read_until(source.as_mut(), &until, LIMIT));
    assert_same(&read[&0], &all[&0]);
}
