//! A letter as a line of a file: one JSON object.

use std::borrow::Cow;
use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use crate::dead_letter::stored::{
    Entry, HeaderJson, bytes_of, of_json, stable_key, text_or_base64, to_json,
};
use crate::dead_letter::{Settled, StoredLetter};
use crate::deployment::Version;
use crate::record::{DeadLetter, Origin, Partition};

/// One letter. What is text stands there as text; other bytes in base64, under a name of their own.
/// A tombstone has no value.
#[derive(Serialize, Deserialize)]
struct Line<'a> {
    reason: Cow<'a, str>,
    stage: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    component: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    column: Option<Cow<'a, str>>,
    topic: Cow<'a, str>,
    partition: u32,
    offset: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    document: Option<Cow<'a, str>>,
    /// RFC 3339
    #[serde(default, skip_serializing_if = "Option::is_none")]
    written_at: Option<Cow<'a, str>>,
    /// the record's own, ms since 1970 UTC
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timestamp: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<HeaderJson>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

/// How a line begins that says that a letter before it is settled.
pub(super) const SETTLED: &[u8] = b"{\"settled_by\":";

/// That the letter of a record is settled. The names that a letter has too mean the same there.
#[derive(Serialize, Deserialize)]
struct SettledLine<'a> {
    /// the version that has processed the record
    settled_by: Version,
    stage: Cow<'a, str>,
    topic: Cow<'a, str>,
    partition: u32,
    offset: i64,
    written_at: Cow<'a, str>,
}

/// Now, as a line has it.
pub(super) fn now() -> String {
    DateTime::<Utc>::from(SystemTime::now()).to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Appends the line of a letter with its end.
pub(super) fn write_line(letter: &DeadLetter, topic: &str, written_at: &str, out: &mut Vec<u8>) {
    let (key, key_base64) = text_or_base64(letter.key.as_deref());
    let (value, value_base64) = text_or_base64(letter.value.as_deref());
    let line = Line {
        reason: letter.reason.as_str().into(),
        stage: letter.stage.as_str().into(),
        component: letter.component.as_deref().map(Cow::from),
        column: letter.column.as_deref().map(Cow::from),
        topic: topic.into(),
        partition: letter.origin.partition.0,
        offset: letter.origin.offset,
        document: letter.document.as_deref().map(Cow::from),
        written_at: Some(written_at.into()),
        timestamp: letter.timestamp_ms,
        key: key.map(Cow::from),
        key_base64,
        headers: to_json(&letter.headers),
        value: value.map(Cow::from),
        value_base64,
    };
    serde_json::to_writer(&mut *out, &line).expect("a Vec takes every byte");
    out.push(b'\n');
}

/// Appends the line of a letter that is settled with its end.
pub(super) fn write_settled(
    (record, stage): (Origin, &str),
    version: Version,
    (topic, written_at): (&str, &str),
    out: &mut Vec<u8>,
) {
    let line = SettledLine {
        settled_by: version,
        stage: stage.into(),
        topic: topic.into(),
        partition: record.partition.0,
        offset: record.offset,
        written_at: written_at.into(),
    };
    serde_json::to_writer(&mut *out, &line).expect("a Vec takes every byte");
    out.push(b'\n');
}

/// What a line says; `None` when it is none of ours.
pub(super) fn parse_line(line: &[u8]) -> Option<Entry> {
    if !line.starts_with(SETTLED) {
        return parse_letter(line).map(|letter| Entry::Letter(Box::new(letter)));
    }
    let line: SettledLine<'_> = serde_json::from_slice(line).ok()?;
    let record = Origin {
        partition: Partition(line.partition),
        offset: line.offset,
    };
    let at = DateTime::parse_from_rfc3339(&line.written_at).ok()?;
    Some(Entry::Settled {
        key: stable_key(&line.topic, record, &line.stage, None),
        by: Settled {
            version: line.settled_by,
            at_ms: Some(at.timestamp_millis()),
        },
    })
}

fn parse_letter(line: &[u8]) -> Option<StoredLetter> {
    let line: Line<'_> = serde_json::from_slice(line).ok()?;
    let written = line.written_at.as_deref().map(DateTime::parse_from_rfc3339);
    Some(StoredLetter {
        topic: line.topic.into_owned(),
        origin: Origin {
            partition: Partition(line.partition),
            offset: line.offset,
        },
        document: line.document.map(Cow::into_owned),
        stage: line.stage.into_owned(),
        component: line.component.map(Cow::into_owned),
        column: line.column.map(Cow::into_owned),
        reason: line.reason.into_owned(),
        timestamp_ms: line.timestamp,
        key: bytes_of(line.key.map(Cow::into_owned), line.key_base64).ok()?,
        headers: of_json(line.headers)?,
        value: bytes_of(line.value.map(Cow::into_owned), line.value_base64).ok()?,
        left_out_bytes: None,
        epoch: None,
        written_ms: written
            .transpose()
            .ok()?
            .map(|time| time.timestamp_millis()),
        settled: None,
    })
}
