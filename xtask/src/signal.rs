//! Signals to groups of processes.

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Stop, as Ctrl-C says it.
    Interrupt,
    /// Stop in good order.
    Terminate,
    /// End at once, as far as the process heeds it.
    Quit,
    /// End at once; cannot be caught.
    Kill,
}

impl Signal {
    /// Sends it to all processes of the group that `leader` leads. That they have ended is no error.
    pub(crate) fn send_to_group(self, leader: u32) {
        let leader = leader.cast_signed();
        // 0 is our own group, and 1 would be everybody.
        assert!(leader > 1, "{leader} leads no group of ours");
        let number = match self {
            Self::Interrupt => libc::SIGINT,
            Self::Terminate => libc::SIGTERM,
            Self::Quit => libc::SIGQUIT,
            Self::Kill => libc::SIGKILL,
        };
        // SAFETY: takes two integers and touches no memory of ours.
        // The only error that can happen to us is that nobody is left to hear it.
        let _ = unsafe { libc::kill(-leader, number) };
    }
}
