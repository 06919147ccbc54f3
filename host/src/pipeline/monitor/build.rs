//! How a monitor is made: a meter for everything that the pipeline has.

use std::sync::atomic::AtomicU8;
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::time::Instant;

use super::epochs::EpochLog;
use super::meters::{
    CheckpointMeter, Counter, Gauge, KeyMeter, Pulse, Queue, RejectionMeter, SinkMeter, StageMeter,
    StateMeter,
};
use super::{Monitor, Pulses, Queues, Stage, StageGuest};
use crate::config::{Pipeline, Sink, SinkKind};
use crate::pipeline::done::Done;
use crate::pipeline::topology::Settings;
use crate::pipeline::{OUTLET_QUEUE, Plan, WORKER_QUEUE};
use crate::record::Cause;
use crate::status::{ComponentStatus, Phase};
use crate::waiting::Waits;

/// What a monitor has to know of a pipeline.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) pipeline: String,
    pub(super) workers: usize,
    pub(super) in_flight: usize,
    pub(super) deduplicates: bool,
    pub(super) transforms: Vec<String>,
    pub(super) aggregates: Vec<String>,
    /// the ledger first, with the streams that they take
    pub(super) sinks: Vec<SinkNames>,
    pub(super) guests: Vec<StageGuest>,
    pub(super) components: Vec<ComponentStatus>,
}

/// What a monitor has to know of a sink.
#[derive(Debug, Default)]
pub(super) struct SinkNames {
    pub(super) name: String,
    /// what it takes, once for each of its tables; `None`: all that any sink takes
    pub(super) streams: Option<Vec<String>>,
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
            streams: Some(streams_of(sink)),
            may_lag: sink.kind.may_lag(),
        });
        Arc::new(Self::of(
            Names {
                pipeline: pipeline.name.clone(),
                workers: pipeline.workers,
                in_flight: Settings::of(pipeline).epochs_waiting(),
                deduplicates: pipeline.source.deduplicate.is_some(),
                transforms: pipeline.transforms.iter().map(|t| t.name.clone()).collect(),
                aggregates: pipeline.aggregates.iter().map(|a| a.name.clone()).collect(),
                sinks: sinks.collect(),
                guests: plan.guests(),
                components: plan.components(),
            },
            Waits::default(),
        ))
    }

    /// One for the same stages that nobody asks: what is made again for a sink that lags was counted
    /// when it was made.
    pub(in crate::pipeline) fn unseen(&self) -> Arc<Self> {
        let count = |is: &dyn Fn(Stage) -> bool| {
            let stages = self.stages.iter().filter(|(stage, ..)| is(*stage));
            vec![String::new(); stages.count()]
        };
        let names = Names {
            workers: self.queues.workers.len(),
            deduplicates: self.duplicates.is_some(),
            transforms: count(&|stage| matches!(stage, Stage::Transform(_))),
            aggregates: count(&|stage| matches!(stage, Stage::Fold(_))),
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
            aggregates: vec![aggregate.to_owned()],
            sinks: sinks.collect(),
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
        Self {
            stages: stages(&names),
            rejections: rejections(&names),
            states: names
                .aggregates
                .iter()
                .map(|name| StateMeter {
                    aggregate: name.clone(),
                    ..StateMeter::default()
                })
                .collect(),
            checkpoints: CheckpointMeter::default(),
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
                    streams: sink.streams,
                    may_lag: sink.may_lag,
                    ..SinkMeter::default()
                })
                .collect(),
            pipeline: names.pipeline,
            guests: names.guests,
            components: names.components,
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

fn stages(names: &Names) -> Vec<(Stage, String, StageMeter)> {
    let mut stages = vec![
        (Stage::Read, "read".to_owned()),
        (Stage::Decode, "decode".to_owned()),
    ];
    if names.deduplicates {
        stages.push((Stage::Deduplicate, "deduplicate".to_owned()));
    }
    let called = |kind: &str, name: &String| format!("{kind} {name}");
    let transforms = names.transforms.iter().enumerate();
    stages.extend(transforms.map(|(i, name)| (Stage::Transform(i), called("transform", name))));
    let aggregates = names.aggregates.iter().enumerate();
    stages.extend(aggregates.map(|(i, name)| (Stage::Fold(i), called("fold", name))));
    stages.push((Stage::Merge, "merge and finish".to_owned()));
    let sinks = names.sinks.iter().enumerate();
    stages.extend(sinks.map(|(i, sink)| (Stage::Write(i), called("write", &sink.name))));
    let metered = |(stage, name)| (stage, name, StageMeter::default());
    stages.into_iter().map(metered).collect()
}

/// One for each stage that dead letters name, with the causes that it may have.
fn rejections(names: &Names) -> Vec<RejectionMeter> {
    let mut meters: Vec<RejectionMeter> = Vec::new();
    let mut expect = |stage: &str, causes: &[Cause]| {
        // A sink may be called as a stage is; they are counted together then.
        let known = meters.iter_mut().find(|meter| meter.stage == stage);
        if let Some(meter) = known {
            return meter.expect(causes);
        }
        let mut meter = RejectionMeter::new(stage);
        meter.expect(causes);
        meters.push(meter);
    };
    expect("decode", &[Cause::Malformed, Cause::Value]);
    if names.deduplicates {
        expect("deduplicate", &[Cause::Rejected]);
    }
    for transform in &names.transforms {
        expect(transform, &[Cause::Rejected, Cause::Failed]);
    }
    for aggregate in &names.aggregates {
        expect(aggregate, &[Cause::Rejected, Cause::Failed, Cause::Group]);
    }
    for (index, sink) in names.sinks.iter().enumerate() {
        let cause = if index == 0 {
            Cause::Unstorable
        } else {
            Cause::Refused
        };
        expect(&sink.name, &[cause]);
    }
    meters
}

/// What a sink takes, once for each of its tables or indices.
fn streams_of(sink: &Sink) -> Vec<String> {
    match &sink.kind {
        SinkKind::Postgres { tables, .. } | SinkKind::Sqlite { tables, .. } => {
            tables.iter().map(|table| table.from.clone()).collect()
        }
        SinkKind::Elasticsearch { indices, .. } => {
            indices.iter().map(|index| index.from.clone()).collect()
        }
    }
}
