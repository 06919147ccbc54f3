//! The store of a location: a folder, or a bucket of S3.
//!
//! # Invariants
//!
//! In a folder, a write that succeeded survives a power cut: `object_store` is told to flush the file
//! before it gives it its name, and the folder after that; and folders that are missing are created
//! here the same way.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::local::LocalFileSystem;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use super::CheckpointError;
use super::error::{Action, Attempt};
use crate::config::{CheckpointLocation, S3Location, Secret};

/// How long a server may take to answer, beside the time that the bytes take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The library repeats a request that failed on its way this often; the caller goes on from there.
const RETRIES: usize = 2;

/// An open location.
pub(super) struct Opened {
    pub(super) store: Arc<dyn ObjectStore>,
    /// what paths begin with
    pub(super) prefix: String,
    /// the folder, where it is one
    pub(super) folder: Option<PathBuf>,
    /// how long an answer may take, where it comes by network
    pub(super) patience: Option<Duration>,
    /// what no message may tell
    pub(super) secrets: Vec<Secret>,
}

/// Opens a location. A folder is created when it is missing; a server is not asked yet.
pub(super) fn open(location: &CheckpointLocation) -> Result<Opened, CheckpointError> {
    match location {
        CheckpointLocation::File { path } => folder(path),
        CheckpointLocation::S3(s3) => bucket(s3),
    }
}

/// Whether a folder could be used: it is one, or what it would be created in is. Changes nothing.
pub(super) fn check_folder(path: &Path) -> Result<(), CheckpointError> {
    let mut existing = path;
    loop {
        match fs::metadata(beside(existing)) {
            Ok(found) if found.is_dir() => return Ok(()),
            Ok(_) => return Err(unusable(path, &io::ErrorKind::NotADirectory.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => match existing.parent() {
                Some(parent) => existing = parent,
                None => return Err(unusable(path, &error)),
            },
            Err(error) => return Err(unusable(path, &error)),
        }
    }
}

fn folder(path: &Path) -> Result<Opened, CheckpointError> {
    create_durably(path).map_err(|error| unusable(path, &error))?;
    let store = LocalFileSystem::new_with_prefix(path)
        .map_err(|error| attempt(path).failed(&error))?
        .with_fsync(true);
    Ok(Opened {
        store: Arc::new(store),
        prefix: String::new(),
        folder: Some(path.to_owned()),
        patience: None,
        secrets: Vec::new(),
    })
}

fn attempt(path: &Path) -> Attempt<'static> {
    Attempt {
        action: Action::Write,
        what: format!("the folder of the checkpoints {}", path.display()),
        secrets: &[],
    }
}

fn unusable(path: &Path, error: &io::Error) -> CheckpointError {
    attempt(path).of_file_system(error)
}

/// The path, or that of the working directory.
fn beside(path: &Path) -> &Path {
    if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    }
}

/// Creates a folder and those that it is in, and flushes the entry of each to the disk.
fn create_durably(path: &Path) -> io::Result<()> {
    let path = beside(path);
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let parent = beside(path.parent().unwrap_or(Path::new("")));
    create_durably(parent)?;
    match fs::create_dir(path) {
        // Somebody else was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        done => done?,
    }
    File::open(parent)?.sync_all()
}

fn bucket(location: &S3Location) -> Result<Opened, CheckpointError> {
    let Some(credentials) = &location.credentials else {
        return Err(CheckpointError::Permanent(format!(
            "there are no credentials for the checkpoints in {location}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN where they are temporary)"
        )));
    };
    // The one provider that is compiled in; whoever installed it before, it is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let is_plain = |endpoint: &String| endpoint.starts_with("http://");
    let client = ClientOptions::new()
        .with_allow_http(location.endpoint.as_ref().is_some_and(is_plain))
        .with_connect_timeout(Duration::from_secs(5))
        // The time of a whole request depends on its length: the caller bounds it.
        .with_timeout_disabled();
    let retry = RetryConfig {
        backoff: BackoffConfig {
            max_backoff: Duration::from_secs(1),
            ..BackoffConfig::default()
        },
        max_retries: RETRIES,
        retry_timeout: PATIENCE,
    };
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&location.bucket)
        .with_region(&location.region)
        .with_access_key_id(credentials.access_key_id.reveal())
        .with_secret_access_key(credentials.secret_access_key.reveal())
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        // Several servers do not know how to delete many at once.
        .with_disable_bulk_delete(true)
        .with_client_options(client)
        .with_retry(retry);
    if let Some(endpoint) = &location.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    let mut secrets = vec![
        credentials.secret_access_key.clone(),
        credentials.access_key_id.clone(),
    ];
    if let Some(token) = &credentials.session_token {
        builder = builder.with_token(token.reveal());
        secrets.push(token.clone());
    }
    let attempt = Attempt {
        action: Action::Read,
        what: format!("the settings of the checkpoints in {location}"),
        secrets: &secrets,
    };
    let store = builder.build().map_err(|error| {
        let next = "see `endpoint` and `region` of `[checkpoint]`, and that the system has certificates of authorities (package ca-certificates)";
        attempt.permanent(attempt.told(&error.to_string()), next)
    })?;
    Ok(Opened {
        store: Arc::new(store),
        prefix: location.prefix.clone(),
        folder: None,
        patience: Some(PATIENCE),
        secrets,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_that_are_missing_are_created() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b/c");
        check_folder(&path).unwrap();
        assert!(!root.path().join("a").exists());
        folder(&path).unwrap();
        assert!(path.is_dir());
        folder(&path).unwrap();
        check_folder(&path).unwrap();
    }

    #[test]
    fn a_file_is_no_folder() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        for path in [file.clone(), file.join("below")] {
            let error = check_folder(&path).unwrap_err().to_string();
            assert!(error.contains("name a folder in `store`"), "{error}");
            assert!(error.contains("/file"), "{error}");
            let opened = folder(&path).err().unwrap().to_string();
            assert_eq!(opened, error);
        }
    }
}
