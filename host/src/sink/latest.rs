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

use super::projection::Projector;
use crate::config::OnConflict;
use crate::epoch::OutputBatch;
use crate::record::Origin;

/// Which of several rows with one key stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Winner {
    /// the one with the greatest origin; between equal ones, or without origins, the latest row
    Last,
    /// the one with the least origin; between equal ones, or without origins, the earliest row
    First,
}

impl From<OnConflict> for Winner {
    fn from(on_conflict: OnConflict) -> Self {
        match on_conflict {
            OnConflict::Update => Self::Last,
            OnConflict::Ignore => Self::First,
        }
    }
}

/// The rows of one batch, projected, and which of them stay.
#[derive(Debug)]
pub struct Survivors<'a> {
    /// the columns of the table or index
    pub columns: RecordBatch,
    /// one for each row of `columns`, or none at all
    pub origins: &'a [Origin],
    /// indices of the rows that stay, rising; `None`: all of them
    pub rows: Option<Vec<u32>>,
}

/// Projects the batches of one stream of one epoch, and finds the rows that stay. `key` holds the
/// indices of the key columns among the projected ones. Null is a value like others, equal to itself;
/// so is NaN, and 0.0 equals -0.0, as in PostgreSQL.
///
/// # Panics
///
/// When a batch is none of the projector's stream, when a key column has a layout that is none of
/// [`crate::schema::DataType`]'s, when a batch has origins for some of its rows only, or at 2³² rows.
#[must_use]
pub fn survivors<'a>(
    projector: &Projector,
    batches: &'a [OutputBatch],
    key: &[usize],
    winner: Winner,
) -> Vec<Survivors<'a>> {
    let projected: Vec<RecordBatch> = batches
        .iter()
        .map(|batch| projector.apply(&batch.columns))
        .collect();
    let keyed: Vec<KeyedBatch<'_>> = projected
        .iter()
        .zip(batches)
        .map(|(columns, batch)| KeyedBatch {
            columns,
            origins: &batch.origins,
        })
        .collect();
    let staying = staying(&keyed, key, winner);
    projected
        .into_iter()
        .zip(batches)
        .zip(staying)
        .map(|((columns, batch), rows)| Survivors {
            columns,
            origins: &batch.origins,
            rows,
        })
        .collect()
}

struct KeyedBatch<'a> {
    columns: &'a RecordBatch,
    origins: &'a [Origin],
}

/// For each batch the rows that stay, rising; `None` when all of its rows do.
fn staying(batches: &[KeyedBatch<'_>], key: &[usize], winner: Winner) -> Vec<Option<Vec<u32>>> {
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
mod tests;
