//! Numbers for values: rows with equal values have equal numbers.
//!
//! A column is numbered once a batch, however many aggregates use it, and from then on only numbers
//! are compared: those of two columns make those of both by way of a small table. Where values lie
//! close together (days, months, numbers that count), a table takes the place of a hash as well.
//!
//! # Invariants
//!
//! Numbers begin at 0 and have no gaps, and values get theirs in the order of the rows: so they do not
//! depend on the way in which they were found.

use std::hash::{BuildHasher, Hash};

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef};
use hashbrown::HashTable;

use super::keys::{Numbering, hasher};
use crate::calendar::DAY_MICROS;
use crate::row_codec::RowWriter;
use crate::schema::{DataType, Field};
use crate::window::Tumbling;

/// No number yet, in a table.
const NONE: u32 = u32::MAX;
/// A table in the place of a hash has so many entries a row at most.
const TABLE_ENTRIES_A_ROW: usize = 16;
/// Or so many, where rows are few.
const TABLE_ENTRIES_MIN: usize = 1_024;

/// A number for each row's value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Codes {
    /// that of each row
    pub(super) of_rows: Vec<u32>,
    /// for each number the first row that has it
    pub(super) firsts: Vec<u32>,
}

impl Codes {
    /// One number for all rows.
    pub(super) fn of_nothing(rows: usize) -> Self {
        Self {
            of_rows: vec![0; rows],
            firsts: (0..rows.min(1) as u32).collect(),
        }
    }

    /// Those of the windows that these instants lie in.
    ///
    /// # Panics
    ///
    /// When one of them lies in none.
    pub(super) fn of_windows(windows: &mut Tumbling, times: &[i64]) -> Self {
        let (Some(&first), Some(&last)) = (times.iter().min(), times.iter().max()) else {
            return Self::default();
        };
        let start_of = |windows: &mut Tumbling, instant| {
            let start = windows.start_of(instant);
            start.expect("it lies in a window")
        };
        let (base, unit) = (start_of(windows, first), windows.unit());
        let since = |instant: i64| (instant as u64).wrapping_sub(base as u64);
        let unit_of = |instant: i64| since(instant) / unit as u64;
        let Some(mut table) = table(unit_of(last), times.len()) else {
            let starts = times.iter().map(|&instant| start_of(windows, instant));
            let starts: Vec<i64> = starts.collect();
            return Self::of_hashed(times.len(), |row| starts[row]);
        };
        // The first row that lies in a window enters its number for all units of it.
        let enter = |table: &mut [u32], row: usize, number| {
            let start = start_of(windows, times[row]);
            let end = windows.end_of(start);
            let until = if end <= last {
                unit_of(end) as usize
            } else {
                table.len()
            };
            table[unit_of(start) as usize..until].fill(number);
        };
        if unit == DAY_MICROS {
            // To divide by a constant takes a fraction of the time.
            let day_of = |row: usize| since(times[row]) / DAY_MICROS as u64;
            return Self::of_table(times.len(), &mut table, day_of, enter);
        }
        Self::of_table(times.len(), &mut table, |row| unit_of(times[row]), enter)
    }

    /// Those of a column's values.
    pub(super) fn of_column(field: &Field, array: &ArrayRef) -> Self {
        match field.ty {
            _ if array.null_count() > 0 => Self::of_bytes(field, array),
            DataType::Int64 => Self::of_integers(array.as_primitive::<Int64Type>().values()),
            DataType::Decimal(_) => {
                Self::of_integers(array.as_primitive::<Decimal64Type>().values())
            }
            DataType::Timestamp => {
                Self::of_integers(array.as_primitive::<TimestampMicrosecondType>().values())
            }
            DataType::Utf8 => {
                let texts = array.as_string::<i32>();
                Self::of_hashed(texts.len(), |row| texts.value(row).as_bytes())
            }
            DataType::Boolean | DataType::Date | DataType::Float64 | DataType::Binary => {
                Self::of_bytes(field, array)
            }
        }
    }

    /// Those of pairs of values, from those of each.
    pub(super) fn of_pairs(left: &Self, right: &Self) -> Self {
        let rows = left.of_rows.len();
        let width = right.firsts.len() as u64;
        let pair =
            |row: usize| u64::from(left.of_rows[row]) * width + u64::from(right.of_rows[row]);
        let pairs = left.firsts.len() as u64 * width;
        match table(pairs.saturating_sub(1), rows) {
            Some(mut table) => {
                let enter = |table: &mut [u32], row, number| table[pair(row) as usize] = number;
                Self::of_table(rows, &mut table, pair, enter)
            }
            None => Self::of_hashed(rows, pair),
        }
    }

    fn of_integers(values: &[i64]) -> Self {
        let (Some(&least), Some(&most)) = (values.iter().min(), values.iter().max()) else {
            return Self::default();
        };
        let above = |row: usize| (values[row] as u64).wrapping_sub(least as u64);
        match table((most as u64).wrapping_sub(least as u64), values.len()) {
            Some(mut table) => {
                let enter = |table: &mut [u32], row, number| table[above(row) as usize] = number;
                Self::of_table(values.len(), &mut table, above, enter)
            }
            None => Self::of_hashed(values.len(), |row| values[row]),
        }
    }

    /// Those of values as the row codec writes them.
    fn of_bytes(field: &Field, array: &ArrayRef) -> Self {
        let (fields, arrays) = (std::slice::from_ref(field), std::slice::from_ref(array));
        let writer = RowWriter::new(fields, arrays);
        let mut numbering = Numbering::default();
        let mut codes = Self::default();
        codes.of_rows.reserve_exact(array.len());
        for row in 0..array.len() {
            let number = numbering.number(|out| writer.write(row, out));
            codes.push(row, number);
        }
        codes
    }

    fn of_hashed<T: Hash + Eq>(rows: usize, value: impl Fn(usize) -> T) -> Self {
        let hasher = hasher();
        // With their hashes: to grow, and to pass over others, takes no look at a value.
        let mut table: HashTable<(u64, u32)> = HashTable::new();
        let mut codes = Self::default();
        codes.of_rows.reserve_exact(rows);
        for row in 0..rows {
            let own = value(row);
            let hash = hasher.hash_one(&own);
            let first = |number: u32| codes.firsts[number as usize] as usize;
            let is_it =
                |&(other, number): &(u64, u32)| other == hash && value(first(number)) == own;
            let number = if let Some(&(_, number)) = table.find(hash, is_it) {
                number
            } else {
                let next = codes.firsts.len() as u32;
                table.insert_unique(hash, (hash, next), |&(hash, _)| hash);
                next
            };
            codes.push(row, number);
        }
        codes
    }

    /// Looks each row up in a table at its `place`. Has what is not there yet entered.
    fn of_table(
        rows: usize,
        table: &mut [u32],
        place: impl Fn(usize) -> u64,
        mut enter: impl FnMut(&mut [u32], usize, u32),
    ) -> Self {
        let mut codes = Self::default();
        codes.of_rows.reserve_exact(rows);
        for row in 0..rows {
            let mut number = table[place(row) as usize];
            if number == NONE {
                number = codes.firsts.len() as u32;
                enter(table, row, number);
            }
            codes.push(row, number);
        }
        codes
    }

    /// The number of the next row, which may be the first one that has it.
    #[inline]
    pub(super) fn push(&mut self, row: usize, number: u32) {
        if number as usize == self.firsts.len() {
            self.firsts.push(row as u32);
        }
        self.of_rows.push(number);
    }
}

/// An empty table for places up to `last`, if it pays for so many rows.
fn table(last: u64, rows: usize) -> Option<Vec<u32>> {
    let entries_max = TABLE_ENTRIES_MIN.max(rows.saturating_mul(TABLE_ENTRIES_A_ROW));
    let last = usize::try_from(last).ok()?;
    (last < entries_max).then(|| vec![NONE; last + 1])
}
