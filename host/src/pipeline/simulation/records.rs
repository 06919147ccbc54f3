//! The records of a world, and what they come to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use tokio::sync::watch;

use super::dice::Dice;
use super::logic::{May, POISON, REFUSED};
use crate::pipeline::survey::Newcomers;
use crate::record::{Origin, Partition};
use crate::source::{MemoryPartitions, MemoryRecord, PartitionRange};

/// A world grows to so many partitions.
const PARTITIONS_MAX: u32 = 5;

/// Who appends records.
pub(super) struct Producer {
    dice: Dice,
    pub(super) partitions: MemoryPartitions,
    partition_count: u32,
    /// tells hosts of partitions that are new
    survey: watch::Sender<Vec<PartitionRange>>,
    /// records still to be produced
    pub(super) to_come: u64,
    /// ids of each partition that deduplication remembers
    remembered: usize,
    /// whether there are records that the ledger refuses
    refuses: bool,
    /// whether there are duplicates
    repeats: bool,
    pub(super) expected: Expected,
}

/// What the records come to.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// records that no version takes
    pub(super) left_out: BTreeSet<Origin>,
    /// the others, but for duplicates
    pub(super) sound: Vec<Sound>,
    /// the last ids that each partition kept, the newest last, with the group and the amount
    kept: BTreeMap<Partition, VecDeque<(String, String, i64)>>,
}

/// A record that is sound.
#[derive(Debug)]
pub(super) struct Sound {
    pub(super) origin: Origin,
    pub(super) id: String,
    pub(super) group: String,
    pub(super) amount: i64,
}

impl Producer {
    /// One that has appended nothing yet.
    pub(super) fn new(dice: &Dice, remembered: usize, may: May) -> Self {
        let partition_count = dice.between(1, 3) as u32;
        Self {
            partitions: MemoryPartitions::new(partition_count),
            partition_count,
            survey: watch::Sender::new(Vec::new()),
            to_come: dice.between(20, 200),
            remembered,
            // Those that the ledger refused are decided again when what came before is read.
            refuses: !may.backfill,
            // What is taken up again is remembered out of its order.
            repeats: !may.reject,
            expected: Expected::default(),
            dice: dice.clone(),
        }
    }

    /// Tells a host of partitions that are new.
    pub(super) fn newcomers(&self) -> Newcomers {
        Newcomers::of(self.survey.subscribe())
    }

    /// Appends a record of some kind.
    pub(super) fn produce(&mut self) {
        self.to_come -= 1;
        let dice = &self.dice;
        if self.partition_count < PARTITIONS_MAX && dice.chance(0.02) {
            self.partitions.add();
            self.partition_count += 1;
        }
        self.survey.send_replace(self.partitions.ranges());
        let partition = Partition(dice.below(u64::from(self.partition_count)) as u32);
        if dice.chance(0.05) {
            self.partitions.skip(partition, 1);
        }
        if self.produce_again(partition) {
            return;
        }
        let (id, group) = (format!("r{}", self.to_come), format!("g{}", dice.below(12)));
        let amount = match dice.below(40) {
            0 => POISON,
            1 if self.refuses => REFUSED,
            _ => dice.between(1, 1_000) as i64,
        };
        let malformed = dice.chance(0.02);
        let text = if malformed {
            "{".to_owned()
        } else {
            text(&id, &group, amount)
        };
        let offset = self.append(partition, text);
        let expected = &mut self.expected;
        if malformed || amount < 0 {
            expected.left_out.insert(Origin { partition, offset });
            return;
        }
        let origin = Origin { partition, offset };
        expected.sound.push(Sound {
            origin,
            id: id.clone(),
            group: group.clone(),
            amount,
        });
        let kept = expected.kept.entry(partition).or_default();
        kept.push_back((id, group, amount));
        if kept.len() > self.remembered {
            kept.pop_front();
        }
    }

    /// Appends, now and then, a record once more that deduplication has to know: it changes nothing.
    fn produce_again(&self, partition: Partition) -> bool {
        let kept = self.expected.kept.get(&partition);
        let kept = kept.filter(|kept| !kept.is_empty() && self.repeats);
        let Some(kept) = kept.filter(|_| self.dice.chance(0.15)) else {
            return false;
        };
        let (id, group, amount) = &kept[self.dice.below(kept.len() as u64) as usize];
        self.append(partition, text(id, group, *amount));
        true
    }

    fn append(&self, partition: Partition, text: String) -> i64 {
        let record = MemoryRecord::of(Bytes::from(text));
        self.partitions.append(partition, record)
    }
}

/// A record, as its producer writes it.
pub(super) fn text(id: &str, group: &str, amount: i64) -> String {
    format!(r#"{{"id": "{id}", "grp": "{group}", "amount": {amount}}}"#)
}
