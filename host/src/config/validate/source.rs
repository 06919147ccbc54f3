//! `[source]`: where records come from, and their columns.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::deduplicate::deduplicate;
use super::{names, twice};
use crate::config::reader::{Section, Text};
use crate::config::suggest::list;
use crate::config::{
    ColumnFrom, Diagnostic, GeneratorSource, KafkaSource, OnLost, Source, SourceColumn, SourceKind,
    Span, Start,
};
use crate::schema::{DataType, Field, Schema};

/// Properties of a consumer that the host sets: others would break what it guarantees.
const OWN_PROPERTIES: [(&str, &str); 6] = [
    ("bootstrap.servers", "`brokers` says it"),
    ("metadata.broker.list", "`brokers` says it"),
    ("auto.offset.reset", "`start` says it"),
    (
        "enable.auto.commit",
        "positions are committed with the rows",
    ),
    (
        "enable.auto.offset.store",
        "positions are committed with the rows",
    ),
    (
        "enable.partition.eof",
        "the host needs it to know when it has read everything",
    ),
];

/// Bounds of a generator: partitions and records are those for which its records differ.
const PARTITIONS_MAX: u64 = 10_000;
const RECORDS_MAX: u64 = 1 << 44;
const DAYS_MAX: u64 = 36_500;
const DUPLICATES_MAX: f64 = 0.9;
const RATES: RangeInclusive<f64> = 0.001..=10_000_000.0;

const FROM_HELP: &str = "`from` is a JSON field (`a.b` for one that is nested), or `@key`, `@timestamp`, `@partition`, `@offset`";

/// The types of columns, for messages.
const TYPE_NAMES: [&str; 8] = [
    "boolean",
    "int64",
    "float64",
    "decimal(2)",
    "utf8",
    "binary",
    "timestamp",
    "date",
];

#[derive(Clone, Copy)]
enum Type {
    Kafka,
    File,
    Generator,
}

/// Keys that go with one type alone.
const KAFKA_KEYS: [&str; 5] = ["brokers", "topic", "start", "on_lost", "properties"];
const FILE_KEYS: [&str; 1] = ["paths"];
const GENERATOR_KEYS: [&str; 7] = [
    "partitions",
    "seed",
    "days",
    "bad_share",
    "duplicates",
    "rate",
    "records",
];

pub(super) fn source(mut section: Section<'_>, base: &Path) -> Option<Source> {
    let ty = section.required_choice(
        "type",
        &[
            ("kafka", Some(Type::Kafka)),
            ("file", Some(Type::File)),
            ("generator", Some(Type::Generator)),
        ],
    );
    section.choice("format", &[("json", Some(()))]);
    let columns = columns(&mut section, !matches!(ty, Some(Type::File)));
    let deduplicate = section
        .table("deduplicate", "`[source.deduplicate]`")
        .map(|section| deduplicate(section, columns.as_ref().map(|(columns, _)| &columns[..])));
    let kind = match ty? {
        Type::Kafka => {
            let kafka = kafka(&mut section);
            finish(section, Type::Kafka);
            SourceKind::Kafka(kafka?)
        }
        Type::Generator => {
            let generator = generator(&mut section);
            finish(section, Type::Generator);
            SourceKind::Generator(generator)
        }
        Type::File => {
            let paths = paths(&mut section, base);
            finish(section, Type::File);
            SourceKind::File { paths: paths? }
        }
    };
    let (columns, schema) = columns?;
    let deduplicate = match deduplicate {
        Some(read) => Some(read?),
        None => None,
    };
    Some(Source {
        kind,
        columns,
        schema,
        deduplicate,
    })
}

/// Reports keys that nobody asked for; those of another type by it.
fn finish(section: Section<'_>, ty: Type) {
    let kafka = KAFKA_KEYS.map(|key| (key, "type = \"kafka\""));
    let file = FILE_KEYS.map(|key| (key, "type = \"file\""));
    let generator = GENERATOR_KEYS.map(|key| (key, "type = \"generator\""));
    let (kafka, file, generator) = (&kafka[..], &file[..], &generator[..]);
    let elsewhere = match ty {
        Type::Kafka => [file, generator],
        Type::File => [kafka, generator],
        Type::Generator => [kafka, file],
    };
    section.finish_knowing(&elsewhere.concat());
}

/// A key that is faulty has been reported, and no value of it is used then.
fn generator(section: &mut Section<'_>) -> GeneratorSource {
    let default = GeneratorSource::DEFAULT;
    let partitions = section.integer("partitions", 1..=PARTITIONS_MAX);
    let seed = section.integer("seed", 0..=i64::MAX.cast_unsigned());
    let days = section.integer("days", 1..=DAYS_MAX);
    GeneratorSource {
        partitions: partitions.map_or(default.partitions, |count| count as u32),
        seed: seed.unwrap_or(default.seed),
        days: days.map_or(default.days, |days| days as u32),
        bad_share: section
            .number("bad_share", 0.0..=1.0)
            .unwrap_or(default.bad_share),
        duplicates: section
            .number("duplicates", 0.0..=DUPLICATES_MAX)
            .unwrap_or(default.duplicates),
        rate: section.number("rate", RATES),
        records: section.integer("records", 0..=RECORDS_MAX),
    }
}

fn kafka(section: &mut Section<'_>) -> Option<KafkaSource> {
    section.replaced_when_embedded(&[("brokers", "localhost:9092"), ("topic", "replaced")]);
    let brokers = section.required_text("brokers");
    let brokers = brokers.and_then(|text| names::brokers(section, "brokers", text));
    let topic = section.required_text("topic");
    let topic = topic.and_then(|text| names::topic(section, "topic", text));
    let start = section.choice(
        "start",
        &[
            ("earliest", Some(Start::Earliest)),
            ("latest", Some(Start::Latest)),
        ],
    );
    let on_lost = section.choice(
        "on_lost",
        &[("stop", Some(OnLost::Stop)), ("skip", Some(OnLost::Skip))],
    );
    let properties = properties(section, &OWN_PROPERTIES);
    Some(KafkaSource {
        brokers: brokers?.value,
        topic: topic?.value,
        start: start.unwrap_or(Start::Earliest),
        on_lost: on_lost.unwrap_or(OnLost::Stop),
        properties,
    })
}

/// librdkafka properties, but for those that are the host's `own`.
pub(super) fn properties(
    section: &mut Section<'_>,
    own: &[(&str, &str)],
) -> IndexMap<String, String> {
    let Some(mut properties) = section.table("properties", "`properties`") else {
        return IndexMap::new();
    };
    properties.replaced_when_embedded(&[("*", "")]);
    let reader = properties.reader;
    let mut passed = IndexMap::new();
    for (name, value) in properties.named_scalars() {
        if let Some((property, reason)) = own.iter().find(|(property, _)| *property == name.value) {
            let message = format!("the property `{property}` is the host's: {reason}");
            reader.push(Diagnostic::error(message).at(&name.span));
        } else if let Some(value) = value {
            passed.insert(name.value, value.value);
        }
    }
    passed
}

fn paths(section: &mut Section<'_>, base: &Path) -> Option<Vec<PathBuf>> {
    let texts = section.required_texts("paths")?;
    for (i, text) in texts.iter().enumerate() {
        if let Some(first) = texts[..i].iter().find(|other| other.value == text.value) {
            section
                .reader
                .push(twice(&text.shown(), &text.span, &first.span));
        }
        if text.value.is_empty() {
            let diagnostic = Diagnostic::error("`paths` has an empty path").at(&text.span);
            section.reader.push(diagnostic);
        }
    }
    if texts.is_empty() {
        let message = "`paths` is empty: there is nothing to read";
        section
            .reader
            .push(Diagnostic::error(message).at(&section.span));
        return None;
    }
    Some(texts.iter().map(|text| base.join(&text.value)).collect())
}

/// `source.columns`. `has_keys`: whether records have keys and timestamps of their own.
fn columns(section: &mut Section<'_>, has_keys: bool) -> Option<(Vec<SourceColumn>, Schema)> {
    let reader = section.reader;
    let sections = section.tables("columns", "an entry of `columns`");
    if sections.is_empty() {
        if !section.has("columns") {
            section.required_text("columns");
        }
        return None;
    }
    let mut places: Vec<(Text, Span)> = Vec::new();
    let mut columns: Vec<SourceColumn> = Vec::new();
    for section in sections {
        let Some((name, from, column)) = column(section, has_keys) else {
            continue;
        };
        if let Some((first, _)) = places.iter().find(|(first, _)| first.value == name.value) {
            let shown = format!("the column {}", name.shown());
            reader.push(twice(&shown, &name.span, &first.span));
        }
        for (other, (_, place)) in columns.iter().zip(&places) {
            if nested(&column.from, &other.from) {
                let message = "one of these fields is inside the other, so no record can have both";
                let diagnostic = Diagnostic::error(message).at(&from);
                reader.push(diagnostic.also(place, "this is the other"));
            }
        }
        places.push((name, from));
        columns.push(column);
    }
    let fields = columns
        .iter()
        .map(|column| Field::new(column.name.clone(), column.ty, column.nullable))
        .collect();
    // A name that occurs twice was reported above.
    let schema = Schema::new(fields).ok()?;
    Some((columns, schema))
}

/// A column with its name and the place that says where its value is found.
fn column(mut section: Section<'_>, has_keys: bool) -> Option<(Text, Span, SourceColumn)> {
    let name = section.required_text("name");
    let name = name.and_then(|text| names::column(&section, "name", text));
    let from = section.text("from").or_else(|| {
        // Its own name, unless `from` is there and faulty.
        name.clone().filter(|_| !section.has("from"))
    });
    let ty = section.required_text("type");
    let ty = ty.and_then(|text| Some((parse_type(&section, &text)?, text)));
    let nullable = section.boolean("nullable").unwrap_or(false);
    let from = from.and_then(|text| Some((column_from(&section, &text)?, text.span)));
    let reader = section.reader;
    section.finish();

    let (from, from_span) = from?;
    let (ty, ty_text) = ty?;
    if let Some(message) = mismatch(&from, ty) {
        reader.push(Diagnostic::error(message).at(&ty_text.span));
    }
    if !has_keys && !nullable && matches!(from, ColumnFrom::Key | ColumnFrom::Timestamp) {
        let message = "a record of a file has no key and no timestamp of its own";
        let help = "say `nullable = true`, or leave the column out";
        reader.push(Diagnostic::error(message).at(&from_span).help(help));
    }
    let name = name?;
    let column = SourceColumn {
        name: name.value.clone(),
        from,
        ty,
        nullable,
    };
    Some((name, from_span, column))
}

fn parse_type(section: &Section<'_>, text: &Text) -> Option<DataType> {
    if let Ok(ty) = text.value.parse() {
        return Some(ty);
    }
    let message = format!("no type is called {}", text.shown());
    let diagnostic = Diagnostic::error(message).at(&text.span).help(format!(
        "there are {}; a decimal says how many digits stand after its point, from 0 to 18",
        list(TYPE_NAMES)
    ));
    let meant = match text.value.as_str() {
        "string" | "str" | "text" | "varchar" => Some("did you mean `utf8`?".to_owned()),
        "int" | "integer" | "long" | "bigint" => Some("did you mean `int64`?".to_owned()),
        "float" | "double" | "number" => {
            Some("did you mean `float64`, or `decimal(2)`?".to_owned())
        }
        "bool" => Some("did you mean `boolean`?".to_owned()),
        "bytes" => Some("did you mean `binary`?".to_owned()),
        "datetime" | "time" => Some("did you mean `timestamp`?".to_owned()),
        scaled if scaled.starts_with("decimal(") => Some("the scale is from 0 to 18".to_owned()),
        "decimal" | "numeric" | "money" => Some("did you mean `decimal(2)`?".to_owned()),
        _ => text.did_you_mean(TYPE_NAMES),
    };
    section.reader.push(diagnostic.label_if(meant));
    None
}

fn column_from(section: &Section<'_>, text: &Text) -> Option<ColumnFrom> {
    let from = match text.value.as_str() {
        "@key" => Some(ColumnFrom::Key),
        "@timestamp" => Some(ColumnFrom::Timestamp),
        "@partition" => Some(ColumnFrom::Partition),
        "@offset" => Some(ColumnFrom::Offset),
        other if other.starts_with('@') => None,
        path => {
            let names: Vec<String> = path.split('.').map(str::to_owned).collect();
            (!names.iter().any(String::is_empty)).then_some(ColumnFrom::Json(names))
        }
    };
    if from.is_none() {
        let message = format!("`from` cannot be {}", text.shown());
        let known = ["@key", "@timestamp", "@partition", "@offset"];
        section.reader.push(
            Diagnostic::error(message)
                .at(&text.span)
                .label_if(text.did_you_mean(known))
                .help(FROM_HELP),
        );
    }
    from
}

/// What is wrong with a column of this type from there.
fn mismatch(from: &ColumnFrom, ty: DataType) -> Option<&'static str> {
    match (from, ty) {
        (ColumnFrom::Json(_), DataType::Binary) => {
            Some("a JSON field cannot be `binary`: JSON has no bytes, take `utf8`")
        }
        (ColumnFrom::Json(_), _)
        | (ColumnFrom::Key, DataType::Utf8 | DataType::Binary)
        | (ColumnFrom::Timestamp, DataType::Timestamp)
        | (ColumnFrom::Partition | ColumnFrom::Offset, DataType::Int64) => None,
        (ColumnFrom::Key, _) => Some("`@key` is `utf8` or `binary`"),
        (ColumnFrom::Timestamp, _) => Some("`@timestamp` is `timestamp`"),
        (ColumnFrom::Partition | ColumnFrom::Offset, _) => {
            Some("`@partition` and `@offset` are `int64`")
        }
    }
}

/// Whether one path leads through the other's end.
fn nested(a: &ColumnFrom, b: &ColumnFrom) -> bool {
    match (a, b) {
        (ColumnFrom::Json(a), ColumnFrom::Json(b)) => {
            a.len() != b.len() && (a.starts_with(b) || b.starts_with(a))
        }
        _ => false,
    }
}
