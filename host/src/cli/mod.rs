//! The command line: one file a subcommand.
//!
//! Exit codes: 0 when all is well, 2 when the command line is wrong (clap's own), 1 for everything
//! else, a faulty pipeline included.

mod check;
mod dead_letters;
mod demo;
mod generate;
mod reload;
mod rollback;
mod run;
mod status;

// For whoever asks a pipeline that runs.
mod ask;
mod change;
mod target;

// For whoever writes guests.
mod bench;
mod build;
mod dev;
mod inspect;
mod new;
mod subject;
mod test;

mod completions;
mod terminal;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;

use crate::config::{self, Diagnostics, Embedded, Embedding, Look, Pipeline};
use crate::guest::GuestEngine;
use crate::pipeline::Plan;
use crate::telemetry::{Telemetry, TelemetryError};

/// Stream processor: Kafka to PostgreSQL and Elasticsearch, with the logic in sandboxed WebAssembly
#[derive(Debug, Parser)]
#[command(
    name = "wasmill",
    version,
    after_help = "Example:\n  wasmill check pipeline.toml && wasmill run pipeline.toml\n\n\
                  Exit codes: 0 fine, 1 failed (a faulty pipeline too), 2 wrong command line"
)]
pub struct Command {
    /// logging
    #[command(flatten)]
    pub telemetry: Telemetry,

    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Run a pipeline
    Run(run::Args),
    /// Say whether a pipeline is right, without running it
    Check(check::Args),
    /// Run a pipeline with nothing installed, and watch it
    Demo(demo::Args),
    /// Ask a running pipeline how it is
    Status(status::Args),
    /// Have a running pipeline take its files as they are now
    Reload(reload::Args),
    /// Have a running pipeline go back to a former version
    Rollback(rollback::Args),
    /// Look at records that were left out, and send them again
    DeadLetters(dead_letters::Args),
    /// Make a guest to start from
    New(new::Args),
    /// Build the guests of a folder
    Build(build::Args),
    /// Run a pipeline, and build its guests whenever their sources are saved
    Dev(dev::Args),
    /// Run rows through a guest, and show or compare what comes out
    Test(test::Args),
    /// Say what a guest is and does
    Inspect(inspect::Args),
    /// Measure what a guest costs a row
    Bench(bench::Args),
    /// Make synthetic sales
    Generate(generate::Args),
    /// Print what a shell needs to complete the command line
    Completions(completions::Args),
}

impl Command {
    /// Sends the log to stderr, in colours unless the command will have it in a file.
    ///
    /// # Errors
    ///
    /// When another log was installed before.
    pub fn install_log(&self) -> Result<(), TelemetryError> {
        let has_view = matches!(&self.action, Action::Demo(args) if args.has_view());
        self.telemetry.install(has_view)
    }

    /// Does what the command line says.
    ///
    /// # Errors
    ///
    /// Whatever failed, for a person to read. Reports about the pipeline were printed by then.
    pub fn run(self) -> anyhow::Result<()> {
        match self.action {
            Action::Run(args) => run::run(args, None),
            Action::Check(args) => check::run(&args),
            Action::Demo(args) => demo::run(&args),
            Action::Status(args) => status::run(&args),
            Action::Reload(args) => reload::run(&args),
            Action::Rollback(args) => rollback::run(&args),
            Action::DeadLetters(args) => dead_letters::run(args),
            Action::New(args) => new::run(&args),
            Action::Build(args) => build::run(&args),
            Action::Dev(args) => dev::run(args),
            Action::Test(args) => test::run(args),
            Action::Inspect(args) => inspect::run(args),
            Action::Bench(args) => bench::run(args),
            Action::Generate(args) => generate::run(args),
            Action::Completions(args) => completions::run(&args),
        }
    }
}

/// Loads the pipeline at `path` with the variables of this process, and its components. Warnings
/// come back for the caller to print.
///
/// # Errors
///
/// When something does not fit; the reports are on stderr then.
fn plan(path: &Path) -> anyhow::Result<(Pipeline, Plan, Diagnostics)> {
    let (fits, diagnostics) = examine(path)?;
    let (pipeline, plan) = fits.ok_or_else(|| refuse(&diagnostics))?;
    Ok((pipeline, plan, diagnostics))
}

/// The same, with the reports for the caller to print; `None` when something does not fit.
///
/// # Errors
///
/// When there is no engine to load components with.
fn examine(path: &Path) -> anyhow::Result<(Option<(Pipeline, Plan)>, Diagnostics)> {
    tracing::debug!(path = %path.display(), "reading the pipeline");
    let (pipeline, mut diagnostics) = match config::load(path, &environment) {
        Ok(loaded) => loaded,
        Err(diagnostics) => return Ok((None, diagnostics)),
    };
    let plan = fit(&pipeline, &mut diagnostics)?;
    Ok((plan.map(|plan| (pipeline, plan)), diagnostics))
}

/// The same for a run with nothing installed.
///
/// # Errors
///
/// Those of [`plan`]; also when the generated records do not suit the pipeline.
fn plan_embedded(
    path: &Path,
    embedding: &Embedding,
) -> anyhow::Result<(Embedded, Plan, Diagnostics)> {
    tracing::debug!(path = %path.display(), "reading the pipeline");
    let (pipeline, mut diagnostics) =
        config::load_embedded(path, &environment).map_err(|diagnostics| refuse(&diagnostics))?;
    let embedded = config::embed(pipeline, embedding, &mut diagnostics);
    let embedded = embedded.ok_or_else(|| refuse(&diagnostics))?;
    let plan = fit(&embedded.pipeline, &mut diagnostics)?;
    let plan = plan.ok_or_else(|| refuse(&diagnostics))?;
    Ok((embedded, plan, diagnostics))
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Loads the components of a pipeline and fits everything together; `None` when something does not
/// fit.
fn fit(pipeline: &Pipeline, diagnostics: &mut Diagnostics) -> anyhow::Result<Option<Plan>> {
    let engine = GuestEngine::new(cache_folder())?;
    Ok(terminal::step("loading the components", || {
        Plan::build(pipeline, &engine, diagnostics)
    }))
}

/// Two threads: for what waits for servers, not for what computes.
fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("failed to start the runtime")
}

/// Where compiled components are kept: `WASMILL_CACHE`, or the user's folder for such things.
fn cache_folder() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    set("WASMILL_CACHE")
        .map(PathBuf::from)
        .or_else(|| set("XDG_CACHE_HOME").map(|folder| PathBuf::from(folder).join("wasmill")))
        .or_else(|| set("HOME").map(|folder| PathBuf::from(folder).join(".cache/wasmill")))
}

fn refuse(diagnostics: &Diagnostics) -> anyhow::Error {
    print(diagnostics);
    anyhow!(diagnostics.summary())
}

fn print(diagnostics: &Diagnostics) {
    let reports = diagnostics.render(Look::of_stderr());
    // Where stderr is closed there is nobody to tell; the exit code says it still.
    let _ = io::stderr().write_all(reports.as_bytes());
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        super::Command::command().debug_assert();
    }
}
