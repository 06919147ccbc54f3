//! What happens before the first record: waiting for servers, claiming the pipeline, restoring the
//! states, finding out where to read on.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use chrono::Utc;

use super::laps::{Laps, StartTimes};
use super::path::Path;
use super::patience::{CHECKPOINTS, DEAD_LETTERS, Patience, shown};
use super::reader::Rebuild;
use super::recover::{self, Recovered, Restored, Trouble, recover};
use super::topology::{Settings, Stages};
use super::turns::{Gone, skip_committed, skip_unread};
use super::versions::Versions;
use super::waiter::{Waiter, partitions, patiently, seek, wait_for};
use super::{Endpoints, OpenSource, PipelineError};
use crate::checkpoint::{CheckpointError, CheckpointStore};
use crate::dead_letter::DeadLetterSink;
use crate::deployment::{Backfills, Deployment, Outcome, Rejections, Trigger, Version};
use crate::epoch::{Deployed, EpochId, EpochOutput, JournalEntry};
use crate::record::Positions;
use crate::sink::{Claim, Ledger, Remedy, Sink, Targets};
use crate::source::{PartitionRange, Source, check_positions};

/// Where a run begins.
#[derive(Debug)]
pub(super) struct Beginning {
    /// the last committed epoch
    pub(super) epoch: EpochId,
    /// the version that is in force then
    pub(super) version: Version,
    /// the version of the states that reading begins with
    pub(super) first: Version,
    /// where neither a checkpoint nor the journal reaches back far enough
    pub(super) rebuild: Option<Rebuild>,
    /// committed epochs since the checkpoint, or since the rebuilt ones, in order
    pub(super) replay: VecDeque<JournalEntry>,
    /// the last epoch that every sink has confirmed, but for those that lag behind what is replayed
    pub(super) confirmed: EpochId,
    /// the positions that live epochs begin at
    pub(super) live: Positions,
    /// the ends of all partitions as they are now
    pub(super) ends: Positions,
    /// what each partition holds now
    pub(super) ranges: Vec<PartitionRange>,
    /// whether no checkpoint is behind the states, but all records are
    pub(super) from_nothing: bool,
    /// what was passed over, because it is gone
    pub(super) skipped: Vec<Gone>,
}

/// Everybody is there, and the pipeline is ours.
pub(super) struct Ready {
    pub(super) source: Box<dyn Source>,
    pub(super) open_source: OpenSource,
    pub(super) ledger: Box<dyn Ledger>,
    pub(super) sinks: Vec<Box<dyn Sink>>,
    pub(super) dead_letters: Box<dyn DeadLetterSink>,
    pub(super) claim: Claim,
    pub(super) checkpoints: CheckpointStore,
    pub(super) recovered: Recovered,
    pub(super) beginning: Beginning,
    pub(super) versions: Arc<Versions>,
    /// whether the version in force is another one than the pipeline's file says now
    pub(super) has_changed: bool,
    pub(super) took: StartTimes,
}

/// Whether another version than the last of these is to come into force.
pub(super) type Wants<'a> = dyn Fn(&[Deployment]) -> bool + Send + Sync + 'a;

/// Waits for the servers, claims the pipeline, and moves the source to where reading begins.
pub(super) async fn make_ready(
    settings: &Settings,
    (stages, wants): (&Arc<dyn Stages>, &Wants<'_>),
    endpoints: Endpoints,
    waiter: Waiter<'_>,
) -> Result<Ready, PipelineError> {
    let Endpoints {
        open_source,
        mut ledger,
        mut sinks,
        mut dead_letters,
        checkpoints,
    } = endpoints;
    let mut source = open_source().map_err(PipelineError::Source)?;
    let (mut laps, mut took) = (Laps::begin(), StartTimes::default());
    aim(&mut *ledger, &stages.targets())?;
    let others: Vec<String> = sinks.iter().map(|sink| sink.name().to_owned()).collect();
    let claim = claim(&mut *ledger, &stages.definition(), &others, waiter).await?;
    let name = ledger.name().to_owned();
    let deployments = wait_for!(waiter, &name, ledger.deployments());
    took.ledger = laps.lap();
    let store = checkpoints(&claim.life).map_err(PipelineError::Checkpoint)?;
    let has_changed = wants(&deployments);
    let versions = Versions::new(deployments);
    if has_changed || versions.is_on_trial() {
        let journal = wait_for!(waiter, &name, ledger.journal(EpochId(0), usize::MAX));
        versions.recall(&journal);
    }
    let first = meet(&versions, stages, settings.start_at_end, (&store, waiter)).await?;
    let from = recover::Source {
        store: &store,
        versions: &versions,
        sibling: &**stages,
        sink: None,
        waiter,
    };
    prepare_all(&mut sinks, (settings, &claim), from).await?;
    let committed = claim.dead_letter_bytes;
    let bytes = wait_for!(waiter, DEAD_LETTERS, dead_letters.recover(committed));
    took.sinks = laps.lap();
    let latest = latest_usable(&claim, &settings.may_lag);
    let epochs = (latest, Some(claim.epoch));
    let recovered = Box::pin(restore(from, epochs)).await?;
    took.checkpoint = laps.lap();
    let checkpoint = recovered.as_ref().and_then(|r| r.checkpoint.as_ref());
    let known = (&claim, checkpoint, first);
    let beginning = begin(&mut *source, settings, &mut *ledger, known, (bytes, from)).await?;
    took.source = laps.lap();
    let recovered = match recovered {
        Some(recovered) => recovered,
        None => from.nothing(beginning.first)?,
    };
    Ok(Ready {
        source,
        open_source,
        ledger,
        sinks,
        dead_letters,
        claim,
        checkpoints: store,
        recovered,
        beginning,
        versions: Arc::new(versions),
        has_changed,
        took,
    })
}

/// Makes the stages known if they are those in force. The deployment that is to be written down first, where
/// there is none yet.
async fn meet(
    versions: &Versions,
    stages: &Arc<dyn Stages>,
    start_at_end: bool,
    (store, waiter): (&CheckpointStore, Waiter<'_>),
) -> Result<Option<Deployed>, PipelineError> {
    let Some(in_force) = versions.latest() else {
        versions.learn(Version::FIRST, Arc::clone(stages));
        keep_components(&**stages, store, waiter).await?;
        return Ok(Some(first_deployment(&**stages, start_at_end)));
    };
    if in_force.blueprint.logic == stages.blueprint().logic {
        versions.learn(in_force.version, Arc::clone(stages));
    }
    Ok(None)
}

/// Has each sink that is not the ledger go on where it stands. Who may lag is not waited for: its task
/// prepares it.
async fn prepare_all(
    sinks: &mut [Box<dyn Sink>],
    (settings, claim): (&Settings, &Claim),
    from: recover::Source<'_>,
) -> Result<(), PipelineError> {
    for sink in sinks {
        let confirmed = claim.confirmed.get(sink.name()).copied();
        aim_where_it_stands(&mut **sink, confirmed.unwrap_or_default(), from).await?;
        if !settings.may_lag.contains(sink.name()) {
            prepare(&mut **sink, from.waiter).await?;
        }
    }
    Ok(())
}

/// The deployment that a pipeline begins with; its epoch and positions are not known yet.
fn first_deployment(stages: &dyn Stages, start_at_end: bool) -> Deployed {
    let mut backfills = Backfills::default();
    if start_at_end {
        let lacking = stages.backfilled().into_iter();
        lacking.for_each(|name| backfills.add(name));
    }
    Deployed {
        deployment: Deployment {
            version: Version::FIRST,
            trigger: Trigger::Start,
            deployed_at: Utc::now(),
            epoch: EpochId::FIRST,
            positions: Positions::default(),
            blueprint: stages.blueprint(),
            backfills,
            former: Rejections::default(),
            outcome: Outcome::Accepted,
        },
        concludes: None,
        targets: stages.targets(),
    }
}

/// Keeps the components of a version, so that it can be made again.
pub(super) async fn keep_components(
    stages: &dyn Stages,
    store: &CheckpointStore,
    waiter: Waiter<'_>,
) -> Result<(), PipelineError> {
    for (digest, binary) in stages.binaries() {
        let keep = || store.keep_component(&digest, &binary);
        patiently(CHECKPOINTS, waiter, keep).await?;
    }
    Ok(())
}

/// Has the rows of a sink's next epochs go to these tables or indices.
pub(super) fn aim(sink: &mut dyn Sink, targets: &Targets) -> Result<(), PipelineError> {
    let aimed = sink.aim(targets);
    aimed.map_err(|source| PipelineError::Sink {
        sink: sink.name().to_owned(),
        source,
    })
}

/// Has the rows of the epochs that a sink lacks go where those go that made them.
async fn aim_where_it_stands(
    sink: &mut dyn Sink,
    confirmed: EpochId,
    from: recover::Source<'_>,
) -> Result<(), PipelineError> {
    if from.versions.latest().is_none() {
        return Ok(());
    }
    from.load_since(confirmed.next()).await?;
    if let Some(targets) = from.versions.targets_after(confirmed) {
        aim(sink, &targets)?;
    }
    Ok(())
}

/// The newest epoch whose checkpoint every sink can go on from; those that may lag need none.
fn latest_usable(claim: &Claim, may_lag: &BTreeSet<String>) -> EpochId {
    let waited_for = claim.confirmed.iter();
    let waited_for = waited_for.filter(|(sink, _)| !may_lag.contains(*sink));
    let least = waited_for.map(|(_, epoch)| *epoch).min();
    least.unwrap_or(claim.epoch).min(claim.epoch)
}

/// Restores the states from the newest checkpoint of epochs up to `latest`, and puts those aside that
/// are newer than the last `committed` one, where that is said.
pub(super) async fn restore(
    from: recover::Source<'_>,
    (latest, committed): (EpochId, Option<EpochId>),
) -> Result<Option<Recovered>, PipelineError> {
    let waiter = from.waiter;
    let mut patience = Patience::new(waiter.waits, CHECKPOINTS);
    loop {
        let trying = Box::pin(patience.watch(recover(from, latest, committed)));
        let tried = waiter.unless_stopped(CHECKPOINTS, trying).await?;
        match tried {
            Ok(recovered) => {
                patience.over();
                return Ok(recovered);
            }
            Err(error) if error.remedy() == Remedy::Retry => {
                waiter.pause(CHECKPOINTS, patience.failed(&error)).await?;
            }
            Err(Trouble::Pipeline(error)) => return Err(error),
            Err(Trouble::Store(error)) => return Err(PipelineError::Checkpoint(error)),
            Err(Trouble::Misfit(reason)) => {
                return Err(PipelineError::Checkpoint(CheckpointError::Permanent(
                    reason,
                )));
            }
        }
    }
}

/// Connects the ledger and claims the pipeline.
async fn claim(
    ledger: &mut dyn Ledger,
    definition: &serde_json::Value,
    others: &[String],
    waiter: Waiter<'_>,
) -> Result<Claim, PipelineError> {
    let name = ledger.name().to_owned();
    wait_for!(waiter, &name, ledger.prepare());
    Ok(wait_for!(waiter, &name, ledger.claim(definition, others)))
}

/// Connects a sink.
async fn prepare(sink: &mut dyn Sink, waiter: Waiter<'_>) -> Result<(), PipelineError> {
    let name = sink.name().to_owned();
    wait_for!(waiter, &name, sink.prepare());
    Ok(())
}

/// Finds out where to read on, and moves the source there. The first run of a pipeline commits an
/// epoch without records, so that the journal has the positions that everything began at; so does a
/// run that finds new partitions, or passes over what is gone.
async fn begin(
    source: &mut dyn Source,
    settings: &Settings,
    ledger: &mut dyn Ledger,
    (claim, checkpoint, first): (&Claim, Option<&Restored>, Option<Deployed>),
    (dead_letter_bytes, from): (Option<u64>, recover::Source<'_>),
) -> Result<Beginning, PipelineError> {
    let (versions, waiter) = (from.versions, from.waiter);
    let ranges = partitions(source, waiter).await?;
    let mut live = live_positions(settings.start_at_end, claim, &ranges)?;
    let mut skipped = skip_unread(&mut live, &ranges, settings.on_lost);
    // Before anything is written or read again: what was committed is still where it was.
    check_positions(&live, &ranges).map_err(PipelineError::Source)?;
    let name = ledger.name().to_owned();
    let mut epoch = claim.epoch;
    if epoch == EpochId::default() || live != claim.positions {
        epoch = epoch.next();
        let deployed = first.map(|mut first| {
            first.deployment.positions = live.clone();
            first.deployment.backfills.begin_at(&live);
            versions.note(first.deployment.clone());
            Arc::new(first)
        });
        let beginning = EpochOutput {
            epoch,
            version: versions.latest().map_or(Version::FIRST, |d| d.version),
            deployed,
            positions: live.clone(),
            dead_letter_bytes,
            ..EpochOutput::default()
        };
        let _ = wait_for!(waiter, &name, ledger.write(&beginning));
    }
    let after = checkpoint.map_or(EpochId(0), |restored| restored.epoch);
    let journal = wait_for!(waiter, &name, ledger.journal(after, usize::MAX));
    let path = Path::along(journal, checkpoint)?;
    let end = path.end();
    // What is repeated leads to the last committed epoch, whatever the first one was.
    let reached = end.unwrap_or(after.max(EpochId::FIRST));
    if reached != epoch {
        return Err(PipelineError::JournalGap(reached.next()));
    }
    from.load_since(path.start.0).await?;
    let mut begin_at = live.clone();
    if end.is_some() {
        begin_at = path.from(&live);
        let policy = (settings.on_lost, checkpoint.is_none());
        skipped.extend(skip_committed(
            &mut begin_at,
            &claim.positions,
            &ranges,
            policy,
        )?);
        check_positions(&begin_at, &ranges).map_err(PipelineError::Source)?;
        path.announce(after);
    }
    let keeping_up = claim.confirmed.values().filter(|c| **c >= after);
    let beginning = Beginning {
        epoch,
        version: versions.latest().map_or(Version::FIRST, |d| d.version),
        first: path.start.1,
        rebuild: path.rebuild,
        replay: path.replay,
        confirmed: keeping_up.min().copied().unwrap_or(epoch),
        live,
        ends: ranges.iter().map(|r| (r.partition, r.end)).collect(),
        ranges,
        from_nothing: checkpoint.is_none(),
        skipped,
    };
    seek(source, &begin_at, waiter).await?;
    Ok(beginning)
}

/// Where the live epochs begin: where the last one ended, or where the pipeline is to begin.
fn live_positions(
    start_at_end: bool,
    claim: &Claim,
    ranges: &[PartitionRange],
) -> Result<Positions, PipelineError> {
    let mut live = Positions::default();
    for range in ranges {
        let first = if claim.epoch == EpochId::default() && start_at_end {
            range.end
        } else {
            range.begin
        };
        live.set(
            range.partition,
            claim.positions.get(range.partition).unwrap_or(first),
        );
    }
    let mut committed = claim.positions.iter();
    match committed.find(|(partition, _)| live.get(*partition).is_none()) {
        Some((gone, _)) => Err(PipelineError::PartitionGone(gone)),
        None => Ok(live),
    }
}
