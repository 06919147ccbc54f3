//! `cargo xtask`: set-up, services, checks and the demo of this repository, in plain Rust.
//!
//! One module a subcommand; below them what they share:
//!
//! - [`workspace`]: where things are, and cargo
//! - [`services`]: Kafka, PostgreSQL and Elasticsearch on this machine
//! - [`group`], [`interrupt`], [`tools`]: child processes, Ctrl-C, programs that must be there
//!
//! Progress goes to stderr, results to stdout.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod bench;
mod demo;
mod docker;
mod guests;
mod guides;
mod soak;
mod test;

mod services;

mod database;
mod group;
mod http;
mod interrupt;
mod signal;
mod tools;
mod workspace;

/// Set-up, services, checks and the demo.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    /// Where the servers live: downloads, settings, data [default: target/services]
    #[arg(long, global = true, value_name = "DIR", env = "WASMILL_SERVICES_DIR")]
    services_dir: Option<PathBuf>,

    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build everything and run the job on generated sales, with a view of it in the terminal
    Demo(demo::Options),
    /// Measure the sales job stage by stage, and print a table
    Bench(bench::Options),
    /// Run the demo for some seconds and draw its view into docs/images/demo.svg
    Screen(demo::screen::Options),
    /// Build the guests for wasm32-wasip2 into target/guests
    Guests(guests::Options),
    /// Execute the Dockerfile without an engine, and try what comes out
    Image(docker::Options),
    /// Real Kafka, PostgreSQL and Elasticsearch on free ports of 127.0.0.1
    #[command(subcommand)]
    Services(services::Command),
    /// Kill, stop and cut off the running sales job at random moments for a long time, and compare
    Soak(soak::Options),
    /// Run every check; the last line counts the tests
    Test(test::Options),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    run(cli).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        if error.is::<interrupt::Interrupted>() {
            return ExitCode::from(interrupt::EXIT_CODE);
        }
        ExitCode::FAILURE
    })
}

fn run(cli: Cli) -> Result<ExitCode> {
    interrupt::listen()?;
    let services_dir = match cli.services_dir {
        Some(dir) => std::path::absolute(dir)?,
        None => workspace::root().join("target/services"),
    };
    match cli.task {
        Task::Demo(options) => demo::run(&options, &services_dir),
        Task::Screen(options) => demo::screen::run(&options).map(|()| ExitCode::SUCCESS),
        Task::Bench(options) => bench::run(&options, &services_dir),
        Task::Guests(options) => guests::run(&options).map(|()| ExitCode::SUCCESS),
        Task::Image(options) => docker::run(&options),
        Task::Services(command) => services::run(&command, &services_dir),
        Task::Soak(options) => soak::run(&options, &services_dir),
        Task::Test(options) => Ok(test::run(&options, &services_dir)),
    }
}
