//! Child processes in a process group of their own.
//!
//! Ctrl-C reaches only the terminal's foreground group, which is us: children are told by us, with
//! all that they started, and in the order in which things should end.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::interrupt::{self, POLL};
use crate::signal::Signal;

/// How long children get to end after an interrupt.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// How long output may trail behind the end of a process (a grandchild may hold the pipe open).
const TRAILING_OUTPUT: Duration = Duration::from_secs(2);

/// How much of a log an error shows.
const TAIL_LINES: usize = 20;

/// A child and everything that it starts. Dropping it kills them.
pub(crate) struct Group {
    child: Child,
    status: Option<ExitStatus>,
}

impl Group {
    /// Starts `command`, without input.
    pub(crate) fn spawn(command: &mut Command) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| format!("failed to start `{}`", render(command)))?;
        Ok(Self {
            child,
            status: None,
        })
    }

    /// Starts `command` with both outputs in the file `log`.
    pub(crate) fn spawn_logged(command: &mut Command, log: &Path) -> Result<Self> {
        let (stdout, stderr) = log_file(log)?;
        Self::spawn(command.stdout(stdout).stderr(stderr))
    }

    /// How the child ended, if it has.
    pub(crate) fn finished(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.child.try_wait()?;
        }
        Ok(self.status)
    }

    /// Waits for the end; an interrupt ends the group first.
    ///
    /// # Errors
    ///
    /// [`interrupt::Interrupted`].
    fn wait(&mut self) -> Result<ExitStatus> {
        loop {
            if let Some(status) = self.finished()? {
                return Ok(status);
            }
            if interrupt::requested() {
                self.stop(Signal::Interrupt, STOP_DEADLINE)?;
                interrupt::check()?;
            }
            thread::sleep(POLL);
        }
    }

    /// Signals the group and waits; what is left after `deadline` is killed.
    pub(crate) fn stop(&mut self, signal: Signal, deadline: Duration) -> Result<ExitStatus> {
        self.signal(signal);
        let end = Instant::now() + deadline;
        loop {
            if let Some(status) = self.finished()? {
                return Ok(status);
            }
            if Instant::now() >= end {
                self.signal(Signal::Kill);
                let status = self.child.wait()?;
                self.status = Some(status);
                return Ok(status);
            }
            thread::sleep(POLL);
        }
    }

    /// The group's id is the child's, which stays taken until the child has been waited for.
    fn signal(&self, signal: Signal) {
        if self.status.is_none() {
            signal.send_to_group(self.child.id());
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Ok(None) = self.finished() {
            let _ = self.stop(Signal::Kill, Duration::ZERO);
        }
    }
}

/// Runs `command` to its end, its output on ours.
///
/// # Errors
///
/// An exit code other than 0, and [`interrupt::Interrupted`].
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = Group::spawn(command)?.wait()?;
    if !status.success() {
        bail!("`{}` failed ({status})", render(command));
    }
    Ok(())
}

/// Runs `command` and returns what it wrote to stdout; stderr is ours.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let mut text = String::new();
    let status = run_lines(command, |line| {
        text.push_str(line);
        text.push('\n');
    })?;
    if !status.success() {
        bail!("`{}` failed ({status})", render(command));
    }
    Ok(text)
}

/// Runs `command` in silence; on failure the error has the end of its output, which is in `log`.
pub(crate) fn run_logged(command: &mut Command, log: &Path) -> Result<()> {
    let status = Group::spawn_logged(command, log)?.wait()?;
    if !status.success() {
        bail!(
            "`{}` failed ({status}); the last lines of {}:\n{}",
            render(command),
            log.display(),
            tail(log)
        );
    }
    Ok(())
}

/// Runs `command` and hands over each line of its stdout as it comes; stderr is ours.
pub(crate) fn run_lines(
    command: &mut Command,
    mut on_line: impl FnMut(&str),
) -> Result<ExitStatus> {
    let mut group = Group::spawn(command.stdout(Stdio::piped()))?;
    let stdout = group.child.stdout.take().context("stdout is not piped")?;
    let (sender, lines) = mpsc::channel();
    // Ends with the last process that holds the pipe, which may outlive us: nobody joins it.
    thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n') {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let mut output_end = None;
    loop {
        match lines.recv_timeout(POLL) {
            Ok(line) => on_line(String::from_utf8_lossy(&line).trim_end_matches('\r')),
            Err(RecvTimeoutError::Disconnected) => return group.wait(),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if interrupt::requested() {
            return group.wait();
        }
        if let Some(status) = group.finished()? {
            let end = *output_end.get_or_insert_with(|| Instant::now() + TRAILING_OUTPUT);
            if Instant::now() >= end {
                return Ok(status);
            }
        }
    }
}

/// Two handles on a new file at `path`, for stdout and stderr.
pub(crate) fn log_file(path: &Path) -> Result<(File, File)> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("failed to create {}", folder.display()))?;
    }
    let file =
        File::create(path).with_context(|| format!("failed to create {}", path.display()))?;
    Ok((file.try_clone()?, file))
}

/// The last lines of a log, indented.
pub(crate) fn tail(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().collect();
    let first = lines.len().saturating_sub(TAIL_LINES);
    let indented: Vec<_> = lines[first..]
        .iter()
        .map(|line| format!("  {line}"))
        .collect();
    indented.join("\n")
}

/// The command as one would type it.
pub(crate) fn render(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let words = std::iter::once(name).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_of_the_output_is_handed_over() {
        let mut lines = Vec::new();
        let status = run_lines(Command::new("printf").arg("one\\ntwo\\r\\nthree"), |line| {
            lines.push(line.to_owned());
        })
        .unwrap();
        assert!(status.success());
        assert_eq!(lines, ["one", "two", "three"]);
    }

    #[test]
    fn a_grandchild_that_keeps_the_pipe_does_not_keep_us() {
        let start = Instant::now();
        let status = run_lines(
            Command::new("sh").args(["-c", "sleep 30 & echo done"]),
            |_| {},
        )
        .unwrap();
        assert!(status.success());
        assert!(start.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn stopping_ends_grandchildren_too() {
        let mut group = Group::spawn(
            Command::new("sh")
                .args(["-c", "sleep 60 & echo $!; wait"])
                .stdout(Stdio::piped()),
        )
        .unwrap();
        let mut line = String::new();
        let stdout = group.child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let sleeper = Path::new("/proc").join(line.trim()).join("cmdline");
        assert!(!fs::read(&sleeper).unwrap().is_empty());

        group
            .stop(Signal::Terminate, Duration::from_secs(5))
            .unwrap();
        let end = Instant::now() + Duration::from_secs(5);
        // A zombie that init has not yet collected has an empty command line.
        while fs::read(&sleeper).is_ok_and(|text| !text.is_empty()) {
            assert!(Instant::now() < end, "the grandchild still runs");
            thread::sleep(POLL);
        }
    }

    #[test]
    fn what_ignores_the_signal_is_killed_after_the_deadline() {
        let mut group = Group::spawn(
            Command::new("sh")
                .args(["-c", "trap '' TERM; echo ready; while :; do sleep 1; done"])
                .stdout(Stdio::piped()),
        )
        .unwrap();
        let stdout = group.child.stdout.take().unwrap();
        BufReader::new(stdout)
            .read_line(&mut String::new())
            .unwrap();
        let status = group
            .stop(Signal::Terminate, Duration::from_millis(200))
            .unwrap();
        assert!(!status.success());
    }

    #[test]
    fn a_failure_shows_the_end_of_the_log_and_its_path() {
        let log = std::env::temp_dir().join(format!("wasmill-xtask-log-{}", std::process::id()));
        let error = run_logged(
            Command::new("sh").args(["-c", "echo out; echo broken >&2; exit 3"]),
            &log,
        )
        .unwrap_err()
        .to_string();
        fs::remove_file(&log).unwrap();
        assert!(error.contains("broken"), "{error}");
        assert!(error.contains(log.to_str().unwrap()), "{error}");
    }

    #[test]
    fn a_command_is_rendered_as_one_would_type_it() {
        let mut command = Command::new("/usr/bin/cargo");
        command.args(["fmt", "--all"]);
        assert_eq!(render(&command), "cargo fmt --all");
    }
}
