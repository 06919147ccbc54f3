//! `wasmill completions`: what a shell needs to complete the command line.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Command, terminal};

/// What `wasmill completions` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
        wasmill completions bash > ~/.local/share/bash-completion/completions/wasmill\n  \
        wasmill completions zsh > ~/.zfunc/_wasmill\n  \
        wasmill completions fish > ~/.config/fish/completions/wasmill.fish")]
pub(super) struct Args {
    /// Which shell
    shell: Shell,
}

/// Prints the script for the shell.
///
/// # Errors
///
/// When nobody reads it.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let mut command = Command::command();
    let name = command.get_name().to_owned();
    // To a buffer first: clap_complete panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    terminal::print(&String::from_utf8_lossy(&script))
}
