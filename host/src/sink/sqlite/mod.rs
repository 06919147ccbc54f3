//! SQLite: a file that is sink and ledger, with nothing to install.
//!
//! As in PostgreSQL, an epoch's rows, journal entry and progress are one transaction, and the row of `wasmill_progress` is the fence. The log is written ahead and synced
//! at every commit, so what is committed survives a crash of the machine, and readers see whole
//! epochs while the next one is written.
//!
//! # Invariants
//!
//! 1. After any error the connection is given up, and the next call starts on a new one from what is
//!    committed. So a commit of which nobody knows needs no special care: the fence tells.
//! 2. A call waits a few seconds for another process that writes, and then says so.
//! 3. What SQLite does, it does off the runtime's other tasks.
//!
//! # Not here
//!
//! Repeating a call: the caller does, as [`SinkError::remedy`] says.

mod catalog;
mod claim;
mod deployments;
mod failure;
mod file;
mod letters;
mod presence;
mod progress;
mod provenance;
mod setup;
mod table;
mod write;

use std::path::Path;

use async_trait::async_trait;
use rusqlite::Connection;
use tracing::debug;

use self::claim::Claimant;
use self::failure::Failure;
use self::file::{DatabaseFile, Session};
use self::presence::OwnerLock;
use self::progress::Owner;
use self::table::{FileTable, refuse_equal_names};
use self::write::TableRows;
use super::letters::LetterTable;
use super::screen::Bounds;
use super::table::TableTarget;
use super::{Claim, Durable, Ledger, Sink, SinkError, Targets};
use crate::blocking::off_the_runtime;
use crate::calendar::{PRINTABLE, day_of};
use crate::deployment::{Deployment, Outcome, Version};
use crate::epoch::{EpochId, EpochOutput, JournalEntry, OutputBatch};
use crate::record::DeadLetter;

pub use self::letters::SqliteLetters;
pub use self::provenance::history;

/// What its tables hold: the times that its own functions read, and that sort as text. It would store
/// NaN as null.
pub static BOUNDS: Bounds = Bounds {
    database: "SQLite",
    micros: PRINTABLE.start..=PRINTABLE.end - 1,
    timestamps: "the years 1 to 9999",
    days: day_of(PRINTABLE.start) as i32..=day_of(PRINTABLE.end - 1) as i32,
    dates: "the years 1 to 9999",
    nan: false,
    key_bytes_max: None,
};

const CLAIMED: &str = "a pipeline is claimed before anything is written";

/// Tables in a file of SQLite, with the journal and everybody's progress beside them.
pub struct SqliteLedger {
    name: String,
    pipeline: String,
    file: DatabaseFile,
    /// that of the dead letters last, where they are kept here
    tables: Vec<FileTable>,
    letters: Option<LetterTable>,
    /// `None` while a call uses it, and after an error
    session: Option<Session>,
    owner: Option<Owner>,
    /// where the pipeline is taken from no host that runs it
    courtesy: Option<OwnerLock>,
}

impl SqliteLedger {
    /// A ledger called `name` in `pipeline`, in the file at `path`, which is not opened yet.
    ///
    /// # Errors
    ///
    /// [`SinkError::Permanent`] when the tables cannot be told apart in SQLite.
    pub fn new(
        name: &str,
        pipeline: &str,
        path: &Path,
        tables: Vec<TableTarget>,
    ) -> Result<Self, SinkError> {
        Ok(Self {
            name: name.to_owned(),
            pipeline: pipeline.to_owned(),
            file: DatabaseFile::new(path),
            tables: file_tables(tables)?,
            letters: None,
            session: None,
            owner: None,
            courtesy: None,
        })
    }

    /// The same claiming the pipeline only once no other process that does the same runs it.
    #[must_use]
    pub fn waiting_for_the_owner(mut self) -> Self {
        self.courtesy = Some(OwnerLock::beside(self.file.path(), &self.pipeline));
        self
    }

    /// The same keeping dead letters in this table, for records of `topic`.
    ///
    /// # Errors
    ///
    /// [`SinkError::Permanent`] when the name is none for a table, or that of another one.
    pub fn keeping_letters(mut self, table: &str, topic: &str) -> Result<Self, SinkError> {
        let letters = LetterTable::new(table, &self.pipeline, topic)?;
        self.tables.push(FileTable::new(letters.target().clone())?);
        refuse_equal_names(&self.tables)?;
        self.letters = Some(letters);
        Ok(self)
    }

    /// Letters as rows; none where they are kept elsewhere.
    fn letter_rows(&self, epoch: EpochId, letters: &[DeadLetter]) -> Vec<OutputBatch> {
        let table = self.letters.as_ref();
        table.map_or_else(Vec::new, |table| table.batches(epoch, letters, &BOUNDS))
    }

    /// Does work on the session of the last call, or on a new one, and keeps it if all goes well.
    fn with_session<T>(
        &mut self,
        work: impl FnOnce(&mut Connection, Work<'_>) -> Result<T, Failure>,
    ) -> Result<T, SinkError> {
        let Self {
            name,
            pipeline,
            file,
            tables,
            session,
            owner,
            letters: _,
            courtesy: _,
        } = self;
        let work_on = Work {
            claimant: Claimant {
                pipeline,
                ledger: name,
                path: file.path(),
            },
            what: file.what(),
            tables,
            owner: owner.as_ref(),
        };
        let kept = session.take();
        let outcome = off_the_runtime(|| {
            let mut open = if let Some(open) = kept {
                file.check_same(&open)?;
                open
            } else {
                debug!(file = file.what(), "opening");
                file.open()?
            };
            let value = work(&mut open.connection, work_on)?;
            Ok((open, value))
        });
        match outcome {
            Ok((open, value)) => {
                *session = Some(open);
                Ok(value)
            }
            Err(failure) => Err(Failure::into_sink_error(failure, file.what())),
        }
    }

    /// Does work on a connection that changes nothing, unless the file is still to be created.
    fn look<T: Default>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, SinkError> {
        let look = || match self.file.look()? {
            Some(connection) => work(&connection),
            None => Ok(T::default()),
        };
        off_the_runtime(look).map_err(|failure| failure.into_sink_error(self.file.what()))
    }
}

fn file_tables(
    targets: impl IntoIterator<Item = TableTarget>,
) -> Result<Vec<FileTable>, SinkError> {
    let tables = targets.into_iter().map(FileTable::new);
    let tables: Vec<FileTable> = tables.collect::<Result<_, _>>()?;
    refuse_equal_names(&tables)?;
    Ok(tables)
}

/// What work on a session may need of its ledger.
struct Work<'a> {
    claimant: Claimant<'a>,
    what: &'a str,
    tables: &'a [FileTable],
    owner: Option<&'a Owner>,
}

#[async_trait]
impl Sink for SqliteLedger {
    fn name(&self) -> &str {
        &self.name
    }

    async fn prepare(&mut self) -> Result<(), SinkError> {
        self.session = None;
        self.with_session(|connection, on| setup::set_up(connection, on.what, on.tables))
    }

    fn aim(&mut self, targets: &Targets) -> Result<(), SinkError> {
        let letters = self.letters.as_ref().map(LetterTable::target);
        self.tables = file_tables(targets.tables.iter().chain(letters).cloned())?;
        Ok(())
    }

    async fn check(&mut self) -> Result<Vec<String>, SinkError> {
        self.look(|connection| setup::check(connection, self.file.what(), &self.tables))
    }

    async fn write(&mut self, epoch: &EpochOutput) -> Result<Durable, SinkError> {
        let letters = self.letter_rows(epoch.epoch, &epoch.dead_letters);
        let table = self.letters.clone().filter(|_| !epoch.settled.is_empty());
        self.with_session(|connection, on| {
            let owner = on.owner.expect(CLAIMED);
            let letters = (table.as_ref(), &*letters);
            write::write_epoch(connection, owner, on.tables, epoch, letters)
        })?;
        Ok(Durable::default())
    }
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn claim(
        &mut self,
        definition: &serde_json::Value,
        others: &[String],
    ) -> Result<Claim, SinkError> {
        self.owner = None;
        if let Some(courtesy) = &mut self.courtesy {
            courtesy.take(&self.pipeline)?;
        }
        let (owner, claim) =
            self.with_session(|connection, on| on.claimant.claim(connection, definition, others))?;
        self.owner = Some(owner);
        Ok(claim)
    }

    async fn check_claim(
        &mut self,
        definition: &serde_json::Value,
        others: &[String],
    ) -> Result<(), SinkError> {
        let claimant = Claimant {
            pipeline: &self.pipeline,
            ledger: &self.name,
            path: self.file.path(),
        };
        self.look(|connection| claimant.check(connection, definition, others))
    }

    async fn journal(
        &mut self,
        after: EpochId,
        entries_max: usize,
    ) -> Result<Vec<JournalEntry>, SinkError> {
        self.with_session(|connection, on| {
            progress::journal(connection, on.claimant.pipeline, (after, entries_max))
        })
    }

    async fn deployments(&mut self) -> Result<Vec<Deployment>, SinkError> {
        self.with_session(|connection, on| deployments::all(connection, on.claimant.pipeline))
    }

    async fn conclude(&mut self, version: Version, outcome: &Outcome) -> Result<(), SinkError> {
        self.with_session(|connection, on| {
            on.owner
                .expect(CLAIMED)
                .conclude(connection, version, outcome)
        })
    }

    async fn confirm(
        &mut self,
        sink: &str,
        epoch: EpochId,
        refused: &[DeadLetter],
        dead_letter_bytes: Option<u64>,
    ) -> Result<(), SinkError> {
        let confirmed = (sink, epoch, dead_letter_bytes);
        let letters = self.letter_rows(epoch, refused);
        self.with_session(|connection, on| {
            let table = on.tables.last().filter(|_| !letters.is_empty());
            let rows = table
                .map(|table| TableRows::new(table, &letters))
                .transpose()?;
            let owner = on.owner.expect(CLAIMED);
            owner.confirm(connection, confirmed, rows.as_ref())
        })
    }

    async fn checkpointed(&mut self, oldest: EpochId) -> Result<(), SinkError> {
        self.with_session(|connection, on| on.owner.expect(CLAIMED).forget(connection, oldest))
    }
}
