//! A letter as it is read again, and which of them are meant.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::ops::ControlFlow;

use base64::engine::general_purpose::STANDARD as BASE64;
use base64::{DecodeError, Engine};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::Visit;
use crate::deployment::Version;
use crate::record::{Origin, RecordHeader};

/// Letters by whose keys repetitions are known, at least. A crash repeats the letters of one epoch,
/// and no epoch has more records.
const REMEMBERED_MAX: usize = 1 << 20;

/// A letter that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLetter {
    /// the topic that the record was read from; empty where the source has none
    pub topic: String,
    /// where it was read; [`Origin::NO_RECORD`] for the row of an aggregate
    pub origin: Origin,
    /// the document that was refused, as `index/id`, where it was one
    pub document: Option<String>,
    /// which stage left it out
    pub stage: String,
    /// the component that rejected it
    pub component: Option<String>,
    /// the column at fault
    pub column: Option<String>,
    /// what is wrong, for a person
    pub reason: String,
    /// the record's own timestamp, ms since 1970 UTC
    pub timestamp_ms: Option<i64>,
    /// Kafka's key
    pub key: Option<Vec<u8>>,
    /// Kafka's headers
    pub headers: Vec<RecordHeader>,
    /// the payload, or the document that was refused; `None` is a tombstone, or was left out
    pub value: Option<Vec<u8>>,
    /// how large a value was that was left out, in bytes: it was too large for the topic
    pub left_out_bytes: Option<u64>,
    /// the epoch that it belongs to, in a table
    pub epoch: Option<u64>,
    /// when it was written, ms since 1970 UTC; a file from before this was noted has none
    pub written_ms: Option<i64>,
    /// whether its record was processed again
    pub settled: Option<Settled>,
}

/// A letter's record was processed again: the version that had rejected it was rolled back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// by this version
    pub version: Version,
    /// when that was written, ms since 1970 UTC
    pub at_ms: Option<i64>,
}

/// Why a letter cannot be produced again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoReplay {
    /// A sink behind the ledger refused a document. Its record, if it has one, was taken.
    Document,
    /// The record was too large for the topic of the letters.
    LeftOut,
    /// It was read from something that is no topic, or from another one than that of the source.
    OtherSource,
    /// Its record was processed again.
    Settled,
}

impl StoredLetter {
    /// The same whenever the letter is written again.
    #[must_use]
    pub fn stable_key(&self) -> String {
        stable_key(
            &self.topic,
            self.origin,
            &self.stage,
            self.document.as_deref(),
        )
    }

    /// Whether its record can be produced to `topic` again.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn replayable(&self, topic: &str) -> Result<(), NoReplay> {
        if self.document.is_some() || !self.origin.is_record() {
            return Err(NoReplay::Document);
        }
        if self.topic != topic {
            return Err(NoReplay::OtherSource);
        }
        if self.left_out_bytes.is_some() {
            return Err(NoReplay::LeftOut);
        }
        if self.settled.is_some() {
            return Err(NoReplay::Settled);
        }
        Ok(())
    }
}

/// `topic/partition/offset/stage`, and of a document `index/id` after it. A row that comes from no
/// record has `-` in the places of partition and offset.
pub(super) fn stable_key(
    topic: &str,
    origin: Origin,
    stage: &str,
    document: Option<&str>,
) -> String {
    let Origin { partition, offset } = origin;
    let mut key = if origin.is_record() {
        format!("{topic}/{partition}/{offset}/{stage}")
    } else {
        format!("{topic}/-/-/{stage}")
    };
    if let Some(document) = document {
        key.push('/');
        key.push_str(document);
    }
    key
}

/// Which letters are meant: those that all of it takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// of these records; empty: of any
    pub places: Vec<Origin>,
    /// of this stage
    pub stage: Option<String>,
    /// whose reason has this text in it
    pub reason: Option<String>,
    /// written at this time or later, ms since 1970 UTC
    pub since_ms: Option<i64>,
    /// written at this time or earlier
    pub until_ms: Option<i64>,
    /// also those whose records were processed again
    pub with_settled: bool,
}

impl Selection {
    /// Whether it takes the letter. One of which nobody knows when it was written is older than all.
    #[must_use]
    pub fn takes(&self, letter: &StoredLetter) -> bool {
        let written = letter.written_ms.unwrap_or(i64::MIN);
        (self.with_settled || letter.settled.is_none())
            && (self.places.is_empty() || self.places.contains(&letter.origin))
            && self
                .stage
                .as_ref()
                .is_none_or(|stage| *stage == letter.stage)
            && self
                .reason
                .as_ref()
                .is_none_or(|text| letter.reason.contains(text))
            && self.since_ms.is_none_or(|since| written >= since)
            && self.until_ms.is_none_or(|until| written <= until)
    }
}

/// What stores have that cannot change what they have: a letter, or that one is settled.
pub(super) enum Entry {
    Letter(Box<StoredLetter>),
    Settled {
        /// the stable key of the letter
        key: String,
        by: Settled,
    },
}

/// Where in a store something is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Within a part, what was written later has a greater offset.
    pub(super) part: i32,
    pub(super) offset: i64,
    /// when, ms since 1970 UTC: tells across parts, where a topic has got more of them meanwhile
    pub(super) written_ms: Option<i64>,
}

impl Place {
    fn is_before(self, other: Self) -> bool {
        if self.part == other.part {
            return self.offset < other.offset;
        }
        self.written_ms <= other.written_ms
    }
}

/// Which letters are settled: what a first pass over a store finds. It grows with their number.
#[derive(Default)]
pub(super) struct Settlements(HashMap<u128, (Place, Settled)>);

impl Settlements {
    /// The last one counts.
    pub(super) fn note(&mut self, key: &str, place: Place, by: Settled) {
        self.0.insert(xxh3_128(key.as_bytes()), (place, by));
    }

    /// One that was written after that, when everything was read anew, is not settled by it.
    fn of(&self, key: &str, place: Place) -> Option<Settled> {
        let (settled, by) = self.0.get(&xxh3_128(key.as_bytes()))?;
        place.is_before(*settled).then_some(*by)
    }
}

/// Lets through what a scan is to visit, for stores that cannot select by themselves.
pub(super) struct Sieve<'a, 'v> {
    settlements: Settlements,
    selection: &'a Selection,
    newest: Option<usize>,
    remembered: Remembered,
    /// the newest so far, by the time and order of their writing
    kept: BTreeMap<(i64, u64), StoredLetter>,
    taken: u64,
    visit: &'a mut Visit<'v>,
}

impl<'a, 'v> Sieve<'a, 'v> {
    pub(super) fn new(
        settlements: Settlements,
        (selection, newest): (&'a Selection, Option<usize>),
        visit: &'a mut Visit<'v>,
    ) -> Self {
        Self {
            settlements,
            selection,
            newest,
            remembered: Remembered::default(),
            kept: BTreeMap::new(),
            taken: 0,
            visit,
        }
    }

    /// Looks at the next letter; says when the visitor has had enough.
    pub(super) fn offer(&mut self, mut letter: StoredLetter, place: Place) -> ControlFlow<()> {
        let mut key = letter.stable_key();
        letter.settled = self.settlements.of(&key, place);
        if letter.settled.is_some() {
            // One that came again later is another one.
            key.push_str(" settled");
        }
        if !self.selection.takes(&letter) || !self.remembered.is_new(&key) {
            return ControlFlow::Continue(());
        }
        let Some(newest) = self.newest else {
            return (self.visit)(letter);
        };
        self.taken += 1;
        let written = letter.written_ms.unwrap_or(i64::MIN);
        self.kept.insert((written, self.taken), letter);
        if self.kept.len() > newest {
            self.kept.pop_first();
        }
        ControlFlow::Continue(())
    }

    /// Visits what was kept.
    pub(super) fn finish(self) {
        let _ = self.kept.into_values().try_for_each(self.visit);
    }
}

/// Fingerprints of the last keys.
#[derive(Default)]
pub(crate) struct Remembered {
    known: HashSet<u128>,
    in_order: VecDeque<u128>,
}

impl Remembered {
    /// Whether the key is new; it is remembered then.
    pub(crate) fn is_new(&mut self, key: &str) -> bool {
        let fingerprint = xxh3_128(key.as_bytes());
        if !self.known.insert(fingerprint) {
            return false;
        }
        self.in_order.push_back(fingerprint);
        if self.in_order.len() > REMEMBERED_MAX
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

/// A header as JSON: text as text, other bytes in base64 under a name of their own, null as neither.
#[derive(Serialize, Deserialize)]
pub(super) struct HeaderJson {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

/// What is text as text, other bytes in base64.
pub(crate) fn text_or_base64(bytes: Option<&[u8]>) -> (Option<&str>, Option<String>) {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => (None, None),
        Some((_, Ok(text))) => (Some(text), None),
        Some((bytes, Err(_))) => (None, Some(BASE64.encode(bytes))),
    }
}

/// The other way.
///
/// # Errors
///
/// When the base64 is none.
pub(super) fn bytes_of(
    text: Option<String>,
    base64: Option<String>,
) -> Result<Option<Vec<u8>>, DecodeError> {
    match (text, base64) {
        (Some(text), _) => Ok(Some(text.into_bytes())),
        (None, base64) => base64.map(|base64| BASE64.decode(base64)).transpose(),
    }
}

pub(super) fn to_json(headers: &[RecordHeader]) -> Vec<HeaderJson> {
    let headers = headers.iter().map(|header| {
        let (text, value_base64) = text_or_base64(header.value.as_deref());
        HeaderJson {
            name: header.name.clone(),
            value: text.map(str::to_owned),
            value_base64,
        }
    });
    headers.collect()
}

pub(super) fn of_json(headers: Vec<HeaderJson>) -> Option<Vec<RecordHeader>> {
    let headers = headers.into_iter().map(|header| {
        Some(RecordHeader {
            name: header.name,
            value: bytes_of(header.value, header.value_base64).ok()?,
        })
    });
    headers.collect()
}

/// Headers as a JSON list; `None`: there are none.
pub(crate) fn headers_json(headers: &[RecordHeader]) -> Option<String> {
    let json = || serde_json::to_string(&to_json(headers)).expect("texts are JSON");
    (!headers.is_empty()).then(json)
}

/// The other way; `None` when they are damaged.
pub(crate) fn parse_headers(json: &str) -> Option<Vec<RecordHeader>> {
    of_json(serde_json::from_str(json).ok()?)
}

#[cfg(test)]
mod tests;
