//! What can go wrong, by name.

/// How it misbehaves. The names in the config are those of [`Mode::from_name`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    /// Not at all.
    Behave,
    /// Panics, which is a trap.
    Trap,
    /// Never returns.
    Spin,
    /// Calls itself without end.
    Recurse,
    /// Allocates until something stops it.
    Allocate,
    /// Returns 32 MiB.
    Flood,
    /// Returns one row too few.
    Short,
    /// Returns one row too many.
    Long,
    /// Returns a column that its contract does not have.
    Extra,
    /// Returns no column at all.
    Bare,
    /// Returns values of another layout than its contract says.
    Types,
    /// Returns a selection that falls.
    Fall,
    /// Selects a row that it also rejects.
    Both,
    /// Selects a row that does not exist.
    Beyond,
    /// Returns a selection where its contract says that it makes none.
    Unasked,
    /// Rejects a row that does not exist.
    Stranger,
    /// Rejects a row twice.
    Twice,
    /// Returns strings whose offsets point past the end.
    Offsets,
    /// Returns strings whose offsets fall.
    OffsetsFall,
    /// Returns strings whose first offset is not 0.
    OffsetsStart,
    /// Returns text that is not UTF-8.
    Mojibake,
    /// Cuts a character in two, so that the whole is UTF-8 and no value is.
    Halves,
    /// Says of too few rows whether they are there.
    Validity,
    /// Says of each row something else than that it is there or not.
    Garbage,
    /// Leaves out a value that its contract says is always there.
    Null,
    /// Refuses the whole batch with an error.
    Refuse,
    /// Sleeps for an hour.
    Sleep,
    /// Prints without end.
    Print,
    /// Prints one line without end.
    Mumble,
    /// Rejects the poisoned rows one by one, as a good guest does.
    Reject,
    /// Rejects them with a reason of a MiB that wants to clear the screen of whoever reads it.
    Rant,
    /// Refuses its configuration.
    Unconfigurable,
    /// Needs a column that no stream has.
    Greedy,
    /// Exits the process.
    Exit,
    /// Opens a file and reads a variable, and panics as there is none.
    Burgle,
    /// Reads the clock, the environment, a file and the random seed, and says what it saw.
    Look,
}

impl Mode {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "behave" => Self::Behave,
            "trap" => Self::Trap,
            "spin" => Self::Spin,
            "recurse" => Self::Recurse,
            "allocate" => Self::Allocate,
            "flood" => Self::Flood,
            "short" => Self::Short,
            "long" => Self::Long,
            "extra" => Self::Extra,
            "bare" => Self::Bare,
            "types" => Self::Types,
            "fall" => Self::Fall,
            "both" => Self::Both,
            "beyond" => Self::Beyond,
            "unasked" => Self::Unasked,
            "stranger" => Self::Stranger,
            "twice" => Self::Twice,
            "offsets" => Self::Offsets,
            "offsets-fall" => Self::OffsetsFall,
            "offsets-start" => Self::OffsetsStart,
            "mojibake" => Self::Mojibake,
            "halves" => Self::Halves,
            "validity" => Self::Validity,
            "garbage" => Self::Garbage,
            "null" => Self::Null,
            "refuse" => Self::Refuse,
            "sleep" => Self::Sleep,
            "print" => Self::Print,
            "mumble" => Self::Mumble,
            "reject" => Self::Reject,
            "rant" => Self::Rant,
            "unconfigurable" => Self::Unconfigurable,
            "greedy" => Self::Greedy,
            "exit" => Self::Exit,
            "burgle" => Self::Burgle,
            "look" => Self::Look,
            _ => return None,
        })
    }

    /// Whether `doubled` is text in this mode.
    pub(crate) fn returns_text(self) -> bool {
        matches!(
            self,
            Self::Offsets
                | Self::OffsetsFall
                | Self::OffsetsStart
                | Self::Mojibake
                | Self::Halves
                | Self::Look
        )
    }

    /// Whether the contract says that rows may be left out and repeated.
    pub(crate) fn selects(self) -> bool {
        matches!(self, Self::Fall | Self::Both | Self::Beyond)
    }
}
