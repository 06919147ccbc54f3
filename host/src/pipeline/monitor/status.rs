//! The present moment, as plain data.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, UNIX_EPOCH};

use super::meters::Counter;
use super::{Monitor, STUCK_AFTER};
use crate::status::{
    CheckpointStatus, PartitionStatus, Phase, SinkStatus, StageStatus, Status, Waiting,
};

impl Monitor {
    /// The pipeline at this moment.
    #[must_use]
    pub fn status(&self) -> Status {
        let now = Instant::now();
        let letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        let recent_dead_letters = letters.iter().cloned().collect();
        drop(letters);
        Status {
            pipeline: self.pipeline.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            phase: self.phase(),
            uptime: self.made.elapsed(),
            waiting_for: self.waiting(),
            epoch: self.epoch.get(),
            epochs: self.epochs.get(),
            records: self.records.get(),
            bytes: self.bytes.get(),
            dead_letters: self.dead_letters.get(),
            duplicates: self.duplicates.as_ref().map(Counter::get),
            readmission_backlog: self.reloads.backlog.get(),
            records_per_second: self.log.rate(now),
            partitions: self.partition_statuses(),
            stages: self.stage_statuses(),
            sinks: self.sink_statuses(),
            components: self.shape().components.clone(),
            recent_epochs: self.log.recent(now),
            recent_dead_letters,
            checkpoint: self.checkpoint_status(),
            // Deployments are not of its making.
            ..Status::default()
        }
    }

    /// Who is waited for; whether the stream is held up by it depends on the sink.
    pub(super) fn waiting(&self) -> Vec<Waiting> {
        let mut waiting = self.waits.list();
        for one in &mut waiting {
            let lenient = self.sinks.iter().filter(|sink| sink.may_lag);
            one.holds_up = lenient.into_iter().all(|sink| sink.name != one.part);
        }
        waiting
    }

    fn checkpoint_status(&self) -> Option<CheckpointStatus> {
        let meter = &self.checkpoints;
        let epoch = meter.epoch.get();
        let since = |ms| UNIX_EPOCH + Duration::from_millis(ms);
        let age = Some(meter.last_ms.get()).filter(|ms| *ms > 0);
        (epoch > 0).then(|| CheckpointStatus {
            epoch,
            age: age.map(|ms| since(ms).elapsed().unwrap_or_default()),
        })
    }

    /// How far the run is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        let phase = self.phase.load(Ordering::Relaxed);
        [Phase::Running, Phase::Stopping]
            .into_iter()
            .find(|&known| known as u8 == phase)
            .unwrap_or(Phase::Starting)
    }

    /// Threads that have been at one piece of work for too long, and for how long.
    #[must_use]
    pub fn stuck(&self) -> Vec<(&str, Duration)> {
        self.busy_longer_than(STUCK_AFTER)
    }

    pub(super) fn busy_longer_than(&self, limit: Duration) -> Vec<(&str, Duration)> {
        let pulses = [&self.pulses.reader, &self.pulses.coordinator];
        let pulses = pulses.into_iter().chain(&self.pulses.workers);
        let busy = pulses.filter_map(|pulse| Some((pulse.name(), pulse.busy_for()?)));
        busy.filter(|(_, time)| *time >= limit).collect()
    }

    fn partition_statuses(&self) -> Vec<PartitionStatus> {
        let status = |meter: &super::PartitionMeter| PartitionStatus {
            partition: meter.partition.0 as i32,
            position: meter.position(),
            committed: meter.committed(),
            end: Some(meter.end()),
        };
        self.partitions().iter().map(status).collect()
    }

    fn stage_statuses(&self) -> Vec<StageStatus> {
        let shape = self.shape();
        let stages = shape.stages.iter().map(|(_, name, meter)| StageStatus {
            name: name.clone(),
            rows: meter.rows.get(),
            time: meter.nanos.time(),
        });
        stages.collect()
    }

    fn sink_statuses(&self) -> Vec<SinkStatus> {
        let sinks = self.sinks.iter().map(|meter| SinkStatus {
            name: meter.name.clone(),
            epoch: meter.epoch.get(),
            lags: meter.lags.get() > 0,
            last_write: match meter.last_write.get() {
                0 => None,
                nanos => Some(Duration::from_nanos(nanos)),
            },
        });
        sinks.collect()
    }
}
