//! Building whenever sources are saved.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::guests::Guests;
use crate::cli::build::stopper::Stopper;
use crate::cli::build::{self, cargo};
use crate::cli::{cache_folder, terminal};
use crate::guest::GuestEngine;
use crate::reload::Watch;

/// Where guests are built.
pub(super) struct Workshop {
    guests: Arc<Guests>,
    engine: Arc<GuestEngine>,
    watch: Watch,
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
        stop: CancellationToken,
        stopper: Stopper,
    ) -> anyhow::Result<Self> {
        let watch = Watch::sources(guests.sources());
        Ok(Self {
            guests: Arc::new(guests),
            engine: Arc::new(GuestEngine::new(cache_folder())?),
            watch,
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
            self.build("the running version stays").await;
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

    /// Builds all guests, and says what came of it; `otherwise` is what follows from a failure.
    async fn build(&self, otherwise: &str) {
        let started = Instant::now();
        let (guests, engine) = (Arc::clone(&self.guests), Arc::clone(&self.engine));
        let stopper = self.stopper.clone();
        let built = spawn_blocking(move || build_all(&guests, &engine, &stopper)).await;
        if self.stopper.is_stopped() {
            return;
        }
        let built = built
            .context("the build has panicked")
            .and_then(|built| built);
        let seconds = started.elapsed().as_secs_f64();
        terminal::note(&match built {
            Ok(changed) if changed.is_empty() => {
                format!("built in {seconds:.1} s: nothing has changed")
            }
            Ok(changed) => format!("built in {seconds:.1} s: {}", changed.join(", ")),
            Err(error) => format!("not built, {otherwise}: {error:#}"),
        });
    }
}

/// Builds and publishes; the names of the pipeline's components that have changed.
fn build_all(
    guests: &Guests,
    engine: &GuestEngine,
    stopper: &Stopper,
) -> anyhow::Result<Vec<String>> {
    let mut changed = Vec::new();
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
    Ok(changed)
}
