//! What a checkpoint consists of, as JSON that people can read and that knows when it is damaged.
//!
//! The last line but one of the text is its checksum, over everything that stands before it:
//!
//! ```json
//! {
//!   "format": 2,
//!   …
//!   "seen": {},
//!   "checksum": "99aa06d3014798d86001c324468d497f"
//! }
//! ```
//!
//! # Invariants
//!
//! Any byte that is changed, missing or too many makes the text unreadable; nothing is parsed before
//! the checksum was found right.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Checksum;
use crate::deployment::Version;
use crate::epoch::EpochId;
use crate::record::{Partition, Positions};

/// The format that is written. Another one is another wasmill's.
const FORMAT: u32 = 2;

const BEFORE_CHECKSUM: &str = ",\n  \"checksum\": \"";
const AFTER_CHECKSUM: &str = "\"\n}\n";

/// A file of a checkpoint, with what it takes to know it again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRef {
    /// its path in the folder of the pipeline's life
    pub name: String,
    /// rows in it
    pub rows: u64,
    /// its length
    pub bytes: u64,
    /// over all its bytes
    pub checksum: Checksum,
}

/// All that a checkpoint consists of.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// the state is that at the end of this epoch
    pub epoch: EpochId,
    /// of the host that wrote it
    pub generation: u64,
    /// for people
    pub written_at: DateTime<Utc>,
    /// the next offset to read in each partition
    pub positions: Positions,
    /// the version of the logic whose state it is
    pub version: Version,
    /// the state of each aggregate: files, oldest first; a later one overrules what is in an earlier
    pub tables: BTreeMap<String, Vec<FileRef>>,
    /// fingerprints of each partition: files, oldest first
    pub seen: BTreeMap<Partition, Vec<FileRef>>,
}

impl Manifest {
    /// Every file that it names.
    pub fn files(&self) -> impl Iterator<Item = &FileRef> {
        self.tables.values().chain(self.seen.values()).flatten()
    }

    /// Whether both say the same of the state: they may have been written at different times.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        let Self { written_at, .. } = self;
        *self
            == Self {
                written_at: *written_at,
                ..other.clone()
            }
    }

    /// The text of it, for this life of this pipeline.
    pub(super) fn render(&self, pipeline: &str, life: &str) -> String {
        let document = Document {
            format: FORMAT,
            pipeline: pipeline.to_owned(),
            life: life.to_owned(),
            epoch: self.epoch.0,
            generation: self.generation,
            written_at: self.written_at,
            positions: self.positions.iter().map(|(p, next)| (p.0, next)).collect(),
            deployment: self.version,
            tables: self.tables.clone(),
            seen: self
                .seen
                .iter()
                .map(|(p, files)| (p.0, files.clone()))
                .collect(),
        };
        let mut text = serde_json::to_string_pretty(&document)
            .expect("strings, numbers and maps of those have a JSON");
        let closing = "\n}".len();
        text.truncate(text.len() - closing);
        let checksum = Checksum::of(text.as_bytes());
        format!("{text}{BEFORE_CHECKSUM}{checksum}{AFTER_CHECKSUM}")
    }

    /// What is in the text. `life` is that of `pipeline`, and `epoch` what its name says.
    pub(super) fn parse(
        bytes: &[u8],
        pipeline: &str,
        life: &str,
        epoch: EpochId,
    ) -> Result<Self, Unreadable> {
        let body = verified(bytes)?;
        // What was cut off is put back.
        let text = format!("{body}\n}}");
        let not_ours = |error: serde_json::Error| Unreadable::Damaged(error.to_string());
        let Format { format } = serde_json::from_str(&text).map_err(not_ours)?;
        if format != FORMAT {
            return Err(Unreadable::Format(format));
        }
        let document: Document = serde_json::from_str(&text).map_err(not_ours)?;
        let (whose, of) = (&document.pipeline, document.epoch);
        if (whose.as_str(), document.life.as_str(), EpochId(of)) != (pipeline, life, epoch) {
            let life = &document.life;
            return Err(Unreadable::Damaged(format!(
                "it is that of epoch {of} of pipeline `{whose}`, life {life}"
            )));
        }
        Ok(document.into())
    }
}

/// Why a text is no manifest that can be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// with the reason
    Damaged(String),
    /// whole, and of another format
    Format(u32),
}

/// The text before its checksum, which is right.
fn verified(bytes: &[u8]) -> Result<&str, Unreadable> {
    let damaged = |reason: &str| Unreadable::Damaged(reason.to_owned());
    let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is no text"))?;
    let (body, checksum) = text
        .strip_suffix(AFTER_CHECKSUM)
        .and_then(|text| text.split_at_checked(text.len().checked_sub(Checksum::DIGITS)?))
        .and_then(|(body, digits)| {
            Some((
                body.strip_suffix(BEFORE_CHECKSUM)?,
                digits.parse::<Checksum>().ok()?,
            ))
        })
        .ok_or_else(|| damaged("it does not end with a checksum"))?;
    if Checksum::of(body.as_bytes()) != checksum {
        return Err(damaged("its checksum is not that of its content"));
    }
    Ok(body)
}

/// What every format says.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// The JSON, in this order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u32,
    pipeline: String,
    life: String,
    epoch: u64,
    generation: u64,
    written_at: DateTime<Utc>,
    positions: BTreeMap<u32, i64>,
    deployment: Version,
    tables: BTreeMap<String, Vec<FileRef>>,
    seen: BTreeMap<u32, Vec<FileRef>>,
}

impl From<Document> for Manifest {
    fn from(document: Document) -> Self {
        let partition = |(p, value): (u32, i64)| (Partition(p), value);
        Self {
            epoch: EpochId(document.epoch),
            generation: document.generation,
            written_at: document.written_at,
            positions: document.positions.into_iter().map(partition).collect(),
            version: document.deployment,
            tables: document.tables,
            seen: document
                .seen
                .into_iter()
                .map(|(p, files)| (Partition(p), files))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use proptest::prelude::*;
    use serde_json::Value as Json;

    use super::*;

    fn file(name: &str) -> FileRef {
        FileRef {
            name: name.to_owned(),
            rows: 2,
            bytes: 714,
            checksum: Checksum::of(name.as_bytes()),
        }
    }

    fn manifest() -> Manifest {
        Manifest {
            epoch: EpochId(42),
            generation: 3,
            written_at: DateTime::from_timestamp_millis(1_750_000_000_123).unwrap(),
            positions: [(Partition(0), 100), (Partition(10), 7)]
                .into_iter()
                .collect(),
            version: Version(2),
            tables: BTreeMap::from([("daily".to_owned(), vec![file("a"), file("b")])]),
            seen: BTreeMap::from([(Partition(0), vec![file("c")])]),
        }
    }

    fn parse(text: &[u8]) -> Result<Manifest, Unreadable> {
        Manifest::parse(text, "shop", "1f-2e", EpochId(42))
    }

    #[test]
    fn it_is_json_that_people_can_read() {
        let text = manifest().render("shop", "1f-2e");
        assert_snapshot!(text);
        let _: Json = serde_json::from_str(&text).unwrap();
        assert_eq!(parse(text.as_bytes()), Ok(manifest()));
    }

    #[test]
    fn one_of_another_place_is_not_used() {
        let text = manifest().render("shop", "1f-2e");
        let of = |pipeline, life, epoch| {
            Manifest::parse(text.as_bytes(), pipeline, life, EpochId(epoch)).is_ok()
        };
        assert!(of("shop", "1f-2e", 42));
        assert!(!of("store", "1f-2e", 42));
        assert!(!of("shop", "1f-2f", 42));
        assert!(!of("shop", "1f-2e", 41));
    }

    #[test]
    fn one_of_a_later_format_is_told_from_a_damaged_one() {
        let text = manifest().render("shop", "1f-2e");
        let body = verified(text.as_bytes()).unwrap();
        let body = body.replace("\"format\": 2", "\"format\": 3,\n  \"new\": true");
        let checksum = Checksum::of(body.as_bytes());
        let text = format!("{body}{BEFORE_CHECKSUM}{checksum}{AFTER_CHECKSUM}");
        assert_eq!(parse(text.as_bytes()), Err(Unreadable::Format(3)));
    }

    #[test]
    fn the_time_alone_makes_no_difference() {
        let later = Manifest {
            written_at: DateTime::from_timestamp_millis(0).unwrap(),
            ..manifest()
        };
        assert!(manifest().says_the_same(&later));
        let other = Manifest {
            generation: 4,
            ..manifest()
        };
        assert!(!manifest().says_the_same(&other));
    }

    #[test]
    fn any_bit_that_is_flipped_is_noticed() {
        let text = manifest().render("shop", "1f-2e").into_bytes();
        for bit in 0..text.len() * 8 {
            let mut damaged = text.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let result = parse(&damaged);
            assert!(matches!(result, Err(Unreadable::Damaged(_))), "bit {bit}");
        }
    }

    #[test]
    fn any_end_that_is_missing_is_noticed() {
        let text = manifest().render("shop", "1f-2e").into_bytes();
        for length in 0..text.len() {
            let result = parse(&text[..length]);
            assert!(matches!(result, Err(Unreadable::Damaged(_))), "{length}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, text in "\\PC{0,40}") {
            prop_assert!(parse(&bytes).is_err());
            let checksum = Checksum::of(text.as_bytes());
            let whole = format!("{text}{BEFORE_CHECKSUM}{checksum}{AFTER_CHECKSUM}");
            prop_assert!(parse(whole.as_bytes()).is_err());
        }

        #[test]
        fn what_is_written_is_read_back(
            epoch: u64,
            generation: u64,
            positions: BTreeMap<u32, i64>,
            names in prop::collection::btree_map("\\PC{0,8}", prop::collection::vec("\\PC{0,20}", 0..3), 0..3),
            pipeline in "\\PC{0,10}",
        ) {
            let files = |names: Vec<String>| names.iter().map(|name| file(name)).collect::<Vec<_>>();
            let manifest = Manifest {
                epoch: EpochId(epoch),
                generation,
                positions: positions.iter().map(|(&p, &next)| (Partition(p), next)).collect(),
                tables: names.clone().into_iter().map(|(name, names)| (name, files(names))).collect(),
                seen: positions.keys().map(|&p| (Partition(p), vec![file("s")])).collect(),
                ..manifest()
            };
            let text = manifest.render(&pipeline, "life");
            let read = Manifest::parse(text.as_bytes(), &pipeline, "life", EpochId(epoch));
            prop_assert_eq!(read, Ok(manifest));
        }
    }
}
