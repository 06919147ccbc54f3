//! Reads a file of dead letters, also while a pipeline appends to it.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use tracing::warn;

use super::line::{SETTLED, parse_line};
use crate::dead_letter::stored::{Entry, Place, Settlements, Sieve};
use crate::dead_letter::{LetterStore, Selection, Visit};
use crate::sink::SinkError;

/// A file of dead letters.
pub(in crate::dead_letter) struct LetterFile {
    path: PathBuf,
}

impl LetterFile {
    pub(in crate::dead_letter) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Reads all lines, or those alone that begin so; until whoever is told has had enough.
    fn read(
        &self,
        beginning: &[u8],
        tell: &mut dyn FnMut(Entry, Place) -> ControlFlow<()>,
    ) -> io::Result<()> {
        let mut lines = BufReader::new(File::open(&self.path)?);
        let (mut line, mut strange) = (Vec::new(), 0_u64);
        for offset in 0.. {
            line.clear();
            lines.read_until(b'\n', &mut line)?;
            if !line.ends_with(b"\n") {
                // The end; or a line that is being written.
                break;
            }
            if !line.starts_with(beginning) {
                continue;
            }
            let place = Place {
                part: 0,
                offset,
                written_ms: None,
            };
            match parse_line(&line) {
                Some(entry) => {
                    if let ControlFlow::Break(()) = tell(entry, place) {
                        break;
                    }
                }
                None => strange += 1,
            }
        }
        if strange > 0 {
            warn!(path = %self.path.display(), lines = strange, "left out lines that are no dead letters");
        }
        Ok(())
    }
}

#[async_trait]
impl LetterStore for LetterFile {
    fn place(&self) -> String {
        format!("file {}", self.path.display())
    }

    async fn scan(
        &mut self,
        selection: &Selection,
        newest: Option<usize>,
        visit: &mut Visit<'_>,
    ) -> Result<(), SinkError> {
        let mut settlements = Settlements::default();
        let mut note = |entry, place| {
            if let Entry::Settled { key, by } = entry {
                settlements.note(&key, place, by);
            }
            ControlFlow::Continue(())
        };
        let noted = self.read(SETTLED, &mut note);
        let mut sieve = Sieve::new(settlements, (selection, newest), visit);
        let mut offer = |entry, place| match entry {
            Entry::Letter(letter) => sieve.offer(*letter, place),
            Entry::Settled { .. } => ControlFlow::Continue(()),
        };
        let read = noted.and_then(|()| self.read(b"", &mut offer));
        read.map_err(|error| {
            let path = self.path.display();
            SinkError::Permanent(match error.kind() {
                io::ErrorKind::NotFound => format!(
                    "there is no dead-letter file {path}: the pipeline creates it when it first runs"
                ),
                _ => format!("failed to read the dead-letter file {path}: {error}"),
            })
        })?;
        sieve.finish();
        Ok(())
    }
}
