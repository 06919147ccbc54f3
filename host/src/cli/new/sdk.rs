//! The SDK that a new guest depends on.
//!
//! # Invariants
//!
//! A copy is whole in itself: its manifests refer to no workspace, so that it may lie in any or in
//! none. What only its own tests need is left out.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use include_dir::{Dir, include_dir};
use toml::{Table, Value};

use super::collect;

/// The SDK of this very version.
static SDK: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../guest-transforms/sdk");

/// The manifest that those of the SDK refer to.
const WORKSPACE: &str = include_str!("../../../../Cargo.toml");

/// Where the SDK is in a checkout of wasmill.
const IN_CHECKOUT: &str = "guest-transforms/sdk";

/// The folder of a copy.
const COPY: &str = "wasmill-guest";

/// Folders of the SDK that only its own tests use.
const OWN_TESTS: [&str; 2] = ["tests", "benches"];

/// Parts of a manifest that only its own tests use, or whoever works on it.
const OWN_TABLES: [&str; 5] = ["dev-dependencies", "lints", "test", "bench", "example"];

/// The folder of the SDK for guests in the folder `parent`: `given`, or that of a checkout around, or
/// a copy beside them, which is made where there is none yet.
///
/// # Errors
///
/// When `given` is no SDK, the copy that is there is of another version, or cannot be written.
pub(super) fn provide(parent: &Path, given: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(given) = given {
        let sdk = fs::canonicalize(given)
            .with_context(|| format!("failed to find the SDK {}", given.display()))?;
        if !is_sdk(&sdk) {
            bail!(
                "{} is not the SDK: there is no package `wasmill-guest`",
                given.display()
            );
        }
        return Ok(sdk);
    }
    let checkouts = parent.ancestors().map(|above| above.join(IN_CHECKOUT));
    if let Some(sdk) = checkouts.into_iter().find(|sdk| is_sdk(sdk)) {
        return Ok(sdk);
    }
    let copy = parent.join(COPY);
    let files = files()?;
    if !copy.exists() {
        if let Err(error) = super::write(&copy, &files) {
            // Half a copy would be taken for one of another version next time.
            let _ = fs::remove_dir_all(&copy);
            return Err(error);
        }
        return Ok(copy);
    }
    let differs = files
        .iter()
        .find(|(path, contents)| fs::read(copy.join(path)).ok().as_ref() != Some(contents));
    match differs {
        None => Ok(copy),
        Some((path, _)) => bail!(
            "{} is not the SDK of this wasmill: {} differs; move it away to get the right one, or use it \
             as it is with `--sdk {}`",
            copy.display(),
            path.display(),
            copy.display()
        ),
    }
}

fn is_sdk(folder: &Path) -> bool {
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).ok();
    let manifest = manifest.and_then(|text| text.parse::<Table>().ok());
    manifest.is_some_and(|manifest| {
        let name = manifest
            .get("package")
            .and_then(|package| package.get("name"));
        name.and_then(Value::as_str) == Some("wasmill-guest")
    })
}

/// The files of a copy.
fn files() -> anyhow::Result<Vec<(PathBuf, Vec<u8>)>> {
    let workspace: Table = WORKSPACE.parse().context("the workspace has a manifest")?;
    let workspace = workspace.get("workspace").context("the workspace is one")?;
    let mut files = Vec::new();
    collect(&SDK, SDK.path(), &mut files);
    files.retain(|(path, _)| {
        !path
            .iter()
            .any(|part| OWN_TESTS.iter().any(|own| part == *own))
    });
    for (path, contents) in &mut files {
        if path.ends_with("Cargo.toml") {
            let text = str::from_utf8(contents).context("a manifest is text")?;
            *contents = whole(text, workspace)
                .with_context(|| format!("the SDK's {} is no manifest", path.display()))?
                .into_bytes();
        }
    }
    Ok(files)
}

/// A manifest with what it refers to in its workspace.
fn whole(manifest: &str, workspace: &Value) -> anyhow::Result<String> {
    let mut manifest: Table = manifest.parse()?;
    for own in OWN_TABLES {
        manifest.remove(own);
    }
    // Its own tests need what was left out.
    let library = manifest
        .entry("lib")
        .or_insert_with(|| Value::Table(Table::new()));
    if let Some(library) = library.as_table_mut() {
        library.extend(["test", "doctest"].map(|key| (key.to_owned(), Value::Boolean(false))));
    }
    if let Some(package) = manifest.get_mut("package").and_then(Value::as_table_mut) {
        for (key, value) in package.iter_mut() {
            if is_inherited(value) {
                *value = inherited(workspace, "package", key)?.clone();
            }
        }
    }
    for tables in ["dependencies", "build-dependencies"] {
        let Some(dependencies) = manifest.get_mut(tables).and_then(Value::as_table_mut) else {
            continue;
        };
        for (name, dependency) in dependencies
            .iter_mut()
            .filter(|(_, value)| is_inherited(value))
        {
            let declared = inherited(workspace, "dependencies", name)?;
            *dependency = merged(declared, dependency);
        }
    }
    let text = toml::to_string(&manifest)?;
    Ok(format!(
        "# A copy of wasmill's SDK, written by `wasmill new` of version {}.\n\n{text}",
        env!("CARGO_PKG_VERSION")
    ))
}

fn is_inherited(value: &Value) -> bool {
    value.get("workspace").and_then(Value::as_bool) == Some(true)
}

fn inherited<'a>(workspace: &'a Value, table: &str, key: &str) -> anyhow::Result<&'a Value> {
    let value = workspace.get(table).and_then(|table| table.get(key));
    value.with_context(|| format!("the workspace has no {table}.{key}"))
}

/// What the workspace says of a dependency, with what its user adds.
fn merged(declared: &Value, user: &Value) -> Value {
    let mut merged = match declared {
        Value::Table(table) => table.clone(),
        version => Table::from_iter([("version".to_owned(), version.clone())]),
    };
    for (key, value) in user.as_table().into_iter().flatten() {
        match (key.as_str(), merged.get_mut(key), value) {
            ("workspace", _, _) => {}
            ("features", Some(Value::Array(features)), Value::Array(more)) => {
                features.extend(more.iter().cloned());
            }
            _ => {
                merged.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Table(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_refers_to_no_workspace_and_has_no_tests_of_its_own() {
        let files = files().unwrap();
        let paths: Vec<_> = files
            .iter()
            .map(|(path, _)| path.to_str().unwrap())
            .collect();
        for wanted in [
            "Cargo.toml",
            "src/lib.rs",
            "macros/Cargo.toml",
            "macros/src/lib.rs",
        ] {
            assert!(paths.contains(&wanted), "{wanted} in {paths:?}");
        }
        for (path, contents) in &files {
            assert!(!path.starts_with("tests"), "{}", path.display());
            if path.ends_with("Cargo.toml") {
                let text = str::from_utf8(contents).unwrap();
                assert!(!text.contains("workspace ="), "{text}");
                let manifest: Table = text.parse().unwrap();
                let version = manifest["package"]["version"].as_str();
                assert_eq!(version, Some(env!("CARGO_PKG_VERSION")));
                assert!(manifest.get("dev-dependencies").is_none());
                assert_eq!(manifest["lib"]["test"].as_bool(), Some(false));
            }
        }
    }

    #[test]
    fn what_a_manifest_inherits_is_written_out() {
        let workspace = "[package]\nedition = \"2024\"\n\
            [dependencies]\nserde = { version = \"1\", features = [\"derive\"] }\nlog = \"0.4\"\n";
        let workspace = Value::Table(workspace.parse().unwrap());
        let manifest = "[package]\nname = \"a\"\nedition.workspace = true\n\
            [dependencies]\nserde = { workspace = true, features = [\"rc\"] }\nlog = { workspace = true }\n\
            syn = \"2\"\n[lints]\nworkspace = true\n";
        let whole: Table = whole(manifest, &workspace).unwrap().parse().unwrap();
        assert_eq!(whole["package"]["edition"].as_str(), Some("2024"));
        let serde = whole["dependencies"]["serde"].to_string();
        assert!(
            serde.contains("\"derive\", \"rc\"") && serde.contains("\"1\""),
            "{serde}"
        );
        assert_eq!(
            whole["dependencies"]["log"]["version"].as_str(),
            Some("0.4")
        );
        assert_eq!(whole["dependencies"]["syn"].as_str(), Some("2"));
        assert!(whole.get("lints").is_none());
    }

    #[test]
    fn a_copy_is_shared_and_one_of_another_version_is_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        let copy = provide(parent.path(), None).unwrap();
        assert_eq!(copy, parent.path().join("wasmill-guest"));
        assert_eq!(provide(parent.path(), None).unwrap(), copy);
        assert_eq!(
            provide(Path::new("/"), Some(&copy)).unwrap(),
            fs::canonicalize(&copy).unwrap()
        );

        fs::write(copy.join("src/lib.rs"), "// mine").unwrap();
        let error = provide(parent.path(), None).unwrap_err().to_string();
        assert!(error.contains("src/lib.rs differs"), "{error}");
        assert_eq!(
            fs::read_to_string(copy.join("src/lib.rs")).unwrap(),
            "// mine"
        );
    }

    #[test]
    fn a_checkout_around_is_preferred_to_a_copy() {
        let root = tempfile::tempdir().unwrap();
        let sdk = root.path().join("guest-transforms/sdk");
        fs::create_dir_all(&sdk).unwrap();
        fs::write(
            sdk.join("Cargo.toml"),
            "[package]\nname = \"wasmill-guest\"\n",
        )
        .unwrap();
        assert_eq!(provide(&root.path().join("my/guests"), None).unwrap(), sdk);

        let error = provide(root.path(), Some(root.path()))
            .unwrap_err()
            .to_string();
        assert!(error.contains("is not the SDK"), "{error}");
    }
}
