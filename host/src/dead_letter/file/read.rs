//! Reads a file of dead letters, also while a pipeline appends to it.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use tracing::warn;

use super::line::parse_line;
use crate::dead_letter::stored::Sieve;
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

    fn read(&self, sieve: &mut Sieve<'_, '_>) -> io::Result<()> {
        let mut lines = BufReader::new(File::open(&self.path)?);
        let (mut line, mut strange) = (Vec::new(), 0_u64);
        loop {
            line.clear();
            lines.read_until(b'\n', &mut line)?;
            if !line.ends_with(b"\n") {
                // The end; or a line that is being written.
                break;
            }
            match parse_line(&line) {
                Some(letter) => {
                    if let ControlFlow::Break(()) = sieve.offer(letter) {
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
        let mut sieve = Sieve::new(selection, newest, visit);
        self.read(&mut sieve).map_err(|error| {
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
