//! Duplicates, through a worker: what is kept, and that a replay remembers the same.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::config::{ColumnFrom, Deduplicate, OnConflict, SourceColumn, Table};
use crate::decode::Decoder;
use crate::deduplicate::Deduplicator;
use crate::deployment::Version;
use crate::epoch::EpochId;
use crate::record::{Partition, Positions, RawHeaders, RawRecord};
use crate::schema::DataType;
use crate::sink::postgres;
use crate::sink::screen::Screen;
use crate::sink::table::TableTarget;

/// What becomes of a record that is no duplicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Good,
    /// a screen rejects it
    Unstorable,
    /// the decoder rejects it
    Malformed,
}

#[derive(Debug, Clone)]
struct Sent {
    partition: u32,
    key: u8,
    kind: Kind,
}

/// What a run came to, epoch by epoch.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    kept: Vec<BTreeSet<Origin>>,
    excluded: Vec<BTreeSet<Origin>>,
    dead: Vec<BTreeSet<Origin>>,
    seen: Vec<BTreeMap<Partition, Vec<u128>>>,
    /// at the end
    memory: BTreeMap<Partition, Vec<u128>>,
}

/// How a run is cut.
#[derive(Debug, Clone)]
struct Cut {
    workers: usize,
    /// in turn; an epoch ends a batch too
    batches: Vec<usize>,
}

fn columns() -> Vec<SourceColumn> {
    ["id", "note"]
        .map(|name| SourceColumn {
            name: name.to_owned(),
            from: ColumnFrom::Json(vec![name.to_owned()]),
            ty: DataType::Utf8,
            nullable: false,
        })
        .into()
}

fn worker(last: u32, seen: &Seen) -> Worker {
    let decoder = Decoder::new(&columns());
    let schema = decoder.schema().clone();
    let table = Table {
        from: "source".into(),
        table: "stored".into(),
        key: vec!["id".into()],
        columns: None,
        on_conflict: OnConflict::Update,
        span: 0..0,
    };
    let mut screen = Screen::new(&schema, &postgres::BOUNDS);
    screen.add(&TableTarget::new(&table, &schema).unwrap(), 0..2);
    let config = Deduplicate {
        key: vec!["id".into()],
        last,
    };
    let chain = Chain {
        decoder,
        deduplicator: Some(Deduplicator::new(&config, &schema)),
        transforms: Vec::new(),
        aggregates: Vec::new(),
        screens: vec![Screening {
            from: 0,
            screen,
            names: StageNames {
                stage: "db".into(),
                component: None,
            },
        }],
        shown: vec![(0, "source".into())],
    };
    Worker::new(chain, seen, 0, Monitor::bare())
}

fn push(batch: &mut RawBatch, origin: Origin, sent: &Sent) {
    let value = match sent.kind {
        Kind::Good => format!(r#"{{"id": "{}", "note": "fine"}}"#, sent.key),
        Kind::Unstorable => format!(r#"{{"id": "{}", "note": "\u0000"}}"#, sent.key),
        Kind::Malformed => format!(r#"{{"id": "{}""#, sent.key),
    };
    batch.push(RawRecord {
        headers: RawHeaders::default(),
        origin,
        timestamp_ms: None,
        key: None,
        value: Some(value.as_bytes()),
    });
}

/// Each record with its place.
fn placed(sent: &[Sent]) -> Vec<(Origin, &Sent)> {
    let mut next: BTreeMap<u32, i64> = BTreeMap::new();
    let place = |sent: &Sent| {
        let next = next.entry(sent.partition).or_default();
        *next += 1;
        Origin {
            partition: Partition(sent.partition),
            offset: *next - 1,
        }
    };
    sent.iter().map(place).zip(sent).collect()
}

/// Runs the epochs, which have so many records each; a replay if a journal says what is excluded.
fn run(
    sent: &[Sent],
    epochs: usize,
    last: u32,
    cut: &Cut,
    journal: Option<&[BTreeSet<Origin>]>,
) -> Outcome {
    let mut workers: Vec<Worker> = (0..cut.workers)
        .map(|_| worker(last, &Vec::new()))
        .collect();
    let mut sizes = cut.batches.iter().copied().cycle();
    let mut outcome = Outcome::default();
    let mode = journal.map_or(Mode::Live, |_| Mode::Replay { shown: true });
    for (number, epoch) in placed(sent).chunks(epochs).enumerate() {
        let none = BTreeSet::new();
        let skip = journal.map_or(&none, |journal| &journal[number]);
        let mut seen = BTreeMap::new();
        let mut sets = [const { BTreeSet::new() }; 3];
        for (index, worker) in workers.iter_mut().enumerate() {
            let mine =
                |(origin, _): &&(Origin, &Sent)| origin.partition.0 as usize % cut.workers == index;
            let mut records: VecDeque<_> = epoch.iter().filter(mine).collect();
            while !records.is_empty() {
                let size = sizes.next().unwrap().min(records.len());
                let mut batch = RawBatch::default();
                records
                    .drain(..size)
                    .for_each(|(origin, sent)| push(&mut batch, *origin, sent));
                worker.process(&batch, skip, mode).unwrap();
            }
            let part = worker.hand_over(barrier(number, mode)).unwrap();
            let rows = part.streams.into_values().flatten();
            let [kept, excluded, dead] = &mut sets;
            kept.extend(rows.flat_map(|batch| batch.origins));
            excluded.extend(part.excluded);
            dead.extend(part.dead_letters.iter().map(|letter| letter.origin));
            seen.extend(part.seen);
        }
        let [kept, excluded, dead] = sets;
        outcome.kept.push(kept);
        outcome.excluded.push(excluded);
        outcome.dead.push(dead);
        outcome.seen.push(seen);
    }
    for worker in &workers {
        outcome.memory.extend(memory(worker));
    }
    outcome
}

fn barrier(number: usize, mode: Mode) -> Barrier {
    Barrier {
        number: number as u64,
        epoch: EpochId(number as u64 + 1),
        version: Version::FIRST,
        swap: None,
        readmission: None,
        positions: Arc::new(Positions::default()),
        mode,
        checkpoint: false,
    }
}

fn memory(worker: &Worker) -> BTreeMap<Partition, Vec<u128>> {
    let deduplicator = worker.chain.deduplicator.as_ref().unwrap();
    deduplicator.remembered().collect()
}

/// What one worker must make of one epoch in batches of one size, computed the obvious way: kept,
/// dead and duplicate records.
fn expected(sent: &[Sent], last: usize, batch: usize) -> [BTreeSet<Origin>; 3] {
    let mut memory: BTreeMap<Partition, VecDeque<u8>> = BTreeMap::new();
    let mut sets = [const { BTreeSet::new() }; 3];
    let [kept, dead, duplicates] = &mut sets;
    for batch in placed(sent).chunks(batch) {
        let mut fresh: BTreeSet<(Partition, u8)> = BTreeSet::new();
        for (origin, sent) in batch {
            let known = memory.get(&origin.partition);
            let is_known = known.is_some_and(|keys| keys.contains(&sent.key))
                || fresh.contains(&(origin.partition, sent.key));
            match sent.kind {
                Kind::Malformed => dead.insert(*origin),
                _ if is_known => duplicates.insert(*origin),
                Kind::Unstorable => dead.insert(*origin),
                Kind::Good => {
                    fresh.insert((origin.partition, sent.key));
                    kept.insert(*origin)
                }
            };
        }
        for (origin, sent) in batch {
            if kept.contains(origin) {
                let keys = memory.entry(origin.partition).or_default();
                keys.push_back(sent.key);
                if keys.len() > last {
                    keys.pop_front();
                }
            }
        }
    }
    sets
}

fn sent() -> impl Strategy<Value = Vec<Sent>> {
    let kind = prop_oneof![
        6 => Just(Kind::Good),
        2 => Just(Kind::Unstorable),
        1 => Just(Kind::Malformed),
    ];
    let sent = (0u32..4, 0u8..10, kind).prop_map(|(partition, key, kind)| Sent {
        partition,
        key,
        kind,
    });
    prop::collection::vec(sent, 0..150)
}

fn cut() -> impl Strategy<Value = Cut> {
    (1usize..5, prop::collection::vec(1usize..20, 1..6))
        .prop_map(|(workers, batches)| Cut { workers, batches })
}

proptest! {
    #[test]
    fn a_replay_remembers_the_same_however_it_is_cut(
        sent in sent(),
        epochs in 1usize..60,
        last in 1u32..12,
        live in cut(),
        again in cut(),
    ) {
        let first = run(&sent, epochs, last, &live, None);
        let replay = run(&sent, epochs, last, &again, Some(&first.excluded));
        prop_assert_eq!(&replay.kept, &first.kept);
        prop_assert_eq!(&replay.seen, &first.seen);
        prop_assert_eq!(&replay.memory, &first.memory);
        prop_assert!(replay.excluded.iter().all(BTreeSet::is_empty));
    }

    #[test]
    fn what_was_seen_restores_what_is_remembered(
        sent in sent(),
        epochs in 1usize..60,
        last in 1u32..12,
        cut in cut(),
    ) {
        let outcome = run(&sent, epochs, last, &cut, None);
        let seen: Seen = outcome.seen.into_iter().flatten().collect();
        let restored = worker(last, &seen);
        prop_assert_eq!(memory(&restored), outcome.memory);
    }

    #[test]
    fn of_each_key_the_first_record_is_kept_that_no_stage_rejects(
        sent in sent(),
        last in 1u32..12,
        batch in 1usize..30,
    ) {
        let cut = Cut { workers: 1, batches: vec![batch] };
        let outcome = run(&sent, usize::MAX, last, &cut, None);
        let [kept, dead, duplicates] = expected(&sent, last as usize, batch);
        if !sent.is_empty() {
            prop_assert_eq!(&outcome.kept, &[kept]);
            prop_assert_eq!(&outcome.dead[0], &dead);
            prop_assert_eq!(&outcome.excluded, &[&dead | &duplicates]);
        }
    }
}

fn one_key(kinds: &[Kind]) -> Vec<Sent> {
    let sent = kinds.iter().map(|&kind| Sent {
        partition: 0,
        key: 1,
        kind,
    });
    sent.collect()
}

#[test]
fn a_mended_record_is_taken_although_it_comes_in_the_batch_of_the_faulty_one() {
    let sent = one_key(&[Kind::Unstorable, Kind::Unstorable, Kind::Good, Kind::Good]);
    let cut = Cut {
        workers: 1,
        batches: vec![100],
    };
    let outcome = run(&sent, 100, 10, &cut, None);
    let offsets = |set: &BTreeSet<Origin>| set.iter().map(|o| o.offset).collect::<Vec<_>>();
    assert_eq!(offsets(&outcome.kept[0]), [2]);
    assert_eq!(offsets(&outcome.dead[0]), [0, 1]);
    assert_eq!(offsets(&outcome.excluded[0]), [0, 1, 3]);
    assert_eq!(outcome.seen[0][&Partition(0)].len(), 1);
}

#[test]
fn what_is_rejected_again_and_again_under_one_key_is_given_up_and_not_lost() {
    let mut kinds = vec![Kind::Unstorable; 40];
    kinds.push(Kind::Good);
    let mut worker = worker(10, &Vec::new());
    let mut batch = RawBatch::default();
    let sent = one_key(&kinds);
    for (origin, sent) in placed(&sent) {
        push(&mut batch, origin, sent);
    }
    worker
        .process(&batch, &BTreeSet::new(), Mode::Live)
        .unwrap();
    let part = worker.hand_over(barrier(0, Mode::Live)).unwrap();
    assert!(part.streams.is_empty() && part.seen.is_empty());
    let stages: Vec<&str> = part.dead_letters.iter().map(|l| l.stage.as_str()).collect();
    assert_eq!(stages[..32], ["db"; 32]);
    assert_eq!(stages[32..], ["deduplicate"; 9]);
    assert_eq!(part.excluded.len(), 41);
    // None of them is remembered: the next good one is taken.
    let mut batch = RawBatch::default();
    let origin = Origin {
        partition: Partition(0),
        offset: 41,
    };
    push(&mut batch, origin, &one_key(&[Kind::Good])[0]);
    worker
        .process(&batch, &BTreeSet::new(), Mode::Live)
        .unwrap();
    let part = worker.hand_over(barrier(1, Mode::Live)).unwrap();
    assert_eq!(part.streams.len(), 1);
}
