//! What can go wrong with a guest once its component is loaded.

use std::time::Duration;

use thiserror::Error;
use wasmtime::{Trap, WasmBacktrace};

use super::isolate::Fault;
use super::limits::OutOfTime;
use super::meter::Failure;

/// Characters of a guest's own words that go into a message or a dead letter.
const WORDS_MAX: usize = 1000;
/// Functions that a message names, innermost first.
const FRAMES_MAX: usize = 4;
/// Characters of a function's name; a guest's file may say that it is called anything.
const FRAME_CHARS_MAX: usize = 200;
/// Part of the message of the private error that wasmtime gives when `set_hostcall_fuel` runs out.
const OUT_OF_FUEL: &str = "fuel allocated for hostcalls has been exhausted";

/// A call failed, and with it the instance.
#[derive(Debug, Error)]
pub enum CallError {
    /// The guest panicked, overflowed its stack, called what no guest may call, and so on.
    #[error(
        "the guest trapped: {reason}{}{}",
        after("; it said: ", said),
        after("; in ", backtrace)
    )]
    Trapped {
        /// what happened
        reason: String,
        /// the last of what it wrote to stderr in this call; a Rust guest's panic message
        said: String,
        /// the innermost functions, where the component names them
        backtrace: String,
    },
    /// It took longer than its limit lets it for so many rows.
    #[error("the guest used up its time ({0:?} for this call)")]
    TimedOut(Duration),
    /// It wanted more memory than its limit, in bytes.
    #[error("the guest needs more than its {0} bytes of memory")]
    MemoryExceeded(u64),
    /// It handed back more than its limit, in bytes.
    #[error("the guest handed back more than its {0} bytes of output")]
    OutputExceeded(u64),
    /// The guest's own error, in its words.
    #[error("the guest refused the batch: {0}")]
    Refused(String),
    /// What it returned breaks its contract.
    #[error("the guest broke its contract: {0}")]
    Invalid(String),
    /// The instance before was discarded, and no new one could be had.
    #[error("no fresh instance of the guest could be made: {0}")]
    NoInstance(Box<ConfigureError>),
}

impl CallError {
    /// The same in a word.
    #[must_use]
    pub fn failure(&self) -> Failure {
        match self {
            Self::Trapped { .. } => Failure::Trap,
            Self::TimedOut(_) => Failure::Time,
            Self::MemoryExceeded(_) => Failure::Memory,
            Self::OutputExceeded(_) => Failure::Output,
            Self::Refused(_) => Failure::Refused,
            Self::Invalid(_) => Failure::Contract,
            Self::NoInstance(_) => Failure::Instance,
        }
    }

    /// What a failed call means for the rows it was made with.
    #[must_use]
    pub(crate) fn fault(self) -> Fault<Self> {
        match self {
            Self::NoInstance(_) => Fault::Fatal(self),
            Self::TimedOut(_) => Fault::Slow(self),
            Self::Trapped { .. }
            | Self::MemoryExceeded(_)
            | Self::OutputExceeded(_)
            | Self::Refused(_)
            | Self::Invalid(_) => Fault::Rows(self),
        }
    }
}

fn after(separator: &str, text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!("{separator}{text}")
    }
}

/// A component could not be made ready for a stage.
#[derive(Debug, Error)]
pub enum ConfigureError {
    /// An aggregate where a transform is due, or the other way round.
    #[error("it is {found}, and {due} is due here")]
    WrongKind {
        /// what the component is
        found: &'static str,
        /// what the stage takes
        due: &'static str,
    },
    /// The guest does not take this config or input; its own words.
    #[error("the guest refused its configuration: {0}")]
    Refused(String),
    /// It could not be instantiated, or its `configure` did not come back.
    #[error("configuring failed: {0}")]
    Failed(CallError),
    /// It wants a column that its input does not have.
    #[error("the guest {verb} column `{column}`, and its input has only {there}")]
    MissingColumn {
        /// `needs` or `drops`
        verb: &'static str,
        /// the column's name
        column: String,
        /// the names of the columns that there are
        there: String,
    },
    /// Its contract contradicts itself.
    #[error("the guest's contract is wrong: {0}")]
    Contract(String),
    /// A fresh instance declared another contract than the one before, with equal arguments.
    #[error("the guest's contract changed between two instances: guests must be pure functions")]
    Changed,
}

impl From<CallError> for ConfigureError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(words) => Self::Refused(words),
            failed => Self::Failed(failed),
        }
    }
}

/// Sorts out why a call into wasm came back with an error.
///
/// `said` is what the guest wrote to stderr meanwhile, `memory_denied` whether it was denied memory.
pub(super) fn classify(
    error: &wasmtime::Error,
    bounds: CallBounds,
    memory_denied: bool,
    said: &str,
) -> CallError {
    if error.downcast_ref::<OutOfTime>().is_some() {
        return CallError::TimedOut(bounds.time);
    }
    if error
        .chain()
        .any(|cause| cause.to_string().contains(OUT_OF_FUEL))
    {
        return CallError::OutputExceeded(bounds.output);
    }
    if memory_denied {
        return CallError::MemoryExceeded(bounds.memory);
    }
    let reason = match error.downcast_ref::<Trap>() {
        Some(trap) => trap.to_string(),
        None => error.root_cause().to_string(),
    };
    CallError::Trapped {
        reason: clip(&reason),
        said: clip(said.trim()),
        backtrace: error
            .downcast_ref::<WasmBacktrace>()
            .map(innermost_functions)
            .unwrap_or_default(),
    }
}

/// The bounds that one call had.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallBounds {
    pub(super) time: Duration,
    pub(super) memory: u64,
    pub(super) output: u64,
}

/// Names of the innermost functions, without the machinery of panics around them.
fn innermost_functions(backtrace: &WasmBacktrace) -> String {
    let names = backtrace.frames().iter().filter_map(|frame| {
        let symbol = frame.symbols().iter().find_map(|symbol| symbol.name());
        symbol.or_else(|| frame.func_name())
    });
    let own: Vec<String> = names
        .map(|name| format!("{:#}", rustc_demangle::demangle(name)))
        .filter(|name| !is_panic_machinery(name))
        .map(|name| in_one_line(&name, FRAME_CHARS_MAX))
        .take(FRAMES_MAX)
        .collect();
    own.join(" < ")
}

fn is_panic_machinery(name: &str) -> bool {
    ["std::", "core::", "alloc::", "__rust", "rust_", "abort"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// The beginning of a guest's words, for messages and dead letters: bounded, and in one line without
/// control characters, so that they neither steer a terminal nor forge a line of the log.
pub(super) fn clip(words: &str) -> String {
    in_one_line(words, WORDS_MAX)
}

fn in_one_line(words: &str, chars_max: usize) -> String {
    let (words, more) = match words.char_indices().nth(chars_max) {
        None => (words, ""),
        Some((end, _)) => (&words[..end], "…"),
    };
    let shown = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    words.chars().map(shown).chain(more.chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guests_words_are_clipped_between_characters() {
        assert_eq!(clip("short"), "short");
        let clipped = clip(&"é".repeat(WORDS_MAX + 1));
        assert_eq!(clipped, format!("{}…", "é".repeat(WORDS_MAX)));
    }

    #[test]
    fn a_guests_words_are_one_line_that_steers_no_terminal() {
        assert_eq!(
            clip("\u{1b}[2Jgone\0\n2026-01-01 ERROR forged\u{9b}1A"),
            "\u{fffd}[2Jgone\u{fffd} 2026-01-01 ERROR forged\u{fffd}1A"
        );
    }

    #[test]
    fn a_trap_without_words_reads_as_one_sentence() {
        let error = CallError::Trapped {
            reason: "out of bounds".into(),
            said: String::new(),
            backtrace: "apply".into(),
        };
        assert_eq!(
            error.to_string(),
            "the guest trapped: out of bounds; in apply"
        );
    }
}
