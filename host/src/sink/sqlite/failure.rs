//! What failed in SQLite, and whether trying again can help.

use rusqlite::{Error, ErrorCode};

use crate::sink::SinkError;

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
        let code = error.sqlite_error_code();
        let advice = code.and_then(advice).unwrap_or_default();
        if code.is_some_and(passes) {
            return SinkError::Unavailable {
                what: what.to_owned(),
                reason: format!("failed to {doing}: {error}{advice}"),
            };
        }
        SinkError::Permanent(format!("{what} failed to {doing}: {error}{advice}"))
    }
}

/// Whether somebody else's transaction, or the machine, is in the way, and not what we asked for.
fn passes(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::OutOfMemory
    )
}

/// What to do, where SQLite's own words do not say it.
fn advice(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            ": another process is writing to the file"
        }
        ErrorCode::DiskFull => ", and it goes on when there is room",
        ErrorCode::ReadOnly => ": see that this user may write the file and its folder",
        ErrorCode::CannotOpen | ErrorCode::PermissionDenied => {
            ": see that `path` names a file, and that this user may write it and its folder"
        }
        ErrorCode::NotADatabase => ": it is another kind of file, name another `path`",
        ErrorCode::DatabaseCorrupt => {
            ": the file is damaged; put a copy in its place, or move it away and start anew"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;
    use crate::sink::Remedy;

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
