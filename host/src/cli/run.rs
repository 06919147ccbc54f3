//! `wasmill run`: reads, computes and commits until told to stop.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::admin::{AdminError, Reception};
use crate::config::Embedding;
use crate::description::Description;
use crate::pipeline::{self, Endpoints, Monitor, PipelineError, Plan, Reloading, RunOptions};
use crate::reload::{self, Control, Files};
use crate::telemetry;

/// What `wasmill run` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    wasmill run pipeline.toml --once\n  \
    wasmill run pipeline.toml --embedded --once --records 100000")]
pub(super) struct Args {
    /// The pipeline
    #[arg(default_value = "pipeline.toml")]
    pub(super) pipeline: PathBuf,

    /// Read what is there now, commit it, print a summary and end
    #[arg(long)]
    once: bool,

    /// Run with nothing installed: generated sales, a SQLite file, no Elasticsearch
    #[arg(long)]
    embedded: bool,

    #[command(flatten)]
    generated: Generated,
}

/// What an embedded run is told besides.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Embedded run")]
struct Generated {
    /// Where the SQLite file and the dead letters go; `data` beside the pipeline by default
    #[arg(long, value_name = "FOLDER", requires = "embedded")]
    data: Option<PathBuf>,

    /// Another seed, other records
    #[arg(long, requires = "embedded")]
    seed: Option<u64>,

    /// Records a second, 0 for as fast as possible; 1000 by default, 0 with --records
    #[arg(long, requires = "embedded", value_parser = super::generate::rate)]
    rate: Option<f64>,

    /// End after so many records in all, those of former runs included
    #[arg(long, value_name = "COUNT", requires = "embedded")]
    records: Option<u64>,

    /// Share of faulty records, 0 to 1
    #[arg(long, value_name = "SHARE", requires = "embedded", value_parser = super::generate::share)]
    bad_share: Option<f64>,
}

impl Generated {
    fn embedding(self, pipeline: &Path) -> Embedding {
        let beside = || pipeline.parent().unwrap_or(Path::new("")).join("data");
        Embedding {
            data: self.data.unwrap_or_else(beside),
            seed: self.seed,
            rate: self.rate,
            records: self.records,
            bad_share: self.bad_share,
        }
    }
}

/// A run that can be changed.
#[derive(Debug, Clone)]
pub(super) struct Served {
    pub(super) control: Control,
    /// what it watches by itself; empty where it is told not to
    pub(super) files: watch::Receiver<Files>,
}

/// Runs the pipeline until it is told to stop by SIGINT or SIGTERM, or with `--once` until it has
/// read everything. Whoever wants to hear of reloads, or to ask for them, is told once the run serves them.
///
/// # Errors
///
/// A faulty pipeline, whose reports go to stderr first, or what ended the run.
pub(super) fn run(
    args: Args,
    listener: Option<watch::Sender<Option<Served>>>,
) -> anyhow::Result<()> {
    let Args {
        pipeline: path,
        once,
        embedded,
        generated,
    } = args;
    let (plan, diagnostics) = if embedded {
        let embedding = generated.embedding(&path);
        let (embedded, plan, diagnostics) = super::plan_embedded(&path, &embedding)?;
        for line in &embedded.replaced {
            eprintln!("{line}");
        }
        (plan, diagnostics)
    } else {
        let (_, plan, diagnostics) = super::plan(&path)?;
        (plan, diagnostics)
    };
    super::print(&diagnostics);
    telemetry::set_level(plan.pipeline().log_level.as_deref())?;
    let runtime = super::runtime()?;
    let outcome = runtime.block_on(run_until_told(&Arc::new(plan), once, listener));
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
    plan: &Arc<Plan>,
    once: bool,
    listener: Option<watch::Sender<Option<Served>>>,
) -> Result<Result<pipeline::Summary, PipelineError>, AdminError> {
    let pipeline = plan.pipeline();
    let stop = CancellationToken::new();
    match stop_on_signals(stop.clone()) {
        Ok(listening) => drop(tokio::spawn(listening)),
        Err(error) => tracing::warn!(%error, "cannot listen for signals: they end the run at once"),
    }
    let monitor = Monitor::new(pipeline, plan);
    let (control, requests) = reload::control();
    let description = Description::of(pipeline, plan);
    requests.description.send_replace(Arc::new(description));
    let (files, watched) = watch::channel(plan.files());
    let watching = reload::reload_on_change(control.clone(), watched.clone());
    let watching = tokio::spawn(watching);
    if let Some(listener) = listener {
        listener.send_replace(Some(Served {
            control: control.clone(),
            files: watched,
        }));
    }
    // Before any server is reached: it says which of them is waited for.
    let reception = Reception::open(pipeline.admin.as_ref(), Arc::clone(&monitor), control).await?;
    let options = RunOptions {
        once,
        stop,
        monitor,
        reloading: Some(Reloading::by(
            requests,
            files,
            Some(Arc::new(reception.clone())),
        )),
    };
    let outcome = pipeline::run(plan, &Endpoints::of(plan), &options).await;
    watching.abort();
    reception.stop().await;
    Ok(outcome)
}

/// The first signal stops the run in good order, the second one at once. They are listened for when
/// this returns, and heeded by the future.
fn stop_on_signals(stop: CancellationToken) -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
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
    })
}
