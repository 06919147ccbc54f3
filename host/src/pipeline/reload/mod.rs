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

mod differences;
mod prepare;
mod probation;
mod state;

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::differences::Differences;
use self::probation::Probation;
pub(super) use self::state::Standing;
pub(super) use self::state::full;
use super::change::{Change, Changes, Pace};
use super::commit::Conclude;
use super::look::Looks;
use super::monitor::Monitor;
use super::sample::Sample;
use super::start::{Waiter, keep_components};
use super::versions::{self, Versions};
use super::{Connect, PipelineError, Plan};
use crate::aggregate::{Takeover, takeover};
use crate::checkpoint::CheckpointStore;
use crate::deployment::{Deployment, Outcome, Trigger, Version};
use crate::description::Description;
use crate::epoch::EpochId;
use crate::record::Positions;
use crate::reload::{Files, Happening, Refusal, Report, Request, Requests, Wanted};
use crate::telemetry;

/// How a run may be changed while it runs.
#[derive(Clone)]
pub struct Reloading {
    /// what is asked for
    requests: Arc<tokio::sync::Mutex<Requests>>,
    files: watch::Sender<Files>,
}

impl Reloading {
    /// By these requests. Tells `files` which ones the version is made of that came into force by a
    /// reload of the files.
    #[must_use]
    pub fn by(requests: Requests, files: watch::Sender<Files>) -> Self {
        Self {
            requests: Arc::new(tokio::sync::Mutex::new(requests)),
            files,
        }
    }

    /// Nobody can ask for anything.
    pub(super) fn closed() -> Self {
        Self::by(crate::reload::control().1, watch::Sender::default())
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
    pub(super) versions: Arc<Versions>,
    pub(super) changes: Changes,
    pub(super) looks: Looks,
    pub(super) sample: Sample,
    pub(super) store: CheckpointStore,
    pub(super) connect: Arc<Connect>,
    pub(super) conclude: mpsc::Sender<Conclude>,
    /// whether nothing is read before another version is in force
    pub(super) has_changed: bool,
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

/// What is to come into force, and why.
struct Candidate {
    plan: Arc<Plan>,
    trigger: Trigger,
    /// what is written down of the version before, in the same transaction
    concludes: Option<(Version, Outcome)>,
}

impl Reloader {
    /// Does what is asked for until the run ends.
    pub(super) async fn run(mut self) -> Result<(), PipelineError> {
        let requests = Arc::clone(&self.reloading.requests);
        let mut requests = requests.lock().await;
        let mut probation = Probation::none();
        if let Some(version) = self.begin(&requests).await? {
            probation = self.watch(version);
        }
        let ended = self.conclude.clone();
        let mut open = true;
        loop {
            self.publish(&requests);
            let request = tokio::select! {
                biased;
                () = ended.closed() => return Ok(()),
                () = self.stop.cancelled() => return Ok(()),
                verdict = probation.verdict(&self.versions) => {
                    match verdict {
                        Ok(version) => self.accept(version, &requests).await,
                        Err(reason) => self.go_back(reason, &requests).await?,
                    }
                    probation = Probation::none();
                    continue;
                }
                request = requests.requests.recv(), if open => match request {
                    Some(request) => last_of(request, &mut requests.requests),
                    // Nobody can ask any more; what is on trial goes on.
                    None => {
                        open = false;
                        continue;
                    }
                },
            };
            if let Some(version) = self.serve(request, &requests).await {
                probation = self.watch(version);
            }
        }
    }

    /// Puts into force what the start asks for; the version that is to be watched then.
    async fn begin(&mut self, requests: &Requests) -> Result<Option<Version>, PipelineError> {
        if let Some(in_force) = self.versions.latest() {
            self.monitor.set_version(in_force.version);
        }
        if !self.has_changed {
            if let Ok(running) = self.running() {
                self.monitor.reshape(running.outline());
                self.standing.done(&running, None);
            }
            let latest = self.versions.latest();
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

    /// What is asked for.
    async fn candidate(&self, wanted: Wanted, trigger: Trigger) -> Result<Candidate, Obstacle> {
        let version = match wanted {
            Wanted::Files => {
                let running = self.standing.wanted();
                let loaded = tokio::task::spawn_blocking(move || running.read_again()).await;
                let loaded = loaded.map_err(|_| Obstacle::Ending)?;
                return Ok(Candidate {
                    plan: Arc::new(loaded.map_err(Refusal::Invalid)?),
                    trigger,
                    concludes: None,
                });
            }
            Wanted::Previous => self.version_before()?,
            Wanted::Version(version) => version,
        };
        let plan = self.former(version).await?;
        let reason = format!("rolled back to version {version} by hand");
        let in_force = self.versions.latest().map(|deployment| deployment.version);
        Ok(Candidate {
            plan,
            trigger: Trigger::Rollback,
            concludes: in_force.map(|version| (version, Outcome::RolledBack { reason })),
        })
    }

    /// The newest version before the one in force that is another one and was not rolled back.
    fn version_before(&self) -> Result<Version, Refusal> {
        let all = self.versions.all();
        let found = all.split_last().and_then(|(in_force, before)| {
            before.iter().rfind(|deployment| {
                let is_other = deployment.blueprint.logic != in_force.blueprint.logic;
                is_other && !matches!(deployment.outcome, Outcome::RolledBack { .. })
            })
        });
        found.map(|deployment| deployment.version).ok_or_else(|| {
            Refusal::NoSuchVersion("there is no version before this one to go back to".to_owned())
        })
    }

    /// A former version, made again from what was kept of it.
    async fn former(&self, version: Version) -> Result<Arc<Plan>, Obstacle> {
        let all = self.versions.all();
        let keep = self.standing.wanted().pipeline().reload.keep;
        let kept = all.iter().rev().take(keep + 1);
        let found = kept
            .clone()
            .find(|deployment| deployment.version == version);
        let Some(deployment) = found else {
            let kept: Vec<String> = kept.map(|d| d.version.to_string()).collect();
            return Err(Refusal::NoSuchVersion(format!(
                "version {version} is none of the last ones (`keep` of `[reload]`): there are {}",
                kept.join(", ")
            ))
            .into());
        };
        let sibling = self.standing.wanted();
        let from = (&*sibling as &dyn super::topology::Stages, &self.store);
        let made = versions::load(version, &deployment.blueprint, from, self.waiter()).await;
        match made {
            Ok(stages) => stages.plan().ok_or(Obstacle::Ending),
            Err(PipelineError::StoppedWhileStarting(_)) => Err(Obstacle::Ending),
            Err(error) => Err(Refusal::NoSuchVersion(full(&error)).into()),
        }
    }

    /// Has a candidate come into force, or says what that would do.
    async fn deploy(
        &mut self,
        candidate: Candidate,
        dry_run: bool,
        requests: &Requests,
    ) -> Result<Report, Obstacle> {
        let Candidate {
            plan,
            trigger,
            concludes,
        } = candidate;
        let running = self.running()?;
        let differences = Differences::between(&running, &plan);
        if !differences.fixed.is_empty() {
            return Err(Refusal::NotLive(format!(
                "this cannot change while the pipeline runs:{}\n\
                 Stop it and start it again, or take it back",
                list(&differences.fixed)
            ))
            .into());
        }
        let mut report = Report {
            changes: differences.live(),
            ..Report::default()
        };
        let takeovers = self.takeovers(&running, &plan, &mut report)?;
        if !differences.logic.is_empty() {
            let additions = self.check_sinks(&plan).await?;
            report.changes.extend(additions);
            self.rehearse(&running, &plan)?;
            self.ask_to_migrate(&running, &plan, &takeovers, &mut report)
                .await?;
        }
        if dry_run || report.changes.is_empty() {
            return Ok(report);
        }
        let pace = Pace::of(plan.pipeline());
        if differences.logic.is_empty() {
            self.changes.put(Change {
                logic: None,
                pace: Some(pace),
            });
            self.standing.done(&plan, None);
            self.reloading.files.send_replace(plan.files());
            if differences
                .settings
                .iter()
                .any(|setting| setting.starts_with("log."))
            {
                let level = plan.pipeline().log_level.as_deref();
                if let Err(error) = telemetry::set_level(level) {
                    tracing::warn!(%error, "the level of the log stays");
                }
            }
            tracing::info!(%trigger, changes = list(&report.changes), "settings are changed");
            return Ok(report);
        }
        keep_components(&*plan, &self.store, self.waiter())
            .await
            .map_err(|error| match error {
                PipelineError::StoppedWhileStarting(_) => Obstacle::Ending,
                error => Refusal::Invalid(full(&error)).into(),
            })?;
        let tables = self.migrated_tables(&plan, &takeovers).await?;
        let deployment = self.deployment(&plan, trigger);
        let version = deployment.version;
        let workers = plan.pipeline().workers;
        let mut change = Change::with(deployment, concludes, &*plan, workers, tables)
            .map_err(|error| Refusal::Invalid(full(&error)))?;
        change.pace = Some(pace);
        self.versions.learn(version, Arc::clone(&plan) as Arc<_>);
        self.standing.begin(&plan.blueprint().logic);
        self.changes.put(change);
        self.in_force(version).await?;
        self.standing.done(&plan, None);
        if !matches!(trigger, Trigger::Rollback | Trigger::Probation) {
            self.reloading.files.send_replace(plan.files());
        }
        self.monitor.reshape(plan.outline());
        self.monitor.reloaded(version);
        let changes = list(&report.changes);
        tracing::info!(%version, %trigger, changes, "another version of the logic is in force");
        let _ = requests
            .events
            .send(Happening::Deployed { version, trigger }.now());
        report.version = Some(version);
        Ok(report)
    }

    /// What is written down of a candidate.
    fn deployment(&self, plan: &Plan, trigger: Trigger) -> Deployment {
        let latest = self.versions.latest();
        let watched = trigger != Trigger::Probation && !plan.pipeline().reload.probation.is_zero();
        Deployment {
            version: latest.map_or(Version::FIRST, |deployment| deployment.version.next()),
            trigger,
            deployed_at: Utc::now(),
            epoch: EpochId::default(),
            positions: Positions::default(),
            blueprint: plan.blueprint().clone(),
            outcome: if watched {
                Outcome::Probation
            } else {
                Outcome::Accepted
            },
        }
    }

    /// What becomes of the states.
    fn takeovers(
        &self,
        running: &Plan,
        plan: &Plan,
        report: &mut Report,
    ) -> Result<Vec<(Arc<str>, Takeover)>, Refusal> {
        let (before, after) = (&running.blueprint().states, &plan.blueprint().states);
        let empty = serde_json::Map::new();
        let after = after.as_object().unwrap_or(&empty);
        let mut takeovers = Vec::new();
        let mut refused = Vec::new();
        for (name, states) in after {
            let takeover = takeover(before.get(name), states);
            match &takeover {
                Takeover::Unchanged => {}
                Takeover::New => report
                    .states
                    .push(format!("aggregate `{name}` begins with nothing")),
                Takeover::Migrated { from, to } => report.states.push(format!(
                    "the states of aggregate `{name}` are migrated from version {from} to {to}"
                )),
                Takeover::Refused(differences) => {
                    refused.extend(
                        differences
                            .iter()
                            .map(|d| format!("aggregate `{name}`: {d}")),
                    );
                }
            }
            takeovers.push((Arc::from(name.as_str()), takeover));
        }
        let gone = before.as_object().into_iter().flatten();
        let gone = gone.filter(|(name, _)| !after.contains_key(*name));
        for (name, _) in gone {
            report
                .states
                .push(format!("the states of aggregate `{name}` are dropped"));
        }
        if refused.is_empty() {
            return Ok(takeovers);
        }
        Err(Refusal::States(format!(
            "what the aggregates have kept so far does not fit any more:{}\n\
             Raise `state-version` in the component and write `migrate`, give the aggregate another name to \
             begin with nothing, or take the change back",
            list(&refused)
        )))
    }

    /// Waits until the ledger has a version.
    async fn in_force(&self, version: Version) -> Result<(), Obstacle> {
        tokio::select! {
            biased;
            () = self.versions.reached(version) => Ok(()),
            () = self.conclude.closed() => Err(Obstacle::Ending),
        }
    }

    /// Begins to watch a version that came into force.
    fn watch(&self, version: Version) -> Probation {
        let all = self.versions.all();
        let watched = all.iter().any(|deployment| {
            deployment.version == version && deployment.outcome == Outcome::Probation
        });
        let settings = self.standing.wanted().pipeline().reload;
        if !watched || self.version_before().is_err() {
            return Probation::none();
        }
        self.standing.watch(Some(version));
        Probation::of(version, settings, &self.versions)
    }

    /// A version has passed.
    async fn accept(&mut self, version: Version, requests: &Requests) {
        self.standing.watch(None);
        let outcome = Outcome::Accepted;
        // The ledger's task is gone only at the end of the run.
        let _ = self.conclude.send(Conclude { version, outcome }).await;
        self.versions.conclude(version, &Outcome::Accepted);
        tracing::info!(%version, "the version has passed its probation");
        let _ = requests.events.send(Happening::Accepted { version }.now());
    }

    /// Puts the version before into force again.
    async fn go_back(&mut self, reason: String, requests: &Requests) -> Result<(), PipelineError> {
        let Some(failed) = self.versions.latest() else {
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

    fn running(&self) -> Result<Arc<Plan>, Obstacle> {
        let latest = self.versions.latest().ok_or(Obstacle::Ending)?;
        let stages = self.versions.stages(latest.version);
        stages
            .ok()
            .and_then(|stages| stages.plan())
            .ok_or(Obstacle::Ending)
    }

    fn waiter(&self) -> Waiter<'_> {
        Waiter {
            stop: &self.stop,
            waits: self.monitor.waits(),
        }
    }

    /// Tells everybody who asks about deployments.
    fn publish(&self, requests: &Requests) {
        let statuses = self.versions.all().iter().map(Into::into).collect();
        requests.deployments.send_replace(Arc::new(statuses));
        let plan = self.standing.wanted();
        let description = Description::of(plan.pipeline(), &plan);
        requests.description.send_replace(Arc::new(description));
    }
}

/// The newest request of those that wait, if it is not only a question; the others are answered.
fn last_of(first: Request, waiting: &mut mpsc::Receiver<Request>) -> Request {
    let mut last = first;
    while !last.dry_run
        && let Ok(next) = waiting.try_recv()
    {
        if next.dry_run {
            let _ = next.answer.send(Err(Refusal::NotRunning(
                "another version is being put into force just now: ask again".to_owned(),
            )));
            continue;
        }
        let superseded = std::mem::replace(&mut last, next);
        let _ = superseded.answer.send(Err(Refusal::Superseded));
    }
    last
}

fn list(lines: &[String]) -> String {
    lines.iter().map(|line| format!("\n  - {line}")).collect()
}

/// How long somebody waits who looks whether a version is as good as the one before.
const LOOK_EVERY: Duration = Duration::from_millis(200);
