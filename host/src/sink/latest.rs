//! One row per key within an epoch.
//!
//! A sink must not get two rows of one key in one write: PostgreSQL refuses ("cannot affect row a
//! second time"), and Elasticsearch would call the second a conflict. Which one stays does not
//! depend on the order in which workers handed their batches over: the records' origins decide.
//!
//! # Not here
//!
//! What happens to a key that an earlier epoch wrote: that is the sink's matter.

use std::hash::BuildHasher;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal64Type, Float64Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType as Arrow;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::record::Origin;

/// Which of several rows with one key stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Winner {
    /// the one with the greatest origin; between equal ones, or without origins, the latest row
    Last,
    /// the one with the least origin; between equal ones, or without origins, the earliest row
    First,
}

/// Projected rows and what they came from (see [`crate::epoch::OutputBatch`]).
#[derive(Debug, Clone, Copy)]
pub struct KeyedBatch<'a> {
    /// the values
    pub columns: &'a RecordBatch,
    /// one for each row, or none at all
    pub origins: &'a [Origin],
}

/// For each batch the rows that stay, rising, where `key` holds the indices of the key columns;
/// `None` when all of its rows stay. Null is a value like others, equal to itself; so is NaN, and
/// 0.0 equals -0.0, as in PostgreSQL.
///
/// # Panics
///
/// When a key column has a layout that is none of [`crate::schema::DataType`]'s, when a batch has
/// origins for some of its rows only, or at 2³² rows.
#[must_use]
pub fn survivors(
    batches: &[KeyedBatch<'_>],
    key: &[usize],
    winner: Winner,
) -> Vec<Option<Vec<u32>>> {
    let batches: Vec<Keys<'_>> = batches.iter().map(|batch| Keys::new(batch, key)).collect();
    let rows = batches.iter().map(|batch| batch.rows).sum();
    let state = foldhash::fast::RandomState::default();
    let mut table: HashTable<Place> = HashTable::with_capacity(rows);
    let mut losers = vec![Vec::new(); batches.len()];
    let mut hashes = Vec::new();
    for (batch, keys) in batches.iter().enumerate() {
        keys.hash_into(&state, &mut hashes);
        for (row, &hash) in hashes.iter().enumerate() {
            let new = Place {
                batch: u32::try_from(batch).expect("an epoch has less than 2^32 batches"),
                index: u32::try_from(row).expect("a batch has less than 2^32 rows"),
                hash,
            };
            let same = |other: &Place| other.hash == hash && equal(&batches, *other, new);
            match table.entry(hash, same, |place| place.hash) {
                Entry::Vacant(entry) => {
                    entry.insert(new);
                }
                Entry::Occupied(mut entry) => {
                    let old = *entry.get();
                    let loser = if replaces(&batches, old, new, winner) {
                        *entry.get_mut() = new;
                        old
                    } else {
                        new
                    };
                    losers[loser.batch as usize].push(loser.index);
                }
            }
        }
    }
    losers
        .into_iter()
        .zip(&batches)
        .map(|(losers, batch)| all_but(losers, batch.rows))
        .collect()
}

#[derive(Clone, Copy)]
struct Place {
    batch: u32,
    index: u32,
    hash: u64,
}

fn equal(batches: &[Keys<'_>], a: Place, b: Place) -> bool {
    let columns = &batches[a.batch as usize].columns;
    let others = &batches[b.batch as usize].columns;
    columns
        .iter()
        .zip(others)
        .all(|(column, other)| column.equals(a.index as usize, other, b.index as usize))
}

/// Whether `new`, which stands after `old`, takes its place.
fn replaces(batches: &[Keys<'_>], old: Place, new: Place, winner: Winner) -> bool {
    let origin = |place: Place| {
        batches[place.batch as usize]
            .origins
            .get(place.index as usize)
            .copied()
    };
    match winner {
        Winner::Last => origin(new) >= origin(old),
        Winner::First => origin(new) < origin(old),
    }
}

fn all_but(mut losers: Vec<u32>, rows: usize) -> Option<Vec<u32>> {
    if losers.is_empty() {
        return None;
    }
    losers.sort_unstable();
    let mut losers = losers.into_iter().peekable();
    let staying = (0..rows as u32).filter(|row| losers.next_if_eq(row).is_none());
    Some(staying.collect())
}

/// The key columns of one batch.
struct Keys<'a> {
    columns: Vec<Column<'a>>,
    origins: &'a [Origin],
    rows: usize,
}

impl<'a> Keys<'a> {
    fn new(batch: &KeyedBatch<'a>, key: &[usize]) -> Self {
        let rows = batch.columns.num_rows();
        assert!(
            batch.origins.is_empty() || batch.origins.len() == rows,
            "a batch has an origin for each of its rows or for none"
        );
        Self {
            columns: key
                .iter()
                .map(|&index| Column::new(batch.columns.column(index)))
                .collect(),
            origins: batch.origins,
            rows,
        }
    }

    /// Hashes column by column, so that the type is looked at once per column and batch.
    fn hash_into(&self, state: &impl BuildHasher, hashes: &mut Vec<u64>) {
        hashes.clear();
        hashes.resize(self.rows, 0);
        for column in &self.columns {
            column.hash_into(state, hashes);
        }
    }
}

struct Column<'a> {
    values: Values<'a>,
    nulls: Option<&'a NullBuffer>,
}

enum Values<'a> {
    Int64(&'a [i64]),
    Int32(&'a [i32]),
    Float64(&'a [f64]),
    Boolean(&'a BooleanArray),
    Bytes { offsets: &'a [i32], bytes: &'a [u8] },
}

impl<'a> Column<'a> {
    fn new(array: &'a ArrayRef) -> Self {
        let values = match array.data_type() {
            Arrow::Int64 => Values::Int64(array.as_primitive::<Int64Type>().values()),
            Arrow::Decimal64(..) => Values::Int64(array.as_primitive::<Decimal64Type>().values()),
            Arrow::Timestamp(..) => {
                Values::Int64(array.as_primitive::<TimestampMicrosecondType>().values())
            }
            Arrow::Date32 => Values::Int32(array.as_primitive::<Date32Type>().values()),
            Arrow::Float64 => Values::Float64(array.as_primitive::<Float64Type>().values()),
            Arrow::Boolean => Values::Boolean(array.as_boolean()),
            Arrow::Utf8 => {
                let array = array.as_string::<i32>();
                Values::Bytes {
                    offsets: array.value_offsets(),
                    bytes: array.value_data(),
                }
            }
            Arrow::Binary => {
                let array = array.as_binary::<i32>();
                Values::Bytes {
                    offsets: array.value_offsets(),
                    bytes: array.value_data(),
                }
            }
            other => panic!("no column of the host has the layout {other}"),
        };
        Self {
            values,
            nulls: array.nulls().filter(|nulls| nulls.null_count() > 0),
        }
    }

    fn is_null(&self, row: usize) -> bool {
        self.nulls.is_some_and(|nulls| nulls.is_null(row))
    }

    fn hash_into(&self, state: &impl BuildHasher, hashes: &mut [u64]) {
        match &self.values {
            Values::Int64(values) => combine(state, hashes, values.iter()),
            Values::Int32(values) => combine(state, hashes, values.iter()),
            Values::Float64(values) => combine(state, hashes, values.iter().map(|&v| canonical(v))),
            Values::Boolean(values) => combine(state, hashes, values.values().iter()),
            Values::Bytes { offsets, bytes } => combine(
                state,
                hashes,
                offsets
                    .windows(2)
                    .map(|ends| &bytes[ends[0] as usize..ends[1] as usize]),
            ),
        }
        // What stands in the place of a null is arbitrary, so it must not count.
        if let Some(nulls) = self.nulls {
            for (row, hash) in hashes.iter_mut().enumerate() {
                if nulls.is_null(row) {
                    *hash = 0;
                }
            }
        }
    }

    fn equals(&self, row: usize, other: &Self, other_row: usize) -> bool {
        match (self.is_null(row), other.is_null(other_row)) {
            (false, false) => self.values.equals(row, &other.values, other_row),
            (null, other_null) => null && other_null,
        }
    }
}

impl Values<'_> {
    fn equals(&self, row: usize, other: &Self, other_row: usize) -> bool {
        match (self, other) {
            (Self::Int64(a), Self::Int64(b)) => a[row] == b[other_row],
            (Self::Int32(a), Self::Int32(b)) => a[row] == b[other_row],
            (Self::Float64(a), Self::Float64(b)) => canonical(a[row]) == canonical(b[other_row]),
            (Self::Boolean(a), Self::Boolean(b)) => a.value(row) == b.value(other_row),
            (Self::Bytes { .. }, Self::Bytes { .. }) => self.bytes(row) == other.bytes(other_row),
            _ => panic!("all batches of a stream have one schema"),
        }
    }

    fn bytes(&self, row: usize) -> &[u8] {
        match self {
            Self::Bytes { offsets, bytes } => {
                &bytes[offsets[row] as usize..offsets[row + 1] as usize]
            }
            _ => unreachable!("only byte columns are asked for bytes"),
        }
    }
}

fn combine<T: std::hash::Hash>(
    state: &impl BuildHasher,
    hashes: &mut [u64],
    values: impl Iterator<Item = T>,
) {
    for (hash, value) in hashes.iter_mut().zip(values) {
        *hash = state.hash_one((*hash, value));
    }
}

/// The bits of a float, the same for all floats that are equal as keys.
fn canonical(value: f64) -> u64 {
    if value == 0.0 {
        0
    } else if value.is_nan() {
        f64::NAN.to_bits()
    } else {
        value.to_bits()
    }
}

#[cfg(test)]
mod tests {
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
            survivors(&[without_origins(&rows)], &[0], Winner::Last),
            [None]
        );
        assert!(survivors(&[], &[0], Winner::Last).is_empty());
    }

    #[test]
    fn without_origins_the_later_row_wins() {
        let (one, two) = (texts(&["a", "b", "a"]), texts(&["c", "b"]));
        let batches = [without_origins(&one), without_origins(&two)];
        assert_eq!(
            survivors(&batches, &[0], Winner::Last),
            [Some(vec![2]), None]
        );
        assert_eq!(
            survivors(&batches, &[0], Winner::First),
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
        assert_eq!(
            survivors(&batches, &[0], Winner::Last),
            [None, Some(vec![])]
        );
        assert_eq!(
            survivors(&batches, &[0], Winner::First),
            [Some(vec![]), None]
        );
    }

    #[test]
    fn rows_of_one_record_fold_by_their_place() {
        let rows = texts(&["a", "a"]);
        let origins = [origin(0, 7); 2];
        let batches = [KeyedBatch {
            columns: &rows,
            origins: &origins,
        }];
        assert_eq!(survivors(&batches, &[0], Winner::Last), [Some(vec![1])]);
        assert_eq!(survivors(&batches, &[0], Winner::First), [Some(vec![0])]);
    }

    #[test]
    fn every_column_of_a_key_counts() {
        let rows = batch(vec![
            Arc::new(Date32Array::from(vec![1, 1, 1])),
            Arc::new(StringArray::from(vec!["x", "y", "x"])),
        ]);
        let batches = [without_origins(&rows)];
        assert_eq!(
            survivors(&batches, &[0, 1], Winner::Last),
            [Some(vec![1, 2])]
        );
        assert_eq!(survivors(&batches, &[0], Winner::Last), [Some(vec![2])]);
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
            survivors(&[without_origins(&rows)], &[0], Winner::Last),
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
            survivors(&[without_origins(&slice)], &[0, 1], Winner::Last),
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
            for (part, staying) in survivors(&batches, &[0], winner).into_iter().enumerate() {
                expected[part].sort_unstable();
                let all: Vec<u32> = (0..parts[part].0.len() as u32).collect();
                prop_assert_eq!(staying.is_none(), expected[part] == all);
                prop_assert_eq!(staying.unwrap_or(all), expected[part].clone());
            }
        }
    }
}
