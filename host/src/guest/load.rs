//! From a file to a component that may be run: what it is, what it exports, what it imports.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use thiserror::Error;
use wasmtime::component::{Component as Compiled, Linker};

use super::bindings::{AGGREGATE, TRANSFORM, VERSION, aggregate, transform};
use super::component::{Component, Exports};
use super::engine::GuestEngine;
use super::error::clip;
use super::wasi;

/// How a Wasm binary begins.
const MAGIC: &[u8] = b"\0asm";
/// How it goes on if it is a component. A core module has version 1 here.
const COMPONENT_LAYER: &[u8] = &[0x0d, 0, 1, 0];
/// A file beyond this is a mistake, such as the name of a device without an end. A guest that brings
/// an interpreter along has some tens of MiB.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Names that a message lists at most.
const NAMES_MAX: usize = 8;

/// A file is no guest.
#[derive(Debug, Error)]
pub enum LoadError {
    /// There is no such file.
    #[error("{} does not exist", path.display())]
    Missing {
        /// the file
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("failed to read {}: {error}", path.display())]
    Unreadable {
        /// the file
        path: PathBuf,
        /// why
        error: io::Error,
    },
    /// The file is larger than any guest.
    #[error("{} is larger than {} MiB, which no guest is", path.display(), FILE_BYTES_MAX >> 20)]
    TooLarge {
        /// the file
        path: PathBuf,
    },
    /// The file holds something else than WebAssembly.
    #[error("{} is not a WebAssembly binary", path.display())]
    NotWasm {
        /// the file
        path: PathBuf,
    },
    /// The file is a core module.
    #[error("{} is a core module, not a component: build it with `--target wasm32-wasip2`", path.display())]
    CoreModule {
        /// the file
        path: PathBuf,
    },
    /// The compiler does not accept the file.
    #[error("{} is not a valid component: {reason}", path.display())]
    Invalid {
        /// the file
        path: PathBuf,
        /// what the compiler says
        reason: String,
    },
    /// It exports neither of the contract's interfaces.
    #[error("{} is no guest: it exports neither `{TRANSFORM}@{VERSION}` nor `{AGGREGATE}@{VERSION}`, but {exports}", path.display())]
    WrongWorld {
        /// the file
        path: PathBuf,
        /// names of what it does export
        exports: String,
    },
    /// It exports both of the contract's interfaces.
    #[error("{} exports both `{TRANSFORM}` and `{AGGREGATE}`: a component is one or the other", path.display())]
    BothWorlds {
        /// the file
        path: PathBuf,
    },
    /// It was built against another version of the contract.
    #[error("{} exports `{found}`, and this host speaks version {VERSION} of the contract", path.display())]
    OtherVersion {
        /// the file
        path: PathBuf,
        /// the interface that it exports
        found: String,
    },
    /// It wants something from the host that no guest gets.
    #[error("{} imports {imports}, which no guest gets: guests are pure functions", path.display())]
    UnknownImport {
        /// the file
        path: PathBuf,
        /// names of what it wants
        imports: String,
    },
    /// It wants something that guests get, with another type.
    #[error("{} does not fit this host: {reason}", path.display())]
    WrongType {
        /// the file
        path: PathBuf,
        /// where the types differ
        reason: String,
    },
}

/// See [`GuestEngine::load`].
pub(super) fn load(engine: &GuestEngine, name: &str, path: &Path) -> Result<Component, LoadError> {
    load_binary(engine, name, path, read(path)?)
}

/// See [`GuestEngine::load_binary`].
pub(super) fn load_binary(
    engine: &GuestEngine,
    name: &str,
    path: &Path,
    binary: Vec<u8>,
) -> Result<Component, LoadError> {
    let digest = hex(&Sha256::digest(&binary));
    let compiled = compile(engine, path, &binary, &digest)?;
    let wrong_type = |error: wasmtime::Error| LoadError::WrongType {
        path: path.to_owned(),
        reason: clip(&format!("{error:#}")),
    };

    check_exports(engine, path, &compiled)?;
    let mut linker = Linker::new(engine.wasm());
    let unknown = wasi::link(&mut linker, &compiled).map_err(wrong_type)?;
    if !unknown.is_empty() {
        return Err(LoadError::UnknownImport {
            path: path.to_owned(),
            imports: list(&unknown),
        });
    }
    let instance_pre = linker.instantiate_pre(&compiled).map_err(wrong_type)?;
    let exports = if exports(engine, &compiled).any(|name| is_interface(&name, TRANSFORM)) {
        transform::GuestIndices::new(&instance_pre).map(Exports::Transform)
    } else {
        aggregate::GuestIndices::new(&instance_pre).map(Exports::Aggregate)
    };
    let exports = exports.map_err(wrong_type)?;
    let binary = (digest, binary.into());
    Ok(Component::new(engine, name, binary, exports, instance_pre))
}

fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    let path = path.to_owned();
    let binary = match read_bounded(&path) {
        Ok(binary) if binary.len() as u64 > FILE_BYTES_MAX => {
            return Err(LoadError::TooLarge { path });
        }
        Ok(binary) => binary,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(LoadError::Missing { path });
        }
        Err(error) => return Err(LoadError::Unreadable { path, error }),
    };
    match binary.strip_prefix(MAGIC) {
        None => Err(LoadError::NotWasm { path }),
        Some(rest) if rest.starts_with(COMPONENT_LAYER) => Ok(binary),
        Some(_) => Err(LoadError::CoreModule { path }),
    }
}

/// Reading stops past the bound.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let expected = file.metadata()?.len().min(FILE_BYTES_MAX);
    let mut binary = Vec::with_capacity(usize::try_from(expected).unwrap_or_default());
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut binary)?;
    Ok(binary)
}

fn compile(
    engine: &GuestEngine,
    path: &Path,
    binary: &[u8],
    digest: &str,
) -> Result<Compiled, LoadError> {
    let invalid = |error: wasmtime::Error| LoadError::Invalid {
        path: path.to_owned(),
        reason: clip(&format!("{error:#}")),
    };
    let Some(cache) = engine.cache() else {
        return Compiled::from_binary(engine.wasm(), binary).map_err(invalid);
    };
    if let Some(compiled) = cache.load(engine.wasm(), digest) {
        return Ok(compiled);
    }
    let compiled = Compiled::from_binary(engine.wasm(), binary).map_err(invalid)?;
    let stored = compiled
        .serialize()
        .map_err(|error| io::Error::other(error.to_string()))
        .and_then(|code| cache.store(digest, &code));
    if let Err(error) = stored {
        tracing::warn!(path = %path.display(), %error, "compiled code could not be cached");
    }
    Ok(compiled)
}

fn exports(engine: &GuestEngine, compiled: &Compiled) -> impl Iterator<Item = String> {
    let ty = compiled.component_type();
    let names: Vec<String> = ty
        .exports(engine.wasm())
        .map(|(name, _)| name.to_owned())
        .collect();
    names.into_iter()
}

fn check_exports(engine: &GuestEngine, path: &Path, compiled: &Compiled) -> Result<(), LoadError> {
    let path = path.to_owned();
    let names: Vec<String> = exports(engine, compiled).collect();
    let is_of = |interface: &str| names.iter().any(|name| is_interface(name, interface));
    match (is_of(TRANSFORM), is_of(AGGREGATE)) {
        (true, true) => Err(LoadError::BothWorlds { path }),
        (true, false) | (false, true) => Ok(()),
        (false, false) => {
            let other = names.into_iter().find(|name| {
                name.split('@')
                    .next()
                    .is_some_and(|base| base == TRANSFORM || base == AGGREGATE)
            });
            Err(match other {
                Some(found) => LoadError::OtherVersion {
                    path,
                    found: clip(&found),
                },
                None => LoadError::WrongWorld {
                    path,
                    exports: list(&exports(engine, compiled).collect::<Vec<_>>()),
                },
            })
        }
    }
}

/// Whether this is the name of the interface in our version.
fn is_interface(name: &str, interface: &str) -> bool {
    name.split_once('@') == Some((interface, VERSION))
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let mut list: Vec<String> = names
        .iter()
        .take(NAMES_MAX)
        .map(|name| format!("`{}`", clip(name)))
        .collect();
    if names.len() > NAMES_MAX {
        list.push(format!("{} more", names.len() - NAMES_MAX));
    }
    list.join(", ")
}

/// A digest as text.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing to a string cannot fail");
        hex
    })
}

#[cfg(test)]
mod tests;
