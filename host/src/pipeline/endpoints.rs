//! The outside that a pipeline is run against.

use std::sync::Arc;

use super::{PipelineError, Plan};
use crate::checkpoint::{CheckpointError, CheckpointStore};
use crate::config::{DeadLetters, SinkKind};
use crate::dead_letter::{self, DeadLetterSink};
use crate::sink::elasticsearch::ElasticsearchSink;
use crate::sink::postgres::PostgresLedger;
use crate::sink::sqlite::SqliteLedger;
use crate::sink::{Ledger, Sink};
use crate::source::{self, Source, SourceError};
use crate::waiting::Waits;

/// Source, sinks, dead letters and checkpoints of one run. [`open`](Self::open) makes those that the pipeline
/// names; tests and measurements put others in their place.
pub struct Endpoints {
    /// opens the place that records come from, again for each reader
    pub open_source: OpenSource,
    /// the sink that keeps the journal
    pub ledger: Box<dyn Ledger>,
    /// the other sinks
    pub sinks: Vec<Box<dyn Sink>>,
    /// where records go that cannot be used
    pub dead_letters: Box<dyn DeadLetterSink>,
    /// opens the store of checkpoints, of a life of the pipeline
    pub checkpoints: OpenCheckpoints,
}

/// Opens the source, once for each that reads it.
pub type OpenSource = Arc<dyn Fn() -> Result<Box<dyn Source>, SourceError> + Send + Sync>;

/// Opens the store of checkpoints: what it finds there belongs to this life of the pipeline, which
/// the ledger tells.
pub type OpenCheckpoints = Box<dyn FnOnce(&str) -> Result<CheckpointStore, CheckpointError> + Send>;

/// Opens the endpoints of a run, once more where it has to begin anew.
pub type Connect = dyn Fn(&Waits) -> Result<Endpoints, PipelineError> + Send + Sync;

impl Endpoints {
    /// What opens those that the pipeline names.
    #[must_use]
    pub fn of(plan: &Arc<Plan>) -> Arc<Connect> {
        let plan = Arc::clone(plan);
        Arc::new(move |waits: &Waits| Self::open(&plan, waits))
    }

    /// What the pipeline names; those that wait inside of a call note it in `waits`. Connections are made when it runs, with patience.
    ///
    /// # Errors
    ///
    /// [`PipelineError`] where something can never work, such as a malformed URL.
    ///
    /// # Panics
    ///
    /// When the pipeline has no PostgreSQL or SQLite sink, which the configuration refuses.
    pub fn open(plan: &Plan, waits: &Waits) -> Result<Self, PipelineError> {
        let pipeline = plan.pipeline();
        let sink_error = |sink: &str| {
            let sink = sink.to_owned();
            move |source| PipelineError::Sink { sink, source }
        };
        let (from, name) = (pipeline.source.clone(), pipeline.name.clone());
        let open_source: OpenSource = Arc::new(move || source::open(&from, &name));
        let topic = dead_letter::source_topic(pipeline);
        let dead_letters =
            dead_letter::open(&pipeline.dead_letters, topic).map_err(sink_error("dead letters"))?;
        let mut ledger: Option<Box<dyn Ledger>> = None;
        let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
        for sink in &pipeline.sinks {
            match &sink.kind {
                SinkKind::Postgres { url, timeout, .. } => {
                    let tables = plan.tables().to_vec();
                    let mut opened = PostgresLedger::new(&sink.name, &pipeline.name, url, tables)
                        .map_err(sink_error(&sink.name))?
                        .giving_up_after(*timeout);
                    if !pipeline.takeover {
                        opened = opened.waiting_for_the_owner();
                    }
                    if let DeadLetters::Table { table } = &pipeline.dead_letters {
                        let keeping = opened.keeping_letters(table, topic);
                        opened = keeping.map_err(sink_error("dead letters"))?;
                    }
                    ledger = Some(Box::new(opened));
                }
                SinkKind::Sqlite { path, .. } => {
                    let tables = plan.tables().to_vec();
                    let mut opened = SqliteLedger::new(&sink.name, &pipeline.name, path, tables)
                        .map_err(sink_error(&sink.name))?;
                    if !pipeline.takeover {
                        opened = opened.waiting_for_the_owner();
                    }
                    if let DeadLetters::Table { table } = &pipeline.dead_letters {
                        let keeping = opened.keeping_letters(table, topic);
                        opened = keeping.map_err(sink_error("dead letters"))?;
                    }
                    ledger = Some(Box::new(opened));
                }
                SinkKind::Elasticsearch { url, timeout, .. } => {
                    let indices = plan.indices(&sink.name).to_vec();
                    let opened =
                        ElasticsearchSink::giving_up_after(*timeout, &sink.name, url, indices)
                            .map_err(sink_error(&sink.name))?;
                    sinks.push(Box::new(opened.noting_in(waits)));
                }
            }
        }
        Ok(Self {
            open_source,
            ledger: ledger.expect("a validated pipeline has one sink that keeps the journal"),
            sinks,
            dead_letters,
            checkpoints: {
                let (location, name) =
                    (pipeline.checkpoint.location.clone(), pipeline.name.clone());
                Box::new(move |life| CheckpointStore::open(&location, &name, life))
            },
        })
    }
}
