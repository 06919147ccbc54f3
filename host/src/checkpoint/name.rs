//! What files are called, on any file system and in any bucket.
//!
//! # Invariants
//!
//! Different names of pipelines, aggregates and lives make different paths, also where case makes no
//! difference.

use std::fmt::Write;

use crate::epoch::EpochId;
use crate::record::Partition;

use super::Checksum;

/// Bytes of a folder's name beyond which its end gives way to a checksum; file systems take 255.
const PART_BYTES_MAX: usize = 200;

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// state of the aggregate of this name
    Table(String),
    /// fingerprints of this partition
    Seen(Partition),
    /// what came before the aggregate of this name
    Backfill(String),
}

/// Identifies one file of a pipeline's life.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileName {
    /// what it holds
    pub kind: FileKind,
    /// the epoch at whose end it was written
    pub epoch: EpochId,
    /// the generation of the host that writes it
    pub generation: u64,
    /// tells apart several files of the rest; usually 0
    pub part: u32,
}

/// The path of a component's file in the folder of the pipeline's life.
pub(super) fn component(digest: &str) -> String {
    format!("components/{digest}.wasm")
}

impl FileName {
    /// State of an aggregate.
    #[must_use]
    pub fn table(aggregate: &str, epoch: EpochId, generation: u64) -> Self {
        Self {
            kind: FileKind::Table(aggregate.to_owned()),
            epoch,
            generation,
            part: 0,
        }
    }

    /// What came before an aggregate: `epoch` is the last one when it was written.
    #[must_use]
    pub fn backfill(aggregate: &str, epoch: EpochId, generation: u64) -> Self {
        Self {
            kind: FileKind::Backfill(aggregate.to_owned()),
            epoch,
            generation,
            part: 0,
        }
    }

    /// Fingerprints of a partition.
    #[must_use]
    pub fn seen(partition: Partition, epoch: EpochId, generation: u64) -> Self {
        Self {
            kind: FileKind::Seen(partition),
            epoch,
            generation,
            part: 0,
        }
    }

    /// The same, as another part.
    #[must_use]
    pub fn with_part(self, part: u32) -> Self {
        Self { part, ..self }
    }

    /// Its path in the folder of the pipeline's life.
    pub(super) fn path(&self) -> String {
        let folder = match &self.kind {
            FileKind::Table(aggregate) => format!("{TABLES}/{}", part(aggregate)),
            FileKind::Seen(partition) => format!("{SEEN}/{partition}"),
            FileKind::Backfill(aggregate) => format!("{BACKFILLS}/{}", part(aggregate)),
        };
        let Self {
            epoch: EpochId(epoch),
            generation,
            part,
            ..
        } = self;
        format!("{folder}/{epoch:012}-g{generation:010}-{part:02}.arrow")
    }
}

pub(super) const TABLES: &str = "tables";
pub(super) const SEEN: &str = "seen";
pub(super) const BACKFILLS: &str = "backfills";
pub(super) const MANIFESTS: &str = "manifests";

/// What the name of a manifest ends in that was set aside.
pub(super) const SET_ASIDE: &str = ".unusable";

/// The generation of the host that wrote the file of this name; `None` when it is none of ours. What
/// stands behind the name of a file that was never finished is ignored.
pub(super) fn generation(file: &str) -> Option<u64> {
    let (_, rest) = file.split_once("-g")?;
    let (generation, rest) = rest.split_once('-')?;
    rest.contains(".arrow").then(|| generation.parse().ok())?
}

/// The path of an epoch's manifest in the folder of the pipeline's life.
pub(super) fn manifest(epoch: EpochId) -> String {
    format!("{MANIFESTS}/{:012}.json", epoch.0)
}

/// A manifest by its file's name, and whether it was set aside; `None` when it is none.
pub(super) fn parse_manifest(file: &str) -> Option<(EpochId, bool)> {
    let (json, set_aside) = match file.strip_suffix(SET_ASIDE) {
        Some(json) => (json, true),
        None => (file, false),
    };
    let digits = json.strip_suffix(".json")?;
    let epoch = EpochId(digits.parse().ok()?);
    // Only the spelling that is written: two names of one epoch would be two manifests.
    (manifest(epoch).strip_prefix(MANIFESTS)?.strip_prefix('/')? == json)
        .then_some((epoch, set_aside))
}

/// A name as that of a folder or of a part of a key: small letters, digits, `-` and `_` stay, every
/// other byte becomes `=` and two digits.
pub(super) fn part(name: &str) -> String {
    let mut part = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => part.push(char::from(byte)),
            other => write!(part, "={other:02x}").expect("a String takes every text"),
        }
    }
    match part.len() {
        // No name is empty but this one.
        0 => "=".to_owned(),
        1..=PART_BYTES_MAX => part,
        _ => {
            part.truncate(PART_BYTES_MAX - Checksum::DIGITS - 2);
            format!("{part}=={}", Checksum::of(name.as_bytes()))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_tells_what_is_in_the_file() {
        let table = FileName::table("sales_per_day", EpochId(42), 3);
        assert_eq!(
            table.path(),
            "tables/sales_per_day/000000000042-g0000000003-00.arrow"
        );
        let seen = FileName::seen(Partition(7), EpochId(42), 3).with_part(1);
        assert_eq!(seen.path(), "seen/7/000000000042-g0000000003-01.arrow");
        let before = FileName::backfill("Days", EpochId(42), 3);
        assert_eq!(
            before.path(),
            "backfills/=44ays/000000000042-g0000000003-00.arrow"
        );
    }

    #[test]
    fn names_that_differ_in_case_alone_have_folders_of_their_own() {
        assert_eq!(part("sales"), "sales");
        assert_eq!(part("Sales"), "=53ales");
        assert_eq!(part("../é"), "=2e=2e=2f=c3=a9");
        assert_eq!(part(""), "=");
    }

    #[test]
    fn a_manifest_has_one_spelling() {
        let set_aside = format!("000000000042.json{SET_ASIDE}");
        assert_eq!(
            parse_manifest("000000000042.json"),
            Some((EpochId(42), false))
        );
        assert_eq!(parse_manifest(&set_aside), Some((EpochId(42), true)));
        for wrong in ["42.json", "+00000000042.json", "000000000042", "x.json", ""] {
            assert_eq!(parse_manifest(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_file_that_was_never_finished_has_a_generation() {
        assert_eq!(generation("000000000042-g0000000003-00.arrow#1"), Some(3));
        for wrong in ["", "x", "1-g-00.arrow", "1-g3-00.parquet", "1-gx-00.arrow"] {
            assert_eq!(generation(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_name_is_a_legal_part(name in ".{0,300}", other in ".{0,300}") {
            let made = part(&name);
            prop_assert!(!made.is_empty() && made.len() <= PART_BYTES_MAX);
            let is_legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_=".contains(&b);
            prop_assert!(made.bytes().all(is_legal));
            prop_assert_eq!(name == other, made == part(&other));
        }

        #[test]
        fn a_generation_is_read_back(epoch: u64, number: u64, part: u32) {
            let name = FileName::table("a-g7-b", EpochId(epoch), number).with_part(part);
            let path = name.path();
            let (_, file) = path.rsplit_once('/').expect("a file is in a folder");
            prop_assert_eq!(generation(file), Some(number));
            prop_assert_eq!(parse_manifest(&manifest(EpochId(epoch))[MANIFESTS.len() + 1..]), Some((EpochId(epoch), false)));
        }
    }
}
