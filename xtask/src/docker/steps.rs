//! Executing the stages of a Dockerfile without an engine: the builder in a plain folder with the
//! compiler of this machine, the runtime in a minimal Debian.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::context;
use super::dockerfile::{Stage, Step};
use crate::group;

/// What a shell in a container finds programs by.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a stage in a plain folder may read outside of it.
const SYSTEM_FILES: [&str; 1] = ["/etc/ssl/certs/ca-certificates.crt"];

/// How a stage's commands are run.
enum Way<'a> {
    /// in a plain folder; caches are kept in this one
    Plain { caches: &'a Path },
    /// with the stage's folder as the root
    Chroot,
}

/// A stage that is executed in its folder.
pub(super) struct Builder<'a> {
    /// what stands for `/`
    root: &'a Path,
    /// what COPY takes from, without `--from`
    context: &'a Path,
    /// the folder and the WORKDIR of the stage that COPY takes from with `--from`
    before: Option<&'a Path>,
    way: Way<'a>,
    workdir: String,
    env: Vec<(String, String)>,
}

impl<'a> Builder<'a> {
    /// A stage in a plain folder. What it caches below its WORKDIR is kept in `caches`.
    pub(super) fn plain(root: &'a Path, context: &'a Path, caches: &'a Path) -> Self {
        Self::new(root, context, None, Way::Plain { caches })
    }

    /// A stage on a file system that is at `root` already, which copies from the stage at `before`.
    pub(super) fn chroot(root: &'a Path, context: &'a Path, before: &'a Path) -> Self {
        Self::new(root, context, Some(before), Way::Chroot)
    }

    fn new(root: &'a Path, context: &'a Path, before: Option<&'a Path>, way: Way<'a>) -> Self {
        Self {
            root,
            context,
            before,
            way,
            workdir: "/".to_owned(),
            env: Vec::new(),
        }
    }

    /// Executes the steps of `stage`, in order.
    ///
    /// # Errors
    ///
    /// The first step that fails, or that cannot be done in this way.
    pub(super) fn execute(mut self, stage: &Stage) -> Result<()> {
        for step in &stage.steps {
            match step {
                Step::Workdir(path) => {
                    self.workdir.clone_from(path);
                    fs::create_dir_all(self.inside(path))?;
                }
                Step::Env(name, value) => self.env.push((name.clone(), value.clone())),
                Step::Copy {
                    from,
                    source,
                    target,
                } => self.copy(from.is_some(), source, target)?,
                Step::Run { caches, command } => self.run(caches, command)?,
                // These say how it is started, which is tried afterwards.
                Step::User(_) | Step::Healthcheck(_) | Step::Entrypoint(_) | Step::Cmd(_) => {}
            }
        }
        Ok(())
    }

    fn copy(&self, is_from_stage: bool, source: &str, target: &str) -> Result<()> {
        eprintln!("COPY {source} {target}");
        let source = match (is_from_stage, self.before) {
            (true, Some(before)) => below(before, source),
            (true, None) => bail!("there is no stage before this one"),
            (false, _) => self.context.join(source),
        };
        ensure!(source.exists(), "COPY: {} is not there", source.display());
        let place = self.inside(&resolve(&self.workdir, target));
        context::copy(&source, target, &place)
    }

    fn run(&self, caches: &[String], command: &str) -> Result<()> {
        eprintln!("RUN {command}");
        let folder = self.inside(&self.workdir);
        let mut shell = match self.way {
            Way::Plain { caches: kept } => {
                if let Some(path) = absolute_path(command) {
                    bail!("`{path}`: a stage in a plain folder says paths from its WORKDIR");
                }
                for cache in caches {
                    self.link_cache(cache, kept)?;
                }
                let mut shell = Command::new("nice");
                shell.args(["sh", "-euc", command]).current_dir(&folder);
                // The cargo that runs us has set these for itself.
                for (name, _) in std::env::vars_os() {
                    let text = name.to_string_lossy();
                    if text.starts_with("CARGO") && text != "CARGO_HOME"
                        || text.starts_with("RUST") && text != "RUSTUP_HOME"
                    {
                        shell.env_remove(&name);
                    }
                }
                shell
            }
            Way::Chroot => {
                ensure!(
                    caches.is_empty(),
                    "a cache is understood in the first stage only"
                );
                let mut shell = Command::new("chroot");
                shell
                    .arg(self.root)
                    .args(["env", "--chdir", &self.workdir, "sh", "-euc", command]);
                shell.env_clear().env("PATH", PATH);
                shell
            }
        };
        shell.envs(self.env.iter().map(|(name, value)| (name, value)));
        group::run(&mut shell)
    }

    /// A cache below the WORKDIR becomes a link to a folder that is kept. One elsewhere is cargo's
    /// registry, of which this machine has its own.
    fn link_cache(&self, cache: &str, kept: &Path) -> Result<()> {
        let Ok(name) = Path::new(cache).strip_prefix(&self.workdir) else {
            ensure!(
                cache == "/usr/local/cargo/registry",
                "the cache {cache} is not below the WORKDIR"
            );
            return Ok(());
        };
        let (link, folder) = (self.inside(cache), kept.join(name));
        fs::create_dir_all(&folder)?;
        if fs::symlink_metadata(&link).is_err() {
            symlink(&folder, &link)
                .with_context(|| format!("failed to link {}", link.display()))?;
        }
        Ok(())
    }

    fn inside(&self, path: &str) -> PathBuf {
        below(self.root, path)
    }
}

/// `/a/b` below `root`.
fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// `path` as seen from `workdir`.
fn resolve(workdir: &str, path: &str) -> String {
    let joined = Path::new(workdir).join(if path == "." { "" } else { path });
    joined.to_string_lossy().into_owned()
}

/// The first word of a command that is an absolute path, or has one behind `=`; but for what the
/// system of the image and that of this machine both have.
fn absolute_path(command: &str) -> Option<&str> {
    let mut words = command.split_whitespace();
    words
        .find(|word| (word.starts_with('/') || word.contains("=/")) && !SYSTEM_FILES.contains(word))
}

#[cfg(test)]
mod tests {
    use super::super::dockerfile::Dockerfile;
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let name = format!("wasmill-xtask-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(folder.join("context")).unwrap();
        folder
    }

    fn execute(folder: &Path, text: &str) -> Result<()> {
        let file = Dockerfile::parse(text).unwrap();
        let (root, context, caches) = (
            folder.join("root"),
            folder.join("context"),
            folder.join("caches"),
        );
        Builder::plain(&root, &context, &caches).execute(&file.stages[0])
    }

    #[test]
    fn steps_are_executed_in_order_in_the_folder_with_their_variables() {
        let folder = folder("steps");
        fs::write(folder.join("context/in.txt"), "from the context").unwrap();
        let text = "FROM x\nWORKDIR /src\nENV NAME=value\nCOPY . .\n\
                    RUN --mount=type=cache,target=/src/target cp in.txt out.txt && echo $NAME >> target/log";
        for count in 1..=2 {
            let _ = fs::remove_dir_all(folder.join("root"));
            execute(&folder, text).unwrap();
            let out = fs::read_to_string(folder.join("root/src/out.txt")).unwrap();
            assert_eq!(out, "from the context");
            // What is cached outlives the folder.
            let log = fs::read_to_string(folder.join("caches/target/log")).unwrap();
            assert_eq!(log, "value\n".repeat(count));
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_would_reach_out_of_the_folder_is_refused() {
        let folder = folder("outside");
        for (step, says) in [
            ("RUN touch /etc/x", "`/etc/x`"),
            ("RUN make --prefix=/usr", "`--prefix=/usr`"),
            ("RUN --mount=type=cache,target=/var/x true", "/var/x"),
            ("RUN false", "failed"),
            ("COPY missing .", "missing"),
        ] {
            let error = execute(&folder, &format!("FROM x\nWORKDIR /src\n{step}")).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
