//! Which rows share a group: the same window and the same key.
//!
//! A group's bytes are its window's start (a `timestamp`, where there is a window) and its key
//! columns, written by the [row codec](crate::row_codec): once a group, not once a row. Rows are
//! told apart by the [numbers](codes) of their values.
//!
//! Aggregates that read the same rows share the numbers of the windows and columns that several of them
//! group by, and the groups where they group alike: [`Groupings`].

mod codes;
mod keys;

use std::ops::Range;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;

pub(super) use self::keys::hash_of;
pub(crate) use self::keys::{GroupKeys, Numbering};

use self::codes::Codes;
use crate::calendar::PRINTABLE;
use crate::config::Every;
use crate::record::{Cause, Rejection, Rows};
use crate::row_codec::RowWriter;
use crate::schema::Field;
use crate::window::Tumbling;

/// Bytes of a group at most: what identifies a row in a database has to fit into its index, and
/// PostgreSQL's takes 2,704 bytes.
const GROUP_BYTES_MAX: usize = 2_000;

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

/// What rows are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Window(Every, usize),
    Column(usize),
}

/// The groups of a batch.
#[derive(Debug)]
pub(crate) struct Grouped {
    /// their numbers
    codes: Arc<Codes>,
    /// the groups, each of which occurs
    pub(crate) keys: Arc<GroupKeys>,
}

/// What aggregates that read the same rows share: for one batch, and as long as it keeps its rows.
#[derive(Debug, Default)]
pub struct Groupings {
    codes: Vec<(Vec<Part>, Arc<Codes>)>,
    grouped: Vec<(Vec<Part>, Arc<Grouped>)>,
}

impl Grouping {
    /// Groups the rows. `shared` is what others have made of the same rows, and gets what is made here.
    ///
    /// # Errors
    ///
    /// One rejection for each row whose time lies in no window, or else for each whose key is too long;
    /// nothing is grouped then.
    pub(crate) fn group(
        &mut self,
        rows: &Rows,
        shared: &mut Groupings,
    ) -> Result<Arc<Grouped>, Vec<Rejection>> {
        let columns = self.key_indices.iter().map(|&index| Part::Column(index));
        let parts: Vec<Part> = self.window_part().into_iter().chain(columns).collect();
        if let Some(grouped) = find(&shared.grouped, &parts) {
            return Ok(grouped);
        }
        self.check_times(rows)?;
        let codes = self.codes(&parts, rows, shared);
        let keys = Arc::new(self.write_keys(&codes, rows, shared));
        let grouped = Grouped { codes, keys };
        grouped.check_lengths(rows)?;
        let grouped = Arc::new(grouped);
        shared.grouped.push((parts, Arc::clone(&grouped)));
        Ok(grouped)
    }

    /// The numbers of what the parts are together: of the first ones, paired with those of the last.
    fn codes(&mut self, parts: &[Part], rows: &Rows, shared: &mut Groupings) -> Arc<Codes> {
        if let Some(codes) = find(&shared.codes, parts) {
            return codes;
        }
        let codes = match parts {
            [] => Codes::of_nothing(rows.records.len()),
            [Part::Window(..)] => {
                let (windows, time) = self.window.as_mut().expect("it has this part");
                Codes::of_windows(windows, times(rows, *time))
            }
            [Part::Column(index)] => {
                let at = self.key_indices.iter().position(|other| other == index);
                let field = &self.key[at.expect("it has this part")];
                Codes::of_column(field, rows.columns.column(*index))
            }
            [first @ .., last] => {
                let first = self.codes(first, rows, shared);
                let last = self.codes(std::slice::from_ref(last), rows, shared);
                Codes::of_pairs(&first, &last)
            }
        };
        let codes = Arc::new(codes);
        shared.codes.push((parts.to_vec(), Arc::clone(&codes)));
        codes
    }

    /// The bytes of each group, as the first of its rows has them.
    fn write_keys(&mut self, codes: &Codes, rows: &Rows, shared: &mut Groupings) -> GroupKeys {
        let starts = self.window_starts(rows, shared);
        let key = self.key_indices.iter();
        let key: Vec<ArrayRef> = key
            .map(|&index| Arc::clone(rows.columns.column(index)))
            .collect();
        let writer = RowWriter::new(&self.key, &key);
        let mut keys = GroupKeys::with_capacity(codes.firsts.len());
        for row in codes.firsts.iter().map(|&row| row as usize) {
            keys.push(|out| {
                if let Some((windows, starts)) = &starts {
                    let start = starts[windows.of_rows[row] as usize];
                    out.extend_from_slice(&start.to_le_bytes());
                }
                writer.write(row, out);
            });
        }
        keys
    }

    /// The numbers of the rows' windows, and where each window starts.
    fn window_starts(
        &mut self,
        rows: &Rows,
        shared: &mut Groupings,
    ) -> Option<(Arc<Codes>, Vec<i64>)> {
        let codes = self.codes(&[self.window_part()?], rows, shared);
        let (windows, time) = self.window.as_mut()?;
        let times = times(rows, *time);
        let start_of = |&row: &u32| {
            let start = windows.start_of(times[row as usize]);
            start.expect("all times were checked")
        };
        let starts = codes.firsts.iter().map(start_of).collect();
        Some((codes, starts))
    }

    fn window_part(&self) -> Option<Part> {
        let (windows, time) = self.window.as_ref()?;
        Some(Part::Window(windows.every(), *time))
    }

    fn check_times(&self, rows: &Rows) -> Result<(), Vec<Rejection>> {
        let Some((_, time)) = &self.window else {
            return Ok(());
        };
        let times = times(rows, *time);
        // All of them at once first, as most are right.
        if times
            .iter()
            .fold(true, |all, instant| all & PRINTABLE.contains(instant))
        {
            return Ok(());
        }
        let outside = times.iter().zip(&rows.records);
        let outside = outside.filter(|(instant, _)| !PRINTABLE.contains(instant));
        Err(outside
            .map(|(_, &record)| Rejection {
                record,
                cause: Cause::Group,
                reason: "the event time is outside of the years 1 to 9999".into(),
                column: Some(rows.columns.schema_ref().field(*time).name().clone()),
            })
            .collect())
    }
}

impl Grouped {
    /// For each row the number of its group.
    pub(crate) fn groups(&self) -> &[u32] {
        &self.codes.of_rows
    }

    /// The groups of some of the rows.
    pub(crate) fn part(&self, rows: Range<usize>) -> Self {
        let mut numbers = vec![None; self.keys.len()];
        let mut keys = GroupKeys::default();
        let mut codes = Codes::default();
        for (row, &group) in self.groups()[rows].iter().enumerate() {
            let number = *numbers[group as usize].get_or_insert_with(|| {
                keys.push_of(&self.keys, group as usize);
                keys.len() as u32 - 1
            });
            codes.push(row, number);
        }
        Self {
            codes: Arc::new(codes),
            keys: Arc::new(keys),
        }
    }

    /// Refuses keys that are too long.
    fn check_lengths(&self, rows: &Rows) -> Result<(), Vec<Rejection>> {
        if self.keys.iter().all(|key| key.len() <= GROUP_BYTES_MAX) {
            return Ok(());
        }
        let lengths = self
            .groups()
            .iter()
            .map(|&group| self.keys.get(group as usize).len());
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

fn find<T>(of: &[(Vec<Part>, Arc<T>)], parts: &[Part]) -> Option<Arc<T>> {
    let (_, found) = of.iter().find(|(other, _)| other == parts)?;
    Some(Arc::clone(found))
}

fn times(rows: &Rows, column: usize) -> &[i64] {
    let times = rows.columns.column(column);
    times.as_primitive::<TimestampMicrosecondType>().values()
}

#[cfg(test)]
mod tests;
