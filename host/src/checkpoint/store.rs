//! Writing and reading files and manifests.
//!
//! # Not here
//!
//! What is deleted, and when: [`super::retention`].

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use bytes::Bytes;
use object_store::path::Path;
use object_store::{
    Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
};
use sha2::{Digest, Sha256};

use super::error::{Action, Attempt, MISSING};
use super::location::{self, Opened};
use super::manifest::Unreadable;
use super::{CheckpointError, Checksum, FileName, FileRef, Manifest, columns, name};
use crate::config::{CheckpointLocation, Secret};
use crate::epoch::EpochId;
use crate::guest::hex;

/// A manifest beyond this is none: it would name a million files.
const MANIFEST_BYTES_MAX: u64 = 256 << 20;

/// What a slow line still carries, in bytes a second: it lengthens the time that a request may take.
const BYTES_PER_SECOND: u64 = 256 << 10;

/// A component beyond this is none.
const COMPONENT_BYTES_MAX: u64 = 1 << 30;

/// Batches from here on are encoded and decoded on a thread of their own.
const INLINE_BYTES: usize = 256 << 10;

/// Why a file cannot be created that is not there either: so S3 answers all but one of those who create
/// it at once.
const AT_THIS_MOMENT: &str = "it is being written or deleted at this moment";

/// The checkpoints of one life of one pipeline. Clones are the same store.
#[derive(Clone)]
pub struct CheckpointStore {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) place: Arc<Place>,
}

/// Where a store keeps its files, and what messages may say of it.
pub(super) struct Place {
    /// for a person
    shown: String,
    /// what every path begins with
    root: String,
    /// bytes of it that `shown` says already
    prefix_len: usize,
    pipeline: String,
    life: String,
    /// `root` in the file system, where it is one
    pub(super) folder: Option<PathBuf>,
    patience: Option<Duration>,
    secrets: Vec<Secret>,
}

impl fmt::Debug for CheckpointStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheckpointStore({})", self.place.shown)
    }
}

impl CheckpointStore {
    /// The store at a location. A folder is created when it is missing; a server is not asked yet.
    ///
    /// `life` tells this life of the pipeline from those before its database was wiped: it is made at
    /// the first claim.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Permanent`]: the folder cannot be used, or there are no credentials.
    pub fn open(
        location: &CheckpointLocation,
        pipeline: &str,
        life: &str,
    ) -> Result<Self, CheckpointError> {
        let Opened {
            store,
            prefix,
            folder,
            patience,
            secrets,
        } = location::open(location)?;
        let mut place = Place::new(location.to_string(), &prefix, pipeline, life);
        place.folder = folder.map(|folder| folder.join(&place.root));
        place.patience = patience;
        place.secrets = secrets;
        Ok(Self {
            store,
            place: Arc::new(place),
        })
    }

    /// Over any other store, for tests and simulations: `prefix` is what its paths begin with.
    pub fn over(store: Arc<dyn ObjectStore>, prefix: &str, pipeline: &str, life: &str) -> Self {
        let shown = format!("{store}/{prefix}");
        let place = Place::new(shown, prefix, pipeline, life);
        Self {
            store,
            place: Arc::new(place),
        }
    }

    /// Whether a location can be used, and changes nothing: a folder may be missing if it could be
    /// created, a bucket is listed.
    ///
    /// # Errors
    ///
    /// What [`open`](Self::open) and the first write would say, as far as it can be known.
    pub async fn check(location: &CheckpointLocation) -> Result<(), CheckpointError> {
        match location {
            CheckpointLocation::File { path } => location::check_folder(path),
            CheckpointLocation::S3(_) => {
                // No pipeline has this name: nothing is found, and much need not be listed.
                let store = Self::open(location, "", "")?;
                store.list().await.map(|_| ())
            }
        }
    }

    /// Writes one immutable file. That it is durable when this returns is what a manifest relies on.
    /// Writing the same again is fine.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Permanent`] also when a file of this name has other content: the caller's
    /// generation is not its own, or it wants another [`part`](FileName::part).
    pub async fn write(
        &self,
        name: &FileName,
        batch: &RecordBatch,
    ) -> Result<FileRef, CheckpointError> {
        let path = name.path();
        let attempt = self.attempt(Action::Write, &path);
        let (batch, rows) = (batch.clone(), batch.num_rows() as u64);
        let encoded = off_thread(batch.get_array_memory_size(), move || {
            let bytes = columns::encode(&batch)?;
            let checksum = Checksum::of(&bytes);
            Ok::<_, arrow_schema::ArrowError>((bytes, checksum))
        });
        let (bytes, checksum) = match encoded.await {
            Some(Ok(encoded)) => encoded,
            Some(Err(error)) => {
                return Err(attempt.permanent(error, "this is a mistake in wasmill"));
            }
            None => return Err(attempt.unavailable("wasmill is stopping")),
        };
        let file = FileRef {
            name: path,
            rows,
            bytes: bytes.len() as u64,
            checksum,
        };
        if self.create(&attempt, &file.name, bytes.into()).await? {
            return Ok(file);
        }
        // An earlier attempt may have arrived although its answer did not.
        match self.bytes_of(&file).await {
            Ok(_) => Ok(file),
            Err(CheckpointError::Damaged { reason, .. }) if reason == MISSING => {
                Err(attempt.unavailable(AT_THIS_MOMENT))
            }
            Err(CheckpointError::Damaged { .. }) => Err(attempt.permanent(
                "it is there already, with other content",
                "files of a generation are written once: this is a mistake in wasmill, or a folder that two databases share",
            )),
            Err(error) => Err(error),
        }
    }

    /// Reads a file that a manifest names.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Damaged`] when it is not what was written, to the last bit.
    pub async fn read(&self, file: &FileRef) -> Result<RecordBatch, CheckpointError> {
        let bytes = self.bytes_of(file).await?;
        let attempt = self.attempt(Action::Read, &file.name);
        let decoded = off_thread(bytes.len(), move || columns::decode(bytes));
        let batch = match decoded.await {
            Some(Ok(batch)) => batch,
            Some(Err(error)) => return Err(attempt.damaged(error)),
            None => return Err(attempt.unavailable("wasmill is stopping")),
        };
        if batch.num_rows() as u64 != file.rows {
            let rows = batch.num_rows();
            let reason = format!("it has {rows} rows, and its manifest says {}", file.rows);
            return Err(attempt.damaged(reason));
        }
        Ok(batch)
    }

    /// Publishes a checkpoint: from here on it is there, whole. Publishing the same again is fine.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Conflict`] when another checkpoint of this epoch is there.
    pub async fn publish(&self, manifest: &Manifest) -> Result<(), CheckpointError> {
        let path = name::manifest(manifest.epoch);
        let attempt = self.attempt(Action::Write, &path);
        let text = manifest.render(&self.place.pipeline, &self.place.life);
        if self.create(&attempt, &path, text.into()).await? {
            return Ok(());
        }
        let other = match self.manifest(manifest.epoch).await {
            Ok(other) if other.says_the_same(manifest) => return Ok(()),
            Ok(other) if other.generation == manifest.generation => {
                "the same generation wrote something else".to_owned()
            }
            Ok(other) => format!("generation {} wrote it", other.generation),
            Err(CheckpointError::Damaged { reason, .. }) if reason == MISSING => {
                return Err(attempt.unavailable(AT_THIS_MOMENT));
            }
            Err(CheckpointError::Damaged { reason, .. }) => format!("it is damaged: {reason}"),
            Err(error) => return Err(error),
        };
        Err(CheckpointError::Conflict {
            epoch: manifest.epoch,
            what: self.place.what(&path),
            other,
        })
    }

    /// The epochs that have a manifest, newest first. None of them was read yet.
    ///
    /// # Errors
    ///
    /// Never [`CheckpointError::Damaged`].
    pub async fn list(&self) -> Result<Vec<EpochId>, CheckpointError> {
        let found = self.manifests().await?.into_iter();
        Ok(found
            .filter(|(_, is_set_aside, _)| !is_set_aside)
            .map(|(epoch, ..)| epoch)
            .collect())
    }

    /// Reads the manifest of an epoch.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Damaged`] when it is missing or not what was written;
    /// [`CheckpointError::Permanent`] when another version of wasmill wrote it.
    pub async fn manifest(&self, epoch: EpochId) -> Result<Manifest, CheckpointError> {
        self.manifest_at(&name::manifest(epoch), epoch).await
    }

    pub(super) async fn manifest_at(
        &self,
        path: &str,
        epoch: EpochId,
    ) -> Result<Manifest, CheckpointError> {
        let attempt = self.attempt(Action::Read, path);
        let bytes = self.get(&attempt, path, None, MANIFEST_BYTES_MAX).await?;
        let Place { pipeline, life, .. } = &*self.place;
        Manifest::parse(&bytes, pipeline, life, epoch).map_err(|unreadable| match unreadable {
            Unreadable::Damaged(reason) => attempt.damaged(reason),
            Unreadable::Format(format) => attempt.permanent(
                format!("its format, {format}, is that of another version"),
                "run that version of wasmill, or delete the manifest: then an older checkpoint is used",
            ),
        })
    }

    /// Every manifest, newest first: its epoch, whether it was set aside, and the name of its file.
    pub(super) async fn manifests(&self) -> Result<Vec<(EpochId, bool, String)>, CheckpointError> {
        let attempt = self.attempt(Action::List, name::MANIFESTS);
        let folder = self.place.path(name::MANIFESTS);
        let listing = self.store.list_with_delimiter(Some(&folder));
        let listing = self.within(&attempt, 0, listing).await?;
        let listing = listing.map_err(|error| attempt.failed(&error))?;
        let mut found: Vec<_> = listing
            .objects
            .iter()
            .filter_map(|object| {
                let file = object.location.filename()?;
                let (epoch, is_set_aside) = name::parse_manifest(file)?;
                Some((epoch, is_set_aside, file.to_owned()))
            })
            .collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        Ok(found)
    }

    /// Keeps a component's file under its digest, so that a version of the pipeline that runs it can be
    /// made again. Keeping the same again is fine.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`], never [`CheckpointError::Damaged`].
    pub async fn keep_component(&self, digest: &str, binary: &[u8]) -> Result<(), CheckpointError> {
        let path = name::component(digest);
        let attempt = self.attempt(Action::Write, &path);
        let payload = Bytes::copy_from_slice(binary).into();
        self.create(&attempt, &path, payload).await.map(drop)
    }

    /// The file of a component.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Damaged`] when it is missing, or is not the one that was kept.
    pub async fn component(&self, digest: &str) -> Result<Bytes, CheckpointError> {
        let path = name::component(digest);
        let attempt = self.attempt(Action::Read, &path);
        let binary = self.get(&attempt, &path, None, COMPONENT_BYTES_MAX).await?;
        let bytes = binary.clone();
        let found = off_thread(binary.len(), move || sha256(&bytes)).await;
        match found {
            Some(found) if found == digest => Ok(binary),
            Some(_) => Err(attempt.damaged("its digest is not the one in its name")),
            None => Err(attempt.unavailable("wasmill is stopping")),
        }
    }

    /// The verified bytes of a file.
    async fn bytes_of(&self, file: &FileRef) -> Result<Bytes, CheckpointError> {
        let attempt = self.attempt(Action::Read, &file.name);
        let bytes = self
            .get(&attempt, &file.name, Some(file.bytes), file.bytes)
            .await?;
        let expected = file.checksum;
        let len = bytes.len();
        let checked = off_thread(len, move || {
            (Checksum::of(&bytes) == expected).then_some(bytes)
        });
        match checked.await {
            Some(Some(bytes)) => Ok(bytes),
            Some(None) => Err(attempt.damaged("its checksum is not the one in its manifest")),
            None => Err(attempt.unavailable("wasmill is stopping")),
        }
    }

    /// All bytes of a file, `bytes_max` at most, or exactly as many as were `expected`.
    async fn get(
        &self,
        attempt: &Attempt<'_>,
        path: &str,
        expected: Option<u64>,
        bytes_max: u64,
    ) -> Result<Bytes, CheckpointError> {
        // What a manifest names came from outside: it may name no other folder.
        let location = self.place.checked_path(path);
        let location = location.ok_or_else(|| attempt.damaged("no file can have this name"))?;
        let wrong_length = |found: u64| match expected {
            Some(expected) if found != expected => Some(attempt.damaged(format!(
                "it has {found} bytes, and its manifest says {expected}"
            ))),
            None if found > bytes_max => Some(attempt.damaged(format!("it has {found} bytes"))),
            _ => None,
        };
        let request = async {
            let found = self.store.get(&location).await;
            let found = found.map_err(|error| attempt.failed(&error))?;
            if let Some(error) = wrong_length(found.meta.size) {
                return Err(error);
            }
            found.bytes().await.map_err(|error| attempt.failed(&error))
        };
        let bytes = self.within(attempt, bytes_max, request).await??;
        match wrong_length(bytes.len() as u64) {
            Some(error) => Err(error),
            None => Ok(bytes),
        }
    }

    /// Creates a file; `false` when there is one of this name.
    async fn create(
        &self,
        attempt: &Attempt<'_>,
        path: &str,
        bytes: PutPayload,
    ) -> Result<bool, CheckpointError> {
        let length = bytes.content_length() as u64;
        let options = PutOptions::from(PutMode::Create);
        let location = self.place.path(path);
        let put = self.store.put_opts(&location, bytes, options);
        match self.within(attempt, length, put).await? {
            Ok(_) => Ok(true),
            Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => Ok(false),
            Err(error) => Err(attempt.failed(&error)),
        }
    }

    /// Waits no longer than these many bytes may take.
    pub(super) async fn within<T>(
        &self,
        attempt: &Attempt<'_>,
        bytes: u64,
        request: impl Future<Output = T>,
    ) -> Result<T, CheckpointError> {
        let Some(patience) = self.place.patience else {
            return Ok(request.await);
        };
        let limit = patience + Duration::from_secs(bytes / BYTES_PER_SECOND);
        tokio::time::timeout(limit, request)
            .await
            .map_err(|_| attempt.unavailable(format!("no answer within {} s", limit.as_secs())))
    }

    pub(super) fn attempt(&self, action: Action, path: &str) -> Attempt<'_> {
        Attempt {
            action,
            what: self.place.what(path),
            secrets: &self.place.secrets,
        }
    }
}

impl Place {
    fn new(shown: String, prefix: &str, pipeline: &str, life: &str) -> Self {
        let mut root = format!("{}/{}", name::part(pipeline), name::part(life));
        let prefix = prefix.trim_matches('/');
        let mut prefix_len = 0;
        if !prefix.is_empty() {
            root = format!("{prefix}/{root}");
            prefix_len = prefix.len() + 1;
        }
        Self {
            shown,
            root,
            prefix_len,
            pipeline: pipeline.to_owned(),
            life: life.to_owned(),
            folder: None,
            patience: None,
            secrets: Vec::new(),
        }
    }

    /// A path below `root` that we made ourselves.
    pub(super) fn path(&self, path: &str) -> Path {
        Path::from(format!("{}/{path}", self.root))
    }

    /// A path below `root` that stands in a manifest; `None` when nothing of ours is called so.
    fn checked_path(&self, path: &str) -> Option<Path> {
        let made = self.path(path);
        // Every part as it is: nothing was encoded, no slash left out.
        (made.as_ref() == format!("{}/{path}", self.root)).then_some(made)
    }

    /// What stands below `root` of a path that was listed.
    pub(super) fn below<'p>(&self, path: &'p Path) -> Option<&'p str> {
        path.as_ref().strip_prefix(&self.root)?.strip_prefix('/')
    }

    /// The file at a path, for a person.
    fn what(&self, path: &str) -> String {
        let root = &self.root[self.prefix_len..];
        format!("the checkpoint file {root}/{path} in {}", self.shown)
    }
}

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// What `work` returns; on a thread for such work if it concerns many bytes, so that nobody waits for
/// it who has something else to do. `None` when the runtime stops before that.
pub(crate) async fn off_thread<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    // A simulation may have no runtime of tokio's.
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return Some(work());
    };
    if bytes < INLINE_BYTES {
        return Some(work());
    }
    match runtime.spawn_blocking(work).await {
        Ok(done) => Some(done),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => None,
        },
    }
}
