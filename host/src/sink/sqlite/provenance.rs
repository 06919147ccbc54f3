//! What a file tells of the past. It does not keep who wrote a row: SQLite notes no transactions with
//! rows.

use std::path::Path;

use super::catalog::Existing;
use super::deployments;
use super::failure::Failure;
use super::file::DatabaseFile;
use super::progress::unsigned;
use crate::blocking::off_the_runtime;
use crate::epoch::EpochId;
use crate::sink::SinkError;
use crate::sink::provenance::History;

/// The newest entry of the journal is always there.
const NEWEST: &str = "SELECT coalesce(max(epoch), 0) FROM wasmill_epochs WHERE pipeline = ?1";

/// What the ledger in the file at `path` knows of the past of a pipeline. Changes nothing.
///
/// # Errors
///
/// [`SinkError`], also where no pipeline has written anything yet.
pub fn history(path: &Path, pipeline: &str) -> Result<History, SinkError> {
    let file = DatabaseFile::new(path);
    let read = || {
        let nothing = || Failure::permanent("no pipeline has run there yet");
        let connection = file.look()?.ok_or_else(nothing)?;
        if Existing::find(&connection, "wasmill_deployments")?.is_none() {
            return Err(nothing());
        }
        let deployments = deployments::all(&connection, pipeline)?;
        let epoch = connection
            .query_row(NEWEST, [pipeline], |row| unsigned(row, 0))
            .map_err(Failure::to("read wasmill_epochs"))?;
        let epoch = EpochId(epoch);
        Ok(History { deployments, epoch })
    };
    off_the_runtime(read).map_err(|failure| failure.into_sink_error(file.what()))
}
