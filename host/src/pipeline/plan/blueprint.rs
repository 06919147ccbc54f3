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
use super::{Plan, definition};
use crate::config::{self, ColumnFrom, Look, Pipeline, Projection, SinkKind, TableColumn};
use crate::deployment::Blueprint;
use crate::schema::{Field, Schema};

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

    /// Another version of the same pipeline, made of what was kept of it.
    ///
    /// # Errors
    ///
    /// Why it cannot be made, for a person.
    pub fn sibling(
        &self,
        blueprint: &Blueprint,
        binaries: &BTreeMap<String, Vec<u8>>,
    ) -> Result<(Pipeline, Self), String> {
        let read = self.written.read_again(&blueprint.pipeline);
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
        Ok((pipeline, plan))
    }
}

/// What `plan`, which is complete but for this, is made of.
pub(super) fn of(plan: &Plan, pipeline: &Pipeline) -> Blueprint {
    let mut components = BTreeMap::new();
    let mut configs = Map::new();
    for stage in plan.stages() {
        let component = &stage.component;
        components.insert(component.name().to_owned(), component.digest().to_owned());
        configs.insert(stage.name.to_string(), stage.config.clone());
    }
    let states = plan
        .aggregates
        .iter()
        .map(|(stage, aggregation)| (stage.name.to_string(), aggregation.layout.definition()));
    let states = Value::Object(states.collect());
    let digest = Sha256::digest(logic(plan, pipeline, &states).to_string());
    Blueprint {
        pipeline: pipeline.written.text.to_string(),
        components,
        configs: Value::Object(configs),
        states,
        logic: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// Everything that rows and states depend on.
fn logic(plan: &Plan, pipeline: &Pipeline, states: &Value) -> Value {
    let described = |schema: &Schema| {
        let fields = schema.fields().iter();
        fields.map(Field::described).collect::<Vec<_>>()
    };
    let columns = pipeline.source.columns.iter().map(|column| {
        let from = match &column.from {
            ColumnFrom::Json(path) => path.join("."),
            special => format!("@{special:?}"),
        };
        json!([column.name, from, column.ty.to_string(), column.nullable])
    });
    let stages = plan.stages().map(|stage| {
        json!({
            "name": &*stage.name,
            "from": &*plan.streams[stage.from].name,
            "component": stage.component.digest(),
            "config": stage.config,
            "limits": {
                "memory": stage.limits.memory,
                "time_us": stage.limits.time.as_micros() as u64,
                "output": stage.limits.output,
            },
        })
    });
    let deduplicate = plan.source.deduplicate.as_ref();
    json!({
        "columns": columns.collect::<Vec<_>>(),
        "deduplicate": deduplicate.map(|d| definition(d, &plan.source.schema)),
        "stages": stages.collect::<Vec<_>>(),
        "streams": plan.streams.iter().map(|s| described(&s.schema)).collect::<Vec<_>>(),
        "states": states,
        "sinks": pipeline.sinks.iter().map(sink).collect::<Vec<_>>(),
    })
}

fn sink(sink: &config::Sink) -> Value {
    let targets: Vec<Value> = match &sink.kind {
        SinkKind::Postgres { tables, .. } | SinkKind::Sqlite { tables, .. } => {
            let table = |table: &config::Table| {
                let columns = columns(table.columns.as_deref());
                let ignores = table.on_conflict == config::OnConflict::Ignore;
                json!([table.from, table.table, table.key, columns, ignores])
            };
            tables.iter().map(table).collect()
        }
        SinkKind::Elasticsearch { indices, .. } => {
            let index = |index: &config::Index| {
                let columns = columns(index.columns.as_deref());
                json!([index.from, index.index, index.id, columns])
            };
            indices.iter().map(index).collect()
        }
    };
    json!([sink.name, targets])
}

fn columns(columns: Option<&[TableColumn]>) -> Value {
    let column = |column: &TableColumn| {
        let (how, from) = match &column.value {
            Projection::Column(from) => ("column", from),
            Projection::Date(from) => ("date", from),
            Projection::Year(from) => ("year", from),
            Projection::Month(from) => ("month", from),
        };
        json!([column.name, how, from])
    };
    columns.map_or(Value::Null, |columns| columns.iter().map(column).collect())
}
