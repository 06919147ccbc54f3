//! Somebody who puts other versions into force: as the one who reloads does it, at any moment.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::DateTime;

use super::bugs::Bug;
use super::dice::Dice;
use super::line::RunningLine;
use super::logic::{Logic, Program};
use crate::aggregate::StateTable;
use crate::deployment::{Backfills, Deployment, Outcome, Trigger, Version};
use crate::epoch::{EpochId, Incoming};
use crate::pipeline::PipelineError;
use crate::pipeline::change::Change;
use crate::pipeline::topology::{Coming, Stages};
use crate::record::Positions;

/// Of one host.
pub(super) struct Reloading {
    pub(super) coming: Coming,
    pub(super) workers: usize,
    pub(super) remembered: usize,
    /// what has to come into force first
    pub(super) wanted: Option<Logic>,
    /// how likely it is at a step
    pub(super) rate: f64,
    /// the version that was put last
    pub(super) put: Option<Version>,
    pub(super) bug: Option<Bug>,
}

impl Reloading {
    /// Perhaps has another version come into force.
    pub(super) fn step(
        &mut self,
        line: &mut RunningLine,
        dice: &Dice,
    ) -> Result<(), PipelineError> {
        if !line.is_live() || (self.wanted.is_none() && !dice.chance(self.rate)) {
            return Ok(());
        }
        let latest = self
            .coming
            .versions
            .latest()
            .map_or(Version::FIRST, |d| d.version);
        let is_under_way = self.put.is_some_and(|put| put > latest);
        // A later one wins, unless the former was taken.
        if is_under_way && self.coming.changes.take().is_none() {
            return Ok(());
        }
        let logic = self.wanted.take().unwrap_or_else(|| Logic {
            remembered: self.remembered,
            program: Program::any(dice),
        });
        let version = latest.next();
        let mut tables = Vec::new();
        for (mut states, shown) in logic.states()? {
            if dice.chance(0.7) {
                self.bring_in(&mut states, line)?;
            }
            tables.push(Incoming { states, shown });
        }
        let deployment = Deployment {
            version,
            trigger: Trigger::File,
            deployed_at: DateTime::UNIX_EPOCH,
            epoch: EpochId::default(),
            positions: Positions::default(),
            blueprint: logic.blueprint(),
            backfills: Backfills::default(),
            outcome: Outcome::Accepted,
        };
        let change = Change::with(deployment, None, &logic, self.workers, tables)?;
        self.coming.versions.learn(version, Arc::new(logic));
        self.coming.changes.put(change);
        self.put = Some(version);
        Ok(())
    }

    /// Migrates what there is, if it has to be.
    fn bring_in(
        &self,
        states: &mut StateTable,
        line: &mut RunningLine,
    ) -> Result<(), PipelineError> {
        let name = BTreeSet::from([Arc::clone(states.name())]);
        for before in line.look(&name) {
            if states.migrates(&before.kind) {
                states.bring_in(&before)?;
                if self.bug == Some(Bug::MigratedTooEarly) {
                    states.forget_what_comes();
                }
            }
        }
        Ok(())
    }
}
