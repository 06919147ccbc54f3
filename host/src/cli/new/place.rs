//! Where a new guest lies, as far as cargo cares: in a workspace that takes it, or on its own.

use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use anyhow::Context;
use toml::{Table, Value};

/// Where a guest lies.
#[derive(Debug)]
pub(super) struct Place {
    folder: PathBuf,
    /// the folder of the workspace that it is a member of
    workspace: Option<PathBuf>,
}

impl Place {
    /// Finds out for a folder that need not be there yet.
    ///
    /// # Errors
    ///
    /// When a manifest above it cannot be read.
    pub(super) fn of(folder: &Path) -> anyhow::Result<Self> {
        for above in folder.ancestors().skip(1) {
            if let Some(manifest) = manifest(above)?
                && let Some(workspace) = manifest.get("workspace")
            {
                let is_member = folder
                    .strip_prefix(above)
                    .is_ok_and(|path| takes(workspace, path));
                return Ok(Self {
                    folder: folder.to_owned(),
                    workspace: is_member.then(|| above.to_owned()),
                });
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
            workspace: None,
        })
    }

    /// A guest that no workspace is around.
    #[cfg(test)]
    pub(super) fn alone(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            workspace: None,
        }
    }

    /// What makes it a workspace of its own where no other one takes it: cargo refuses a package below
    /// a workspace that does not list it.
    pub(super) fn workspace_table(&self) -> &'static str {
        match self.workspace {
            Some(_) => "",
            None => "\n# A workspace of its own, whatever lies around.\n[workspace]\n",
        }
    }

    /// Where `wasmill build` puts its component, seen from its folder.
    pub(super) fn component(&self, name: &str) -> PathBuf {
        let root = self.workspace.as_deref().unwrap_or(&self.folder);
        let file = format!("{}.wasm", name.replace('-', "_"));
        relative(&self.folder, root)
            .join("target/guests")
            .join(file)
    }
}

/// The manifest in a folder, if there is one.
fn manifest(folder: &Path) -> anyhow::Result<Option<Table>> {
    let path = folder.join("Cargo.toml");
    match fs::read_to_string(&path) {
        Ok(text) => {
            let table = text.parse::<Table>();
            let table = table.with_context(|| format!("{} is no manifest", path.display()))?;
            Ok(Some(table))
        }
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::PermissionDenied
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("failed to read {}", path.display())),
    }
}

/// Whether a workspace lists this folder, which is relative to its own.
fn takes(workspace: &Value, folder: &Path) -> bool {
    let list = |key: &str| {
        let values = workspace.get(key).and_then(Value::as_array);
        values.into_iter().flatten().filter_map(Value::as_str)
    };
    let excluded = list("exclude").any(|path| folder.starts_with(path));
    !excluded && list("members").any(|pattern| fits(pattern, folder))
}

/// Whether a path fits a pattern with `*` and `?` within the names of folders, and `**` for any
/// number of them.
fn fits(pattern: &str, path: &Path) -> bool {
    let pattern: Vec<&str> = pattern
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    let path: Vec<String> = path
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    fits_parts(&pattern, &path)
}

fn fits_parts(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((&"**", rest)), _) => {
            (0..=path.len()).any(|skipped| fits_parts(rest, &path[skipped..]))
        }
        (Some((part, rest)), Some((name, path))) => {
            fits_name(part.as_bytes(), name.as_bytes()) && fits_parts(rest, path)
        }
        _ => false,
    }
}

fn fits_name(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            (0..=name.len()).any(|skipped| fits_name(rest, &name[skipped..]))
        }
        (Some((b'?', rest)), Some((_, name))) => fits_name(rest, name),
        (Some((a, rest)), Some((b, name))) => a == b && fits_name(rest, name),
        _ => false,
    }
}

/// The way from one folder to another; both are absolute and without links.
pub(super) fn relative(from: &Path, to: &Path) -> PathBuf {
    let common = from.components().zip(to.components());
    let common = common.take_while(|(a, b)| a == b).count();
    let up = from.components().skip(common).map(|_| Component::ParentDir);
    up.chain(to.components().skip(common)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_fit_patterns_as_in_a_list_of_members() {
        let fit = |pattern, path: &str| fits(pattern, Path::new(path));
        assert!(fit("guests/*", "guests/a"));
        assert!(fit("./guests/a/", "guests/a"));
        assert!(fit("guests/fx-*", "guests/fx-rates"));
        assert!(fit("g?ests/*", "guests/a"));
        assert!(fit("**/a", "x/y/a"));
        assert!(fit("*", "a"));
        assert!(!fit("guests/*", "guests/a/b"));
        assert!(!fit("guests/*", "guests"));
        assert!(!fit("guests", "guests/a"));
        assert!(!fit("guests/b*", "guests/a"));
    }

    #[test]
    fn the_way_from_a_folder_to_another() {
        let way = |from: &str, to: &str| relative(Path::new(from), Path::new(to));
        assert_eq!(way("/a/b", "/a/c/d"), Path::new("../c/d"));
        assert_eq!(way("/a/b", "/a"), Path::new(".."));
        assert_eq!(way("/a", "/a"), Path::new(""));
    }

    #[test]
    fn a_guest_is_a_member_where_it_is_listed_and_alone_elsewhere() {
        let root = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(root.path()).unwrap();
        let manifest = "[workspace]\nmembers = [\"guests/*\"]\nexclude = [\"guests/old\"]\n";
        fs::write(root.join("Cargo.toml"), manifest).unwrap();

        let member = Place::of(&root.join("guests/sale-size")).unwrap();
        assert_eq!(member.workspace_table(), "");
        assert_eq!(
            member.component("sale-size"),
            Path::new("../../target/guests/sale_size.wasm")
        );
        for path in ["elsewhere/a", "guests/old", "guests/a/b", "a"] {
            let alone = Place::of(&root.join(path)).unwrap();
            assert!(alone.workspace_table().contains("[workspace]"), "{path}");
            assert_eq!(alone.component("a"), Path::new("target/guests/a.wasm"));
        }
    }

    #[test]
    fn a_package_above_is_no_workspace() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("inner");
        fs::create_dir(&inner).unwrap();
        fs::write(
            root.path().join("Cargo.toml"),
            "[workspace]\nmembers = [\"inner/*\"]\n",
        )
        .unwrap();
        fs::write(inner.join("Cargo.toml"), "[package]\nname = \"inner\"\n").unwrap();
        assert!(Place::of(&inner.join("a")).unwrap().workspace.is_some());

        fs::write(inner.join("Cargo.toml"), "[package").unwrap();
        let error = Place::of(&inner.join("a")).unwrap_err().to_string();
        assert!(error.contains("inner/Cargo.toml is no manifest"), "{error}");
    }
}
