//! Two halves of an aggregate become one: what a backfill has made of the records before some offsets,
//! and what the running pipeline makes of those from there on.
//!
//! Merging is associative and commutative, so the whole is what both halves come to when they are merged,
//! group by group. Most of it is done beside the stream, like a migration: the segments of the running
//! half are merged into the other one as far as they are there, and again where a group has changed
//! since. For that, what a group had before it was merged is kept aside. What is left when both come
//! into force as one is what changed in between.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use hashbrown::HashMap;

use super::state::{AggregateError, StateTable, guest_error};
use crate::row_codec::RowWriter;

/// What groups had before something was merged with it; `None`: nothing.
#[derive(Default)]
pub(super) struct Joining(HashMap<Box<[u8]>, Option<Box<[u8]>>>);

impl StateTable {
    /// From now on the table before it is the other half of this one.
    pub fn expect_other_half(&mut self) {
        self.joining = Some(Joining::default());
    }

    /// Whether the table before it is the other half of this one.
    #[must_use]
    pub fn is_a_half(&self) -> bool {
        self.joining.is_some()
    }

    /// Merges entries of the other half with what the groups had before; a later entry of a group
    /// overrules the earlier ones.
    pub(super) fn join_some(
        &mut self,
        mut joining: Joining,
        entries: &[(&[u8], &[u8])],
    ) -> Result<Joining, AggregateError> {
        for (key, _) in entries {
            if !joining.0.contains_key(*key) {
                let before = self.states.get(key).map(Box::from);
                joining.0.insert(Box::from(*key), before);
            }
        }
        let mut groups: Vec<u32> = (0..entries.len() as u32).collect();
        let mut own = Vec::new();
        for (group, (key, _)) in (0..).zip(entries) {
            if let Some(Some(state)) = joining.0.get(*key) {
                groups.push(group);
                own.push(&**state);
            }
        }
        let theirs = self.read_states(entries.iter().map(|(_, state)| *state))?;
        let own = self.read_states(own.into_iter())?;
        let schema = self.layout.state.columns.arrow();
        let parts = concat_batches(schema, &[theirs, own]).expect("both are states of one kind");
        let merged = self.logic.merge(&groups, entries.len() as u32, &parts);
        let merged = merged.map_err(|source| guest_error(&self.name, "merge", source))?;
        self.put_all(entries, &merged);
        Ok(joining)
    }

    /// Puts a state for each entry's key.
    pub(super) fn put_all(&mut self, entries: &[(&[u8], &[u8])], states: &RecordBatch) {
        let writer = RowWriter::new(self.layout.state.columns.fields(), states.columns());
        let mut bytes = Vec::new();
        for (row, (key, _)) in entries.iter().enumerate() {
            bytes.clear();
            writer.write(row, &mut bytes);
            self.states.put(key, &bytes);
        }
    }

    /// Ends a join: the table before this one is gone, and all of it is in this one.
    pub(super) fn take_the_rest(&mut self, mut before: Self) -> Result<(), AggregateError> {
        if self.migrates(&before.layout.state) {
            return Err(AggregateError::Columns {
                aggregate: Arc::clone(&self.name),
                found: before.layout.definition().to_string(),
                expected: self.layout.definition().to_string(),
            });
        }
        self.bring_in(&before.snapshot())?;
        (self.joining, self.brought_in) = (None, None);
        Ok(())
    }
}
