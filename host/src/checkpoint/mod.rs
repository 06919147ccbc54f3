//! Where aggregate state survives a restart.

use std::sync::Arc;

use async_trait::async_trait;

use crate::sink::SinkError;

/// The new state of one group of one aggregate, in the bytes of the crate's row codec.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StateChange {
    /// the aggregate's name
    pub aggregate: Arc<str>,
    /// the group: window start and key columns
    pub key: Box<[u8]>,
    /// its state columns
    pub state: Box<[u8]>,
}

/// A place that keeps the state of every aggregate.
#[async_trait]
pub trait StateStore: Send {
    /// Everything that was saved, the newest state of each group.
    ///
    /// # Errors
    ///
    /// [`SinkError`] when it cannot be read.
    async fn restore(&mut self) -> Result<Vec<StateChange>, SinkError>;

    /// Keeps these states in place of the older ones of the same groups (which are distinct).
    ///
    /// # Errors
    ///
    /// [`SinkError`] when it cannot be written.
    async fn save(&mut self, changes: &[StateChange]) -> Result<(), SinkError>;
}
