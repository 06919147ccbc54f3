//! How a plan is made: components loaded, contracts resolved, every column found.
//!
//! A stage that does not fit is left out with its error, and so are those that read it, without one
//! of their own.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::slice;
use std::sync::Arc;

use super::answers::Guests;
use super::{Aggregation, Plan, SOURCE, Stage, Stream, blame, blueprint};
use crate::aggregate::{Layout, StateKind};
use crate::config::{self, Diagnostic, Diagnostics, Pipeline, SinkKind, Span, TableColumn};
use crate::deployment::Blueprint;
use crate::guest::{Component, GuestEngine};
use crate::schema::Schema;
use crate::sink::Targets;
use crate::sink::elasticsearch::IndexTarget;
use crate::sink::projection::Projector;
use crate::sink::table::TableTarget;
use crate::sink::{postgres, sqlite};

/// A plan in the making.
pub(super) struct Builder<'a> {
    pipeline: &'a Pipeline,
    diagnostics: &'a mut Diagnostics,
    components: HashMap<&'a str, Component>,
    /// numbers of the streams that fit
    streams: HashMap<&'a str, usize>,
    targets: Targets,
    plan: Plan,
}

impl<'a> Builder<'a> {
    /// Nothing fits yet.
    pub(super) fn new(
        pipeline: &'a Pipeline,
        engine: &GuestEngine,
        diagnostics: &'a mut Diagnostics,
    ) -> Self {
        Self {
            pipeline,
            diagnostics,
            components: HashMap::new(),
            streams: HashMap::new(),
            targets: Targets::default(),
            plan: Plan {
                engine: engine.clone(),
                answers: Arc::new(Guests),
                pipeline: pipeline.clone(),
                blueprint: Blueprint::default(),
                logic: serde_json::Value::Null,
                streams: Vec::new(),
                transforms: Vec::new(),
                aggregates: Vec::new(),
                ledger: String::new(),
                bounds: &postgres::BOUNDS,
                targets: Arc::default(),
                shown: BTreeSet::new(),
            },
        }
    }

    /// See [`Plan::build`]; with the files of its components, where these were kept.
    pub(super) fn build(mut self, kept: Option<BTreeMap<String, Vec<u8>>>) -> Option<Plan> {
        self.load(kept);
        self.add_stream(SOURCE, self.pipeline.source.schema.clone());
        for transform in &self.pipeline.transforms {
            self.transform(transform);
        }
        for aggregate in &self.pipeline.aggregates {
            self.aggregate(aggregate);
        }
        for sink in &self.pipeline.sinks {
            self.sink(sink);
        }
        if self.diagnostics.has_errors() {
            return None;
        }
        self.plan.targets = Arc::new(self.targets);
        (self.plan.blueprint, self.plan.logic) = blueprint::of(&self.plan);
        Some(self.plan)
    }

    fn load(&mut self, mut kept: Option<BTreeMap<String, Vec<u8>>>) {
        let engine = self.plan.engine.clone();
        for (name, component) in &self.pipeline.components {
            let path = &component.path;
            let loaded = match kept.as_mut().and_then(|kept| kept.remove(name)) {
                Some(binary) => engine.load_binary(name, path, binary),
                None => engine.load(name, path),
            };
            match loaded {
                Ok(loaded) => {
                    self.components.insert(name, loaded);
                }
                Err(error) => {
                    let places = &self.pipeline.places;
                    self.diagnostics
                        .push(blame::component(places, name, component, &error));
                }
            }
        }
    }

    fn add_stream(&mut self, name: &'a str, schema: Schema) {
        self.streams.insert(name, self.plan.streams.len());
        self.plan.streams.push(Stream {
            name: name.into(),
            schema,
        });
    }

    /// The stage, if its component is loaded and the stream that it reads fits.
    fn stage(
        &self,
        name: &'a str,
        from: &str,
        component: &str,
        config: &serde_json::Value,
    ) -> Option<Stage> {
        Some(Stage {
            name: name.into(),
            from: *self.streams.get(from)?,
            component: self.components.get(component)?.clone(),
            config: config.clone(),
            limits: self.pipeline.components.get(component)?.limits,
        })
    }

    fn transform(&mut self, transform: &'a config::Transform) -> Option<()> {
        let config::Transform {
            name,
            from,
            component,
            config,
            span,
        } = transform;
        let stage = self.stage(name, from, component, config)?;
        match stage.transform(&self.plan.streams[stage.from].schema) {
            Ok(guest) => {
                self.add_stream(name, guest.contract().output.clone());
                self.plan.transforms.push(stage);
            }
            Err(error) => {
                let (places, what) = (&self.pipeline.places, format!("transform `{name}`"));
                self.diagnostics
                    .push(blame::stage(places, &what, component, span, &error));
            }
        }
        Some(())
    }

    fn aggregate(&mut self, aggregate: &'a config::Aggregate) -> Option<()> {
        let config::Aggregate {
            name,
            from,
            component,
            config,
            span,
            ..
        } = aggregate;
        let places = &self.pipeline.places;
        let stage = self.stage(name, from, component, config)?;
        if stage.from > self.plan.transforms.len() {
            let message = format!(
                "aggregate `{name}` reads aggregate `{from}`: an aggregate can read the source or a transform"
            );
            self.diagnostics
                .push(Diagnostic::error(message).at(&places.find(span, "from")));
            return None;
        }
        let input = &self.plan.streams[stage.from];
        let guest = match stage.aggregate(&input.schema) {
            Ok(guest) => guest,
            Err(error) => {
                let what = format!("aggregate `{name}`");
                self.diagnostics
                    .push(blame::stage(places, &what, component, span, &error));
                return None;
            }
        };
        let contract = guest.contract();
        let (key, window) = (&aggregate.key, &aggregate.window);
        match Layout::new(
            &input.schema,
            key,
            window,
            StateKind {
                columns: contract.state.clone(),
                version: contract.state_version,
            },
            &contract.output,
        ) {
            Ok(layout) => {
                self.add_stream(name, layout.output().clone());
                self.plan.aggregates.push((stage, Aggregation { layout }));
            }
            Err(error) => self
                .diagnostics
                .push(blame::layout(places, aggregate, input, &error)),
        }
        Some(())
    }

    fn sink(&mut self, sink: &'a config::Sink) {
        let places = &self.pipeline.places;
        match &sink.kind {
            SinkKind::Postgres { tables, .. } | SinkKind::Sqlite { tables, .. } => {
                self.plan.ledger.clone_from(&sink.name);
                if matches!(sink.kind, SinkKind::Sqlite { .. }) {
                    self.plan.bounds = &sqlite::BOUNDS;
                }
                for table in tables {
                    let columns = table.columns.as_deref();
                    let Some(stream) = self.taken(&table.from, &table.span, columns) else {
                        continue;
                    };
                    match TableTarget::new(table, &stream.schema) {
                        Ok(target) => {
                            let target = target.on_new_column(sink.kind.on_new_column());
                            self.targets.tables.push(target);
                        }
                        Err(error) => self.diagnostics.push(blame::table(places, table, &error)),
                    }
                }
            }
            SinkKind::Elasticsearch { indices, .. } => {
                let mut targets = Vec::with_capacity(indices.len());
                for index in indices {
                    let columns = index.columns.as_deref();
                    let Some(stream) = self.taken(&index.from, &index.span, columns) else {
                        continue;
                    };
                    match IndexTarget::new(index, &stream.schema) {
                        Ok(target) => targets.push(target),
                        Err(error) => self.diagnostics.push(blame::index(places, index, &error)),
                    }
                }
                self.targets.indices.insert(sink.name.clone(), targets);
            }
        }
    }

    /// The stream that a table or index at `span` takes, if the stream fits, and every one of the
    /// table's columns can be computed from it.
    fn taken(
        &mut self,
        from: &str,
        span: &Span,
        columns: Option<&[TableColumn]>,
    ) -> Option<Stream> {
        let stream = &self.plan.streams[*self.streams.get(from)?];
        self.plan.shown.insert(from.to_owned());
        let mut fits = true;
        for column in columns.unwrap_or_default() {
            if let Err(error) = Projector::new(&stream.schema, Some(slice::from_ref(column))) {
                let places = &self.pipeline.places;
                self.diagnostics
                    .push(blame::column(places, span, column, stream, &error));
                fits = false;
            }
        }
        fits.then(|| stream.clone())
    }
}
