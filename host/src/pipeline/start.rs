//! What happens before the first record: waiting for servers, claiming the pipeline, finding out
//! where to read on.

use std::collections::VecDeque;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::commit::least_confirmed;
use super::patience::{DEAD_LETTERS, Patience, SOURCE, shown};
use super::{Endpoints, PipelineError, Plan};
use crate::config::{Pipeline, SourceKind, Start};
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
                Err(error) if error.remedy() == Remedy::Stop => {
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
    /// committed epochs that some sink has not confirmed, in order
    pub(super) replay: VecDeque<JournalEntry>,
    /// the positions that live epochs begin at
    pub(super) live: Positions,
    /// the ends of all partitions as they are now
    pub(super) ends: Positions,
    /// what each partition holds now
    pub(super) ranges: Vec<PartitionRange>,
}

/// Everybody is there, and the pipeline is ours.
pub(super) struct Ready {
    pub(super) source: Box<dyn Source>,
    pub(super) ledger: Box<dyn Ledger>,
    pub(super) sinks: Vec<Box<dyn Sink>>,
    pub(super) dead_letters: Box<dyn DeadLetterSink>,
    pub(super) claim: Claim,
    pub(super) beginning: Beginning,
}

/// Waits for the servers, claims the pipeline, and moves the source to where reading begins.
pub(super) async fn make_ready(
    pipeline: &Pipeline,
    plan: &Plan,
    endpoints: Endpoints,
    waiter: Waiter<'_>,
) -> Result<Ready, PipelineError> {
    let Endpoints {
        source,
        mut ledger,
        mut sinks,
        mut dead_letters,
        waits: _,
    } = endpoints;
    let others: Vec<String> = sinks.iter().map(|sink| sink.name().to_owned()).collect();
    let claim = claim(&mut *ledger, &plan.definition(), &others, waiter).await?;
    for sink in &mut sinks {
        prepare(&mut **sink, waiter).await?;
    }
    let committed = claim.dead_letter_bytes;
    let bytes = wait_for!(waiter, DEAD_LETTERS, dead_letters.recover(committed));
    let kind = &pipeline.source.kind;
    let (source, beginning) = begin(source, kind, &mut *ledger, &claim, bytes, waiter).await?;
    Ok(Ready {
        source,
        ledger,
        sinks,
        dead_letters,
        claim,
        beginning,
    })
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
/// epoch without records, so that the journal has the positions that everything began at.
async fn begin(
    mut source: Box<dyn Source>,
    kind: &SourceKind,
    ledger: &mut dyn Ledger,
    claim: &Claim,
    dead_letter_bytes: Option<u64>,
    waiter: Waiter<'_>,
) -> Result<(Box<dyn Source>, Beginning), PipelineError> {
    let ranges;
    (source, ranges) = partitions(source, waiter).await?;
    let ends: Positions = ranges.iter().map(|r| (r.partition, r.end)).collect();
    let mut epoch = claim.epoch;
    let live = live_positions(kind, claim, &ranges)?;
    // Before anything is written or read again: what was committed is still where it was.
    check_positions(&live, &ranges).map_err(PipelineError::Source)?;
    let name = ledger.name().to_owned();
    if epoch == EpochId::default() {
        epoch = epoch.next();
        let beginning = EpochOutput {
            epoch,
            positions: live.clone(),
            dead_letter_bytes,
            ..EpochOutput::default()
        };
        let _ = wait_for!(waiter, &name, ledger.write(&beginning));
    }
    let least = least_confirmed(&claim.confirmed, epoch);
    let before = EpochId(least.0.saturating_sub(1));
    let mut journal = VecDeque::from(wait_for!(waiter, &name, ledger.journal(before)));
    let base = if least == EpochId::default() {
        journal.front().cloned()
    } else {
        journal.pop_front()
    };
    let base = base.ok_or(PipelineError::JournalGap(least))?;
    let mut from = live.clone();
    for (partition, position) in base.positions.iter() {
        from.set(partition, position);
    }
    // The first epoch has no records.
    if journal.iter().any(|entry| entry.epoch > EpochId(1)) {
        // Partitions that the base does not know began where they began.
        for range in &ranges {
            if base.positions.get(range.partition).is_none() {
                from.set(range.partition, range.begin);
            }
        }
        tracing::info!(
            epochs = journal.len(),
            "reading epochs again for the sinks that have not confirmed them"
        );
    }
    let beginning = Beginning {
        epoch,
        replay: journal,
        live,
        ends,
        ranges,
    };
    let source = seek(source, from, waiter).await?;
    Ok((source, beginning))
}

/// Where the live epochs begin: where the last one ended, or where the pipeline is to begin.
fn live_positions(
    kind: &SourceKind,
    claim: &Claim,
    ranges: &[PartitionRange],
) -> Result<Positions, PipelineError> {
    let latest = matches!(kind, SourceKind::Kafka(kafka) if kafka.start == Start::Latest);
    let mut live = Positions::default();
    for range in ranges {
        let first = if claim.epoch == EpochId::default() && latest {
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
    mut source: Box<dyn Source>,
    waiter: Waiter<'_>,
) -> Result<(Box<dyn Source>, Vec<PartitionRange>), PipelineError> {
    let mut patience = Patience::new(waiter.waits, SOURCE);
    loop {
        let result;
        (source, result) = blocking(source, |source| source.partitions()).await?;
        match result {
            Ok(ranges) => {
                patience.over();
                return Ok((source, ranges));
            }
            Err(error) => wait_for_source(waiter, error, &mut patience).await?,
        }
    }
}

async fn seek(
    mut source: Box<dyn Source>,
    positions: Positions,
    waiter: Waiter<'_>,
) -> Result<Box<dyn Source>, PipelineError> {
    let mut patience = Patience::new(waiter.waits, SOURCE);
    loop {
        let positions = positions.clone();
        let result;
        (source, result) = blocking(source, move |source| source.seek(&positions)).await?;
        match result {
            Ok(()) => {
                patience.over();
                return Ok(source);
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

/// Runs a blocking call of a source on a thread for such calls.
async fn blocking<T: Send + 'static>(
    mut source: Box<dyn Source>,
    call: impl FnOnce(&mut dyn Source) -> T + Send + 'static,
) -> Result<(Box<dyn Source>, T), PipelineError> {
    tokio::task::spawn_blocking(move || {
        let result = call(&mut *source);
        (source, result)
    })
    .await
    .map_err(|error| PipelineError::Panicked {
        part: "the source".into(),
        message: error.to_string(),
    })
}
