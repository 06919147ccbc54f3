//! What failed in PostgreSQL, and whether trying again can help.

use std::error::Error as _;
use std::io;

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, SqlState};

use crate::sink::SinkError;

/// States, and classes of states, that pass by themselves: the server or somebody else's
/// transaction is in the way, not what we asked for.
const PASSING: &[&str] = &[
    "08",    // connection exceptions
    "53",    // out of connections, memory or disk
    "57P0",  // shut down, crashed, starting up
    "25P03", // our transaction was idle for too long
    "25P04", // or lasted too long
    "25006", // read-only: a standby that is not promoted yet
    "40001", // serialization failure
    "40003", // unknown whether a statement completed
    "40P01", // deadlock
    "55P03", // lock not available in time
    "57014", // cancelled, by the statement time limit or a person
];

/// Why work on a session ended.
#[derive(Debug)]
pub(super) enum Failure {
    /// A statement failed.
    Sql {
        /// what it was to do: completes "failed to …"
        doing: String,
        /// what the client library or server said
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

    /// What the server called it.
    pub(super) fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Sql { error, .. } => error.code(),
            Self::Sink(_) => None,
        }
    }

    /// For a person.
    pub(super) fn said(&self) -> String {
        match self {
            Self::Sql { doing, error } => format!("failed to {doing}: {}", describe(error)),
            Self::Sink(error) => error.to_string(),
        }
    }

    /// Whether a statement was refused only because an earlier one of its transaction had failed.
    fn is_consequence(&self) -> bool {
        self.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION)
    }

    /// Whether the connection was lost without a word.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self, Self::Sql { error, .. } if error.is_closed())
    }

    /// The same for the caller; `what` is the server, for a person.
    pub(super) fn into_sink_error(self, what: &str) -> SinkError {
        match self {
            Self::Sink(error) => error,
            Self::Sql { doing, error } if passes(&error) => SinkError::Unavailable {
                what: what.to_owned(),
                reason: format!("failed to {doing}: {}", describe(&error)),
            },
            Self::Sql { doing, error } => {
                SinkError::Permanent(format!("{what} failed to {doing}: {}", describe(&error)))
            }
        }
    }
}

/// The failure that caused the others, where statements of one transaction were sent together.
pub(super) fn cause(failures: impl Iterator<Item = Failure>) -> Option<Failure> {
    failures.min_by_key(|failure| match failure {
        failure if failure.is_consequence() => 2,
        Failure::Sink(_) => 1,
        Failure::Sql { .. } => 0,
    })
}

fn passes(error: &Error) -> bool {
    if let Some(code) = error.code() {
        return is_passing(code.code());
    }
    if error.is_closed() {
        return true;
    }
    // Sockets fail with other kinds than what cannot be encoded or parsed.
    error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>())
        .is_some_and(|error| {
            !matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData
            )
        })
}

fn is_passing(code: &str) -> bool {
    PASSING.iter().any(|state| code.starts_with(state))
}

/// Everything that the server said, or the chain of the library's causes.
fn describe(error: &Error) -> String {
    if let Some(error) = error.as_db_error() {
        return describe_answer(error);
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

fn describe_answer(error: &DbError) -> String {
    let mut text = format!("{} (SQLSTATE {}", error.message(), error.code().code());
    let further = [
        ("detail", error.detail()),
        ("hint", error.hint()),
        ("table", error.table()),
        ("column", error.column()),
        ("constraint", error.constraint()),
        ("context", error.where_()),
    ];
    for (name, value) in further {
        if let Some(value) = value {
            text.push_str("; ");
            text.push_str(name);
            text.push_str(": ");
            text.push_str(value);
        }
    }
    text.push(')');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_tried_again_and_nothing_else() {
        let passing = [
            "08006", "53100", "53300", "57P01", "57P03", "25P03", "40001", "40P01", "55P03",
            "57014",
        ];
        for code in passing {
            assert!(is_passing(code), "{code}");
        }
        let permanent = [
            "28P01", "28000", "3D000", "3F000", "42501", "42P01", "42703", "22003", "22P05",
            "23514", "25P02", "XX000",
        ];
        for code in permanent {
            assert!(!is_passing(code), "{code}");
        }
    }

    #[test]
    fn the_cause_of_several_failures_is_the_first_one() {
        let permanent = |text: &str| Failure::permanent(text);
        let first = cause([permanent("one"), permanent("two")].into_iter());
        assert!(matches!(first, Some(Failure::Sink(SinkError::Permanent(text))) if text == "one"));
        assert!(cause(std::iter::empty()).is_none());
    }
}
