//! A letter as a message: the record's own bytes as its value, the record's own headers, and the rest
//! in headers of ours: `wasmill-reason`, `-stage`, `-component`, `-column`, `-topic`, `-partition`,
//! `-offset`, `-timestamp`, `-key` (the record's own key) and `-document`.
//!
//! Its key is the letter's stable key, the same whenever the letter is repeated, so whoever reads the
//! topic (or a compacted one) can tell.
//!
//! That a letter is settled is a message with its key, without a value, and with the header
//! `wasmill-settled-by`: a compacted topic forgets the letter.

use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};

use crate::dead_letter::stored::{Entry, stable_key};
use crate::dead_letter::{Settled, StoredLetter};
use crate::deployment::Version;
use crate::record::{DeadLetter, Origin, Partition, RecordHeader};

/// Names of headers that are ours, in records too.
pub(super) const OURS: &str = "wasmill-";

/// The one of ours that a record may have: it was replayed.
pub(super) const REPLAYED_FROM: &str = "wasmill-replayed-from";

/// How much of a record goes into its letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    Whole,
    /// The record is larger than the topic takes: it can only be told where it is.
    LeftOut,
}

/// Whether a header was the record's own before it was a letter.
fn is_the_records(name: &str) -> bool {
    !name.starts_with(OURS) || name == REPLAYED_FROM
}

/// What a message tells.
#[derive(Debug, Clone, Copy)]
pub(super) enum Note<'a> {
    Letter(&'a DeadLetter),
    /// That the letter of a stage about a record is settled, by this version.
    Settled(Origin, &'a str, Version),
}

impl Note<'_> {
    pub(super) fn key(self, source_topic: &str) -> String {
        match self {
            Self::Letter(letter) => {
                let document = letter.document.as_deref();
                stable_key(source_topic, letter.origin, &letter.stage, document)
            }
            Self::Settled(record, stage, _) => stable_key(source_topic, record, stage, None),
        }
    }

    pub(super) fn value(&self, body: Body) -> Option<&[u8]> {
        match (self, body) {
            (Self::Letter(letter), Body::Whole) => letter.value.as_deref(),
            _ => None,
        }
    }

    pub(super) fn headers(self, source_topic: &str, body: Body) -> OwnedHeaders {
        match self {
            Self::Letter(letter) => headers(letter, source_topic, body),
            Self::Settled(record, stage, version) => {
                let ours = [
                    ("wasmill-settled-by", version.to_string()),
                    ("wasmill-stage", stage.to_owned()),
                    ("wasmill-topic", source_topic.to_owned()),
                    ("wasmill-partition", record.partition.to_string()),
                    ("wasmill-offset", record.offset.to_string()),
                ];
                ours.iter()
                    .fold(OwnedHeaders::new(), |headers, (key, value)| {
                        let value = Some(value.as_bytes());
                        headers.insert(Header { key, value })
                    })
            }
        }
    }
}

fn headers(letter: &DeadLetter, source_topic: &str, body: Body) -> OwnedHeaders {
    let partition = letter.origin.partition.to_string();
    let offset = letter.origin.offset.to_string();
    let timestamp = letter.timestamp_ms.map(|timestamp| timestamp.to_string());
    let left_out =
        (body == Body::LeftOut).then(|| letter.value.as_ref().map_or(0, Vec::len).to_string());
    let (key, own) = match body {
        Body::Whole => (letter.key.as_deref(), letter.headers.as_slice()),
        Body::LeftOut => (None, &[][..]),
    };
    let text = |text: &'_ Option<String>| text.as_ref().map(|text| text.as_bytes().to_vec());
    let ours = [
        ("wasmill-reason", Some(letter.reason.as_bytes().to_vec())),
        ("wasmill-stage", Some(letter.stage.as_bytes().to_vec())),
        ("wasmill-component", text(&letter.component)),
        ("wasmill-column", text(&letter.column)),
        ("wasmill-topic", Some(source_topic.as_bytes().to_vec())),
        ("wasmill-partition", Some(partition.into_bytes())),
        ("wasmill-offset", Some(offset.into_bytes())),
        ("wasmill-document", text(&letter.document)),
        ("wasmill-timestamp", text(&timestamp)),
        ("wasmill-key", key.map(<[u8]>::to_vec)),
        ("wasmill-value-bytes-left-out", text(&left_out)),
    ];
    let own = own.iter().filter(|header| is_the_records(&header.name));
    let own = own.map(|header| (header.name.as_str(), header.value.clone()));
    let ours = ours.into_iter().filter(|(_, value)| value.is_some());
    own.chain(ours)
        .fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header {
                key,
                value: value.as_deref(),
            })
        })
}

/// What a message tells; `None` when it is none of ours.
pub(super) fn parse(message: &BorrowedMessage<'_>) -> Option<Entry> {
    let mut letter = StoredLetter {
        topic: String::new(),
        origin: Origin::NO_RECORD,
        document: None,
        stage: String::new(),
        component: None,
        column: None,
        reason: String::new(),
        timestamp_ms: None,
        key: None,
        headers: Vec::new(),
        value: message.payload().map(<[u8]>::to_vec),
        left_out_bytes: None,
        epoch: None,
        written_ms: message.timestamp().to_millis(),
        settled: None,
    };
    let (mut partition, mut offset, mut settled_by) = (None, None, None);
    for header in message.headers()?.iter() {
        if is_the_records(header.key) {
            letter.headers.push(RecordHeader {
                name: header.key.to_owned(),
                value: header.value.map(<[u8]>::to_vec),
            });
            continue;
        }
        let value = header.value?;
        let text = || String::from_utf8_lossy(value).into_owned();
        match &header.key[OURS.len()..] {
            "reason" => letter.reason = text(),
            "stage" => letter.stage = text(),
            "component" => letter.component = Some(text()),
            "column" => letter.column = Some(text()),
            "topic" => letter.topic = text(),
            "partition" => partition = Some(text().parse().ok()?),
            "offset" => offset = Some(text().parse().ok()?),
            "settled-by" => settled_by = Some(Version(text().parse().ok()?)),
            "document" => letter.document = Some(text()),
            "timestamp" => letter.timestamp_ms = Some(text().parse().ok()?),
            "key" => letter.key = Some(value.to_vec()),
            "value-bytes-left-out" => letter.left_out_bytes = Some(text().parse().ok()?),
            _ => {}
        }
    }
    letter.origin = Origin {
        partition: Partition(partition?),
        offset: offset?,
    };
    let Some(version) = settled_by else {
        return Some(Entry::Letter(Box::new(letter)));
    };
    Some(Entry::Settled {
        key: letter.stable_key(),
        by: Settled {
            version,
            at_ms: letter.written_ms,
        },
    })
}
