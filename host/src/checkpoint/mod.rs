//! Where the states of aggregates survive a restart.

mod skeleton;
pub use skeleton::*;

use crate::aggregate::TableSnapshot;
use crate::epoch::EpochId;
use crate::record::Positions;

/// Everything that a replay needs to begin behind an epoch, as it was at its end. Cheap to make: it
/// shares what it has with the tables.
#[derive(Debug)]
pub struct Snapshot {
    /// the epoch
    pub epoch: EpochId,
    /// the next offset to read in each partition after it
    pub positions: Positions,
    /// the states of each aggregate
    pub tables: Vec<TableSnapshot>,
}
