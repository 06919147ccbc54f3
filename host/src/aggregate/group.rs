//! Which rows share a group: the same window and the same key.
//!
//! A group's bytes are its window's start (a `timestamp`, where there is a window) and its key
//! columns, written by the [row codec](crate::row_codec).

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

use crate::record::{Cause, Rejection, Rows};
use crate::row_codec::RowWriter;
use crate::schema::Field;
use crate::window::Tumbling;

/// Bytes of a group at most: what identifies a row in a database has to fit into its index, and
/// PostgreSQL's takes 2,704 bytes.
const GROUP_BYTES_MAX: usize = 2_000;

/// Byte strings back to back: the groups of a batch, by number.
#[derive(Debug, Clone, Default)]
pub(crate) struct GroupKeys {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl GroupKeys {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of group `index`.
    pub(crate) fn get(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |i| self.ends[i]) as usize;
        &self.bytes[start..self.ends[index] as usize]
    }

    /// All groups in order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.get(index))
    }
}

/// Numbers byte strings: equal ones get the same number, the first 0, without gaps.
#[derive(Default)]
pub(crate) struct Numbering {
    table: HashTable<u32>,
    hasher: FixedState,
    keys: GroupKeys,
}

impl Numbering {
    /// The number of the string that `write` appends to what it is given.
    pub(crate) fn number(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> u32 {
        let start = self.keys.bytes.len();
        write(&mut self.keys.bytes);
        let (known, candidate) = self.keys.bytes.split_at(start);
        let hash = self.hasher.hash_one(candidate);
        let ends = &self.keys.ends;
        let get = |number: u32| {
            let from = number.checked_sub(1).map_or(0, |n| ends[n as usize]) as usize;
            &known[from..ends[number as usize] as usize]
        };
        if let Some(&number) = self.table.find(hash, |&number| get(number) == candidate) {
            self.keys.bytes.truncate(start);
            return number;
        }
        let number = ends.len() as u32;
        let hasher = &self.hasher;
        self.table
            .insert_unique(hash, number, |&number| hasher.hash_one(get(number)));
        let end = u32::try_from(self.keys.bytes.len()).expect("a batch's keys are below 4 GiB");
        self.keys.ends.push(end);
        number
    }

    /// The strings by their numbers.
    pub(crate) fn into_keys(self) -> GroupKeys {
        self.keys
    }
}

/// How an aggregate groups rows.
#[derive(Debug, Clone)]
pub(crate) struct Grouping {
    /// the windows and the index of the column that decides, where there are windows
    pub(crate) window: Option<(Tumbling, usize)>,
    /// the key columns
    pub(crate) key: Vec<Field>,
    /// their indices
    pub(crate) key_indices: Vec<usize>,
}

/// The groups of a batch.
#[derive(Debug)]
pub(crate) struct Grouped {
    /// for each row the number of its group
    pub(crate) groups: Vec<u32>,
    /// the groups, each of which occurs
    pub(crate) keys: GroupKeys,
}

impl Grouping {
    /// Groups the rows.
    ///
    /// # Errors
    ///
    /// One rejection for each row whose time lies in no window; nothing is grouped then.
    pub(crate) fn group(&mut self, rows: &Rows) -> Result<Grouped, Vec<Rejection>> {
        let count = rows.columns.num_rows();
        let key: Vec<ArrayRef> = self
            .key_indices
            .iter()
            .map(|&index| rows.columns.column(index).clone())
            .collect();
        let writer = RowWriter::new(&self.key, &key);
        let mut numbering = Numbering::default();
        let mut groups = Vec::with_capacity(count);
        let Some((windows, time)) = &mut self.window else {
            groups.extend((0..count).map(|row| numbering.number(|out| writer.write(row, out))));
            return Grouped::checked(groups, numbering.into_keys(), rows);
        };
        let times = rows
            .columns
            .column(*time)
            .as_primitive::<TimestampMicrosecondType>()
            .values();
        let mut rejected = Vec::new();
        for (row, &instant) in times.iter().enumerate() {
            match windows.start_of(instant) {
                Some(start) => groups.push(numbering.number(|out| {
                    out.extend_from_slice(&start.to_le_bytes());
                    writer.write(row, out);
                })),
                None => rejected.push(Rejection {
                    record: rows.records[row],
                    cause: Cause::Group,
                    reason: "the event time is outside of the years 1 to 9999".into(),
                    column: Some(rows.columns.schema_ref().field(*time).name().clone()),
                }),
            }
        }
        if !rejected.is_empty() {
            return Err(rejected);
        }
        Grouped::checked(groups, numbering.into_keys(), rows)
    }
}

impl Grouped {
    /// These groups, unless one of them has too long a key.
    fn checked(groups: Vec<u32>, keys: GroupKeys, rows: &Rows) -> Result<Self, Vec<Rejection>> {
        if keys.iter().all(|key| key.len() <= GROUP_BYTES_MAX) {
            return Ok(Self { groups, keys });
        }
        let lengths = groups.iter().map(|&group| keys.get(group as usize).len());
        let too_long = lengths.zip(&rows.records);
        Err(too_long
            .filter(|(length, _)| *length > GROUP_BYTES_MAX)
            .map(|(length, &record)| Rejection {
                record,
                cause: Cause::Group,
                reason: format!(
                    "its group's key has {length} bytes, and {GROUP_BYTES_MAX} are the most"
                ),
                column: None,
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn equal_strings_have_equal_numbers_and_numbers_have_no_gaps(strings in prop::collection::vec("[ab]{0,3}", 0..60)) {
            let mut numbering = Numbering::default();
            let numbers: Vec<u32> = strings
                .iter()
                .map(|s| numbering.number(|out| out.extend_from_slice(s.as_bytes())))
                .collect();
            let keys = numbering.into_keys();
            let mut distinct: Vec<&String> = Vec::new();
            for (string, &number) in strings.iter().zip(&numbers) {
                if !distinct.contains(&string) {
                    prop_assert_eq!(number as usize, distinct.len());
                    distinct.push(string);
                }
                prop_assert_eq!(keys.get(number as usize), string.as_bytes());
            }
            prop_assert_eq!(keys.len(), distinct.len());
        }
    }
}
