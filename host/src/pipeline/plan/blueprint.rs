//! What a plan is made of, written down; and the plan made of it again.
//!
//! # Invariants
//!
//! Two plans have the same `logic` exactly if they make the same rows and states of the same records,
//! in the same tables. How fast, and where the servers are, makes no difference.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::build::Builder;
use super::{Plan, Stage};
use crate::config::{self, ColumnFrom, Look, Projection, SinkKind, TableColumn};
use crate::deployment::Blueprint;
use crate::guest::hex;
use crate::reload::Files;

impl Plan {
    /// What it takes to make it again.
    #[must_use]
    pub fn blueprint(&self) -> &Blueprint {
        &self.blueprint
    }

    /// The files of its components, by their digests.
    #[must_use]
    pub fn binaries(&self) -> Vec<(String, Arc<[u8]>)> {
        let mut binaries: BTreeMap<&str, &Arc<[u8]>> = BTreeMap::new();
        for stage in self.stages() {
            binaries.insert(stage.component.digest(), stage.component.binary());
        }
        let owned = binaries.into_iter();
        owned
            .map(|(digest, binary)| (digest.to_owned(), Arc::clone(binary)))
            .collect()
    }

    /// A plan of the pipeline's files as they are now.
    ///
    /// # Errors
    ///
    /// What is wrong with them, for a person.
    pub fn read_again(&self) -> Result<Self, String> {
        let read = self.pipeline.written.read_file_again();
        let (pipeline, mut diagnostics) =
            read.map_err(|diagnostics| diagnostics.render(Look::Plain))?;
        match Self::build(&pipeline, &self.engine, &mut diagnostics) {
            Some(plan) => Ok(plan),
            None => Err(diagnostics.render(Look::Plain)),
        }
    }

    /// The files that it is made of, to be watched; none where the pipeline wants no watching.
    #[must_use]
    pub fn files(&self) -> Files {
        if !self.pipeline.reload.watch {
            return Files::new();
        }
        let written = &self.pipeline.written;
        let text = hex(&Sha256::digest(written.text.as_bytes()));
        let mut files = Files::from([(written.file_name().into(), Some(text))]);
        for (name, component) in &self.pipeline.components {
            let digest = self.blueprint.components.get(name).cloned();
            files.insert(component.path.clone(), digest);
        }
        files
    }

    /// Another version of the same pipeline, made of what was kept of it.
    ///
    /// # Errors
    ///
    /// Why it cannot be made, for a person.
    pub fn sibling(
        &self,
        blueprint: &Blueprint,
        binaries: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Self, String> {
        let read = self.pipeline.written.read_again(&blueprint.pipeline);
        let (mut pipeline, mut diagnostics) =
            read.map_err(|diagnostics| diagnostics.render(Look::Plain))?;
        let config = |stage: &str| blueprint.configs.get(stage).cloned();
        for transform in &mut pipeline.transforms {
            transform.config = config(&transform.name).unwrap_or_default();
        }
        for aggregate in &mut pipeline.aggregates {
            aggregate.config = config(&aggregate.name).unwrap_or_default();
        }
        let mut kept = BTreeMap::new();
        for (component, digest) in &blueprint.components {
            let binary = binaries.get(digest);
            let binary = binary.ok_or_else(|| format!("component `{component}` is missing"))?;
            kept.insert(component.clone(), binary.clone());
        }
        pipeline
            .components
            .retain(|name, _| kept.contains_key(name));
        let builder = Builder::new(&pipeline, &self.engine, &mut diagnostics);
        let Some(plan) = builder.build(Some(kept)) else {
            return Err(diagnostics.render(Look::Plain));
        };
        if plan.blueprint.logic != blueprint.logic {
            return Err(
                "with the environment variables that are set now it is another one".to_owned(),
            );
        }
        Ok(plan)
    }
}

/// What `plan`, which is complete but for this, is made of, and what its rows and states depend on.
pub(super) fn of(plan: &Plan) -> (Blueprint, Value) {
    let mut components = BTreeMap::new();
    let mut configs = Map::new();
    for stage in plan.stages() {
        let component = &stage.component;
        components.insert(component.name().to_owned(), component.digest().to_owned());
        configs.insert(stage.name.to_string(), stage.config.clone());
    }
    let states = plan.aggregates.iter().map(|(stage, aggregation)| {
        let definition = aggregation.layout.definition();
        (stage.name.to_string(), definition)
    });
    let states = Value::Object(states.collect());
    let logic = logic(plan, &states);
    let digest = Sha256::digest(logic.to_string());
    let blueprint = Blueprint {
        pipeline: plan.pipeline.written.text.to_string(),
        components,
        configs: Value::Object(configs),
        states,
        logic: hex(&digest),
    };
    (blueprint, logic)
}

/// Everything that rows and states depend on, by names.
fn logic(plan: &Plan, states: &Value) -> Value {
    let source = &plan.pipeline.source;
    let columns = source.columns.iter().map(|column| {
        let from = match &column.from {
            ColumnFrom::Json(path) => path.join("."),
            special => format!("@{special:?}").to_lowercase(),
        };
        let ty = if column.nullable {
            format!("{} or null", column.ty)
        } else {
            column.ty.to_string()
        };
        (column.name.clone(), json!({ "from": from, "type": ty }))
    });
    let stage = |stage: &Stage| {
        let logic = json!({
            "from": &*plan.streams[stage.from].name,
            "component": {
                "name": stage.component.name(),
                "sha256": stage.component.digest(),
            },
            "config": stage.config,
            "limits": {
                "memory": stage.limits.memory,
                "time_ms": stage.limits.time.as_millis() as u64,
                "output": stage.limits.output,
            },
        });
        (stage.name.to_string(), logic)
    };
    let aggregates = plan.aggregates.iter().map(|(of, _)| {
        let (name, mut logic) = stage(of);
        logic["states"] = states[&name].clone();
        (name, logic)
    });
    let order: Vec<&str> = plan.stages().map(|stage| &*stage.name).collect();
    let sinks = plan.pipeline.sinks.iter();
    json!({
        "columns": columns.collect::<Map<_, _>>(),
        "transform": plan.transforms.iter().map(stage).collect::<Map<_, _>>(),
        "aggregate": aggregates.collect::<Map<_, _>>(),
        "order": order,
        "sink": sinks.map(|sink| (sink.name.clone(), targets(sink))).collect::<Map<_, _>>(),
    })
}

fn targets(sink: &config::Sink) -> Value {
    let targets: Map<String, Value> = match &sink.kind {
        SinkKind::Postgres { tables, .. } | SinkKind::Sqlite { tables, .. } => {
            let table = |table: &config::Table| {
                let ignores = table.on_conflict == config::OnConflict::Ignore;
                let target = json!({
                    "from": table.from,
                    "key": table.key,
                    "columns": columns(table.columns.as_deref()),
                    "on_conflict": if ignores { "ignore" } else { "update" },
                });
                (table.table.clone(), target)
            };
            tables.iter().map(table).collect()
        }
        SinkKind::Elasticsearch { indices, .. } => {
            let index = |index: &config::Index| {
                let target = json!({
                    "from": index.from,
                    "id": index.id,
                    "columns": columns(index.columns.as_deref()),
                });
                (index.index.clone(), target)
            };
            indices.iter().map(index).collect()
        }
    };
    Value::Object(targets)
}

fn columns(columns: Option<&[TableColumn]>) -> Value {
    let column = |column: &TableColumn| {
        let value = match &column.value {
            Projection::Column(from) => from.clone(),
            Projection::Date(from) => format!("date({from})"),
            Projection::Year(from) => format!("year({from})"),
            Projection::Month(from) => format!("month({from})"),
        };
        (column.name.clone(), Value::String(value))
    };
    let columns = columns.map(|columns| columns.iter().map(column).collect());
    columns.map_or(Value::Null, Value::Object)
}
