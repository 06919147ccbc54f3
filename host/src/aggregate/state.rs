//! The second phase: partials are merged into the one state of each group.
//!
//! A state is kept as bytes, in a [log](super::log); only groups that an epoch touches become columns,
//! for the guest.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use arrow_select::concat::concat_batches;
use thiserror::Error;

use super::fold::Partial;
use super::group::{GroupKeys, Numbering};
use super::join::Joining;
use super::log::{Place, StateLog, next_number};
use super::snapshot::{StateColumns, TableSnapshot};
use super::takeover::BroughtIn;
use super::{AggregateLogic, Layout};
use crate::guest::{CallError, lowered_bytes};
use crate::row_codec::{CorruptRow, RowWriter, read_rows};

/// What stops an aggregate: without its states nothing can be committed.
#[derive(Debug, Error)]
pub enum AggregateError {
    /// The guest failed on states, which nobody can leave out.
    #[error("aggregate `{aggregate}`: its component failed to {call} states")]
    Guest {
        /// the aggregate's name
        aggregate: Arc<str>,
        /// `merge` or `finish`
        call: &'static str,
        /// what happened
        source: CallError,
    },
    /// Bytes that are no state of this aggregate.
    #[error("aggregate `{aggregate}` cannot read its states")]
    Corrupt {
        /// the aggregate's name
        aggregate: Arc<str>,
        /// where reading failed
        source: CorruptRow,
    },
    /// A checkpoint's columns are not those of this aggregate.
    #[error(
        "the checkpoint of aggregate `{aggregate}` has the columns {found}, and not {expected}"
    )]
    Columns {
        /// the aggregate's name
        aggregate: Arc<str>,
        /// what is there
        found: String,
        /// what is needed
        expected: String,
    },
}

/// Groups that an epoch touched, each once.
#[derive(Debug, Default)]
pub struct Touched(GroupKeys);

impl Touched {
    /// The groups that these partials are about.
    #[must_use]
    pub fn by(partials: &[Partial]) -> Self {
        let mut numbering = Numbering::default();
        for keys in partials.iter().map(|partial| &partial.keys) {
            for index in 0..keys.len() {
                numbering.number_of(keys, index);
            }
        }
        Self(numbering.into_keys())
    }
}

/// The state of every group of one aggregate.
pub struct StateTable {
    pub(super) name: Arc<str>,
    pub(super) layout: Layout,
    pub(super) logic: Box<dyn AggregateLogic>,
    pub(super) call_bytes_max: usize,
    pub(super) states: StateLog,
    /// tells states apart that began with nothing at different times
    pub(super) lineage: u64,
    /// what it has brought in of the table before it
    pub(super) brought_in: Option<BroughtIn>,
    /// what it had itself, where the table before it is its other half
    pub(super) joining: Option<Joining>,
    /// whether it takes nothing over any more, by a simulated mistake
    #[cfg(test)]
    pub(super) is_closed: bool,
}

impl StateTable {
    /// An empty table for the aggregate `name`. A call's columns are kept near or below
    /// `call_bytes_max` bytes.
    #[must_use]
    pub fn new(
        name: Arc<str>,
        layout: Layout,
        logic: Box<dyn AggregateLogic>,
        call_bytes_max: usize,
    ) -> Self {
        Self {
            name,
            layout,
            logic,
            call_bytes_max,
            states: StateLog::default(),
            lineage: next_number(),
            brought_in: None,
            joining: None,
            #[cfg(test)]
            is_closed: false,
        }
    }

    /// The aggregate's name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// How many groups have a state.
    #[must_use]
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// Whether no group has a state.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all groups and their states.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.states.bytes()
    }

    /// The states as they are now, to be stored: at once, however many there are.
    pub fn snapshot(&mut self) -> TableSnapshot {
        self.states.seal();
        TableSnapshot {
            aggregate: Arc::clone(&self.name),
            columns: StateColumns::new(&self.layout),
            kind: self.layout.state.clone(),
            lineage: self.lineage,
            segments: self.states.segments(),
        }
    }

    /// Takes back the states of one stored segment; they overrule those that are there. The number
    /// of the segment that they make up now, if it is one and the same.
    ///
    /// # Errors
    ///
    /// [`AggregateError::Columns`] when they are states of another aggregate.
    pub fn restore(&mut self, batch: &RecordBatch) -> Result<Option<u64>, AggregateError> {
        let columns = StateColumns::new(&self.layout);
        columns
            .check(batch.schema_ref())
            .map_err(|(found, expected)| AggregateError::Columns {
                aggregate: Arc::clone(&self.name),
                found,
                expected,
            })?;
        let states = &mut self.states;
        Ok(
            states
                .append_segment(|states| columns.read(batch, |key, state| states.put(key, state))),
        )
    }

    /// Merges an epoch's partials into the states.
    ///
    /// # Errors
    ///
    /// [`AggregateError`]; some groups may be merged then, so the table must not be used further.
    pub fn merge(&mut self, partials: &[Partial]) -> Result<(), AggregateError> {
        self.merge_all(partials)?;
        self.states.clean();
        Ok(())
    }

    /// Merges an epoch's partials into the states; the current row of each group that they are about.
    ///
    /// # Errors
    ///
    /// As [`merge`](Self::merge).
    ///
    /// # Panics
    ///
    /// As [`rows`](Self::rows).
    pub fn merge_and_show(
        &mut self,
        partials: &[Partial],
    ) -> Result<Vec<RecordBatch>, AggregateError> {
        let rows = match self.merge_all(partials)? {
            Some((keys, states)) if 2 * lowered_bytes(&states) <= self.call_bytes_max => {
                let columns = self.group_columns(keys.iter())?;
                vec![self.finish(columns, &states)?]
            }
            // Not all in one call.
            Some((keys, _)) => self.rows(&Touched(keys))?,
            None => self.rows(&Touched::by(partials))?,
        };
        self.states.clean();
        Ok(rows)
    }

    /// Merges partials; groups and their states, if they took one call.
    fn merge_all(
        &mut self,
        partials: &[Partial],
    ) -> Result<Option<(GroupKeys, RecordBatch)>, AggregateError> {
        if self.take_one_call(partials) {
            let pieces = partials
                .iter()
                .map(|partial| (partial, 0..partial.keys.len()));
            return self.merge_pieces(&pieces.collect::<Vec<_>>());
        }
        let mut pieces = Vec::new();
        let mut bytes = 0;
        for partial in partials {
            let rows = partial.keys.len();
            let row_bytes = lowered_bytes(&partial.states) / rows.max(1);
            let mut start = 0;
            for (row, key) in partial.keys.iter().enumerate() {
                let more = row_bytes + self.states.get(key).map_or(0, <[u8]>::len);
                if bytes > 0 && bytes + more > self.call_bytes_max / 2 {
                    pieces.push((partial, start..row));
                    self.merge_pieces(&pieces)?;
                    pieces.clear();
                    (start, bytes) = (row, 0);
                }
                bytes += more;
            }
            pieces.push((partial, start..rows));
        }
        self.merge_pieces(&pieces)?;
        Ok(None)
    }

    /// Whether one call takes all of them with the states that they are merged with, these being as
    /// long as the longest one.
    fn take_one_call(&self, partials: &[Partial]) -> bool {
        let groups: usize = partials.iter().map(|partial| partial.keys.len()).sum();
        let bytes = partials
            .iter()
            .map(|partial| lowered_bytes(&partial.states));
        let known = groups.saturating_mul(self.states.longest());
        bytes.sum::<usize>().saturating_add(known) <= self.call_bytes_max / 2
    }

    /// Merges as many groups of partials as one call takes, beside the states that these have. The
    /// groups, each once, and their states; nothing where there are no groups.
    fn merge_pieces(
        &mut self,
        pieces: &[(&Partial, Range<usize>)],
    ) -> Result<Option<(GroupKeys, RecordBatch)>, AggregateError> {
        let most = pieces.iter().map(|(_, rows)| rows.len()).max();
        let mut numbering = Numbering::with_capacity(most.unwrap_or_default());
        let mut groups: Vec<u32> = pieces
            .iter()
            .flat_map(|(partial, rows)| rows.clone().map(|row| (&partial.keys, row)))
            .map(|(keys, row)| numbering.number_of(keys, row))
            .collect();
        if groups.is_empty() {
            return Ok(None);
        }
        let keys = numbering.into_keys();
        let place = |number| self.states.find(keys.get(number), keys.hash(number));
        let places: Vec<Option<Place>> = (0..keys.len()).map(place).collect();
        let known = (0..).zip(&places);
        let known = known.filter_map(|(number, place)| place.map(|_| number));
        groups.extend(known);
        let known = places.iter().flatten();
        let known = self.read_states(known.map(|&place| self.states.state_at(place)))?;
        let pieces: Vec<RecordBatch> = pieces
            .iter()
            .map(|(partial, rows)| partial.states.slice(rows.start, rows.len()))
            .chain([known])
            .collect();
        let parts = concat_batches(self.layout.state.columns.arrow(), &pieces)
            .expect("partials and states have the state's schema, checked at the border");
        let merged = self
            .logic
            .merge(&groups, keys.len() as u32, &parts)
            .map_err(|source| guest_error(&self.name, "merge", source))?;
        let writer = RowWriter::new(self.layout.state.columns.fields(), merged.columns());
        let mut bytes = Vec::new();
        for (number, place) in places.into_iter().enumerate() {
            bytes.clear();
            writer.write(number, &mut bytes);
            let key = (keys.get(number), keys.hash(number));
            self.states.put_at(place, key, &bytes);
        }
        Ok(Some((keys, merged)))
    }

    /// The current row of each of these groups, in the aggregate's output columns. Groups without
    /// a state have none.
    ///
    /// # Errors
    ///
    /// [`AggregateError`].
    ///
    /// # Panics
    ///
    /// When the guest's output has other columns than its contract, which the border checks.
    pub fn rows(&mut self, touched: &Touched) -> Result<Vec<RecordBatch>, AggregateError> {
        let groups: Vec<(&[u8], &[u8])> = self.of(touched).collect();
        let bytes: usize = groups.iter().map(|(_, state)| state.len()).sum();
        let calls = (2 * bytes).div_ceil(self.call_bytes_max).max(1);
        let mut inputs = Vec::with_capacity(calls);
        for groups in groups.chunks(groups.len().div_ceil(calls).max(1)) {
            let columns = self.group_columns(groups.iter().map(|(key, _)| *key))?;
            let states = self.read_states(groups.iter().map(|(_, state)| *state))?;
            inputs.push((columns, states));
        }
        let finish = |(columns, states)| self.finish(columns, &states);
        inputs.into_iter().map(finish).collect()
    }

    /// The rows of groups with these columns and states.
    fn finish(
        &mut self,
        mut columns: Vec<ArrayRef>,
        states: &RecordBatch,
    ) -> Result<RecordBatch, AggregateError> {
        let finished = self.logic.finish(states);
        let finished = finished.map_err(|source| guest_error(&self.name, "finish", source))?;
        columns.extend(finished.columns().iter().cloned());
        Ok(
            RecordBatch::try_new(Arc::clone(self.layout.output.arrow()), columns)
                .expect("key, window and output columns make up the layout's output"),
        )
    }

    /// The current row of every group.
    ///
    /// # Errors
    ///
    /// Those of [`rows`](Self::rows).
    pub fn all_rows(&mut self) -> Result<Vec<RecordBatch>, AggregateError> {
        let mut all = Numbering::default();
        for segment in self.states.all_segments() {
            for (key, _) in segment.entries() {
                all.number(|out| out.extend_from_slice(key));
            }
        }
        self.rows(&Touched(all.into_keys()))
    }

    /// The columns that tell groups apart, as the stream has them.
    fn group_columns<'a>(
        &self,
        groups: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Vec<ArrayRef>, AggregateError> {
        let mut columns = self.read_groups(groups)?;
        if let Some((windows, _)) = &self.layout.window {
            // The start stands first in a group's bytes; the stream has it behind the key.
            let start = columns.remove(0);
            let end: TimestampMicrosecondArray = start
                .as_primitive::<TimestampMicrosecondType>()
                .unary(|start| windows.end_of(start));
            columns.push(start);
            columns.push(Arc::new(end.with_timezone("UTC")));
        }
        Ok(columns)
    }

    fn of<'a>(&'a self, touched: &'a Touched) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        touched
            .0
            .iter()
            .filter_map(|key| Some((key, self.states.get(key)?)))
    }

    fn read_groups<'a>(
        &self,
        groups: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Vec<ArrayRef>, AggregateError> {
        read_rows(&self.layout.group, groups).map_err(|source| self.corrupt(source))
    }

    pub(super) fn read_states<'a>(
        &self,
        states: impl Iterator<Item = &'a [u8]>,
    ) -> Result<RecordBatch, AggregateError> {
        let columns = read_rows(self.layout.state.columns.fields(), states)
            .map_err(|source| self.corrupt(source))?;
        Ok(
            RecordBatch::try_new(Arc::clone(self.layout.state.columns.arrow()), columns)
                .expect("the codec builds what the state's schema says"),
        )
    }

    fn corrupt(&self, source: CorruptRow) -> AggregateError {
        AggregateError::Corrupt {
            aggregate: Arc::clone(&self.name),
            source,
        }
    }
}

pub(super) fn guest_error(
    aggregate: &Arc<str>,
    call: &'static str,
    source: CallError,
) -> AggregateError {
    AggregateError::Guest {
        aggregate: Arc::clone(aggregate),
        call,
        source,
    }
}
