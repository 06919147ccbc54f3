//! What a command shows: results on stdout, progress on stderr, and how both look.
//!
//! # Invariants
//!
//! 1. Where stdout is no terminal, what is printed has no colours and its tables are plain ASCII.
//! 2. No text from outside reaches a terminal with its control characters ([`printable`]).
//! 3. A reader that went away is an error, never a panic.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anyhow::Context;
use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use ratatui::crossterm::terminal;

/// Between two frames of a spinner.
const FRAME: Duration = Duration::from_millis(100);

/// Characters of one cell of a table at most.
const CELL_CHARS_MAX: usize = 200;

/// Prints a result.
///
/// # Errors
///
/// When nobody reads it.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .context("failed to write to stdout")
}

/// Says something beside the results, on stderr.
pub(super) fn note(text: &str) {
    // Where stderr is closed there is nobody to tell.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Does something that may take long, with a spinner and the text beside it where stderr is a
/// terminal.
pub(super) fn step<T>(text: impl Into<Cow<'static, str>>, work: impl FnOnce() -> T) -> T {
    let spinner = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
    spinner.set_style(style.expect("the template is a constant that parses"));
    spinner.set_message(text);
    if !spinner.is_hidden() {
        spinner.enable_steady_tick(FRAME);
    }
    let done = work();
    spinner.finish_and_clear();
    done
}

/// Whether stdout may have colours: it is a terminal, and `NO_COLOR` is not set.
pub(super) fn colours() -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !no_color
}

/// An empty table that suits stdout: drawn and as wide as the terminal, or plain and as wide as it
/// has to be.
pub(super) fn table() -> Table {
    let mut table = Table::new();
    if io::stdout().is_terminal() {
        table.load_style(presets::UTF8_FULL_CONDENSED);
        if let Ok((columns, _)) = terminal::size() {
            table
                .set_content_arrangement(ContentArrangement::Dynamic)
                .set_width(columns);
        }
    } else {
        table.load_style(presets::ASCII_MARKDOWN);
    }
    table
}

/// A text for a cell of a table: printable, and cut where it is very long.
pub(super) fn cell(text: &str) -> String {
    match text.char_indices().nth(CELL_CHARS_MAX) {
        Some((end, _)) => format!("{}...", printable(&text[..end])),
        None => printable(text).into_owned(),
    }
}

/// The text with its control characters escaped, so that it cannot steer a terminal.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut printable = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if c.is_control() {
            printable.extend(c.escape_default());
        } else {
            printable.push(c);
        }
    }
    Cow::Owned(printable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_the_rest_stays() {
        assert_eq!(printable("é \"a\""), "é \"a\"");
        assert_eq!(printable("a\u{1b}[31m\nb"), "a\\u{1b}[31m\\nb");
        assert_eq!(printable("\u{9b}2J"), "\\u{9b}2J");
    }

    #[test]
    fn a_cell_is_cut_between_characters() {
        let cut = cell(&"é".repeat(CELL_CHARS_MAX + 1));
        assert_eq!(cut, format!("{}...", "é".repeat(CELL_CHARS_MAX)));
        assert_eq!(cell("short"), "short");
    }
}
