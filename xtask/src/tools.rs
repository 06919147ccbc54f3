//! Programs that servers and checks need: found, or installed from Debian, or named exactly.

use std::env;
use std::fs;
use std::ops::RangeInclusive;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::group;

/// Kafka 4 needs 17; Elasticsearch 8 needs the security manager, which is gone from 24.
const JAVA_VERSIONS: RangeInclusive<u32> = 17..=23;

/// The oldest PostgreSQL that wasmill is tested with.
const POSTGRES_VERSION_MIN: u32 = 15;

/// Something that a server or a check cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tool {
    /// The Java runtime.
    Java,
    /// Apache Maven, for what is on Maven Central.
    Maven,
    /// The PostgreSQL server and `psql`.
    Postgres,
    /// Checks compose files, without an engine.
    DockerCompose,
    /// Makes a minimal Debian.
    Mmdebstrap,
    /// The shell of SQLite, which the tutorial looks into tables with.
    Sqlite,
    /// Counts instructions.
    Valgrind,
}

impl Tool {
    /// Debian packages that bring it, best first: releases differ in which of them they have.
    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Java => &["openjdk-17-jre-headless", "openjdk-21-jre-headless"],
            Self::Maven => &["maven"],
            Self::Postgres => &["postgresql-15", "postgresql"],
            Self::DockerCompose => &["docker-compose"],
            Self::Mmdebstrap => &["mmdebstrap"],
            Self::Sqlite => &["sqlite3"],
            Self::Valgrind => &["valgrind"],
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::Java => "Java 17 to 23",
            Self::Maven => "Maven (`mvn`)",
            Self::Postgres => "PostgreSQL 15 or newer (`initdb`, `postgres`, `psql`)",
            Self::DockerCompose => "docker-compose, to check the compose file",
            Self::Mmdebstrap => "mmdebstrap",
            Self::Sqlite => "the shell of SQLite (`sqlite3`)",
            Self::Valgrind => "valgrind, to count instructions",
        }
    }

    fn is_there(self) -> bool {
        match self {
            Self::Java => java_home().is_ok(),
            Self::Maven => maven().is_ok(),
            Self::Postgres => postgres("initdb").is_ok() && postgres("psql").is_ok(),
            Self::DockerCompose => docker_compose().is_ok(),
            Self::Mmdebstrap => on_path("mmdebstrap").next().is_some(),
            Self::Sqlite => on_path("sqlite3").next().is_some(),
            Self::Valgrind => on_path("valgrind").next().is_some(),
        }
    }
}

/// Sees to it that all of `tools` are there.
///
/// # Errors
///
/// Names the packages to install, unless we are root on Debian: then they are installed.
pub(crate) fn ensure(tools: &[Tool]) -> Result<()> {
    let mut missing: Vec<_> = tools.iter().filter(|tool| !tool.is_there()).collect();
    missing.sort();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    for tool in &missing {
        eprintln!("missing: {}", tool.description());
    }
    let can_install = is_root()? && Path::new("/etc/debian_version").exists();
    if can_install {
        apt_get(&["update"])?;
    }
    let packages: Vec<_> = missing
        .iter()
        .map(|tool| available(tool.packages()))
        .collect();
    let install = [
        &["install", "--yes", "--no-install-recommends"],
        &packages[..],
    ]
    .concat();
    if !can_install {
        bail!(
            "programs are missing; on Debian: sudo apt-get {}",
            install.join(" ")
        );
    }
    apt_get(&install)?;
    match missing.iter().find(|tool| !tool.is_there()) {
        Some(tool) => bail!("{} is still missing after that", tool.description()),
        None => Ok(()),
    }
}

/// Whether we are root.
pub(crate) fn is_root() -> Result<bool> {
    let ourselves = fs::metadata("/proc/self").context("failed to read /proc/self")?;
    Ok(ourselves.uid() == 0)
}

/// The folder above `bin/java` of a Java that all servers run on.
pub(crate) fn java_home() -> Result<PathBuf> {
    let from_variable = env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin/java"));
    let installed = entries("/usr/lib/jvm").map(|home| home.join("bin/java"));
    let binary = from_variable
        .into_iter()
        .chain(on_path("java"))
        .chain(installed)
        .find(|java| java_version(java).is_some_and(|version| JAVA_VERSIONS.contains(&version)))
        .context("there is no Java 17 to 23")?;
    // `/usr/bin/java` is a link to a link to the real one.
    let binary = binary.canonicalize()?;
    let home = binary.parent().and_then(Path::parent);
    Ok(home.context("java is not in a bin folder")?.to_owned())
}

/// `mvn`.
pub(crate) fn maven() -> Result<PathBuf> {
    on_path("mvn").next().context("there is no mvn")
}

/// A program of PostgreSQL: from the PATH, or from where Debian keeps those of the server.
pub(crate) fn postgres(program: &str) -> Result<PathBuf> {
    let mut debian: Vec<_> = entries("/usr/lib/postgresql").collect();
    // The oldest that will do is the one that everybody else tests with.
    debian.sort_by_key(|folder| postgres_folder_version(folder));
    debian
        .into_iter()
        .filter(|folder| {
            postgres_folder_version(folder).is_some_and(|version| version >= POSTGRES_VERSION_MIN)
        })
        .map(|folder| folder.join("bin").join(program))
        .find(|path| is_executable(path))
        .or_else(|| on_path(program).find(|path| postgres_version(path) >= POSTGRES_VERSION_MIN))
        .with_context(|| format!("there is no {program} of PostgreSQL {POSTGRES_VERSION_MIN}"))
}

/// `docker-compose`.
pub(crate) fn docker_compose() -> Result<PathBuf> {
    let found = on_path("docker-compose").next();
    found.context("there is no docker-compose")
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    eprintln!("running: apt-get {}", arguments.join(" "));
    let log = env::temp_dir().join("wasmill-apt-get.log");
    let mut command = Command::new("apt-get");
    command
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive");
    group::run_logged(&mut command, &log)
}

/// The first of `packages` that apt can install here, or the first.
fn available(packages: &[&'static str]) -> &'static str {
    let installable = |package: &&&str| {
        let shown = Command::new("apt-cache").args(["show", package]).output();
        shown.is_ok_and(|shown| shown.status.success())
    };
    packages.iter().find(installable).unwrap_or(&packages[0])
}

fn on_path(program: &str) -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = env::split_paths(&path).collect();
    folders
        .into_iter()
        .map(move |folder| folder.join(program))
        .filter(|path| is_executable(path))
}

fn entries(folder: &str) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn java_version(java: &Path) -> Option<u32> {
    let output = Command::new(java).arg("-version").output().ok()?;
    parse_java_version(&String::from_utf8_lossy(&output.stderr))
}

/// `17` of `openjdk version "17.0.15" 2025-04-15`, and `8` of `java version "1.8.0_292"`.
fn parse_java_version(text: &str) -> Option<u32> {
    let version = text.split('"').nth(1)?;
    let mut parts = version.split(['.', '-', '+']);
    match parts.next()?.parse().ok()? {
        1 => parts.next()?.parse().ok(),
        major => Some(major),
    }
}

fn postgres_folder_version(folder: &Path) -> Option<u32> {
    folder.file_name()?.to_str()?.parse().ok()
}

/// The version of a PostgreSQL program, 0 if it does not tell.
fn postgres_version(program: &Path) -> u32 {
    let output = Command::new(program).arg("--version").output();
    output
        .ok()
        .and_then(|output| parse_postgres_version(&String::from_utf8_lossy(&output.stdout)))
        .unwrap_or(0)
}

/// `15` of `initdb (PostgreSQL) 15.16 (Debian 15.16-0+deb12u1)`.
fn parse_postgres_version(text: &str) -> Option<u32> {
    let version = text.split_once("(PostgreSQL) ")?.1;
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_versions_old_and_new_are_understood() {
        let of = parse_java_version;
        assert_eq!(
            of("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK"),
            Some(17)
        );
        assert_eq!(of("openjdk version \"21\" 2023-09-19"), Some(21));
        assert_eq!(of("openjdk version \"24-ea\" 2025-03-18"), Some(24));
        assert_eq!(of("java version \"1.8.0_292\""), Some(8));
        assert_eq!(of("command not found"), None);
        assert_eq!(of("version \"x\""), None);
    }

    #[test]
    fn postgres_versions_are_understood() {
        let of = parse_postgres_version;
        assert_eq!(of("initdb (PostgreSQL) 15.16 (Debian 15.16-0)"), Some(15));
        assert_eq!(of("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(of("psql 9"), None);
    }

    #[test]
    fn a_program_is_found_on_the_path_only_if_it_can_be_run() {
        assert!(on_path("sh").next().is_some());
        assert_eq!(on_path("no-such-program").next(), None);
        assert!(!is_executable(Path::new("/etc/passwd")));
        assert!(!is_executable(Path::new("/tmp")));
    }
}
