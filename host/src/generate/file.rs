//! Writes records to files, one a line, one file a partition.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::Generator;
use super::plan::{Made, Plan, Stop};

/// Bytes that are gathered before each write.
const BUFFER: usize = 1 << 20;

/// A file that cannot be written.
#[derive(Debug, Error)]
#[error("failed to write {path}")]
pub struct FileError {
    /// which one
    path: PathBuf,
    /// why
    source: io::Error,
}

/// The files of so many partitions: `output` itself where it is one and `output` is not a folder,
/// otherwise `part-0.ndjson` and so on in the folder `output`.
#[must_use]
pub fn paths(output: &Path, partitions: u32) -> Vec<PathBuf> {
    if partitions == 1 && !output.is_dir() {
        return vec![output.to_owned()];
    }
    (0..partitions)
        .map(|partition| output.join(format!("part-{partition}.ndjson")))
        .collect()
}

/// Writes the planned records to these files, one a partition, in the place of what they held.
/// `progress` is told after each record how many there are.
///
/// # Errors
///
/// [`FileError`]; the files then hold some of the records.
pub fn write(
    generator: &Generator,
    plan: &Plan,
    paths: &[PathBuf],
    stop: &Stop,
    mut progress: impl FnMut(u64),
) -> Result<Made, FileError> {
    let mut files = paths
        .iter()
        .map(|path| create(path))
        .collect::<Result<Vec<_>, _>>()?;
    let failed = |at: usize| {
        move |source| FileError {
            path: paths[at].clone(),
            source,
        }
    };
    let mut made = Made::default();
    let mut line = Vec::new();
    for origin in plan.origins(stop) {
        let record = generator.generate(origin);
        line.clear();
        record.render(&mut line);
        line.push(b'\n');
        let at = origin.partition.0 as usize;
        files[at].write_all(&line).map_err(failed(at))?;
        made.records += 1;
        made.faulty += u64::from(record.fault().is_some());
        progress(made.records);
    }
    for (at, file) in files.iter_mut().enumerate() {
        file.flush().map_err(failed(at))?;
    }
    Ok(made)
}

fn create(path: &Path) -> Result<BufWriter<File>, FileError> {
    let failed = |source| FileError {
        path: path.to_owned(),
        source,
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let file = File::create(path).map_err(failed)?;
    Ok(BufWriter::with_capacity(BUFFER, file))
}
