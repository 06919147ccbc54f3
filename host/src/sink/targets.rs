//! Where the rows of a version of the pipeline go.

use std::collections::HashMap;

use super::elasticsearch::IndexTarget;
use super::table::TableTarget;

/// The tables of the ledger, and the indices of the other sinks.
#[derive(Debug, Clone, Default)]
pub struct Targets {
    /// in the order of the pipeline
    pub tables: Vec<TableTarget>,
    /// by the name of the sink
    pub indices: HashMap<String, Vec<IndexTarget>>,
}

impl Targets {
    /// The indices of the sink of this name.
    #[must_use]
    pub fn indices(&self, sink: &str) -> &[IndexTarget] {
        self.indices.get(sink).map_or(&[], Vec::as_slice)
    }
}
