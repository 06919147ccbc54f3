//! Finding the states again at a start: from the newest checkpoint that can be used, or from the
//! journal and the records alone.
//!
//! # Invariants
//!
//! 1. Nothing is used that cannot be verified, and nothing is left unused in silence.
//! 2. Whatever states a run begins with are those at the end of an epoch of the journal.

use std::sync::Arc;

use super::PipelineError;
use super::checkpoint::{SeenFiles, StoredFiles, read_fingerprints};
use super::topology::Stages;
use super::versions::Versions;
use super::waiter::Waiter;
use crate::aggregate::StateTable;
use crate::checkpoint::{CheckpointError, CheckpointStore, Manifest};
use crate::deduplicate::Seen;
use crate::deployment::Version;
use crate::epoch::EpochId;
use crate::record::Positions;
use crate::sink::Remedy;

/// A checkpoint that was restored.
#[derive(Debug, Clone)]
pub(super) struct Restored {
    /// the epoch at whose end the states were so
    pub(super) epoch: EpochId,
    /// the version that they are of
    pub(super) version: Version,
    /// the positions after it
    pub(super) positions: Positions,
}

/// The states that a run begins with.
pub(super) struct Recovered {
    /// of each aggregate, in order, and whether a sink takes its rows
    pub(super) tables: Vec<(StateTable, bool)>,
    /// where they are from; `None`: nothing is known, and they are empty
    pub(super) checkpoint: Option<Restored>,
    /// what needs not be stored again
    pub(super) files: StoredFiles,
    /// what deduplication remembers, and the files that it is in
    pub(super) seen: Seen,
    pub(super) seen_files: SeenFiles,
}

/// Where states are found, and what they are states of.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) store: &'a CheckpointStore,
    pub(super) versions: &'a Versions,
    /// some version of the pipeline, to make others from
    pub(super) sibling: &'a dyn Stages,
    /// which of the sinks behind the ledger they are for, if not for all
    pub(super) sink: Option<&'a str>,
    pub(super) waiter: Waiter<'a>,
}

impl Source<'_> {
    /// What was in force at an epoch and later is loaded then.
    pub(super) async fn load_since(&self, epoch: EpochId) -> Result<(), PipelineError> {
        let from = (self.sibling, self.store);
        self.versions.load_since(epoch, from, self.waiter).await
    }

    /// The empty states of a version.
    pub(super) fn nothing(&self, version: Version) -> Result<Recovered, PipelineError> {
        let backfills = self.versions.backfills(version);
        let tables = self.stages(version)?.states()?.into_iter();
        let shown = |(table, shown): (StateTable, bool)| {
            let shown = shown && !backfills.hides(table.name());
            (table, shown)
        };
        Ok(Recovered {
            tables: tables.map(shown).collect(),
            checkpoint: None,
            files: StoredFiles::default(),
            seen: Seen::new(),
            seen_files: SeenFiles::new(),
        })
    }

    /// The logic of a version that was loaded.
    pub(super) fn stages(&self, version: Version) -> Result<Arc<dyn Stages>, PipelineError> {
        let stages = self.versions.stages(version)?;
        Ok(match self.sink {
            Some(sink) => stages.of_sink(sink),
            None => stages,
        })
    }
}

/// Loads the newest checkpoint that is not later than `latest` and can be used; `None`: there is none.
/// One that is damaged is reported and set aside, and the one before it tried. Where the last
/// `committed` epoch is told, so are those of later ones: they are of a future that was lost when the
/// database was set back.
///
/// # Errors
///
/// [`Trouble::Store`] when the store cannot be asked.
pub(super) async fn recover(
    from: Source<'_>,
    latest: EpochId,
    committed: Option<EpochId>,
) -> Result<Option<Recovered>, Trouble> {
    let store = from.store;
    let epochs = store.list().await?;
    let is_lost = |epoch: &&EpochId| committed.is_some_and(|committed| **epoch > committed);
    for lost in epochs.iter().filter(is_lost) {
        tracing::warn!(
            epoch = lost.0,
            committed = committed.map(|committed| committed.0),
            "a checkpoint is newer than the ledger: it is set aside"
        );
        store.set_aside(*lost).await?;
    }
    for epoch in epochs.into_iter().filter(|epoch| *epoch <= latest) {
        let reason = match load(from, epoch).await {
            Ok(recovered) => {
                tracing::info!(epoch = epoch.0, "states restored from a checkpoint");
                return Ok(Some(recovered));
            }
            Err(Trouble::Store(error @ CheckpointError::Damaged { .. })) => error.to_string(),
            Err(Trouble::Misfit(reason)) => reason,
            Err(other) => return Err(other),
        };
        tracing::warn!(
            epoch = epoch.0,
            reason,
            "a checkpoint cannot be used: trying the one before"
        );
        store.set_aside(epoch).await?;
    }
    Ok(None)
}

/// Why no states could be restored.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error(transparent)]
    Store(#[from] CheckpointError),
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// It is whole, but not of these aggregates.
    #[error("{0}")]
    Misfit(String),
}

impl Trouble {
    pub(super) fn remedy(&self) -> Remedy {
        match self {
            Self::Store(error) => error.remedy(),
            Self::Pipeline(_) | Self::Misfit(_) => Remedy::Stop,
        }
    }
}

async fn load(from: Source<'_>, epoch: EpochId) -> Result<Recovered, Trouble> {
    let store = from.store;
    let manifest = store.manifest(epoch).await?;
    from.load_since(epoch).await?;
    let mut recovered = from.nothing(manifest.version)?;
    for (table, _) in &mut recovered.tables {
        let files = files_of(&manifest, table.name())?;
        for file in files {
            let batch = store.read(file).await?;
            let number = table.restore(&batch);
            let number = number.map_err(|error| Trouble::Misfit(error.to_string()))?;
            if let Some(number) = number {
                let aggregate = Arc::clone(table.name());
                recovered.files.insert(aggregate, number, file.clone());
            }
        }
    }
    for (&partition, files) in &manifest.seen {
        for file in files {
            let batch = store.read(file).await?;
            let fingerprints = read_fingerprints(&batch)
                .ok_or_else(|| Trouble::Misfit(format!("{} has no fingerprints", file.name)))?;
            recovered.seen.push((partition, fingerprints));
        }
    }
    recovered.seen_files = manifest.seen;
    recovered.checkpoint = Some(Restored {
        epoch,
        version: manifest.version,
        positions: manifest.positions,
    });
    Ok(recovered)
}

fn files_of<'a>(
    manifest: &'a Manifest,
    aggregate: &str,
) -> Result<&'a [crate::checkpoint::FileRef], Trouble> {
    manifest
        .tables
        .get(aggregate)
        .map(Vec::as_slice)
        .ok_or_else(|| Trouble::Misfit(format!("it has no states of aggregate `{aggregate}`")))
}
