//! `wasmill run`: reads, computes and commits until told to stop.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::admin::{AdminError, AdminServer};
use crate::config::Pipeline;
use crate::pipeline::{self, Endpoints, Monitor, PipelineError, Plan, RunOptions};

/// What `wasmill run` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  wasmill run pipeline.toml --once")]
pub(super) struct Args {
    /// The pipeline
    #[arg(default_value = "pipeline.toml")]
    pipeline: PathBuf,

    /// Read what is there now, commit it, print a summary and end
    #[arg(long)]
    once: bool,
}

/// Runs the pipeline until it is told to stop by SIGINT or SIGTERM, or with `--once` until it has
/// read everything.
///
/// # Errors
///
/// A faulty pipeline, whose reports go to stderr first, or what ended the run.
pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let Args { pipeline, once } = args;
    let (pipeline, plan, diagnostics) = super::plan(&pipeline)?;
    super::print(&diagnostics);
    let runtime = super::runtime()?;
    let outcome = runtime.block_on(run_until_told(&pipeline, &plan, once));
    // Tasks that hang on a server do not hold up the exit.
    runtime.shutdown_background();
    match outcome? {
        Ok(summary) => {
            println!("{summary}");
            Ok(())
        }
        Err(error @ PipelineError::StoppedWhileStarting(_)) => {
            tracing::info!(reason = %error, "stopped before the first record");
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

async fn run_until_told(
    pipeline: &Pipeline,
    plan: &Plan,
    once: bool,
) -> Result<Result<pipeline::Summary, PipelineError>, AdminError> {
    let stop = CancellationToken::new();
    let _signals = tokio::spawn(stop_on_signals(stop.clone()));
    let endpoints = match Endpoints::open(pipeline, plan) {
        Ok(endpoints) => endpoints,
        Err(error) => return Ok(Err(error)),
    };
    let monitor = Monitor::new(pipeline, plan, &endpoints);
    // Before any server is reached: it says which of them is waited for.
    let admin = match pipeline.admin {
        Some(admin) => Some(AdminServer::start(admin.listen, Arc::clone(&monitor)).await?),
        None => None,
    };
    let options = RunOptions {
        once,
        stop,
        monitor,
    };
    let outcome = pipeline::run(pipeline, plan, endpoints, &options).await;
    if let Some(admin) = admin {
        admin.stop().await;
    }
    Ok(outcome)
}

/// The first signal stops the run in good order, the second one at once.
async fn stop_on_signals(stop: CancellationToken) -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    for again in [false, true] {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if again {
            tracing::warn!("stopping at once: what is not committed will be read again");
            std::process::exit(1);
        }
        stop.cancel();
    }
    Ok(())
}
