//! What failed in SQLite, and whether trying again can help.

use rusqlite::{Error, ErrorCode};

use crate::sink::{Remedy, SinkError};

/// Why work on a file ended.
#[derive(Debug)]
pub(super) enum Failure {
    /// A statement failed.
    Sql {
        /// what it was to do: completes "failed to …"
        doing: String,
        /// what SQLite said
        error: Error,
    },
    /// Already said for the caller.
    Sink(SinkError),
}

impl Failure {
    /// For `map_err`: what a statement was to do.
    pub(super) fn to(doing: impl Into<String>) -> impl FnOnce(Error) -> Self {
        let doing = doing.into();
        move |error| Self::Sql { doing, error }
    }

    /// Something that would fail again.
    pub(super) fn permanent(message: impl Into<String>) -> Self {
        Self::Sink(SinkError::Permanent(message.into()))
    }

    /// The same for the caller; `what` is the file, for a person.
    pub(super) fn into_sink_error(self, what: &str) -> SinkError {
        let (doing, error) = match self {
            Self::Sink(error) => return error,
            Self::Sql { doing, error } => (doing, error),
        };
        let (remedy, advice) = error
            .sqlite_error_code()
            .map_or((Remedy::Stop, ""), meaning);
        match remedy {
            Remedy::Retry => SinkError::Unavailable {
                what: what.to_owned(),
                reason: format!("failed to {doing}: {error}{advice}"),
            },
            Remedy::LeaveOut | Remedy::Stop => {
                SinkError::Permanent(format!("{what} failed to {doing}: {error}{advice}"))
            }
        }
    }
}

/// What a code means, and what to do where SQLite's own words do not say it. What passes is in the way
/// of what we asked for: somebody else's transaction, or the machine.
fn meaning(code: ErrorCode) -> (Remedy, &'static str) {
    match code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            (Remedy::Retry, ": another process is writing to the file")
        }
        ErrorCode::DiskFull => (Remedy::Retry, ", and it goes on when there is room"),
        ErrorCode::SystemIoFailure => (Remedy::Retry, ": see that the disk is in order"),
        ErrorCode::FileLockingProtocolFailed | ErrorCode::OutOfMemory => (Remedy::Retry, ""),
        ErrorCode::ReadOnly => (
            Remedy::Stop,
            ": see that this user may write the file and its folder",
        ),
        ErrorCode::CannotOpen | ErrorCode::PermissionDenied => (
            Remedy::Stop,
            ": see that `path` names a file, and that this user may write it and its folder",
        ),
        ErrorCode::NotADatabase => (
            Remedy::Stop,
            ": it is another kind of file, name another `path`",
        ),
        ErrorCode::DatabaseCorrupt => (
            Remedy::Stop,
            ": the file is damaged; put a copy in its place, or move it away and start anew",
        ),
        ErrorCode::SchemaChanged | ErrorCode::TypeMismatch => (
            Remedy::Stop,
            ": somebody has changed the tables since the start; `wasmill check --connect` compares them",
        ),
        _ => (Remedy::Stop, ""),
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    fn failed(code: i32) -> SinkError {
        let error = Error::SqliteFailure(ffi::Error::new(code), None);
        Failure::to("commit")(error).into_sink_error("SQLite at x")
    }

    #[test]
    fn what_passes_is_waited_for_and_what_stays_ends_the_run() {
        for code in [
            ffi::SQLITE_BUSY,
            ffi::SQLITE_BUSY_SNAPSHOT,
            ffi::SQLITE_FULL,
            ffi::SQLITE_IOERR_FSYNC,
        ] {
            assert_eq!(failed(code).remedy(), Remedy::Retry, "{code}");
        }
        for code in [
            ffi::SQLITE_READONLY,
            ffi::SQLITE_NOTADB,
            ffi::SQLITE_CORRUPT,
            ffi::SQLITE_CONSTRAINT,
            ffi::SQLITE_CANTOPEN,
        ] {
            assert_eq!(failed(code).remedy(), Remedy::Stop, "{code}");
        }
    }

    #[test]
    fn a_failure_names_the_file_the_step_and_what_to_do() {
        let message = failed(ffi::SQLITE_NOTADB).to_string();
        assert!(
            message.starts_with("SQLite at x failed to commit: "),
            "{message}"
        );
        assert!(message.ends_with("name another `path`"), "{message}");
    }
}
