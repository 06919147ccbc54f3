//! `cargo xtask test`: every check, the fast ones first. CI runs this and nothing else.
//!
//! Every compilation is of the whole workspace: a list of packages would change which features their
//! dependencies have, and compile those a second time.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::services::Session;
use crate::workspace::cargo;
use crate::{bench, docker, group, guests, guides, interrupt};

use outcome::Outcome;

mod outcome;

/// `cargo xtask test …`
#[derive(Args)]
pub(crate) struct Options {
    /// Run only these kinds of checks, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND")]
    only: Vec<Kind>,

    /// Leave out guests in JavaScript and Python, which take some minutes
    #[arg(long)]
    rust_only: bool,

    /// Handed to the test programs: parts of names, `--nocapture` and the like
    #[arg(last = true, value_name = "FILTER")]
    filters: Vec<String>,
}

/// A kind of check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Format and lints
    Lint,
    /// Compose file and Dockerfile, as far as that goes without an engine
    Docker,
    /// Tests inside the modules
    Unit,
    /// Documentation and the examples in it
    Doc,
    /// Tests that need guests and servers
    It,
    /// What README and tutorial tell their readers to do, as written
    Guides,
    /// Instructions on the hot path, against those that were recorded
    Instructions,
}

/// Runs the checks, up to the first that fails. The last line counts the tests; a check that fails without a
/// failed test (a lint, code that does not compile) counts as one.
pub(crate) fn run(options: &Options, services_dir: &Path) -> ExitCode {
    let begin = Instant::now();
    let mut checks = Checks {
        options,
        outcome: Outcome::default(),
    };
    let result = checks.run(services_dir);
    let code = match &result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<interrupt::Interrupted>() => ExitCode::from(interrupt::EXIT_CODE),
        Err(_) => ExitCode::FAILURE,
    };
    if let Err(error) = result {
        eprintln!("\nerror: {error:#}");
    }
    eprintln!("\nall of it took {:.0} s", begin.elapsed().as_secs_f64());
    println!("{}", checks.outcome);
    code
}

struct Checks<'a> {
    options: &'a Options,
    outcome: Outcome,
}

impl Checks<'_> {
    fn run(&mut self, services_dir: &Path) -> Result<()> {
        if self.wants(Kind::Lint) {
            self.step("format", "cargo fmt --all", |_| {
                group::run(&mut cargo(["fmt", "--all", "--check"]))
            })?;
            let clippy = "cargo clippy --workspace --all-targets -- -D warnings";
            self.step("clippy", clippy, |_| group::run(&mut cargo_line(clippy)))?;
        }
        if self.wants(Kind::Docker) {
            let repeat = "cargo xtask test --only docker";
            self.step("Docker files", repeat, |checks| {
                checks.outcome.passed += docker::check()?;
                Ok(())
            })?;
        }
        if self.wants(Kind::Unit) {
            self.step("unit tests", "cargo xtask test --only unit", |checks| {
                checks.test(cargo(["test", "--workspace", "--lib", "--bins"]))
            })?;
        }
        if self.wants(Kind::Doc) {
            let repeat = "cargo xtask test --only doc";
            self.step("documentation", repeat, |_| {
                let mut doc = cargo(["doc", "--workspace", "--no-deps"]);
                group::run(doc.env("RUSTDOCFLAGS", "-D warnings"))
            })?;
            self.step("examples in the documentation", repeat, |checks| {
                checks.test(cargo(["test", "--workspace", "--doc"]))
            })?;
        }
        if self.wants(Kind::It) {
            self.integrate(services_dir)?;
        }
        if self.wants(Kind::Guides) {
            let repeat = "cargo xtask test --only guides";
            self.step("README and tutorial", repeat, |checks| {
                checks.outcome.passed += guides::run(checks.options.rust_only)?;
                Ok(())
            })?;
        }
        if self.wants(Kind::Instructions) {
            let repeat = "cargo xtask test --only instructions";
            self.step("instructions", repeat, |checks| {
                checks.outcome.passed += bench::instructions::check()?;
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The tests that need guests and servers.
    fn integrate(&mut self, services_dir: &Path) -> Result<()> {
        self.step("guests", "cargo xtask guests", |_| guests::build())?;
        if !self.options.rust_only {
            let repeat = "cargo xtask guests --all";
            self.step("guests in other languages", repeat, |_| {
                guests::build_other_languages(false)
            })?;
        }
        // They are not among the integration tests, as the bench is a program and no library.
        if self.options.filters.is_empty() {
            let line = "cargo test --workspace --bin wasmill-bench -- --ignored";
            self.step("components of the bench", line, |checks| {
                checks.test(cargo_line(line))
            })?;
        }
        let mut session = None;
        self.step("servers", "cargo xtask services up", |_| {
            session = Some(Session::open(services_dir)?);
            Ok(())
        })?;
        let session = session.context("the servers are not there")?;
        self.step(
            "integration tests",
            "cargo xtask test --only it",
            |checks| {
                let mut test = cargo(["test", "--workspace", "--test", "it"]);
                for address in session.addresses() {
                    test.env(address.variable, &address.value);
                }
                for (variable, path) in session.programs() {
                    test.env(variable, path);
                }
                checks.test(test)
            },
        )?;
        session.close()
    }

    fn wants(&self, kind: Kind) -> bool {
        self.options.only.is_empty() || self.options.only.contains(&kind)
    }

    /// Runs one check between two lines that name it. `repeat` is what the user types to run it alone.
    fn step(
        &mut self,
        name: &str,
        repeat: &str,
        check: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        eprintln!("\n── {name}");
        let begin = Instant::now();
        let failed_before = self.outcome.failed;
        let result = check(self);
        let seconds = begin.elapsed().as_secs_f64();
        match result {
            Ok(()) => {
                eprintln!("── {name}: fine ({seconds:.1} s)");
                Ok(())
            }
            Err(error) if error.is::<interrupt::Interrupted>() => Err(error),
            Err(error) => {
                if self.outcome.failed == failed_before {
                    self.outcome.failed += 1;
                }
                eprintln!("── {name}: failed ({seconds:.1} s)");
                Err(error.context(format!("{name} failed; to repeat it alone: {repeat}")))
            }
        }
    }

    /// Runs test programs, with the user's filters, and counts their tests.
    fn test(&mut self, mut command: Command) -> Result<()> {
        if !self.options.filters.is_empty() {
            command.arg("--").args(&self.options.filters);
        }
        let status = group::run_lines(&mut command, |line| {
            println!("{line}");
            self.outcome.read(line);
        })?;
        if !status.success() {
            bail!("`{}` failed ({status})", group::render(&command));
        }
        Ok(())
    }
}

/// The command that a line says, which begins with `cargo`.
fn cargo_line(line: &str) -> Command {
    let mut command = cargo([]);
    command.args(line.split_whitespace().skip(1));
    command
}
