//! Which rows stay, on every type of key and against an ordered map.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{BinaryArray, Date32Array, Float64Array, Int64Array, StringArray};
use proptest::prelude::*;

use super::*;
use crate::record::Partition;

fn batch(columns: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_from_iter(
        columns
            .into_iter()
            .enumerate()
            .map(|(i, column)| (i.to_string(), column)),
    )
    .unwrap()
}

fn texts(values: &[&str]) -> RecordBatch {
    batch(vec![Arc::new(StringArray::from(values.to_vec()))])
}

fn origin(partition: u32, offset: i64) -> Origin {
    Origin {
        partition: Partition(partition),
        offset,
    }
}

fn without_origins(columns: &RecordBatch) -> KeyedBatch<'_> {
    KeyedBatch {
        columns,
        origins: &[],
    }
}

#[test]
fn distinct_keys_all_stay() {
    let rows = texts(&["a", "b", ""]);
    assert_eq!(
        staying(&[without_origins(&rows)], &[0], Winner::Last),
        [None]
    );
    assert!(staying(&[], &[0], Winner::Last).is_empty());
}

#[test]
fn without_origins_the_later_row_wins() {
    let (one, two) = (texts(&["a", "b", "a"]), texts(&["c", "b"]));
    let batches = [without_origins(&one), without_origins(&two)];
    assert_eq!(staying(&batches, &[0], Winner::Last), [Some(vec![2]), None]);
    assert_eq!(
        staying(&batches, &[0], Winner::First),
        [Some(vec![0, 1]), Some(vec![0])]
    );
}

#[test]
fn the_greater_origin_wins_whatever_the_order_of_batches() {
    let (one, two) = (texts(&["a"]), texts(&["a"]));
    let (late, early) = ([origin(1, 5)], [origin(0, 9)]);
    let batches = [
        KeyedBatch {
            columns: &one,
            origins: &late,
        },
        KeyedBatch {
            columns: &two,
            origins: &early,
        },
    ];
    assert_eq!(staying(&batches, &[0], Winner::Last), [None, Some(vec![])]);
    assert_eq!(staying(&batches, &[0], Winner::First), [Some(vec![]), None]);
}

#[test]
fn rows_of_one_record_fold_by_their_place() {
    let rows = texts(&["a", "a"]);
    let origins = [origin(0, 7); 2];
    let batches = [KeyedBatch {
        columns: &rows,
        origins: &origins,
    }];
    assert_eq!(staying(&batches, &[0], Winner::Last), [Some(vec![1])]);
    assert_eq!(staying(&batches, &[0], Winner::First), [Some(vec![0])]);
}

#[test]
fn every_column_of_a_key_counts() {
    let rows = batch(vec![
        Arc::new(Date32Array::from(vec![1, 1, 1])),
        Arc::new(StringArray::from(vec!["x", "y", "x"])),
    ]);
    let batches = [without_origins(&rows)];
    assert_eq!(staying(&batches, &[0, 1], Winner::Last), [Some(vec![1, 2])]);
    assert_eq!(staying(&batches, &[0], Winner::Last), [Some(vec![2])]);
}

#[test]
fn floats_are_equal_as_they_are_in_postgresql() {
    let rows = batch(vec![Arc::new(Float64Array::from(vec![
        0.0,
        -0.0,
        f64::NAN,
        -f64::NAN,
        1.0,
    ]))]);
    assert_eq!(
        staying(&[without_origins(&rows)], &[0], Winner::Last),
        [Some(vec![1, 3, 4])]
    );
}

#[test]
fn slices_and_nulls_fold_like_whole_arrays() {
    let whole = batch(vec![
        Arc::new(BinaryArray::from_opt_vec(vec![
            Some(b"skipped".as_slice()),
            None,
            Some(b"k"),
            None,
            Some(b"k"),
            Some(b""),
        ])),
        Arc::new(BooleanArray::from(vec![
            true, true, false, true, false, true,
        ])),
    ]);
    let slice = whole.slice(1, 5);
    assert_eq!(
        staying(&[without_origins(&slice)], &[0, 1], Winner::Last),
        [Some(vec![2, 3, 4])]
    );
}

proptest! {
    #[test]
    fn survivors_are_what_an_ordered_map_keeps(
        rows in prop::collection::vec((0_i64..20, 0_u32..3, 0_i64..50, 0_usize..4), 0..200),
        first in any::<bool>(),
    ) {
        let winner = if first { Winner::First } else { Winner::Last };
        let mut parts: [(Vec<i64>, Vec<Origin>); 4] = Default::default();
        for (key, partition, offset, part) in rows {
            parts[part].0.push(key);
            parts[part].1.push(origin(partition, offset));
        }
        let columns: Vec<RecordBatch> = parts
            .iter()
            .map(|(keys, _)| batch(vec![Arc::new(Int64Array::from(keys.clone()))]))
            .collect();
        let batches: Vec<KeyedBatch<'_>> = columns
            .iter()
            .zip(&parts)
            .map(|(columns, (_, origins))| KeyedBatch { columns, origins })
            .collect();

        let mut kept: BTreeMap<i64, (Origin, usize, u32)> = BTreeMap::new();
        for (part, (keys, origins)) in parts.iter().enumerate() {
            for (row, (&key, &origin)) in keys.iter().zip(origins).enumerate() {
                let candidate = (origin, part, row as u32);
                kept.entry(key)
                    .and_modify(|old| {
                        *old = if first { candidate.min(*old) } else { candidate.max(*old) };
                    })
                    .or_insert(candidate);
            }
        }
        let mut expected = vec![Vec::new(); 4];
        for (_, part, row) in kept.into_values() {
            expected[part].push(row);
        }
        for (part, staying) in staying(&batches, &[0], winner).into_iter().enumerate() {
            expected[part].sort_unstable();
            let all: Vec<u32> = (0..parts[part].0.len() as u32).collect();
            prop_assert_eq!(staying.is_none(), expected[part] == all);
            prop_assert_eq!(staying.unwrap_or(all), expected[part].clone());
        }
    }
}
