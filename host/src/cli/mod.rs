//! The command line: one file a subcommand.
//!
//! Exit codes: 0 when all is well, 2 when the command line is wrong (clap's own), 1 for everything
//! else, a faulty pipeline included.

mod check;
mod demo;
mod generate;
mod run;
mod status;

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
    /// Make synthetic sales
    Generate(generate::Args),
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
            Action::Run(args) => run::run(args),
            Action::Check(args) => check::run(args),
            Action::Demo(args) => demo::run(&args),
            Action::Status(args) => status::run(&args),
            Action::Generate(args) => generate::run(args),
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
    tracing::debug!(path = %path.display(), "reading the pipeline");
    let (pipeline, mut diagnostics) =
        config::load(path, &environment).map_err(|diagnostics| refuse(&diagnostics))?;
    let plan = fit(&pipeline, &mut diagnostics)?;
    Ok((pipeline, plan, diagnostics))
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
    Ok((embedded, plan, diagnostics))
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Loads the components of a pipeline and fits everything together.
fn fit(pipeline: &Pipeline, diagnostics: &mut Diagnostics) -> anyhow::Result<Plan> {
    let engine = GuestEngine::new(cache_folder())?;
    let plan = Plan::build(pipeline, &engine, diagnostics);
    plan.ok_or_else(|| refuse(diagnostics))
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
