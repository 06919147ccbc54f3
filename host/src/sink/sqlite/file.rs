//! The file: opening it, and noticing that it is no longer the one that was opened.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::failure::Failure;

/// How long one call waits for another process that writes. The caller tries again.
const BUSY_WAIT: Duration = Duration::from_secs(2);

/// KiB of pages that are kept in memory.
const CACHE_KIB: i64 = 32 << 10;

/// Pages of the log after which they are moved into the file: 64 MiB. A page that many epochs write is
/// moved once.
const CHECKPOINT_PAGES: i64 = 16_384;

/// Bytes that the log keeps once it was longer: somebody who reads for long makes it grow.
const LOG_BYTES: i64 = 128 << 20;

/// Statements that are kept ready: those of the journal and one for each table.
const STATEMENTS: usize = 64;

/// Where the database is.
#[derive(Debug, Clone)]
pub(super) struct DatabaseFile {
    path: PathBuf,
    /// for a person
    what: String,
}

/// An open file.
pub(super) struct Session {
    pub(super) connection: Connection,
    identity: Identity,
}

/// Which file it is, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl DatabaseFile {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            what: format!("SQLite at {}", path.display()),
            path: path.to_owned(),
        }
    }

    /// The file for a person.
    pub(super) fn what(&self) -> &str {
        &self.what
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it for writing; it and its folder are created where they are missing.
    pub(super) fn open(&self) -> Result<Session, Failure> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)
                .map_err(|error| self.unusable("create its folder", &error))?;
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let failed = || Failure::to("open the file");
        let connection = Connection::open_with_flags(&self.path, flags).map_err(failed())?;
        connection.busy_timeout(BUSY_WAIT).map_err(failed())?;
        self.set_up(&connection)?;
        Ok(Session {
            identity: self.identity()?,
            connection,
        })
    }

    fn set_up(&self, connection: &Connection) -> Result<(), Failure> {
        let failed = || Failure::to("set the file up");
        let mode: String = connection
            .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
            .map_err(failed())?;
        if mode != "wal" {
            return Err(Failure::permanent(format!(
                "{} cannot have a write-ahead log (its journal is `{mode}`): a file system of another machine, perhaps; name a `path` on a local disk",
                self.what
            )));
        }
        connection
            .pragma_update(None, "synchronous", "FULL")
            .and_then(|()| connection.pragma_update(None, "cache_size", -CACHE_KIB))
            .and_then(|()| connection.pragma_update(None, "temp_store", "MEMORY"))
            .and_then(|()| connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES))
            .and_then(|()| connection.pragma_update(None, "journal_size_limit", LOG_BYTES))
            .map_err(failed())?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(())
    }

    /// Opens it for looking only; `None` when it is not there and could be created.
    pub(super) fn look(&self) -> Result<Option<Connection>, Failure> {
        match fs::metadata(&self.path) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.check_folder()?;
                return Ok(None);
            }
            Err(error) => return Err(self.unusable("look at it", &error)),
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let failed = || Failure::to("open the file");
        let connection = Connection::open_with_flags(&self.path, flags).map_err(failed())?;
        connection.busy_timeout(BUSY_WAIT).map_err(failed())?;
        Ok(Some(connection))
    }

    /// Whether the folder, or the nearest one above it that is there, is one.
    fn check_folder(&self) -> Result<(), Failure> {
        let mut above = self.path.ancestors().skip(1);
        let nearest = above.find_map(|folder| {
            let folder = if folder.as_os_str().is_empty() {
                Path::new(".")
            } else {
                folder
            };
            fs::metadata(folder).ok().map(|found| (folder, found))
        });
        match nearest {
            Some((folder, found)) if !found.is_dir() => Err(Failure::permanent(format!(
                "{} cannot be created: {} is no folder",
                self.what,
                folder.display()
            ))),
            Some((folder, found)) if found.permissions().readonly() => {
                Err(Failure::permanent(format!(
                    "{} cannot be created: the folder {} is read-only",
                    self.what,
                    folder.display()
                )))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a session whose file was removed or replaced: what it writes nobody would find.
    pub(super) fn check_same(&self, session: &Session) -> Result<(), Failure> {
        if self.identity()? == session.identity {
            return Ok(());
        }
        Err(Failure::permanent(format!(
            "{} was replaced by another file while the pipeline ran",
            self.what
        )))
    }

    fn identity(&self) -> Result<Identity, Failure> {
        let found = fs::metadata(&self.path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                Failure::permanent(format!("{} was removed while the pipeline ran", self.what))
            }
            _ => self.unusable("look at it", &error),
        })?;
        Ok(Identity {
            device: found.dev(),
            inode: found.ino(),
        })
    }

    fn unusable(&self, doing: &str, error: &io::Error) -> Failure {
        Failure::permanent(format!("{} failed to {doing}: {error}", self.what))
    }
}
