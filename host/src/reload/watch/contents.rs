//! What is in a file, as far as it matters: whether it is the same as before.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};

use crate::guest::hex;

/// A larger file counts as changed when its times or its length do, and is not read.
const READ_BYTES_MAX: u64 = 256 << 20;

/// File systems round times, some to two seconds: a file that changed more recently than this may have
/// changed again without its times telling.
const YOUNG_SECONDS: i64 = 3;

/// What is in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Contents {
    /// something, with its SHA-256 in hexadecimal
    Some(String),
    /// nothing: somebody is about to write it, most likely
    Empty,
    /// there is no such file, or it cannot be read
    Missing,
    /// something very large
    Large(Stamp),
}

impl Contents {
    /// Whether this is probably not for long.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Empty | Self::Missing)
    }
}

/// What the file system says of a file. The same file with the same stamp has the same contents, unless
/// it is young.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Also where the clock of the file system is ahead.
    fn is_young(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_secs() as i64);
        now.saturating_sub(self.changed.0.max(self.modified.0)) < YOUNG_SECONDS
    }
}

/// What was seen of a file at a time.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) contents: Contents,
    /// `None` where there was no file, or where it was too young to rely on
    stamp: Option<Stamp>,
}

impl Seen {
    /// Looks at a file. It is read if `thorough`, or if it may differ from what was seen `before`.
    pub(super) fn of(path: &Path, before: Option<&Self>, thorough: bool) -> Self {
        let missing = Self {
            contents: Contents::Missing,
            stamp: None,
        };
        // A device or a pipe would be read for ever.
        let Some(metadata) = path.metadata().ok().filter(Metadata::is_file) else {
            return missing;
        };
        let stamp = Stamp::of(&metadata);
        if let Some(before) = before.filter(|before| !thorough && before.stamp == Some(stamp)) {
            return before.clone();
        }
        Self {
            contents: read(path, stamp),
            stamp: Some(stamp).filter(|stamp| !stamp.is_young()),
        }
    }
}

fn read(path: &Path, stamp: Stamp) -> Contents {
    if stamp.bytes > READ_BYTES_MAX {
        return Contents::Large(stamp);
    }
    let mut hasher = Sha256::new();
    let mut bytes = 0;
    let mut chunk = vec![0; 64 << 10];
    let Ok(file) = File::open(path) else {
        return Contents::Missing;
    };
    // It may grow meanwhile.
    let mut file = file.take(READ_BYTES_MAX);
    loop {
        match file.read(&mut chunk) {
            Ok(0) if bytes == 0 => return Contents::Empty,
            Ok(0) => return Contents::Some(hex(&hasher.finalize())),
            Ok(read) => {
                bytes += read;
                hasher.update(&chunk[..read]);
            }
            Err(_) => return Contents::Missing,
        }
    }
}
