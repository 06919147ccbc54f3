//! Whoever puts other versions into force while the stream runs: one request after the other, the last
//! one wins.
//!
//! ```text
//! request ─► load ─► compare ─► check the sinks ─► rehearse ─► migrate a copy ─► swap ─► watch
//!                       └──────────────── refused: the running version stays ──┘         │
//!                                                       the version before comes back ◄──┘
//! ```
//!
//! # Invariants
//!
//! 1. Nothing of a version that was refused stays behind; until the swap the stream does not notice.
//! 2. A version is in force exactly if the ledger has its deployment.

mod deploy;
mod differences;
mod filling;
mod former;
mod prepare;
mod probation;
mod queue;
mod state;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::deploy::Candidate;
use self::filling::Filling;
use self::probation::Probation;
use self::queue::Queue;
pub(super) use self::state::Standing;
pub(super) use self::state::full;
use super::backfill::Backfill;
use super::commit::Conclude;
use super::look::Looks;
use super::monitor::Monitor;
use super::topology::Coming;
use super::{Connect, PipelineError};
use crate::checkpoint::CheckpointStore;
use crate::deployment::{Outcome, Trigger, Version};
use crate::description::Description;
use crate::reload::{Answering, Files, Happening, Refusal, Request, Requests};

/// How a run may be changed while it runs.
#[derive(Clone)]
pub struct Reloading {
    /// what is asked for
    requests: Arc<tokio::sync::Mutex<Requests>>,
    files: watch::Sender<Files>,
    answering: Option<Arc<dyn Answering>>,
}

impl Reloading {
    /// By these requests. Tells `files` which ones the version is made of that came into force by a
    /// reload of the files, and has `answering` answer as their `[admin]` says.
    #[must_use]
    pub fn by(
        requests: Requests,
        files: watch::Sender<Files>,
        answering: Option<Arc<dyn Answering>>,
    ) -> Self {
        Self {
            requests: Arc::new(tokio::sync::Mutex::new(requests)),
            files,
            answering,
        }
    }

    /// Nobody can ask for anything.
    pub(super) fn closed() -> Self {
        Self::by(crate::reload::control().1, watch::Sender::default(), None)
    }
}

impl std::fmt::Debug for Reloading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reloading")
    }
}

/// The task.
pub(super) struct Reloader {
    pub(super) reloading: Reloading,
    pub(super) standing: Standing,
    pub(super) coming: Coming,
    pub(super) looks: Looks,
    pub(super) backfill: Backfill,
    pub(super) store: CheckpointStore,
    pub(super) generation: u64,
    /// whether the run ends where the source ends
    pub(super) once: bool,
    pub(super) connect: Arc<Connect>,
    pub(super) stop: CancellationToken,
    pub(super) monitor: Arc<Monitor>,
}

/// Why another version does not come into force.
enum Obstacle {
    Refused(Refusal),
    /// the run ends
    Ending,
}

impl From<Refusal> for Obstacle {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Reloader {
    /// Does what is asked for until the run ends.
    pub(super) async fn run(mut self) -> Result<(), PipelineError> {
        let mut filling = Filling::default();
        let ended = Box::pin(self.serve_all(&mut filling)).await;
        filling.end().await;
        ended
    }

    async fn serve_all(&mut self, filling: &mut Filling) -> Result<(), PipelineError> {
        let requests = Arc::clone(&self.reloading.requests);
        let mut requests = requests.lock().await;
        let mut probation = Probation::none();
        if let Some(version) = self.begin(&requests).await? {
            probation = self.watch(version, &requests).await;
        }
        let ended = self.coming.conclude.clone();
        let (mut queue, mut open) = (Queue::default(), true);
        loop {
            self.publish(&requests);
            filling.keep_up(self).await;
            let to_join = filling.is_folded() && !probation.is_on();
            let request = tokio::select! {
                biased;
                () = ended.closed() => return Ok(()),
                () = self.stop.cancelled() => return Ok(()),
                verdict = probation.verdict(&self.coming.versions, &self.monitor) => {
                    match verdict {
                        Ok(version) => self.accept(version, &requests).await,
                        Err(reason) => self.go_back(reason, &requests).await?,
                    }
                    probation = Probation::none();
                    continue;
                }
                folded = filling.folded() => {
                    if let Err(error) = folded {
                        self.unfilled(error, (&*filling, &mut probation), &requests).await?;
                    }
                    continue;
                }
                () = std::future::ready(()), if to_join => {
                    if let Err(Obstacle::Refused(refusal)) = self.join(filling, &requests).await {
                        let error = PipelineError::Reload(refusal);
                        self.unfilled(error, (&*filling, &mut probation), &requests).await?;
                    }
                    continue;
                }
                request = queue.next(&mut requests.requests), if open => request,
            };
            let Some(request) = request else {
                // Nobody can ask any more; what is on trial goes on.
                open = false;
                continue;
            };
            if let Some(version) = self.serve(request, &requests).await {
                probation = self.watch(version, &requests).await;
            }
        }
    }

    /// Puts into force what the start asks for; the version that is to be watched then.
    async fn begin(&mut self, requests: &Requests) -> Result<Option<Version>, PipelineError> {
        if let Some(in_force) = self.coming.versions.latest() {
            self.monitor.set_version(in_force.version);
        }
        if !self.coming.has_changed {
            if let Ok(running) = self.running() {
                self.monitor.reshape(running.outline());
                self.standing.done(&running, None);
            }
            let latest = self.coming.versions.latest();
            let on_trial = latest.filter(|d| d.outcome == Outcome::Probation);
            return Ok(on_trial.map(|deployment| deployment.version));
        }
        if let Some(reason) = self.standing.goes_back() {
            self.go_back(reason, requests).await?;
            return Ok(None);
        }
        let candidate = Candidate {
            plan: self.standing.wanted(),
            trigger: Trigger::Start,
            concludes: None,
        };
        match self.deploy(candidate, false, requests).await {
            Ok(report) => Ok(report.version),
            Err(Obstacle::Ending) => Ok(None),
            Err(Obstacle::Refused(refusal)) => Err(PipelineError::Reload(refusal)),
        }
    }

    /// Does what a request says and answers it; the version that is to be watched then.
    async fn serve(&mut self, request: Request, requests: &Requests) -> Option<Version> {
        let Request {
            wanted,
            trigger,
            dry_run,
            answer,
        } = request;
        // Nobody listens: that is fine.
        let _ = requests.events.send(Happening::Requested { trigger }.now());
        let changed = match self.candidate(wanted, trigger).await {
            Ok(candidate) => self.deploy(candidate, dry_run, requests).await,
            Err(obstacle) => Err(obstacle),
        };
        let answered = match changed {
            Ok(report) => Ok(report),
            Err(Obstacle::Refused(refusal)) => Err(refusal),
            Err(Obstacle::Ending) => Err(Refusal::NotRunning("the run is ending".to_owned())),
        };
        let version = answered.as_ref().ok().and_then(|report| report.version);
        if let Err(refusal) = &answered
            && !dry_run
        {
            tracing::warn!(%trigger, reason = %refusal, "the running version stays");
            self.monitor.reload_refused();
            let reason = refusal.to_string();
            let _ = requests
                .events
                .send(Happening::Refused { trigger, reason }.now());
        }
        let _ = answer.send(answered);
        version
    }

    /// Begins to watch a version that came into force. Where there is none to go back to, it has passed.
    async fn watch(&mut self, version: Version, requests: &Requests) -> Probation {
        let all = self.coming.versions.all();
        let watched = all.iter().any(|deployment| {
            deployment.version == version && deployment.outcome == Outcome::Probation
        });
        let settings = self.standing.wanted().pipeline().reload;
        if !watched {
            return Probation::none();
        }
        if self.version_before().is_err() {
            self.accept(version, requests).await;
            return Probation::none();
        }
        self.standing.watch(Some(version));
        Probation::of(version, settings, &self.coming.versions)
    }

    /// A version has passed.
    async fn accept(&mut self, version: Version, requests: &Requests) {
        self.standing.watch(None);
        let outcome = Outcome::Accepted;
        // The ledger's task is gone only at the end of the run.
        let _ = self
            .coming
            .conclude
            .send(Conclude { version, outcome })
            .await;
        tracing::info!(%version, "the version has passed its probation");
        let _ = requests.events.send(Happening::Accepted { version }.now());
    }

    /// Puts the version before into force again.
    async fn go_back(&mut self, reason: String, requests: &Requests) -> Result<(), PipelineError> {
        let Some(failed) = self.coming.versions.latest() else {
            return Ok(());
        };
        let version = failed.version;
        tracing::error!(%version, reason, "the version fails in its probation: going back");
        let _ = requests.events.send(
            Happening::Failed {
                version,
                reason: reason.clone(),
            }
            .now(),
        );
        self.standing.watch(None);
        let trying = async {
            let before = self.version_before()?;
            Ok::<_, Obstacle>(Candidate {
                plan: self.former(before).await?,
                trigger: Trigger::Probation,
                concludes: Some((version, Outcome::RolledBack { reason })),
            })
        };
        let gone_back = match trying.await {
            Ok(candidate) => self.deploy(candidate, false, requests).await,
            Err(obstacle) => Err(obstacle),
        };
        match gone_back {
            Ok(_) | Err(Obstacle::Ending) => Ok(()),
            Err(Obstacle::Refused(refusal)) => Err(PipelineError::Reload(refusal)),
        }
    }

    /// What some aggregates lack cannot be made: the version goes if it is on probation, and a run to an
    /// end ends with it.
    async fn unfilled(
        &mut self,
        error: PipelineError,
        (filling, probation): (&Filling, &mut Probation),
        requests: &Requests,
    ) -> Result<(), PipelineError> {
        let reason = full(&error);
        if probation.is_on() {
            *probation = Probation::none();
            return self.go_back(reason, requests).await;
        }
        if self.once {
            return Err(error);
        }
        filling.tell_failure(reason, requests);
        Ok(())
    }

    /// Tells everybody who asks about deployments.
    fn publish(&self, requests: &Requests) {
        let statuses = self.coming.versions.all().iter().map(Into::into).collect();
        requests.deployments.send_replace(Arc::new(statuses));
        let plan = self.standing.wanted();
        let description = Description::of(plan.pipeline(), &plan);
        requests.description.send_replace(Arc::new(description));
    }
}

fn list(lines: &[String]) -> String {
    let mut list = String::new();
    for line in lines {
        list.push_str("\n  - ");
        list.push_str(line);
    }
    list
}

/// How long somebody waits who looks whether a version is as good as the one before.
const LOOK_EVERY: Duration = Duration::from_millis(200);
