//! What does not fit together, as reports: each mistake at its place in `pipeline.toml`, with what to
//! do about it.
//!
//! # Not here
//!
//! Finding the mistakes: [`super::build`].

use crate::aggregate::LayoutError;
use crate::config::{self, Diagnostic, Places, Span, TableColumn, did_you_mean, list};
use crate::guest::{CallError, ConfigureError, LoadError};
use crate::schema::{DataType, DuplicateColumn, Field};
use crate::sink::elasticsearch::IndexError;
use crate::sink::projection::ProjectionError;
use crate::sink::table::TableError;

use super::Stream;

/// A component that cannot be loaded.
pub(super) fn component(
    places: &Places,
    name: &str,
    component: &config::Component,
    error: &LoadError,
) -> Diagnostic {
    let place = places.find(&component.span, "path");
    let report = Diagnostic::error(format!("component `{name}`: {error}")).at(&place);
    match error {
        LoadError::Missing { .. } => {
            report.help("build it, or correct the path, which begins at the folder of this file")
        }
        LoadError::NotWasm { .. } | LoadError::TooLarge { .. } => {
            report.help("name the `.wasm` file that its build makes")
        }
        LoadError::OtherVersion { .. } => {
            report.help("build it again, with the contract that belongs to this host")
        }
        LoadError::UnknownImport { .. } => {
            report.help("what it needs comes to it in `config` and in columns")
        }
        LoadError::Unreadable { .. }
        | LoadError::CoreModule { .. }
        | LoadError::Invalid { .. }
        | LoadError::WrongWorld { .. }
        | LoadError::BothWorlds { .. }
        | LoadError::WrongType { .. } => report,
    }
}

/// A stage that its component does not go with. `what` names the stage.
pub(super) fn stage(
    places: &Places,
    what: &str,
    component: &str,
    span: &Span,
    error: &ConfigureError,
) -> Diagnostic {
    let at = |key| Diagnostic::error(format!("{what}: {error}")).at(&places.find(span, key));
    match error {
        ConfigureError::WrongKind { found, due } => Diagnostic::error(format!(
            "{what}: component `{component}` is {found}, and {due} is due here"
        ))
        .at(&places.find(span, "component"))
        .help(format!(
            "name a component that is {due}, or make this stage {found}"
        )),
        ConfigureError::Refused(_) => at("config"),
        ConfigureError::MissingColumn { .. } => at("from"),
        ConfigureError::Failed(
            CallError::TimedOut(_) | CallError::MemoryExceeded(_) | CallError::OutputExceeded(_),
        ) => at("component").help("the bound is one of the component's `limits`"),
        ConfigureError::Failed(_) | ConfigureError::Contract(_) | ConfigureError::Changed => {
            at("component")
        }
    }
}

/// An aggregate whose key or window does not suit the stream that it reads.
pub(super) fn layout(
    places: &Places,
    aggregate: &config::Aggregate,
    input: &Stream,
    error: &LayoutError,
) -> Diagnostic {
    let config::Aggregate {
        name, key, span, ..
    } = aggregate;
    let key_place = |column: &str| key_place(places, span, key, column);
    let time_place = || places.find(span, "window.time");
    let times = || {
        names(input, |field| {
            field.ty == DataType::Timestamp && !field.nullable
        })
    };
    let report = Diagnostic::error(format!("aggregate `{name}`: {error}"));
    match error {
        LayoutError::NoKeyColumn(column) => {
            let report = report.at(&key_place(column));
            missing(report, column, names(input, |_| true))
        }
        LayoutError::NoTimeColumn(column) => missing(report.at(&time_place()), column, times()),
        LayoutError::NoTime { column, .. } => {
            let report = report.at(&time_place());
            let index = input.schema.index_of(column);
            if index.is_some_and(|index| input.schema.fields()[index].ty == DataType::Timestamp) {
                report.help(
                    "declare it without `nullable`: records that lack it are dead letters then",
                )
            } else {
                report.help(there_is(times()))
            }
        }
        LayoutError::Duplicate(DuplicateColumn(column)) => {
            let place = if key.contains(column) {
                key_place(column)
            } else {
                places.find(span, "window")
            };
            report.at(&place).help(
                "the component returns a column of this name: call one of them something else",
            )
        }
    }
}

/// A column of a table or index that cannot be computed from the stream. `span` is that of the table
/// or index.
pub(super) fn column(
    places: &Places,
    span: &Span,
    column: &TableColumn,
    stream: &Stream,
    error: &ProjectionError,
) -> Diagnostic {
    let place = places.find(span, &format!("columns.{}", column.name));
    match error {
        ProjectionError::UnknownColumn(name) => {
            let message = format!("stream `{}` has no column `{name}`", stream.name);
            let report = Diagnostic::error(message).at(&place);
            missing(report, name, names(stream, |_| true))
        }
        ProjectionError::WrongType { .. } | ProjectionError::Duplicate(_) => {
            Diagnostic::error(error.to_string()).at(&place)
        }
    }
}

/// A table that its stream cannot fill.
pub(super) fn table(places: &Places, table: &config::Table, error: &TableError) -> Diagnostic {
    let report = Diagnostic::error(error.to_string());
    let key = |column: &str| key_place(places, &table.span, &table.key, column);
    let at = |path: &str| places.find(&table.span, path);
    match error {
        TableError::KeyMissing { column, known, .. } => report
            .at(&key(column))
            .label_if(did_you_mean(column, known.iter().map(String::as_str))),
        TableError::KeyNullable { column, .. } => report.at(&key(column)),
        TableError::Key(_) => report.at(&at("key")),
        TableError::Name(name) if *name == table.table => report.at(&at("table")),
        TableError::Name(name) => report.at(&at(&format!("columns.{name}"))),
        TableError::Projection { .. } => report.at(&at("columns")),
    }
}

/// An index that its stream cannot fill.
pub(super) fn index(places: &Places, index: &config::Index, error: &IndexError) -> Diagnostic {
    let report = Diagnostic::error(error.to_string());
    let at = |path: &str| places.find(&index.span, path);
    match error {
        IndexError::IdMissing { field, known, .. } => missing(
            report.at(&at("id")),
            field,
            known.iter().map(String::as_str).collect(),
        ),
        IndexError::IdType { .. } | IndexError::IdNullable { .. } => report.at(&at("id")),
        IndexError::Name { .. } => report.at(&at("index")),
        IndexError::FieldName(name) => report.at(&at(&format!("columns.{name}"))),
        IndexError::Projection { .. } => report.at(&at("columns")),
    }
}

/// Says which names there are, and which of them was probably meant.
fn missing(report: Diagnostic, name: &str, known: Vec<&str>) -> Diagnostic {
    report
        .label_if(did_you_mean(name, known.iter().copied()))
        .help(there_is(known))
}

fn there_is(known: Vec<&str>) -> String {
    format!("there is {}", list(known))
}

/// The columns of a stream that are `wanted`.
fn names(stream: &Stream, wanted: impl Fn(&Field) -> bool) -> Vec<&str> {
    let fields = stream.schema.fields().iter();
    fields
        .filter(|field| wanted(field))
        .map(|field| field.name.as_str())
        .collect()
}

/// Where a column stands in the `key` of an item.
fn key_place(places: &Places, item: &Span, key: &[String], column: &str) -> Span {
    match key.iter().position(|name| name == column) {
        Some(index) => places.find(item, &format!("key.{index}")),
        None => places.find(item, "key"),
    }
}
