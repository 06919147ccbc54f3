//! One server: its files, its ports, its process.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::account::Account;
use super::download::Download;
use super::ports;
use super::process::Process;
use crate::signal::Signal;
use crate::tools::Tool;
use crate::{group, interrupt};

/// How long a server may take until it answers.
const START_DEADLINE: Duration = Duration::from_mins(5);

/// What is known of a server beforehand.
pub(super) struct Facts {
    /// Its name, and that of its folder.
    pub(super) name: &'static str,
    /// The environment variable that names another server to use instead.
    pub(super) variable: &'static str,
    /// The one that the shipped pipeline takes its address from, where it needs it.
    pub(super) pipeline_variable: Option<&'static str>,
    /// How many ports it listens on.
    pub(super) ports: usize,
    /// What must be on the machine.
    pub(super) needs: &'static [Tool],
    /// What comes from Maven Central.
    pub(super) download: Option<Download>,
    /// What makes it end in good order.
    pub(super) stop_signal: Signal,
    /// What makes it end as in a crash.
    pub(super) crash_signal: Signal,
    /// How long either may take.
    pub(super) stop_deadline: Duration,
}

/// A kind of server.
pub(super) trait Server {
    /// What is known beforehand.
    fn facts(&self) -> &'static Facts;

    /// Writes settings, creates the data if there is none, and returns what to run.
    fn prepare(&self, home: &Home, account: &Account, ports: &[u16]) -> Result<Command>;

    /// Where clients find it.
    fn address(&self, ports: &[u16]) -> String;

    /// Asks whether it serves clients.
    fn probe(&self, address: &str) -> Result<()>;
}

/// A server's own folder, and that of its downloaded files.
pub(super) struct Home {
    pub(super) path: PathBuf,
    pub(super) dist: PathBuf,
}

impl Home {
    /// The folders of the server with these `facts`.
    pub(super) fn new(services: &Path, facts: &Facts) -> Self {
        let dist = services.join("dist");
        Self {
            path: services.join(facts.name),
            dist: match &facts.download {
                Some(download) => download.path(&dist),
                None => dist,
            },
        }
    }

    /// Writes a file of settings and returns its path.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
        Ok(path)
    }

    /// What the server says.
    pub(super) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Its process, if it runs.
    pub(super) fn process(&self) -> Result<Option<Process>> {
        Process::recall(&self.path.join("process"))
    }

    /// Its ports, none if it was never started.
    pub(super) fn ports(&self) -> Result<Vec<u16>> {
        ports::remembered(&self.path.join("ports"))
    }
}

/// Starts a server that does not run, in a process group of its own (Ctrl-C in this terminal does not reach it).
/// It is not ready yet: see [`wait_until_ready`].
pub(super) fn start(
    server: &dyn Server,
    home: &Home,
    account: &Account,
    taken: &mut BTreeSet<u16>,
) -> Result<()> {
    let facts = server.facts();
    fs::create_dir_all(&home.path)
        .with_context(|| format!("failed to create {}", home.path.display()))?;
    let ports = ports::reserve(&home.path.join("ports"), facts.ports, taken)?;
    let mut command = server.prepare(home, account, &ports)?;
    account.own(&home.path)?;
    let (stdout, stderr) = group::log_file(&home.log())?;
    let child = command
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .process_group(0)
        .spawn()
        .with_context(|| format!("failed to start `{}`", group::render(&command)))?;
    Process::with_id(child.id())?.remember(&home.path.join("process"))
}

/// Waits until a server that was started serves clients.
///
/// # Errors
///
/// When it ends, or takes longer than [`START_DEADLINE`]: with the end of its log.
pub(super) fn wait_until_ready(server: &dyn Server, home: &Home) -> Result<()> {
    let name = server.facts().name;
    let address = server.address(&home.ports()?);
    let end = Instant::now() + START_DEADLINE;
    loop {
        interrupt::check()?;
        // Looked at first: the process that ends between the two is found the next time.
        let is_running = home.process()?.is_some();
        let problem = match server.probe(&address) {
            Ok(()) if is_running => return Ok(()),
            Ok(()) => "another process answers on its port".to_owned(),
            Err(problem) => format!("{problem:#}"),
        };
        if !is_running || Instant::now() >= end {
            let log = home.log();
            let how = if is_running {
                "does not get ready"
            } else {
                "ended"
            };
            bail!(
                "{name} {how} ({problem}); the last lines of {}:\n{}",
                log.display(),
                group::tail(&log)
            );
        }
        interrupt::sleep(Duration::from_millis(200));
    }
}

/// Stops a server; returns whether it was running.
pub(super) fn stop(server: &dyn Server, home: &Home) -> Result<bool> {
    let facts = server.facts();
    let Some(process) = home.process()? else {
        return Ok(false);
    };
    process
        .stop(facts.stop_signal, facts.stop_deadline)
        .with_context(|| format!("failed to stop {}", facts.name))?;
    Ok(true)
}
