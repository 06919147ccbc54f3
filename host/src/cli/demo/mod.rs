//! `wasmill demo`: a pipeline with nothing around it, and a view of what it does.
//!
//! The pipeline runs in a thread of its own, looks at its tables in another one, and the view is in
//! the thread of the process. All three end in this order, the run in the way that every run ends:
//! what was read is committed.

mod choice;
mod look;
mod picture;
mod plain;
mod prepare;
mod screen;
mod stop;

use std::io::{self, IsTerminal, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tokio::runtime::Runtime;

use self::look::{Looker, Seen};
use self::picture::Picture;
use self::prepare::Prepared;
use self::stop::Stop;
use crate::admin::AdminServer;
use crate::config::{Admin, Pipeline};
use crate::live::Terminal;
use crate::pipeline::{self, Endpoints, Monitor, PipelineError, Plan, RunOptions, Summary};
use crate::telemetry::{self, Diversion};
use crate::waiting::Waits;

/// Between two looks at whether the run has ended.
const POLL: Duration = Duration::from_millis(50);

/// What `wasmill demo` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    wasmill demo\n  \
    wasmill demo pipeline.toml --rate 0 --seconds 30\n  \
    wasmill demo --plain --seconds 5 --fresh\n\n\
    Generated sales instead of Kafka, a SQLite file instead of PostgreSQL, and no Elasticsearch: nothing \
    has to be installed. A second run goes on where the first one stopped.")]
pub(super) struct Args {
    /// The pipeline
    #[arg(default_value = "pipeline.toml")]
    pipeline: PathBuf,

    /// Stop after so many seconds instead of waiting for q or Ctrl-C
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,

    /// Records generated a second, 5000 if nothing is said; 0: as fast as possible
    #[arg(long, value_name = "N", value_parser = super::generate::rate)]
    rate: Option<f64>,

    /// Another seed, other records
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Delete what earlier runs left in the data folder
    #[arg(long)]
    fresh: bool,

    /// Where the SQLite file, the dead letters and the log are; `data/demo` beside the pipeline if
    /// nothing is said
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Lines instead of the view; also where stdout is no terminal
    #[arg(long)]
    plain: bool,

    /// Write the view, as it was just before the stop, into this file as an SVG picture
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
}

impl Args {
    /// Whether there is a terminal to show the view in.
    pub(super) fn has_view(&self) -> bool {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        !self.plain && io::stdout().is_terminal() && !dumb
    }
}

/// Runs the demo until it is told to stop.
///
/// # Errors
///
/// Whatever ended the run, and sums that were not equal.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let prepared = Prepared::new(args)?;
    prepared.announce();
    telemetry::set_level(prepared.pipeline.log_level.as_deref())?;
    let runtime = super::runtime()?;
    let stop = Stop::after(args.seconds.map(Duration::from_secs));
    let _signals = runtime.spawn(stop.clone().on_signals());
    // Before anything runs, so that no line of the log gets into the view.
    let screen = if args.has_view() {
        take_terminal(&prepared)?
    } else {
        None
    };
    let job = Job::start(&prepared, &runtime, stop);
    let path = args.picture.as_deref();
    let mut picture = path.map(|path| Picture::new(path, &prepared.kind));
    let shown = match screen {
        Some((terminal, _diversion)) => screen::show(terminal, &job, &prepared, &mut picture),
        None => plain::show(&job, &mut picture),
    };
    if shown.is_err() {
        // Nobody can see it any more.
        job.stop.request();
    }
    let ended = job.end();
    // What still hangs on something does not hold up the exit.
    runtime.shutdown_background();
    let (summary, seen) = ended?;
    let summary = summary.map_or(String::new(), |summary| format!("{summary}\n"));
    let text = summary + &plain::report(&seen.totals) + &prepared.farewell();
    writeln!(io::stdout(), "{text}").context("failed to write to stdout")?;
    shown.context("failed to show the run")?;
    picture.map_or(Ok(()), |picture| picture.write())?;
    if seen.differing > 0 {
        bail!(
            "the sums were not equal in {} of {} looks: this is a mistake in wasmill, please report it",
            seen.differing,
            seen.checks
        );
    }
    Ok(())
}

/// The terminal for the view, and the log out of its way; `None` where it cannot be had.
fn take_terminal(prepared: &Prepared) -> anyhow::Result<Option<(Terminal, Diversion)>> {
    let log = prepared.open_log();
    let log = log.with_context(|| format!("failed to open {}", prepared.log.display()))?;
    match Terminal::take() {
        Ok(terminal) => Ok(Some((terminal, Diversion::into_file(log)))),
        Err(error) => {
            tracing::warn!(%error, "the terminal cannot show the view");
            Ok(None)
        }
    }
}

/// A pipeline that runs, and what looks at it.
struct Job {
    run: JoinHandle<Result<Summary, PipelineError>>,
    monitor: Arc<Monitor>,
    looker: Looker,
    stop: Stop,
}

impl Job {
    fn start(prepared: &Prepared, runtime: &Runtime, stop: Stop) -> Self {
        let (pipeline, plan) = (Arc::clone(&prepared.pipeline), Arc::clone(&prepared.plan));
        let monitor = Monitor::new(&pipeline, &plan);
        let options = RunOptions {
            once: false,
            stop: stop.token(),
            monitor: Arc::clone(&monitor),
        };
        let handle = runtime.handle().clone();
        let run = thread::spawn(move || handle.block_on(run_pipeline(&pipeline, &plan, &options)));
        Self {
            run,
            monitor,
            looker: Looker::start(prepared.tables.clone()),
            stop,
        }
    }

    /// Whether there is nothing more to show: the run has ended, or is given up.
    fn is_over(&self) -> bool {
        // Asked for its own sake as well: it notices that the time is up.
        let stopping = self.stop.is_requested();
        self.run.is_finished() || (stopping && self.stop.is_urgent())
    }

    /// Waits for the run, and looks at the tables for the last time. There is no summary of a run
    /// that was stopped before its first record.
    ///
    /// # Errors
    ///
    /// What ended the run before its time; that it was given up.
    fn end(self) -> anyhow::Result<(Option<Summary>, Seen)> {
        while !self.is_over() {
            thread::sleep(POLL);
        }
        if !self.run.is_finished() {
            bail!("stopped at once: what was not committed is made again at the next start");
        }
        let ended = self.run.join();
        let ended = ended.map_err(|_| anyhow!("the run has panicked, please report this"))?;
        let seen = self.looker.finish();
        match ended {
            Ok(summary) => Ok((Some(summary), seen)),
            Err(PipelineError::StoppedWhileStarting(_)) => Ok((None, seen)),
            Err(error) => Err(error.into()),
        }
    }
}

/// Runs the pipeline, with its admin server where it has one and the address is free.
async fn run_pipeline(
    pipeline: &Pipeline,
    plan: &Arc<Plan>,
    options: &RunOptions,
) -> Result<Summary, PipelineError> {
    let mut admin = None;
    if let Some(Admin { listen }) = pipeline.admin {
        match AdminServer::start(listen, Arc::clone(&options.monitor)).await {
            Ok(server) => admin = Some(server),
            Err(error) => tracing::warn!(%error, "nobody can ask this run for its metrics"),
        }
    }
    let connect = |waits: &Waits| Endpoints::open(pipeline, plan, waits);
    let ended = pipeline::run(pipeline, plan, &connect, options).await;
    if let Some(admin) = admin {
        admin.stop().await;
    }
    ended
}
