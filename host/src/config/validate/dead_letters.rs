//! `[dead_letters]`: where records go that could not be used.
//!
//! A table of dead letters belongs to the sink that keeps the journal, so it is looked at again when
//! the sinks are known.

use std::path::Path;

use super::names;
use super::source::properties;
use crate::config::reader::{Reader, Section, Text};
use crate::config::{
    DeadLetters, Diagnostic, KafkaSource, Sink, SinkKind, Source, SourceKind, Span, Table,
};

/// Properties of a producer that the host sets: others would lose letters.
const OWN_PROPERTIES: [(&str, &str); 5] = [
    ("bootstrap.servers", "`brokers` says it"),
    ("metadata.broker.list", "`brokers` says it"),
    ("acks", "a letter is written when every replica has it"),
    (
        "request.required.acks",
        "a letter is written when every replica has it",
    ),
    ("enable.idempotence", "letters are written in order, once"),
];

#[derive(Clone, Copy)]
enum Type {
    Kafka,
    File,
    Postgres,
    Sqlite,
}

impl Type {
    fn shown(self) -> &'static str {
        match self {
            Self::Kafka => "type = \"kafka\"",
            Self::File => "type = \"file\"",
            Self::Postgres => "type = \"postgres\"",
            Self::Sqlite => "type = \"sqlite\"",
        }
    }
}

/// Valid dead letters, and where they stand.
pub(super) struct Read {
    pub(super) settings: DeadLetters,
    ty: Type,
    /// of their type
    span: Span,
    /// of their table, if it is named
    table: Option<Span>,
}

/// `source` is `None` when it is faulty itself.
pub(super) fn dead_letters(
    mut section: Section<'_>,
    source: Option<&Source>,
    base: &Path,
) -> Option<Read> {
    let choices = [
        ("postgres", Some(Type::Postgres)),
        ("sqlite", Some(Type::Sqlite)),
        ("kafka", Some(Type::Kafka)),
        ("file", Some(Type::File)),
    ];
    let ty = section.required_choice("type", &choices)?;
    let span = section.span_of("type");
    let mut table = None;
    let settings = match ty {
        Type::Kafka => kafka(&mut section, source),
        Type::File => section.required_text("path").map(|path| DeadLetters::File {
            path: base.join(path.value),
        }),
        Type::Postgres | Type::Sqlite => {
            table = section.has("table").then(|| section.span_of("table"));
            self::table(&mut section)
        }
    };
    let in_table = "type = \"postgres\" or \"sqlite\"";
    let elsewhere = ["brokers", "topic", "properties"].map(|key| (key, Type::Kafka.shown()));
    let others = [("path", Type::File.shown()), ("table", in_table)];
    section.finish_knowing(&[&elsewhere[..], &others].concat());
    Some(Read {
        settings: settings?,
        ty,
        span,
        table,
    })
}

fn table(section: &mut Section<'_>) -> Option<DeadLetters> {
    let table = match section.text("table") {
        Some(text) => names::table(section, "table", text, &[DeadLetters::TABLE])?.value,
        None if section.has("table") => return None,
        None => DeadLetters::TABLE.to_owned(),
    };
    Some(DeadLetters::Table { table })
}

/// Reports a table that no sink can have, given all sinks without fault.
pub(super) fn fits_the_sinks(reader: &Reader<'_>, letters: &Read, sinks: &[Sink]) {
    let DeadLetters::Table { table } = &letters.settings else {
        return;
    };
    let keeps = |sink: &&Sink| !matches!(sink.kind, SinkKind::Elasticsearch { .. });
    let Some(ledger) = sinks.iter().find(keeps) else {
        return;
    };
    let theirs = match ledger.kind {
        SinkKind::Postgres { .. } => Type::Postgres,
        SinkKind::Sqlite { .. } | SinkKind::Elasticsearch { .. } => Type::Sqlite,
    };
    if letters.ty.shown() != theirs.shown() {
        let message = format!(
            "dead letters of `{}` need a sink of that type, which keeps the journal",
            letters.ty.shown()
        );
        reader.push(
            Diagnostic::error(message)
                .at(&letters.span)
                .also(&ledger.span, "the journal is kept here")
                .help(format!("write `{}`", theirs.shown())),
        );
    }
    let place = letters.table.as_ref().unwrap_or(&letters.span);
    if matches!(theirs, Type::Sqlite) && table.contains('.') {
        let message = format!("the table `{table}` has a schema, and SQLite has none");
        let help = "leave the schema out, or join it to the name with `_`";
        reader.push(Diagnostic::error(message).at(place).help(help));
    }
    let same = |filled: &&Table| filled.table.eq_ignore_ascii_case(table);
    if let Some(filled) = ledger.kind.tables().iter().find(same) {
        let message =
            format!("the table `{table}` is filled with rows, and cannot have dead letters");
        let diagnostic = Diagnostic::error(message).at(place);
        reader.push(diagnostic.also(&filled.span, "the rows are said here"));
    }
}

fn kafka(section: &mut Section<'_>, source: Option<&Source>) -> Option<DeadLetters> {
    section.replaced_when_embedded(&[("brokers", "localhost:9092"), ("topic", "replaced.dead")]);
    let from = match source.map(|source| &source.kind) {
        Some(SourceKind::Kafka(kafka)) => Some(kafka),
        _ => None,
    };
    let brokers = section.text("brokers");
    let brokers = match brokers {
        Some(text) => names::brokers(section, "brokers", text).map(|text| text.value),
        None if section.has("brokers") => None,
        None => from.map(|kafka| kafka.brokers.clone()),
    };
    if source.is_some() && brokers.is_none() && !section.has("brokers") {
        let message = "`brokers` is missing in `[dead_letters]`";
        let help =
            "the source is not Kafka, so there are none to take over; or take `type = \"file\"`";
        section
            .reader
            .push(Diagnostic::error(message).at(&section.span).help(help));
    }
    let topic = section.required_text("topic");
    let topic = topic.and_then(|text| names::topic(section, "topic", text));
    if let (Some(topic), Some(brokers), Some(from)) = (&topic, &brokers, from) {
        not_the_source(section, topic, brokers, from);
    }
    let properties = properties(section, &OWN_PROPERTIES);
    Some(DeadLetters::Kafka {
        brokers: brokers?,
        topic: topic?.value,
        properties,
    })
}

/// Letters in the source's own topic would be read, refused and written again for ever.
fn not_the_source(section: &Section<'_>, topic: &Text, brokers: &str, source: &KafkaSource) {
    if topic.value == source.topic && brokers == source.brokers {
        let message = "dead letters cannot go to the topic that the source reads";
        section
            .reader
            .push(Diagnostic::error(message).at(&topic.span));
    }
}
