//! Compiled components on disk: compiling takes 300 ms and more, loading 1 ms.
//!
//! # Invariants
//!
//! Compiled code is run as it is, so only what this host wrote is ever loaded:
//!
//! 1. The directory and its entries belong to the user that runs the host, and nobody else may
//!    write them.
//! 2. An entry is written under another name and renamed when it is complete.
//! 3. An entry begins with a checksum over its key and its content. One that does not match, for
//!    whatever reason, is compiled anew and replaced.
//!
//! The key is the component's digest and a hash of everything that the compiler's output depends on
//! (its version, settings and processor).

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

/// Ends the name of each entry.
const SUFFIX: &str = "cwasm";
/// The oldest entries go when there are more.
const ENTRIES_MAX: usize = 64;
/// No entry is larger.
const ENTRY_BYTES_MAX: u64 = 1 << 30;
/// Bytes of a checksum.
const CHECKSUM_BYTES: usize = 32;
/// Mode bits that let others write.
const OTHERS_WRITE: u32 = 0o022;

/// The cache in one directory.
#[derive(Debug)]
pub(super) struct Cache {
    directory: PathBuf,
    /// the user that files of this process belong to
    owner: u32,
    /// what compiled code depends on beside the component
    compiler: u64,
}

impl Cache {
    /// Opens the cache, and makes its directory where it is missing.
    ///
    /// # Errors
    ///
    /// When the directory cannot be made or written, or others may write it.
    pub(super) fn open(directory: PathBuf, engine: &Engine) -> io::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let mut cache = Self {
            directory,
            owner: 0,
            compiler: hasher.finish(),
        };
        // A new file belongs to whoever this process runs as.
        let (path, file) = cache.create_temporary()?;
        let owner = file.metadata().map(|metadata| metadata.uid());
        fs::remove_file(path)?;
        cache.owner = owner?;
        if !cache.is_ours(&fs::metadata(&cache.directory)?) {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "it belongs to another user, or others may write it",
            ));
        }
        Ok(cache)
    }

    /// The compiled code of the component with this digest, if it is there and intact.
    pub(super) fn load(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let path = self.path(digest);
        let entry = match self.read(&path) {
            Ok(entry) => entry,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "ignoring a cached component");
                return None;
            }
        };
        let code = self.verify(digest, &entry).or_else(|| {
            tracing::warn!(path = %path.display(), "a cached component is damaged");
            None
        })?;
        // SAFETY: the file is this user's alone (`read`), and its checksum says that these bytes
        // are what `store` wrote under this key: the output of `Component::serialize`. wasmtime
        // checks version and settings itself.
        match unsafe { Component::deserialize(engine, code) } {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "ignoring a cached component");
                None
            }
        }
    }

    /// Keeps the compiled code of the component with this digest.
    ///
    /// # Errors
    ///
    /// When it cannot be written; the cache is then as it was.
    pub(super) fn store(&self, digest: &str, code: &[u8]) -> io::Result<()> {
        let (temporary, mut file) = self.create_temporary()?;
        let write = file
            .write_all(&self.checksum(digest, code))
            .and_then(|()| file.write_all(code))
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&temporary, self.path(digest)));
        if let Err(error) = write {
            // Whatever this second attempt meets, the first error says more.
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        self.remove_oldest()
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.directory
            .join(format!("{digest}-{:016x}.{SUFFIX}", self.compiler))
    }

    fn create_temporary(&self) -> io::Result<(PathBuf, File)> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{count}.new", std::process::id());
        let path = self.directory.join(name);
        // Left over from a process that had the same id and was killed.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok((path, file))
    }

    fn is_ours(&self, metadata: &fs::Metadata) -> bool {
        metadata.uid() == self.owner && metadata.mode() & OTHERS_WRITE == 0
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() || !self.is_ours(&metadata) {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "it belongs to another user, or others may write it",
            ));
        }
        let mut entry = Vec::new();
        file.take(ENTRY_BYTES_MAX).read_to_end(&mut entry)?;
        Ok(entry)
    }

    fn verify<'a>(&self, digest: &str, entry: &'a [u8]) -> Option<&'a [u8]> {
        let (checksum, code) = entry.split_at_checked(CHECKSUM_BYTES)?;
        (checksum == self.checksum(digest, code)).then_some(code)
    }

    fn checksum(&self, digest: &str, code: &[u8]) -> [u8; CHECKSUM_BYTES] {
        Sha256::new()
            .chain_update(digest)
            .chain_update(self.compiler.to_le_bytes())
            .chain_update(code)
            .finalize()
            .into()
    }

    fn remove_oldest(&self) -> io::Result<()> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|suffix| suffix == SUFFIX) {
                let modified = fs::metadata(&path).and_then(|metadata| metadata.modified());
                entries.push((modified.unwrap_or(SystemTime::UNIX_EPOCH), path));
            }
        }
        entries.sort();
        let surplus = entries.len().saturating_sub(ENTRIES_MAX);
        for (_, path) in entries.into_iter().take(surplus) {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// The smallest component: a preamble and nothing behind it.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    fn cache(directory: &Path) -> (Cache, Engine, Vec<u8>) {
        let engine = Engine::default();
        let code = Component::new(&engine, EMPTY).unwrap().serialize().unwrap();
        let cache = Cache::open(directory.join("a/b"), &engine).unwrap();
        (cache, engine, code)
    }

    #[test]
    fn what_was_stored_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let (cache, engine, code) = cache(directory.path());
        assert!(cache.load(&engine, "d1").is_none());
        cache.store("d1", &code).unwrap();
        assert!(cache.load(&engine, "d1").is_some());
        assert!(cache.load(&engine, "d2").is_none());
    }

    #[test]
    fn an_entry_under_another_key_is_not_trusted() {
        let directory = tempfile::tempdir().unwrap();
        let (cache, engine, code) = cache(directory.path());
        cache.store("d1", &code).unwrap();
        fs::rename(cache.path("d1"), cache.path("d2")).unwrap();
        assert!(cache.load(&engine, "d2").is_none());
    }

    #[test]
    fn a_damaged_entry_is_not_trusted_and_can_be_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let (cache, engine, code) = cache(directory.path());
        cache.store("d1", &code).unwrap();
        let whole = fs::read(cache.path("d1")).unwrap();
        for length in [0, 10, CHECKSUM_BYTES, whole.len() - 1] {
            fs::write(cache.path("d1"), &whole[..length]).unwrap();
            assert!(cache.load(&engine, "d1").is_none(), "cut to {length}");
        }
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        fs::write(cache.path("d1"), &flipped).unwrap();
        assert!(cache.load(&engine, "d1").is_none());
        cache.store("d1", &code).unwrap();
        assert!(cache.load(&engine, "d1").is_some());
    }

    #[test]
    fn an_entry_that_others_may_write_is_not_trusted() {
        let directory = tempfile::tempdir().unwrap();
        let (cache, engine, code) = cache(directory.path());
        cache.store("d1", &code).unwrap();
        fs::set_permissions(cache.path("d1"), PermissionsExt::from_mode(0o666)).unwrap();
        assert!(cache.load(&engine, "d1").is_none());
    }

    #[test]
    fn a_directory_that_others_may_write_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o777)).unwrap();
        let opened = Cache::open(directory.path().to_owned(), &Engine::default());
        assert_eq!(opened.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn entries_are_owner_only_and_bounded_in_number() {
        let directory = tempfile::tempdir().unwrap();
        let (cache, _, code) = cache(directory.path());
        for number in 0..ENTRIES_MAX + 3 {
            cache.store(&format!("d{number}"), &code[..10]).unwrap();
        }
        let entries: Vec<_> = fs::read_dir(&cache.directory).unwrap().collect();
        assert_eq!(entries.len(), ENTRIES_MAX);
        for entry in entries {
            let mode = entry.unwrap().metadata().unwrap().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}
