//! The cases that every source has to pass.

use std::thread;
use std::time::{Duration, Instant};

use wasmill::record::{Partition, RawBatch};
use wasmill::source::{MemoryPartitions, MemoryRecord, PollLimit};

use super::adjusting::{
    a_partition_is_added_and_nothing_of_the_others_lost, a_refused_adjustment_changes_nothing,
    adjusting_never_moves_back, what_was_fetched_before_a_jump_is_passed_over,
};
use super::benches::{Append, Bench, Files, FullRecords, Generated};
use super::seeking::{
    a_partition_that_does_not_exist_is_refused, a_position_out_of_range_is_refused,
    a_refused_seek_changes_nothing, deleted_records_move_the_beginning,
    deletion_ahead_of_the_position_is_an_error, reads_no_partition_but_those_sought,
    seeking_back_delivers_the_same_again, seeking_leaves_nothing_behind,
};
use super::{
    LIMIT, PATIENCE, assert_same, by_partition, count, ends, no_bound, offsets, poll, positions,
    read_all, read_count, read_until, rewind, values,
};
use crate::support::kafka::Topic;

/// Runs the cases on one kind of bench.
macro_rules! run_on {
    ($name:ident, $bench:ty: $($case:ident),+ $(,)?) => {
        mod $name {
            use super::*;
            $(#[test]
            fn $case() {
                super::$case::<$bench>();
            })+
        }
    };
}

/// Every case that rests on nothing but the trait.
macro_rules! run_all_on {
    ($name:ident, $bench:ty $(, $more:ident)* $(,)?) => {
        run_on!($name, $bench:
            delivers_everything_in_order,
            a_bound_is_never_crossed,
            what_lies_beyond_a_bound_comes_later,
            a_bound_holds_up_no_other_partition,
            returns_at_once_when_all_bounds_are_reached,
            waits_no_longer_than_it_may,
            seeking_back_delivers_the_same_again,
            seeking_leaves_nothing_behind,
            reads_no_partition_but_those_sought,
            a_position_out_of_range_is_refused,
            a_partition_that_does_not_exist_is_refused,
            a_refused_seek_changes_nothing,
            limits_are_kept,
            a_partition_is_added_and_nothing_of_the_others_lost,
            what_was_fetched_before_a_jump_is_passed_over,
            adjusting_never_moves_back,
            a_refused_adjustment_changes_nothing,
            $($more),*
        );
    };
}

/// Those, and every case that appends what it likes.
macro_rules! run_all_and_append_on {
    ($name:ident, $bench:ty $(, $more:ident)* $(,)?) => {
        run_all_on!(
            $name,
            $bench,
            tells_where_partitions_begin_and_end,
            tells_the_same_to_another_thread,
            delivers_what_is_appended_while_it_waits,
            reads_on_after_more_was_appended,
            a_record_larger_than_the_limit_comes_alone,
            unicode_comes_through
            $(, $more)*
        );
    };
}

// What time appends to a generator is tested beside it.
run_all_on!(generator, Generated);
run_all_and_append_on!(file, Files);
run_all_and_append_on!(
    memory,
    MemoryPartitions,
    keys_timestamps_and_any_payload_come_through,
    deleted_records_move_the_beginning,
    deletion_ahead_of_the_position_is_an_error,
);
run_all_and_append_on!(
    kafka,
    Topic,
    keys_timestamps_and_any_payload_come_through,
    deleted_records_move_the_beginning,
    deletion_ahead_of_the_position_is_an_error,
);

/// So many different payloads, of uneven length.
pub(super) fn payloads(name: &str, count: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|number| format!("{name} {number} {}", "x".repeat(number * 7 % 50)).into_bytes())
        .collect()
}

pub(super) fn slices(payloads: &[Vec<u8>]) -> Vec<&[u8]> {
    payloads.iter().map(Vec::as_slice).collect()
}

/// Two partitions with 300 and 200 records, and a third that stays empty.
pub(super) fn filled<B: Bench>() -> (B, Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let bench = B::create(3);
    let first = bench.fill(0, "first", 300);
    let second = bench.fill(1, "second", 200);
    (bench, first, second)
}

fn tells_the_same_to_another_thread<B: Append>() {
    let (bench, first, _) = filled::<B>();
    let mut source = bench.source();
    rewind(&mut *source);
    let survey = source.survey().partitions;
    bench.append(2, &[b"late"]);
    let asking = thread::spawn(survey);
    let read = read_count(&mut *source, 501);
    assert_eq!(values(&read[&0]), slices(&first));
    let answer = asking.join().expect("no panic").expect("there");
    assert_eq!(answer, source.partitions().expect("there"));
}

fn tells_where_partitions_begin_and_end<B: Append>() {
    let bench = B::create(2);
    let mut source = bench.source();
    let ranges = source.partitions().expect("there");
    let seen: Vec<_> = ranges
        .iter()
        .map(|range| (range.partition.0, range.begin, range.end))
        .collect();
    assert_eq!(seen, [(0, 0, 0), (1, 0, 0)]);

    bench.append(1, &[b"one", b"two"]);
    let ranges = source.partitions().expect("there");
    assert_eq!((ranges[0].begin, ranges[0].end), (0, 0));
    assert_eq!(ranges[1].begin, 0);
    assert!(ranges[1].end >= 2);
    assert!(source.positions().is_empty(), "nothing was sought");
}

fn delivers_everything_in_order<B: Bench>() {
    let (bench, first, second) = filled::<B>();
    let mut source = bench.source();
    let read = read_all(source.as_mut());
    assert_same(&values(&read[&0]), &slices(&first));
    assert_same(&values(&read[&1]), &slices(&second));
    assert!(!read.contains_key(&2));
    for records in read.values() {
        assert!(offsets(records).is_sorted_by(|a, b| a < b));
    }
    let ends = ends(source.as_mut());
    assert_eq!(source.positions(), &ends);
}

fn a_bound_is_never_crossed<B: Bench>() {
    let (bench, first, _) = filled::<B>();
    let mut source = bench.source();
    let all = read_all(source.as_mut());
    source.seek(&positions(&[(0, 0)])).expect("in range");
    let mut again = Vec::new();
    for record in all[&0].iter().step_by(17) {
        let until = positions(&[(0, record.offset)]);
        // read_until asserts that nothing is at or beyond the bound.
        again.extend(read_until(source.as_mut(), &until, LIMIT).remove(&0));
        assert_eq!(source.positions(), &until, "the bound, and not beyond it");
    }
    let again: Vec<_> = again.into_iter().flatten().collect();
    let last = all[&0].iter().step_by(17).next_back().expect("some").offset;
    assert!(
        again
            .iter()
            .eq(all[&0].iter().filter(|record| record.offset < last))
    );
    assert!(again.len() > first.len() - 18);
}

fn what_lies_beyond_a_bound_comes_later<B: Bench>() {
    let (bench, first, second) = filled::<B>();
    let mut source = bench.source();
    let all = read_all(source.as_mut());
    let ends = ends(source.as_mut());
    rewind(source.as_mut());
    let until = positions(&[(0, all[&0][100].offset), (1, all[&1][0].offset), (2, 0)]);
    let before = read_until(source.as_mut(), &until, LIMIT);
    assert_same(&values(&before[&0]), &slices(&first[..100]));
    assert!(!before.contains_key(&1));
    let after = read_until(source.as_mut(), &ends, LIMIT);
    assert_same(&values(&after[&0]), &slices(&first[100..]));
    assert_same(&values(&after[&1]), &slices(&second));
}

fn a_bound_holds_up_no_other_partition<B: Bench>() {
    let bench = B::create(2);
    let first = bench.fill(0, "first", 20_000);
    let second = bench.fill(1, "second", 20_000);
    let mut source = bench.source();
    let ends = ends(source.as_mut());
    rewind(source.as_mut());
    let end = ends.get(Partition(1)).expect("there");
    let read = read_until(source.as_mut(), &positions(&[(0, 0), (1, end)]), LIMIT);
    assert!(!read.contains_key(&0));
    assert_same(&values(&read[&1]), &slices(&second));
    let read = read_until(source.as_mut(), &ends, LIMIT);
    assert_same(&values(&read[&0]), &slices(&first));
    assert!(!read.contains_key(&1));
}

fn returns_at_once_when_all_bounds_are_reached<B: Bench>() {
    let (bench, ..) = filled::<B>();
    let mut source = bench.source();
    read_all(source.as_mut());
    let long = PollLimit {
        wait_max: 2 * PATIENCE,
        ..LIMIT
    };
    let started = Instant::now();
    let until = ends(source.as_mut());
    assert_eq!(count(&poll(source.as_mut(), &until, long)), 0);
    // Bounds that lie behind are reached too, and move nothing back.
    let behind = positions(&[(0, 0), (1, 0), (2, 0)]);
    assert_eq!(count(&poll(source.as_mut(), &behind, long)), 0);
    assert_eq!(source.positions(), &until);
    assert!(started.elapsed() < PATIENCE);
}

fn waits_no_longer_than_it_may<B: Bench>() {
    let (bench, ..) = filled::<B>();
    let mut source = bench.source();
    read_all(source.as_mut());
    let limit = PollLimit {
        wait_max: Duration::from_secs(1),
        ..LIMIT
    };
    let started = Instant::now();
    assert_eq!(count(&poll(source.as_mut(), &no_bound(), limit)), 0);
    let waited = started.elapsed();
    assert!(waited > Duration::from_millis(500), "{waited:?}");
    assert!(waited < Duration::from_secs(10), "{waited:?}");
}

fn delivers_what_is_appended_while_it_waits<B: Append + Sync>() {
    let bench = B::create(1);
    let mut source = bench.source();
    source.seek(&positions(&[(0, 0)])).expect("in range");
    let limit = PollLimit {
        wait_max: 2 * PATIENCE,
        ..LIMIT
    };
    let started = Instant::now();
    let read = thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(300));
            bench.append(0, &[b"late"]);
        });
        poll(source.as_mut(), &no_bound(), limit)
    });
    assert_eq!(values(&read[&0]), [b"late"]);
    assert!(started.elapsed() < PATIENCE);
}

fn reads_on_after_more_was_appended<B: Append>() {
    let (bench, ..) = filled::<B>();
    let mut source = bench.source();
    read_all(source.as_mut());
    for round in 0..3 {
        let more = payloads(&format!("round {round}"), 40);
        bench.append(0, &slices(&more));
        bench.append(2, &slices(&more));
        let read = read_count(source.as_mut(), 80);
        assert_same(&values(&read[&0]), &slices(&more));
        assert_same(&values(&read[&2]), &slices(&more));
    }
    // A source that comes later starts where this one stands.
    let stand = source.positions().clone();
    bench.append(1, &[b"last"]);
    let mut later = bench.source();
    later.seek(&stand).expect("in range");
    let read = read_count(later.as_mut(), 1);
    assert_eq!(values(&read[&1]), [b"last"]);
}

fn limits_are_kept<B: Bench>() {
    let (bench, first, second) = filled::<B>();
    let mut source = bench.source();
    let ends = ends(source.as_mut());
    for (records_max, bytes_max) in [
        (1, 1 << 20),
        (7, 1 << 20),
        (1_000, 500),
        (1_000, 61),
        (0, 9),
    ] {
        rewind(source.as_mut());
        let limit = PollLimit {
            records_max,
            bytes_max,
            ..LIMIT
        };
        let mut all = RawBatch::default();
        while records_max > 0 && !source.positions().reached(&ends) {
            let mut batch = RawBatch::default();
            source.poll(&ends, limit, &mut batch).expect("read");
            assert!(batch.len() <= records_max);
            assert!(batch.byte_len() <= bytes_max || batch.len() == 1);
            batch.iter().for_each(|record| all.push(record));
        }
        if records_max == 0 {
            assert_eq!(count(&poll(source.as_mut(), &ends, limit)), 0);
            continue;
        }
        let read = by_partition(&all);
        assert_same(&values(&read[&0]), &slices(&first));
        assert_same(&values(&read[&1]), &slices(&second));
    }
}

fn a_record_larger_than_the_limit_comes_alone<B: Append>() {
    let bench = B::create(1);
    let large = vec![b'x'; 700_000];
    bench.append(0, &[b"one", b"two", &large, b"three"]);
    let mut source = bench.source();
    source.seek(&positions(&[(0, 0)])).expect("in range");
    let limit = PollLimit {
        bytes_max: 1_000,
        wait_max: PATIENCE,
        ..LIMIT
    };
    let mut polls = Vec::new();
    let mut seen = 0;
    while seen < 4 {
        let read = poll(source.as_mut(), &no_bound(), limit);
        seen += count(&read);
        polls.push(read);
    }
    let alone: Vec<_> = polls
        .iter()
        .filter(|read| values(&read[&0]).contains(&large.as_slice()))
        .map(count)
        .collect();
    assert_eq!(alone, [1]);
}

fn unicode_comes_through<B: Append>() {
    let bench = B::create(1);
    let texts = [
        "größer",
        "数据",
        "🌾 Mühle 🌾",
        "e\u{301}",
        "\u{202e}rtl",
        "\\u0000 \" \t",
    ];
    bench.append(0, &texts.map(str::as_bytes));
    let read = read_all(bench.source().as_mut());
    assert_eq!(values(&read[&0]), texts.map(str::as_bytes));
}

fn keys_timestamps_and_any_payload_come_through<B: FullRecords>() {
    let bench = B::create(1);
    let every_byte: Vec<u8> = (0..=255).collect();
    let records = [
        (
            Some(1_700_000_000_000),
            Some(b"key".to_vec()),
            Some(every_byte.clone()),
        ),
        (Some(1), Some(every_byte), Some(b"\n".to_vec())),
        (Some(1_700_000_000_001), None, Some(Vec::new())),
        (Some(1_700_000_000_002), Some(Vec::new()), None),
        (Some(1_700_000_000_003), Some(b"tombstone".to_vec()), None),
    ];
    for (timestamp_ms, key, value) in records.clone() {
        let record = MemoryRecord {
            timestamp_ms,
            key: key.map(Into::into),
            value: value.map(Into::into),
        };
        bench.append_record(0, &record);
    }
    let read = read_all(bench.source().as_mut());
    let read: Vec<_> = read[&0]
        .iter()
        .map(|record| {
            (
                record.timestamp_ms,
                record.key.clone(),
                record.value.clone(),
            )
        })
        .collect();
    assert_eq!(read, records);
}
