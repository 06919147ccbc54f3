//! Mistakes that the protocol could have, planted into the places around it.

/// One mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    /// rows are written before the transaction that has journal and progress
    ProgressOutsideTheTransaction,
    /// the ledger commits whatever another host has claimed since
    GenerationNotChecked,
    /// the journal forgets which records were left out
    ExclusionNotJournalled,
    /// rows that the ledger refuses are dropped, and the rest is committed
    RefusedRowDropped,
    /// the journal forgets epochs that a sink still needs
    JournalForgetsTooEarly,
    /// the ledger tells a starting host the positions of the epoch before the last one
    StalePositions,
    /// a sink confirms what it has written in part
    ConfirmedBeforeWritten,
    /// a sink takes old values from a host that was overtaken
    VersionsNotCompared,
    /// a confirmation of an epoch counts for the one after it too
    ConfirmedTooMuch,
    /// checkpoints are published before the sinks have confirmed their epoch, and the journal forgets
    CheckpointBeforeTheSinks,
    /// a checkpoint has states of the epoch before
    StaleSnapshot,
    /// a checkpoint says the positions of the epoch after it
    SnapshotAhead,
    /// a file of states that could not be written is taken for written
    FileLost,
    /// dead letters of epochs that were never committed stay
    LettersNotCutBack,
    /// a record that the ledger refused is not left out when its epoch is made again, but written
    RefusalForgotten,
    /// a checkpoint lacks the ids that were remembered since the one before
    RememberedLost,
    /// a sink that lags is brought up from a later epoch than it has
    BroughtUpTooLate,
    /// a sink that lags is told that the journal ends, and it goes on
    JournalCutShort,
    /// a version comes into force, and the ledger does not write it down
    DeploymentForgotten,
    /// a deployment is written down with positions that are not where it began
    DeploymentElsewhere,
    /// epochs are repeated with the newest version, whichever made them
    ReplayedByTheNewest,
    /// states are migrated beforehand, and what changes after that is not
    MigratedTooEarly,
    /// a checkpoint says that its states are those of the version after its own
    SnapshotOfNextVersion,
    /// a backfill has a record more of each partition than it should
    BackfilledTooFar,
    /// a new aggregate is shown before it is whole
    ShownBeforeWhole,
    /// what a new aggregate has made itself is joined beforehand, and what it makes after that is not
    JoinedTooEarly,
    /// the journal forgets which records stages have rejected
    RejectionNotJournalled,
    /// a new aggregate does not know where it begins, and what comes before is taken up again
    BeginForgotten,
}

impl Bug {
    pub(super) const ALL: [Self; 28] = [
        Self::ProgressOutsideTheTransaction,
        Self::GenerationNotChecked,
        Self::ExclusionNotJournalled,
        Self::RefusedRowDropped,
        Self::JournalForgetsTooEarly,
        Self::StalePositions,
        Self::ConfirmedBeforeWritten,
        Self::VersionsNotCompared,
        Self::ConfirmedTooMuch,
        Self::CheckpointBeforeTheSinks,
        Self::StaleSnapshot,
        Self::SnapshotAhead,
        Self::FileLost,
        Self::LettersNotCutBack,
        Self::RefusalForgotten,
        Self::RememberedLost,
        Self::BroughtUpTooLate,
        Self::JournalCutShort,
        Self::DeploymentForgotten,
        Self::DeploymentElsewhere,
        Self::ReplayedByTheNewest,
        Self::MigratedTooEarly,
        Self::SnapshotOfNextVersion,
        Self::BackfilledTooFar,
        Self::ShownBeforeWhole,
        Self::JoinedTooEarly,
        Self::RejectionNotJournalled,
        Self::BeginForgotten,
    ];
}
