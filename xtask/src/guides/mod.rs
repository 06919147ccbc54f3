//! Does what the documentation tells its readers to do, as written: every command, every file, every
//! change, in a copy of this checkout.
//!
//! # Invariants
//!
//! 1. The checkout itself is not changed. The copy shares its `target/`, so little is built twice.
//! 2. A command that is not run is named, with the reason.
//!
//! # Not here
//!
//! How a page is read: [`page`].

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::group::{self, Group};
use crate::guests::Language;
use crate::interrupt::{self, POLL};
use crate::signal::Signal;
use crate::tools::{self, Tool};
use crate::workspace;

use page::{Action, Step};

mod page;

/// The pages whose commands are run, in this order, and the language that one needs beside Rust.
const PAGES: [(&str, Option<Language>); 5] = [
    ("README.md", None),
    ("docs/guides/first-guest.md", None),
    ("docs/guides/command-line.md", None),
    (
        "docs/guides/javascript-guests.md",
        Some(Language::JavaScript),
    ),
    ("docs/guides/python-guests.md", Some(Language::Python)),
];

/// How long one command may take: the longest is a release build from nothing.
const COMMAND_TIME_MAX: Duration = Duration::from_mins(25);

/// How long a program gets to end after Ctrl-C.
const STOP_DEADLINE: Duration = Duration::from_mins(1);

/// Does all pages, or those that need no language but Rust, and returns how many steps there were.
///
/// # Errors
///
/// Names page and line of the step that did not come out as the page says.
pub(crate) fn run(rust_only: bool) -> Result<u64> {
    tools::ensure(&[Tool::Sqlite])?;
    let mut steps_done = 0;
    for (name, language) in PAGES {
        if let Some(language) = language
            && !is_there(language, rust_only)?
        {
            eprintln!("   not followed: {name}");
            continue;
        }
        let markdown = fs::read_to_string(workspace::root().join(name))
            .with_context(|| format!("failed to read {name}"))?;
        let steps = page::steps(&markdown).with_context(|| name.to_owned())?;
        // Each page begins in a fresh copy: it must not need what another one left.
        let reader = Reader::begin(name)?;
        for step in &steps {
            reader
                .follow(step)
                .with_context(|| format!("{name}, line {}", step.line))?;
            steps_done += 1;
        }
    }
    Ok(steps_done)
}

/// Whether pages about a language can be followed here; says why not.
fn is_there(language: Language, rust_only: bool) -> Result<bool> {
    if rust_only {
        return Ok(false);
    }
    match language.install() {
        Ok(()) => Ok(true),
        Err(obstacle) => obstacle.report(language, false).map(|()| false),
    }
}

/// Somebody who does what one page says.
struct Reader {
    /// the shell's folder and variables between two commands, and the logs
    notes: PathBuf,
}

impl Reader {
    fn begin(page: &str) -> Result<Self> {
        let folder = workspace::root().join("target/guides");
        let checkout = folder.join("wasmill");
        copy_checkout(&checkout)?;
        let stem = Path::new(page).file_stem().unwrap_or_default();
        let notes = folder.join(stem);
        forget(&notes)?;
        fs::create_dir_all(&notes)?;
        fs::write(
            notes.join("folder"),
            checkout.as_os_str().as_encoded_bytes(),
        )?;
        fs::write(notes.join("variables"), "")?;
        Ok(Self { notes })
    }

    fn follow(&self, step: &Step) -> Result<()> {
        match &step.action {
            Action::LeaveOut { commands, reason } => {
                for command in commands {
                    eprintln!("   not run, {reason}: {command}");
                }
                Ok(())
            }
            Action::Write { path, text } => {
                eprintln!("   file {path}");
                let path = self.folder()?.join(path);
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent)?;
                }
                fs::write(&path, text)
                    .with_context(|| format!("failed to write {}", path.display()))
            }
            Action::Patch(text) => {
                eprintln!("   patch");
                let file = self.notes.join("patch");
                fs::write(&file, text)?;
                let mut apply = Command::new("git");
                apply.arg("apply").arg(file).current_dir(self.folder()?);
                group::run(&mut apply)
            }
            Action::Run(command) => self.run(command, step.line),
        }
    }

    /// The folder that the reader is in.
    fn folder(&self) -> Result<PathBuf> {
        Ok(fs::read_to_string(self.notes.join("folder"))?
            .trim_end()
            .into())
    }

    fn run(&self, command: &page::Command, line: usize) -> Result<()> {
        eprintln!("   $ {}", command.text);
        let log = self.notes.join(format!("{line}.log"));
        let script = format!(
            "set -o pipefail\n. {notes}/variables\n{text}\nstatus=$?\npwd > {notes}/folder\nexport -p > {notes}/variables\nexit $status\n",
            notes = self.notes.display(),
            text = command.text,
        );
        let mut bash = Command::new("bash");
        bash.args(["-c", &script]).current_dir(self.folder()?);
        // What cargo sets for us is not set for a reader.
        for (name, _) in std::env::vars().filter(|(name, _)| is_set_by_cargo(name)) {
            bash.env_remove(name);
        }
        let mut group = Group::spawn_logged(&mut bash, &log)?;
        let outcome = wait(&mut group, command.until.as_deref(), &log);
        outcome.map_err(|error| anyhow!("`{}` {error}\n{}", command.text, group::tail(&log)))?;
        let output = read(&log)?;
        if let Some(missing) = page::missing(&command.output, &output) {
            bail!(
                "`{}` does not print (or not at this place): {missing}\n{}",
                command.text,
                group::tail(&log)
            );
        }
        Ok(())
    }
}

/// Waits for the end; with `until`, presses Ctrl-C once the log has that text.
fn wait(group: &mut Group, until: Option<&str>, log: &Path) -> Result<()> {
    let end = Instant::now() + COMMAND_TIME_MAX;
    loop {
        let told = match until {
            Some(text) => read(log)?.contains(text),
            None => false,
        };
        if told {
            let status = group.stop(Signal::Interrupt, STOP_DEADLINE)?;
            if !status.success() {
                bail!("ended badly after Ctrl-C ({status}):");
            }
            return Ok(());
        }
        match (group.finished()?, until) {
            (Some(status), None) if status.success() => return Ok(()),
            (Some(status), None) => bail!("failed ({status}):"),
            (Some(status), Some(text)) => bail!("ended ({status}) and never said `{text}`:"),
            (None, _) => {}
        }
        if interrupt::requested() {
            group.stop(Signal::Interrupt, STOP_DEADLINE)?;
            interrupt::check()?;
        }
        if Instant::now() >= end {
            bail!(
                "took longer than {} minutes:",
                COMMAND_TIME_MAX.as_secs() / 60
            );
        }
        thread::sleep(POLL);
    }
}

fn read(log: &Path) -> Result<String> {
    let bytes = fs::read(log).with_context(|| format!("failed to read {}", log.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn is_set_by_cargo(name: &str) -> bool {
    name.starts_with("CARGO") && name != "CARGO_HOME" && name != "CARGO_TARGET_DIR"
        || name == "RUSTUP_TOOLCHAIN"
        || name == "RUST_RECURSION_COUNT"
}

/// Makes `copy` a checkout as somebody else would have it: all files under version control as they
/// are now, and nothing else. Its `target/` is ours.
fn copy_checkout(copy: &Path) -> Result<()> {
    forget(copy)?;
    fs::create_dir_all(copy)?;
    let root = workspace::root();
    let mut list = Command::new("git");
    list.args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let files = group::output(list.current_dir(root))?;
    for file in files.lines() {
        let (from, to) = (root.join(file), copy.join(file));
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        copy_file(&from, &to).with_context(|| format!("failed to copy {file}"))?;
    }
    std::os::unix::fs::symlink(root.join("target"), copy.join("target"))?;
    let mut init = Command::new("git");
    group::run(
        init.args(["init", "--quiet"])
            .current_dir(copy)
            .stdout(Stdio::null()),
    )
}

/// Copies a file with its time, by which cargo knows what is new. One that was deleted and not yet
/// committed is no error.
fn copy_file(from: &Path, to: &Path) -> Result<()> {
    let metadata = match fs::symlink_metadata(from) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if metadata.is_symlink() {
        return Ok(std::os::unix::fs::symlink(fs::read_link(from)?, to)?);
    }
    fs::copy(from, to)?;
    fs::File::open(to)?.set_modified(metadata.modified()?)?;
    Ok(())
}

/// Deletes a folder of ours, if it is there. `target` in it is a link, which is not followed.
fn forget(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to delete {}", folder.display()))
        }
        _ => Ok(()),
    }
}
