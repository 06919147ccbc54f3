//! `[[sink]]`: where rows go.

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use super::stages::distinct_columns;
use super::streams::{By, Streams};
use super::{names, projection, twice};
use crate::config::reader::{Reader, Section, Text};
use crate::config::suggest::list;
use crate::config::{
    Diagnostic, Index, OnConflict, OnNewColumn, OnUnavailable, Secret, Sink, SinkKind, Span, Table,
    TableColumn,
};

/// What `timeout` of a server may be.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Postgres,
    Sqlite,
    Elasticsearch,
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Sqlite => "sqlite",
            Self::Elasticsearch => "elasticsearch",
        }
    }

    fn keeps_the_journal(self) -> bool {
        matches!(self, Self::Postgres | Self::Sqlite)
    }
}

/// The sinks without fault. Relative paths begin at `base`.
pub(super) fn sinks(
    reader: &Reader<'_>,
    sections: Vec<Section<'_>>,
    streams: &Streams,
    base: &Path,
) -> Vec<Sink> {
    let mut names: Vec<Text> = Vec::new();
    let mut types: Vec<(Type, Span)> = Vec::new();
    let mut sinks = Vec::new();
    let mut all_known = true;
    for mut section in sections {
        let name = section.required_text("name");
        let name = name.and_then(|text| names::name(&section, "name", text));
        if let Some(name) = &name {
            if let Some(first) = names.iter().find(|first| first.value == name.value) {
                let shown = format!("the sink {}", name.shown());
                reader.push(twice(&shown, &name.span, &first.span));
            }
            names.push(name.clone());
        }
        let choices = [
            ("postgres", Some(Type::Postgres)),
            ("sqlite", Some(Type::Sqlite)),
            ("elasticsearch", Some(Type::Elasticsearch)),
        ];
        let Some(ty) = section.required_choice("type", &choices) else {
            all_known = false;
            continue;
        };
        let span = section.span.clone();
        types.push((ty, span.clone()));
        let kind = match ty {
            Type::Postgres => postgres(section, streams),
            Type::Sqlite => sqlite(section, streams, base),
            Type::Elasticsearch => elasticsearch(section, streams),
        };
        if let (Some(name), Some(kind)) = (name, kind) {
            let name = name.value;
            sinks.push(Sink { name, kind, span });
        }
    }
    if all_known {
        one_journal(reader, &types);
    }
    if !reader.has_errors() {
        something_to_fill(reader, &sinks);
    }
    sinks
}

/// Exactly one PostgreSQL or SQLite keeps the journal.
fn one_journal(reader: &Reader<'_>, types: &[(Type, Span)]) {
    let mut journals = types.iter().filter(|(ty, _)| ty.keeps_the_journal());
    match (journals.next(), journals.next()) {
        (None, _) => reader.push(
            Diagnostic::error(
                "a sink of type `postgres` or `sqlite` is missing: it keeps the journal",
            )
            .help("add `[[sink]]` with `name`, and `type = \"postgres\"` and `url`, or `type = \"sqlite\"` and `path`"),
        ),
        (Some((one, first)), Some((other, second))) => {
            let message = if one == other {
                format!("a second sink of type `{}`: only one can keep the journal", one.name())
            } else {
                "`postgres` and `sqlite` in one pipeline: only one can keep the journal".to_owned()
            };
            reader.push(
                Diagnostic::error(message)
                    .at(second)
                    .also(first, "here is the first")
                    .help("fill all `tables` from one sink"),
            );
        }
        (Some(_), None) => {}
    }
}

fn something_to_fill(reader: &Reader<'_>, sinks: &[Sink]) {
    let any = sinks.iter().any(|sink| match &sink.kind {
        SinkKind::Postgres { tables, .. } | SinkKind::Sqlite { tables, .. } => !tables.is_empty(),
        SinkKind::Elasticsearch { indices, .. } => !indices.is_empty(),
    });
    if let (false, Some(sink)) = (any, sinks.first()) {
        reader.push(
            Diagnostic::error("no sink has a table or an index to fill")
                .at(&sink.span)
                .help(
                    "add `tables = [{ from = \"source\", table = \"NAME\", key = [\"COLUMN\"] }]`",
                ),
        );
    }
}

fn postgres(mut section: Section<'_>, streams: &Streams) -> Option<SinkKind> {
    section.replaced_when_embedded(&[("url", "postgres://replaced")]);
    let url = url(&mut section, &["postgres://", "postgresql://"]);
    let timeout = section.duration("timeout", TIMEOUTS);
    let on_new_column = on_new_column(&mut section);
    let tables = section.tables("tables", "an entry of `tables`");
    let reader = section.reader;
    section.finish_knowing(&[
        ("indices", "type = \"elasticsearch\""),
        ("on_unavailable", "type = \"elasticsearch\""),
        ("path", "type = \"sqlite\""),
    ]);
    let (tables, names) = read_tables(tables, streams);
    occur_once(reader, "table", &names);
    Some(SinkKind::Postgres {
        url: url?,
        timeout: timeout.unwrap_or(SinkKind::POSTGRES_TIMEOUT),
        on_new_column,
        tables,
    })
}

fn sqlite(mut section: Section<'_>, streams: &Streams, base: &Path) -> Option<SinkKind> {
    let path = section.required_text("path");
    let on_new_column = on_new_column(&mut section);
    let tables = section.tables("tables", "an entry of `tables`");
    let reader = section.reader;
    if let Some(empty) = path.as_ref().filter(|path| path.value.is_empty()) {
        reader.push(Diagnostic::error("`path` is empty").at(&empty.span));
    }
    section.finish_knowing(&[
        ("indices", "type = \"elasticsearch\""),
        ("on_unavailable", "type = \"elasticsearch\""),
        ("url", "type = \"postgres\" or \"elasticsearch\""),
        ("timeout", "type = \"postgres\" or \"elasticsearch\""),
    ]);
    let (tables, names) = read_tables(tables, streams);
    occur_once(reader, "table", &names);
    for name in names.iter().filter(|name| name.value.contains('.')) {
        let message = format!(
            "the table {} has a schema, and SQLite has none",
            name.shown()
        );
        let help = "leave the schema out, or join it to the name with `_`";
        reader.push(Diagnostic::error(message).at(&name.span).help(help));
    }
    let path = base.join(path?.value);
    Some(SinkKind::Sqlite {
        path,
        on_new_column,
        tables,
    })
}

/// The tables without fault, and the names of all.
fn read_tables(sections: Vec<Section<'_>>, streams: &Streams) -> (Vec<Table>, Vec<Text>) {
    let mut names: Vec<Text> = Vec::new();
    let tables = sections.into_iter();
    let tables = tables.filter_map(|section| table(section, streams, &mut names));
    (tables.collect(), names)
}

fn elasticsearch(mut section: Section<'_>, streams: &Streams) -> Option<SinkKind> {
    section.replaced_when_embedded(&[("url", "http://replaced")]);
    let url = url(&mut section, &["http://"]);
    let on_unavailable = section.choice(
        "on_unavailable",
        &[
            ("wait", Some(OnUnavailable::Wait)),
            ("continue", Some(OnUnavailable::Continue)),
        ],
    );
    let timeout = section.duration("timeout", TIMEOUTS);
    let indices = section.tables("indices", "an entry of `indices`");
    let reader = section.reader;
    if indices.is_empty() && !section.has("indices") {
        section.required_text("indices");
    }
    section.finish_knowing(&[
        ("tables", "type = \"postgres\" or \"sqlite\""),
        ("on_new_column", "type = \"postgres\" or \"sqlite\""),
        ("path", "type = \"sqlite\""),
    ]);
    let mut names: Vec<Text> = Vec::new();
    let indices = indices
        .into_iter()
        .filter_map(|section| index(section, streams, &mut names))
        .collect();
    occur_once(reader, "index", &names);
    Some(SinkKind::Elasticsearch {
        url: url?,
        timeout: timeout.unwrap_or(SinkKind::ELASTICSEARCH_TIMEOUT),
        indices,
        on_unavailable: on_unavailable.unwrap_or_default(),
    })
}

fn on_new_column(section: &mut Section<'_>) -> OnNewColumn {
    let choices = [
        ("add", Some(OnNewColumn::Add)),
        ("refuse", Some(OnNewColumn::Refuse)),
    ];
    let choice = section.choice("on_new_column", &choices);
    choice.unwrap_or_default()
}

/// The address of a server, which is never shown: it may have a password in it.
fn url(section: &mut Section<'_>, schemes: &[&str]) -> Option<Secret> {
    let text = section.required_text("url")?;
    let host = schemes
        .iter()
        .find_map(|scheme| text.value.strip_prefix(scheme));
    let message = match host {
        Some("") => "`url` names no host",
        Some(_) => return Some(Secret::new(text.value)),
        None if text.value.starts_with("https://") => {
            "a `url` with `https://` is not available in this version"
        }
        None => "`url` has the wrong scheme",
    };
    let help = format!("it begins with {}", list(schemes.iter().copied()));
    section
        .reader
        .push(Diagnostic::error(message).at(&text.span).help(help));
    None
}

fn table(mut section: Section<'_>, streams: &Streams, names: &mut Vec<Text>) -> Option<Table> {
    let from = streams.from(&mut section, By::Sink);
    let table = section.required_text("table");
    let table = table.and_then(|text| names::table(&section, "table", text, &[]));
    names.extend(table.clone());
    let key = section.required_texts("key").and_then(|key| {
        if key.is_empty() {
            let help = "rows are told apart by it: a repeat replaces them";
            let message = "`key` is empty: a table needs a key";
            let diagnostic = Diagnostic::error(message).at(&section.span).help(help);
            section.reader.push(diagnostic);
            return None;
        }
        distinct_columns(&section, "key", key)
    });
    let columns = projection::columns(&mut section);
    if let (Some(key), Some(Some(columns))) = (&key, &columns) {
        for column in key {
            listed(&section, "key", column, columns);
        }
    }
    let on_conflict = section.choice(
        "on_conflict",
        &[
            ("update", Some(OnConflict::Update)),
            ("ignore", Some(OnConflict::Ignore)),
        ],
    );
    let span = section.span.clone();
    section.finish();
    Some(Table {
        from: from?,
        table: table?.value,
        key: key?.into_iter().map(|column| column.value).collect(),
        columns: columns?,
        on_conflict: on_conflict.unwrap_or(OnConflict::Update),
        span,
    })
}

fn index(mut section: Section<'_>, streams: &Streams, names: &mut Vec<Text>) -> Option<Index> {
    let from = streams.from(&mut section, By::Sink);
    let index = section.required_text("index");
    let index = index.and_then(|text| names::index(&section, "index", text));
    names.extend(index.clone());
    let id = section.required_text("id");
    let id = id.and_then(|text| names::column(&section, "id", text));
    let columns = projection::columns(&mut section);
    if let (Some(id), Some(Some(columns))) = (&id, &columns) {
        listed(&section, "id", id, columns);
    }
    let span = section.span.clone();
    section.finish();
    Some(Index {
        from: from?,
        index: index?.value,
        id: id?.value,
        columns: columns?,
        span,
    })
}

/// Reports a column that is not among `columns`.
fn listed(section: &Section<'_>, key: &str, column: &Text, columns: &[TableColumn]) {
    let known = || columns.iter().map(|column| column.name.as_str());
    if known().any(|name| name == column.value) {
        return;
    }
    let message = format!(
        "`{key}` has {}, which is not among `columns`",
        column.shown()
    );
    section.reader.push(
        Diagnostic::error(message)
            .at(&column.span)
            .label_if(column.did_you_mean(known()))
            .help(format!("there is {}", list(known()))),
    );
}

fn occur_once(reader: &Reader<'_>, what: &str, names: &[Text]) {
    for (i, name) in names.iter().enumerate() {
        if let Some(first) = names[..i].iter().find(|first| first.value == name.value) {
            let shown = format!("the {what} {}", name.shown());
            reader.push(twice(&shown, &name.span, &first.span));
        }
    }
}
