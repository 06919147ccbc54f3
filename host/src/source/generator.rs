//! Synthetic sales out of nothing: a source that needs no broker and no file.
//!
//! The record at a partition and offset is a pure function of the settings
//! ([`crate::generate`]), so any of it can be read again: a replay gets the same bytes as the first
//! reading, on any machine. Its timestamp is the moment of the sale, its key the sale's id.
//!
//! # Which records are there
//!
//! Without a rate: all of them, up to `records`, or up to the 2^44 of each partition for which
//! records differ.
//!
//! With a rate, time decides, and it begins at the first seek: from then on `rate` records a second
//! come to be, dealt out to the partitions in turn, behind the positions that were sought. Time does
//! **not** decide what was there before:
//!
//! - An offset that somebody names, by seeking it or as a bound below the very end, was read once and
//!   so is there: a restart goes on where the last run stopped, however far a faster rate has brought
//!   it, and a replay gets its records at once.
//! - Before the first seek nobody has said how far former runs came, so any offset may be sought, and
//!   the end of a partition is its very end. That end is also what a run to the end is for.
//!
//! # Invariants
//!
//! Between two seeks no partition's end falls, and none passes its very end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::budget::Budget;
use super::{
    PartitionRange, PollLimit, Source, SourceError, Survey, ahead_of, all_reached, check_positions,
};
use crate::config;
use crate::generate::{Generator, Settings};
use crate::record::{Origin, Partition, Positions, RawHeaders, RawRecord, TakeRecords};

/// Records of each partition that differ from all others of their seed.
const OFFSETS_MAX: i64 = 1 << 44;

/// The shortest wait for records that time brings: few come at once, and not one by one.
const NAP_MIN: Duration = Duration::from_millis(10);

/// Says how much time has passed since some moment.
type Clock = Box<dyn Fn() -> Duration + Send>;

/// Makes the records that it delivers.
pub struct GeneratorSource {
    generator: Generator,
    /// the very end of each partition
    ends: Vec<i64>,
    /// shared with whoever asks for the ends while this reads
    pace: Option<Arc<Mutex<Pace>>>,
    positions: Positions,
    /// which partition is served first: the next one in every poll
    turn: usize,
    /// room for a record
    value: Vec<u8>,
}

/// How many records time has brought.
struct Pace {
    /// records a second, of all partitions
    rate: f64,
    clock: Clock,
    /// `None` before the first seek
    since: Option<Since>,
}

/// Where time began to count.
struct Since {
    moment: Duration,
    /// what was there by then, by partition
    floor: Vec<i64>,
}

impl GeneratorSource {
    /// A source of these records that stands nowhere until its first seek.
    #[must_use]
    pub fn new(config: &config::GeneratorSource) -> Self {
        let ends = match config.records {
            Some(records) => shares(records, config.partitions).collect(),
            None => vec![OFFSETS_MAX; config.partitions as usize],
        };
        let started = Instant::now();
        let clock = Box::new(move || started.elapsed());
        Self::with_ends(config, ends, clock)
    }

    fn with_ends(config: &config::GeneratorSource, ends: Vec<i64>, clock: Clock) -> Self {
        Self {
            generator: Generator::new(Settings {
                seed: config.seed,
                days: config.days,
                bad_share: config.bad_share,
                duplicates: config.duplicates,
                ..Settings::default()
            }),
            ends,
            pace: config.rate.map(|rate| {
                Arc::new(Mutex::new(Pace {
                    rate,
                    clock,
                    since: None,
                }))
            }),
            positions: Positions::default(),
            turn: 0,
            value: Vec::new(),
        }
    }

    /// The same with partitions of these lengths, whatever `records` says.
    #[must_use]
    pub fn with_lengths(config: &config::GeneratorSource, lengths: &[u32]) -> Self {
        let ends = lengths.iter().map(|&length| length.into()).collect();
        let started = Instant::now();
        Self::with_ends(config, ends, Box::new(move || started.elapsed()))
    }

    /// What is there now.
    fn current_ends(&self) -> Vec<i64> {
        match &self.pace {
            Some(pace) => lock(pace).ends(&self.ends),
            None => self.ends.clone(),
        }
    }

    /// Delivers what is wanted of one partition up to `end`. Returns whether the poll has had enough.
    fn read(
        &mut self,
        partition: Partition,
        end: i64,
        budget: &mut Budget,
        into: &mut dyn TakeRecords,
    ) -> bool {
        let mut offset = self.positions.get(partition).unwrap_or(end);
        let mut is_full = false;
        while offset < end && !is_full {
            let record = self.generator.generate(Origin { partition, offset });
            self.value.clear();
            let has_value = record.render(&mut self.value);
            let raw = RawRecord {
                origin: Origin { partition, offset },
                timestamp_ms: Some(record.transaction().transaction_date_micros / 1_000),
                key: Some(record.transaction().transaction_id.as_bytes()),
                value: has_value.then_some(&self.value[..]),
                headers: RawHeaders::default(),
            };
            is_full = !budget.take(raw, into);
            offset += i64::from(!is_full);
        }
        self.positions.set(partition, offset);
        is_full
    }
}

impl Source for GeneratorSource {
    fn partitions(&mut self) -> Result<Vec<PartitionRange>, SourceError> {
        Ok(ranges(&self.current_ends()))
    }

    fn survey(&self) -> Survey {
        let (pace, very) = (self.pace.clone(), self.ends.clone());
        Survey {
            partitions: Box::new(move || {
                Ok(match &pace {
                    Some(pace) => ranges(&lock(pace).ends(&very)),
                    None => ranges(&very),
                })
            }),
            show: None,
        }
    }

    fn seek(&mut self, positions: &Positions) -> Result<(), SourceError> {
        check_positions(positions, &ranges(&self.ends))?;
        if let Some(pace) = &self.pace {
            let mut pace = lock(pace);
            pace.begin(self.ends.len());
            pace.name(positions.iter(), &self.ends);
        }
        self.positions = positions.clone();
        Ok(())
    }

    fn adjust(&mut self, positions: &Positions) -> Result<(), SourceError> {
        check_positions(positions, &ranges(&self.ends))?;
        let ahead = ahead_of(&self.positions, positions);
        if let Some(pace) = &self.pace {
            lock(pace).name(ahead.iter(), &self.ends);
        }
        for (partition, position) in ahead.iter() {
            self.positions.set(partition, position);
        }
        Ok(())
    }

    fn poll(
        &mut self,
        until: &Positions,
        limit: PollLimit,
        into: &mut dyn TakeRecords,
    ) -> Result<(), SourceError> {
        let deadline = Instant::now() + limit.wait_max;
        let mut budget = Budget::new(limit);
        self.turn = self.turn.wrapping_add(1);
        let mut order: Vec<Partition> = self.positions.iter().map(|(p, _)| p).collect();
        if !order.is_empty() {
            let first = self.turn % order.len();
            order.rotate_left(first);
        }
        if let Some(pace) = &self.pace {
            // The very end is a goal, and says nothing of what was read.
            let is_goal = |p: Partition, bound| self.ends.get(p.0 as usize) == Some(&bound);
            let bounds = until.iter().filter(|&(p, bound)| !is_goal(p, bound));
            lock(pace).name(bounds, &self.ends);
        }
        loop {
            let ends = self.current_ends();
            for &partition in &order {
                let bound = until.get(partition).unwrap_or(i64::MAX);
                let end = ends[partition.0 as usize].min(bound);
                if budget.records_left() == 0 || self.read(partition, end, &mut budget, into) {
                    break;
                }
            }
            let wait = deadline.saturating_duration_since(Instant::now());
            if !budget.is_untouched()
                || budget.records_left() == 0
                || all_reached(&self.positions, until)
                || wait.is_zero()
            {
                return Ok(());
            }
            let next = self.pace.as_ref();
            let next = next.map_or(Duration::MAX, |pace| lock(pace).to_next());
            thread::sleep(wait.min(next.max(NAP_MIN)));
        }
    }

    fn positions(&self) -> &Positions {
        &self.positions
    }
}

impl Pace {
    /// Time begins to count, unless it does.
    fn begin(&mut self, partitions: usize) {
        let moment = (self.clock)();
        self.since.get_or_insert_with(|| Since {
            moment,
            floor: vec![0; partitions],
        });
    }

    /// Records that came since, of all partitions.
    fn due(&self, since: &Since) -> u64 {
        let passed = (self.clock)().saturating_sub(since.moment);
        (passed.as_secs_f64() * self.rate) as u64
    }

    /// How long until there is one more.
    fn to_next(&self) -> Duration {
        let Some(since) = &self.since else {
            return Duration::MAX;
        };
        let next = (self.due(since) + 1) as f64 / self.rate;
        let passed = (self.clock)().saturating_sub(since.moment);
        Duration::try_from_secs_f64(next).map_or(Duration::MAX, |next| next.saturating_sub(passed))
    }

    /// The ends of all partitions now; `very` are their very ends.
    fn ends(&self, very: &[i64]) -> Vec<i64> {
        let Some(since) = &self.since else {
            return very.to_vec();
        };
        let brought = shares(self.due(since), very.len() as u32);
        let ends = since.floor.iter().zip(brought).zip(very);
        ends.map(|((&floor, brought), &very)| floor.saturating_add(brought).min(very))
            .collect()
    }

    /// Takes it that everything before these offsets is there.
    fn name(&mut self, named: impl Iterator<Item = (Partition, i64)>, very: &[i64]) {
        let mut ends = self.ends(very);
        let Some(since) = &mut self.since else {
            return;
        };
        let mut has_grown = false;
        for (partition, offset) in named {
            let index = partition.0 as usize;
            if let (Some(end), Some(&very)) = (ends.get_mut(index), very.get(index))
                && offset.min(very) > *end
            {
                *end = offset.min(very);
                has_grown = true;
            }
        }
        if has_grown {
            since.moment = (self.clock)();
            since.floor = ends;
        }
    }
}

/// What may be sought, up to these ends.
fn ranges(ends: &[i64]) -> Vec<PartitionRange> {
    let partitions = (0u32..).zip(ends);
    let ranges = partitions.map(|(partition, &end)| PartitionRange {
        partition: Partition(partition),
        begin: 0,
        end,
    });
    ranges.collect()
}

/// A pace is whole at any time.
fn lock(pace: &Mutex<Pace>) -> MutexGuard<'_, Pace> {
    pace.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many of so many records each partition gets, dealt out in turn.
fn shares(records: u64, partitions: u32) -> impl Iterator<Item = i64> {
    let count = u64::from(partitions);
    let share =
        move |partition: u32| (records / count) + u64::from(records % count > partition.into());
    (0..partitions).map(move |partition| share(partition).min(OFFSETS_MAX as u64).cast_signed())
}

#[cfg(test)]
mod tests;
