//! The way to a file: every name in every folder that decides what a path leads to.
//!
//! A path leads elsewhere once any folder or link on it is replaced: Kubernetes switches the link
//! `..data` beside a file that is a link itself, and a deployment tool the folder above.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// As many links as Linux follows.
const LINKS_MAX: usize = 40;

/// What tells a folder from another one in its place: device and inode.
pub(super) type FolderId = (u64, u64);

/// Adds every entry on the way to an absolute path: what a link leads to is walked too.
pub(super) fn walk(path: &Path, entries: &mut BTreeSet<PathBuf>) {
    let mut ahead = reversed(path);
    let mut at = PathBuf::from("/");
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        if name == "/" {
            at = PathBuf::from("/");
        } else if name == ".." {
            // What was behind is walked already, so it is a folder and no link.
            at.pop();
        } else if name != "." {
            let entry = at.join(name);
            match fs::read_link(&entry) {
                Ok(target) if links < LINKS_MAX => {
                    links += 1;
                    ahead.append(&mut reversed(&target));
                    entries.insert(entry);
                }
                // Round in a circle.
                Ok(_) => return,
                Err(_) => {
                    entries.insert(entry.clone());
                    at = entry;
                }
            }
        }
    }
}

fn reversed(path: &Path) -> Vec<OsString> {
    let names = path.components().rev();
    names.map(|name| name.as_os_str().to_owned()).collect()
}

/// The folders that have these entries, as far as they are there. Nobody replaces what lies in the
/// root, and much happens in it, so it is left out.
pub(super) fn folders(entries: &BTreeSet<PathBuf>) -> BTreeMap<PathBuf, FolderId> {
    let folders = entries.iter().filter_map(|entry| entry.parent());
    let folders: BTreeSet<&Path> = folders.filter(|folder| *folder != Path::new("/")).collect();
    let known = |folder: &Path| Some((folder.to_owned(), id(folder)?));
    folders.into_iter().filter_map(known).collect()
}

/// `None` where there is no folder.
pub(super) fn id(folder: &Path) -> Option<FolderId> {
    let metadata = fs::metadata(folder).ok()?;
    metadata.is_dir().then(|| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn below(folder: &Path, path: &str) -> Vec<String> {
        let mut entries = BTreeSet::new();
        walk(&folder.join(path), &mut entries);
        let below = entries
            .iter()
            .filter_map(|entry| entry.strip_prefix(folder).ok());
        let shown = below.map(|entry| entry.display().to_string());
        shown.filter(|entry| !entry.is_empty()).collect()
    }

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(folder.path()).unwrap();
        (folder, path)
    }

    #[test]
    fn every_link_on_the_way_is_walked() {
        let (_folder, path) = folder();
        fs::create_dir(path.join("..v1")).unwrap();
        fs::write(path.join("..v1/a.toml"), "").unwrap();
        symlink("..v1", path.join("..data")).unwrap();
        symlink("..data/a.toml", path.join("a.toml")).unwrap();
        let walked = below(&path, "a.toml");
        assert_eq!(walked, ["..data", "..v1", "..v1/a.toml", "a.toml"]);
    }

    #[test]
    fn a_link_may_lead_up_or_anywhere() {
        let (_folder, path) = folder();
        fs::create_dir_all(path.join("a/b")).unwrap();
        fs::write(path.join("c"), "").unwrap();
        symlink("../../c", path.join("a/b/up")).unwrap();
        symlink(path.join("a/b/up"), path.join("far")).unwrap();
        assert_eq!(below(&path, "far"), ["a", "a/b", "a/b/up", "c", "far"]);
        assert_eq!(below(&path, "a/./b/../b/up"), ["a", "a/b", "a/b/up", "c"]);
    }

    #[test]
    fn what_is_not_there_yet_is_on_the_way_too() {
        let (_folder, path) = folder();
        assert_eq!(below(&path, "x/y"), ["x", "x/y"]);
        let mut entries = BTreeSet::new();
        walk(&path.join("x/y"), &mut entries);
        let folders = folders(&entries);
        assert!(folders.contains_key(&path) && !folders.contains_key(&path.join("x")));
    }

    #[test]
    fn a_circle_of_links_ends() {
        let (_folder, path) = folder();
        symlink("b", path.join("a")).unwrap();
        symlink("a", path.join("b")).unwrap();
        assert_eq!(below(&path, "a"), ["a", "b"]);
    }
}
