//! A recorded journal comes to the same rows and states at the end of every epoch, however its epochs
//! are cut into batches, dealt out to workers and interleaved.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use bytes::Bytes;
use proptest::prelude::*;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::dice::Dice;
use super::line::RunningLine;
use super::logic::{LEDGER, Logic, POISON, Program, ROWS, SUMS};
use super::records::text;
use super::world::settings;
use crate::config::OnLost;
use crate::deduplicate::Seen;
use crate::deployment::{Backfills, Version};
use crate::epoch::{EpochId, EpochOutput, JournalEntry};
use crate::pipeline::line::Making;
use crate::pipeline::monitor::Monitor;
use crate::pipeline::reader::{Follow, InForce, Replay, Then};
use crate::pipeline::sample::Sample;
use crate::pipeline::topology::Stages;
use crate::pipeline::turns::Turns;
use crate::pipeline::versions::Versions;
use crate::pipeline::{OpenSource, Refusals};
use crate::record::{Origin, Partition, Positions, TakeRecords};
use crate::source::{
    MemoryPartitions, MemoryRecord, PartitionRange, PollLimit, Source, SourceError, Survey,
};

const PARTITIONS: u32 = 4;

/// Records, and what the journal says of them.
struct Recorded {
    partitions: MemoryPartitions,
    journal: Vec<JournalEntry>,
}

impl Recorded {
    fn new(dice: &Dice) -> Self {
        let partitions = MemoryPartitions::new(PARTITIONS);
        let mut journal: Vec<JournalEntry> = Vec::new();
        // Records that another version may take, unlike poisoned ones.
        let mut rejected = BTreeSet::new();
        for epoch in 2..2 + dice.between(1, 12) {
            if dice.chance(0.3) && !rejected.is_empty() {
                journal.push(readmission(epoch, &partitions, &mut rejected, dice));
                continue;
            }
            let mut excluded = BTreeSet::new();
            for _ in 0..dice.below(40) {
                let partition = Partition(dice.below(u64::from(PARTITIONS)) as u32);
                let (id, group) = (dice.below(50), dice.below(8));
                let poisoned = dice.chance(0.1);
                let amount = if poisoned {
                    POISON
                } else {
                    dice.below(100) as i64
                };
                let text = text(&format!("r{id}"), &format!("g{group}"), amount);
                let record = MemoryRecord::of(Bytes::from(text));
                let offset = partitions.append(partition, record);
                // And some that came twice, say, or that a version rejected which was rolled back.
                let origin = Origin { partition, offset };
                if poisoned || dice.chance(0.2) {
                    excluded.insert(origin);
                    if !poisoned {
                        rejected.insert(origin);
                    }
                }
            }
            journal.push(JournalEntry {
                epoch: EpochId(epoch),
                version: Version::FIRST,
                positions: partitions.ends().into_iter().collect(),
                excluded,
                ..JournalEntry::default()
            });
        }
        Self {
            partitions,
            journal,
        }
    }

    /// The records that each epoch has kept, as the journal says.
    fn kept(&self) -> Vec<BTreeSet<Origin>> {
        let mut before = Positions::default();
        let entries = self.journal.iter();
        let kept = entries.map(|entry| {
            let mut records = entry.readmitted.clone();
            for (partition, next) in entry.positions.iter() {
                let begin = before.get(partition).unwrap_or(0);
                records.extend((begin..next).map(|offset| Origin { partition, offset }));
            }
            before = entry.positions.clone();
            records.difference(&entry.excluded).copied().collect()
        });
        kept.collect()
    }

    /// What is shown of every epoch.
    fn replayed(&self, dice: &Dice) -> Vec<Shown> {
        let mut settings = settings(dice);
        settings.workers = dice.between(1, 4) as usize;
        let logic = Arc::new(Logic {
            remembered: 0,
            program: Program::FIRST,
        });
        let monitor = Arc::new(Monitor::simulated(settings.workers, SUMS, &[LEDGER]));
        let begin: Positions = (0..PARTITIONS).map(|p| (Partition(p), 0)).collect();
        let mut source = Choppy {
            source: Box::new(self.partitions.source()),
            dice: dice.clone(),
        };
        source.seek(&begin).expect("all records are there");
        let follow = Follow {
            sink: 0,
            journal: mpsc::channel(1).0,
            known: EpochId::FIRST,
            asked: None,
            pending: Vec::new(),
            done: true,
        };
        let partitions = self.partitions.clone();
        let open_source: OpenSource =
            Arc::new(move || Ok(Box::new(partitions.source()) as Box<dyn Source>));
        let making = Making {
            settings: &settings,
            open_source: &open_source,
            stages: &*logic,
            backfills: &Backfills::default(),
            refused: &Refusals::default(),
            monitor: &monitor,
            sample: &Sample::default(),
            stop: &CancellationToken::new(),
        };
        // Room for one more than there are: the merger stops where there is none.
        let (out, mut epochs) = mpsc::channel(self.journal.len() + 1);
        let in_force = InForce {
            version: Version::FIRST,
            versions: Arc::new(Versions::new(Vec::new())),
            sink: None,
        };
        let entries = self.journal.clone().into();
        let replay = Replay::new(None, entries, EpochId(0), in_force);
        let turns = Turns::new(OnLost::Stop, true, begin);
        let states = logic.states().expect("there are no guests");
        let reading = (
            Box::new(source) as Box<dyn Source>,
            replay,
            Then::Follow(follow),
            turns,
        );
        let line = making.line((states, &Seen::new()), reading, out);
        let mut line = RunningLine::new(line.expect("there are no guests"));
        while !line.is_over() {
            line.step(dice, |_| ())
                .expect("the journal fits the records");
        }
        let mut shown = Vec::new();
        while let Ok(completed) = epochs.try_recv() {
            shown.push(Shown::of(&completed.output));
        }
        shown
    }
}

/// An epoch that takes some of these up again, and keeps some of them.
fn readmission(
    epoch: u64,
    partitions: &MemoryPartitions,
    rejected: &mut BTreeSet<Origin>,
    dice: &Dice,
) -> JournalEntry {
    let readmitted: BTreeSet<Origin> = {
        let chosen = rejected.iter().filter(|_| dice.chance(0.6));
        chosen.copied().collect()
    };
    let excluded = readmitted.iter().filter(|_| dice.chance(0.3));
    let excluded: BTreeSet<Origin> = excluded.copied().collect();
    rejected.retain(|record| !readmitted.contains(record) || excluded.contains(record));
    JournalEntry {
        epoch: EpochId(epoch),
        version: Version::FIRST,
        positions: partitions.ends().into_iter().collect(),
        excluded,
        readmitted,
        ..JournalEntry::default()
    }
}

/// A source that hands over as many records as the dice say.
struct Choppy {
    source: Box<dyn Source>,
    dice: Dice,
}

impl Source for Choppy {
    fn partitions(&mut self) -> Result<Vec<PartitionRange>, SourceError> {
        self.source.partitions()
    }

    fn survey(&self) -> Survey {
        self.source.survey()
    }

    fn seek(&mut self, positions: &Positions) -> Result<(), SourceError> {
        self.source.seek(positions)
    }

    fn adjust(&mut self, positions: &Positions) -> Result<(), SourceError> {
        self.source.adjust(positions)
    }

    fn poll(
        &mut self,
        until: &Positions,
        limit: PollLimit,
        into: &mut dyn TakeRecords,
    ) -> Result<(), SourceError> {
        let records_max = self.dice.between(1, 30) as usize;
        let limit = PollLimit {
            records_max: limit.records_max.min(records_max),
            ..limit
        };
        self.source.poll(until, limit, into)
    }

    fn positions(&self) -> &Positions {
        self.source.positions()
    }
}

/// What an epoch changes, in an order that does not depend on who made it.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    epoch: EpochId,
    positions: Positions,
    /// by record: id and amount
    rows: BTreeMap<Origin, (String, i64)>,
    /// the states of the groups that it touched
    states: BTreeMap<String, i64>,
    left_out: usize,
}

impl Shown {
    fn of(output: &EpochOutput) -> Self {
        let batches = |stream| output.streams.get(stream).into_iter().flatten();
        let mut rows = BTreeMap::new();
        for batch in batches(ROWS) {
            let ids = batch.columns.column(0).as_string::<i32>();
            let amounts = batch.columns.column(2).as_primitive::<Int64Type>();
            for (row, origin) in batch.origins.iter().enumerate() {
                rows.insert(*origin, (ids.value(row).to_owned(), amounts.value(row)));
            }
        }
        let mut states = BTreeMap::new();
        for batch in batches(SUMS) {
            let groups = batch.columns.column(0).as_string::<i32>();
            let sums = batch.columns.column(1).as_primitive::<Int64Type>();
            for row in 0..batch.columns.num_rows() {
                states.insert(groups.value(row).to_owned(), sums.value(row));
            }
        }
        Self {
            epoch: output.epoch,
            positions: output.positions.clone(),
            rows,
            states,
            left_out: output.dead_letters.len(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_journal_comes_to_the_same_states_however_it_is_replayed(
        seed in any::<u64>(),
        one in any::<u64>(),
        other in any::<u64>(),
    ) {
        let recorded = Recorded::new(&Dice::of(seed));
        let shown = recorded.replayed(&Dice::of(one));
        prop_assert_eq!(shown.len(), recorded.journal.len());
        let rows = shown.iter().map(|shown| shown.rows.keys().copied().collect());
        prop_assert_eq!(rows.collect::<Vec<BTreeSet<Origin>>>(), recorded.kept());
        prop_assert_eq!(shown, recorded.replayed(&Dice::of(other)));
    }
}
