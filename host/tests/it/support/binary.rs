//! The binary, run to its end.

use std::path::PathBuf;
use std::process::{Command, Output};

use super::job::free_address;

/// The binary under test: the one that was built with the tests, unless `WASMILL_TEST_BINARY` names
/// another, as an optimised one.
pub(crate) fn program() -> PathBuf {
    let named = std::env::var_os("WASMILL_TEST_BINARY");
    named.map_or_else(|| env!("CARGO_BIN_EXE_wasmill").into(), PathBuf::from)
}

/// The binary, free of what the caller's environment says.
pub(crate) fn wasmill(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasmill"));
    command.args(arguments);
    for variable in [
        "WASMILL_LOG",
        "KAFKA_BROKERS",
        "DATABASE_URL",
        "ELASTICSEARCH_URL",
        "WASMILL_TOKEN",
    ] {
        command.env_remove(variable);
    }
    // Tests run side by side, so none of them may have the address of the shipped pipeline.
    command.env("ADMIN_LISTEN", free_address().to_string());
    command
}

/// Runs it with these arguments.
pub(crate) fn output(arguments: &[&str]) -> Output {
    wasmill(arguments).output().expect("the binary starts")
}

/// What it wrote to stdout.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What it wrote to stderr.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
