//! Stopping cargo, with all that it has started.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// Stops a build that is under way, and any that would come after. Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Stopper {
    /// whether what is started makes a group of its own, which a Ctrl-C in the terminal does not reach
    is_apart: bool,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    is_stopped: bool,
    /// the group of what runs, as long as its leader was not waited for: until then nobody else has
    /// this number
    group: Option<Pid>,
}

impl Stopper {
    /// For a build that ends with the terminal's signals, as this process does.
    pub(in crate::cli) fn with_the_terminal() -> Self {
        Self {
            is_apart: false,
            state: Arc::default(),
        }
    }

    /// For builds that end when they are told to.
    pub(in crate::cli) fn apart() -> Self {
        Self {
            is_apart: true,
            state: Arc::default(),
        }
    }

    /// Starts a program, unless builds are stopped.
    pub(super) fn start(&self, command: &mut Command) -> io::Result<Child> {
        if !self.is_apart {
            return command.spawn();
        }
        let mut state = self.lock();
        if state.is_stopped {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "it was stopped"));
        }
        let child = command.process_group(0).spawn()?;
        state.group = Some(Pid::from_raw(child.id() as i32));
        Ok(child)
    }

    /// Waits for a program that has closed its output, as it does at its end.
    pub(super) fn wait(&self, child: &mut Child) -> io::Result<ExitStatus> {
        self.lock().group = None;
        child.wait()
    }

    /// Stops what runs and what would be started from now on.
    pub(in crate::cli) fn stop(&self) {
        let mut state = self.lock();
        state.is_stopped = true;
        if let Some(group) = state.group.take() {
            // It may have ended by itself just now.
            let _ = killpg(group, Signal::SIGTERM);
        }
    }

    /// Whether it was told to stop.
    pub(in crate::cli) fn is_stopped(&self) -> bool {
        self.lock().is_stopped
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::Stdio;

    use super::*;

    #[test]
    fn a_stop_ends_what_runs_with_its_children_and_lets_nothing_begin() {
        let stopper = Stopper::apart();
        let mut shell = Command::new("sh");
        // The second one holds the output open until it ends, too.
        shell.args(["-c", "sleep 600 & echo started; wait"]);
        let mut child = stopper.start(shell.stdout(Stdio::piped())).unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut said = [0; 8];
        stdout.read_exact(&mut said).unwrap();
        stopper.stop();
        assert_eq!(stdout.read(&mut said).unwrap(), 0);
        assert!(!stopper.wait(&mut child).unwrap().success());
        let refused = stopper.start(&mut Command::new("true")).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::Interrupted);
    }
}
