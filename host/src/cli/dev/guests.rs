//! Which sources the components of a pipeline are built from.
//!
//! `wasmill build` puts the component of a package into `target/guests` of its workspace, under the name
//! of its library: a component of the pipeline that lies there belongs to that package. Where somebody
//! says where the guests are, the name alone decides: nothing else is overwritten without being asked.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::cli::build::PUBLISHED;
use crate::cli::build::cargo::{self, Package, Workspace};
use crate::config::Pipeline;

/// Guests of a pipeline that can be built.
#[derive(Debug)]
pub(super) struct Guests {
    /// what is built, without the guests that the pipeline does not name
    pub(super) workspaces: Vec<Workspace>,
    pub(super) components: Vec<Component>,
    /// names of the pipeline's components without a source
    pub(super) foreign: Vec<String>,
}

/// A component of the pipeline that can be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Component {
    /// its name in the pipeline
    pub(super) name: String,
    /// where the pipeline looks for it
    pub(super) path: PathBuf,
    pub(super) package: String,
}

impl Guests {
    /// Looks for the sources of a pipeline's components at and below a folder. `any_place` says that the
    /// components may lie anywhere.
    ///
    /// # Errors
    ///
    /// When there are none, when a component has several, and when cargo cannot read one.
    pub(super) fn find(
        pipeline: &Pipeline,
        folder: &Path,
        any_place: bool,
    ) -> anyhow::Result<Self> {
        let shown = folder.display();
        let folder = fs::canonicalize(folder)
            .with_context(|| format!("failed to find the folder {shown}"))?;
        let mut workspaces = cargo::workspaces(&folder)?;
        let (mut components, mut foreign) = (Vec::new(), Vec::new());
        for (name, component) in &pipeline.components {
            match source(&workspaces, name, &component.path, any_place)? {
                Some(package) => components.push(Component {
                    name: name.clone(),
                    path: component.path.clone(),
                    package: package.name.clone(),
                }),
                None => foreign.push(name.clone()),
            }
        }
        if components.is_empty() {
            bail!(
                "none of the pipeline's components is built from a guest at or below {shown}: name the \
                 folder of the guests with `--guests FOLDER`, or make one with `wasmill new`"
            );
        }
        for workspace in &mut workspaces {
            let is_named = |guest: &Package| components.iter().any(|c| c.package == guest.name);
            workspace.guests.retain(is_named);
        }
        workspaces.retain(|workspace| !workspace.guests.is_empty());
        Ok(Self {
            workspaces,
            components,
            foreign,
        })
    }

    /// Folders and files that decide what is built.
    pub(super) fn sources(&self) -> BTreeSet<PathBuf> {
        let mut sources = BTreeSet::new();
        for workspace in &self.workspaces {
            for file in ["Cargo.toml", ".cargo/config.toml", "rust-toolchain.toml"] {
                sources.insert(workspace.root.join(file));
            }
            for guest in &workspace.guests {
                let mut ahead = guest.dependencies.clone();
                sources.extend(guest.manifest.parent().map(Path::to_owned));
                while let Some(folder) = ahead.pop() {
                    if sources.insert(folder.clone()) {
                        ahead.extend(path_dependencies(&folder));
                    }
                }
            }
        }
        sources
    }
}

/// The package that a component is built from.
fn source<'w>(
    workspaces: &'w [Workspace],
    name: &str,
    path: &Path,
    any_place: bool,
) -> anyhow::Result<Option<&'w Package>> {
    let mut namesakes = Vec::new();
    for workspace in workspaces {
        let is_namesake =
            |guest: &&Package| path.file_name().is_some_and(|file| *file == *guest.file);
        for guest in workspace.guests.iter().filter(is_namesake) {
            if is_same(path, &workspace.root.join(PUBLISHED).join(&guest.file)) {
                return Ok(Some(guest));
            }
            namesakes.push(guest);
        }
    }
    match namesakes.as_slice() {
        _ if !any_place => Ok(None),
        [] => Ok(None),
        [one] => Ok(Some(one)),
        [one, other, ..] => bail!(
            "component `{name}` may be built from {} or from {}: name the folder of the one that is \
             meant with `--guests FOLDER`",
            one.manifest.display(),
            other.manifest.display()
        ),
    }
}

/// Whether both lead to the same place, where there need not be a file yet.
fn is_same(path: &Path, other: &Path) -> bool {
    let place = |path: &Path| {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let there = path.ancestors().find_map(|above| {
            let below = path.strip_prefix(above).ok()?;
            Some(fs::canonicalize(above).ok()?.join(below))
        });
        there.unwrap_or(path)
    };
    place(path) == place(other)
}

/// Folders that a package depends on by path, as far as its own manifest says so.
fn path_dependencies(folder: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
    // Cargo says what is wrong with it.
    let manifest: toml::Table = text.parse().unwrap_or_default();
    let tables = ["dependencies", "build-dependencies"].into_iter();
    let dependencies = tables.filter_map(|key| manifest.get(key)?.as_table());
    let paths = dependencies.flat_map(|table| table.values());
    let paths = paths.filter_map(|of| of.get("path")?.as_str());
    paths.map(|path| folder.join(path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_embedded;

    /// A package that is no guest.
    fn library(folder: &Path, dependencies: &str) {
        let name = folder.file_name().unwrap().to_str().unwrap();
        let manifest = format!("[package]\nname = \"{name}\"\n[dependencies]\n{dependencies}\n");
        fs::create_dir_all(folder.join("src")).unwrap();
        fs::write(folder.join("src/lib.rs"), "").unwrap();
        fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    }

    /// A pipeline with these components, and guests of these names, each a workspace of its own.
    fn folder(components: &[(&str, &str)], guests: &[&str]) -> (tempfile::TempDir, Pipeline) {
        let folder = tempfile::tempdir().unwrap();
        let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../pipeline.toml");
        let path = folder.path().join("pipeline.toml");
        fs::copy(shipped, &path).unwrap();
        let (mut pipeline, _) = load_embedded(&path, &|_| None).unwrap();
        let any = pipeline.components["totals"].clone();
        pipeline.components.clear();
        for (name, path) in components {
            let mut component = any.clone();
            component.path = folder.path().join(path);
            pipeline.components.insert((*name).to_owned(), component);
        }
        library(&folder.path().join("shared"), "more = { path = \"more\" }");
        library(&folder.path().join("shared/more"), "");
        library(&folder.path().join("copy/shared"), "");
        library(&folder.path().join("one/shared"), "");
        library(&folder.path().join("two/shared"), "");
        for guest in guests {
            let guest = folder.path().join(guest);
            fs::create_dir_all(guest.join("src")).unwrap();
            fs::write(guest.join("src/lib.rs"), "").unwrap();
            let name = guest.file_name().unwrap().to_str().unwrap();
            let manifest = format!(
                "[package]\nname = \"{name}\"\nedition = \"2024\"\n[lib]\n\
                 crate-type = [\"cdylib\"]\n[workspace]\n[dependencies]\nshared = {{ path = \"../shared\" }}\n"
            );
            fs::write(guest.join("Cargo.toml"), manifest).unwrap();
        }
        (folder, pipeline)
    }

    #[test]
    fn a_component_belongs_to_the_guest_that_is_built_there() {
        let sale_size = ("size", "sale-size/target/guests/sale_size.wasm");
        let (folder, pipeline) = folder(
            &[sale_size, ("other", "vendor/other.wasm")],
            &["sale-size", "other", "unused", "copy/sale-size"],
        );
        let guests = Guests::find(&pipeline, folder.path(), false).unwrap();
        let component = Component {
            name: "size".to_owned(),
            path: folder.path().join(sale_size.1),
            package: "sale-size".to_owned(),
        };
        assert_eq!(guests.components, [component]);
        assert_eq!(guests.foreign, ["other"]);
        let sources = guests.sources();
        for name in ["sale-size", "sale-size/Cargo.toml", "shared", "shared/more"] {
            let path = fs::canonicalize(folder.path()).unwrap().join(name);
            assert!(sources.contains(&path), "{name}: {sources:?}");
        }
        // The file of the vendor's is overwritten only where somebody says that it is built from here.
        let guests = Guests::find(&pipeline, &folder.path().join("other"), true).unwrap();
        assert_eq!(
            guests.components[0].path,
            folder.path().join("vendor/other.wasm")
        );
    }

    #[test]
    fn guests_that_are_not_there_or_too_many_are_told() {
        let (folder, pipeline) = folder(&[("a", "out/a.wasm")], &["one/a", "two/a"]);
        let none = Guests::find(&pipeline, folder.path(), false).unwrap_err();
        assert!(none.to_string().contains("`--guests FOLDER`"), "{none}");
        let several = Guests::find(&pipeline, folder.path(), true).unwrap_err();
        let several = several.to_string();
        assert!(
            several.contains("one/a") && several.contains("two/a"),
            "{several}"
        );
    }
}
