//! Somebody who puts other versions into force: as the one who reloads does it, at any moment.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::DateTime;

use super::bugs::Bug;
use super::dice::Dice;
use super::filling::{Filling, Joining};
use super::line::RunningLine;
use super::logic::{EXTRA, Logic, May, Program};
use crate::aggregate::StateTable;
use crate::deployment::{Backfills, Deployment, Outcome, Rejections, Trigger, Version};
use crate::epoch::{EpochId, Incoming};
use crate::pipeline::PipelineError;
use crate::pipeline::change::{Change, incoming};
use crate::pipeline::commit::Conclude;
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
    pub(super) may: May,
    /// the version that was put last
    pub(super) put: Option<Version>,
    /// the one that has passed last
    pub(super) accepted: Option<Version>,
    pub(super) bug: Option<Bug>,
}

impl Reloading {
    /// Perhaps has another version come into force.
    pub(super) fn step(
        &mut self,
        line: &mut RunningLine,
        filling: &mut Filling,
        dice: &Dice,
    ) -> Result<(), PipelineError> {
        let Some(latest) = self.coming.versions.latest().filter(|_| line.is_live()) else {
            return Ok(());
        };
        let is_under_way = self.put.is_some_and(|put| put > latest.version);
        if self.wanted.is_none()
            && !is_under_way
            && let Some(joining) = filling.take()
        {
            return self.join(&latest, joining, line, dice);
        }
        if self.wanted.is_none() && !is_under_way && self.judge(&latest, line, dice)? {
            return Ok(());
        }
        if self.wanted.is_none() && !dice.chance(self.rate) {
            return Ok(());
        }
        // A later one wins, unless the former was taken.
        if is_under_way && self.coming.changes.take().is_none() {
            return Ok(());
        }
        let wanted = self.wanted.take();
        let program = wanted.map_or_else(|| Program::any(dice, self.may), |logic| logic.program);
        let on_trial = self.may.reject && dice.chance(0.7);
        let outcome = if on_trial {
            Outcome::Probation
        } else {
            Outcome::Accepted
        };
        self.change_to(program, (&latest, outcome, None), line, dice)
    }

    /// Decides, perhaps, about a version that is on trial: it passes, or the one before it comes back. Whether
    /// something was put by that.
    fn judge(
        &mut self,
        latest: &Deployment,
        line: &mut RunningLine,
        dice: &Dice,
    ) -> Result<bool, PipelineError> {
        let is_open = latest.outcome == Outcome::Probation && self.accepted != Some(latest.version);
        if !is_open || !dice.chance(0.2) {
            return Ok(false);
        }
        let version = latest.version;
        let all = self.coming.versions.all();
        let is_good = |d: &&Deployment| !matches!(d.outcome, Outcome::RolledBack { .. });
        let former = all.iter().filter(|d| d.version < version).rfind(is_good);
        let Some(former) = former.filter(|_| dice.chance(0.7)) else {
            let outcome = Outcome::Accepted;
            let told = self.coming.conclude.try_send(Conclude { version, outcome });
            if told.is_ok() {
                self.accepted = Some(version);
            }
            return Ok(false);
        };
        let reason = "it is bad".to_owned();
        let concludes = Some((version, Outcome::RolledBack { reason }));
        let program = Program::of(&former.blueprint);
        self.change_to(program, (latest, Outcome::Accepted, concludes), line, dice)?;
        Ok(true)
    }

    /// Has a version come into force.
    fn change_to(
        &mut self,
        program: Program,
        (latest, outcome, concludes): (&Deployment, Outcome, Option<(Version, Outcome)>),
        line: &mut RunningLine,
        dice: &Dice,
    ) -> Result<(), PipelineError> {
        let mut logic = Logic {
            remembered: self.remembered,
            program,
        };
        let before = Program::of(&latest.blueprint);
        let is_new = program.has_extra && program.backfills && !before.has_extra;
        if is_new || (program.has_extra && latest.backfills.hides(EXTRA)) {
            // What came before is decided by whichever version is in force then.
            logic.program.is_picky = false;
        }
        let mut backfills = Backfills::default();
        if logic.program.has_extra && before.has_extra {
            if latest.backfills.hides(EXTRA) {
                // States that lack something are not migrated.
                logic.program.unit = before.unit;
            }
            backfills.go_on(EXTRA, &latest.backfills);
        } else {
            let new = logic.backfilled().into_iter();
            new.for_each(|name| backfills.add(name));
        }
        let mut tables = Vec::new();
        for (mut states, shown) in logic.states()? {
            if dice.chance(0.7) {
                self.bring_in(&mut states, line)?;
            }
            let is_hidden =
                backfills.hides(states.name()) && self.bug != Some(Bug::ShownBeforeWhole);
            let shown = shown && !is_hidden;
            tables.push(Incoming { states, shown });
        }
        self.put(latest, (outcome, concludes), logic, (backfills, tables))
    }

    /// Has aggregates join with what they lacked.
    fn join(
        &mut self,
        latest: &Deployment,
        (halves, joined): Joining,
        line: &mut RunningLine,
        dice: &Dice,
    ) -> Result<(), PipelineError> {
        let logic = Logic {
            remembered: self.remembered,
            program: Program::of(&latest.blueprint),
        };
        let backfills = latest.backfills.join(joined);
        let mut tables = incoming(&logic, &backfills, &halves)?;
        for table in tables.iter_mut().filter(|table| table.states.is_a_half()) {
            if dice.chance(0.7) {
                let name = BTreeSet::from([Arc::clone(table.states.name())]);
                for other in line.look(&name) {
                    table.states.bring_in(&other)?;
                }
                if self.bug == Some(Bug::JoinedTooEarly) {
                    table.states.close();
                }
            }
        }
        self.coming
            .versions
            .learn_halves(latest.version.next(), halves);
        let outcome = latest.outcome.clone();
        self.put(latest, (outcome, None), logic, (backfills, tables))
    }

    fn put(
        &mut self,
        latest: &Deployment,
        (outcome, concludes): (Outcome, Option<(Version, Outcome)>),
        logic: Logic,
        (backfills, tables): (Backfills, Vec<Incoming>),
    ) -> Result<(), PipelineError> {
        let version = latest.version.next();
        let deployment = Deployment {
            version,
            trigger: if concludes.is_some() {
                Trigger::Probation
            } else if backfills.joined.is_empty() {
                Trigger::File
            } else {
                Trigger::Backfill
            },
            deployed_at: DateTime::UNIX_EPOCH,
            epoch: EpochId::default(),
            positions: Positions::default(),
            blueprint: logic.blueprint(),
            backfills,
            former: Rejections::default(),
            outcome,
        };
        let mut change = Change::with(deployment, concludes, &logic, self.workers, tables)?;
        if self.bug == Some(Bug::BeginForgotten) {
            let chains = change.logic.iter_mut().flat_map(|logic| &mut logic.chains);
            let aggregates = chains.flat_map(|chain| &mut chain.aggregates);
            aggregates.for_each(|aggregate| aggregate.begin = None);
        }
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
                    states.close();
                }
            }
        }
        Ok(())
    }
}
