//! Guests that are not Rust: built by a tool that their language's own package manager installs.
//!
//! # Invariants
//!
//! 1. Tools are installed below `target/tools`, exactly those that the lock file beside the guests names.
//! 2. A component is built only if something changed that it is made of: its sources, the contract, the
//!    tool's version.
//!
//! # Not here
//!
//! Guests in Rust, and how a component gets to where pipelines look for it: [`super`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace;
use crate::{group, interrupt};

use super::publish;

/// What the guests' module is called, in each folder.
const MODULE: &str = "guest";

/// The world that all of them are made for.
const WORLD: &str = "transform-guest";

/// A language with guests in `guest-transforms/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    JavaScript,
    Python,
}

/// Why there are no tools for a language.
pub(crate) enum Obstacle {
    /// The language is not on this machine, which is fine.
    Missing(String),
    /// It is, but its package manager did not come to an end.
    NotInstalled(anyhow::Error),
}

impl Language {
    pub(super) const ALL: [Self; 2] = [Self::JavaScript, Self::Python];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::JavaScript => "JavaScript",
            Self::Python => "Python",
        }
    }

    /// The end of its modules' names, and of the names of their components.
    fn suffix(self) -> &'static str {
        match self {
            Self::JavaScript => "js",
            Self::Python => "py",
        }
    }

    /// Where its guests are, a folder each.
    fn sources(self) -> PathBuf {
        let folder = match self {
            Self::JavaScript => "javascript",
            Self::Python => "python",
        };
        workspace::root().join("guest-transforms").join(folder)
    }

    /// What says which tools are installed, all of it.
    fn lock_files(self) -> &'static [&'static str] {
        match self {
            Self::JavaScript => &["package.json", "package-lock.json"],
            Self::Python => &["requirements.txt"],
        }
    }

    /// Where its tools are installed.
    fn tools(self) -> PathBuf {
        let folder = self.name().to_lowercase();
        workspace::root().join("target/tools").join(folder)
    }

    /// The oldest version that its tool runs on.
    fn version_min(self) -> (u32, u32) {
        match self {
            Self::JavaScript => (20, 0),
            Self::Python => (3, 10),
        }
    }

    /// Installs its tools, unless these very ones are there.
    pub(crate) fn install(self) -> Result<(), Obstacle> {
        self.check_runtime().map_err(Obstacle::Missing)?;
        self.install_tools().map_err(Obstacle::NotInstalled)
    }

    /// That its runtime and package manager are there, and new enough.
    fn check_runtime(self) -> Result<(), String> {
        let (major, minor) = self.version_min();
        let (program, parts) = match self {
            Self::JavaScript => ("node", [["npm", "--version"]]),
            Self::Python => ("python3", [["python3", "-cimport ensurepip, venv"]]),
        };
        let printed = printed(program, "--version").ok_or_else(|| {
            format!("there is no `{program}` (it takes {major}.{minor} or newer)")
        })?;
        if version(&printed).is_none_or(|found| found < (major, minor)) {
            return Err(format!(
                "`{program}` is {}, and it takes {major}.{minor} or newer",
                printed.trim()
            ));
        }
        for [part, argument] in parts {
            if self::printed(part, argument).is_none() {
                return Err(format!(
                    "`{part} {argument}` fails; on Debian: apt-get install npm python3-venv"
                ));
            }
        }
        Ok(())
    }

    fn install_tools(self) -> Result<()> {
        let tools = self.tools();
        let done = tools.join("installed");
        let wanted = self.lock()?;
        if fs::read(&done).is_ok_and(|installed| installed == wanted) {
            return Ok(());
        }
        eprintln!("installing the tools for {} guests", self.name());
        fs::create_dir_all(&tools)
            .with_context(|| format!("failed to create {}", tools.display()))?;
        for name in self.lock_files() {
            fs::copy(self.sources().join(name), tools.join(name))
                .with_context(|| format!("failed to copy {name}"))?;
        }
        let log = tools.join("install.log");
        match self {
            Self::JavaScript => {
                let mut npm = Command::new("npm");
                npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
                group::run_logged(npm.current_dir(&tools), &log)?;
            }
            Self::Python => {
                let mut venv = Command::new("python3");
                venv.args(["-m", "venv", "--clear", "venv"]);
                group::run_logged(venv.current_dir(&tools), &log)?;
                let mut pip = Command::new(tools.join("venv/bin/pip"));
                pip.args(["install", "--disable-pip-version-check", "--require-hashes"])
                    .args([
                        "--only-binary",
                        ":all:",
                        "--requirement",
                        "requirements.txt",
                    ]);
                group::run_logged(pip.current_dir(&tools), &log)?;
            }
        }
        fs::write(&done, wanted).with_context(|| format!("failed to write {}", done.display()))
    }

    fn lock(self) -> Result<Vec<u8>> {
        let files = self.lock_files().iter();
        contents(files.map(|name| self.sources().join(name)).collect())
    }

    /// Builds each of its guests into the folder `published`. Its tools have to be there.
    pub(super) fn build(self, published: &Path) -> Result<()> {
        let guests = folders(&self.sources())?;
        for guest in guests {
            let folder = guest
                .file_name()
                .context("a folder has a name")?
                .to_string_lossy();
            let name = format!("{folder}-{}", self.suffix());
            let is_new = self.build_guest(&guest, &name, published)?;
            let news = if is_new { "built" } else { "unchanged" };
            eprintln!("target/guests/{name}.wasm: {news}");
        }
        Ok(())
    }

    /// Builds one guest if need be; returns whether it was.
    fn build_guest(self, guest: &Path, name: &str, published: &Path) -> Result<bool> {
        let wit = workspace::root().join("wit");
        let mut made_of = files(guest)?;
        made_of.extend(files(&wit)?);
        let mut made_of = contents(made_of)?;
        made_of.extend(self.lock()?);

        let component = published.join(name).with_extension("wasm");
        let stamp = self.tools().join(name).with_extension("made-of");
        if component.exists() && fs::read(&stamp).is_ok_and(|old| old == made_of) {
            return Ok(false);
        }
        let built = self.tools().join(name).with_extension("wasm");
        let log = self.tools().join(name).with_extension("log");
        group::run_logged(&mut self.componentize(guest, &wit, &built), &log)?;
        publish(&built, &component)?;
        fs::write(&stamp, made_of)
            .with_context(|| format!("failed to write {}", stamp.display()))?;
        Ok(true)
    }

    /// The command that makes a component of the guest in a folder.
    fn componentize(self, guest: &Path, wit: &Path, built: &Path) -> Command {
        match self {
            Self::JavaScript => {
                let tool = self.tools().join("node_modules/.bin/componentize-js");
                let mut command = Command::new(tool);
                command
                    .arg(guest.join(MODULE).with_extension(self.suffix()))
                    .arg("--wit")
                    .arg(wit)
                    .args(["--world-name", WORLD, "--out"])
                    .arg(built)
                    // Standard output and error stay: a trap says there what happened.
                    .args(["--disable", "http", "fetch-event", "clocks", "random"]);
                command
            }
            Self::Python => {
                let mut command = Command::new(self.tools().join("venv/bin/componentize-py"));
                command
                    .arg("--wit-path")
                    .arg(wit)
                    // Python's library imports sockets, which no guest gets: within the component they
                    // are replaced, with all of WASI, by functions that trap.
                    .args(["--world", WORLD, "componentize", "--stub-wasi"])
                    .arg("--python-path")
                    .arg(guest)
                    .arg(MODULE)
                    .arg("--output")
                    .arg(built);
                command
            }
        }
    }
}

impl Obstacle {
    /// Tells the user, unless this is an error.
    ///
    /// # Errors
    ///
    /// An interrupt; and with `strict` that tools could not be installed.
    pub(crate) fn report(self, language: Language, strict: bool) -> Result<()> {
        let name = language.name();
        match self {
            Self::Missing(what) => eprintln!("skipped: {name} guests: {what}"),
            Self::NotInstalled(error) if strict || error.is::<interrupt::Interrupted>() => {
                return Err(error);
            }
            Self::NotInstalled(error) => {
                eprintln!("skipped: {name} guests: their tools could not be installed: {error:#}");
            }
        }
        Ok(())
    }
}

/// What a program prints when it is asked, if it ends well.
fn printed(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(text)
}

/// `(20, 11)` of `v20.11.1`, and `(3, 12)` of `Python 3.12.0rc1`.
fn version(printed: &str) -> Option<(u32, u32)> {
    let number = printed.trim().rsplit([' ', 'v']).next()?;
    let mut parts = number.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The folders with a guest in them, in order.
fn folders(sources: &Path) -> Result<Vec<PathBuf>> {
    let mut folders: Vec<_> = entries(sources)?
        .into_iter()
        .filter(|path| path.is_dir() && !is_made_by_tools(path))
        .collect();
    folders.sort();
    if folders.is_empty() {
        bail!("there are no guests in {}", sources.display());
    }
    Ok(folders)
}

/// All files below a folder, in order.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut entries = entries(folder)?;
    entries.sort();
    for path in entries {
        if !path.is_dir() {
            found.push(path);
        } else if !is_made_by_tools(&path) {
            found.extend(files(&path)?);
        }
    }
    Ok(found)
}

/// What somebody who tries things out by hand leaves behind.
fn is_made_by_tools(folder: &Path) -> bool {
    ["node_modules", "__pycache__", "venv"]
        .iter()
        .any(|name| folder.ends_with(name))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = || {
        let entries = fs::read_dir(folder)?;
        entries.map(|entry| Ok(entry?.path())).collect()
    };
    let entries: std::io::Result<_> = read();
    entries.with_context(|| format!("failed to read {}", folder.display()))
}

/// Names and contents of files of this repository, as one text that differs where one of them does.
fn contents(files: Vec<PathBuf>) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    for path in files {
        let bytes =
            fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?;
        let name = path.strip_prefix(workspace::root()).unwrap_or(&path);
        all.extend(format!("{}: {} bytes\n", name.display(), bytes.len()).into_bytes());
        all.extend(bytes);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_both_runtimes_are_understood() {
        assert_eq!(version("v20.11.1\n"), Some((20, 11)));
        assert_eq!(version("Python 3.12.0rc1\n"), Some((3, 12)));
        assert_eq!(version("Python 2.7.18"), Some((2, 7)));
        assert_eq!(version("v"), None);
        assert_eq!(version(""), None);
    }

    #[test]
    fn a_guest_is_made_of_its_sources_and_not_of_what_tools_leave_there() {
        let folder = std::env::temp_dir().join(format!("wasmill-languages-{}", std::process::id()));
        fs::create_dir_all(folder.join("part")).unwrap();
        fs::create_dir_all(folder.join("__pycache__")).unwrap();
        for name in ["guest.py", "part/more.py", "__pycache__/guest.pyc"] {
            fs::write(folder.join(name), name).unwrap();
        }
        let before = contents(files(&folder).unwrap()).unwrap();
        let names = ["guest.py", "part/more.py"].map(|name| folder.join(name));
        assert_eq!(files(&folder).unwrap(), names);
        fs::write(folder.join("part/more.py"), "part/MORE.py").unwrap();
        assert_ne!(contents(files(&folder).unwrap()).unwrap(), before);
        fs::remove_dir_all(&folder).unwrap();
    }
}
