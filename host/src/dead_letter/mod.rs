//! Records that could not be used, kept for people.
//!
//! A letter has the record as it was read, where it was read, and why it was left out. In a file it
//! is there exactly once: the journal knows how long the file was at each commit. In a Kafka topic
//! it is there at least once, under a key by which repetitions are known.

mod file;
mod kafka;

use async_trait::async_trait;

use crate::config::DeadLetters;
use crate::record::Origin;
use crate::sink::SinkError;

/// A record that was left out, with why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// where it was read
    pub origin: Origin,
    /// which stage left it out: `decode`, or the name of a transform, aggregate or sink
    pub stage: String,
    /// the component that rejected it, where it was one
    pub component: Option<String>,
    /// the column at fault, where there is one
    pub column: Option<String>,
    /// what is wrong, for a person
    pub reason: String,
    /// the record's own timestamp, ms since 1970 UTC
    pub timestamp_ms: Option<i64>,
    /// Kafka's key as it was read
    pub key: Option<Vec<u8>>,
    /// the payload as it was read; `None` is a tombstone
    pub value: Option<Vec<u8>>,
}

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
