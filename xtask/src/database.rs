//! A database of our own on the servers, asked by `psql`: it comes with the server, and a client library
//! would be most of what xtask compiles.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::tools;

/// `psql` reports errors as codes; this one is "undefined table".
const UNDEFINED_TABLE: &str = "42P01";

/// A database on a server.
pub(crate) struct Database {
    psql: PathBuf,
    name: String,
    server_url: String,
    url: String,
}

impl Database {
    /// The database `name` on the server at `server_url`; it need not exist yet.
    pub(crate) fn new(server_url: &str, name: &str) -> Result<Self> {
        let url = with_database(server_url, name);
        Ok(Self {
            psql: tools::postgres("psql")?,
            name: name.to_owned(),
            server_url: server_url.to_owned(),
            url: url.with_context(|| format!("{server_url} is no postgres:// URL"))?,
        })
    }

    /// Where clients find it.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Creates it; returns whether it was missing.
    pub(crate) fn create(&self) -> Result<bool> {
        let exists = format!("SELECT 1 FROM pg_database WHERE datname = '{}'", self.name);
        if !self.psql(&self.server_url, &exists)?.is_empty() {
            return Ok(false);
        }
        self.psql(&self.server_url, &format!("CREATE DATABASE {}", self.name))?;
        Ok(true)
    }

    /// Deletes it, if it is there.
    pub(crate) fn drop(&self) -> Result<()> {
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        self.psql(&self.server_url, &drop).map(|_| ())
    }

    /// The rows of a query, lines of fields with tabs between them; none while a table is missing.
    pub(crate) fn query(&self, statement: &str) -> Result<Option<String>> {
        match self.psql(&self.url, statement) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.to_string().contains(UNDEFINED_TABLE) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Runs a script.
    pub(crate) fn run_file(&self, script: &Path) -> Result<()> {
        self.run(&self.url, ["--file".as_ref(), script.as_os_str()])
            .map(|_| ())
    }

    /// Runs one statement and returns its rows: lines of fields with tabs between them.
    fn psql(&self, url: &str, statement: &str) -> Result<String> {
        self.run(url, ["--command".as_ref(), statement.as_ref()])
    }

    fn run(&self, url: &str, what: [&OsStr; 2]) -> Result<String> {
        let output = Command::new(&self.psql)
            .args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only"])
            .args(["--field-separator", "\t"])
            .args(["--set", "ON_ERROR_STOP=1", "--set", "VERBOSITY=sqlstate"])
            .args(what)
            .arg(url)
            .output()
            .context("failed to run psql")?;
        if !output.status.success() {
            let problem = String::from_utf8_lossy(&output.stderr);
            bail!("psql failed: {}", problem.trim());
        }
        String::from_utf8(output.stdout).context("psql's answer is not UTF-8")
    }
}

/// The same server and settings, another database.
fn with_database(url: &str, name: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let (place, settings) = match rest.split_once('?') {
        Some((place, settings)) => (place, format!("?{settings}")),
        None => (rest, String::new()),
    };
    let server = place.split('/').next()?;
    Some(format!("{scheme}://{server}/{name}{settings}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_of_the_database_changes() {
        let of = |url| with_database(url, "demo").unwrap();
        assert_eq!(
            of("postgres://me:pw@db:5433/x"),
            "postgres://me:pw@db:5433/demo"
        );
        assert_eq!(of("postgres://db"), "postgres://db/demo");
        assert_eq!(
            of("postgresql://db/x?sslmode=require"),
            "postgresql://db/demo?sslmode=require"
        );
        assert_eq!(with_database("host=db user=me", "demo"), None);
    }
}
