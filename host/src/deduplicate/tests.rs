//! Keys of batches, as columns.

use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch, StringArray};

use super::*;
use crate::record::{RawHeaders, RawRecord};
use crate::schema::DataType;

fn schema() -> Schema {
    Schema::new(vec![
        Field::new("id", DataType::Utf8, true),
        Field::new("line", DataType::Int64, false),
    ])
    .unwrap()
}

fn deduplicator(key: &[&str], last: u32) -> Deduplicator {
    let config = Deduplicate {
        key: key.iter().map(|&name| name.to_owned()).collect(),
        last,
    };
    Deduplicator::new(&config, &schema())
}

/// Records of these partitions, with these values.
fn batch(of: &[(u32, Option<&str>, i64)]) -> (RawBatch, Rows) {
    let mut raw = RawBatch::default();
    for (offset, (partition, ..)) in (0..).zip(of) {
        let origin = Origin {
            partition: Partition(*partition),
            offset,
        };
        raw.push(RawRecord {
            headers: RawHeaders::default(),
            origin,
            timestamp_ms: None,
            key: None,
            value: None,
        });
    }
    let ids: StringArray = of.iter().map(|(_, id, _)| *id).collect();
    let lines = Int64Array::from_iter_values(of.iter().map(|(_, _, line)| *line));
    let columns: Vec<ArrayRef> = vec![Arc::new(ids), Arc::new(lines)];
    let rows = Rows {
        columns: RecordBatch::try_new(Arc::clone(schema().arrow()), columns).unwrap(),
        records: (0..of.len() as u32).collect(),
    };
    (raw, rows)
}

/// The records of a batch that are kept, none of which is rejected.
fn kept(deduplicator: &mut Deduplicator, of: &[(u32, Option<&str>, i64)]) -> Vec<u32> {
    let (raw, rows) = batch(of);
    let rows = deduplicator.check(&raw, rows);
    assert_eq!(rows.columns.num_rows(), rows.records.len());
    assert!(deduplicator.again(|_| false, &mut Vec::new()).is_none());
    let mut duplicates = Vec::new();
    deduplicator.remember(&raw, |_| false, &mut duplicates);
    assert_eq!(duplicates.len() + rows.records.len(), of.len());
    rows.records
}

#[test]
fn a_key_is_all_of_its_columns() {
    let mut both = deduplicator(&["line", "id"], 10);
    let records = [(0, Some("a"), 1), (0, Some("a"), 2), (0, Some("b"), 1)];
    assert_eq!(kept(&mut both, &records), [0, 1, 2]);
    assert!(kept(&mut both, &records).is_empty());
    let mut one = deduplicator(&["id"], 10);
    assert_eq!(kept(&mut one, &records), [0, 2]);
}

#[test]
fn no_value_is_a_value_like_others() {
    let mut deduplicator = deduplicator(&["id"], 10);
    let records = [(0, None, 1), (0, Some(""), 2), (0, None, 3)];
    assert_eq!(kept(&mut deduplicator, &records), [0, 1]);
    assert!(kept(&mut deduplicator, &[(0, None, 4)]).is_empty());
}

#[test]
fn partitions_share_no_keys() {
    let mut deduplicator = deduplicator(&["id"], 10);
    let records = [(0, Some("a"), 1), (7, Some("a"), 2), (7, Some("a"), 3)];
    assert_eq!(kept(&mut deduplicator, &records), [0, 1]);
    assert_eq!(kept(&mut deduplicator, &[(8, Some("a"), 4)]), [0]);
}

#[test]
fn what_was_forgotten_is_taken_again() {
    let mut deduplicator = deduplicator(&["id"], 2);
    for id in ["a", "b", "c"] {
        assert_eq!(kept(&mut deduplicator, &[(0, Some(id), 0)]), [0]);
    }
    let records = [(0, Some("b"), 0), (0, Some("c"), 0), (0, Some("a"), 0)];
    assert_eq!(kept(&mut deduplicator, &records), [2]);
    assert_eq!(deduplicator.size().0, 2);
}

#[test]
fn a_key_that_was_rejected_is_not_remembered() {
    let mut deduplicator = deduplicator(&["id"], 10);
    let (raw, rows) = batch(&[(0, Some("a"), 1)]);
    let _ = deduplicator.check(&raw, rows);
    assert!(deduplicator.again(|_| true, &mut Vec::new()).is_none());
    deduplicator.remember(&raw, |_| true, &mut Vec::new());
    assert!(deduplicator.take_seen().is_empty());
    assert_eq!(kept(&mut deduplicator, &[(0, Some("a"), 2)]), [0]);
}

#[test]
fn what_was_seen_is_told_once_by_partition_in_order() {
    let mut deduplicator = deduplicator(&["line"], 2);
    let records = [(5, None, 1), (3, None, 1), (5, None, 2), (5, None, 3)];
    kept(&mut deduplicator, &records);
    let seen = deduplicator.take_seen();
    let [one, two, three] = [1i64, 2, 3].map(|line| xxh3_128(&line.to_le_bytes()));
    let expected = vec![
        (Partition(3), vec![one]),
        (Partition(5), vec![one, two, three]),
    ];
    assert_eq!(seen, expected);
    assert!(deduplicator.take_seen().is_empty());
}

/// They are in checkpoints: another value would make every remembered key unknown.
#[test]
fn fingerprints_are_the_same_in_every_version() {
    let mut deduplicator = deduplicator(&["id", "line"], 10);
    kept(
        &mut deduplicator,
        &[(0, Some("a6a3a450"), 7), (0, None, -1)],
    );
    let expected = [FIXED, FIXED_NULL];
    assert_eq!(
        deduplicator.take_seen(),
        [(Partition(0), expected.to_vec())]
    );
}

const FIXED: u128 = 335_923_961_942_964_302_594_481_653_169_911_104_965;
const FIXED_NULL: u128 = 68_000_948_943_711_096_866_297_950_682_865_430_159;
