//! A server's process, recognised again by a later run of ours.
//!
//! A process id alone is not enough: after a crash or a reboot it may belong to somebody else. Together with
//! the time at which the process started it is one process and no other.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::interrupt::POLL;
use crate::signal::Signal;

/// How long a killed process may take to go away.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// One process: its id, and when it started, in clock ticks since boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) id: u32,
    started: u64,
}

/// What `/proc/<id>/stat` says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    /// Dead, but its parent has not asked how.
    is_zombie: bool,
    started: u64,
}

impl Process {
    /// The process that now has this id.
    pub(super) fn with_id(id: u32) -> Result<Self> {
        let stat = stat(id).with_context(|| format!("process {id} ended at once"))?;
        let started = stat.started;
        Ok(Self { id, started })
    }

    /// The process that was written to `file`, if it still runs.
    pub(super) fn recall(file: &Path) -> Result<Option<Self>> {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("failed to read {}", file.display()));
            }
        };
        Ok(Self::parse(&text).filter(|process| process.is_running()))
    }

    /// Writes the process to `file`.
    pub(super) fn remember(self, file: &Path) -> Result<()> {
        fs::write(file, self.render())
            .with_context(|| format!("failed to write {}", file.display()))
    }

    /// Whether this very process still runs.
    pub(super) fn is_running(self) -> bool {
        self.is(stat(self.id))
    }

    /// Sends `signal`, and SIGKILL to the whole group after `deadline`.
    ///
    /// # Errors
    ///
    /// When it outlives even that.
    pub(super) fn stop(self, signal: Signal, deadline: Duration) -> Result<()> {
        if self.is_running() {
            signal.send(self.id);
        }
        if self.ends_within(deadline) {
            return Ok(());
        }
        // It leads its group, see `server::start`; children that it would have stopped go with it.
        Signal::Kill.send_to_group(self.id);
        if self.ends_within(KILL_DEADLINE) {
            return Ok(());
        }
        bail!("process {} does not end", self.id);
    }

    fn ends_within(self, deadline: Duration) -> bool {
        let end = Instant::now() + deadline;
        while self.is_running() {
            if Instant::now() >= end {
                return false;
            }
            thread::sleep(POLL);
        }
        true
    }

    fn is(self, now: Option<Stat>) -> bool {
        now.is_some_and(|stat| stat.started == self.started && !stat.is_zombie)
    }

    fn render(self) -> String {
        format!("{} {}\n", self.id, self.started)
    }

    fn parse(text: &str) -> Option<Self> {
        let (id, started) = text.trim_end().split_once(' ')?;
        Some(Self {
            id: id.parse().ok()?,
            started: started.parse().ok()?,
        })
    }
}

fn stat(id: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
}

/// Fields 3 (state) and 22 (start time) of `proc_pid_stat(5)`. Field 2 is the program's name in
/// parentheses and may itself contain spaces and parentheses: fields are counted from the last one.
fn parse_stat(line: &str) -> Option<Stat> {
    let (_, fields) = line.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let state = fields.next()?;
    let started = fields.nth(18)?;
    Some(Stat {
        is_zombie: matches!(state, "Z" | "X" | "x"),
        started: started.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const LINE: &str = "18797 (java) S 1 18797 18797 0 -1 4194304 102929 0 3 0 1206 180 0 0 20 0 \
                        103 0 543216 4817616896 81930 18446744073709551615";

    #[test]
    fn state_and_start_are_read_behind_any_name() {
        let plain = parse_stat(LINE).unwrap();
        assert_eq!(plain.started, 543_216);
        assert!(!plain.is_zombie);
        assert_eq!(
            parse_stat(&LINE.replace("(java)", "(a) S (b c) d)")),
            Some(plain)
        );
        assert!(parse_stat(&LINE.replace(" S 1", " Z 1")).unwrap().is_zombie);
        assert_eq!(parse_stat("18797 (java) S 1 2"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn another_process_with_the_same_id_is_not_ours() {
        let ours = Process {
            id: 18_797,
            started: 543_216,
        };
        assert!(ours.is(parse_stat(LINE)));
        assert!(!ours.is(parse_stat(&LINE.replace("543216", "543217"))));
        assert!(!ours.is(parse_stat(&LINE.replace(" S 1", " Z 1"))));
        assert!(!ours.is(None));
    }

    #[test]
    fn a_damaged_file_names_no_process() {
        assert_eq!(Process::parse("18797"), None);
        assert_eq!(Process::parse("18797 x"), None);
        let ours = Process { id: 7, started: 9 };
        assert_eq!(Process::parse(&ours.render()), Some(ours));
    }

    #[test]
    fn a_running_process_is_recalled_and_a_stopped_one_is_not() {
        let file = std::env::temp_dir().join(format!("wasmill-process-{}", std::process::id()));
        assert_eq!(Process::recall(&file).unwrap(), None);

        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::with_id(child.id()).unwrap();
        process.remember(&file).unwrap();
        assert_eq!(Process::recall(&file).unwrap(), Some(process));

        process
            .stop(Signal::Terminate, Duration::from_secs(5))
            .unwrap();
        assert_eq!(Process::recall(&file).unwrap(), None);
        child.wait().unwrap();
        fs::remove_file(&file).unwrap();
    }
}
