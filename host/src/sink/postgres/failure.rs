//! What failed in PostgreSQL, and whether trying again can help.

use std::error::Error as _;
use std::io;

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, SqlState};

use crate::sink::{Remedy, SinkError};

/// What a state, or a class of states, means. A state that no entry begins stops the run, with what the
/// server said of it.
struct Meaning {
    /// what the state begins with
    state: &'static str,
    remedy: Remedy,
    /// what to do, where the server's own words do not say it; completes "…; "
    advice: &'static str,
}

const fn passes(state: &'static str, advice: &'static str) -> Meaning {
    Meaning {
        state,
        remedy: Remedy::Retry,
        advice,
    }
}

const fn stops(state: &'static str, advice: &'static str) -> Meaning {
    Meaning {
        state,
        remedy: Remedy::Stop,
        advice,
    }
}

const CHANGED: &str = "somebody has changed the table since the start; `wasmill check --connect` compares it with what is needed";
const POOLER: &str = "a pooler between wasmill and PostgreSQL has to keep a session for each connection (`pool_mode = session` of PgBouncer)";
const WHO: &str = "see user and password in `url`, and pg_hba.conf of the server";
const SHORT_LIMIT: &str =
    "`timeout` of the sink, or a limit that is set for the role or the database, is too short";

/// What passes by itself is in the way of what we asked for: the server's own state, or somebody else's
/// transaction. What stays is about what we asked for. The first entry that fits counts.
///
/// Not here: what is about the values of a row (classes 22, 23, 44 and P0001), which
/// [`super::refused`] finds.
const MEANINGS: &[Meaning] = &[
    passes("08", ""), // connection exceptions; also what PgBouncer says of itself
    passes(
        "25006",
        "it takes no writes now: a standby, or default_transaction_read_only is on",
    ),
    passes("25P03", ""),    // our transaction was idle for too long
    passes("25P04", ""),    // or lasted too long
    stops("26000", POOLER), // a prepared statement is not there
    stops("28", WHO),
    stops(
        "3D000",
        "create the database, or correct `url`; the tables are created in it",
    ),
    stops("3F000", "create the schema, or name another one in `table`"),
    stops("40002", ""), // a deferred constraint, at the end of a transaction
    passes("40", ""),   // serialization failure, deadlock, unknown whether it completed
    stops(
        "42501",
        "GRANT it, or have somebody else own the table; `wasmill check --connect` asks for what a start needs",
    ),
    stops("42P05", POOLER),  // a prepared statement is there already
    stops("42P01", CHANGED), // no such table
    stops("42703", CHANGED), // no such column
    stops("42P10", CHANGED), // no such key
    stops("42804", CHANGED), // of another type
    stops("42809", CHANGED), // it is something else than a table
    stops("428C9", CHANGED), // the server computes the column
    passes("53", "it goes on when there is room"), // out of disk, memory, connections
    passes("55006", ""),     // somebody else uses it
    passes("55P03", "somebody else holds a lock: see pg_locks"),
    passes("57014", SHORT_LIMIT), // cancelled, by a time limit or a person
    stops("57P04", "the database was dropped while the pipeline ran"),
    passes("57P0", ""),  // shut down, crashed, starting up
    passes("58000", ""), // the system that the server runs on
    passes("58030", ""), // its disk
    passes("72000", ""), // snapshot too old
];

/// What a state means; `None` where nothing is known but that it would be the same again.
fn meaning(state: &str) -> Option<&'static Meaning> {
    let mut meanings = MEANINGS.iter();
    meanings.find(|meaning| state.starts_with(meaning.state))
}

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
            Self::Sql { doing, error } => {
                let meaning = error.code().and_then(|code| meaning(code.code()));
                let mut said = format!("failed to {doing}: {}", describe(&error));
                if let Some(meaning) = meaning.filter(|meaning| !meaning.advice.is_empty()) {
                    said.push_str("; ");
                    said.push_str(meaning.advice);
                }
                let remedy = match error.code() {
                    Some(_) => meaning.map_or(Remedy::Stop, |meaning| meaning.remedy),
                    None if is_lost(&error) => Remedy::Retry,
                    None => Remedy::Stop,
                };
                match remedy {
                    Remedy::Retry => SinkError::Unavailable {
                        what: what.to_owned(),
                        reason: said,
                    },
                    Remedy::LeaveOut | Remedy::Stop => {
                        SinkError::Permanent(format!("{what} {said}"))
                    }
                }
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

/// Whether the connection failed, and not what was to go over it.
fn is_lost(error: &Error) -> bool {
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

    fn remedy(state: &str) -> Remedy {
        meaning(state).map_or(Remedy::Stop, |meaning| meaning.remedy)
    }

    #[test]
    fn what_passes_by_itself_is_tried_again_and_nothing_else() {
        let passing = [
            "08000", "08006", "08P01", "25006", "25P03", "25P04", "40000", "40001", "40003",
            "40P01", "53000", "53100", "53200", "53300", "53400", "55006", "55P03", "57014",
            "57P01", "57P02", "57P03", "57P05", "58000", "58030", "72000",
        ];
        for state in passing {
            assert_eq!(remedy(state), Remedy::Retry, "{state}");
        }
        let staying = [
            "0A000", "22003", "22P05", "23514", "25P02", "26000", "28000", "28P01", "3D000",
            "3F000", "40002", "42501", "42601", "42703", "42804", "42P01", "42P05", "42P10",
            "428C9", "54000", "55000", "57P04", "58P01", "XX000", "XX001",
        ];
        for state in staying {
            assert_eq!(remedy(state), Remedy::Stop, "{state}");
        }
    }

    #[test]
    fn no_entry_hides_another() {
        for (index, later) in MEANINGS.iter().enumerate() {
            for earlier in &MEANINGS[..index] {
                assert!(
                    !later.state.starts_with(earlier.state),
                    "{} comes after {}",
                    later.state,
                    earlier.state
                );
            }
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
