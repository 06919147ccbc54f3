//! What a running pipeline tells of itself, asked as people, probes and Prometheus ask.

mod documents;
mod outage;
mod running;
mod starting;

use std::net::SocketAddr;
use std::process::{Command, Output};

use super::support::http;
use super::support::job::Job;
use super::support::running::{Running, ask_until};

/// Starts a run whose log goes to a file in the job's folder.
fn start(job: &Job, change: impl FnOnce(&mut Command)) -> Running {
    Running::start(job, "wasmill.log", change)
}

/// `wasmill status` with these arguments, in the job's folder.
fn status(job: &Job, arguments: &[&str]) -> Output {
    let mut command = job.wasmill(&["status"]);
    command.args(arguments).output().expect("the binary starts")
}

fn nobody_answers(address: SocketAddr) -> bool {
    http::request(address, "GET", "/healthz").is_err()
}
