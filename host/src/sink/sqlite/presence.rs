//! That the owner of a pipeline lives, as other processes see it: for `takeover = false`.
//!
//! The owner holds the lock of an empty file beside the database. The system lets go of it when the
//! process ends, however that happens; a process that is stopped keeps it.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use crate::sink::SinkError;

/// The lock of one pipeline in one database.
pub(super) struct OwnerLock {
    path: PathBuf,
    held: Option<File>,
}

impl OwnerLock {
    /// Not held yet.
    pub(super) fn beside(database: &Path, pipeline: &str) -> Self {
        let mut path = database.as_os_str().to_owned();
        path.push(format!(".{pipeline}.owner"));
        Self {
            path: path.into(),
            held: None,
        }
    }

    /// Takes it, unless this process has it.
    ///
    /// # Errors
    ///
    /// [`SinkError::Owned`] while another process has it; [`SinkError::Permanent`] where the file cannot
    /// be used.
    pub(super) fn take(&mut self, pipeline: &str) -> Result<(), SinkError> {
        if self.held.is_some() {
            return Ok(());
        }
        let shown = self.path.display();
        let unusable = |error: std::io::Error| {
            SinkError::Permanent(format!(
                "failed to lock {shown}, which `takeover = false` needs: {error}; see that this user may write it and its folder"
            ))
        };
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(false).write(true);
        let file = options.open(&self.path).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {
                self.held = Some(file);
                Ok(())
            }
            Err(TryLockError::WouldBlock) => Err(SinkError::Owned {
                pipeline: pipeline.to_owned(),
                owner: format!("a process that holds {shown}"),
            }),
            Err(TryLockError::Error(error)) => Err(unusable(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_until_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let lock = |pipeline| OwnerLock::beside(&folder.path().join("shop.sqlite3"), pipeline);
        let (mut first, mut second) = (lock("sales"), lock("sales"));
        first.take("sales").unwrap();
        first.take("sales").unwrap();
        let error = second.take("sales").unwrap_err();
        assert!(matches!(error, SinkError::Owned { .. }), "{error}");
        assert!(
            error.to_string().contains("shop.sqlite3.sales.owner"),
            "{error}"
        );
        lock("purchases").take("purchases").unwrap();
        drop(first);
        second.take("sales").unwrap();
    }
}
