//! What becomes of an aggregate's states when other logic goes on with them.
//!
//! States of the same kind change hands as they are. Where the new logic has raised their version, it
//! migrates them, segment by segment: most of them on a copy, long before it comes into force, while
//! the old logic goes on and appends what changes to later segments; the last ones when it does. So
//! what has to wait does not grow with the states.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::RecordBatch;
use serde_json::Value;

use super::log::{Segment, StateLog};
use super::state::{AggregateError, StateTable, guest_error};
use super::{Layout, TableSnapshot};
use crate::row_codec::read_rows;
use crate::schema::Schema;

/// What states are, and in which version of their meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateKind {
    /// a state is a row of these
    pub columns: Schema,
    /// the contract's `state-version`
    pub version: u32,
}

/// What a table has of the one before it.
pub(super) struct BroughtIn {
    lineage: u64,
    segments: BTreeSet<u64>,
}

/// What becomes of the states of an aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Takeover {
    /// there are none: it begins with nothing
    New,
    /// they are taken over
    Unchanged,
    /// the new logic rewrites them
    Migrated {
        /// the version that they are of
        from: u64,
        /// the one that they become
        to: u64,
    },
    /// they cannot be taken over: what differs, each for a person
    Refused(Vec<String>),
}

/// Compares what the states of an aggregate were with what they are to be: both as
/// [`Layout::definition`] says it; `None`: there were none.
#[must_use]
pub fn takeover(before: Option<&Value>, after: &Value) -> Takeover {
    let Some(before) = before else {
        return Takeover::New;
    };
    if before == after {
        return Takeover::Unchanged;
    }
    let differing = |keys: &[&'static str]| {
        let keys = keys.iter().filter(|key| before[**key] != after[**key]);
        let text = |key: &&str| format!("its {key} was {}, is now {}", before[*key], after[*key]);
        keys.map(text).collect::<Vec<_>>()
    };
    let groups = differing(&["group", "window"]);
    let versions = (
        before["state_version"].as_u64(),
        after["state_version"].as_u64(),
    );
    match versions {
        (Some(from), Some(to)) if groups.is_empty() && from != to => {
            Takeover::Migrated { from, to }
        }
        _ => Takeover::Refused([groups, differing(&["state"])].concat()),
    }
}

impl Layout {
    /// Whether states of a group are the same thing in both.
    fn has_the_groups_of(&self, other: &Self) -> bool {
        self.group == other.group && self.window_text == other.window_text
    }
}

impl StateTable {
    /// Whether it has to migrate states of this kind.
    #[must_use]
    pub fn migrates(&self, kind: &StateKind) -> bool {
        self.layout.state != *kind
    }

    /// Asks its logic whether it can migrate states of this kind.
    ///
    /// # Errors
    ///
    /// [`AggregateError::Guest`] says why not.
    pub fn ask_to_migrate(&mut self, kind: &StateKind) -> Result<(), AggregateError> {
        let none = RecordBatch::new_empty(Arc::clone(kind.columns.arrow()));
        self.rewrite(kind, &none).map(drop)
    }

    /// Brings in the segments of a snapshot of the table before it that it does not have yet: rewritten,
    /// or merged where that is its other half. How many states these were.
    ///
    /// # Errors
    ///
    /// [`AggregateError`]: the states cannot be read, or the guest failed to migrate them.
    pub fn bring_in(&mut self, before: &TableSnapshot) -> Result<usize, AggregateError> {
        let mut states = 0;
        let mut brought_in = self.brought_in.take();
        brought_in.take_if(|brought_in| brought_in.lineage != before.lineage);
        let mut brought_in = brought_in.unwrap_or_else(|| {
            // What came from elsewhere does not count, but for what is its own.
            if self.joining.is_none() {
                self.states = StateLog::default();
            }
            BroughtIn {
                lineage: before.lineage,
                segments: BTreeSet::new(),
            }
        });
        for segment in &before.segments {
            if brought_in.segments.insert(segment.number()) {
                states += self.bring_in_segment(&before.kind, segment)?;
            }
        }
        self.brought_in = Some(brought_in);
        Ok(states)
    }

    /// Takes over the states of the table before it: as they are, or what was not brought in yet.
    ///
    /// # Errors
    ///
    /// Those of [`bring_in`](Self::bring_in); [`AggregateError::Columns`] where the groups are others.
    pub fn take_over(&mut self, mut before: Self) -> Result<(), AggregateError> {
        if !self.layout.has_the_groups_of(&before.layout) {
            return Err(AggregateError::Columns {
                aggregate: Arc::clone(&self.name),
                found: before.layout.definition().to_string(),
                expected: self.layout.definition().to_string(),
            });
        }
        #[cfg(test)]
        if self.is_closed {
            (self.joining, self.brought_in) = (None, None);
            return Ok(());
        }
        if self.is_a_half() {
            return self.take_the_rest(before);
        }
        if self.migrates(&before.layout.state) {
            self.bring_in(&before.snapshot())?;
        } else {
            self.states = std::mem::take(&mut before.states);
        }
        self.brought_in = None;
        self.lineage = before.lineage;
        Ok(())
    }

    /// Begins with nothing: there is no table before it, whatever was brought in.
    pub fn begin_anew(&mut self) {
        let has_own = self.joining.take().is_some();
        if self.brought_in.take().is_some() && !has_own {
            self.states = StateLog::default();
        }
    }

    /// From now on it takes nothing over: a mistake, for a simulation.
    #[cfg(test)]
    pub(crate) fn close(&mut self) {
        self.is_closed = true;
    }

    fn bring_in_segment(
        &mut self,
        kind: &StateKind,
        segment: &Segment,
    ) -> Result<usize, AggregateError> {
        let entries: Vec<(&[u8], &[u8])> = segment.entries().collect();
        let (mut from, mut bytes) = (0, 0);
        for to in 0..entries.len() {
            bytes += entries[to].1.len();
            let is_last = to + 1 == entries.len();
            // Where they are merged, as much again comes beside them.
            let bytes_max = self.call_bytes_max / if self.is_a_half() { 4 } else { 2 };
            if bytes >= bytes_max || is_last {
                let some = &entries[from..=to];
                match self.joining.take() {
                    Some(joining) => self.joining = Some(self.join_some(joining, some)?),
                    None => self.bring_in_some(kind, some)?,
                }
                (from, bytes) = (to + 1, 0);
            }
        }
        Ok(entries.len())
    }

    fn bring_in_some(
        &mut self,
        kind: &StateKind,
        entries: &[(&[u8], &[u8])],
    ) -> Result<(), AggregateError> {
        let states = entries.iter().map(|(_, state)| *state);
        let columns = read_rows(kind.columns.fields(), states);
        let columns = columns.map_err(|source| AggregateError::Corrupt {
            aggregate: Arc::clone(&self.name),
            source,
        })?;
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(entries.len()));
        let schema = Arc::clone(kind.columns.arrow());
        let before = RecordBatch::try_new_with_options(schema, columns, &options)
            .expect("the codec builds what the schema says");
        let after = self.rewrite(kind, &before)?;
        self.put_all(entries, &after);
        Ok(())
    }

    fn rewrite(
        &mut self,
        kind: &StateKind,
        states: &RecordBatch,
    ) -> Result<RecordBatch, AggregateError> {
        let rewritten = self.logic.migrate(kind, states);
        rewritten.map_err(|source| guest_error(&self.name, "migrate", source))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition(group: &str, state: &str, version: u32) -> Value {
        json!({ "group": [group], "window": "none", "state": [state], "state_version": version })
    }

    #[test]
    fn states_are_taken_over_where_nothing_about_them_has_changed() {
        let before = definition("day", "sum", 1);
        assert_eq!(takeover(Some(&before), &before), Takeover::Unchanged);
        assert_eq!(takeover(None, &before), Takeover::New);
    }

    #[test]
    fn another_version_of_the_states_migrates_them_in_both_directions() {
        let (old, new) = (definition("day", "sum", 1), definition("day", "mean", 2));
        let forth = takeover(Some(&old), &new);
        assert_eq!(forth, Takeover::Migrated { from: 1, to: 2 });
        let back = takeover(Some(&new), &old);
        assert_eq!(back, Takeover::Migrated { from: 2, to: 1 });
    }

    #[test]
    fn other_columns_under_the_same_version_are_refused_with_what_differs() {
        let before = definition("day", "sum", 1);
        let Takeover::Refused(differences) = takeover(Some(&before), &definition("day", "mean", 1))
        else {
            panic!("it is not refused");
        };
        assert_eq!(differences, [r#"its state was ["sum"], is now ["mean"]"#]);
    }

    #[test]
    fn other_groups_are_refused_whatever_the_version() {
        let before = definition("day", "sum", 1);
        let Takeover::Refused(differences) =
            takeover(Some(&before), &definition("month", "sum", 2))
        else {
            panic!("it is not refused");
        };
        assert_eq!(differences, [r#"its group was ["day"], is now ["month"]"#]);
    }
}
