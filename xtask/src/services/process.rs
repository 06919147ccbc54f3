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
    group: u32,
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

    /// Sends `signal` to the process and its group, which it leads, and SIGKILL after `deadline`.
    ///
    /// Waits for all of the group: Elasticsearch's launcher, asked to end while its server starts, ends first.
    ///
    /// # Errors
    ///
    /// When something outlives even that.
    pub(super) fn stop(self, signal: Signal, deadline: Duration) -> Result<()> {
        if !self.is_running() {
            return Ok(());
        }
        for (signal, deadline) in [(signal, deadline), (Signal::Kill, KILL_DEADLINE)] {
            signal.send_to_group(self.id);
            if self.group_ends_within(deadline) {
                return Ok(());
            }
        }
        bail!("process {} does not end", self.id);
    }

    /// As long as there are members, nobody else gets the id of the group.
    fn group_ends_within(self, deadline: Duration) -> bool {
        let end = Instant::now() + deadline;
        while group_is_running(self.id) {
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

fn group_is_running(group: u32) -> bool {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter_map(stat)
        .any(|stat| stat.group == group && !stat.is_zombie)
}

/// Fields 3 (state), 5 (group) and 22 (start time) of `proc_pid_stat(5)`. Field 2 is the program's name in
/// parentheses and may itself contain spaces and parentheses: fields are counted from the last one.
fn parse_stat(line: &str) -> Option<Stat> {
    let (_, fields) = line.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let state = fields.next()?;
    let group = fields.nth(1)?;
    let started = fields.nth(16)?;
    Some(Stat {
        group: group.parse().ok()?,
        is_zombie: matches!(state, "Z" | "X" | "x"),
        started: started.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command};

    const LINE: &str = "18797 (java) S 1 18797 18797 0 -1 4194304 102929 0 3 0 1206 180 0 0 20 0 \
                        103 0 543216 4817616896 81930 18446744073709551615";

    #[test]
    fn state_and_start_are_read_behind_any_name() {
        let plain = parse_stat(LINE).unwrap();
        assert_eq!((plain.group, plain.started), (18_797, 543_216));
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

    fn leader(script: &str) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", script]).process_group(0);
        command.spawn().unwrap()
    }

    #[test]
    fn stopping_waits_for_what_the_process_leaves_behind() {
        // The inner shell outlives the outer one, and the signal.
        let mut child = leader("sh -c 'trap \"\" TERM; sleep 60; sleep 60' & wait");
        let process = Process::with_id(child.id()).unwrap();
        thread::sleep(Duration::from_millis(300));
        process
            .stop(Signal::Terminate, Duration::from_millis(300))
            .unwrap();
        assert!(!group_is_running(child.id()));
        child.wait().unwrap();
    }

    #[test]
    fn a_running_process_is_recalled_and_a_stopped_one_is_not() {
        let file = std::env::temp_dir().join(format!("wasmill-process-{}", std::process::id()));
        assert_eq!(Process::recall(&file).unwrap(), None);

        let mut child = leader("sleep 60");
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
