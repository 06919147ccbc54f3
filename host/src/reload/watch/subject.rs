//! What is watched: files that are named, or whatever is in folders of sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::way::{self, FolderId};

/// Folders below a given one that are looked into.
const DEPTH_MAX: usize = 16;
/// Files of sources that are watched. More of them are no sources.
const FILES_MAX: usize = 10_000;

/// What is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    /// these files, each with the SHA-256 of what of it is in force, where that is known
    Files(BTreeMap<PathBuf, Option<String>>),
    /// all files at and below these paths, without what cargo builds and what editors leave behind
    Sources(BTreeSet<PathBuf>),
}

/// What there is to watch at a time.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Survey {
    /// files whose contents matter, there or not
    pub(super) files: BTreeSet<PathBuf>,
    /// names whose change may matter
    pub(super) entries: BTreeSet<PathBuf>,
    /// folders in which every new name may matter
    pub(super) open: BTreeSet<PathBuf>,
    /// the folders of all of them
    pub(super) folders: BTreeMap<PathBuf, FolderId>,
}

impl Survey {
    /// Whether a change under this path may matter.
    pub(super) fn concerns(&self, path: &Path) -> bool {
        let is_new_in = |folder: &Path| self.open.contains(folder);
        self.entries.contains(path) || (path.parent().is_some_and(is_new_in) && is_source(path))
    }
}

impl Subject {
    /// Looks for what there is.
    pub(super) fn survey(&self) -> Survey {
        let mut survey = Survey::default();
        match self {
            Self::Files(files) => {
                for path in files.keys() {
                    way::walk(&absolute(path), &mut survey.entries);
                    survey.files.insert(path.clone());
                }
            }
            Self::Sources(paths) => {
                for path in paths {
                    let path = absolute(path);
                    way::walk(&path, &mut survey.entries);
                    gather(&path, DEPTH_MAX, &mut survey);
                }
            }
        }
        survey.folders = way::folders(&survey.entries);
        let open = survey.open.iter();
        let open: Vec<_> = open
            .filter_map(|at| Some((at.clone(), way::id(at)?)))
            .collect();
        survey.folders.extend(open);
        survey
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Adds the files at and below a path. Links are not followed: they may lead round in a circle.
fn gather(path: &Path, depth: usize, survey: &mut Survey) {
    let Ok(kind) = fs::symlink_metadata(path).map(|metadata| metadata.file_type()) else {
        return;
    };
    if !kind.is_dir() {
        if survey.files.len() < FILES_MAX {
            survey.files.insert(path.to_owned());
        }
        return;
    }
    if depth == 0 || is_build_folder(path) {
        return;
    }
    survey.open.insert(path.to_owned());
    let entries = fs::read_dir(path).into_iter().flatten();
    for entry in entries.filter_map(Result::ok) {
        if is_source(&entry.path()) {
            gather(&entry.path(), depth - 1, survey);
        }
    }
}

/// What cargo makes: it marks its folder, but only once it has made something.
fn is_build_folder(folder: &Path) -> bool {
    let is_beside_manifest = || folder.with_file_name("Cargo.toml").exists();
    folder.join("CACHEDIR.TAG").exists()
        || (folder.ends_with("target") && is_beside_manifest())
        || folder.ends_with("node_modules")
}

/// Not what is hidden, and not what editors write beside a file for a moment.
fn is_source(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return false;
    };
    let is_dropping = name.starts_with(['.', '#'])
        || name.ends_with('~')
        || name.ends_with("___")
        || [".swp", ".swx", ".tmp", ".bak"].iter().any(|end| name.ends_with(end))
        // vim tries with it whether it may write.
        || name == "4913"
        // A build writes it.
        || name == "Cargo.lock";
    !is_dropping
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_all_but_what_is_built_or_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let guest = folder.path().join("guest");
        for name in [
            "Cargo.toml",
            "src/lib.rs",
            "src/target/rates.rs",
            "rates.json",
            "Cargo.lock",
            "target/debug/x.d",
            "elsewhere/CACHEDIR.TAG",
            "elsewhere/x",
            "src/.lib.rs.swp",
            "src/#lib.rs#",
            "src/lib.rs~",
            "src/4913",
            "src/lib.rs___jb_tmp___",
            ".git/HEAD",
        ] {
            let path = guest.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        let survey = Subject::Sources([guest.clone()].into()).survey();
        let found = survey
            .files
            .iter()
            .map(|path| path.strip_prefix(&guest).unwrap());
        let found: Vec<_> = found.map(|path| path.to_str().unwrap()).collect();
        let expected = [
            "Cargo.toml",
            "rates.json",
            "src/lib.rs",
            "src/target/rates.rs",
        ];
        assert_eq!(found, expected);
        assert!(survey.concerns(&guest.join("src/new.rs")));
        assert!(survey.concerns(&guest));
        assert!(!survey.concerns(&guest.join("src/.new.rs.swp")));
        assert!(!survey.concerns(&folder.path().join("neighbour")));
        assert!(!survey.folders.contains_key(&guest.join("target")));
        assert!(survey.folders.contains_key(&guest.join("src")));
    }
}
