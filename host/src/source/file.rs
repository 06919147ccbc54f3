//! Files of lines (ndjson): one file is one partition, in the order of the paths.
//!
//! The offset of a record is the position of its first byte in the file, so a seek reads nothing
//! and a partition's `end` is the length of its file. Empty lines are skipped, and so are gaps in
//! the sense of [`Source`]; a line may end with `\r\n`. A file that grows is read on.
//!
//! # Where a line ends
//!
//! At a line feed, or **at a bound** (`until`). So a run up to `end` gets the last line of a file
//! whether a line feed follows it or not, a run without bounds never gets half of a line that is
//! still being written, and a bound that was used once cuts at the same byte whenever the same
//! stretch is read again, whatever was appended since. It follows that bounds have to be offsets
//! which the source itself named (`end`, or a position), and that whoever reads up to `end` while a
//! line is being written gets the line in two parts.
//!
//! # Invariants
//!
//! Nothing is kept between polls but positions: what a poll has read ahead and not delivered is
//! read again by the next one, from the page cache.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::budget::Budget;
use super::{
    PartitionRange, PollLimit, Source, SourceError, Survey, ahead_of, all_reached, check_positions,
};
use crate::record::{Origin, Partition, Positions, RawHeaders, RawRecord, TakeRecords};

/// Bytes read at once.
const CHUNK: usize = 256 << 10;

/// The longest line, in bytes. A longer one is no record but another kind of file.
const LINE_BYTES_MAX: usize = 64 << 20;

/// Between two looks at files that had nothing more.
const IDLE_WAIT: Duration = Duration::from_millis(50);

/// Files of lines.
#[derive(Debug)]
pub struct FileSource {
    paths: Vec<PathBuf>,
    /// by partition; `None`: not read
    tails: Vec<Option<Tail>>,
    positions: Positions,
    /// which partition is served first: the next one in every poll
    turn: usize,
    chunk: Vec<u8>,
}

/// An open file that is read.
#[derive(Debug)]
struct Tail {
    partition: Partition,
    path: PathBuf,
    file: File,
    position: u64,
    /// The length at which the file had no complete line beyond `position`.
    exhausted_at: Option<u64>,
}

/// What came of reading a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// the poll has had enough
    Full,
    /// the bound, or the end of the last complete line
    Done,
}

impl FileSource {
    /// A source that stands nowhere until its first seek. No file is opened before.
    #[must_use]
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self {
            paths,
            tails: Vec::new(),
            positions: Positions::default(),
            turn: 0,
            chunk: Vec::new(),
        }
    }

    /// A partition that is read from this position on.
    fn open(&self, partition: Partition, position: i64) -> Result<Tail, SourceError> {
        let path = &self.paths[partition.0 as usize];
        Ok(Tail {
            partition,
            path: path.clone(),
            file: File::open(path).map_err(|error| failed("open", path, &error))?,
            position: position as u64,
            exhausted_at: None,
        })
    }

    /// Serves every partition once. Returns whether the poll has had enough.
    fn read(
        &mut self,
        until: &Positions,
        budget: &mut Budget,
        into: &mut dyn TakeRecords,
    ) -> Result<Stop, SourceError> {
        let count = self.tails.len();
        for index in 0..count {
            let Some(tail) = &mut self.tails[(self.turn + index) % count] else {
                continue;
            };
            let bound = until
                .get(tail.partition)
                .map(|bound| u64::try_from(bound).unwrap_or(0));
            let outcome = tail.read(bound, &mut self.chunk, budget, into);
            self.positions.set(tail.partition, tail.position as i64);
            if self.chunk.len() > CHUNK {
                self.chunk = Vec::new();
            }
            if outcome? == Stop::Full {
                return Ok(Stop::Full);
            }
        }
        Ok(Stop::Done)
    }
}

impl Source for FileSource {
    fn partitions(&mut self) -> Result<Vec<PartitionRange>, SourceError> {
        (0u32..)
            .zip(&self.paths)
            .map(|(partition, path)| {
                Ok(PartitionRange {
                    partition: Partition(partition),
                    begin: 0,
                    end: regular_file(path)?.len() as i64,
                })
            })
            .collect()
    }

    fn survey(&self) -> Survey {
        let mut same = Self::new(self.paths.clone());
        Survey {
            partitions: Box::new(move || same.partitions()),
            show: None,
        }
    }

    fn seek(&mut self, positions: &Positions) -> Result<(), SourceError> {
        check_positions(positions, &self.partitions()?)?;
        let mut tails = Vec::new();
        tails.resize_with(self.paths.len(), || None);
        for (partition, position) in positions.iter() {
            tails[partition.0 as usize] = Some(self.open(partition, position)?);
        }
        self.tails = tails;
        self.positions = positions.clone();
        Ok(())
    }

    fn adjust(&mut self, positions: &Positions) -> Result<(), SourceError> {
        check_positions(positions, &self.partitions()?)?;
        let ahead = ahead_of(&self.positions, positions);
        let opened = ahead
            .iter()
            .map(|(partition, position)| self.open(partition, position));
        for tail in opened.collect::<Result<Vec<_>, _>>()? {
            self.positions.set(tail.partition, tail.position as i64);
            let index = tail.partition.0 as usize;
            self.tails[index] = Some(tail);
        }
        Ok(())
    }

    fn poll(
        &mut self,
        until: &Positions,
        limit: PollLimit,
        into: &mut dyn TakeRecords,
    ) -> Result<(), SourceError> {
        let deadline = Instant::now() + limit.wait_max;
        let mut budget = Budget::new(limit);
        self.turn = self.turn.wrapping_add(1);
        loop {
            let stop = self.read(until, &mut budget, into)?;
            let wait = deadline.saturating_duration_since(Instant::now());
            if stop == Stop::Full
                || !budget.is_untouched()
                || all_reached(&self.positions, until)
                || wait.is_zero()
            {
                return Ok(());
            }
            thread::sleep(wait.min(IDLE_WAIT));
        }
    }

    fn positions(&self) -> &Positions {
        &self.positions
    }
}

impl Tail {
    /// Delivers lines from the position on.
    fn read(
        &mut self,
        bound: Option<u64>,
        chunk: &mut Vec<u8>,
        budget: &mut Budget,
        into: &mut dyn TakeRecords,
    ) -> Result<Stop, SourceError> {
        let mut size = CHUNK;
        while bound.is_none_or(|bound| self.position < bound) {
            if budget.records_left() == 0 {
                return Ok(Stop::Full);
            }
            if self.exhausted_at.is_some() && self.is_exhausted(bound)? {
                return Ok(Stop::Done);
            }
            let to_bound = bound.map_or(u64::MAX, |bound| bound - self.position);
            let wanted = usize::try_from(to_bound).unwrap_or(usize::MAX).min(size);
            if chunk.len() < size {
                chunk.resize(size, 0);
            }
            let read = self.fill(&mut chunk[..wanted])?;
            let is_cut = read as u64 == to_bound;
            let before = self.position;
            if self.deliver(&chunk[..read], is_cut, budget, into) == Stop::Full {
                return Ok(Stop::Full);
            }
            if self.position > before {
                size = CHUNK;
            } else if read < wanted {
                // The rest of the file, if there is any, is no complete line yet.
                self.exhausted_at = Some(before + read as u64);
            } else if size > LINE_BYTES_MAX {
                // All of these bytes are one line.
                return Err(SourceError::Permanent(format!(
                    "failed to read {}: the line at byte {before} is longer than {} MiB",
                    self.path.display(),
                    LINE_BYTES_MAX >> 20
                )));
            } else {
                size = (2 * size).min(LINE_BYTES_MAX + 1);
            }
        }
        Ok(Stop::Done)
    }

    /// Delivers the complete lines of `bytes`, which stand at the position, and moves past them.
    /// With `is_cut`, what follows the last line feed is a line too.
    fn deliver(
        &mut self,
        bytes: &[u8],
        is_cut: bool,
        budget: &mut Budget,
        into: &mut dyn TakeRecords,
    ) -> Stop {
        let base = self.position;
        let mut start = 0;
        let last =
            (is_cut && bytes.last().is_some_and(|&byte| byte != b'\n')).then_some(bytes.len());
        for end in memchr::memchr_iter(b'\n', bytes).chain(last) {
            let line = &bytes[start..end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let record = RawRecord {
                origin: Origin {
                    partition: self.partition,
                    offset: self.position as i64,
                },
                timestamp_ms: None,
                key: None,
                value: Some(line),
                headers: RawHeaders::default(),
            };
            if !line.is_empty() && !budget.take(record, into) {
                return Stop::Full;
            }
            start = bytes.len().min(end + 1);
            self.position = base + start as u64;
        }
        Stop::Done
    }

    /// Reads as much as there is.
    fn fill(&self, into: &mut [u8]) -> Result<usize, SourceError> {
        let mut filled = 0;
        while filled < into.len() {
            match self
                .file
                .read_at(&mut into[filled..], self.position + filled as u64)
            {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed("read", &self.path, &error)),
            }
        }
        Ok(filled)
    }

    /// Whether the file still has nothing more, and is still the same.
    fn is_exhausted(&mut self, bound: Option<u64>) -> Result<bool, SourceError> {
        let here = regular_file(&self.path)?;
        let open = self
            .file
            .metadata()
            .map_err(|error| failed("read", &self.path, &error))?;
        if (here.dev(), here.ino()) != (open.dev(), open.ino()) {
            return Err(SourceError::Permanent(format!(
                "failed to read {}: it was replaced by another file while it was read",
                self.path.display()
            )));
        }
        let seen = self.exhausted_at.unwrap_or(self.position);
        if here.len() < seen {
            return Err(SourceError::Permanent(format!(
                "failed to read {}: it was {seen} bytes long and is now {}",
                self.path.display(),
                here.len()
            )));
        }
        let is_exhausted = here.len() == seen && bound.is_none_or(|bound| bound > seen);
        if !is_exhausted {
            self.exhausted_at = None;
        }
        Ok(is_exhausted)
    }
}

/// What is at this path, if it can be read at any position.
fn regular_file(path: &Path) -> Result<fs::Metadata, SourceError> {
    let found = fs::metadata(path).map_err(|error| failed("read", path, &error))?;
    if found.is_file() {
        return Ok(found);
    }
    Err(SourceError::Permanent(format!(
        "failed to read {}: it is not a regular file, and nothing else can be read again",
        path.display()
    )))
}

fn failed(what: &str, path: &Path, error: &io::Error) -> SourceError {
    SourceError::Permanent(format!("failed to {what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
