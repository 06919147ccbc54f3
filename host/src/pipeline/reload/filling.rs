//! Aggregates that are new get what came before them: folded beside the stream, and joined with what they
//! have made themselves, by a deployment of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::deploy::Candidate;
use super::prepare::bring_in_rounds;
use super::state::full;
use super::{Obstacle, Reloader};
use crate::aggregate::TableSnapshot;
use crate::deployment::{Backfills, Trigger, Version};
use crate::epoch::Incoming;
use crate::pipeline::backfill::{Filled, Lacking, store_half};
use crate::pipeline::change::{Halves, incoming};
use crate::pipeline::{PipelineError, Plan};
use crate::reload::{Happening, Refusal, Requests};

/// How far it has come with what is lacking now.
#[derive(Default)]
pub(super) enum Filling {
    /// nothing is
    #[default]
    Nothing,
    Folding(Folding),
    /// it is to join
    Folded(Filled),
    /// it is not tried again with this version
    Failed(Lacking, Version),
}

pub(super) struct Folding {
    lacking: Lacking,
    version: Version,
    task: JoinHandle<Result<Option<Filled>, PipelineError>>,
    stop: CancellationToken,
}

impl Filling {
    fn lacking(&self) -> Option<&Lacking> {
        match self {
            Self::Nothing => None,
            Self::Folding(folding) => Some(&folding.lacking),
            Self::Folded(filled) => Some(&filled.lacking),
            Self::Failed(lacking, _) => Some(lacking),
        }
    }

    pub(super) fn is_folded(&self) -> bool {
        matches!(self, Self::Folded(_))
    }

    /// Whether there is a deployment to come by it.
    fn is_under_way(&self) -> bool {
        matches!(self, Self::Folding(_) | Self::Folded(_))
    }

    /// Does what the version in force lacks, and nothing else.
    pub(super) async fn keep_up(&mut self, reloader: &Reloader) {
        let latest = reloader.coming.versions.latest();
        let wanted = latest.and_then(|d| Some((d.version, Lacking::next(&d.backfills)?)));
        let covers = |(version, wanted): &(Version, Lacking)| {
            let has_failed_before = matches!(&*self, Self::Failed(_, with) if with != version);
            !has_failed_before && self.lacking().is_some_and(|l| l.covers(wanted))
        };
        if wanted.as_ref().is_none_or(|wanted| !covers(wanted)) {
            self.end().await;
            if let Some((version, lacking)) = wanted {
                tracing::info!(
                    aggregates = lacking.names(),
                    "reading the topic from its start for what is new"
                );
                let stop = reloader.stop.child_token();
                let folding = reloader.backfill.clone();
                let folding = folding.fold(version, lacking.clone(), stop.clone());
                *self = Self::Folding(Folding {
                    lacking,
                    version,
                    task: tokio::spawn(folding),
                    stop,
                });
            }
        }
        reloader.coming.changes.expect(self.is_under_way());
    }

    /// Waits until it is folded; for ever, where nothing is.
    pub(super) async fn folded(&mut self) -> Result<(), PipelineError> {
        let Self::Folding(folding) = self else {
            return std::future::pending().await;
        };
        let ended = (&mut folding.task).await.unwrap_or_else(|error| {
            Err(PipelineError::Panicked {
                part: "a backfill".to_owned(),
                message: error.to_string(),
            })
        });
        let (lacking, version) = (folding.lacking.clone(), folding.version);
        *self = match ended {
            Ok(Some(filled)) => Self::Folded(filled),
            // The run ends.
            Ok(None) => Self::Nothing,
            Err(error) => {
                *self = Self::Failed(lacking, version);
                return Err(error);
            }
        };
        Ok(())
    }

    /// What lacks cannot be made: told, and the rest goes on.
    pub(super) fn tell_failure(&self, reason: String, requests: &Requests) {
        let aggregates = self.lacking().map(Lacking::names).unwrap_or_default();
        tracing::error!(
            aggregates,
            reason,
            "what came before them cannot be folded, and so they stay hidden: the rest goes on; the next \
             version of the pipeline, or the next start, tries it again"
        );
        let _ = requests
            .events
            .send(Happening::BackfillFailed { aggregates, reason }.now());
    }

    /// Gives it up, and waits until everything has ended that it has started.
    pub(super) async fn end(&mut self) {
        if let Self::Folding(folding) = std::mem::take(self) {
            folding.stop.cancel();
            // It is given up, whatever it says.
            let _ = folding.task.await;
        }
    }
}

impl Reloader {
    /// Has what was folded join: with an epoch of its own, after which the aggregates are whole and shown.
    pub(super) async fn join(
        &mut self,
        filling: &mut Filling,
        requests: &Requests,
    ) -> Result<(), Obstacle> {
        let Filling::Folded(filled) = std::mem::take(filling) else {
            return Ok(());
        };
        let version = self.latest()?.version;
        *filling = Filling::Failed(filled.lacking.clone(), version);
        self.coming.versions.join(true);
        let joined = self.join_with(&filled, requests).await;
        self.coming.versions.join(false);
        joined
    }

    async fn join_with(&mut self, filled: &Filled, requests: &Requests) -> Result<(), Obstacle> {
        // The logic in force, with the settings that hold by now.
        let (running, latest) = (self.standing.wanted(), self.latest()?);
        let lacking = |table: &&TableSnapshot| latest.backfills.hides(&table.aggregate);
        let (mut halves, mut joined) = (Halves::new(), BTreeMap::new());
        for table in filled.tables.iter().filter(lacking) {
            let at = (latest.epoch, self.generation);
            let stored = store_half(&self.store, at, table, self.waiter()).await;
            let (half, files) = stored.map_err(|error| match error {
                PipelineError::StoppedWhileStarting(_) => Obstacle::Ending,
                error => Refusal::States(full(&error)).into(),
            })?;
            halves.insert(Arc::clone(&table.aggregate), half);
            joined.insert(table.aggregate.to_string(), files);
        }
        let backfills = latest.backfills.join(joined);
        let tables = self.halves_of(&running, &backfills, &halves).await?;
        let candidate = Candidate {
            plan: running,
            trigger: Trigger::Backfill,
            concludes: None,
        };
        let deployment = self.deployment(&candidate, backfills);
        let version = deployment.version;
        self.coming.versions.learn_halves(version, halves);
        self.swap(candidate, deployment, tables).await?;
        tracing::info!(
            aggregates = filled.lacking.names(),
            %version,
            rejected = filled.rejected,
            "they have everything from the start of the topic on, and are shown from here on"
        );
        let trigger = Trigger::Backfill;
        let _ = requests
            .events
            .send(Happening::Deployed { version, trigger }.now());
        Ok(())
    }

    /// The tables of the version in force, those that are to be whole with what they lack and all but a
    /// little of what they have.
    async fn halves_of(
        &self,
        running: &Arc<Plan>,
        backfills: &Backfills,
        halves: &Halves,
    ) -> Result<Vec<Incoming>, Obstacle> {
        let (plan, backfills) = (Arc::clone(running), backfills.clone());
        let names = halves.keys().cloned().collect();
        let halves = halves.clone();
        let made = tokio::task::spawn_blocking(move || incoming(&*plan, &backfills, &halves));
        let made = made.await.map_err(|_| Obstacle::Ending)?;
        let tables = made.map_err(|error| Refusal::States(full(&error)))?;
        bring_in_rounds(tables, &names, &self.looks).await
    }
}
