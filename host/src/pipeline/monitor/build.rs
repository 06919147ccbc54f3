//! How a monitor is made: a meter for everything that the pipeline has.

use std::sync::atomic::AtomicU8;
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::time::Instant;

use super::epochs::EpochLog;
use super::meters::{
    CheckpointMeter, Counter, Gauge, KeyMeter, Pulse, Queue, ReloadMeter, SinkMeter,
};
use super::shape::{Outline, Shape};
use super::{Monitor, Pulses, Queues};
use crate::config::{Pipeline, Sink};
use crate::pipeline::done::Done;
use crate::pipeline::topology::Settings;
use crate::pipeline::{OUTLET_QUEUE, Plan, WORKER_QUEUE};
use crate::status::Phase;
use crate::waiting::Waits;

/// What a monitor has to know of a pipeline.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) pipeline: String,
    pub(super) workers: usize,
    pub(super) in_flight: usize,
    pub(super) deduplicates: bool,
    /// the ledger first
    pub(super) sinks: Vec<SinkNames>,
    pub(super) outline: Outline,
}

/// What a monitor has to know of a sink.
#[derive(Debug, Default)]
pub(super) struct SinkNames {
    pub(super) name: String,
    pub(super) may_lag: bool,
}

impl Monitor {
    /// A monitor for one run of the pipeline.
    #[must_use]
    pub fn new(pipeline: &Pipeline, plan: &Plan) -> Arc<Self> {
        let (ledgers, others): (Vec<&Sink>, _) = pipeline
            .sinks
            .iter()
            .partition(|sink| sink.kind.is_ledger());
        let sinks = ledgers.into_iter().chain(others);
        let sinks = sinks.map(|sink| SinkNames {
            name: sink.name.clone(),
            may_lag: sink.kind.may_lag(),
        });
        Arc::new(Self::of(
            Names {
                pipeline: pipeline.name.clone(),
                workers: pipeline.workers,
                in_flight: Settings::of(pipeline).epochs_waiting(),
                deduplicates: pipeline.source.deduplicate.is_some(),
                sinks: sinks.collect(),
                outline: plan.outline(),
            },
            Waits::default(),
        ))
    }

    /// One for the same stages that nobody asks: what is made again for a sink that lags was counted
    /// when it was made.
    pub(in crate::pipeline) fn unseen(&self) -> Arc<Self> {
        let names = Names {
            workers: self.queues.workers.len(),
            deduplicates: self.duplicates.is_some(),
            ..Names::default()
        };
        Arc::new(Self::of(names, Waits::default()))
    }

    /// Of a simulated pipeline.
    #[cfg(test)]
    pub(in crate::pipeline) fn simulated(workers: usize, aggregate: &str, sinks: &[&str]) -> Self {
        let sinks = sinks.iter().map(|name| SinkNames {
            name: (*name).to_owned(),
            ..SinkNames::default()
        });
        let names = Names {
            workers,
            deduplicates: true,
            sinks: sinks.collect(),
            outline: Outline {
                aggregates: vec![aggregate.to_owned()],
                ..Outline::default()
            },
            ..Names::default()
        };
        Self::of(names, Waits::default())
    }

    /// Of a pipeline without stages, for tests of who tells it something.
    #[cfg(test)]
    pub(in crate::pipeline) fn bare() -> Arc<Self> {
        let names = Names {
            deduplicates: true,
            ..Names::default()
        };
        Arc::new(Self::of(names, Waits::default()))
    }

    pub(super) fn of(names: Names, waits: Waits) -> Self {
        let worker = |index| format!("worker {index}");
        let workers = || (0..names.workers).map(worker);
        let others = names.sinks.iter().skip(1);
        let sinks: Vec<&str> = names.sinks.iter().map(|sink| sink.name.as_str()).collect();
        let nothing = Shape::default();
        let shape = Shape::new(names.outline, names.deduplicates, &sinks, &nothing);
        Self {
            shape: RwLock::new(Arc::new(shape)),
            checkpoints: CheckpointMeter::default(),
            reloads: ReloadMeter::default(),
            queues: Queues {
                workers: workers()
                    .map(|name| Queue::new(name, WORKER_QUEUE))
                    .collect(),
                coordinator: Queue::new("coordinator", names.workers),
                ledger: Queue::new("ledger", names.in_flight),
                outlets: others
                    .map(|sink| Queue::new(&sink.name, OUTLET_QUEUE))
                    .collect(),
            },
            pulses: Pulses {
                reader: Pulse::new("reader"),
                workers: workers().map(Pulse::new).collect(),
                coordinator: Pulse::new("coordinator"),
            },
            sinks: names
                .sinks
                .into_iter()
                .map(|sink| SinkMeter {
                    name: sink.name,
                    may_lag: sink.may_lag,
                    ..SinkMeter::default()
                })
                .collect(),
            pipeline: names.pipeline,
            made: Instant::now(),
            running_since: OnceLock::new(),
            phase: AtomicU8::new(Phase::Starting as u8),
            waits,
            records: Counter::default(),
            bytes: Counter::default(),
            dead_letters: Counter::default(),
            duplicates: names.deduplicates.then(Counter::default),
            remembered: workers().map(|_| KeyMeter::default()).collect(),
            epochs: Counter::default(),
            epoch: Gauge::default(),
            last_commit_ms: Gauge::default(),
            partitions: RwLock::default(),
            done: Done::default(),
            log: EpochLog::default(),
            letters: Mutex::default(),
        }
    }
}
