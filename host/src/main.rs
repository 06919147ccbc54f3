//! The `wasmill` command.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use wasmill::cli::Command;

fn main() -> ExitCode {
    // What is wrong with the command line is reported here, and ends with exit code 2.
    let command = Command::parse();
    match start(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where stderr is closed, the exit code has to say it.
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(command: Command) -> anyhow::Result<()> {
    command.install_log()?;
    command.run()
}
