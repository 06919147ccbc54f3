//! Running what the Dockerfile made as the compose file does: the image's user, a read-only root, a
//! volume for the cache and one for checkpoints, and no variable but those of the image.
//!
//! # Not here
//!
//! Limits of CPU and memory, capabilities and the network, which are the engine's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::agree::is_no_root;
use super::dockerfile::{Stage, Step};
use super::steps::PATH;
use crate::group;

/// What happens in a mount namespace of its own. `$1` is the root, `$2` how many volumes follow, each
/// with where it is mounted, and the rest is for `chroot`.
const CONFINED: &str = r#"
root=$1 volumes=$2; shift 2
mount --bind "$root" "$root"
while [ "$volumes" -gt 0 ]; do
    mount --bind "$1" "$root$2"
    shift 2
    volumes=$((volumes - 1))
done
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/tmp"
mount -o remount,bind,ro "$root"
exec chroot "$@"
"#;

/// The image's files, and how they are run.
pub(super) struct Confined {
    root: PathBuf,
    /// folders that stand for the named volumes, the cache's first, and where each is mounted
    volumes: Vec<(PathBuf, String)>,
    user: String,
    workdir: String,
    env: Vec<String>,
    healthcheck: Vec<String>,
}

impl Confined {
    /// The stage's files at `root`, run with its variables and these. `folder` gets new volumes: for
    /// the cache, and for `checkpoints` where they are in the image's file system.
    pub(super) fn new(
        runtime: &Stage,
        root: PathBuf,
        folder: &Path,
        checkpoints: Option<String>,
        env: &[String],
    ) -> Result<Self> {
        let cache = runtime.env("WASMILL_CACHE");
        let cache = cache.context("WASMILL_CACHE is not set")?.to_owned();
        let places = [Some(cache), checkpoints].into_iter().flatten();
        let volume = |(i, at)| (folder.join(format!("volume-{i}")), at);
        let mut image = Self {
            volumes: places.enumerate().map(volume).collect(),
            user: runtime.user().context("the image has no USER")?.to_owned(),
            workdir: runtime.workdir().to_owned(),
            env: vec![format!("PATH={PATH}")],
            healthcheck: Vec::new(),
            root,
        };
        for step in &runtime.steps {
            match step {
                Step::Env(name, value) => image.env.push(format!("{name}={value}")),
                Step::Healthcheck(command) => image.healthcheck.clone_from(command),
                _ => {}
            }
        }
        image.env.extend_from_slice(env);
        ensure!(is_no_root(&image.user), "the image runs as root");
        // A new volume takes on what the image has at its place, the owner too.
        for (volume, at) in &image.volumes {
            if volume.exists() {
                fs::remove_dir_all(volume)?;
            }
            let mut copy = Command::new("cp");
            copy.args(["--archive"])
                .arg(image.root.join(&at[1..]))
                .arg(volume);
            group::run(&mut copy)?;
        }
        Ok(image)
    }

    /// A command in the image, as its user, with what the image's environment has.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-euc", CONFINED, "sh"]);
        command.arg(&self.root).arg(self.volumes.len().to_string());
        for (volume, at) in &self.volumes {
            command.arg(volume).arg(at);
        }
        command
            .arg(format!("--userspec={}", self.user))
            .arg(&self.root);
        command
            .args(["env", "-i", "--chdir", &self.workdir])
            .args(&self.env);
        command.args(arguments);
        command
    }

    /// Runs wasmill with these arguments.
    pub(super) fn run(&self, arguments: &[String]) -> Result<()> {
        let mut command = self.command(&["wasmill"]);
        group::run(command.args(arguments))
    }

    /// Runs what an operator would look at first.
    pub(super) fn try_it(&self) -> Result<()> {
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

        let (volume, cache) = &self.volumes[0];
        let cached = fs::read_dir(volume)?.count();
        ensure!(cached > 0, "nothing was kept in {cache}");
        println!("{cached} entries in the cache's volume");
        for (_, at) in &self.volumes {
            let write = format!("touch {at}/x && rm {at}/x");
            group::output(&mut self.command(&["sh", "-c", &write]))
                .with_context(|| format!("its user cannot write to {at}"))?;
        }
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
