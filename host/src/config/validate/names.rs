//! What names may look like: each rule is that of the system that must understand them.

use crate::config::Diagnostic;
use crate::config::reader::{Section, Text};

/// PostgreSQL cuts longer names off.
const NAME_BYTES_MAX: usize = 63;

/// Kafka's bound, which leaves it room for a suffix.
const TOPIC_BYTES_MAX: usize = 249;

/// Elasticsearch's bound.
const INDEX_BYTES_MAX: usize = 255;

/// A pipeline, stage, sink or component: it names rows in the journal and appears in logs.
pub(super) fn name(section: &Section<'_>, key: &str, text: Text) -> Option<Text> {
    let value = &text.value;
    let fits = value.len() <= NAME_BYTES_MAX
        && value.starts_with(|c: char| c.is_ascii_alphabetic())
        && value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    checked(
        section,
        key,
        text,
        fits,
        "a name begins with a letter and has letters, digits, `_` and `-`, at most 63",
    )
}

/// A column of a stream or table.
pub(super) fn column(section: &Section<'_>, key: &str, text: Text) -> Option<Text> {
    let fits = fits_identifier(&text.value);
    checked(
        section,
        key,
        text,
        fits,
        "a column's name begins with a letter or `_` and has letters, digits and `_`, at most 63",
    )
}

/// A table of PostgreSQL, perhaps with its schema. Only those in `own` may have a name of ours.
pub(super) fn table(section: &Section<'_>, key: &str, text: Text, own: &[&str]) -> Option<Text> {
    let (schema, table) = match text.value.split_once('.') {
        Some((schema, table)) => (Some(schema), table),
        None => (None, text.value.as_str()),
    };
    if !own.contains(&table) && table.starts_with("wasmill_") {
        let message = format!("`{key}` begins with `wasmill_`: those tables are the journal's");
        section
            .reader
            .push(Diagnostic::error(message).at(&text.span));
        return None;
    }
    let fits = schema.is_none_or(fits_identifier) && fits_identifier(table);
    checked(
        section,
        key,
        text,
        fits,
        "a table is `table` or `schema.table`, of letters, digits and `_`, at most 63 each",
    )
}

/// An index of Elasticsearch.
pub(super) fn index(section: &Section<'_>, key: &str, text: Text) -> Option<Text> {
    let value = &text.value;
    let fits = value.len() <= INDEX_BYTES_MAX
        && value.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && value
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.".contains(c));
    checked(
        section,
        key,
        text,
        fits,
        "an index begins with a small letter or digit and has those, `_`, `-` and `.`, at most 255",
    )
}

/// A topic of Kafka.
pub(super) fn topic(section: &Section<'_>, key: &str, text: Text) -> Option<Text> {
    let value = &text.value;
    let fits = (1..=TOPIC_BYTES_MAX).contains(&value.len())
        && value != "."
        && value != ".."
        && value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    checked(
        section,
        key,
        text,
        fits,
        "a topic has letters, digits, `_`, `-` and `.`, from 1 to 249",
    )
}

/// Brokers of Kafka: `host:port`, separated by commas.
pub(super) fn brokers(section: &Section<'_>, key: &str, text: Text) -> Option<Text> {
    let fits = text.value.split(',').all(|broker| is_broker(broker.trim()));
    checked(
        section,
        key,
        text,
        fits,
        "brokers are `host:port`, separated by commas: `localhost:9092`",
    )
}

fn is_broker(broker: &str) -> bool {
    if broker.is_empty() || broker.contains(char::is_whitespace) {
        return false;
    }
    // librdkafka takes its own port where there is none; an IPv6 address ends in a bracket then.
    match broker.rsplit_once(':') {
        Some((host, port)) if !broker.ends_with(']') => {
            !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
        }
        _ => true,
    }
}

/// Letters, digits and `_`, not first a digit, at most 63.
pub(super) fn fits_identifier(value: &str) -> bool {
    value.len() <= NAME_BYTES_MAX
        && value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && value.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn checked(section: &Section<'_>, key: &str, text: Text, fits: bool, rule: &str) -> Option<Text> {
    if fits {
        return Some(text);
    }
    let message = format!("`{key}` cannot be {}", text.shown());
    section
        .reader
        .push(Diagnostic::error(message).at(&text.span).help(rule));
    None
}
