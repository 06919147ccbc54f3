//! What every ledger that is a database keeps of a pipeline, and what it refuses a starting host:
//! the same whatever the database.
//!
//! Four tables: `wasmill_pipelines` (the definition), `wasmill_progress` (how far each sink is, and
//! the generation), `wasmill_epochs` (the journal) and `wasmill_deployments` (which logic made which
//! epochs). Positions and records stand in the journal as JSON: offsets by partition, and ranges of them
//! where several records follow one another, as when a producer repeats what it has sent. Those that
//! stages rejected stand there by stage.
//!
//! # Not here
//!
//! Reading and writing the tables: [`super::postgres`], [`super::sqlite`].

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::SinkError;
use super::definition::differences;
use crate::deployment::Version;
use crate::epoch::{ByStage, EpochId, EpochOutput, JournalEntry};
use crate::record::{Origin, Partition, Positions};

/// The tables that have rows of a pipeline, and the columns that each has to have.
pub(super) const TABLES: [(&str, &[&str]); 4] = [
    ("wasmill_pipelines", &["pipeline", "life", "definition"]),
    (
        "wasmill_progress",
        &["pipeline", "sink", "epoch", "generation"],
    ),
    (
        "wasmill_epochs",
        &[
            "pipeline",
            "epoch",
            "deployment",
            "offsets",
            "excluded",
            "rejected",
            "readmitted",
            "dead_letter_bytes",
        ],
    ),
    (
        "wasmill_deployments",
        &[
            "pipeline",
            "version",
            "trigger",
            "deployed_at",
            "epoch",
            "offsets",
            "pipeline_toml",
            "components",
            "configs",
            "states",
            "logic",
            "backfills",
            "former_records",
            "former_rejected",
            "outcome",
            "reason",
        ],
    ),
];

/// More records than this are no epoch's: an entry that has them is damaged.
const RECORDS_MAX: u64 = 1 << 24;

/// How far a sink has come, and under whom.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) epoch: EpochId,
    pub(super) generation: u64,
}

/// The name of a life of a pipeline, which begins at its first claim: what an earlier one has left in
/// other places is not its own.
pub(super) fn new_life() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// Every sink of a pipeline.
pub(super) fn all_sinks(ledger: &str, others: &[String]) -> Vec<String> {
    let ledger = ledger.to_owned();
    others.iter().cloned().chain([ledger]).collect()
}

/// The last epoch of a sink.
pub(super) fn last_epoch(progress: &BTreeMap<String, Progress>, sink: &str) -> EpochId {
    progress.get(sink).map_or(EpochId(0), |row| row.epoch)
}

/// The last epochs of these sinks.
pub(super) fn confirmed(
    progress: &BTreeMap<String, Progress>,
    others: &[String],
) -> BTreeMap<String, EpochId> {
    let others = others.iter();
    others
        .map(|sink| (sink.clone(), last_epoch(progress, sink)))
        .collect()
}

/// Compares the stored definition with the one of this start: both as the database prints JSON, or
/// both as we do. `ways_out` is how the stored state is forgotten.
pub(super) fn check_definition(
    pipeline: &str,
    stored: &str,
    new: &str,
    ways_out: &str,
) -> Result<(), SinkError> {
    let parse = |text: &str| serde_json::from_str::<Value>(text);
    let (Ok(stored), Ok(new)) = (parse(stored), parse(new)) else {
        return Err(SinkError::Permanent(format!(
            "the definition of pipeline `{pipeline}` in wasmill_pipelines cannot be read"
        )));
    };
    let differences = differences(&stored, &new);
    if differences.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = differences
        .iter()
        .map(|difference| format!("\n  - {difference}"))
        .collect();
    Err(SinkError::Permanent(format!(
        "pipeline `{pipeline}` no longer fits its stored state:{}\n\
         Go on with the old definition, or give the pipeline another name, or forget the stored state and read everything again:\n  {ways_out}",
        list.concat(),
    )))
}

/// Refuses a sink that joins a pipeline after its first epoch: it would miss what came before.
pub(super) fn refuse_late_sinks(
    pipeline: &str,
    sinks: &[String],
    progress: &BTreeMap<String, Progress>,
    ways_out: &str,
) -> Result<(), SinkError> {
    let newest = progress.values().map(|row| row.epoch).max();
    let Some(newest) = newest.filter(|&epoch| epoch > EpochId(0)) else {
        return Ok(());
    };
    let late: Vec<String> = sinks
        .iter()
        .filter(|sink| !progress.contains_key(*sink))
        .map(|sink| format!("`{sink}`"))
        .collect();
    if late.is_empty() {
        return Ok(());
    }
    let known: Vec<String> = progress.keys().map(|sink| format!("`{sink}`")).collect();
    Err(SinkError::Permanent(format!(
        "sink {} is new to pipeline `{pipeline}`, which has come to epoch {newest} with {}, and would miss what came before.\n\
         Go on with the sinks that it had, or give the pipeline another name, or forget the stored state and read everything again:\n  {ways_out}",
        late.join(" and "),
        known.join(" and "),
    )))
}

/// Refuses a sink that was left out for a while and needs epochs that were forgotten. `oldest` is the
/// oldest epoch in the journal.
pub(super) fn refuse_pruned_journal(
    pipeline: &str,
    confirmed: &BTreeMap<String, EpochId>,
    oldest: EpochId,
    ways_out: &str,
) -> Result<(), SinkError> {
    for (sink, &epoch) in confirmed {
        // A replay needs the entry before its first epoch too: it has the positions to start at.
        if oldest > epoch.max(EpochId(1)) {
            return Err(SinkError::Permanent(format!(
                "sink `{sink}` has confirmed epoch {epoch} of pipeline `{pipeline}`, but the journal now begins at epoch {oldest}: it was left out for a while and has missed what came between.\n\
                 Go on without it, or give the pipeline another name, or forget the stored state and read everything again:\n  {ways_out}",
            )));
        }
    }
    Ok(())
}

/// Refuses tables of ours that another version has made. `missing` are columns, each with its table.
pub(super) fn refuse_other_tables(missing: &[(&str, &str)]) -> Result<(), SinkError> {
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.iter();
    let missing: Vec<String> = missing
        .map(|(table, column)| format!("{table} has no column `{column}`"))
        .collect();
    let drop: Vec<String> = TABLES
        .iter()
        .map(|(table, _)| format!("DROP TABLE {table};"))
        .collect();
    Err(SinkError::Permanent(format!(
        "wasmill's own tables were made by another version of it, most likely an older one: {}.\n\
         Go on with that version, or forget the stored state of every pipeline in this database and read everything again (see \"Starting over\" in the guide to operations):\n  BEGIN; {} COMMIT;",
        missing.join(", "),
        drop.join(" "),
    )))
}

/// The error of a host that finds a generation other than its own. Generations only grow: one that is
/// smaller is of a database that somebody has set back.
pub(super) fn not_ours(pipeline: &str, ours: u64, theirs: u64) -> SinkError {
    if theirs > ours {
        return SinkError::Fenced {
            pipeline: pipeline.to_owned(),
            ours,
            theirs,
        };
    }
    SinkError::Permanent(format!(
        "the database was set back to an earlier state, that of a backup or of a replica perhaps: wasmill_progress has generation {theirs} of pipeline `{pipeline}`, and ours is {ours} already. Start the pipeline again, and it goes on from there"
    ))
}

/// The SQL that makes a pipeline start anew. The tables that it filled stay.
pub(super) fn forget_sql(pipeline: &str) -> String {
    let name = pipeline.replace('\'', "''");
    let statements: Vec<String> = TABLES
        .iter()
        .map(|(table, _)| format!("DELETE FROM {table} WHERE pipeline = '{name}';"))
        .collect();
    format!("BEGIN; {} COMMIT;", statements.join(" "))
}

/// Positions as the journal has them: `{"0": 12}`.
pub(super) fn offsets_json(positions: &Positions) -> String {
    serde_json::json!(offsets(positions)).to_string()
}

/// The same as a map.
pub(super) fn offsets(positions: &Positions) -> BTreeMap<u32, i64> {
    let offsets = positions.iter();
    offsets
        .map(|(partition, next)| (partition.0, next))
        .collect()
}

/// The other way; `None` when it is damaged.
pub(super) fn parse_offsets(json: &str) -> Option<Positions> {
    let offsets: BTreeMap<u32, i64> = serde_json::from_str(json).ok()?;
    Some(
        offsets
            .into_iter()
            .map(|(partition, next)| (Partition(partition), next))
            .collect(),
    )
}

/// Records of one partition as the journal has them.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(untagged)]
enum Offsets {
    One(i64),
    /// from the first to the last, both included
    Range(i64, i64),
}

impl Offsets {
    fn bounds(self) -> (i64, i64) {
        match self {
            Self::One(offset) => (offset, offset),
            Self::Range(first, last) => (first, last),
        }
    }
}

/// Records by partition, as ranges.
type Ranges = BTreeMap<u32, Vec<Offsets>>;

fn ranges(records: &BTreeSet<Origin>) -> Ranges {
    let mut partitions = Ranges::new();
    for origin in records {
        let ranges = partitions.entry(origin.partition.0).or_default();
        let (offset, newest) = (origin.offset, ranges.last_mut());
        let newest = newest.map(|range| (range.bounds(), range));
        match newest {
            Some(((first, last), range)) if last.checked_add(1) == Some(offset) => {
                *range = Offsets::Range(first, offset);
            }
            _ => ranges.push(Offsets::One(offset)),
        }
    }
    partitions
}

/// Records as the journal has them: `{"0": [3, [7, 12]]}`.
pub(super) fn records_json(records: &BTreeSet<Origin>) -> String {
    serde_json::to_string(&ranges(records)).expect("numbers by number are JSON")
}

/// The same by stage: `{"sales": {"0": [3, [7, 12]]}}`.
pub(super) fn rejected_json(rejected: &ByStage) -> String {
    let by_stage = rejected.iter();
    let by_stage: BTreeMap<&str, Ranges> = by_stage
        .map(|(stage, records)| (&**stage, ranges(records)))
        .collect();
    serde_json::to_string(&by_stage).expect("numbers by text are JSON")
}

/// The other way; `None` when it is damaged.
pub(super) fn parse_records(json: &str) -> Option<BTreeSet<Origin>> {
    in_ranges(serde_json::from_str(json).ok()?)
}

/// The other way; `None` when it is damaged.
pub(super) fn parse_rejected(json: &str) -> Option<ByStage> {
    let by_stage: BTreeMap<String, Ranges> = serde_json::from_str(json).ok()?;
    let by_stage = by_stage.into_iter();
    by_stage
        .map(|(stage, ranges)| Some((stage.into(), in_ranges(ranges)?)))
        .collect()
}

/// An entry of the journal in words of JSON, behind its number and its version.
pub(super) struct StoredEntry<T> {
    pub(super) offsets: T,
    pub(super) excluded: T,
    pub(super) rejected: T,
    pub(super) readmitted: T,
}

impl StoredEntry<String> {
    /// What is written down of an epoch.
    pub(super) fn of(epoch: &EpochOutput) -> Self {
        Self {
            offsets: offsets_json(&epoch.positions),
            excluded: records_json(&epoch.excluded),
            rejected: rejected_json(&epoch.rejected),
            readmitted: records_json(&epoch.readmitted),
        }
    }
}

impl<T: AsRef<str>> StoredEntry<T> {
    /// The other way; `None` when it is damaged.
    pub(super) fn read(&self, epoch: EpochId, version: Version) -> Option<JournalEntry> {
        Some(JournalEntry {
            epoch,
            version,
            positions: parse_offsets(self.offsets.as_ref())?,
            excluded: parse_records(self.excluded.as_ref())?,
            rejected: parse_rejected(self.rejected.as_ref())?,
            readmitted: parse_records(self.readmitted.as_ref())?,
        })
    }
}

fn in_ranges(partitions: Ranges) -> Option<BTreeSet<Origin>> {
    let mut left = RECORDS_MAX;
    for range in partitions.values().flatten() {
        let (first, last) = range.bounds();
        let count = u64::try_from(last.checked_sub(first)?).ok()?;
        left = left.checked_sub(count)?.checked_sub(1)?;
    }
    let origins = partitions.into_iter().flat_map(|(partition, ranges)| {
        let offsets = ranges.into_iter().map(Offsets::bounds);
        let offsets = offsets.flat_map(|(first, last)| first..=last);
        offsets.map(move |offset| Origin {
            partition: Partition(partition),
            offset,
        })
    });
    Some(origins.collect())
}

#[cfg(test)]
mod tests;
