//! `wasmill build`: the guests of a folder, as components where pipelines look for them.
//!
//! Cargo builds; its own output shows how far it is. What comes out is loaded before it replaces
//! anything, so that a published file is a component that this host takes.

pub(super) mod cargo;
pub(super) mod stopper;

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::json;

use self::cargo::Built;
use self::stopper::Stopper;
use super::inspect::size;
use super::terminal;
use crate::guest::{Component, GuestEngine, Kind, LoadError};

/// Where components go, below the folder of their workspace.
pub(super) const PUBLISHED: &str = "target/guests";

/// What `wasmill build` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
        wasmill build\n  \
        wasmill build guests --out target/guests\n\n\
        A guest is a package whose library is a `cdylib`. All of them at or below the folder are built \
        for wasm32-wasip2 in release mode, without debug information. `wasmill new` makes one.")]
pub(super) struct Args {
    /// Build the guests at or below this folder
    #[arg(default_value = ".")]
    folder: PathBuf,

    /// Put the components here [default: target/guests of each guest's workspace]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,

    /// Print what was built as a JSON list
    #[arg(long)]
    json: bool,
}

/// Builds the guests.
///
/// # Errors
///
/// When there are none, cargo or the target is missing, or one of them does not build or load.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let folder = fs::canonicalize(&args.folder)
        .with_context(|| format!("failed to find the folder {}", args.folder.display()))?;
    let workspaces = cargo::workspaces(&folder)?;
    if workspaces.is_empty() {
        bail!(
            "there is no guest at or below {}: a guest is a package with `crate-type = [\"cdylib\"]`, \
             and `wasmill new NAME --kind transform` makes one",
            args.folder.display()
        );
    }
    let engine = GuestEngine::new(super::cache_folder())?;
    let (mut published, mut foreign) = (Vec::new(), Vec::new());
    for workspace in &workspaces {
        let out = match &args.out {
            Some(out) => out.clone(),
            None => workspace.root.join(PUBLISHED),
        };
        for built in cargo::build(workspace, &Stopper::with_the_terminal())? {
            match publish(&engine, &built, &out)? {
                Some(guest) => published.push(guest),
                None => foreign.push(built),
            }
        }
    }
    for built in &foreign {
        terminal::note(&format!(
            "{}: built, but it is no guest: it exports no interface of the contract",
            built.package
        ));
    }
    if published.is_empty() {
        bail!("nothing that was built is a guest");
    }
    let text = if args.json {
        format!(
            "{:#}\n",
            published
                .iter()
                .map(Published::as_json)
                .collect::<serde_json::Value>()
        )
    } else {
        table(&published)
    };
    terminal::print(&text)
}

/// A guest in the place where pipelines look for it.
pub(super) struct Published {
    package: String,
    component: Component,
    pub(super) path: PathBuf,
    bytes: u64,
    pub(super) changed: bool,
}

impl Published {
    fn kind(&self) -> &'static str {
        match self.component.kind() {
            Kind::Transform => "transform",
            Kind::Aggregate => "aggregate",
        }
    }

    fn as_json(&self) -> serde_json::Value {
        json!({
            "package": self.package,
            "kind": self.kind(),
            "path": self.path.display().to_string(),
            "bytes": self.bytes,
            "sha256": self.component.digest(),
            "changed": self.changed,
        })
    }
}

/// Loads what was built and puts it into `out`; `None` where it is no guest at all.
///
/// # Errors
///
/// When it is a guest that this host cannot use, or the file cannot be written.
pub(super) fn publish(
    engine: &GuestEngine,
    built: &Built,
    out: &Path,
) -> anyhow::Result<Option<Published>> {
    let loading = format!("compiling {}", built.package);
    let component = match terminal::step(loading, || engine.load(&built.package, &built.path)) {
        Ok(component) => component,
        Err(LoadError::WrongWorld { .. }) => return Ok(None),
        Err(error) => {
            return Err(error)
                .with_context(|| format!("{} was built, but is unusable", built.package));
        }
    };
    fs::create_dir_all(out).with_context(|| format!("failed to create {}", out.display()))?;
    let name = built.path.file_name().context("cargo names a file")?;
    let path = out.join(name);
    let (changed, bytes) = replace(&built.path, &path)
        .with_context(|| format!("failed to write {}", path.display()))?;
    Ok(Some(Published {
        package: built.package.clone(),
        component,
        path,
        bytes,
        changed,
    }))
}

/// Copies the file if the contents differ, in one step: whoever reads the old one meanwhile sees no
/// half of the new. Says whether it did, and how long the file is.
fn replace(from: &Path, to: &Path) -> io::Result<(bool, u64)> {
    let new = fs::read(from)?;
    match fs::read(to) {
        Ok(old) if old == new => return Ok((false, new.len() as u64)),
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(_) | Err(_) => {}
    }
    let part = to.with_extension(format!("wasm.{}", std::process::id()));
    fs::write(&part, &new)
        .and_then(|()| fs::rename(&part, to))
        .inspect_err(|_| {
            // The first error says more than whatever this meets.
            let _ = fs::remove_file(&part);
        })?;
    Ok((true, new.len() as u64))
}

fn table(published: &[Published]) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let mut table = terminal::table();
    table.set_header(["guest", "kind", "size", "", "component"]);
    for guest in published {
        let path = guest.path.strip_prefix(&here).unwrap_or(&guest.path);
        table.add_row([
            guest.package.clone(),
            guest.kind().to_owned(),
            size(guest.bytes),
            if guest.changed { "new" } else { "unchanged" }.to_owned(),
            path.display().to_string(),
        ]);
    }
    format!("{table}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_replaced_only_when_it_changed() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a.wasm"), folder.path().join("b.wasm"));
        fs::write(&from, "one").unwrap();
        assert_eq!(replace(&from, &to).unwrap(), (true, 3));
        assert_eq!(replace(&from, &to).unwrap(), (false, 3));
        fs::write(&from, "second").unwrap();
        assert_eq!(replace(&from, &to).unwrap(), (true, 6));
        assert_eq!(fs::read_to_string(&to).unwrap(), "second");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
