//! Kafka, PostgreSQL, Elasticsearch and S3 on this machine, without containers.
//!
//! Everything is below one folder (`target/services`): downloads in `dist`, and a folder for each server with
//! its settings, data, log, ports and process. Whatever a run finds there it goes on with, and whatever an
//! interrupted run left half done it does again.
//!
//! # Who stops them
//!
//! `services up` leaves a mark (`kept`): from then on only `services down` stops them. Without it, the last
//! [`Session`] to end stops them, whoever started them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Subcommand;

use crate::{http, interrupt, tools};

use account::Account;
use server::{Home, Server};

pub(crate) use session::Session;

mod account;
mod download;
mod elasticsearch;
mod kafka;
mod kafka_protocol;
mod ports;
mod postgres;
mod process;
mod s3;
mod server;
mod session;

/// How long the ports of a server that has ended may be taken.
const PORTS_DEADLINE: Duration = Duration::from_secs(10);

const ALL: [&dyn Server; 4] = [
    &kafka::Kafka,
    &postgres::Postgres,
    &elasticsearch::Elasticsearch,
    &s3::S3,
];

/// `cargo xtask services …`
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Start what does not run, and leave it running; prints where they are, for `eval "$(…)"`
    Up,
    /// Stop what runs; the data stays
    Down,
    /// Say what runs; exit code 1 unless all of them do
    Status {
        /// Print only `export NAME=address` lines, for `eval "$(…)"`
        #[arg(long)]
        env: bool,
    },
}

/// Runs one of the subcommands on the servers in `folder`.
pub(crate) fn run(command: &Command, folder: &Path) -> Result<ExitCode> {
    let services = Services::new(folder);
    match command {
        Command::Up => {
            let _lock = services.lock()?;
            services.keep(true)?;
            services.start()?;
            print!("{}", exports(&services.addresses()?));
            print!("{}", program_exports(&services.programs()?));
            Ok(ExitCode::SUCCESS)
        }
        Command::Down => {
            let _lock = services.lock()?;
            services.keep(false)?;
            services.stop()?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Status { env } => services.status(*env),
    }
}

/// Where a server is, and what tests call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// `WASMILL_TEST_KAFKA` and the like.
    pub(crate) variable: &'static str,
    /// What it is to the shipped pipeline: `KAFKA_BROKERS`, `DATABASE_URL` or `ELASTICSEARCH_URL`. That
    /// needs no S3.
    pub(crate) pipeline_variable: Option<&'static str>,
    /// `host:port` or a URL.
    pub(crate) value: String,
    /// Whether the variable was set and names a server that is not ours.
    pub(crate) is_foreign: bool,
}

/// The servers in one folder.
struct Services {
    folder: PathBuf,
    /// Whether servers that the environment names are used instead of ours.
    foreign: bool,
}

impl Services {
    fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            foreign: true,
        }
    }

    /// Keeps others from starting or stopping the servers meanwhile.
    fn lock(&self) -> Result<File> {
        let file = self.lock_file("lock")?;
        if file.try_lock().is_err() {
            eprintln!("waiting for another `cargo xtask` that starts or stops the servers");
            file.lock().context("failed to lock the servers")?;
        }
        Ok(file)
    }

    fn lock_file(&self, name: &str) -> Result<File> {
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("failed to create {}", self.folder.display()))?;
        let path = self.folder.join(name);
        File::create(&path).with_context(|| format!("failed to create {}", path.display()))
    }

    /// Whether the servers stay when nobody uses them.
    fn are_kept(&self) -> bool {
        self.folder.join("kept").exists()
    }

    fn keep(&self, keep: bool) -> Result<()> {
        let mark = self.folder.join("kept");
        let done = match keep {
            true => fs::write(&mark, ""),
            false if mark.exists() => fs::remove_file(&mark),
            false => Ok(()),
        };
        done.with_context(|| format!("failed to write {}", mark.display()))
    }

    /// Starts what does not run and waits until all of it serves clients.
    fn start(&self) -> Result<()> {
        // Tests start brokers of their own, also where the shared one is not ours.
        self.install(&[(&kafka::Kafka, self.home(&kafka::Kafka))])?;
        let mut stopped = Vec::new();
        let mut taken = BTreeSet::new();
        for server in ALL {
            let home = self.home(server);
            if let Some(address) = self.foreign(server) {
                reach(&address).with_context(|| format!("{} is set", server.facts().variable))?;
                continue;
            }
            if home.process()?.is_some() {
                taken.extend(home.ports()?);
            } else {
                stopped.push((server, home));
            }
        }
        if stopped.is_empty() {
            return Ok(());
        }
        // Before the downloads: nothing helps if nobody can run here.
        let account = Account::choose(&self.folder)?;
        self.install(&stopped)?;
        let begin = Instant::now();
        for (server, home) in &stopped {
            server::start(*server, home, &account, &mut taken)?;
        }
        let names: Vec<_> = stopped
            .iter()
            .map(|(server, _)| server.facts().name)
            .collect();
        eprintln!("starting {} (about 15 s)", names.join(", "));
        for (server, home) in &stopped {
            server::wait_until_ready(*server, home)?;
            let seconds = begin.elapsed().as_secs_f64();
            eprintln!("{} is ready after {seconds:.1} s", server.facts().name);
        }
        Ok(())
    }

    /// Sees to it that what `servers` need is on this machine.
    fn install(&self, servers: &[(&dyn Server, Home)]) -> Result<()> {
        let dist = self.folder.join("dist");
        let facts = || servers.iter().map(|(server, _)| server.facts());
        let missing: Vec<_> = facts()
            .filter_map(|facts| facts.download.as_ref())
            .filter(|download| !download.is_done(&dist))
            .collect();
        let mut needs: Vec<_> = facts().flat_map(|facts| facts.needs).copied().collect();
        if !missing.is_empty() {
            needs.push(tools::Tool::Maven);
        }
        tools::ensure(&needs)?;
        missing
            .iter()
            .try_for_each(|download| download.fetch(&dist))
    }

    /// Stops what runs, all of it even if one does not stop.
    fn stop(&self) -> Result<()> {
        let mut problem = Ok(());
        // Clients first: nobody is left to complain.
        for server in ALL {
            match server::stop(server, &self.home(server)) {
                Ok(true) => eprintln!("{} is stopped", server.facts().name),
                Ok(false) => {}
                Err(error) => problem = Err(error),
            }
        }
        problem
    }

    fn status(&self, only_exports: bool) -> Result<ExitCode> {
        let mut all_run = true;
        let mut running = Vec::new();
        for server in ALL {
            let address = self.address(server)?;
            let (process, health) = self.health(server, &address)?;
            all_run &= health.is_ok();
            let health =
                health.map_or_else(|problem| format!("{problem:#}"), |()| "healthy".into());
            if !only_exports {
                let name = server.facts().name;
                println!("{name:<14} {process:<12} {:<50} {health}", address.value);
            }
            if process != "stopped" {
                running.push(address);
            }
        }
        if only_exports {
            print!("{}", exports(&running));
            // Without Java nothing of ours runs, and there is nothing to start.
            print!("{}", program_exports(&self.programs().unwrap_or_default()));
        }
        Ok(ExitCode::from(u8::from(!all_run)))
    }

    /// Which process a server is, and whether it serves clients.
    fn health(&self, server: &dyn Server, address: &Address) -> Result<(String, Result<()>)> {
        if address.is_foreign {
            return Ok(("foreign".into(), reach(&address.value)));
        }
        Ok(match self.home(server).process()? {
            Some(process) => (format!("pid {}", process.id), server.probe(&address.value)),
            None => ("stopped".into(), Err(anyhow::anyhow!("stopped"))),
        })
    }

    fn addresses(&self) -> Result<Vec<Address>> {
        ALL.iter().map(|server| self.address(*server)).collect()
    }

    /// What tests need to start servers of their own, by the variables in which they look for it.
    fn programs(&self) -> Result<Vec<(&'static str, String)>> {
        let java = tools::java_home()?.join("bin/java");
        let classes = self.home(&kafka::Kafka).dist.join("*");
        let programs = [
            ("WASMILL_TEST_KAFKA_JAVA", java),
            ("WASMILL_TEST_KAFKA_CLASSPATH", classes),
        ];
        let programs = programs.into_iter().map(|(variable, path)| {
            let path = std::path::absolute(path)?;
            Ok((variable, path.display().to_string()))
        });
        programs.collect()
    }

    fn address(&self, server: &dyn Server) -> Result<Address> {
        let facts = server.facts();
        let foreign = self.foreign(server);
        let is_foreign = foreign.is_some();
        let value = match foreign {
            Some(address) => address,
            None => match self.home(server).ports()? {
                ports if ports.len() == facts.ports => server.address(&ports),
                _ => String::new(),
            },
        };
        Ok(Address {
            variable: facts.variable,
            pipeline_variable: facts.pipeline_variable,
            value,
            is_foreign,
        })
    }

    fn home(&self, server: &dyn Server) -> Home {
        Home::new(&self.folder, server.facts())
    }

    /// The server that the environment names instead of ours.
    fn foreign(&self, server: &dyn Server) -> Option<String> {
        if !self.foreign {
            return None;
        }
        let value = std::env::var(server.facts().variable).ok()?;
        (!value.is_empty()).then_some(value)
    }

    /// Lets a server of ours crash and starts it again, on the ports that it had.
    fn restart(&self, name: &str) -> Result<()> {
        let found = ALL.iter().find(|server| server.facts().name == name);
        let server = *found.with_context(|| format!("there is no server `{name}`"))?;
        let home = self.home(server);
        let ports = home.ports()?;
        if let Some(process) = home.process()? {
            process.stop(server.facts().crash_signal, server.facts().stop_deadline)?;
        }
        // Threads of a process that was killed may hold its sockets a little longer than it is there.
        let end = Instant::now() + PORTS_DEADLINE;
        while !ports::are_free(&ports) && Instant::now() < end {
            interrupt::sleep(interrupt::POLL);
        }
        let account = Account::choose(&self.folder)?;
        server::start(server, &home, &account, &mut BTreeSet::new())?;
        ensure!(home.ports()? == ports, "somebody took the ports of {name}");
        server::wait_until_ready(server, &home)
    }
}

/// Connects to a server that is not ours, where the address tells how: nothing else is known of it.
fn reach(address: &str) -> Result<()> {
    let authority = if address.contains("://") {
        http::authority(address)
    } else {
        address.split(',').next().map(str::to_owned)
    };
    match authority {
        Some(authority) => http::connect(&authority).map(|_| ()),
        None => bail!("{address} has no host and port"),
    }
}

/// Lines for a shell: for the tests, and for the shipped pipeline. Values are quoted: a password may
/// hold anything.
fn exports(addresses: &[Address]) -> String {
    let lines = |address: &Address| {
        let variables = [Some(address.variable), address.pipeline_variable];
        let settings = variables.iter().flatten();
        let settings = settings.map(|variable| assignment(variable, &address.value));
        format!("export{}\n", settings.collect::<String>())
    };
    addresses.iter().map(lines).collect()
}

/// The same for what tests start servers with.
fn program_exports(programs: &[(&'static str, String)]) -> String {
    let lines = programs.iter();
    let lines = lines.map(|(variable, path)| format!("export{}\n", assignment(variable, path)));
    lines.collect()
}

fn assignment(variable: &str, value: &str) -> String {
    format!(" {variable}='{}'", value.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exports_survive_a_shell() {
        let address = |value: &str| Address {
            variable: "WASMILL_TEST_KAFKA",
            pipeline_variable: Some("KAFKA_BROKERS"),
            value: value.to_owned(),
            is_foreign: false,
        };
        let text = exports(&[address("a b'$c;d"), address("plain:1")]);
        let line = text.lines().next().unwrap();
        let output = std::process::Command::new("sh")
            .arg("-c")
            .arg(format!(
                "{line}\necho \"$WASMILL_TEST_KAFKA|$KAFKA_BROKERS\""
            ))
            .output()
            .unwrap();
        assert_eq!(output.stdout, b"a b'$c;d|a b'$c;d\n", "{text}");
        assert_eq!(
            text.lines().nth(1),
            Some("export WASMILL_TEST_KAFKA='plain:1' KAFKA_BROKERS='plain:1'")
        );
    }

    #[test]
    fn names_folders_and_variables_of_servers_differ() {
        let names: BTreeSet<_> = ALL.iter().map(|server| server.facts().name).collect();
        let variables: BTreeSet<_> = ALL.iter().map(|server| server.facts().variable).collect();
        assert_eq!((names.len(), variables.len()), (ALL.len(), ALL.len()));
    }
}
