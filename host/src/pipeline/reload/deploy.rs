//! From a candidate to the version in force.

use std::sync::Arc;

use chrono::Utc;

use super::differences::Differences;
use super::state::full;
use super::{Obstacle, Reloader, list};
use crate::aggregate::{Takeover, takeover};
use crate::deployment::{Backfills, Deployment, Outcome, Trigger, Version};
use crate::epoch::{EpochId, Incoming};
use crate::pipeline::change::{Change, Pace};
use crate::pipeline::start::keep_components;
use crate::pipeline::topology::Stages;
use crate::pipeline::tuning::Tuning;
use crate::pipeline::waiter::Waiter;
use crate::pipeline::{PipelineError, Plan};
use crate::record::Positions;
use crate::reload::{Happening, Refusal, Report, Requests, Settle};
use crate::telemetry;

/// What is to come into force, and why.
pub(super) struct Candidate {
    pub(super) plan: Arc<Plan>,
    pub(super) trigger: Trigger,
    /// what is written down of the version before, in the same transaction
    pub(super) concludes: Option<(Version, Outcome)>,
}

impl Reloader {
    /// Has a candidate come into force, or says what that would do.
    pub(super) async fn deploy(
        &mut self,
        candidate: Candidate,
        dry_run: bool,
        requests: &Requests,
    ) -> Result<Report, Obstacle> {
        let Candidate { plan, trigger, .. } = &candidate;
        let (trigger, running) = (*trigger, self.running()?);
        // Settings may have changed since the version came into force.
        let holds = self.standing.wanted();
        let differences = Differences::between((&running, holds.pipeline()), plan);
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
        let before = self.latest()?.backfills;
        let takeovers = takeovers((&running, &before), plan, &mut report)?;
        if !differences.logic.is_empty() {
            let additions = self.check_sinks(plan).await?;
            report.changes.extend(additions);
            self.rehearse(&running, plan)?;
            Self::ask_to_migrate(&running, plan, &takeovers, &mut report)?;
        }
        let settle = self.prepare_answers(plan).await?;
        if dry_run || report.changes.is_empty() {
            return Ok(report);
        }
        if differences.logic.is_empty() {
            self.coming.changes.put(Change {
                logic: None,
                pace: Some(Pace::of(plan.pipeline())),
            });
            self.standing.settled(plan);
            self.reloading.files.send_replace(plan.files());
            self.change_settings(plan, &differences, settle);
            let changes = list(&differences.settings);
            tracing::info!(%trigger, changes, "settings are changed");
            return Ok(report);
        }
        let (plan, backfills) = (Arc::clone(plan), backfills(&before, plan, &takeovers));
        let version = self.swap_to(candidate, backfills, &takeovers).await?;
        self.change_settings(&plan, &differences, settle);
        let changes = list(&report.changes);
        tracing::info!(%version, %trigger, changes, "another version of the logic is in force");
        let deployed = Happening::Deployed { version, trigger };
        let _ = requests.events.send(deployed.now());
        report.version = Some(version);
        Ok(report)
    }

    /// What it takes to answer as `[admin]` of a version says.
    async fn prepare_answers(&self, plan: &Plan) -> Result<Option<Settle>, Obstacle> {
        let Some(answering) = &self.reloading.answering else {
            return Ok(None);
        };
        let settle = answering.prepare(plan.pipeline().admin.as_ref()).await;
        Ok(Some(settle.map_err(Refusal::Invalid)?))
    }

    /// What is neither logic nor pace takes effect at once.
    fn change_settings(&self, plan: &Plan, differences: &Differences, settle: Option<Settle>) {
        self.coming.tuning.send_replace(Tuning::of(plan.pipeline()));
        if let Some(settle) = settle {
            settle();
        }
        let is_level = |setting: &String| setting.starts_with("log.");
        if differences.settings.iter().any(is_level) {
            let level = plan.pipeline().log_level.as_deref();
            if let Err(error) = telemetry::set_level(level) {
                tracing::warn!(%error, "the level of the log stays");
            }
        }
    }

    /// Has a candidate that was found good come into force; its version.
    async fn swap_to(
        &mut self,
        candidate: Candidate,
        backfills: Backfills,
        takeovers: &[(Arc<str>, Takeover)],
    ) -> Result<Version, Obstacle> {
        keep_components(&*candidate.plan, &self.store, self.waiter())
            .await
            .map_err(|error| match error {
                PipelineError::StoppedWhileStarting(_) => Obstacle::Ending,
                error => Refusal::Invalid(full(&error)).into(),
            })?;
        let migrated = self.migrated_tables(&candidate.plan, &backfills, takeovers);
        let tables = migrated.await?;
        let deployment = self.deployment(&candidate, backfills);
        self.swap(candidate, deployment, tables).await
    }

    /// Has a version come into force for which all is there.
    pub(super) async fn swap(
        &mut self,
        candidate: Candidate,
        deployment: Deployment,
        tables: Vec<Incoming>,
    ) -> Result<Version, Obstacle> {
        let Candidate {
            plan,
            trigger,
            concludes,
        } = candidate;
        let version = deployment.version;
        let lacks_something = !deployment.backfills.under_way.is_empty();
        let workers = plan.pipeline().workers;
        let mut change = Change::with(deployment, concludes, &*plan, workers, tables)
            .map_err(|error| Refusal::Invalid(full(&error)))?;
        change.pace = Some(Pace::of(plan.pipeline()));
        self.coming
            .versions
            .learn(version, Arc::clone(&plan) as Arc<_>);
        self.standing.begin(&plan.blueprint().logic);
        // A run to an end waits for what is filled then.
        self.coming.changes.expect(lacks_something);
        self.coming.changes.put(change);
        self.in_force(version).await?;
        self.standing.done(&plan, None);
        let is_of_files = matches!(
            trigger,
            Trigger::Start | Trigger::File | Trigger::Signal | Trigger::Api
        );
        if is_of_files {
            self.reloading.files.send_replace(plan.files());
        }
        self.monitor.reshape(plan.outline());
        self.monitor.reloaded(version);
        Ok(version)
    }

    /// What is written down of a candidate.
    pub(super) fn deployment(&self, candidate: &Candidate, backfills: Backfills) -> Deployment {
        let Candidate { plan, trigger, .. } = candidate;
        let latest = self.coming.versions.latest();
        let is_watched = !matches!(trigger, Trigger::Probation | Trigger::Backfill)
            && !plan.pipeline().reload.probation.is_zero();
        let version = latest.map_or(Version::FIRST, |deployment| deployment.version.next());
        Deployment {
            version,
            trigger: *trigger,
            deployed_at: Utc::now(),
            epoch: EpochId::default(),
            positions: Positions::default(),
            blueprint: plan.blueprint().clone(),
            backfills,
            former: self.coming.versions.rejections_before(version),
            outcome: if is_watched {
                Outcome::Probation
            } else {
                Outcome::Accepted
            },
        }
    }

    /// Waits until the ledger has a version.
    async fn in_force(&self, version: Version) -> Result<(), Obstacle> {
        tokio::select! {
            biased;
            () = self.coming.versions.reached(version) => Ok(()),
            () = self.coming.conclude.closed() => Err(Obstacle::Ending),
        }
    }

    /// The version in force.
    pub(super) fn latest(&self) -> Result<Deployment, Obstacle> {
        self.coming.versions.latest().ok_or(Obstacle::Ending)
    }

    pub(super) fn running(&self) -> Result<Arc<Plan>, Obstacle> {
        let stages = self.coming.versions.stages(self.latest()?.version);
        stages.ok().and_then(Stages::plan).ok_or(Obstacle::Ending)
    }

    pub(super) fn waiter(&self) -> Waiter<'_> {
        Waiter {
            stop: &self.stop,
            waits: self.monitor.waits(),
        }
    }
}

/// What becomes of the states, of those too that lack something.
fn takeovers(
    (running, lacking): (&Plan, &Backfills),
    plan: &Plan,
    report: &mut Report,
) -> Result<Vec<(Arc<str>, Takeover)>, Refusal> {
    let (before, after) = (&running.blueprint().states, &plan.blueprint().states);
    let empty = serde_json::Map::new();
    let after = after.as_object().unwrap_or(&empty);
    let backfilled = plan.backfilled();
    let mut takeovers = Vec::new();
    let mut refused = Vec::new();
    for (name, states) in after {
        let takeover = takeover(before.get(name), states);
        match &takeover {
            Takeover::Unchanged => {}
            Takeover::New if backfilled.contains(name) => report.states.push(format!(
                "aggregate `{name}` is filled from the start of the topic, and shown when it is whole"
            )),
            Takeover::New => report
                .states
                .push(format!("aggregate `{name}` begins with nothing")),
            Takeover::Migrated { .. } if lacking.hides(name) => refused.push(format!(
                "aggregate `{name}`: it is being filled from the start of the topic just now, by states of another version; wait until it is whole, or remove it first"
            )),
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

/// What the aggregates of a version lack: those that are new, if they want it, and those that lacked it
/// before.
fn backfills(before: &Backfills, plan: &Plan, takeovers: &[(Arc<str>, Takeover)]) -> Backfills {
    let wanted = plan.backfilled();
    let mut backfills = Backfills::default();
    for (name, takeover) in takeovers {
        match takeover {
            Takeover::New if wanted.contains(&**name) => backfills.add(name.to_string()),
            Takeover::New => {}
            _ => backfills.go_on(name, before),
        }
    }
    backfills
}
