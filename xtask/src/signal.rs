//! Signals to other processes.

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Stop, as Ctrl-C says it.
    Interrupt,
    /// Stop in good order.
    Terminate,
    /// End at once; cannot be caught.
    Kill,
}

impl Signal {
    /// Sends it to one process. That the process has ended meanwhile is no error.
    pub(crate) fn send(self, process: u32) {
        self.kill(process.cast_signed());
    }

    /// Sends it to all processes of a group that `leader` leads.
    pub(crate) fn send_to_group(self, leader: u32) {
        self.kill(-leader.cast_signed());
    }

    fn kill(self, target: i32) {
        // 0 is our own group, and -1 everybody.
        assert!(
            !(-1..=1).contains(&target),
            "{target} is not one process or group"
        );
        let number = match self {
            Self::Interrupt => libc::SIGINT,
            Self::Terminate => libc::SIGTERM,
            Self::Kill => libc::SIGKILL,
        };
        // SAFETY: takes two integers and touches no memory of ours.
        // The only error that can happen to us is that nobody is left to hear it.
        let _ = unsafe { libc::kill(target, number) };
    }
}
