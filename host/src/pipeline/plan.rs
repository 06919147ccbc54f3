//! What a pipeline comes to once its components are loaded: streams with their schemas, stages,
//! tables. Everything that can be wrong before the first record is found here.

mod answers;
mod blame;
mod blueprint;
mod build;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::json;

pub use self::answers::Answers;
use self::build::Builder;
use super::chain::{self, Chain, Screening, StageNames};
use super::monitor::{Outline, StageGuest};
use super::topology::Stages;
use crate::aggregate::{AggregateStage, Layout, StateTable};
use crate::config::{self, Backfill, Diagnostics, Pipeline, SourceKind};
use crate::decode::Decoder;
use crate::deduplicate::Deduplicator;
use crate::deployment::Blueprint;
use crate::guest::{AggregateGuest, Component, ConfigureError, GuestEngine, TransformGuest};
use crate::schema::{Field, Schema};
use crate::sink::Targets;
use crate::sink::elasticsearch::IndexTarget;
use crate::sink::screen::{Bounds, Screen};
use crate::sink::table::TableTarget;
use crate::status::ComponentStatus;
use crate::transform::TransformStage;

/// The stream that the source makes.
const SOURCE: &str = "source";

/// A pipeline that fits together.
pub struct Plan {
    engine: GuestEngine,
    answers: Arc<dyn Answers>,
    pipeline: Pipeline,
    blueprint: Blueprint,
    /// what rows and states depend on
    logic: serde_json::Value,
    streams: Vec<Stream>,
    transforms: Vec<Stage>,
    aggregates: Vec<(Stage, Aggregation)>,
    /// the name of the sink that has the tables
    ledger: String,
    /// what these can hold
    bounds: &'static Bounds,
    targets: Arc<Targets>,
    /// names of the streams that some sink takes
    shown: BTreeSet<String>,
}

/// A stream of rows.
#[derive(Debug, Clone)]
pub struct Stream {
    /// `source`, or the name of the stage that makes it
    pub name: Arc<str>,
    /// its columns
    pub schema: Schema,
}

#[derive(Clone)]
struct Stage {
    name: Arc<str>,
    from: usize,
    component: Component,
    config: serde_json::Value,
    limits: config::Limits,
}

struct Aggregation {
    layout: Layout,
}

impl Plan {
    /// Loads the components and fits everything together; `None` when something does not, and then
    /// `diagnostics` has every error.
    pub fn build(
        pipeline: &Pipeline,
        engine: &GuestEngine,
        diagnostics: &mut Diagnostics,
    ) -> Option<Self> {
        Builder::new(pipeline, engine, diagnostics).build(None)
    }

    /// The same plan, with other answers to the calls of its stages: for measurements, as a plan that is made
    /// of its files again has its guests' own.
    #[must_use]
    pub fn answered_by(mut self, answers: Arc<dyn Answers>) -> Self {
        self.answers = answers;
        self
    }

    /// What it is a plan of.
    #[must_use]
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// What rows and states depend on.
    pub(super) fn logic(&self) -> &serde_json::Value {
        &self.logic
    }

    /// Every stream with its columns: the source, then transforms, then aggregates.
    #[must_use]
    pub fn streams(&self) -> &[Stream] {
        &self.streams
    }

    /// The tables of the ledger.
    #[must_use]
    pub fn tables(&self) -> &[TableTarget] {
        &self.targets.tables
    }

    /// The indices of the sink of this name.
    #[must_use]
    pub fn indices(&self, sink: &str) -> &[IndexTarget] {
        self.targets.indices(sink)
    }

    /// The name of the sink that keeps the journal.
    #[must_use]
    pub fn ledger(&self) -> &str {
        &self.ledger
    }

    /// What cannot change in the life of a pipeline: kept by the ledger and compared at every start.
    #[must_use]
    pub fn definition(&self) -> serde_json::Value {
        let mut source = match &self.pipeline.source.kind {
            SourceKind::Kafka(kafka) => json!({ "topic": kafka.topic }),
            SourceKind::Generator(generator) => json!({
                "generator": {
                    "partitions": generator.partitions,
                    "seed": generator.seed,
                    "days": generator.days,
                    "bad_share": generator.bad_share,
                    "duplicates": generator.duplicates,
                }
            }),
            SourceKind::File { paths } => {
                let names = paths.iter().filter_map(|path| path.file_name());
                json!({ "files": names.map(|n| n.to_string_lossy()).collect::<Vec<_>>() })
            }
        };
        if let Some(deduplicate) = &self.pipeline.source.deduplicate {
            source["deduplicate"] = definition(deduplicate, &self.pipeline.source.schema);
        }
        json!({ "source": source })
    }

    /// What is told of it.
    pub(super) fn outline(&self) -> Outline {
        let name = |stage: &Stage| stage.name.to_string();
        let tables = self
            .targets
            .tables
            .iter()
            .map(|table| table.from().to_owned());
        let mut takes = BTreeMap::from([(self.ledger.clone(), tables.collect::<Vec<_>>())]);
        for (sink, indices) in &self.targets.indices {
            let from = indices.iter().map(|index| index.from.clone());
            takes.insert(sink.clone(), from.collect());
        }
        Outline {
            transforms: self.transforms.iter().map(name).collect(),
            aggregates: self
                .aggregates
                .iter()
                .map(|(stage, _)| name(stage))
                .collect(),
            takes,
            guests: self.guests(),
            components: self.components(),
        }
    }

    /// Each guest in its place, in the order of the data flow.
    fn guests(&self) -> Vec<StageGuest> {
        let guest = |stage: &Stage| StageGuest {
            stage: Arc::clone(&stage.name),
            component: stage.component.name().to_owned(),
            memory_max: stage.limits.memory,
            meter: stage.component.meter(&stage.name),
        };
        self.stages().map(guest).collect()
    }

    /// What each component imports, by its name.
    pub(crate) fn imports(&self) -> BTreeMap<String, Vec<String>> {
        let components = self.stages().map(|stage| &stage.component);
        components
            .map(|component| (component.name().to_owned(), component.imports()))
            .collect()
    }

    /// The components that stages run.
    pub(crate) fn components(&self) -> Vec<ComponentStatus> {
        let mut components: Vec<ComponentStatus> = Vec::new();
        for stage in self.stages() {
            let name = stage.component.name();
            let known = components.iter_mut().find(|known| known.name == name);
            if let Some(known) = known {
                known.stages.push(stage.name.to_string());
                continue;
            }
            let version = match stage.component.describe() {
                Ok(description) => description.version,
                Err(error) => {
                    tracing::warn!(component = name, %error, "its version is not known");
                    String::new()
                }
            };
            components.push(ComponentStatus {
                name: name.to_owned(),
                version,
                digest: stage.component.digest().to_owned(),
                stages: vec![stage.name.to_string()],
            });
        }
        components
    }

    fn stages(&self) -> impl Iterator<Item = &Stage> {
        let aggregates = self.aggregates.iter().map(|(stage, _)| stage);
        self.transforms.iter().chain(aggregates)
    }

    /// A worker's stages, with guests of their own: for all sinks, or for one of those behind the
    /// ledger.
    fn chain_for(&self, sink: Option<&str>) -> Result<Chain, ConfigureError> {
        let mut transforms = Vec::with_capacity(self.transforms.len());
        for stage in &self.transforms {
            let guest = stage.transform(&self.streams[stage.from].schema)?;
            let logic = self.answers.transform(&stage.name, guest);
            transforms.push(chain::Transform {
                from: stage.from,
                stage: TransformStage::new(&*stage.name, logic),
                names: stage.names(),
            });
        }
        let mut aggregates = Vec::with_capacity(self.aggregates.len());
        for (stage, aggregation) in self.aggregates_for(sink) {
            let guest = stage.aggregate(&self.streams[stage.from].schema)?;
            let needs = guest.contract().needs.clone();
            let call_bytes_max = guest.input_bytes_max();
            aggregates.push(chain::Aggregate {
                from: stage.from,
                stage: AggregateStage::new(
                    Arc::clone(&stage.name),
                    self.answers.aggregate(&stage.name, guest),
                    needs,
                    &aggregation.layout,
                    call_bytes_max,
                ),
                names: stage.names(),
                is_only_asked: false,
                begin: None,
            });
        }
        // For one of them, the journal says which records are left out.
        let everything = sink.is_none();
        let deduplicate = self
            .pipeline
            .source
            .deduplicate
            .as_ref()
            .filter(|_| everything);
        let row_streams = self.streams[..=self.transforms.len()].iter().enumerate();
        let shown = row_streams
            .filter(|(_, stream)| self.shows(sink, &stream.name))
            .map(|(index, stream)| (index, Arc::clone(&stream.name)));
        Ok(Chain {
            decoder: Decoder::new(&self.pipeline.source.columns),
            deduplicator: deduplicate.map(|d| Deduplicator::new(d, &self.pipeline.source.schema)),
            transforms,
            aggregates,
            screens: if everything {
                self.screens()
            } else {
                Vec::new()
            },
            shown: shown.collect(),
        })
    }

    /// What keeps the tables' rows storable, for each stream that reaches one of them: as its rows,
    /// or as the key of an aggregate that reads it.
    fn screens(&self) -> Vec<Screening> {
        let row_streams = &self.streams[..=self.transforms.len()];
        let mut screens: Vec<Screen> = row_streams
            .iter()
            .map(|stream| Screen::new(&stream.schema, self.bounds))
            .collect();
        for target in &self.targets.tables {
            let mut aggregates = self.aggregates.iter();
            if let Some(from) = row_streams.iter().position(|s| *s.name == *target.from()) {
                screens[from].add(target, 0..row_streams[from].schema.fields().len());
            } else if let Some((stage, aggregation)) =
                aggregates.find(|(stage, _)| *stage.name == *target.from())
            {
                let key = aggregation.layout.key_indices();
                screens[stage.from].add(target, key.iter().copied());
            }
        }
        let needed = screens.into_iter().enumerate();
        let needed = needed.filter(|(_, screen)| !screen.is_empty());
        needed
            .map(|(from, screen)| Screening {
                from,
                screen,
                names: StageNames {
                    stage: self.ledger.as_str().into(),
                    component: None,
                },
            })
            .collect()
    }

    /// Whether some sink takes the rows of a stream, or a certain one of those behind the ledger.
    fn shows(&self, sink: Option<&str>, stream: &str) -> bool {
        match sink {
            None => self.shown.contains(stream),
            Some(sink) => self.indices(sink).iter().any(|index| index.from == stream),
        }
    }

    /// The aggregates; for one sink, those whose rows it takes.
    fn aggregates_for(&self, sink: Option<&str>) -> impl Iterator<Item = &(Stage, Aggregation)> {
        let aggregates = self.aggregates.iter();
        aggregates.filter(move |(stage, _)| sink.is_none() || self.shows(sink, &stage.name))
    }

    /// The tables of states, with guests of their own, and whether a sink takes their rows.
    fn states_for(&self, sink: Option<&str>) -> Result<Vec<(StateTable, bool)>, ConfigureError> {
        let table = |(stage, aggregation): &(Stage, Aggregation)| {
            let guest = stage.aggregate(&self.streams[stage.from].schema)?;
            let call_bytes_max = guest.input_bytes_max();
            let table = StateTable::new(
                Arc::clone(&stage.name),
                aggregation.layout.clone(),
                self.answers.aggregate(&stage.name, guest),
                call_bytes_max,
            );
            Ok((table, self.shows(sink, &stage.name)))
        };
        self.aggregates_for(sink).map(table).collect()
    }
}

impl Stages for Plan {
    fn definition(&self) -> serde_json::Value {
        self.definition()
    }

    fn blueprint(&self) -> Blueprint {
        self.blueprint.clone()
    }

    fn binaries(&self) -> Vec<(String, Arc<[u8]>)> {
        self.binaries()
    }

    fn sibling(
        &self,
        blueprint: &Blueprint,
        binaries: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Arc<dyn Stages>, String> {
        Ok(Arc::new(self.sibling(blueprint, binaries)?))
    }

    fn plan(self: Arc<Self>) -> Option<Arc<Plan>> {
        Some(self)
    }

    fn targets(&self) -> Arc<Targets> {
        Arc::clone(&self.targets)
    }

    fn ledger(&self) -> &str {
        self.ledger()
    }

    fn chain(&self) -> Result<Chain, ConfigureError> {
        self.chain_for(None)
    }

    fn states(&self) -> Result<Vec<(StateTable, bool)>, ConfigureError> {
        self.states_for(None)
    }

    fn backfilled(&self) -> BTreeSet<String> {
        let aggregates = self.pipeline.aggregates.iter();
        let backfilled = aggregates.filter(|a| a.backfill == Backfill::Earliest);
        backfilled.map(|a| a.name.clone()).collect()
    }

    fn of_sink(self: Arc<Self>, sink: &str) -> Arc<dyn Stages> {
        let sink = sink.to_owned();
        Arc::new(OfSink { plan: self, sink })
    }
}

/// What one of the sinks behind the ledger needs of a plan.
struct OfSink {
    plan: Arc<Plan>,
    sink: String,
}

impl Stages for OfSink {
    fn definition(&self) -> serde_json::Value {
        self.plan.definition()
    }

    fn blueprint(&self) -> Blueprint {
        self.plan.blueprint.clone()
    }

    fn binaries(&self) -> Vec<(String, Arc<[u8]>)> {
        self.plan.binaries()
    }

    fn sibling(
        &self,
        blueprint: &Blueprint,
        binaries: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Arc<dyn Stages>, String> {
        let plan = Arc::new(self.plan.sibling(blueprint, binaries)?);
        Ok(plan.of_sink(&self.sink))
    }

    fn plan(self: Arc<Self>) -> Option<Arc<Plan>> {
        Some(Arc::clone(&self.plan))
    }

    fn targets(&self) -> Arc<Targets> {
        Arc::clone(&self.plan.targets)
    }

    fn ledger(&self) -> &str {
        self.plan.ledger()
    }

    fn chain(&self) -> Result<Chain, ConfigureError> {
        self.plan.chain_for(Some(&self.sink))
    }

    fn states(&self) -> Result<Vec<(StateTable, bool)>, ConfigureError> {
        self.plan.states_for(Some(&self.sink))
    }

    fn backfilled(&self) -> BTreeSet<String> {
        self.plan.backfilled()
    }

    fn of_sink(self: Arc<Self>, sink: &str) -> Arc<dyn Stages> {
        Arc::clone(&self.plan).of_sink(sink)
    }
}

/// What the fingerprints that are remembered depend on, and which duplicates are found by them.
fn definition(deduplicate: &config::Deduplicate, schema: &Schema) -> serde_json::Value {
    let column = |name: &String| {
        let field = schema.index_of(name).map(|index| &schema.fields()[index]);
        field.map(Field::described)
    };
    json!({
        "key": deduplicate.key.iter().filter_map(column).collect::<Vec<_>>(),
        "last": deduplicate.last,
    })
}

impl Stage {
    fn transform(&self, input: &Schema) -> Result<TransformGuest, ConfigureError> {
        self.component
            .transform(&self.name, input, &self.config, &self.limits)
    }

    fn aggregate(&self, input: &Schema) -> Result<AggregateGuest, ConfigureError> {
        self.component
            .aggregate(&self.name, input, &self.config, &self.limits)
    }

    fn names(&self) -> StageNames {
        StageNames {
            stage: Arc::clone(&self.name),
            component: Some(self.component.name().into()),
        }
    }
}
