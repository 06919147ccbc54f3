//! What happens before the first record: waiting for servers, claiming the pipeline, restoring the
//! states, finding out where to read on.

use std::collections::VecDeque;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::commit::least_confirmed;
use super::patience::{CHECKPOINTS, DEAD_LETTERS, Patience, SOURCE, shown};
use super::reader::Rebuild;
use super::recover::{Recovered, Trouble, recover};
use super::topology::{Settings, Stages};
use super::turns::{Gone, skip_committed, skip_unread};
use super::{Endpoints, PipelineError};
use crate::blocking::off_the_runtime;
use crate::checkpoint::{CheckpointError, CheckpointStore};
use crate::dead_letter::DeadLetterSink;
use crate::epoch::{EpochId, EpochOutput, JournalEntry};
use crate::record::Positions;
use crate::sink::{Claim, Ledger, Remedy, Sink};
use crate::source::{PartitionRange, Source, SourceError, check_positions};
use crate::waiting::Waits;

/// Who waits: until the server answers, or somebody says stop.
#[derive(Clone, Copy)]
pub(super) struct Waiter<'a> {
    pub(super) stop: &'a CancellationToken,
    pub(super) waits: &'a Waits,
}

/// Tries `$step` until it works; gives up where waiting would not help, or when told to stop.
macro_rules! wait_for {
    ($waiter:expr, $part:expr, $step:expr) => {{
        let mut patience = Patience::new($waiter.waits, $part);
        loop {
            let tried = tokio::select! {
                biased;
                () = $waiter.stop.cancelled() => return Err(stopped_while_waiting($part)),
                tried = patience.watch($step) => tried,
            };
            match tried {
                Ok(done) => {
                    patience.over();
                    break done;
                }
                Err(error) if error.remedy() != Remedy::Retry => {
                    return Err(PipelineError::Sink {
                        sink: shown($part),
                        source: error,
                    });
                }
                Err(error) => $waiter.pause($part, patience.failed(&error)).await?,
            }
        }
    }};
}

impl Waiter<'_> {
    async fn pause(self, part: &str, wait: Duration) -> Result<(), PipelineError> {
        tokio::select! {
            () = self.stop.cancelled() => Err(stopped_while_waiting(part)),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }
}

fn stopped_while_waiting(part: &str) -> PipelineError {
    PipelineError::StoppedWhileStarting(shown(part))
}

/// Where a run begins.
#[derive(Debug)]
pub(super) struct Beginning {
    /// the last committed epoch
    pub(super) epoch: EpochId,
    /// where neither a checkpoint nor the journal reaches back far enough
    pub(super) rebuild: Option<Rebuild>,
    /// committed epochs since the checkpoint, or since the rebuilt ones, in order
    pub(super) replay: VecDeque<JournalEntry>,
    /// the last epoch that every sink has confirmed
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
    pub(super) ledger: Box<dyn Ledger>,
    pub(super) sinks: Vec<Box<dyn Sink>>,
    pub(super) dead_letters: Box<dyn DeadLetterSink>,
    pub(super) claim: Claim,
    pub(super) checkpoints: CheckpointStore,
    pub(super) recovered: Recovered,
    pub(super) beginning: Beginning,
}

/// Waits for the servers, claims the pipeline, and moves the source to where reading begins.
pub(super) async fn make_ready(
    settings: &Settings,
    stages: &dyn Stages,
    endpoints: Endpoints,
    waiter: Waiter<'_>,
) -> Result<Ready, PipelineError> {
    let Endpoints {
        mut source,
        mut ledger,
        mut sinks,
        mut dead_letters,
        checkpoints,
    } = endpoints;
    let others: Vec<String> = sinks.iter().map(|sink| sink.name().to_owned()).collect();
    let claim = claim(&mut *ledger, &stages.definition(), &others, waiter).await?;
    for sink in &mut sinks {
        prepare(&mut **sink, waiter).await?;
    }
    let committed = claim.dead_letter_bytes;
    let bytes = wait_for!(waiter, DEAD_LETTERS, dead_letters.recover(committed));
    let checkpoints = checkpoints(&claim.life).map_err(PipelineError::Checkpoint)?;
    let recovered = restore(&checkpoints, stages, &claim, waiter).await?;
    let known = (&claim, recovered.checkpoint.as_ref());
    let beginning = begin(&mut *source, settings, &mut *ledger, known, bytes, waiter).await?;
    Ok(Ready {
        source,
        ledger,
        sinks,
        dead_letters,
        claim,
        checkpoints,
        recovered,
        beginning,
    })
}

/// Restores the states from the newest checkpoint that every sink can go on from.
async fn restore(
    store: &CheckpointStore,
    stages: &dyn Stages,
    claim: &Claim,
    waiter: Waiter<'_>,
) -> Result<Recovered, PipelineError> {
    let latest = least_confirmed(&claim.confirmed, claim.epoch).min(claim.epoch);
    let mut patience = Patience::new(waiter.waits, CHECKPOINTS);
    loop {
        let tried = tokio::select! {
            biased;
            () = waiter.stop.cancelled() => return Err(stopped_while_waiting(CHECKPOINTS)),
            tried = patience.watch(recover(store, stages, claim.epoch, latest)) => tried,
        };
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
    (claim, checkpoint): (&Claim, Option<&(EpochId, Positions)>),
    dead_letter_bytes: Option<u64>,
    waiter: Waiter<'_>,
) -> Result<Beginning, PipelineError> {
    let ranges = partitions(source, waiter).await?;
    let mut live = live_positions(settings.start_at_end, claim, &ranges)?;
    let mut skipped = skip_unread(&mut live, &ranges, settings.on_lost);
    // Before anything is written or read again: what was committed is still where it was.
    check_positions(&live, &ranges).map_err(PipelineError::Source)?;
    let name = ledger.name().to_owned();
    let mut epoch = claim.epoch;
    if epoch == EpochId::default() || live != claim.positions {
        epoch = epoch.next();
        let beginning = EpochOutput {
            epoch,
            positions: live.clone(),
            dead_letter_bytes,
            ..EpochOutput::default()
        };
        let _ = wait_for!(waiter, &name, ledger.write(&beginning));
    }
    let after = checkpoint.map_or(EpochId(0), |(epoch, _)| *epoch);
    let journal = wait_for!(waiter, &name, ledger.journal(after));
    let path = Path::along(journal, checkpoint, epoch)?;
    let mut from = path.from(&live);
    if path.reads() {
        let policy = (settings.on_lost, checkpoint.is_none());
        skipped.extend(skip_committed(
            &mut from,
            &claim.positions,
            &ranges,
            policy,
        )?);
        check_positions(&from, &ranges).map_err(PipelineError::Source)?;
        path.announce(after);
    }
    let beginning = Beginning {
        epoch,
        rebuild: path.rebuild,
        replay: path.replay,
        confirmed: least_confirmed(&claim.confirmed, epoch),
        live,
        ends: ranges.iter().map(|r| (r.partition, r.end)).collect(),
        ranges,
        from_nothing: checkpoint.is_none(),
        skipped,
    };
    seek(source, &from, waiter).await?;
    Ok(beginning)
}

/// The way from the states that a run begins with to the last committed epoch.
struct Path {
    /// where the records begin
    base: Positions,
    rebuild: Option<Rebuild>,
    replay: VecDeque<JournalEntry>,
}

impl Path {
    /// The way from the checkpoint, or else from the first epoch, to `last`. `journal` has the epochs
    /// after the checkpoint, or else all that it still has.
    fn along(
        journal: Vec<JournalEntry>,
        checkpoint: Option<&(EpochId, Positions)>,
        last: EpochId,
    ) -> Result<Self, PipelineError> {
        let mut replay = VecDeque::from(journal);
        let mut rebuild = None;
        let (mut before, base) = if let Some((epoch, positions)) = checkpoint {
            (*epoch, positions.clone())
        } else {
            let first = replay.pop_front().filter(|entry| entry.epoch == EpochId(1));
            let first = first.ok_or(PipelineError::JournalGap(EpochId(1)))?;
            // What came between has been forgotten: its records have to be decided again.
            let gap = replay.front().is_some_and(|entry| entry.epoch > EpochId(2));
            if gap && let Some(oldest) = replay.pop_front() {
                rebuild = Some(Rebuild {
                    epoch: oldest.epoch,
                    end: oldest.positions,
                    rows: 0,
                });
            }
            let before = rebuild.as_ref().map_or(EpochId(1), |rebuild| rebuild.epoch);
            (before, first.positions)
        };
        for entry in &replay {
            if entry.epoch != before.next() {
                return Err(PipelineError::JournalGap(before.next()));
            }
            before = entry.epoch;
        }
        if before != last {
            return Err(PipelineError::JournalGap(before.next()));
        }
        Ok(Self {
            base,
            rebuild,
            replay,
        })
    }

    /// Whether records are read again.
    fn reads(&self) -> bool {
        self.rebuild.is_some() || !self.replay.is_empty()
    }

    /// Where reading begins. Partitions that the base does not know begin where the first epoch that
    /// has them says, which has no records of them. Where that is forgotten, it was their very first
    /// record.
    fn from(&self, live: &Positions) -> Positions {
        if !self.reads() {
            return live.clone();
        }
        let forgotten = self.rebuild.iter();
        let begin = |partition| {
            let mut first = self.replay.iter().map(|entry| &entry.positions);
            let first = first.find_map(|positions| positions.get(partition));
            let forgotten = forgotten.clone().find_map(|r| r.end.get(partition));
            let begin = self.base.get(partition).or(forgotten.map(|_| 0));
            begin.or(first)
        };
        live.iter()
            .map(|(partition, next)| (partition, begin(partition).unwrap_or(next)))
            .collect()
    }

    fn announce(&self, checkpoint: EpochId) {
        if let Some(rebuild) = &self.rebuild {
            tracing::warn!(
                up_to_epoch = rebuild.epoch.0,
                "no checkpoint can be used: making the states anew from all records since the beginning; \
                 nothing is written meanwhile, and which of these records are rejected is decided again"
            );
        }
        tracing::info!(
            checkpoint = checkpoint.0,
            epochs = self.replay.len(),
            "reading the epochs since the checkpoint again"
        );
    }
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

async fn partitions(
    source: &mut dyn Source,
    waiter: Waiter<'_>,
) -> Result<Vec<PartitionRange>, PipelineError> {
    let mut patience = Patience::new(waiter.waits, SOURCE);
    loop {
        match off_the_runtime(|| source.partitions()) {
            Ok(ranges) => {
                patience.over();
                return Ok(ranges);
            }
            Err(error) => wait_for_source(waiter, error, &mut patience).await?,
        }
    }
}

async fn seek(
    source: &mut dyn Source,
    positions: &Positions,
    waiter: Waiter<'_>,
) -> Result<(), PipelineError> {
    let mut patience = Patience::new(waiter.waits, SOURCE);
    loop {
        match off_the_runtime(|| source.seek(positions)) {
            Ok(()) => {
                patience.over();
                return Ok(());
            }
            Err(error) => wait_for_source(waiter, error, &mut patience).await?,
        }
    }
}

async fn wait_for_source(
    waiter: Waiter<'_>,
    error: SourceError,
    patience: &mut Patience,
) -> Result<(), PipelineError> {
    match error {
        SourceError::Unavailable { .. } => waiter.pause(SOURCE, patience.failed(&error)).await,
        error => Err(PipelineError::Source(error)),
    }
}
