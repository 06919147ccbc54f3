//! What a running pipeline tells of itself, asked as people, probes and Prometheus ask.

mod documents;
mod outage;
mod running;
mod starting;

use std::fs::File;
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::support::http::{self, Answer};
use super::support::job::Job;

/// For what takes seconds on a quiet machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// A run that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a run whose log goes to a file in the job's folder.
fn start(job: &Job, change: impl FnOnce(&mut Command)) -> Running {
    let log = File::create(job.path("wasmill.log")).unwrap();
    let mut command = job.wasmill(&["run", "pipeline.toml", "--log-format", "json"]);
    change(&mut command);
    let child = command.stdout(Stdio::null()).stderr(log).spawn();
    Running(child.expect("the binary was built with the tests"))
}

/// Asks until `found` makes something of the answer.
fn ask_until<T>(job: &Job, path: &str, mut found: impl FnMut(&Answer) -> Option<T>) -> T {
    let started = Instant::now();
    let mut last = None;
    while started.elapsed() < PATIENCE {
        if let Ok(answer) = http::request(job.admin, "GET", path) {
            if let Some(found) = found(&answer) {
                return found;
            }
            last = Some(answer);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{path} said {last:?} in the end; {}", job.log());
}

/// `wasmill status` with these arguments, in the job's folder.
fn status(job: &Job, arguments: &[&str]) -> Output {
    let mut command = job.wasmill(&["status"]);
    command.args(arguments).output().expect("the binary starts")
}

fn nobody_answers(address: SocketAddr) -> bool {
    http::request(address, "GET", "/healthz").is_err()
}
