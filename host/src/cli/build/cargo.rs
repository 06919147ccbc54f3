//! Cargo: which guests there are, and building them.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, anyhow, bail};
use serde_json::Value;

use super::stopper::Stopper;

/// What guests are compiled for.
const TARGET: &str = "wasm32-wasip2";

/// Debug information, mostly that of std, is ten times the code.
const STRIP: &str = "profile.release.strip=\"debuginfo\"";

/// Folders below the given one that are searched.
const DEPTH_MAX: usize = 8;

/// A workspace, or a package alone, that has guests.
#[derive(Debug)]
pub(in crate::cli) struct Workspace {
    /// its folder
    pub(in crate::cli) root: PathBuf,
    /// its guests, in order of name
    pub(in crate::cli) guests: Vec<Package>,
}

/// A package that is built as a `cdylib`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::cli) struct Package {
    pub(in crate::cli) name: String,
    /// how cargo tells it from others of the same name
    id: String,
    pub(in crate::cli) manifest: PathBuf,
    /// the name of the file that is built of it
    pub(in crate::cli) file: String,
    /// folders of the packages that it depends on by path
    pub(in crate::cli) dependencies: Vec<PathBuf>,
}

/// A file that cargo has built of a guest.
#[derive(Debug)]
pub(in crate::cli) struct Built {
    pub(in crate::cli) package: String,
    pub(in crate::cli) path: PathBuf,
}

/// The workspaces that have guests at or below the folder.
///
/// # Errors
///
/// When cargo is missing or cannot read one of them.
pub(in crate::cli) fn workspaces(folder: &Path) -> anyhow::Result<Vec<Workspace>> {
    let mut manifests = BTreeSet::new();
    find_manifests(folder, DEPTH_MAX, &mut manifests)?;
    let mut seen = BTreeSet::new();
    let mut workspaces = Vec::new();
    for manifest in manifests {
        if seen.contains(&manifest) {
            continue;
        }
        let metadata = metadata(&manifest)?;
        let root = metadata["workspace_root"].as_str();
        let root = PathBuf::from(root.context("cargo names no workspace")?);
        let packages = packages(&metadata);
        seen.extend(packages.iter().map(|(package, _)| package.manifest.clone()));
        let guests = packages
            .into_iter()
            .filter(|(package, is_library)| *is_library && package.manifest.starts_with(folder));
        let mut guests: Vec<Package> = guests.map(|(package, _)| package).collect();
        guests.sort();
        if !guests.is_empty() {
            workspaces.push(Workspace { root, guests });
        }
    }
    Ok(workspaces)
}

/// Builds the guests of a workspace; cargo writes to stderr how far it is.
///
/// # Errors
///
/// When the target is missing, one of them does not compile, or the build was stopped.
pub(in crate::cli) fn build(
    workspace: &Workspace,
    stopper: &Stopper,
) -> anyhow::Result<Vec<Built>> {
    ensure_target(&workspace.root)?;
    let mut cargo = cargo();
    cargo
        .args(["build", "--release", "--target", TARGET, "--config", STRIP])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(&workspace.root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    for guest in &workspace.guests {
        cargo.args(["--package", &guest.id]);
    }
    let mut child = started(stopper.start(&mut cargo), "cargo")?;
    let mut messages = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        let read = stdout.read_to_end(&mut messages);
        read.context("failed to read what cargo says")?;
    }
    let status = stopper
        .wait(&mut child)
        .context("failed to wait for cargo")?;
    if !status.success() {
        bail!(
            "cargo could not build the guests of {}: its report stands above",
            workspace.root.display()
        );
    }
    let messages = String::from_utf8_lossy(&messages);
    let built = built(&messages, &workspace.guests);
    let missing = workspace.guests.iter().find(|guest| {
        let is_of = |built: &Built| built.package == guest.name;
        !built.iter().any(is_of)
    });
    match missing {
        Some(guest) => bail!("cargo built no component of {}", guest.name),
        None => Ok(built),
    }
}

/// The components that cargo says it has made of these packages.
fn built(messages: &str, guests: &[Package]) -> Vec<Built> {
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let of_message = |message: Value| {
        if message["reason"] != "compiler-artifact" || !is_dynamic_library(&message["target"]) {
            return None;
        }
        let guest = guests
            .iter()
            .find(|guest| message["package_id"] == *guest.id)?;
        let files = message["filenames"].as_array()?;
        let mut files = files.iter().filter_map(Value::as_str).map(PathBuf::from);
        let path = files.find(|path| path.extension().is_some_and(|suffix| suffix == "wasm"))?;
        Some(Built {
            package: guest.name.clone(),
            path,
        })
    };
    messages.filter_map(of_message).collect()
}

/// The manifests of guests at and below a folder, without those of build folders and hidden ones.
fn find_manifests(
    folder: &Path,
    depth: usize,
    manifests: &mut BTreeSet<PathBuf>,
) -> anyhow::Result<()> {
    let manifest = folder.join("Cargo.toml");
    if may_be_guest(&manifest) {
        manifests.insert(manifest);
    }
    if depth == 0 {
        return Ok(());
    }
    let entries = fs::read_dir(folder)
        .with_context(|| format!("failed to read the folder {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("failed to read {}", folder.display()))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let skipped = name.starts_with('.') || name == "target" || name == "node_modules";
        // Links are not followed: they may lead round in a circle.
        if !skipped && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            find_manifests(&entry.path(), depth - 1, manifests)?;
        }
    }
    Ok(())
}

/// Whether there is a manifest of a `cdylib`. What is none, such as the SDK beside a guest, may be
/// nothing that cargo takes where it lies, so cargo is not asked.
fn may_be_guest(manifest: &Path) -> bool {
    let Ok(text) = fs::read_to_string(manifest) else {
        return false;
    };
    let Ok(manifest) = text.parse::<toml::Table>() else {
        // Cargo says what is wrong with it.
        return true;
    };
    let library = manifest.get("lib");
    let kinds = library.and_then(|library| library.get("crate-type").or(library.get("crate_type")));
    let kinds = kinds.and_then(toml::Value::as_array).into_iter().flatten();
    kinds
        .filter_map(toml::Value::as_str)
        .any(|kind| kind == "cdylib")
}

fn metadata(manifest: &Path) -> anyhow::Result<Value> {
    let folder = manifest.parent().context("a manifest lies in a folder")?;
    let mut cargo = cargo();
    cargo
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .arg("--manifest-path")
        .arg(manifest)
        .current_dir(folder)
        .stdin(Stdio::null());
    let output = started(cargo.output(), "cargo")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("cargo cannot read {}: {}", manifest.display(), said.trim());
    }
    serde_json::from_slice(&output.stdout).context("failed to read `cargo metadata`")
}

/// The packages of a workspace, and whether each is built as a `cdylib`.
fn packages(metadata: &Value) -> Vec<(Package, bool)> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let package = |package: &Value| {
        let targets = package["targets"].as_array().into_iter().flatten();
        let library = targets
            .into_iter()
            .find(|target| is_dynamic_library(target));
        let file = library.and_then(|library| library["name"].as_str());
        let dependencies = package["dependencies"].as_array().into_iter().flatten();
        let dependencies = dependencies.filter_map(|of| of["path"].as_str());
        let package = Package {
            name: package["name"].as_str()?.to_owned(),
            id: package["id"].as_str()?.to_owned(),
            manifest: package["manifest_path"].as_str()?.into(),
            file: format!("{}.wasm", file.unwrap_or_default().replace('-', "_")),
            dependencies: dependencies.map(PathBuf::from).collect(),
        };
        Some((package, library.is_some()))
    };
    packages.filter_map(package).collect()
}

fn is_dynamic_library(target: &Value) -> bool {
    let kinds = target["crate_types"].as_array();
    kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind == "cdylib"))
}

/// # Errors
///
/// When the standard library of the target is not installed, with the command that does it.
fn ensure_target(folder: &Path) -> anyhow::Result<()> {
    let mut rustc = Command::new(program("RUSTC", "rustc"));
    rustc
        .args(["--print", "sysroot"])
        .current_dir(folder)
        .stdin(Stdio::null());
    let output = started(rustc.output(), "rustc")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("rustc does not run: {}", said.trim());
    }
    let sysroot = String::from_utf8_lossy(&output.stdout);
    let library = Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET);
    if library.join("lib").is_dir() {
        return Ok(());
    }
    bail!("the Rust target {TARGET} is missing: install it with `rustup target add {TARGET}`")
}

fn cargo() -> Command {
    Command::new(program("CARGO", "cargo"))
}

fn program(variable: &str, name: &str) -> OsString {
    let set = std::env::var_os(variable).filter(|value| !value.is_empty());
    set.unwrap_or_else(|| name.into())
}

fn started<T>(start: std::io::Result<T>, program: &str) -> anyhow::Result<T> {
    start.map_err(|error| match error.kind() {
        ErrorKind::NotFound => anyhow!(
            "there is no {program} here: install Rust from https://rustup.rs, then \
             `rustup target add {TARGET}`"
        ),
        _ => anyhow!("failed to start {program}: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_dynamic_libraries_are_guests() {
        let package = |name: &str, kind: &str| {
            json!({
                "name": name,
                "id": format!("path+file:///w/{name}#0.1.0"),
                "manifest_path": format!("/w/{name}/Cargo.toml"),
                "dependencies": [{ "name": "serde" }, { "name": "sdk", "path": "/w/sdk" }],
                "targets": [
                    { "name": "build-script-build", "crate_types": ["bin"] },
                    { "name": name, "crate_types": [kind, "rlib"] },
                ],
            })
        };
        let metadata = json!({ "packages": [package("totals", "cdylib"), package("sdk", "lib")] });
        let found = packages(&metadata);
        let names: Vec<_> = found
            .iter()
            .map(|(p, guest)| (p.name.as_str(), *guest))
            .collect();
        assert_eq!(names, [("totals", true), ("sdk", false)]);
        assert_eq!(found[0].0.file, "totals.wasm");
        assert_eq!(found[0].0.dependencies, [Path::new("/w/sdk")]);
    }

    #[test]
    fn what_cargo_built_is_read_from_its_messages() {
        let guest = Package {
            name: "fixed-rates".to_owned(),
            id: "path+file:///w/g#fixed-rates@0.1.0".to_owned(),
            manifest: "/w/g/Cargo.toml".into(),
            file: "fixed_rates.wasm".to_owned(),
            dependencies: Vec::new(),
        };
        let message = json!({
            "reason": "compiler-artifact",
            "package_id": guest.id,
            "target": { "crate_types": ["cdylib"] },
            "filenames": ["/w/target/fixed_rates.d", "/w/target/fixed_rates.wasm"],
        });
        let other = json!({ "reason": "build-finished", "success": true });
        let built = built(&format!("{message}\nnoise\n{other}\n"), &[guest]);
        assert_eq!(built.len(), 1);
        assert_eq!(built[0].path, Path::new("/w/target/fixed_rates.wasm"));
    }

    #[test]
    fn manifests_of_guests_are_found_below_but_not_in_build_folders() {
        let folder = tempfile::tempdir().unwrap();
        for below in ["a", "a/b", "target/c", ".hidden/d"] {
            let below = folder.path().join(below);
            fs::create_dir_all(&below).unwrap();
            let manifest = "[lib]\ncrate-type = [\"cdylib\", \"rlib\"]";
            fs::write(below.join("Cargo.toml"), manifest).unwrap();
        }
        let manifest = "[lib]\ncrate-type = [\"rlib\"]";
        fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();
        let mut manifests = BTreeSet::new();
        find_manifests(folder.path(), DEPTH_MAX, &mut manifests).unwrap();
        let found: Vec<_> = manifests
            .iter()
            .map(|path| path.strip_prefix(folder.path()).unwrap().to_owned())
            .collect();
        assert_eq!(
            found,
            [Path::new("a/Cargo.toml"), Path::new("a/b/Cargo.toml")]
        );
    }
}
