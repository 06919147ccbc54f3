//! Records that could not be used, kept for people.
//!
//! A letter has the record as it was read, where it was read, and why it was left out. In a table of
//! the ledger it is there exactly once: it is written in the transaction of its epoch. In a file too:
//! the journal knows how long the file was at each commit. In a Kafka topic it is there at least once,
//! under a key by which repetitions are known.
//!
//! A letter is settled once its record was processed again: by a later version, where the one that
//! rejected it was rolled back. It stays, and says so; nobody is to send its record. Where the later
//! version has rejected the record too, there is a new letter.
//!
//! # Invariants
//!
//! What a [`DeadLetterSink`] or a ledger has written, the [`LetterStore`] of the same settings finds
//! again, whole: record, key, headers and time. A replay rests on that.
//!
//! # Not here
//!
//! The tables: [`crate::sink::postgres`], [`crate::sink::sqlite`]. Asking and showing: the command
//! `wasmill dead-letters`.

mod file;
mod kafka;
mod stored;

use std::ops::ControlFlow;

use async_trait::async_trait;

use crate::config::{DeadLetters, Pipeline, SinkKind, SourceKind};
use crate::deployment::Version;
use crate::epoch::ByStage;
use crate::record::DeadLetter;
use crate::sink::SinkError;
use crate::sink::postgres::PostgresLetters;
use crate::sink::sqlite::SqliteLetters;

pub use self::kafka::replay::{Delivered, PartitionChoice, ReplayError, ReplayTopic};
pub use self::stored::{NoReplay, Selection, Settled, StoredLetter};
pub(crate) use self::stored::{Remembered, headers_json, parse_headers, text_or_base64};

/// Where dead letters go.
#[async_trait]
pub trait DeadLetterSink: Send {
    /// Forgets letters beyond the first `committed` bytes: those of epochs that were never
    /// committed. With `None` nothing is known to be committed, and whatever is there stays. Called
    /// once, before the first [`write`](Self::write). Returns the bytes that there are, for a file.
    ///
    /// # Errors
    ///
    /// [`SinkError`].
    async fn recover(&mut self, committed: Option<u64>) -> Result<Option<u64>, SinkError>;

    /// Appends the letters and returns once they are durable: for a file, the bytes that there are.
    ///
    /// # Errors
    ///
    /// On `Err` some may be written; writing them again may then repeat these.
    async fn write(&mut self, letters: &[DeadLetter]) -> Result<Option<u64>, SinkError>;

    /// Notes that the letters of these records, by the stages that wrote them, are settled, as far as they
    /// were written before: `version` has processed the records again. Returns what
    /// [`write`](Self::write) does.
    ///
    /// # Errors
    ///
    /// As for [`write`](Self::write).
    async fn settle(
        &mut self,
        settled: &ByStage,
        version: Version,
    ) -> Result<Option<u64>, SinkError>;
}

/// The sink that `[dead_letters]` asks for; it connects when it is first used. Letters name
/// `source_topic` as the topic that their records were read from.
///
/// # Errors
///
/// [`SinkError::Permanent`] when a setting is not usable.
pub fn open(
    settings: &DeadLetters,
    source_topic: &str,
) -> Result<Box<dyn DeadLetterSink>, SinkError> {
    Ok(match settings {
        DeadLetters::Table { .. } => Box::new(InTheLedger),
        DeadLetters::File { path } => Box::new(file::DeadLetterFile::new(path, source_topic)),
        DeadLetters::Kafka {
            brokers,
            topic,
            properties,
        } => Box::new(kafka::DeadLetterTopic::new(
            brokers,
            topic,
            properties,
            source_topic,
        )?),
    })
}

/// The letters of each partition in the order of their records: an epoch has them stage by stage.
fn in_order(letters: &[DeadLetter]) -> Vec<&DeadLetter> {
    let mut letters: Vec<&DeadLetter> = letters.iter().collect();
    letters.sort_by_key(|letter| letter.origin);
    letters
}

/// In the place of letters that the ledger writes itself, with the epoch or the confirmation that they
/// belong to.
struct InTheLedger;

#[async_trait]
impl DeadLetterSink for InTheLedger {
    async fn recover(&mut self, _committed: Option<u64>) -> Result<Option<u64>, SinkError> {
        Ok(None)
    }

    async fn write(&mut self, _letters: &[DeadLetter]) -> Result<Option<u64>, SinkError> {
        Ok(None)
    }

    async fn settle(
        &mut self,
        _settled: &ByStage,
        _version: Version,
    ) -> Result<Option<u64>, SinkError> {
        Ok(None)
    }
}

/// The topic that the letters of a pipeline name, empty where its source is none.
#[must_use]
pub fn source_topic(pipeline: &Pipeline) -> &str {
    match &pipeline.source.kind {
        SourceKind::Kafka(kafka) => &kafka.topic,
        SourceKind::File { .. } | SourceKind::Generator(_) => "",
    }
}

/// Who gets letters that are found, one by one, and may have had enough.
pub type Visit<'a> = dyn FnMut(StoredLetter) -> ControlFlow<()> + Send + 'a;

/// Letters that were written, for reading. It changes nothing.
#[async_trait]
pub trait LetterStore: Send {
    /// Where they are, for a person.
    fn place(&self) -> String;

    /// Visits the letters that are there now and that the selection takes: each of them once, the older
    /// ones first, and those of an epoch in the order of their records. A topic of several partitions
    /// has that order in each of them only. With `newest` only the last so many, in the order of their writing. Memory does not grow with
    /// the number of letters.
    ///
    /// # Errors
    ///
    /// [`SinkError`]; [`SinkError::Permanent`] also where there is nothing yet, no file and no table.
    async fn scan(
        &mut self,
        selection: &Selection,
        newest: Option<usize>,
        visit: &mut Visit<'_>,
    ) -> Result<(), SinkError>;
}

/// The letters of a pipeline.
///
/// # Errors
///
/// [`SinkError::Permanent`] when a setting is not usable.
///
/// # Panics
///
/// When the pipeline has no sink that keeps a journal, which the configuration refuses.
pub fn open_store(pipeline: &Pipeline) -> Result<Box<dyn LetterStore>, SinkError> {
    Ok(match &pipeline.dead_letters {
        DeadLetters::File { path } => Box::new(file::read::LetterFile::new(path)),
        DeadLetters::Kafka {
            brokers,
            topic,
            properties,
        } => Box::new(kafka::read::LetterTopic::new(brokers, topic, properties)?),
        DeadLetters::Table { table } => {
            let mut sinks = pipeline.sinks.iter();
            let store = sinks.find_map(|sink| match &sink.kind {
                SinkKind::Postgres { url, .. } => {
                    let opened = PostgresLetters::new(&sink.name, &pipeline.name, url, table);
                    Some(opened.map(|letters| Box::new(letters) as Box<dyn LetterStore>))
                }
                SinkKind::Sqlite { path, .. } => {
                    let opened = SqliteLetters::new(&pipeline.name, path, table);
                    Some(Ok(Box::new(opened) as Box<dyn LetterStore>))
                }
                SinkKind::Elasticsearch { .. } => None,
            });
            store.expect("a validated pipeline has one sink that keeps the journal")?
        }
    })
}
