//! Building whenever sources are saved.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::guests::Guests;
use super::served;
use crate::cli::build::stopper::Stopper;
use crate::cli::build::{self, cargo};
use crate::cli::run::Served;
use crate::cli::{cache_folder, terminal};
use crate::deployment::Trigger;
use crate::guest::GuestEngine;
use crate::reload::{Wanted, Watch};

/// Where guests are built.
pub(super) struct Workshop {
    guests: Arc<Guests>,
    engine: Arc<GuestEngine>,
    watch: Watch,
    serving: watch::Receiver<Option<Served>>,
    /// reloads that are asked for
    asked: JoinSet<()>,
    stop: CancellationToken,
    stopper: Stopper,
}

impl Workshop {
    /// Watches the sources from now on. To be called within a runtime.
    ///
    /// # Errors
    ///
    /// When there is no engine to load components with.
    pub(super) fn open(
        guests: Guests,
        serving: watch::Receiver<Option<Served>>,
        stop: CancellationToken,
        stopper: Stopper,
    ) -> anyhow::Result<Self> {
        let watch = Watch::sources(guests.sources());
        Ok(Self {
            guests: Arc::new(guests),
            engine: Arc::new(GuestEngine::new(cache_folder())?),
            watch,
            serving,
            asked: JoinSet::new(),
            stop,
            stopper,
        })
    }

    /// Builds until every component is there, one of a former build included; `false` if it was told to
    /// stop before that.
    pub(super) async fn first(&mut self) -> bool {
        loop {
            self.build("the pipeline runs with what was built before")
                .await;
            if self.stop.is_cancelled() {
                return false;
            }
            let components = self.guests.components.iter();
            let missing: Vec<&str> = components
                .filter(|component| !component.path.exists())
                .map(|component| component.name.as_str())
                .collect();
            if missing.is_empty() {
                return true;
            }
            terminal::note(&format!(
                "the pipeline starts once there is {}: waiting for its sources to be saved",
                missing.join(", ")
            ));
            if !self.saved().await {
                return false;
            }
        }
    }

    /// Builds after every save, until it is told to stop. What is saved during a build is built after it.
    pub(super) async fn keep_building(mut self) {
        while self.saved().await {
            if self.build("the running version stays").await {
                self.have_reloaded().await;
            }
        }
    }

    /// Asks for a reload where the run does not watch its files itself.
    async fn have_reloaded(&mut self) {
        let served = tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            served = served(&mut self.serving) => served,
        };
        let Some(Served { control, files }) = served else {
            return;
        };
        while self.asked.try_join_next().is_some() {}
        if files.borrow().is_empty() {
            self.asked.spawn(async move {
                // What comes of it is told by those who listen to events.
                let _ = control.ask(Wanted::Files, Trigger::File, false).await;
            });
        }
    }

    /// `false` where it is told to stop instead.
    async fn saved(&mut self) -> bool {
        let changed = tokio::select! {
            biased;
            () = self.stop.cancelled() => return false,
            changed = self.watch.changed() => changed,
        };
        let here = std::env::current_dir().unwrap_or_default();
        let shown = |path: &Path| {
            path.strip_prefix(&here)
                .unwrap_or(path)
                .display()
                .to_string()
        };
        let names: Vec<String> = changed.iter().take(3).map(|path| shown(path)).collect();
        let more = if changed.len() > names.len() {
            ", ..."
        } else {
            ""
        };
        terminal::note(&format!("saved: {}{more}", names.join(", ")));
        true
    }

    /// Builds all guests, and says what came of it; `otherwise` is what follows from a failure. Whether a
    /// component has changed.
    async fn build(&self, otherwise: &str) -> bool {
        let started = Instant::now();
        let (guests, engine) = (Arc::clone(&self.guests), Arc::clone(&self.engine));
        let stopper = self.stopper.clone();
        let work = move || {
            let mut changed = Vec::new();
            let built = build_all(&guests, &engine, &stopper, &mut changed);
            (built, changed)
        };
        let (built, changed) = match spawn_blocking(work).await {
            Ok(done) => done,
            Err(error) => (Err(error).context("the build has panicked"), Vec::new()),
        };
        if self.stopper.is_stopped() {
            return false;
        }
        let seconds = started.elapsed().as_secs_f64();
        terminal::note(&match built {
            Ok(()) if changed.is_empty() => {
                format!("built in {seconds:.1} s: nothing has changed")
            }
            Ok(()) => format!("built in {seconds:.1} s: {}", changed.join(", ")),
            Err(error) => format!("not built, {otherwise}: {error:#}"),
        });
        !changed.is_empty()
    }
}

/// Builds and publishes. `changed` gets the names of the pipeline's components that have changed, also
/// where something else does not build after them.
fn build_all(
    guests: &Guests,
    engine: &GuestEngine,
    stopper: &Stopper,
    changed: &mut Vec<String>,
) -> anyhow::Result<()> {
    for workspace in &guests.workspaces {
        for built in cargo::build(workspace, stopper)? {
            let of_package = guests.components.iter();
            for component in of_package.filter(|component| component.package == built.package) {
                let folder = component.path.parent().unwrap_or(Path::new(""));
                let published = build::publish(engine, &built, folder)?;
                let published = published.with_context(|| {
                    format!("{} exports no interface of the contract", built.package)
                })?;
                if published.changed {
                    changed.push(component.name.clone());
                }
            }
        }
    }
    Ok(())
}
