//! Which version is asked for: one of the files, or a former one.

use std::sync::Arc;

use super::deploy::Candidate;
use super::state::full;
use super::{Obstacle, Reloader};
use crate::deployment::{Outcome, Trigger, Version};
use crate::pipeline::topology::Stages;
use crate::pipeline::{PipelineError, Plan, versions};
use crate::reload::{Refusal, Wanted};

impl Reloader {
    /// What is asked for.
    pub(super) async fn candidate(
        &self,
        wanted: Wanted,
        trigger: Trigger,
    ) -> Result<Candidate, Obstacle> {
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
        let in_force = self
            .coming
            .versions
            .latest()
            .map(|deployment| deployment.version);
        Ok(Candidate {
            plan,
            trigger: Trigger::Rollback,
            concludes: in_force.map(|version| (version, Outcome::RolledBack { reason })),
        })
    }

    /// The newest version before the one in force that is another one and was not rolled back.
    pub(super) fn version_before(&self) -> Result<Version, Refusal> {
        let all = self.coming.versions.all();
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
    pub(super) async fn former(&self, version: Version) -> Result<Arc<Plan>, Obstacle> {
        let all = self.coming.versions.all();
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
        let from = (&*sibling as &dyn Stages, &self.store);
        let made = versions::load(version, &deployment.blueprint, from, self.waiter()).await;
        match made {
            Ok(stages) => stages.plan().ok_or(Obstacle::Ending),
            Err(PipelineError::StoppedWhileStarting(_)) => Err(Obstacle::Ending),
            Err(error) => Err(Refusal::NoSuchVersion(full(&error)).into()),
        }
    }
}
