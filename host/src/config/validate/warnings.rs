//! What is no error and yet probably not meant.

use crate::config::{Diagnostic, Pipeline, SinkKind};

/// Components that no stage names, and streams that nobody reads.
pub(super) fn warnings(pipeline: &Pipeline) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    for (name, component) in &pipeline.components {
        let transforms = pipeline.transforms.iter().map(|stage| &stage.component);
        let aggregates = pipeline.aggregates.iter().map(|stage| &stage.component);
        if !transforms.chain(aggregates).any(|used| used == name) {
            let message = format!("no stage has the component `{name}`");
            warnings.push(Diagnostic::warning(message).at(&component.span));
        }
    }
    let transforms = pipeline.transforms.iter().map(|t| (&t.name, &t.span));
    let aggregates = pipeline.aggregates.iter().map(|a| (&a.name, &a.span));
    for (name, span) in transforms.chain(aggregates) {
        if !readers(pipeline).any(|from| from == name) {
            let place = pipeline.places.find(span, "name");
            warnings.push(Diagnostic::warning("nothing reads this stream").at(&place));
        }
    }
    warnings
}

/// The `from` of every stage, table and index.
fn readers(pipeline: &Pipeline) -> impl Iterator<Item = &String> {
    let transforms = pipeline.transforms.iter().map(|stage| &stage.from);
    let aggregates = pipeline.aggregates.iter().map(|stage| &stage.from);
    let sinks = pipeline.sinks.iter().flat_map(|sink| -> Vec<&String> {
        match &sink.kind {
            SinkKind::Postgres { tables, .. } | SinkKind::Sqlite { tables, .. } => {
                tables.iter().map(|table| &table.from).collect()
            }
            SinkKind::Elasticsearch { indices, .. } => {
                indices.iter().map(|index| &index.from).collect()
            }
        }
    });
    transforms.chain(aggregates).chain(sinks)
}
