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

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tokio::runtime::Runtime;

use self::look::{Looker, Seen};
use self::prepare::Prepared;
use self::stop::Stop;
use crate::live::{Model, Terminal};
use crate::pipeline::{self, Monitor, PipelineError, RunOptions, Summary};
use crate::telemetry::Diversion;

/// What kind of run the view shows.
const KIND: &str = "embedded: generator to SQLite";
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

    /// Records generated a second; 0: as fast as possible
    #[arg(long, value_name = "N", default_value_t = 5_000)]
    rate: u64,

    /// Another seed, other records
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Delete what earlier runs left in the data folder
    #[arg(long)]
    fresh: bool,

    /// Where the SQLite file, the dead letters and the log are
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Lines instead of the view; also where stdout is no terminal
    #[arg(long)]
    plain: bool,

    /// Write the view, as it is when it stops, into this file as an SVG picture
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
pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let prepared = Prepared::new(&args)?;
    let runtime = super::runtime()?;
    let stop = Stop::after(args.seconds.map(Duration::from_secs));
    let _signals = runtime.spawn(stop.clone().on_signals());
    let job = Job::start(&prepared, &runtime, stop)?;
    let mut model = Model::default();
    let shown = show(&args, &prepared, &job, &mut model);
    let picture = args.picture.as_deref().map(|path| picture::write(path, &model, &job.looker.seen().totals));
    let ended = job.end();
    // What still hangs on something does not hold up the exit.
    runtime.shutdown_background();
    let (summary, seen) = ended?;
    println!("{summary}");
    print!("{}", plain::report(&seen.totals));
    println!("{}", prepared.farewell());
    shown.context("the view failed")?;
    picture.transpose()?;
    if seen.differing > 0 {
        bail!(
            "the sums were not equal in {} of {} looks: this is a mistake in wasmill, please report it",
            seen.differing,
            seen.checks
        );
    }
    Ok(())
}

/// Shows the run until it is over, in the terminal or in lines.
fn show(args: &Args, prepared: &Prepared, job: &Job, model: &mut Model) -> io::Result<()> {
    if args.has_view() {
        match Terminal::take() {
            Ok(terminal) => {
                let log = prepared.open_log()?;
                let _diversion = Diversion::into_file(log);
                let shown = screen::show(terminal, job, model, &prepared.log);
                if shown.is_err() {
                    // Nobody can see it any more.
                    job.stop.request();
                }
                return shown;
            }
            Err(error) => tracing::warn!(%error, "the terminal cannot show the view"),
        }
    }
    plain::show(job, model)
}

/// A pipeline that runs, and what looks at it.
struct Job {
    thread: JoinHandle<Result<Summary, PipelineError>>,
    monitor: Arc<Monitor>,
    looker: Looker,
    stop: Stop,
}
