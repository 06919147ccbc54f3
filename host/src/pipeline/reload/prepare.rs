//! What is done for a version before it comes into force, beside the stream.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::state::full;
use super::{Obstacle, Reloader, list};
use crate::aggregate::{StateKind, StateTable, TableSnapshot, Takeover};
use crate::deduplicate::Seen;
use crate::deployment::Backfills;
use crate::epoch::Incoming;
use crate::pipeline::Plan;
use crate::pipeline::change::{Halves, incoming};
use crate::pipeline::look::Looks;
use crate::pipeline::topology::Stages;
use crate::pipeline::worker::Worker;
use crate::record::{Cause, DeadLetter, RawBatch};
use crate::reload::{Refusal, Report};
use crate::sink::Sink;

/// So few states that changed meanwhile are migrated when the version comes into force.
const STATES_LEFT_MAX: usize = 2_000;
/// Rounds of migrating what changed meanwhile, at most.
const ROUNDS_MAX: usize = 20;
/// Below so many records, a rehearsal does not look at the share of those that are rejected.
const REHEARSED_MIN: usize = 100;

impl Reloader {
    /// Asks the servers whether the tables and indices fit that are there, and changes nothing. What these
    /// will get, a sentence each.
    pub(super) async fn check_sinks(&self, plan: &Plan) -> Result<Vec<String>, Obstacle> {
        let waits = self.monitor.unseen();
        let endpoints = (self.connect)(waits.waits());
        let mut endpoints = endpoints.map_err(|error| Refusal::Invalid(full(&error)))?;
        let targets = plan.targets();
        let (mut faults, mut additions) = (Vec::new(), Vec::new());
        let ledger: &mut dyn Sink = &mut *endpoints.ledger;
        let others = endpoints
            .sinks
            .iter_mut()
            .map(|sink| &mut **sink as &mut dyn Sink);
        for sink in std::iter::once(ledger).chain(others) {
            let checked = match sink.aim(&targets) {
                Ok(()) => sink.check().await,
                Err(error) => Err(error),
            };
            match checked {
                Ok(gets) => additions.extend(gets),
                // Whoever is away is met again by its task, which waits.
                Err(error) if error.remedy() == crate::sink::Remedy::Stop => {
                    faults.push(full(&error));
                }
                Err(_) => {}
            }
        }
        if faults.is_empty() {
            return Ok(additions);
        }
        Err(Refusal::Invalid(format!("the sinks do not fit:{}", list(&faults))).into())
    }

    /// Runs both versions on the last records, and compares what they leave out.
    pub(super) fn rehearse(&self, running: &Plan, plan: &Plan) -> Result<(), Obstacle> {
        let batch = self.coming.sample.last();
        if batch.is_empty() {
            return Ok(());
        }
        let rehearsed = |error| Refusal::Rehearsal(format!("on the last records {}", full(&error)));
        let before = self.try_out(running, &batch).unwrap_or_default();
        let after = self.try_out(plan, &batch).map_err(rehearsed)?;
        let failed = |letters: &[DeadLetter]| {
            let failed = letters
                .iter()
                .filter(|letter| letter.cause == Cause::Failed);
            failed
                .map(|letter| letter.reason.clone())
                .collect::<Vec<_>>()
        };
        if failed(&before).is_empty()
            && let Some(first) = failed(&after).first()
        {
            return Err(Refusal::Rehearsal(format!(
                "its code fails on {} of the last {} records, on which the running version does not: {first}",
                failed(&after).len(),
                batch.len()
            ))
            .into());
        }
        let share = |letters: &[DeadLetter]| letters.len() as f64 / batch.len() as f64;
        let most = share(&before) + plan.pipeline().reload.rejected_share;
        if batch.len() >= REHEARSED_MIN && share(&after) > most {
            let example = after
                .iter()
                .find(|letter| before.iter().all(|before| before.origin != letter.origin));
            return Err(Refusal::Rehearsal(format!(
                "it rejects {} of the last {} records, and the running version {} (`rejected_share` of `[reload]`), such as: {}",
                after.len(),
                batch.len(),
                before.len(),
                example.map_or("", |letter| letter.reason.as_str())
            ))
            .into());
        }
        Ok(())
    }

    /// What a version leaves out of a batch.
    fn try_out(
        &self,
        plan: &Plan,
        batch: &RawBatch,
    ) -> Result<Vec<DeadLetter>, crate::pipeline::PipelineError> {
        let chain = plan.chain()?;
        let mut worker = Worker::new(chain, &Seen::new(), 0, self.monitor.unseen());
        crate::blocking::off_the_runtime(|| worker.try_out(batch))
    }

    /// Asks the new logic whether it can migrate the states, and the old one whether there is a way
    /// back.
    pub(super) fn ask_to_migrate(
        running: &Plan,
        plan: &Plan,
        takeovers: &[(Arc<str>, Takeover)],
        report: &mut Report,
    ) -> Result<(), Obstacle> {
        let migrated = migrated(takeovers);
        if migrated.is_empty() {
            return Ok(());
        }
        let before = kinds(running)?;
        let after = kinds(plan)?;
        let mut tables = tables(plan)?;
        for table in tables
            .iter_mut()
            .filter(|table| migrated.contains(table.name()))
        {
            if let Some(kind) = before.get(table.name()) {
                let asked = table.ask_to_migrate(kind);
                asked.map_err(|error| Refusal::States(full(&error)))?;
            }
        }
        let mut former = self::tables(running)?;
        for table in former
            .iter_mut()
            .filter(|table| migrated.contains(table.name()))
        {
            if let Some(kind) = after.get(table.name())
                && let Err(error) = table.ask_to_migrate(kind)
            {
                report.warnings.push(format!(
                    "there is no way back for the states of aggregate `{}`: {}",
                    table.name(),
                    full(&error)
                ));
            }
        }
        Ok(())
    }

    /// The tables of states of a version: those that it migrates have what there is, but for little
    /// that has changed meanwhile.
    pub(super) async fn migrated_tables(
        &self,
        plan: &Plan,
        backfills: &Backfills,
        takeovers: &[(Arc<str>, Takeover)],
    ) -> Result<Vec<Incoming>, Obstacle> {
        let incoming = incoming(plan, backfills, &Halves::new());
        let incoming = incoming.map_err(|error| Refusal::Invalid(full(&error)))?;
        let migrated = migrated(takeovers);
        if migrated.is_empty() {
            return Ok(incoming);
        }
        bring_in_rounds(incoming, &migrated, &self.looks).await
    }
}

/// Brings what there is of some aggregates into their tables, but for little that has changed meanwhile.
pub(super) async fn bring_in_rounds(
    mut incoming: Vec<Incoming>,
    aggregates: &BTreeSet<Arc<str>>,
    looks: &Looks,
) -> Result<Vec<Incoming>, Obstacle> {
    for _ in 0..ROUNDS_MAX {
        let looked = looks.ask(aggregates.clone()).await;
        let snapshots = looked.ok_or(Obstacle::Ending)?;
        let (back, states) = bring_in(incoming, snapshots).await?;
        incoming = back;
        if states <= STATES_LEFT_MAX {
            break;
        }
    }
    Ok(incoming)
}

/// Brings what is new into the tables, on a thread for such work.
async fn bring_in(
    mut incoming: Vec<Incoming>,
    snapshots: Vec<TableSnapshot>,
) -> Result<(Vec<Incoming>, usize), Obstacle> {
    let work = move || {
        let mut states = 0;
        for snapshot in &snapshots {
            let mut tables = incoming.iter_mut();
            let table = tables.find(|table| *table.states.name() == snapshot.aggregate);
            if let Some(table) = table {
                states += table.states.bring_in(snapshot)?;
            }
        }
        Ok((incoming, states))
    };
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|_| Obstacle::Ending)?;
    done.map_err(|error: crate::aggregate::AggregateError| Refusal::States(full(&error)).into())
}

fn migrated(takeovers: &[(Arc<str>, Takeover)]) -> BTreeSet<Arc<str>> {
    let migrated = takeovers
        .iter()
        .filter(|(_, t)| matches!(t, Takeover::Migrated { .. }));
    migrated.map(|(name, _)| Arc::clone(name)).collect()
}

fn tables(plan: &Plan) -> Result<Vec<StateTable>, Refusal> {
    let states = plan
        .states()
        .map_err(|error| Refusal::Invalid(full(&error)))?;
    Ok(states.into_iter().map(|(table, _)| table).collect())
}

fn kinds(plan: &Plan) -> Result<BTreeMap<Arc<str>, StateKind>, Refusal> {
    let kind = |mut table: StateTable| (Arc::clone(table.name()), table.snapshot().kind);
    Ok(tables(plan)?.into_iter().map(kind).collect())
}
