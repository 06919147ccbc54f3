//! The present moment, as Prometheus reads it. Made at every question, from the same counters as
//! everything else.

use super::epochs::EpochPhase;
use super::histogram::{BOUNDS, Histogram};
use super::meters::{PartitionMeter, StateMeter};
use super::{Monitor, StageGuest};
use crate::guest::Failure;
use crate::pipeline::patience::{CHECKPOINTS, DEAD_LETTERS, SOURCE};
use crate::record::Cause;
use crate::status::Phase;
use crate::telemetry::exposition::{Exposition, Samples};
use crate::telemetry::metrics::{self, Family};
use crate::telemetry::process;

impl Monitor {
    /// All metrics, in Prometheus' text format.
    #[must_use]
    pub fn metrics(&self) -> String {
        let mut out = Exposition::default();
        self.write_run(&mut out);
        self.write_source(&mut out);
        self.write_epochs(&mut out);
        self.write_stages(&mut out);
        self.write_sinks(&mut out);
        self.write_guests(&mut out);
        self.write_states(&mut out);
        self.write_checkpoints(&mut out);
        self.write_reloads(&mut out);
        write_process(&mut out);
        out.finish()
    }

    fn write_run(&self, out: &mut Exposition) {
        out.family(&metrics::BUILD_INFO)
            .add(&[env!("CARGO_PKG_VERSION")], 1);
        out.family(&metrics::PIPELINE_INFO)
            .add(&[&self.pipeline], 1);
        let mut components = out.family(&metrics::COMPONENT_INFO);
        for component in &self.shape().components {
            components.add(&[&component.name, &component.version, &component.digest], 1);
        }
        let (phase, waiting) = (self.phase(), self.waiting());
        let ready = phase == Phase::Running && !waiting.iter().any(|w| w.holds_up);
        out.family(&metrics::READY).add(&[], u8::from(ready));
        let mut phases = out.family(&metrics::PHASE);
        for (name, known) in [
            ("starting", Phase::Starting),
            ("running", Phase::Running),
            ("stopping", Phase::Stopping),
        ] {
            phases.add(&[name], u8::from(phase == known));
        }
        let mut parts = vec![SOURCE, DEAD_LETTERS, CHECKPOINTS];
        parts.extend(self.sinks.iter().map(|sink| sink.name.as_str()));
        let mut waits = out.family(&metrics::WAITING_SECONDS);
        for part in parts {
            let found = waiting.iter().find(|waiting| waiting.part == part);
            let seconds = found.map_or(0.0, |waiting| waiting.since.as_secs_f64());
            waits.add(&[part], seconds);
        }
    }

    fn write_source(&self, out: &mut Exposition) {
        out.family(&metrics::READ_RECORDS)
            .add(&[], self.records.get());
        out.family(&metrics::READ_BYTES).add(&[], self.bytes.get());
        let mut rejected = out.family(&metrics::REJECTED_RECORDS);
        for meter in &self.shape().rejections {
            for cause in Cause::ALL {
                let count = meter.get(cause);
                if count > 0 || meter.expects(cause) {
                    rejected.add(&[&meter.stage, cause.name()], count);
                }
            }
        }
        self.write_duplicates(out);
        let partition_of = |meter: &PartitionMeter| meter.partition.to_string();
        let mut each = |family: &'static Family, value: fn(&PartitionMeter) -> i64| {
            let mut samples = out.family(family);
            for meter in self.partitions().iter() {
                samples.add(&[&partition_of(meter)], value(meter));
            }
        };
        each(&metrics::PARTITION_POSITION, PartitionMeter::position);
        each(&metrics::PARTITION_COMMITTED, PartitionMeter::committed);
        each(&metrics::PARTITION_END, PartitionMeter::end);
        each(&metrics::PARTITION_LAG, PartitionMeter::lag);
        let mut lost = out.family(&metrics::LOST_OFFSETS);
        for meter in self.partitions().iter() {
            lost.add(&[&partition_of(meter)], meter.lost.get());
        }
    }

    fn write_duplicates(&self, out: &mut Exposition) {
        let workers = self.remembered.iter();
        let counts = self.duplicates.as_ref().map(|duplicates| {
            let keys = workers.clone().map(|meter| meter.keys.get());
            let bytes = workers.map(|meter| meter.bytes.get());
            [duplicates.get(), keys.sum(), bytes.sum()]
        });
        let families = [
            &metrics::DUPLICATES,
            &metrics::REMEMBERED_KEYS,
            &metrics::REMEMBERED_BYTES,
        ];
        for (index, family) in families.into_iter().enumerate() {
            let mut samples = out.family(family);
            if let Some(counts) = &counts {
                samples.add(&[], counts[index]);
            }
        }
    }

    fn write_epochs(&self, out: &mut Exposition) {
        out.family(&metrics::EPOCHS).add(&[], self.epochs.get());
        out.family(&metrics::EPOCH).add(&[], self.epoch.get());
        let last = self.last_commit_ms.get() as f64 / 1e3;
        out.family(&metrics::LAST_COMMIT).add(&[], last);
        let mut whole = out.family(&metrics::EPOCH_SECONDS);
        add_histogram(&mut whole, &[], self.log.whole_times());
        let mut phases = out.family(&metrics::EPOCH_PHASE_SECONDS);
        for phase in EpochPhase::ALL {
            add_histogram(&mut phases, &[phase.name()], self.log.phase_times(phase));
        }
    }

    fn write_stages(&self, out: &mut Exposition) {
        let shape = self.shape();
        let mut rows = out.family(&metrics::STAGE_ROWS);
        for (_, name, meter) in &shape.stages {
            rows.add(&[name], meter.rows.get());
        }
        let mut seconds = out.family(&metrics::STAGE_SECONDS);
        for (_, name, meter) in &shape.stages {
            seconds.add(&[name], meter.nanos.time().as_secs_f64());
        }
        let mut depths = out.family(&metrics::QUEUE_DEPTH);
        for queue in self.queues.all() {
            depths.add(&[queue.name()], queue.depth());
        }
        let mut capacities = out.family(&metrics::QUEUE_CAPACITY);
        for queue in self.queues.all() {
            capacities.add(&[queue.name()], queue.capacity());
        }
    }

    fn write_sinks(&self, out: &mut Exposition) {
        let mut each = |family: &'static Family, value: &dyn Fn(&super::SinkMeter) -> u64| {
            let mut samples = out.family(family);
            for sink in &self.sinks {
                samples.add(&[&sink.name], value(sink));
            }
        };
        each(&metrics::SINK_ROWS, &|sink| sink.rows.get());
        each(&metrics::SINK_LAGS, &|sink| sink.lags.get());
        each(&metrics::SINK_RETRIES, &|sink| sink.retries.get());
        each(&metrics::SINK_EPOCH, &|sink| sink.epoch.get());
        each(&metrics::SINK_EPOCHS_BEHIND, &|sink| {
            self.epoch.get().saturating_sub(sink.epoch.get())
        });
        let mut writes = out.family(&metrics::SINK_WRITE_SECONDS);
        for sink in &self.sinks {
            add_histogram(&mut writes, &[&sink.name], &sink.writes);
        }
    }

    fn write_guests(&self, out: &mut Exposition) {
        let shape = self.shape();
        let mut failures = out.family(&metrics::GUEST_FAILURES);
        for guest in &shape.guests {
            for failure in Failure::ALL {
                let labels = [&*guest.stage, &guest.component, failure.name()];
                failures.add(&labels, guest.meter.failures(failure));
            }
        }
        let mut seconds = out.family(&metrics::GUEST_SECONDS);
        for guest in &shape.guests {
            let time = guest.meter.time().as_secs_f64();
            seconds.add(&[&guest.stage, &guest.component], time);
        }
        let mut each = |family: &'static Family, value: fn(&StageGuest) -> u64| {
            let mut samples = out.family(family);
            for guest in &shape.guests {
                samples.add(&[&guest.stage, &guest.component], value(guest));
            }
        };
        each(&metrics::GUEST_CALLS, |guest| guest.meter.calls());
        each(&metrics::GUEST_INSTANCES, |guest| guest.meter.instances());
        each(&metrics::GUEST_MEMORY, |guest| guest.meter.memory());
        each(&metrics::GUEST_MEMORY_LIMIT, |guest| guest.memory_max);
    }

    fn write_states(&self, out: &mut Exposition) {
        let shape = self.shape();
        let mut each = |family: &'static Family, value: fn(&StateMeter) -> u64| {
            let mut samples = out.family(family);
            for state in &shape.states {
                samples.add(&[&state.aggregate], value(state));
            }
        };
        each(&metrics::STATE_GROUPS, |state| state.groups.get());
        each(&metrics::STATE_BYTES, |state| state.bytes.get());
    }

    fn write_checkpoints(&self, out: &mut Exposition) {
        let meter = &self.checkpoints;
        out.family(&metrics::CHECKPOINTS)
            .add(&[], meter.published.get());
        out.family(&metrics::CHECKPOINT_FAILURES)
            .add(&[], meter.failures.get());
        out.family(&metrics::CHECKPOINT_EPOCH)
            .add(&[], meter.epoch.get());
        let last = meter.last_ms.get() as f64 / 1e3;
        out.family(&metrics::LAST_CHECKPOINT).add(&[], last);
        out.family(&metrics::CHECKPOINT_BYTES)
            .add(&[], meter.bytes.get());
        let mut writes = out.family(&metrics::CHECKPOINT_SECONDS);
        add_histogram(&mut writes, &[], &meter.writes);
        let mut pauses = out.family(&metrics::CHECKPOINT_PAUSE_SECONDS);
        add_histogram(&mut pauses, &[], &meter.pauses);
    }

    fn write_reloads(&self, out: &mut Exposition) {
        let meter = &self.reloads;
        out.family(&metrics::DEPLOYMENT_VERSION)
            .add(&[], meter.version.get());
        out.family(&metrics::RELOADS).add(&[], meter.reloads.get());
        out.family(&metrics::RELOAD_REFUSALS)
            .add(&[], meter.refusals.get());
        let mut pauses = out.family(&metrics::RELOAD_PAUSE_SECONDS);
        add_histogram(&mut pauses, &[], &meter.pauses);
        out.family(&metrics::BACKFILL_OFFSETS_LEFT)
            .add(&[], meter.backfill_left.get());
        out.family(&metrics::READMITTED_RECORDS)
            .add(&[], meter.readmitted.get());
        out.family(&metrics::READMISSION_BACKLOG)
            .add(&[], meter.backlog.get());
    }
}

fn add_histogram(samples: &mut Samples<'_>, labels: &[&str], histogram: &Histogram) {
    samples.add_histogram(labels, &BOUNDS, &histogram.cumulative(), histogram.total());
}

fn write_process(out: &mut Exposition) {
    let mut cpu = out.family(&metrics::PROCESS_CPU_SECONDS);
    if let Some(time) = process::cpu() {
        cpu.add(&[], time.as_secs_f64());
    }
    let mut gauge = |family, value: Option<f64>| {
        let mut samples = out.family(family);
        if let Some(value) = value {
            samples.add(&[], value);
        }
    };
    let number = |value: Option<u64>| value.map(|value| value as f64);
    gauge(&metrics::PROCESS_MEMORY, number(process::memory()));
    gauge(&metrics::PROCESS_OPEN_FDS, number(process::open_fds()));
    gauge(&metrics::PROCESS_MAX_FDS, number(process::max_fds()));
    gauge(&metrics::PROCESS_START, process::start_time());
}
