//! `cargo xtask guests`: the components that pipelines and tests name, in `target/guests/`.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use clap::Args;

use crate::group;
use crate::workspace::{self, Metadata};

pub(crate) use languages::Language;

mod languages;

/// `cargo xtask guests …`
#[derive(Args)]
pub(crate) struct Options {
    /// Those in JavaScript and Python too, where Node 20 and npm, or Python 3.10, are there
    #[arg(long)]
    all: bool,
}

/// What guests are compiled for.
const TARGET: &str = "wasm32-wasip2";

/// A guest's DWARF, mostly that of std, is ten times its code. The host's, built with the same
/// profile, stays: hence not in `Cargo.toml`.
const STRIP: &str = r#"profile.release.strip="debuginfo""#;

/// Does what the command line says.
pub(crate) fn run(options: &Options) -> Result<()> {
    build()?;
    if options.all {
        build_other_languages(true)?;
    }
    Ok(())
}

/// Builds the guests that are not Rust. A language that is not on this machine is skipped, with a message;
/// unless `strict`, so is one whose tools cannot be installed.
pub(crate) fn build_other_languages(strict: bool) -> Result<()> {
    let published = published()?;
    for language in Language::ALL {
        match language.install() {
            Ok(()) => language.build(&published)?,
            Err(obstacle) => obstacle.report(language, strict)?,
        }
    }
    Ok(())
}

/// Builds every guest in Rust and puts it where pipelines look for it.
pub(crate) fn build() -> Result<()> {
    let metadata = Metadata::load()?;
    let guests = metadata.dynamic_libraries(&workspace::root().join("guest-transforms"));
    if guests.is_empty() {
        eprintln!("there are no guests to build");
        return Ok(());
    }
    ensure_target()?;
    let mut cargo = workspace::cargo(["build", "--release", "--target", TARGET, "--config", STRIP]);
    for (package, _) in &guests {
        cargo.args(["--package", package]);
    }
    group::run(&mut cargo)?;

    let built = metadata.target_directory()?.join(TARGET).join("release");
    let published = published()?;
    for (_, library) in &guests {
        let name = format!("{library}.wasm");
        let is_new = publish(&built.join(&name), &published.join(&name))?;
        let news = if is_new { "built" } else { "unchanged" };
        eprintln!("target/guests/{name}: {news}");
    }
    Ok(())
}

/// The folder where pipelines and tests look for components.
fn published() -> Result<PathBuf> {
    let folder = workspace::root().join("target/guests");
    fs::create_dir_all(&folder)
        .with_context(|| format!("failed to create {}", folder.display()))?;
    Ok(folder)
}

/// Adds the target's standard library if it is missing.
fn ensure_target() -> Result<()> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut sysroot = Command::new(rustc);
    sysroot
        .args(["--print", "sysroot"])
        .current_dir(workspace::root());
    let sysroot = group::output(&mut sysroot)?;
    let library = Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET);
    if library.join("lib").is_dir() {
        return Ok(());
    }
    eprintln!("adding the Rust target {TARGET} (about 20 MB)");
    let mut add = Command::new("rustup");
    add.args(["target", "add", TARGET])
        .current_dir(workspace::root());
    group::run(&mut add).with_context(|| {
        format!("{TARGET} is missing; with rustup it comes by `rustup target add {TARGET}`")
    })
}

/// Copies `built` to `published` if the contents differ, in one step: whoever reads the file
/// meanwhile sees the old or the new one, never a half. Returns whether it copied.
fn publish(built: &Path, published: &Path) -> Result<bool> {
    let new = fs::read(built).with_context(|| format!("failed to read {}", built.display()))?;
    match fs::read(published) {
        Ok(old) if old == new => return Ok(false),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => bail!("failed to read {}: {error}", published.display()),
    }
    let part = published.with_extension("wasm.part");
    fs::write(&part, new).with_context(|| format!("failed to write {}", part.display()))?;
    fs::rename(&part, published)
        .with_context(|| format!("failed to write {}", published.display()))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_replaced_only_when_it_changed() {
        let folder = std::env::temp_dir().join(format!("wasmill-xtask-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (built, published) = (folder.join("built"), folder.join("published.wasm"));
        fs::write(&built, "one").unwrap();
        assert!(publish(&built, &published).unwrap());
        assert!(!publish(&built, &published).unwrap());
        fs::write(&built, "two").unwrap();
        assert!(publish(&built, &published).unwrap());
        assert_eq!(fs::read_to_string(&published).unwrap(), "two");
        assert_eq!(
            fs::read_dir(&folder).unwrap().count(),
            2,
            "a part is left over"
        );
        fs::remove_dir_all(&folder).unwrap();
    }
}
