//! Records that could not be used, kept for people.
//!
//! A letter has the record as it was read, where it was read, and why it was left out. In a file it
//! is there exactly once: the journal knows how long the file was at each commit. In a Kafka topic
//! it is there at least once, under a key by which repetitions are known.

mod file;
mod kafka;

use async_trait::async_trait;

use crate::config::DeadLetters;
use crate::record::DeadLetter;
use crate::sink::SinkError;

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
