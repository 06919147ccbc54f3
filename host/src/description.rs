//! A pipeline in outline, for whoever asks what runs: plain data.
//!
//! # Invariants
//!
//! 1. Nothing in it is secret: no address, no URL, no path, no config of a guest, and nothing else
//!    whose value may come from the environment and is not a name.
//!
//! # Not here
//!
//! How it is doing: [`crate::status`]. Whom it is told to: [`crate::admin`].

use std::collections::BTreeMap;

use serde::Serialize;

use crate::config::{
    Aggregate, DeadLetters, Limits, Pipeline, Sink, SinkKind, Source, SourceKind, Transform, Window,
};
use crate::pipeline::Plan;
use crate::schema::{Field, Schema};
use crate::status::ComponentStatus;

/// A pipeline and its components.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Description {
    /// what it does
    pub pipeline: Outline,
    /// what it is made of
    pub components: Vec<ComponentOutline>,
}

/// What a pipeline does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Outline {
    /// `pipeline.name`
    pub name: String,
    /// threads that decode and call guests
    pub workers: usize,
    /// where records come from
    pub source: SourceOutline,
    /// every stream with its columns: the source, then transforms, then aggregates
    pub streams: Vec<StreamOutline>,
    /// transforms, then aggregates, in order
    pub stages: Vec<StageOutline>,
    /// in order
    pub sinks: Vec<SinkOutline>,
    /// where records go that cannot be used
    pub dead_letters: PlaceOutline,
}

/// Where records come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SourceOutline {
    /// its type, and the topic
    #[serde(flatten)]
    pub place: PlaceOutline,
    /// the columns that tell duplicates; `None` where nobody looks
    pub deduplicate: Option<Vec<String>>,
}

/// A place outside, without its address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PlaceOutline {
    /// `type`: `kafka`, `file` …
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// the topic or table, where it has one
    pub name: Option<String>,
}

/// A stream of rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StreamOutline {
    /// `source`, or the name of the stage that makes it
    pub name: String,
    /// in order
    pub columns: Vec<ColumnOutline>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ColumnOutline {
    /// its name
    pub name: String,
    /// its type as `pipeline.toml` calls it
    #[serde(rename = "type")]
    pub ty: String,
    /// whether a value may be missing
    pub nullable: bool,
}

/// A transform or an aggregate. Its config is not here, as it may hold what is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StageOutline {
    /// the stream that it makes
    pub name: String,
    /// `transform` or `aggregate`
    pub kind: &'static str,
    /// the stream that it reads
    pub from: String,
    /// its component, by the name in `pipeline.toml`
    pub component: String,
    /// columns that groups are made by; empty for a transform
    pub key: Vec<String>,
    /// how time is cut; `None` where it is not
    pub window: Option<WindowOutline>,
}

/// A tumbling window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WindowOutline {
    /// its length as `pipeline.toml` has it
    pub every: String,
    /// the column that decides
    pub time: String,
}

/// A sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SinkOutline {
    /// its name
    pub name: String,
    /// `postgres`, `sqlite` or `elasticsearch`
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// whether it keeps the journal
    pub ledger: bool,
    /// whether the stream goes on while it does not answer
    pub may_lag: bool,
    /// the tables that it fills
    pub tables: Vec<TableOutline>,
    /// the indices that it fills
    pub indices: Vec<IndexOutline>,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableOutline {
    /// its name
    pub table: String,
    /// the stream that fills it
    pub from: String,
    /// names of its key columns
    pub key: Vec<String>,
    /// its columns
    pub columns: Vec<ColumnOutline>,
}

/// An index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IndexOutline {
    /// its name
    pub index: String,
    /// the stream that fills it
    pub from: String,
    /// the column that is a document's `_id`
    pub id: String,
}

/// A component that stages run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ComponentOutline {
    /// what it is, and where
    #[serde(flatten)]
    pub status: ComponentStatus,
    /// the bounds of one instance
    pub limits: LimitsOutline,
    /// what it imports beside the contract's own types: parts of WASI that the host stubs
    pub imports: Vec<String>,
}

/// The bounds of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LimitsOutline {
    /// bytes of linear memory and tables
    pub memory_bytes: u64,
    /// milliseconds of processor time for one call with a full batch
    pub time_ms: u64,
    /// bytes that one call may hand back
    pub output_bytes: u64,
}

impl Description {
    /// Of the pipeline that `plan` was made of.
    #[must_use]
    pub fn of(pipeline: &Pipeline, plan: &Plan) -> Self {
        let transforms = pipeline.transforms.iter().map(transform);
        let aggregates = pipeline.aggregates.iter().map(aggregate);
        let streams = plan.streams().iter().map(|stream| StreamOutline {
            name: stream.name.to_string(),
            columns: columns(&stream.schema),
        });
        let outline = Outline {
            name: pipeline.name.clone(),
            workers: pipeline.workers,
            source: source(&pipeline.source),
            streams: streams.collect(),
            stages: transforms.chain(aggregates).collect(),
            sinks: pipeline.sinks.iter().map(|s| sink(s, plan)).collect(),
            dead_letters: dead_letters(&pipeline.dead_letters),
        };
        Self {
            pipeline: outline,
            components: components(pipeline, plan),
        }
    }
}

fn source(source: &Source) -> SourceOutline {
    let (kind, name) = match &source.kind {
        SourceKind::Kafka(kafka) => ("kafka", Some(kafka.topic.clone())),
        SourceKind::Generator(_) => ("generator", None),
        SourceKind::File { .. } => ("file", None),
    };
    SourceOutline {
        place: PlaceOutline { kind, name },
        deduplicate: source.deduplicate.as_ref().map(|d| d.key.clone()),
    }
}

fn dead_letters(letters: &DeadLetters) -> PlaceOutline {
    let (kind, name) = match letters {
        DeadLetters::Kafka { topic, .. } => ("kafka", Some(topic.clone())),
        DeadLetters::File { .. } => ("file", None),
        DeadLetters::Table { table } => ("table", Some(table.clone())),
    };
    PlaceOutline { kind, name }
}

fn transform(stage: &Transform) -> StageOutline {
    StageOutline {
        name: stage.name.clone(),
        kind: "transform",
        from: stage.from.clone(),
        component: stage.component.clone(),
        key: Vec::new(),
        window: None,
    }
}

fn aggregate(stage: &Aggregate) -> StageOutline {
    let window = match &stage.window {
        Window::None => None,
        Window::Tumbling { every, time } => Some(WindowOutline {
            every: every.to_string(),
            time: time.clone(),
        }),
    };
    StageOutline {
        name: stage.name.clone(),
        kind: "aggregate",
        from: stage.from.clone(),
        component: stage.component.clone(),
        key: stage.key.clone(),
        window,
    }
}

fn sink(sink: &Sink, plan: &Plan) -> SinkOutline {
    let tables = || {
        plan.tables().iter().map(|target| TableOutline {
            table: target.name().to_owned(),
            from: target.from().to_owned(),
            key: names(target.schema(), target.key()),
            columns: columns(target.schema()),
        })
    };
    let (kind, tables, indices) = match &sink.kind {
        SinkKind::Postgres { .. } => ("postgres", tables().collect(), Vec::new()),
        SinkKind::Sqlite { .. } => ("sqlite", tables().collect(), Vec::new()),
        SinkKind::Elasticsearch { indices, .. } => {
            let indices = indices.iter().map(|index| IndexOutline {
                index: index.index.clone(),
                from: index.from.clone(),
                id: index.id.clone(),
            });
            ("elasticsearch", Vec::new(), indices.collect())
        }
    };
    SinkOutline {
        name: sink.name.clone(),
        kind,
        ledger: sink.kind.is_ledger(),
        may_lag: sink.kind.may_lag(),
        tables,
        indices,
    }
}

fn components(pipeline: &Pipeline, plan: &Plan) -> Vec<ComponentOutline> {
    let mut imports: BTreeMap<String, Vec<String>> = plan.imports();
    let components = plan.components().into_iter().filter_map(|status| {
        Some(ComponentOutline {
            limits: limits(&pipeline.components.get(&status.name)?.limits),
            imports: imports.remove(&status.name).unwrap_or_default(),
            status,
        })
    });
    components.collect()
}

fn limits(limits: &Limits) -> LimitsOutline {
    LimitsOutline {
        memory_bytes: limits.memory,
        time_ms: limits.time.as_millis() as u64,
        output_bytes: limits.output,
    }
}

fn columns(schema: &Schema) -> Vec<ColumnOutline> {
    let column = |field: &Field| ColumnOutline {
        name: field.name.clone(),
        ty: field.ty.to_string(),
        nullable: field.nullable,
    };
    schema.fields().iter().map(column).collect()
}

fn names(schema: &Schema, indices: &[usize]) -> Vec<String> {
    let name = |index: &usize| schema.fields()[*index].name.clone();
    indices.iter().map(name).collect()
}
