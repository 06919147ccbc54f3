//! `wasmill dev`: runs a pipeline, and builds its guests whenever their sources are saved.
//!
//! ```text
//! save ─► watch ─► cargo build ─► component replaced ─► the run's own watch ─► reload
//!                                        └─── where the run has none ───────────┘
//! ```
//!
//! # Invariants
//!
//! 1. A build that fails changes nothing: the running version stays.
//! 2. What was saved last is built, also if it was saved during a build.
//! 3. Nothing that was started here outlives the command.

mod guests;
mod workshop;

use std::path::{Path, PathBuf};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::guests::Guests;
use self::workshop::Workshop;
use super::build::stopper::Stopper;
use super::run::Served;
use super::{run, terminal};
use crate::config;
use crate::reload::Happening;

/// What `wasmill dev` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
        wasmill dev --embedded\n  \
        wasmill dev pipeline.toml --guests guests --embedded --rate 100\n\n\
        The guests are those whose components lie where `wasmill build` puts them. While one does not \
        compile, the running version stays.")]
// The group of the options of `run` has the same name.
#[group(skip)]
pub(super) struct Args {
    /// Build the guests at or below this folder, wherever the pipeline has their components
    /// [default: look for them beside the pipeline]
    #[arg(long, value_name = "FOLDER")]
    guests: Option<PathBuf>,

    #[command(flatten)]
    run: run::Args,
}

/// Runs the pipeline and builds until told to stop.
///
/// # Errors
///
/// A pipeline that is faulty or has no guests, and what ended the run.
pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let path = &args.run.pipeline;
    // What is embedded makes no difference to the components; the run reports everything else.
    let (pipeline, _) = config::load_embedded(path, &super::environment)
        .map_err(|diagnostics| super::refuse(&diagnostics))?;
    let beside = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let folder = args.guests.as_deref().unwrap_or(beside);
    let guests = Guests::find(&pipeline, folder, args.guests.is_some())?;
    announce(&guests);

    let runtime = super::runtime()?;
    let (stop, stopper) = (CancellationToken::new(), Stopper::apart());
    runtime.spawn(stop_on_signals(stop.clone(), stopper.clone()));
    let (served, serving) = watch::channel(None);
    let mut workshop = runtime.block_on(async {
        Workshop::open(guests, serving.clone(), stop.clone(), stopper.clone())
    })?;
    if !runtime.block_on(workshop.first()) {
        return Ok(());
    }
    let building = runtime.spawn(workshop.keep_building());
    let telling = runtime.spawn(tell(serving));
    let ended = run::run(args.run, Some(served));
    stop.cancel();
    stopper.stop();
    telling.abort();
    // A build that was stopped is over at once.
    let _ = runtime.block_on(building);
    ended
}

fn announce(guests: &Guests) {
    for component in &guests.components {
        let (name, package) = (&component.name, &component.package);
        terminal::note(&format!(
            "component `{name}`: built from the package {package}"
        ));
    }
    for name in &guests.foreign {
        terminal::note(&format!(
            "component `{name}`: no guest here is built to where it lies, so it stays as it is"
        ));
    }
}

/// Stops builds at the first signal; the run listens by itself.
async fn stop_on_signals(stop: CancellationToken, stopper: Stopper) {
    let signals = signal(SignalKind::interrupt())
        .and_then(|interrupt| Ok((interrupt, signal(SignalKind::terminate())?)));
    match signals {
        Ok((mut interrupt, mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            stop.cancel();
            stopper.stop();
        }
        Err(error) => tracing::warn!(%error, "cannot listen for signals: they end the run at once"),
    }
}

/// The run, once it can be changed; `None` where it never can.
async fn served(serving: &mut watch::Receiver<Option<Served>>) -> Option<Served> {
    let served = serving.wait_for(Option::is_some).await;
    served.ok()?.clone()
}

/// Says what comes of reloads, once the run serves them.
async fn tell(mut serving: watch::Receiver<Option<Served>>) {
    let Some(Served { control, .. }) = served(&mut serving).await else {
        return;
    };
    let mut events = control.listen();
    loop {
        match events.recv().await {
            Ok(event) => terminal::note(&line(&event.what)),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// What happened, in a line. A reason may have several, and comes from the guest at times.
fn line(happening: &Happening) -> String {
    let line = match happening {
        Happening::Requested { trigger } => format!("reload asked for ({trigger})"),
        Happening::Refused { reason, .. } => {
            format!("not reloaded, the running version stays: {reason}")
        }
        Happening::Deployed { version, .. } => format!("version {version} is in force"),
        Happening::Accepted { version } => format!("version {version} has passed its probation"),
        Happening::Failed { version, reason } => {
            format!("version {version} has failed, the one before comes back: {reason}")
        }
        Happening::BackfillFailed { aggregates, reason } => {
            format!("what came before {aggregates} cannot be folded: {reason}")
        }
    };
    let lines: Vec<_> = line.lines().map(terminal::printable).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::{Trigger, Version};

    #[test]
    fn what_happens_is_told_in_lines_that_steer_no_terminal() {
        let trigger = Trigger::File;
        let version = Version(3);
        let refused = Happening::Refused {
            trigger,
            reason: "no column `a`\u{1b}[2J\nfor `b`".to_owned(),
        };
        assert_eq!(
            line(&refused),
            "not reloaded, the running version stays: no column `a`\\u{1b}[2J\nfor `b`"
        );
        assert_eq!(
            line(&Happening::Requested { trigger }),
            "reload asked for (file)"
        );
        assert_eq!(
            line(&Happening::Deployed { version, trigger }),
            "version 3 is in force"
        );
    }
}
