//! Makes one [`EpochOutput`] of the shares of all workers.
//!
//! # Invariants
//!
//! 1. Epochs leave in order, each once every worker has handed in its share.
//! 2. States are what the journal makes of the records: a replayed epoch changes them as the live one
//!    did. A snapshot has them as they are at the end of its epoch.
//! 3. Another version comes into force with an epoch without records, and with it the tables of
//!    states that its partials are for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::barrier::{EpochPart, Mode};
use super::{EpochOutput, Incoming, OutputBatch, Swap};
use crate::aggregate::{AggregateError, Partial, StateTable, TableSnapshot};
use crate::checkpoint::Snapshot;
use crate::deduplicate::Seen;

/// An epoch on its way to the sinks.
#[derive(Debug)]
pub struct Completed {
    /// what it changes
    pub output: EpochOutput,
    /// whether it happens for the first time
    pub mode: Mode,
    /// whether a checkpoint is due at its end
    pub checkpoint: bool,
    /// the states at its end, once whoever coordinates has asked for them
    pub snapshot: Option<Snapshot>,
}

/// Collects shares and holds the states.
pub struct Coordinator {
    workers: usize,
    tables: Vec<Table>,
    /// by the number of their barrier
    waiting: BTreeMap<u64, Vec<EpochPart>>,
    /// keys that were remembered since the last snapshot, in the order of the epochs
    seen: Seen,
}

struct Table {
    states: StateTable,
    /// whether a sink takes the aggregate's rows
    shown: bool,
}

impl Coordinator {
    /// A coordinator of so many workers. Each table, in the order of the pipeline's aggregates,
    /// comes with whether some sink takes its rows.
    #[must_use]
    pub fn new(workers: usize, tables: Vec<(StateTable, bool)>) -> Self {
        let tables = tables
            .into_iter()
            .map(|(states, shown)| Table { states, shown })
            .collect();
        Self {
            workers,
            tables,
            waiting: BTreeMap::new(),
            seen: Seen::new(),
        }
    }

    /// Takes a worker's share; the epoch, once this was the last share that it lacked.
    ///
    /// # Errors
    ///
    /// [`AggregateError`]: the pipeline has to stop, the states may be merged in part.
    pub fn accept(&mut self, part: EpochPart) -> Result<Option<Completed>, AggregateError> {
        let number = part.barrier.number;
        let parts = self.waiting.entry(number).or_default();
        parts.push(part);
        if parts.len() < self.workers {
            return Ok(None);
        }
        let parts = self.waiting.remove(&number).unwrap_or_default();
        self.complete(parts).map(Some)
    }

    /// Of each aggregate, in the order of the pipeline: how many groups have a state, and the bytes
    /// of both.
    pub fn states(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let tables = self.tables.iter();
        tables.map(|table| (table.states.len(), table.states.bytes()))
    }

    fn complete(&mut self, parts: Vec<EpochPart>) -> Result<Completed, AggregateError> {
        let barrier = parts[0].barrier.clone();
        let mut output = EpochOutput {
            epoch: barrier.epoch,
            version: barrier.version,
            positions: Arc::unwrap_or_clone(barrier.positions),
            ..EpochOutput::default()
        };
        let mut joined = BTreeSet::new();
        if let Some(swap) = &barrier.swap {
            joined = self.install(swap)?;
            output.deployed = Some(Arc::new(swap.deployed(&output, barrier.mode)));
        }
        let mut partials: Vec<Vec<Partial>> = self.tables.iter().map(|_| Vec::new()).collect();
        for part in parts {
            for (stream, batches) in part.streams {
                output.streams.entry(stream).or_default().extend(batches);
            }
            for (all, some) in partials.iter_mut().zip(part.partials) {
                all.extend(some);
            }
            output.excluded.extend(part.excluded);
            for (stage, records) in part.rejected {
                output.rejected.entry(stage).or_default().extend(records);
            }
            // What is replayed is in the next checkpoint as well: it is in none yet.
            self.seen.extend(part.seen);
            output.dead_letters.extend(part.dead_letters);
        }
        if let Some(readmission) = &barrier.readmission {
            readmission.note(&mut output);
        }
        let shown = matches!(barrier.mode, Mode::Live | Mode::Replay { shown: true });
        for (table, partials) in self.tables.iter_mut().zip(&partials) {
            if !(table.shown && shown) {
                table.states.merge(partials)?;
                continue;
            }
            let batches = if joined.contains(table.states.name()) {
                table.states.merge(partials)?;
                table.states.all_rows()?
            } else {
                table.states.merge_and_show(partials)?
            };
            let batches = batches.into_iter().map(|columns| OutputBatch {
                columns,
                origins: Vec::new(),
            });
            let name = Arc::clone(table.states.name());
            output.streams.insert(name, batches.collect());
        }
        Ok(Completed {
            output,
            mode: barrier.mode,
            checkpoint: barrier.checkpoint,
            snapshot: None,
        })
    }

    /// Puts the tables of another version in the place of those that were in force. The aggregates that
    /// have become whole by that.
    fn install(&mut self, swap: &Swap) -> Result<BTreeSet<Arc<str>>, AggregateError> {
        let mut joined = BTreeSet::new();
        let mut before = std::mem::take(&mut self.tables);
        for Incoming { mut states, shown } in swap.take_tables() {
            let same = before
                .iter()
                .position(|table| table.states.name() == states.name());
            if states.is_a_half() {
                joined.insert(Arc::clone(states.name()));
            }
            match same {
                Some(index) => states.take_over(before.swap_remove(index).states)?,
                None => states.begin_anew(),
            }
            self.tables.push(Table { states, shown });
        }
        Ok(joined)
    }

    /// The states of these aggregates as they are now, at the end of the epoch that was completed last.
    pub fn look(&mut self, aggregates: &BTreeSet<Arc<str>>) -> Vec<TableSnapshot> {
        let tables = self.tables.iter_mut();
        let tables = tables.filter(|table| aggregates.contains(table.states.name()));
        tables.map(|table| table.states.snapshot()).collect()
    }

    /// The states as they are now, at the end of the epoch that was completed last.
    pub fn snapshot(&mut self, output: &EpochOutput) -> Snapshot {
        let tables = self.tables.iter_mut();
        Snapshot {
            epoch: output.epoch,
            version: output.version,
            positions: output.positions.clone(),
            tables: tables.map(|table| table.states.snapshot()).collect(),
            seen: std::mem::take(&mut self.seen),
        }
    }
}
