//! `cargo xtask image`: executes the Dockerfile where no engine is, and tries what comes out.
//!
//! 1. What is committed, without what `.dockerignore` names, becomes the context.
//! 2. The first stage runs in a plain folder, with the compiler of this machine, which has to be the
//!    image's.
//! 3. The second one runs on a minimal Debian of the image's release (by mmdebstrap: what the image is
//!    made of), as the root of its file system.
//! 4. The program is run there as the compose file runs it: the image's user, a read-only root, a
//!    volume for the cache, and no variable but those of the image.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use super::context;
use super::dockerfile::{Dockerfile, Stage, Step};
use super::steps::{Builder, PATH};
use crate::{group, tools, workspace};

/// What happens in a mount namespace of its own. `$1` is the root, `$2` what is mounted on `$3`, and
/// the rest is for `chroot`.
const CONFINED: &str = r#"
root=$1 volume=$2 at=$3; shift 3
mount --bind "$root" "$root"
mount --bind "$volume" "$root$at"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/tmp"
mount -o remount,bind,ro "$root"
exec chroot "$@"
"#;

/// `cargo xtask image …`
#[derive(Args)]
pub(crate) struct Options {
    /// Where compiled code is kept between builds [default: target/image/caches]
    #[arg(long, value_name = "DIR")]
    caches: Option<PathBuf>,

    /// Run wasmill with these arguments in the image, instead of trying it
    #[arg(last = true, value_name = "ARGS")]
    arguments: Vec<String>,
}

/// Builds the image's files into `target/image/root`, and tries them.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    ensure!(
        tools::is_root()?,
        "a root file system takes root: sudo cargo xtask image"
    );
    tools::ensure(&[tools::Tool::Mmdebstrap])?;
    let (dockerfile, ignore) = super::image_files(workspace::root())?;
    let [builder, runtime] = &dockerfile.stages[..] else {
        bail!("the Dockerfile has two stages: a builder, and what runs");
    };
    ensure_compiler(builder)?;

    let folder = workspace::root().join("target/image");
    let caches = match &options.caches {
        Some(caches) => std::path::absolute(caches)?,
        None => folder.join("caches"),
    };
    let part = |name| folder.join(name);
    let (context, built, root) = (part("context"), part("builder"), part("root"));
    for old in [&context, &built, &root] {
        if old.exists() {
            fs::remove_dir_all(old)
                .with_context(|| format!("failed to delete {}", old.display()))?;
        }
    }
    warn_of_changes()?;
    context::export(&context, &ignore)?;
    eprintln!("── the builder, in {}", built.display());
    Builder::plain(&built, &context, &caches).execute(builder)?;
    eprintln!("── the image, in {}", root.display());
    debian(runtime, &folder, &root)?;
    Builder::chroot(&root, &context, &built).execute(runtime)?;

    eprintln!("── as the compose file runs it");
    let image = Image::new(&dockerfile, runtime, root, part("volume"))?;
    if options.arguments.is_empty() {
        image.try_it()?;
    } else {
        let arguments: Vec<_> = options.arguments.iter().map(String::as_str).collect();
        group::run(&mut image.command(&[&["wasmill"], &arguments[..]].concat()))?;
    }
    Ok(ExitCode::SUCCESS)
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

/// A file system, and how it is run.
struct Image {
    root: PathBuf,
    /// stands for the named volume
    volume: PathBuf,
    cache: String,
    user: String,
    workdir: String,
    env: Vec<String>,
    healthcheck: Vec<String>,
}

impl Image {
    fn new(
        dockerfile: &Dockerfile,
        runtime: &Stage,
        root: PathBuf,
        volume: PathBuf,
    ) -> Result<Self> {
        debug_assert_eq!(dockerfile.stages.last(), Some(runtime));
        let mut image = Self {
            cache: runtime
                .env("WASMILL_CACHE")
                .context("WASMILL_CACHE is not set")?
                .to_owned(),
            user: String::new(),
            workdir: runtime.workdir().to_owned(),
            env: vec![format!("PATH={PATH}")],
            healthcheck: Vec::new(),
            root,
            volume,
        };
        for step in &runtime.steps {
            match step {
                Step::User(user) => image.user.clone_from(user),
                Step::Env(name, value) => image.env.push(format!("{name}={value}")),
                Step::Healthcheck(command) => image.healthcheck.clone_from(command),
                _ => {}
            }
        }
        ensure!(
            image.user.parse::<u32>().is_ok_and(|id| id != 0),
            "the image runs as root"
        );
        // A new volume takes on what the image has at its place, the owner too.
        if image.volume.exists() {
            fs::remove_dir_all(&image.volume)?;
        }
        let mut copy = Command::new("cp");
        copy.args(["--archive"])
            .arg(image.root.join(&image.cache[1..]))
            .arg(&image.volume);
        group::run(&mut copy)?;
        Ok(image)
    }

    /// A command in the image, as its user, with what the image's environment has.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-euc", CONFINED, "sh"]);
        command.args([&self.root, &self.volume]).arg(&self.cache);
        command
            .arg(format!("--userspec={0}:{0}", self.user))
            .arg(&self.root);
        command
            .args(["env", "-i", "--chdir", &self.workdir])
            .args(&self.env);
        command.args(arguments);
        command
    }

    /// Runs what an operator would look at first.
    fn try_it(&self) -> Result<()> {
        let version = group::output(&mut self.command(&["wasmill", "--version"]))?;
        print!("{version}");
        let libraries = group::output(&mut self.command(&["ldd", "/usr/local/bin/wasmill"]))?;
        ensure!(
            !libraries.contains("not found"),
            "a library is missing:\n{libraries}"
        );
        print!("{libraries}");
        let identity = group::output(&mut self.command(&["id"]))?;
        ensure!(!identity.contains("uid=0"), "it runs as root: {identity}");
        print!("{identity}");
        // `--help` of the health check's command: that it is one.
        let command: Vec<_> = self
            .healthcheck
            .iter()
            .map(String::as_str)
            .take(2)
            .collect();
        group::output(&mut self.command(&[&command[..], &["--help"]].concat()))
            .with_context(|| format!("the health check {command:?} is no command"))?;
        print!(
            "{}",
            group::output(&mut self.command(&["wasmill", "check", "pipeline.toml"]))?
        );

        let cached = fs::read_dir(&self.volume)?.count();
        ensure!(cached > 0, "nothing was kept in {}", self.cache);
        println!("{cached} entries in the cache's volume");
        let write = format!("touch {}/x", self.workdir);
        let mut write = self.command(&["sh", "-c", &write]);
        let written = write.output().context("failed to start unshare")?;
        let said = String::from_utf8_lossy(&written.stderr);
        ensure!(
            said.contains("Read-only file system"),
            "the root is not read-only: {said}"
        );
        println!("and nothing else can be written: {}", said.trim());
        self.print_sizes()
    }

    fn print_sizes(&self) -> Result<()> {
        let mut size = Command::new("du");
        size.args(["--summarize", "--human-readable", "--total"]);
        let program = self.root.join("usr/local/bin/wasmill");
        let workdir = self.root.join(&self.workdir[1..]);
        print!(
            "{}",
            group::output(size.arg(&self.root).arg(program).arg(workdir))?
        );
        Ok(())
    }
}
