//! The records that everything is measured with: synthetic sales of about 350 bytes in four partitions of a
//! real Kafka, compressed with lz4, and the same records in four files.
//!
//! A seed makes the same records on every machine. They are made when the first row needs them, and stay for
//! all others.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{Bench, Session};
use crate::group;

/// Of the topic, and files.
pub(super) const PARTITIONS: u32 = 4;

/// Records in Kafka and in files.
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) records: u64,
    files: PathBuf,
    is_full: Cell<bool>,
    has_files: Cell<bool>,
}

impl Topic {
    /// Nothing is made yet.
    pub(super) fn new(name: &str, records: u64, folder: &Path) -> Self {
        Self {
            name: name.to_owned(),
            records,
            files: folder.join("records"),
            is_full: Cell::new(false),
            has_files: Cell::new(false),
        }
    }

    /// The topic that the runs write dead letters to; there are none, so it stays empty.
    pub(super) fn dead_letters(&self) -> String {
        format!("{}.dead", self.name)
    }

    /// Fills the topic, unless it is full.
    pub(super) fn fill(&self, bench: &Bench<'_>) -> Result<()> {
        if !self.is_full.get() {
            let target = ["--brokers", bench.session.kafka(), "--topic", &self.name];
            eprintln!("writing {} records into topic {}", self.records, self.name);
            generate(bench, &target, self.records)?;
            self.is_full.set(true);
        }
        Ok(())
    }

    /// The same records in files, one a partition.
    pub(super) fn files(&self, bench: &Bench<'_>) -> Result<Vec<PathBuf>> {
        if !self.has_files.get() {
            eprintln!("writing {} records into files", self.records);
            let folder = self.files.to_string_lossy();
            generate(bench, &["--output", &folder], self.records)?;
            self.has_files.set(true);
        }
        let entries = fs::read_dir(&self.files)
            .with_context(|| format!("failed to read {}", self.files.display()))?;
        let paths = entries.map(|entry| Ok(entry?.path()));
        let mut paths = paths.collect::<Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    }

    /// Deletes everything.
    pub(super) fn delete(&self, session: &Session) -> Result<()> {
        if self.has_files.get() {
            fs::remove_dir_all(&self.files)?;
        }
        if self.is_full.get() {
            session.delete_topic(&self.dead_letters())?;
            session.delete_topic(&self.name)?;
        }
        Ok(())
    }
}

/// Makes records with `wasmill generate`.
pub(super) fn generate(bench: &Bench<'_>, target: &[&str], records: u64) -> Result<()> {
    group::run(
        Command::new(bench.programs.join("wasmill"))
            .arg("generate")
            .args(target)
            .args(["--partitions", &PARTITIONS.to_string()])
            .args(["--count", &records.to_string()]),
    )
}
