//! Which deployment made a row, as far as a sink can tell (pure).
//!
//! # Invariants
//!
//! 1. What is not known is not guessed: where a row may be somebody else's, the answer says what the
//!    version that it names rests on.
//!
//! # Not here
//!
//! How a sink knows what wrote a row: [`super::postgres`] has its transaction, and
//! [`super::elasticsearch`] its epoch.

use crate::deployment::{Deployment, Version};
use crate::epoch::EpochId;

/// Who wrote a row last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Maker {
    /// this epoch, and no doubt of it
    Epoch(EpochId),
    /// an epoch of this version, which the journal no longer has; or somebody else, while that version was
    /// in force
    Version(Version),
    /// somebody else, between two epochs
    Somebody {
        /// the last epoch before
        after: EpochId,
    },
    /// nobody can tell, for this reason
    Unknown(String),
}

/// A row that was looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// no row has this key
    Nothing,
    /// one has, and it was written last by
    Row(Maker),
}

/// What a ledger knows of the past of a pipeline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// in order
    pub deployments: Vec<Deployment>,
    /// the last epoch that was committed
    pub epoch: EpochId,
}

impl History {
    /// The deployment that made what this one has written, or that was in force when somebody else did.
    #[must_use]
    pub fn deployment(&self, maker: &Maker) -> Option<&Deployment> {
        match maker {
            Maker::Epoch(epoch) | Maker::Somebody { after: epoch } => {
                Deployment::at(&self.deployments, *epoch)
            }
            Maker::Version(version) => self.find(*version),
            Maker::Unknown(_) => None,
        }
    }

    /// The deployment before another one.
    #[must_use]
    pub fn before(&self, version: Version) -> Option<&Deployment> {
        self.deployments
            .iter()
            .rfind(|deployment| deployment.version < version)
    }

    fn find(&self, version: Version) -> Option<&Deployment> {
        self.deployments
            .iter()
            .find(|deployment| deployment.version == version)
    }
}
