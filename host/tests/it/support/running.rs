//! A run of a job that goes on in the background, and what it tells of itself meanwhile.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::http::{self, Answer};
use super::job::{Job, send_signal, wait_for_exit};

/// For what takes seconds on a quiet machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// A run that ends with the test.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    /// Starts a run whose log goes to a file of this name in the job's folder.
    pub(crate) fn start(job: &Job, log: &str, change: impl FnOnce(&mut Command)) -> Self {
        let log = File::create(job.path(log)).unwrap();
        let mut command = job.wasmill(&["run", "pipeline.toml", "--log-format", "json"]);
        change(&mut command);
        let child = command.stdout(Stdio::null()).stderr(log).spawn();
        Self(child.expect("the binary was built with the tests"))
    }

    /// Stops it in good order.
    pub(crate) fn stop(&mut self, job: &Job) {
        send_signal(&self.0, "TERM");
        let ended = wait_for_exit(&mut self.0, Duration::from_secs(30));
        assert!(ended.success(), "{ended}: {}", job.log());
    }

    /// Waits for it to give up.
    pub(crate) fn fails(&mut self, job: &Job) {
        let ended = wait_for_exit(&mut self.0, PATIENCE);
        assert_eq!(ended.code(), Some(1), "{}", job.log());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks until `found` makes something of the answer.
pub(crate) fn ask_until<T>(
    job: &Job,
    path: &str,
    mut found: impl FnMut(&Answer) -> Option<T>,
) -> T {
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

/// Waits for a line of the log that `is_it`: what a status shows may be a moment ahead of the log.
pub(crate) fn log_says(job: &Job, what: &str, mut is_it: impl FnMut(&str) -> bool) {
    let started = Instant::now();
    while !job.log().lines().any(&mut is_it) {
        assert!(started.elapsed() < PATIENCE, "{what}: not in {}", job.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Asks for a reload until there is somebody who can do it.
pub(crate) fn reload(job: &Job) -> Answer {
    let started = Instant::now();
    loop {
        match http::request(job.admin, "POST", "/api/reload") {
            Ok(answer) if answer.status != 503 => return answer,
            other => assert!(
                started.elapsed() < Duration::from_mins(1),
                "{other:?}: {}",
                job.log()
            ),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until `/readyz` says that this part is waited for, for a reason with these words in it; the
/// whole reason.
pub(crate) fn waits_for(job: &Job, part: &str, words: &str) -> String {
    ask_until(job, "/readyz", |answer| {
        let answer = answer.json();
        let waiting = answer["waiting_for"].as_array()?;
        let reasons = waiting.iter().filter(|waiting| waiting["part"] == part);
        let mut reasons = reasons.filter_map(|waiting| waiting["reason"].as_str());
        let reason = reasons.find(|reason| reason.contains(words))?;
        Some(reason.to_owned())
    })
}
