//! Going on live: what an epoch contains is decided here, once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::intake::Intake;
use super::{Ending, Flow, now};
use crate::deployment::Version;
use crate::epoch::{EpochCutter, EpochId, Mode};
use crate::pipeline::EPOCH_BYTES_MAX;
use crate::pipeline::change::{Change, Changes, Logic};
use crate::pipeline::checkpoint::CheckpointClock;
use crate::pipeline::readmission::{Chunk, Readmissions};
use crate::pipeline::survey::Newcomers;
use crate::record::Positions;

/// Where epochs end, and after which of them a checkpoint is due.
pub(in crate::pipeline) struct Live {
    pub(in crate::pipeline) cutter: EpochCutter,
    pub(in crate::pipeline) checkpoints: CheckpointClock,
    /// the last epoch that was cut, or committed before
    pub(in crate::pipeline) epoch: EpochId,
    /// where the last epoch ended; before the first live one, where that begins
    pub(in crate::pipeline) cut_at: Positions,
    /// where to stop, if anywhere
    pub(in crate::pipeline) until: Option<Positions>,
    /// partitions that are new
    pub(in crate::pipeline) newcomers: Newcomers,
    /// the version in force
    pub(in crate::pipeline) version: Version,
    /// what is to come into force
    pub(in crate::pipeline) changes: Changes,
    /// what is to be processed again
    pub(in crate::pipeline) readmissions: Readmissions,
    /// whether nothing is read before another version is in force
    pub(in crate::pipeline) waits_for_change: bool,
}

impl Live {
    /// What was to be repeated is repeated.
    pub(super) fn begin(&mut self, now: Instant) {
        self.checkpoints.begin(now);
    }

    /// Ends the epoch if it is time, then reads on.
    pub(super) fn step(&mut self, intake: &mut Intake) -> Result<Flow, Ending> {
        let none = Arc::default();
        let changing = self.changes.is_waiting();
        if changing && self.cutter.is_empty() {
            return self.change(intake).map(|()| Flow::More);
        }
        let readmitting = !self.waits_for_change && self.readmissions.is_waiting();
        if readmitting && self.cutter.is_empty() {
            return self.readmit(intake).map(|()| Flow::More);
        }
        if self.waits_for_change && !intake.stop.is_cancelled() {
            std::thread::sleep(intake.poll_wait);
            return Ok(Flow::More);
        }
        // A run to an end has the partitions of its start.
        if self.until.is_none() {
            let found = self.newcomers.unknown_to(intake.source.positions());
            intake.take_up(&found)?;
        }
        if std::mem::take(&mut intake.turns.hasten) {
            self.checkpoints.hasten();
        }
        let positions = intake.source.positions();
        let end = self.until.as_ref();
        let is_read = end.is_some_and(|end| positions.reached(end));
        let at_end =
            is_read && self.readmissions.is_over(self.version) && !self.changes.is_to_come();
        let stop = intake.stop.is_cancelled() || at_end || intake.turns.failed.is_some();
        let time = now();
        let checkpoint = stop || self.checkpoints.is_due(time);
        // At a stop also where only gaps were passed: they may be deleted before the next start.
        // And an epoch without records where there are some that no checkpoint has.
        let moved = *positions != self.cut_at;
        let last = stop && (moved || self.checkpoints.is_behind());
        let idle = checkpoint && self.cutter.is_empty() && self.checkpoints.is_behind();
        let interrupted = changing || readmitting;
        let turned = std::mem::take(&mut intake.turns.turned) || interrupted;
        if last || idle || turned || (!self.cutter.is_empty() && self.cutter.is_due(time)) {
            self.epoch = self.epoch.next();
            let (records, began) = (self.cutter.len(), self.cutter.began());
            intake.monitor.epoch_cut(self.epoch, records, began);
            self.cutter.cut();
            self.cut_at = intake.source.positions().clone();
            let epoch = (self.epoch, self.version);
            let mut barrier = intake.barrier(epoch, self.cut_at.clone(), Mode::Live);
            barrier.checkpoint = checkpoint;
            self.checkpoints.cut(checkpoint, time);
            intake.cut(&barrier, &none)?;
        }
        if interrupted && !stop {
            return Ok(Flow::More);
        }
        if stop {
            let failed = intake.turns.failed.take();
            return failed.map_or(Ok(Flow::End), |error| Err(error.into()));
        }
        if is_read {
            // What is to be processed again is on its way.
            std::thread::sleep(intake.poll_wait);
            return Ok(Flow::More);
        }
        let wait = self.cutter.wait(time).unwrap_or(intake.poll_wait);
        let until = self.until.clone().unwrap_or_default();
        let wait = wait.min(intake.poll_wait);
        let read = intake.poll(&until, self.cutter.room(), wait, Mode::Live)?;
        self.cutter.add(read.records, read.bytes, now());
        if self.cutter.is_empty() {
            let done = intake.monitor.done();
            done.idle(self.epoch, intake.source.positions());
        }
        intake.send_full(&none, Mode::Live)?;
        Ok(Flow::More)
    }

    /// Takes up again what a version rejected that was rolled back, with an epoch that has nothing else and
    /// moves no positions.
    fn readmit(&mut self, intake: &mut Intake) -> Result<(), Ending> {
        let Some(chunk) = self.readmissions.take() else {
            return Ok(());
        };
        let Chunk {
            batches,
            readmission,
        } = chunk;
        let began = now();
        for batch in batches {
            intake.distribute(&batch, &Arc::default(), Mode::Live)?;
        }
        self.epoch = self.epoch.next();
        let records = readmission.records.values().map(BTreeSet::len).sum();
        intake.monitor.epoch_cut(self.epoch, records, Some(began));
        self.checkpoints.cut(false, began);
        // Until there is one, a start has to read these again, and they may be deleted by then.
        self.checkpoints.hasten();
        let epoch = (self.epoch, self.version);
        let mut barrier = intake.barrier(epoch, self.cut_at.clone(), Mode::Live);
        barrier.readmission = Some(Arc::new(readmission));
        intake.cut(&barrier, &Arc::default())
    }

    /// Puts into force what is to come into force, with an epoch that has no records.
    fn change(&mut self, intake: &mut Intake) -> Result<(), Ending> {
        let Some(Change { logic, pace }) = self.changes.take() else {
            return Ok(());
        };
        if let Some(pace) = pace {
            self.cutter = EpochCutter::new(pace.max_rows, EPOCH_BYTES_MAX, pace.max_wait);
            self.checkpoints.set_interval(pace.checkpoint_interval);
        }
        let Some(Logic {
            version,
            swap,
            mut chains,
        }) = logic
        else {
            return Ok(());
        };
        self.waits_for_change = false;
        self.version = version;
        self.epoch = self.epoch.next();
        intake.monitor.epoch_cut(self.epoch, 0, None);
        self.cut_at = intake.source.positions().clone();
        self.checkpoints.cut(false, now());
        let epoch = (self.epoch, version);
        let barrier = intake.barrier(epoch, self.cut_at.clone(), Mode::Live);
        let begins = chains.iter_mut();
        begins.for_each(|chain| chain.begin_here(&self.cut_at));
        intake.put_in_force(chains, swap, barrier)
    }
}
