//! A worker: decodes, leaves out duplicates, runs the chain and folds, for its share of the partitions.
//!
//! # Invariants
//!
//! A record that any stage rejects is in no stream and no aggregate: transforms run first, then the
//! screens look for what a sink cannot hold; what they reject leaves all streams, then the aggregates
//! fold; as long as one of them rejects something, it leaves all streams too and every aggregate
//! folds again.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Instant;

use super::PipelineError;
use super::chain::{Chain, Screening, StageNames};
use super::monitor::{Monitor, Stage};
use super::sample::Sample;
use crate::aggregate::{FoldedRows, Groupings, Partial};
use crate::deduplicate::Seen;
use crate::epoch::{Barrier, EpochPart, Mode, OutputBatch, by_stage};
use crate::record::{Cause, DeadLetter, Origin, RawBatch, Rejection, Rows};

/// A batch is not kept for others if it has grown beyond this, by a record of its own size.
const SPARE_BYTES_MAX: usize = 8 << 20;

/// What the reader sends to a worker.
pub(super) enum ToWorker {
    /// records of the current epoch
    Batch {
        /// as they were read
        raw: RawBatch,
        /// which of them the journal excludes; empty in a live epoch
        excluded: Arc<BTreeSet<Origin>>,
        /// whether it is being decided now which of them are left out, or the journal says it
        mode: Mode,
    },
    /// other stages, from here on: an epoch has just ended
    Chain(Box<Chain>),
    /// the current epoch ends
    Barrier(Barrier),
}

pub(super) struct Worker {
    chain: Chain,
    /// its place among the workers
    index: usize,
    monitor: Arc<Monitor>,
    streams: BTreeMap<Arc<str>, Vec<OutputBatch>>,
    partials: Vec<Vec<Partial>>,
    left_out: Vec<DeadLetter>,
    /// records that the ledger has refused, with the reason
    refused: Arc<BTreeMap<Origin, String>>,
    ledger: StageNames,
    duplicates: Vec<Origin>,
    sample: Sample,
    /// takes batches that are done with
    spares: Option<SyncSender<RawBatch>>,
}

impl Worker {
    /// A worker whose partitions have remembered the keys `seen` so far, if it deduplicates.
    pub(super) fn new(mut chain: Chain, seen: &Seen, index: usize, monitor: Arc<Monitor>) -> Self {
        let partials = chain.aggregates.iter().map(|_| Vec::new()).collect();
        if let Some(deduplicator) = &mut chain.deduplicator {
            for (partition, fingerprints) in seen {
                deduplicator.restore(*partition, fingerprints);
            }
        }
        Self {
            chain,
            index,
            monitor,
            streams: BTreeMap::new(),
            partials,
            left_out: Vec::new(),
            refused: Arc::default(),
            ledger: StageNames::decode(),
            duplicates: Vec::new(),
            sample: Sample::default(),
            spares: None,
        }
    }

    /// Has the other aggregates only say which records they reject.
    pub(super) fn fold_only(&mut self, aggregates: &BTreeSet<Arc<str>>) {
        for aggregate in &mut self.chain.aggregates {
            aggregate.is_only_asked = !aggregates.contains(&aggregate.names.stage);
        }
    }

    /// Lets others have some of the records that it sees.
    pub(super) fn share(&mut self, sample: Sample) {
        self.sample = sample;
    }

    /// Gives batches back that it is done with, to be filled again.
    pub(super) fn give_back(&mut self, spares: SyncSender<RawBatch>) {
        self.spares = Some(spares);
    }

    /// Runs a batch through the stages; what they leave out, and nothing else is kept of it.
    pub(super) fn try_out(&mut self, batch: &RawBatch) -> Result<Vec<DeadLetter>, PipelineError> {
        self.process(batch, &BTreeSet::new(), Mode::Rebuild)?;
        self.streams.clear();
        self.partials.iter_mut().for_each(Vec::clear);
        Ok(std::mem::take(&mut self.left_out))
    }

    /// Has records left out that the ledger has refused, with the reason.
    pub(super) fn leave_out(&mut self, refused: Arc<BTreeMap<Origin, String>>, ledger: &str) {
        self.refused = refused;
        self.ledger.stage = ledger.into();
    }

    /// Works until the reader hangs up, or nobody wants the results any more.
    pub(super) fn run(
        mut self,
        inbox: &Receiver<ToWorker>,
        outbox: &SyncSender<EpochPart>,
    ) -> Result<(), PipelineError> {
        while let Ok(message) = inbox.recv() {
            if let Some(part) = self.take(message)?
                && outbox.send(part).is_err()
            {
                break;
            }
        }
        Ok(())
    }

    /// Does what one message asks for; at the end of an epoch the worker's share of it.
    pub(super) fn take(&mut self, message: ToWorker) -> Result<Option<EpochPart>, PipelineError> {
        self.monitor.worker_queue(self.index).left();
        match message {
            ToWorker::Batch {
                raw,
                excluded,
                mode,
            } => {
                if mode == Mode::Live {
                    self.sample.offer(&raw);
                }
                let pulse = Arc::clone(self.monitor.worker_pulse(self.index));
                pulse.busy(|| self.process(&raw, &excluded, mode))?;
                if let Some(spares) = &self.spares
                    && let Some(empty) = raw.emptied(SPARE_BYTES_MAX)
                {
                    // Enough are waiting, or nobody reads any more: then it goes.
                    let _ = spares.try_send(empty);
                }
                Ok(None)
            }
            ToWorker::Chain(chain) => {
                let began = Instant::now();
                self.change(*chain);
                self.monitor.changed_over(began.elapsed());
                Ok(None)
            }
            ToWorker::Barrier(barrier) => {
                let part = self.hand_over(barrier)?;
                self.monitor.coordinator_queue().entered();
                Ok(Some(part))
            }
        }
    }

    /// Goes on with other stages, and with what is remembered of duplicates.
    fn change(&mut self, chain: Chain) {
        let before = std::mem::replace(&mut self.chain, chain);
        if let (Some(after), Some(before)) = (&mut self.chain.deduplicator, before.deduplicator) {
            after.take_over(before);
        }
        self.partials = self.chain.aggregates.iter().map(|_| Vec::new()).collect();
    }

    fn process(
        &mut self,
        raw: &RawBatch,
        skip: &BTreeSet<Origin>,
        mode: Mode,
    ) -> Result<(), PipelineError> {
        let mut rejected = Rejected::of(raw.len());
        let (refused, all_skipped) = self.find_refused(raw, skip);
        let skip = all_skipped.as_ref().unwrap_or(skip);
        rejected.note(&self.ledger, refused, raw, &mut self.left_out);
        let decoder = &mut self.chain.decoder;
        let mut found = Vec::new();
        let rows = self.monitor.time(Stage::Decode, raw.len(), || {
            decoder.decode(raw, skip, &mut found)
        });
        rejected.note(&StageNames::decode(), found, raw, &mut self.left_out);
        let rows = self.leave_out_duplicates(raw, rows, mode);
        self.run_stages(rows, (raw, mode), &mut rejected)?;
        while let Some(rows) = self.next_try(raw, &mut rejected) {
            self.run_stages(rows, (raw, mode), &mut rejected)?;
        }
        self.remember(raw, &rejected);
        Ok(())
    }

    /// The rows that go through the stages. In a replay the journal has decided it.
    fn leave_out_duplicates(&mut self, raw: &RawBatch, rows: Rows, mode: Mode) -> Rows {
        let Some(deduplicator) = &mut self.chain.deduplicator else {
            return rows;
        };
        let count = rows.columns.num_rows();
        self.monitor.time(Stage::Deduplicate, count, || match mode {
            Mode::Live | Mode::Rebuild => deduplicator.check(raw, rows),
            Mode::Replay { .. } => {
                deduplicator.admit(raw, &rows);
                rows
            }
        })
    }

    /// Rows that were passed over for others with their keys, all of which the stages rejected.
    fn next_try(&mut self, raw: &RawBatch, rejected: &mut Rejected) -> Option<Rows> {
        let deduplicator = self.chain.deduplicator.as_mut()?;
        let mut found = Vec::new();
        let rows = deduplicator.again(|record| rejected.has(record), &mut found);
        let names = StageNames::deduplicate();
        rejected.note(&names, found, raw, &mut self.left_out);
        rows
    }

    /// Ends a batch: what was kept to its end is known from now on.
    fn remember(&mut self, raw: &RawBatch, rejected: &Rejected) {
        let Some(deduplicator) = &mut self.chain.deduplicator else {
            return;
        };
        let before = self.duplicates.len();
        let duplicates = &mut self.duplicates;
        self.monitor.time(Stage::Deduplicate, 0, || {
            deduplicator.remember(raw, |record| rejected.has(record), duplicates);
        });
        self.monitor.add_duplicates(self.duplicates.len() - before);
    }

    /// Runs the transforms, the screens and the folds over rows of the source.
    fn run_stages(
        &mut self,
        rows: Rows,
        (raw, mode): (&RawBatch, Mode),
        rejected: &mut Rejected,
    ) -> Result<(), PipelineError> {
        let mut streams = Vec::with_capacity(1 + self.chain.transforms.len());
        streams.push(rows);
        for (index, transform) in self.chain.transforms.iter_mut().enumerate() {
            let from = &streams[transform.from];
            let count = from.columns.num_rows();
            let mut found = Vec::new();
            let rows = self
                .monitor
                .time(Stage::Transform(index), count, || {
                    transform.stage.apply(from, &mut found)
                })
                .map_err(PipelineError::Transform)?;
            rejected.note(&transform.names, found, raw, &mut self.left_out);
            streams.push(rows);
        }
        for Screening {
            from,
            screen,
            names,
        } in &self.chain.screens
        {
            let mut found = Vec::new();
            screen.check(&streams[*from], &mut found);
            rejected.note(names, found, raw, &mut self.left_out);
        }
        rejected.leave_out_of(&mut streams);
        let partials = self.fold(&mut streams, rejected, (raw, mode))?;
        let aggregates = self.chain.aggregates.iter();
        for ((all, some), aggregate) in self.partials.iter_mut().zip(partials).zip(aggregates) {
            if !aggregate.is_only_asked {
                all.extend(some);
            }
        }
        for (index, name) in &self.chain.shown {
            let rows = &streams[*index];
            if rows.columns.num_rows() > 0 {
                let origins = rows.records.iter().map(|&r| raw.get(r as usize).origin);
                let batch = OutputBatch {
                    columns: rows.columns.clone(),
                    origins: origins.collect(),
                };
                self.streams
                    .entry(Arc::clone(name))
                    .or_default()
                    .push(batch);
            }
        }
        Ok(())
    }

    /// Those of a batch that the ledger has refused; all that are skipped then.
    fn find_refused(
        &self,
        raw: &RawBatch,
        skip: &BTreeSet<Origin>,
    ) -> (Vec<Rejection>, Option<BTreeSet<Origin>>) {
        if self.refused.is_empty() {
            return (Vec::new(), None);
        }
        let mut skipped = None;
        let mut found = Vec::new();
        for (record, raw) in (0..).zip(raw.iter()) {
            // One that the journal excludes has its letter.
            if let Some(reason) = self.refused.get(&raw.origin)
                && !skip.contains(&raw.origin)
            {
                skipped
                    .get_or_insert_with(|| skip.clone())
                    .insert(raw.origin);
                found.push(Rejection {
                    record,
                    column: None,
                    cause: Cause::Unstorable,
                    reason: reason.clone(),
                });
            }
        }
        (found, skipped)
    }

    /// Folds all aggregates, again without the records that one of them rejects until none does.
    fn fold(
        &mut self,
        streams: &mut [Rows],
        rejected: &mut Rejected,
        (raw, mode): (&RawBatch, Mode),
    ) -> Result<Vec<Vec<Partial>>, PipelineError> {
        loop {
            let mut partials = Vec::with_capacity(self.chain.aggregates.len());
            // One for each stream: as long as its rows are the same, so are their groups.
            let mut shared: Vec<Groupings> = Vec::new();
            shared.resize_with(streams.len(), Groupings::default);
            for (index, aggregate) in self.chain.aggregates.iter_mut().enumerate() {
                let rows = &streams[aggregate.from];
                let shared = &mut shared[aggregate.from];
                let mut folded = aggregate.fold(rows, shared, (index, &self.monitor))?;
                // Which of them it rejects is asked of all.
                if let FoldedRows::Partials(_) = folded
                    && let Some(own) = aggregate.own(rows, raw, mode)
                {
                    let of_own = &mut Groupings::default();
                    folded = aggregate.fold(&own, of_own, (index, &self.monitor))?;
                }
                match folded {
                    FoldedRows::Partials(some) => partials.push(some),
                    FoldedRows::Rejected(found) => {
                        assert!(!found.is_empty(), "a refused fold names the rows");
                        rejected.note(&aggregate.names, found, raw, &mut self.left_out);
                        break;
                    }
                }
            }
            if partials.len() == self.chain.aggregates.len() {
                return Ok(partials);
            }
            rejected.leave_out_of(streams);
        }
    }

    /// Ends the epoch: everything gathered since the last barrier.
    fn hand_over(&mut self, barrier: Barrier) -> Result<EpochPart, PipelineError> {
        let left_out = std::mem::take(&mut self.left_out);
        if let (Mode::Replay { .. }, Some(letter)) = (barrier.mode, left_out.first()) {
            return Err(PipelineError::Diverged {
                epoch: barrier.epoch,
                stage: letter.stage.clone(),
                origin: letter.origin,
                reason: letter.reason.clone(),
            });
        }
        // What the ledger has refused it would refuse again.
        let by_stages = |letter: &&DeadLetter| !self.refused.contains_key(&letter.origin);
        let rejected = by_stage(left_out.iter().filter(by_stages));
        let excluded = left_out.iter().map(|letter| letter.origin);
        let excluded = excluded.chain(self.duplicates.drain(..)).collect();
        let partials = self.partials.iter_mut().map(std::mem::take).collect();
        let deduplicator = self.chain.deduplicator.as_mut();
        let seen = deduplicator.map_or_else(Vec::new, |deduplicator| {
            self.monitor.set_remembered(self.index, deduplicator.size());
            deduplicator.take_seen()
        });
        Ok(EpochPart {
            barrier,
            streams: std::mem::take(&mut self.streams),
            partials,
            excluded,
            rejected,
            dead_letters: left_out,
            seen,
        })
    }
}

/// Which records of a batch are left out.
struct Rejected {
    records: Vec<bool>,
    /// whether records were added that streams may still have
    fresh: bool,
}

impl Rejected {
    fn of(records: usize) -> Self {
        Self {
            records: vec![false; records],
            fresh: false,
        }
    }

    fn has(&self, record: u32) -> bool {
        self.records[record as usize]
    }

    /// Leaves these records out, each with its first reason.
    fn note(
        &mut self,
        names: &StageNames,
        found: Vec<Rejection>,
        raw: &RawBatch,
        left_out: &mut Vec<DeadLetter>,
    ) {
        for rejection in found {
            let seen = &mut self.records[rejection.record as usize];
            if std::mem::replace(seen, true) {
                continue;
            }
            self.fresh = true;
            let record = raw.get(rejection.record as usize);
            left_out.push(DeadLetter {
                origin: record.origin,
                document: None,
                stage: names.stage.to_string(),
                component: names.component.as_ref().map(ToString::to_string),
                column: rejection.column,
                cause: rejection.cause,
                reason: rejection.reason,
                timestamp_ms: record.timestamp_ms,
                key: record.key.map(<[u8]>::to_vec),
                headers: record.headers.to_owned(),
                value: record.value.map(<[u8]>::to_vec),
            });
        }
    }

    /// Takes what was noted since the last call out of the streams.
    fn leave_out_of(&mut self, streams: &mut [Rows]) {
        if !std::mem::take(&mut self.fresh) {
            return;
        }
        for rows in streams {
            rows.keep(|&record| !self.records[record as usize]);
        }
    }
}
