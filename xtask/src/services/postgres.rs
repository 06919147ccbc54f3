//! PostgreSQL, with a cluster of its own.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::account::Account;
use super::server::{Facts, Home, Server};
use crate::signal::Signal;
use crate::{group, tools};

/// Enough for tests that run side by side.
const CONNECTIONS_MAX: u32 = 200;

static FACTS: Facts = Facts {
    name: "postgres",
    variable: "WASMILL_TEST_POSTGRES",
    pipeline_variable: Some("DATABASE_URL"),
    ports: 1,
    needs: &[tools::Tool::Postgres],
    download: None,
    // "Fast" shutdown; SIGTERM would wait until the last client has gone.
    stop_signal: Signal::Interrupt,
    // "Immediate" shutdown: after SIGKILL its shared memory would be in the way of the next start.
    crash_signal: Signal::Quit,
    stop_deadline: Duration::from_secs(20),
};

/// The PostgreSQL server.
pub(super) struct Postgres;

impl Server for Postgres {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn prepare(&self, home: &Home, account: &Account, ports: &[u16]) -> Result<Command> {
        let data = home.path.join("data");
        if !data.exists() {
            initialise(home, account)?;
        }
        let mut command = account.command(tools::postgres("postgres")?);
        command.arg("-D").arg(data);
        command.args(["-p", &ports[0].to_string()]);
        command.args(["-c", "listen_addresses=127.0.0.1"]);
        command.args(["-c", "unix_socket_directories="]);
        command.args(["-c", &format!("max_connections={CONNECTIONS_MAX}")]);
        command.current_dir(&home.path);
        Ok(command)
    }

    fn address(&self, ports: &[u16]) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", ports[0])
    }

    fn probe(&self, address: &str) -> Result<()> {
        let output = Command::new(tools::postgres("pg_isready")?)
            .args(["--timeout", "2", "--dbname", address])
            .output()?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stdout).trim());
        }
        Ok(())
    }
}

/// Creates the cluster under another name first, so that an interrupted run leaves nothing that looks done.
/// Anybody on this machine may connect as anybody: the data is made up.
fn initialise(home: &Home, account: &Account) -> Result<()> {
    let (part, data) = (home.path.join("data.part"), home.path.join("data"));
    if part.exists() {
        fs::remove_dir_all(&part)
            .with_context(|| format!("failed to remove {}", part.display()))?;
    }
    account.own(&home.path)?;
    let mut command = account.command(tools::postgres("initdb")?);
    command
        .arg("-D")
        .arg(&part)
        .args(["--username=postgres", "--auth=trust"])
        .args(["--encoding=UTF8", "--no-locale"])
        .current_dir(&home.path);
    group::run_logged(&mut command, &home.path.join("initdb.log"))?;
    fs::rename(&part, &data).with_context(|| format!("failed to put {} in place", data.display()))
}
