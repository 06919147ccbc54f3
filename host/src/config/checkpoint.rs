//! `[checkpoint]`, validated: how often, how many, and where.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::Secret;

/// `[checkpoint]`
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// one is written so long after the last one, at the end of an epoch; default 30 s
    pub interval: Duration,
    /// how many are kept; default 3
    pub keep: usize,
    /// `store`: where they are
    pub location: CheckpointLocation,
}

impl Checkpoint {
    /// What holds where `[checkpoint]` does not say `interval`.
    pub const INTERVAL: Duration = Duration::from_secs(30);
    /// What holds where it does not say `keep`.
    pub const KEEP: usize = 3;
    /// What holds where it does not say `store`; relative to the file.
    pub const FOLDER: &str = "data/checkpoints";
}

/// Where checkpoints are.
#[derive(Debug, Clone)]
pub enum CheckpointLocation {
    /// `file:`: a folder, created when it is missing
    File {
        /// absolute, or relative to the working directory
        path: PathBuf,
    },
    /// `s3://`
    S3(S3Location),
}

impl fmt::Display for CheckpointLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path } => path.display().fmt(f),
            Self::S3(s3) => s3.fmt(f),
        }
    }
}

/// A bucket of S3, or of a server that speaks its protocol.
#[derive(Debug, Clone)]
pub struct S3Location {
    /// the bucket's name
    pub bucket: String,
    /// what keys begin with, without slashes at its ends; empty for none
    pub prefix: String,
    /// the server's URL, without a user; `None`: Amazon's for the region
    pub endpoint: Option<String>,
    /// the bucket's region
    pub region: String,
    /// of the environment; `None` when they are not set, or only one of them
    pub credentials: Option<S3Credentials>,
}

impl fmt::Display for S3Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        if !self.prefix.is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        match &self.endpoint {
            Some(endpoint) => write!(f, " at {endpoint}"),
            None => Ok(()),
        }
    }
}

/// Who asks.
#[derive(Debug, Clone)]
pub struct S3Credentials {
    /// `AWS_ACCESS_KEY_ID`
    pub access_key_id: Secret,
    /// `AWS_SECRET_ACCESS_KEY`
    pub secret_access_key: Secret,
    /// `AWS_SESSION_TOKEN`, of temporary credentials
    pub session_token: Option<Secret>,
}
