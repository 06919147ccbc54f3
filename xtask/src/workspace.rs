//! Where things are in this repository, and cargo.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::group;

/// The folder of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is a folder of the workspace")
}

/// The cargo that runs us, in the workspace.
pub(crate) fn cargo<const N: usize>(arguments: [&str; N]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root()).args(arguments);
    // What `cargo run` says of this package is no business of the cargo that it starts: build scripts that
    // ask for such variables (that of ring does) would be run again, and all that depends on them compiled
    // anew, each time that somebody goes from `cargo test` to `cargo xtask test` and back.
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&variable);
        }
    }
    command
}

/// What cargo knows of this workspace.
pub(crate) struct Metadata(Value);

impl Metadata {
    /// Asks cargo.
    pub(crate) fn load() -> Result<Self> {
        let text = group::output(&mut cargo([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
        ]))?;
        let value = serde_json::from_str(&text).context("failed to read `cargo metadata`")?;
        Ok(Self(value))
    }

    /// Where cargo builds, usually `target`.
    pub(crate) fn target_directory(&self) -> Result<PathBuf> {
        let path = self.0["target_directory"].as_str();
        Ok(path.context("cargo names no target directory")?.into())
    }

    /// Packages below `folder` that are built as a `cdylib`: name of the package, name of the library.
    pub(crate) fn dynamic_libraries(&self, folder: &Path) -> Vec<(String, String)> {
        let packages = self.0["packages"].as_array().into_iter().flatten();
        let mut found: Vec<_> = packages
            .filter(|package| {
                let manifest = package["manifest_path"].as_str();
                manifest.is_some_and(|path| Path::new(path).starts_with(folder))
            })
            .filter_map(|package| {
                let mut targets = package["targets"].as_array()?.iter();
                let library = targets.find(|target| is_dynamic_library(target))?;
                let package = package["name"].as_str()?;
                let library = library["name"].as_str()?;
                Some((package.to_owned(), library.replace('-', "_")))
            })
            .collect();
        found.sort();
        found
    }
}

fn is_dynamic_library(target: &Value) -> bool {
    let kinds = target["crate_types"].as_array();
    kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind == "cdylib"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_dynamic_libraries_below_the_folder_are_found() {
        let package = |name: &str, folder: &str, kind: &str| {
            json!({
                "name": name,
                "manifest_path": format!("/w/{folder}/{name}/Cargo.toml"),
                "targets": [
                    { "name": "build-script-build", "crate_types": ["bin"] },
                    { "name": name, "crate_types": [kind, "rlib"] },
                ],
            })
        };
        let metadata = Metadata(json!({ "packages": [
            package("totals", "guests", "cdylib"),
            package("sdk", "guests", "lib"),
            package("plugin", "elsewhere", "cdylib"),
            package("fixed-rates", "guests", "cdylib"),
        ]}));
        assert_eq!(
            metadata.dynamic_libraries(Path::new("/w/guests")),
            [
                ("fixed-rates".to_owned(), "fixed_rates".to_owned()),
                ("totals".to_owned(), "totals".to_owned())
            ]
        );
    }
}
