//! What went wrong with a checkpoint, and what it means: of the library's errors, and of the errors
//! that it wraps, only what a person needs is kept.
//!
//! # Invariants
//!
//! No key, secret or token is in a message: a server's answer may quote a whole signed request, so no
//! more than its code and message are taken, and known secrets are struck out of those.

use std::error::Error as StdError;
use std::fmt;
use std::io::{self, ErrorKind};

use object_store::Error as StoreError;
use thiserror::Error;

use crate::config::Secret;
use crate::epoch::EpochId;
use crate::sink::Remedy;

/// Characters that are kept of what a library or server says.
const REASON_CHARS_MAX: usize = 300;

/// Linux: the device could not read the block.
const EIO: i32 = 5;
/// Linux: too many open files, in the system and in the process.
const TOO_MANY_FILES: [i32; 2] = [23, 24];

/// What went wrong with a checkpoint.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// The store does not answer, or has no room at present. Nothing was lost.
    #[error("failed to {action} {what}: {reason}")]
    Unavailable {
        /// what was tried: "read", "write"
        action: &'static str,
        /// the file and where
        what: String,
        /// what the client library or server said
        reason: String,
    },
    /// A file is missing or not as it was written. Trying again does not help, but an older checkpoint
    /// may be whole.
    #[error("{what} cannot be used: {reason}; only an older checkpoint can help")]
    Damaged {
        /// the file and where
        what: String,
        /// how that is known
        reason: String,
    },
    /// Another host published another checkpoint of this epoch first. Both are right, so this one may
    /// be left out: the next one is of another epoch.
    #[error(
        "{what} is there already, and not ours: {other}; if another host runs this pipeline, stop one of them"
    )]
    Conflict {
        /// the epoch of both
        epoch: EpochId,
        /// the manifest and where
        what: String,
        /// what is known of the other one
        other: String,
    },
    /// Refused, and would be again until somebody changes something.
    #[error("{0}")]
    Permanent(String),
}

impl CheckpointError {
    /// What the caller has to do, unless it can do without what it asked for: see
    /// [`Damaged`](Self::Damaged) and [`Conflict`](Self::Conflict).
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Unavailable { .. } => Remedy::Retry,
            Self::Damaged { .. } | Self::Conflict { .. } | Self::Permanent(_) => Remedy::Stop,
        }
    }
}

/// What was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Read,
    Write,
    List,
    Delete,
}

impl Action {
    fn verb(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::List => "list",
            Self::Delete => "delete",
        }
    }
}

/// What was tried with what: all that a message names.
pub(super) struct Attempt<'a> {
    pub(super) action: Action,
    /// the file and where
    pub(super) what: String,
    /// what must not be told
    pub(super) secrets: &'a [Secret],
}

impl Attempt<'_> {
    /// It may work later.
    pub(super) fn unavailable(&self, reason: impl fmt::Display) -> CheckpointError {
        CheckpointError::Unavailable {
            action: self.action.verb(),
            what: self.what.clone(),
            reason: reason.to_string(),
        }
    }

    /// It will not work before somebody does what `next` says.
    pub(super) fn permanent(&self, reason: impl fmt::Display, next: &str) -> CheckpointError {
        let (verb, what) = (self.action.verb(), &self.what);
        CheckpointError::Permanent(format!("failed to {verb} {what}: {reason}; {next}"))
    }

    /// What is there is not what was written.
    pub(super) fn damaged(&self, reason: impl fmt::Display) -> CheckpointError {
        CheckpointError::Damaged {
            what: self.what.clone(),
            reason: reason.to_string(),
        }
    }

    /// What the library's error means.
    pub(super) fn failed(&self, error: &StoreError) -> CheckpointError {
        let root = root_cause(error);
        if let Some(error) = io_error(error).filter(|_| is_local(error)) {
            return self.of_file_system(error);
        }
        let text = root.to_string();
        let answer = Answer::parse(&text);
        let reason = self.told(&answer.shown(&text));
        match error {
            StoreError::NotFound { .. } if answer.code == Some("NoSuchBucket") => self.permanent(
                reason,
                "create the bucket, or name another one in `store` of `[checkpoint]`",
            ),
            StoreError::NotFound { .. } if self.action == Action::Read => {
                self.damaged(MISSING)
            }
            StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => self
                .permanent(
                    reason,
                    "see that AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN are right, and may list the bucket and get, put and delete its objects",
                ),
            StoreError::NotSupported { .. } | StoreError::NotImplemented { .. } => {
                self.permanent(reason, CONDITIONAL)
            }
            _ => match answer.status {
                Some(501) => self.permanent(reason, CONDITIONAL),
                Some(300..=399) => self.permanent(reason, REGION),
                None if text.contains("redirect") => self.permanent(reason, REGION),
                Some(408 | 429) | None => self.unavailable(reason),
                // A connection that stood still is answered so.
                Some(400) if answer.code == Some("RequestTimeout") => self.unavailable(reason),
                Some(400..=499) => {
                    self.permanent(reason, "see what `[checkpoint]` says of the bucket")
                }
                Some(_) => self.unavailable(reason),
            },
        }
    }

    /// What an error of the file system means.
    pub(super) fn of_file_system(&self, error: &io::Error) -> CheckpointError {
        let raw = error.raw_os_error();
        match error.kind() {
            ErrorKind::NotFound if self.action == Action::Read => self.damaged(MISSING),
            ErrorKind::PermissionDenied => self.permanent(
                error,
                "let the user that wasmill runs as read and write there, or name another folder in `store` of `[checkpoint]`",
            ),
            ErrorKind::ReadOnlyFilesystem => self.permanent(
                error,
                "mount something there that can be written to, or name another folder in `store` of `[checkpoint]`",
            ),
            ErrorKind::NotADirectory | ErrorKind::AlreadyExists | ErrorKind::IsADirectory => {
                self.permanent(error, "name a folder in `store` of `[checkpoint]`")
            }
            ErrorKind::StorageFull
            | ErrorKind::QuotaExceeded
            | ErrorKind::OutOfMemory
            | ErrorKind::ResourceBusy
            | ErrorKind::StaleNetworkFileHandle
            | ErrorKind::Interrupted
            | ErrorKind::TimedOut
            | ErrorKind::WouldBlock => self.unavailable(error),
            _ if raw.is_some_and(|raw| TOO_MANY_FILES.contains(&raw)) => self.unavailable(error),
            _ if raw == Some(EIO) && self.action == Action::Read => self.damaged(error),
            _ => self.permanent(error, "see that the folder's file system is in order"),
        }
    }

    /// What may be told of it.
    pub(super) fn told(&self, reason: &str) -> String {
        let mut told = reason.trim().to_owned();
        for secret in self.secrets {
            told = told.replace(secret.reveal(), "[secret]");
        }
        match told.char_indices().nth(REASON_CHARS_MAX) {
            Some((end, _)) => format!("{}…", &told[..end]),
            None => told,
        }
    }
}

/// Why a file is damaged that is missing.
pub(super) const MISSING: &str = "it is not there";

const CONDITIONAL: &str =
    "the server has to know conditional puts (`If-None-Match: *`), as S3, R2, MinIO and others do";
const REGION: &str = "name the region that the bucket is in as `region` of `[checkpoint]`";

fn is_local(error: &StoreError) -> bool {
    match error {
        StoreError::Generic { store, .. } => *store == "LocalFileSystem",
        StoreError::NotFound { source, .. } | StoreError::AlreadyExists { source, .. } => {
            source.is::<io::Error>()
        }
        _ => false,
    }
}

/// The errors that this one wraps, outermost first.
fn chain<'a>(error: &'a StoreError) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let first: &'a (dyn StdError + 'static) = error;
    std::iter::successors(Some(first), |&error| error.source())
}

fn root_cause(error: &StoreError) -> &(dyn StdError + 'static) {
    chain(error).last().unwrap_or(error)
}

fn io_error(error: &StoreError) -> Option<&io::Error> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// What a server answered, as the library quotes it: a status, and S3's XML with a code and a message.
struct Answer<'a> {
    status: Option<u16>,
    code: Option<&'a str>,
    message: Option<&'a str>,
}

impl<'a> Answer<'a> {
    fn parse(text: &'a str) -> Self {
        let status = text
            .split_once("status code: ")
            .or_else(|| text.split_once("status "))
            .and_then(|(_, rest)| rest.get(..3)?.parse().ok());
        Self {
            status,
            code: element(text, "Code"),
            message: element(text, "Message"),
        }
    }

    /// For a person. An answer of another form is quoted up to where it begins to be markup.
    fn shown(&self, text: &str) -> String {
        let status = self
            .status
            .map_or(String::new(), |status| format!("{status} "));
        match (self.code, self.message) {
            (Some(code), Some(message)) => format!("{status}{code}: {message}"),
            (Some(code), None) => format!("{status}{code}"),
            (None, _) => text.split('<').next().unwrap_or(text).to_owned(),
        }
    }
}

/// The text of the first element of this name.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (inside, _) = rest.split_once(&format!("</{name}>"))?;
    Some(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(action: Action, secrets: &[Secret]) -> Attempt<'_> {
        Attempt {
            action,
            what: "manifests/000000000001.json in s3://shop".to_owned(),
            secrets,
        }
    }

    fn answered(status: &str, body: &str) -> StoreError {
        StoreError::Generic {
            store: "S3",
            source: format!("Server returned non-2xx status code: {status}: {body}").into(),
        }
    }

    #[test]
    fn what_a_server_says_decides_what_to_do() {
        let writing = attempt(Action::Write, &[]);
        let remedy = |status, body| writing.failed(&answered(status, body)).remedy();
        assert_eq!(remedy("503 Service Unavailable", ""), Remedy::Retry);
        assert_eq!(remedy("500 Internal Server Error", ""), Remedy::Retry);
        assert_eq!(remedy("429 Too Many Requests", ""), Remedy::Retry);
        let stalled = "<Error><Code>RequestTimeout</Code></Error>";
        assert_eq!(remedy("400 Bad Request", stalled), Remedy::Retry);
        let expired = "<Error><Code>ExpiredToken</Code></Error>";
        assert_eq!(remedy("400 Bad Request", expired), Remedy::Stop);
        assert_eq!(remedy("501 Not Implemented", ""), Remedy::Stop);
        assert_eq!(remedy("301 Moved Permanently", ""), Remedy::Stop);
    }

    #[test]
    fn no_more_than_code_and_message_of_an_answer_is_told() {
        let secrets = [Secret::new("hunter2".to_owned())];
        let body = "<?xml?><Error><Code>SignatureDoesNotMatch</Code><Message>not hunter2</Message>\
                    <CanonicalRequest>x-amz-security-token:token</CanonicalRequest></Error>";
        let error = StoreError::PermissionDenied {
            path: "p".to_owned(),
            source: Box::new(answered("403 Forbidden", body)),
        };
        let shown = attempt(Action::List, &secrets).failed(&error).to_string();
        let expected = "failed to list manifests/000000000001.json in s3://shop: 403 SignatureDoesNotMatch: not [secret]; see that";
        assert!(shown.starts_with(expected), "{shown}");
        assert!(!shown.contains("x-amz-security-token"), "{shown}");
    }

    #[test]
    fn a_bucket_that_is_missing_is_no_damage() {
        let missing = |code: &str| StoreError::NotFound {
            path: "p".to_owned(),
            source: Box::new(answered("404 Not Found", &format!("<Code>{code}</Code>"))),
        };
        let reading = attempt(Action::Read, &[]);
        let key = reading.failed(&missing("NoSuchKey"));
        assert!(matches!(key, CheckpointError::Damaged { .. }), "{key}");
        let bucket = reading.failed(&missing("NoSuchBucket"));
        assert!(matches!(bucket, CheckpointError::Permanent(_)), "{bucket}");
    }

    #[test]
    fn a_full_disk_is_waited_for_and_a_bad_block_is_damage() {
        let of =
            |action, raw| attempt(action, &[]).of_file_system(&io::Error::from_raw_os_error(raw));
        let (enospc, erofs, emfile) = (28, 30, 24);
        assert_eq!(of(Action::Write, enospc).remedy(), Remedy::Retry);
        assert_eq!(of(Action::Write, emfile).remedy(), Remedy::Retry);
        assert_eq!(of(Action::Write, erofs).remedy(), Remedy::Stop);
        assert!(matches!(
            of(Action::Read, EIO),
            CheckpointError::Damaged { .. }
        ));
        assert!(matches!(
            of(Action::Write, EIO),
            CheckpointError::Permanent(_)
        ));
    }

    #[test]
    fn a_long_answer_is_cut_short() {
        let text = "é".repeat(1_000);
        let told = attempt(Action::Read, &[]).told(&text);
        assert_eq!(told.chars().count(), REASON_CHARS_MAX + 1);
    }
}
