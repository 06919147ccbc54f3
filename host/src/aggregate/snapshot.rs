//! States as columns, for a checkpoint: what others may read and what a table takes back.
//!
//! A group's columns come first, called `key.NAME` or `window_start`, then those of the state, called
//! `state.NAME`: as they may have one name.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;

use super::log::Segment;
use super::{Layout, StateKind, WINDOW_START};
use crate::row_codec::{CorruptRow, RowWriter, read_rows};
use crate::schema::Field;

/// The states of one aggregate at some moment.
#[derive(Debug, Clone)]
pub struct TableSnapshot {
    /// the aggregate's name
    pub aggregate: Arc<str>,
    /// how they become columns
    pub columns: StateColumns,
    /// what kind they are
    pub kind: StateKind,
    /// tells them apart from those that began with nothing at another time
    pub(super) lineage: u64,
    /// oldest first; a later one overrules the earlier ones
    pub segments: Vec<Segment>,
}

/// The columns of an aggregate's states in a checkpoint.
#[derive(Debug, Clone)]
pub struct StateColumns {
    group: Vec<Field>,
    state: Vec<Field>,
    schema: SchemaRef,
}

impl StateColumns {
    pub(super) fn new(layout: &Layout) -> Self {
        let windowed = layout.window.is_some();
        let group = layout.group.iter().enumerate().map(|(index, field)| {
            if windowed && index == 0 {
                WINDOW_START.to_owned()
            } else {
                format!("key.{}", field.name)
            }
        });
        let state = layout.state.columns.fields();
        let names = group.chain(state.iter().map(|field| format!("state.{}", field.name)));
        let fields = layout.group.iter().chain(state).zip(names);
        let fields = fields.map(|(field, name)| {
            arrow_schema::Field::new(name, field.ty.to_arrow(), field.nullable)
        });
        Self {
            schema: Arc::new(arrow_schema::Schema::new(fields.collect::<Vec<_>>())),
            group: layout.group.clone(),
            state: state.to_vec(),
        }
    }

    /// The states of a segment.
    ///
    /// # Errors
    ///
    /// [`CorruptRow`] when the segment is one of another aggregate.
    ///
    /// # Panics
    ///
    /// Never: the codec builds what the schema says.
    pub fn write(&self, segment: &Segment) -> Result<RecordBatch, CorruptRow> {
        let mut columns = read_rows(&self.group, segment.entries().map(|(key, _)| key))?;
        columns.extend(read_rows(
            &self.state,
            segment.entries().map(|(_, state)| state),
        )?);
        let rows = Some(segment.entries().count());
        let options = arrow_array::RecordBatchOptions::new().with_row_count(rows);
        Ok(
            RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
                .expect("the codec builds what the schema says"),
        )
    }

    /// Whether a batch of this schema has these columns; if not, what it has and what it should.
    pub(super) fn check(&self, found: &SchemaRef) -> Result<(), (String, String)> {
        let alike = |(a, b): (&Arc<arrow_schema::Field>, &Arc<arrow_schema::Field>)| {
            (a.name(), a.data_type(), a.is_nullable()) == (b.name(), b.data_type(), b.is_nullable())
        };
        let (found, expected) = (found.fields(), self.schema.fields());
        if found.len() == expected.len() && found.iter().zip(expected).all(alike) {
            return Ok(());
        }
        let text = |fields: &arrow_schema::Fields| {
            let fields = fields.iter();
            let fields = fields.map(|field| format!("{}: {}", field.name(), field.data_type()));
            fields.collect::<Vec<_>>().join(", ")
        };
        Err((text(found), text(expected)))
    }

    /// Reads back what [`write`](Self::write) has written, as the bytes of groups and states.
    pub(super) fn read(&self, batch: &RecordBatch, mut put: impl FnMut(&[u8], &[u8])) {
        let (group, state): (&[ArrayRef], _) = batch.columns().split_at(self.group.len());
        let group = RowWriter::new(&self.group, group);
        let state = RowWriter::new(&self.state, state);
        let (mut key_bytes, mut state_bytes) = (Vec::new(), Vec::new());
        for row in 0..batch.num_rows() {
            key_bytes.clear();
            state_bytes.clear();
            group.write(row, &mut key_bytes);
            state.write(row, &mut state_bytes);
            put(&key_bytes, &state_bytes);
        }
    }
}
