//! `pipeline.toml`, validated: what every other module takes its settings from.
//!
//! ```text
//! text ─► toml ─► reader: typed keys, ${NAME} expanded ─► validate: names, references, bounds ─► Pipeline
//!                    └───────────── every mistake, with its place ──────────► Diagnostics
//! ```
//!
//! # Invariants
//!
//! 1. Every mistake that the text alone shows is reported, not only the first.
//! 2. What came from the environment, and what looks like a password, is in no report.
//!
//! # Not here
//!
//! Whether the components fit together, which needs them loaded: [`crate::pipeline`]. It adds what it
//! finds to the same [`Diagnostics`].

mod checkpoint;
mod diagnostic;
mod embed;
mod expand;
mod mask;
mod peek;
mod pipeline;
mod places;
mod reader;
mod sink;
mod suggest;
mod units;
mod validate;
mod written;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

use toml::de::DeTable;

pub use self::checkpoint::{Checkpoint, CheckpointLocation, S3Credentials, S3Location};
pub use self::diagnostic::{Diagnostic, Diagnostics, Look, Severity};
pub use self::embed::{Embedded, Embedding, embed};
pub(crate) use self::peek::peek;
pub use self::pipeline::{
    Admin, Aggregate, Backfill, ColumnFrom, Commit, Component, DeadLetters, Deduplicate, Every,
    GeneratorSource, KafkaSource, Limits, OnLost, Pipeline, Reload, Secret, Shutdown, Source,
    SourceColumn, SourceKind, Start, Transform, Window,
};
pub use self::places::Places;
use self::reader::Reader;
pub use self::sink::{
    Index, OnConflict, OnNewColumn, OnUnavailable, Projection, Sink, SinkKind, Table, TableColumn,
};
pub(crate) use self::suggest::{did_you_mean, list};
pub(crate) use self::validate::admin::is_token;
pub use self::written::Written;

/// Bytes in the text of `pipeline.toml`, for messages that point there.
pub type Span = Range<usize>;

/// Says what an environment variable holds; `None` when it is not set.
pub type Environment<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// A `pipeline.toml` beyond this is a mistake, such as the name of a data file.
const FILE_BYTES_MAX: u64 = 1 << 20;

const REFUSED_WITHOUT_REASON: &str =
    "the pipeline is refused, and wasmill cannot say why: this is a mistake in wasmill";

/// Reads and validates the file at `path`; paths in it are relative to its folder.
///
/// # Errors
///
/// [`Diagnostics`] with at least one error: the file cannot be read, or is no valid pipeline. On
/// `Ok`, they hold warnings at most.
pub fn load(
    path: &Path,
    environment: &Environment<'_>,
) -> Result<(Pipeline, Diagnostics), Diagnostics> {
    load_for(path, environment, false)
}

/// The same for a run that is to be [embedded](embed): what it replaces may lack its environment
/// variables.
///
/// # Errors
///
/// Those of [`load`].
pub fn load_embedded(
    path: &Path,
    environment: &Environment<'_>,
) -> Result<(Pipeline, Diagnostics), Diagnostics> {
    load_for(path, environment, true)
}

fn load_for(
    path: &Path,
    environment: &Environment<'_>,
    embedded: bool,
) -> Result<(Pipeline, Diagnostics), Diagnostics> {
    let file_name = path.display().to_string();
    let base = path.parent().unwrap_or(Path::new(""));
    match read(path) {
        Ok(text) => parse_for(&text, &file_name, base, environment, embedded),
        Err(error) => Err(unreadable(&file_name, &error)),
    }
}

fn unreadable(file_name: &str, error: &io::Error) -> Diagnostics {
    let mut diagnostics = Diagnostics::new(file_name, String::new());
    let message = format!("failed to read the pipeline: {error}");
    diagnostics.push(
        Diagnostic::error(message)
            .help("name the file on the command line: `wasmill check path/to/pipeline.toml`"),
    );
    diagnostics
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    // Reading stops past the bound: the path may be that of a device without an end.
    let bytes = File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)?;
    if bytes as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(text)
}

/// Validates the `text` of a pipeline. Reports call it `file_name`; paths in it are relative to `base`.
///
/// # Errors
///
/// [`Diagnostics`] with at least one error. On `Ok`, they hold warnings at most.
pub fn parse(
    text: &str,
    file_name: &str,
    base: &Path,
    environment: &Environment<'_>,
) -> Result<(Pipeline, Diagnostics), Diagnostics> {
    parse_for(text, file_name, base, environment, false)
}

fn parse_for(
    text: &str,
    file_name: &str,
    base: &Path,
    environment: &Environment<'_>,
    embedded: bool,
) -> Result<(Pipeline, Diagnostics), Diagnostics> {
    let (root, syntax_errors) = DeTable::parse_recoverable(text);
    let root = root.get_ref();
    let shown = mask::secrets(text, root, !syntax_errors.is_empty());
    let mut diagnostics = Diagnostics::new(file_name, shown);
    if !syntax_errors.is_empty() {
        // What the parser made of the rest would only lead to errors that are none.
        for error in syntax_errors {
            diagnostics.push(diagnostic::syntax(&error));
        }
        return Err(diagnostics);
    }
    let variables = RefCell::new(BTreeMap::new());
    let asking = |name: &str| {
        let value = environment(name);
        variables
            .borrow_mut()
            .insert(name.to_owned(), value.clone());
        value
    };
    let reader = Reader::new(text, &asking, embedded, diagnostics);
    let pipeline = validate::pipeline(&reader, root, base);
    let mut diagnostics = reader.into_diagnostics();
    match pipeline {
        Some(mut pipeline) if !diagnostics.has_errors() => {
            let variables = variables.take();
            pipeline.written = Written::new(text, (file_name, base), variables, embedded);
            Ok((pipeline, diagnostics))
        }
        _ => {
            if !diagnostics.has_errors() {
                // A mistake of the validator's, which must not stop a host that reads a new file.
                diagnostics.push(Diagnostic::error(REFUSED_WITHOUT_REASON));
            }
            Err(diagnostics)
        }
    }
}
