//! One process of the job, and what its log says.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::support::job::{Job, free_address, send_signal, wait_for_exit};

/// A running host. Dropping it kills it.
pub(crate) struct Host {
    child: Child,
    log: PathBuf,
}

/// What a host says of its start, in milliseconds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Start {
    /// the last epoch that was committed before
    pub(crate) epoch: u64,
    /// since the process began
    pub(crate) up: u64,
    pub(crate) load: u64,
    pub(crate) ledger: u64,
    pub(crate) sinks: u64,
    pub(crate) checkpoint: u64,
    pub(crate) source: u64,
}

impl Host {
    /// Starts one, whose log goes to this file of the job.
    pub(crate) fn start(job: &Job, log: &str, workers: u64, once: bool) -> Self {
        let log = job.path(log);
        let mut command = job.wasmill(&["--log-format", "json", "run", "pipeline.toml"]);
        if once {
            command.arg("--once");
        }
        let file = File::create(&log).expect("room for a log");
        let child = command
            // The one before may still have the address.
            .env("ADMIN_LISTEN", free_address().to_string())
            .env("WORKERS", workers.to_string())
            .stdout(if once {
                file.try_clone().unwrap().into()
            } else {
                Stdio::null()
            })
            .stderr(file)
            .spawn()
            .expect("the binary is there");
        Self { child, log }
    }

    /// What it printed.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of ours")
    }

    /// The most memory that it ever had resident, bytes; 0 once it has ended.
    pub(crate) fn memory_peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    }

    pub(crate) fn signal(&self, signal: &str) {
        send_signal(&self.child, signal);
    }

    /// SIGKILL: when it was sent. Returns once the process is no more.
    pub(crate) fn kill(&mut self) -> Instant {
        let now = Instant::now();
        self.child.kill().expect("a child of ours");
        self.child.wait().expect("a child of ours");
        now
    }

    /// Waits for it to end by itself.
    pub(crate) fn wait(&mut self, limit: Duration) -> ExitStatus {
        wait_for_exit(&mut self.child, limit)
    }

    /// What it says of its start, once that is over.
    pub(crate) fn start_times(&self) -> Option<Start> {
        let line = self.line("running")?;
        let number = |field: &str| line[field].as_u64().unwrap_or_default();
        Some(Start {
            epoch: number("epoch"),
            up: number("up_ms"),
            load: number("load_ms"),
            ledger: number("ledger_ms"),
            sinks: number("sinks_ms"),
            checkpoint: number("checkpoint_ms"),
            source: number("source_ms"),
        })
    }

    /// How many records it read again, and how long that took, in milliseconds.
    pub(crate) fn replay(&self) -> Option<(u64, u64)> {
        let line = self.line("all of them were read again: going on live")?;
        Some((line["records"].as_u64()?, line["took_ms"].as_u64()?))
    }

    /// So long after its beginning its first epoch was committed, in milliseconds.
    pub(crate) fn first_commit(&self) -> Option<u64> {
        self.line("the first epoch is committed")?["up_ms"].as_u64()
    }

    fn line(&self, message: &str) -> Option<Value> {
        let log = self.log();
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.into_iter().find(|line| line["message"] == message)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It may have ended, and was waited for then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
