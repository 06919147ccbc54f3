//! `cargo xtask image`: executes the Dockerfile where no engine is, and tries what comes out.
//!
//! 1. What is committed, without what `.dockerignore` names, becomes the context.
//! 2. The first stage runs in a plain folder, with the compiler of this machine, which has to be the
//!    image's.
//! 3. The second one runs on a minimal Debian of the image's release (by mmdebstrap: what the image is
//!    made of), as the root of its file system.
//! 4. The program is run there as the compose file runs it: the image's user, a read-only root,
//!    volumes for the cache and the checkpoints, and no variable but those of the image.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use super::agree::checkpoints;
use super::confined::Confined;
use super::context::{self, Ignore};
use super::dockerfile::Stage;
use super::steps::Builder;
use crate::{group, tools, workspace};

/// `cargo xtask image …`
#[derive(Args)]
pub(crate) struct Options {
    /// Where compiled code is kept between builds [default: target/image/caches]
    #[arg(long, value_name = "DIR")]
    caches: Option<PathBuf>,

    /// Set a variable in the image; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,

    /// Run wasmill with these arguments in the image that was built last, instead of building it
    #[arg(last = true, value_name = "ARGS")]
    arguments: Vec<String>,
}

/// Builds the image's files into `target/image/root` and tries them; or runs what was built before.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    ensure!(
        tools::is_root()?,
        "a root file system takes root: sudo cargo xtask image"
    );
    let (dockerfile, ignore) = super::image_files(workspace::root())?;
    let [builder, runtime] = &dockerfile.stages[..] else {
        bail!("the Dockerfile has two stages: a builder, and what runs");
    };
    let folder = workspace::root().join("target/image");
    let root = folder.join("root");
    let pipeline = super::pipeline(workspace::root())?;
    let checkpoints = checkpoints(&pipeline, runtime);
    if options.arguments.is_empty() {
        tools::ensure(&[tools::Tool::Mmdebstrap])?;
        ensure_compiler(builder)?;
        warn_of_changes()?;
        build(
            builder,
            runtime,
            &ignore,
            &folder,
            options.caches.as_deref(),
        )?;
        Confined::new(runtime, root, &folder, checkpoints, &options.env)?.try_it()?;
    } else {
        ensure!(root.exists(), "nothing was built yet: cargo xtask image");
        let confined = Confined::new(runtime, root, &folder, checkpoints, &options.env)?;
        confined.run(&options.arguments)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Executes both stages, in new folders below `folder`.
fn build(
    builder: &Stage,
    runtime: &Stage,
    ignore: &Ignore,
    folder: &Path,
    caches: Option<&Path>,
) -> Result<()> {
    let caches = match caches {
        Some(caches) => std::path::absolute(caches)?,
        None => folder.join("caches"),
    };
    let [context, built, root] = ["context", "builder", "root"].map(|name| folder.join(name));
    for old in [&context, &built, &root] {
        if old.exists() {
            fs::remove_dir_all(old)
                .with_context(|| format!("failed to delete {}", old.display()))?;
        }
    }
    context::export(&context, ignore)?;
    eprintln!("── the builder, in {}", built.display());
    Builder::plain(&built, &context, &caches).execute(builder)?;
    eprintln!("── the image, in {}", root.display());
    debian(runtime, folder, &root)?;
    Builder::chroot(&root, &context, &built).execute(runtime)
}

/// The compiler that the builder's commands get is the one that its image has.
fn ensure_compiler(builder: &Stage) -> Result<()> {
    let (_, tag) = builder
        .image
        .split_once(':')
        .context("the builder's image has no tag")?;
    let (version, _) = tag
        .split_once('-')
        .context("the builder's tag names no Debian")?;
    let mut rustc = Command::new("rustc");
    rustc.arg("--version");
    if let Some(toolchain) = builder.env("RUSTUP_TOOLCHAIN") {
        rustc.env("RUSTUP_TOOLCHAIN", toolchain);
    }
    let found = group::output(&mut rustc)?;
    ensure!(
        found.starts_with(&format!("rustc {version} ")),
        "the image has Rust {version}, and this is {found}"
    );
    Ok(())
}

fn warn_of_changes() -> Result<()> {
    let mut git = Command::new("git");
    git.current_dir(workspace::root())
        .args(["status", "--porcelain"]);
    if !group::output(&mut git)?.is_empty() {
        eprintln!("warning: what is not committed is left out");
    }
    Ok(())
}

/// The release that the stage begins with, at `root`. An archive of it is kept in `folder`.
fn debian(runtime: &Stage, folder: &Path, root: &Path) -> Result<()> {
    let release = runtime
        .image
        .strip_prefix("debian:")
        .and_then(|tag| tag.strip_suffix("-slim"));
    let release = release.with_context(|| format!("{} is no slim Debian", runtime.image))?;
    let archive = folder.join(format!("{release}.tar"));
    if !archive.exists() {
        eprintln!("making a minimal Debian {release} (about 40 MB are fetched)");
        let part = archive.with_extension("part.tar");
        let mut make = Command::new("mmdebstrap");
        make.args(["--quiet", "--variant=minbase", "--mode=root", release])
            .arg(&part);
        group::run(&mut make)?;
        fs::rename(&part, &archive)?;
    }
    fs::create_dir_all(root)?;
    let mut tar = Command::new("tar");
    tar.arg("-xpf").arg(&archive).arg("-C").arg(root);
    group::run(&mut tar)
}
