//! Records that could not be used, kept for people.

use async_trait::async_trait;

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
    /// Forgets letters beyond the first `bytes`: those of epochs that were never committed. Called
    /// once, before the first [`write`](Self::write). Only a file can do it.
    ///
    /// # Errors
    ///
    /// [`SinkError`].
    async fn recover(&mut self, bytes: u64) -> Result<(), SinkError>;

    /// Appends the letters and returns once they are durable: the bytes written in all so far for a
    /// file, 0 otherwise.
    ///
    /// # Errors
    ///
    /// On `Err` some may be written; writing them again may then repeat these.
    async fn write(&mut self, letters: &[DeadLetter]) -> Result<u64, SinkError>;
}
