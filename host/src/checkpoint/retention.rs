//! What is kept, and how the rest goes.
//!
//! # Invariants
//!
//! 1. Of a checkpoint that goes, the manifest goes first: what is left after a crash is files that
//!    nobody names, never a manifest whose files are gone.
//! 2. Only manifests that can be read, and whose files are there, count as kept: a host that stood still
//!    while another one took over may publish one whose files were swept meanwhile. And as long as one
//!    cannot be read, nothing is swept, since what it names is not known.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::{Path as FilePath, PathBuf};

use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::Error as StoreError;
use object_store::path::Path;

use super::error::Action;
use super::{CheckpointError, CheckpointStore, Manifest, name};
use crate::epoch::EpochId;

/// A manifest that is there.
struct Found {
    epoch: EpochId,
    is_set_aside: bool,
    path: String,
    /// `None` when it is damaged
    manifest: Option<Manifest>,
    /// whether the files are there that it names
    is_whole: bool,
}

impl Found {
    fn is_usable(&self) -> bool {
        !self.is_set_aside && self.is_whole
    }
}

/// The epochs of those that can be used, newest first.
fn usable(found: &[Found]) -> Vec<EpochId> {
    let usable = found.iter().filter(|found| found.is_usable());
    usable.map(|found| found.epoch).collect()
}

/// Of these, newest first, the newest `keep` (at least one), and the newest `keep` of those that are
/// not later than `needed`.
fn kept(epochs: &[EpochId], keep: usize, needed: EpochId) -> BTreeSet<EpochId> {
    let keep = keep.max(1);
    let newest = epochs.iter().take(keep);
    let usable = epochs.iter().filter(|epoch| **epoch <= needed).take(keep);
    newest.chain(usable).copied().collect()
}

impl CheckpointStore {
    /// The oldest one that [`prune`](Self::prune) would keep; `None` when all of them are later than
    /// `needed`.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`].
    pub async fn oldest_kept(
        &self,
        keep: usize,
        needed: EpochId,
    ) -> Result<Option<EpochId>, CheckpointError> {
        let found = self.survey().await?;
        let oldest = kept(&usable(&found), keep, needed).first().copied();
        Ok(oldest.filter(|oldest| *oldest <= needed))
    }

    /// Keeps the newest `keep` checkpoints (at least one) whose manifests can be read and whose files
    /// are there, and as many of those not later than `needed`; deletes the others. Returns the oldest
    /// one that was kept. Only for the pipeline's present owner.
    ///
    /// # Errors
    ///
    /// What was not deleted then is deleted by a later call, or by [`sweep`](Self::sweep).
    pub async fn prune(
        &self,
        keep: usize,
        needed: EpochId,
    ) -> Result<Option<EpochId>, CheckpointError> {
        let found = self.survey().await?;
        let epochs = usable(&found);
        let kept = kept(&epochs, keep, needed);
        let newest = &epochs[..keep.max(1).min(epochs.len())];
        let Some(&oldest) = newest.last() else {
            return Ok(None);
        };
        if newest.len() < keep {
            return Ok(kept.first().copied());
        }
        let goes = |f: &Found| f.epoch < oldest && !(f.is_usable() && kept.contains(&f.epoch));
        let (gone, stays): (Vec<_>, Vec<_>) = found.into_iter().partition(goes);
        let named = files(&stays);
        let mut unnamed: Vec<&str> = files(&gone).difference(&named).copied().collect();
        unnamed.sort_unstable();
        let manifests = gone.iter().map(|found| found.path.as_str());
        self.delete(manifests).await?;
        self.delete(unnamed.into_iter()).await?;
        Ok(kept.first().copied())
    }

    /// Deletes files that no manifest names and that a host before `generation` wrote: what a crash
    /// between files and manifest, or in the middle of a deletion, has left. Returns how many. Only for
    /// the host of this generation.
    ///
    /// # Errors
    ///
    /// What was not deleted then is deleted by a later call.
    pub async fn sweep(&self, generation: u64) -> Result<usize, CheckpointError> {
        // Listed before the manifests are: what is published meanwhile is not taken for left over.
        let mut written = Vec::new();
        for folder in [name::TABLES, name::SEEN] {
            written.extend(self.files_below(folder).await?);
        }
        let found = self.survey().await?;
        if found.iter().any(|found| found.manifest.is_none()) {
            return Ok(0);
        }
        let named = files(&found);
        let is_left = |path: &&str| {
            let file = path.rsplit('/').next().unwrap_or(path);
            let is_older = name::generation(file).is_some_and(|wrote| wrote < generation);
            is_older && !named.contains(*path)
        };
        let left: Vec<&str> = written.iter().map(String::as_str).filter(is_left).collect();
        self.delete(left.iter().copied()).await?;
        Ok(left.len() + self.sweep_unfinished(generation).await?)
    }

    /// Deletes what came before aggregates and was written by a host up to `generation`, but for the files of
    /// these names. Returns how many files went. Only for the host of this generation.
    ///
    /// # Errors
    ///
    /// What was not deleted then is deleted by a later call.
    pub async fn keep_backfills(
        &self,
        named: &BTreeSet<String>,
        generation: u64,
    ) -> Result<usize, CheckpointError> {
        let written = self.files_below(name::BACKFILLS).await?;
        let is_left = |path: &&str| {
            let file = path.rsplit('/').next().unwrap_or(path);
            let is_ours = name::generation(file).is_some_and(|wrote| wrote <= generation);
            is_ours && !named.contains(*path)
        };
        let left: Vec<&str> = written.iter().map(String::as_str).filter(is_left).collect();
        if !left.is_empty() {
            self.delete(left.iter().copied()).await?;
        }
        Ok(left.len())
    }

    /// Takes a checkpoint out of the list that was found to be unusable, so that it neither counts as
    /// kept nor stands in the way of another one of its epoch. Its manifest stays, under another name,
    /// until newer checkpoints have taken its place. Doing so again is fine.
    ///
    /// # Errors
    ///
    /// It may be in the list still.
    pub async fn set_aside(&self, epoch: EpochId) -> Result<(), CheckpointError> {
        let path = name::manifest(epoch);
        let aside = format!("{path}{}", name::SET_ASIDE);
        let attempt = self.attempt(Action::Write, &aside);
        let (from, to) = (self.place.path(&path), self.place.path(&aside));
        let copy = object_store::ObjectStoreExt::copy(&*self.store, &from, &to);
        match self.within(&attempt, 0, copy).await? {
            Ok(()) => self.delete([path.as_str()].into_iter()).await,
            Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(attempt.failed(&error)),
        }
    }

    /// Every manifest, newest first, what it says, and whether its files are there.
    async fn survey(&self) -> Result<Vec<Found>, CheckpointError> {
        let mut all: Vec<Found> = Vec::new();
        for (epoch, is_set_aside, file) in self.manifests().await? {
            let path = format!("{}/{file}", name::MANIFESTS);
            let manifest = match self.manifest_at(&path, epoch).await {
                Ok(manifest) => Some(manifest),
                Err(CheckpointError::Damaged { .. }) => None,
                Err(error) => return Err(error),
            };
            all.push(Found {
                epoch,
                is_set_aside,
                path,
                manifest,
                is_whole: false,
            });
        }
        // After the manifests: what a manifest names was written before it.
        let mut written = HashSet::new();
        for folder in [name::TABLES, name::SEEN] {
            written.extend(self.files_below(folder).await?);
        }
        for found in &mut all {
            let named = files(std::slice::from_ref(found));
            found.is_whole = found.manifest.is_some() && named.iter().all(|f| written.contains(*f));
        }
        Ok(all)
    }

    /// Paths of the files in a folder and in those below it.
    async fn files_below(&self, folder: &str) -> Result<Vec<String>, CheckpointError> {
        let attempt = self.attempt(Action::List, folder);
        let below = self.place.path(folder);
        let listing = self.store.list(Some(&below)).try_collect::<Vec<_>>();
        let listing = self.within(&attempt, 0, listing).await?;
        let listing = listing.map_err(|error| attempt.failed(&error))?;
        let paths = listing.iter();
        Ok(paths
            .filter_map(|object| self.place.below(&object.location))
            .map(str::to_owned)
            .collect())
    }

    /// Deletes these; those that are gone already are fine.
    async fn delete<'p>(
        &self,
        paths: impl Iterator<Item = &'p str>,
    ) -> Result<(), CheckpointError> {
        let paths: Vec<Path> = paths.map(|path| self.place.path(path)).collect();
        let attempt = self.attempt(
            Action::Delete,
            paths
                .first()
                .map_or("", |path| self.place.below(path).unwrap_or_default()),
        );
        let mut results = self
            .store
            .delete_stream(stream::iter(paths.into_iter().map(Ok)).boxed());
        while let Some(result) = self.within(&attempt, 0, results.next()).await? {
            match result {
                Ok(_) | Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(attempt.failed(&error)),
            }
        }
        Ok(())
    }

    /// In a folder, a write that was cut off leaves a file that listings do not show: its name and `#1`.
    async fn sweep_unfinished(&self, generation: u64) -> Result<usize, CheckpointError> {
        let Some(root) = self.place.folder.clone() else {
            return Ok(0);
        };
        let attempt = self.attempt(Action::Delete, "");
        let work = tokio::task::spawn_blocking(move || {
            let mut deleted = 0;
            let folders = [name::TABLES, name::SEEN, name::BACKFILLS];
            for path in folders.map(|folder| root.join(folder)) {
                for folder in entries(&path) {
                    for file in entries(&folder).filter(|file| is_unfinished(file, generation)) {
                        fs::remove_file(file)?;
                        deleted += 1;
                    }
                }
            }
            Ok(deleted)
        });
        match work.await {
            Ok(done) => done.map_err(|error| attempt.of_file_system(&error)),
            Err(error) => Err(attempt.unavailable(error)),
        }
    }
}

/// What is in a folder; nothing where it cannot be read, as it then was never written to.
fn entries(folder: &FilePath) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(Result::ok).map(|entry| entry.path())
}

/// Whether a host before `generation` began this file and did not finish it.
fn is_unfinished(file: &FilePath, generation: u64) -> bool {
    let name = file.file_name().and_then(|name| name.to_str());
    let Some((finished, number)) = name.and_then(|name| name.split_once('#')) else {
        return false;
    };
    number.bytes().all(|byte| byte.is_ascii_digit())
        && name::generation(finished).is_some_and(|wrote| wrote < generation)
}

/// Paths of all files that these name.
fn files(found: &[Found]) -> HashSet<&str> {
    found
        .iter()
        .filter_map(|found| found.manifest.as_ref())
        .flat_map(Manifest::files)
        .map(|file| file.name.as_str())
        .collect()
}
