use proptest::prelude::*;

use super::*;
use crate::record::Partition;

fn letter(offset: i64, written_ms: Option<i64>) -> StoredLetter {
    StoredLetter {
        topic: "sales".into(),
        origin: Origin {
            partition: Partition(1),
            offset,
        },
        document: None,
        stage: "decode".into(),
        component: None,
        column: None,
        reason: "no rate for `XYZ`".into(),
        timestamp_ms: None,
        key: None,
        headers: Vec::new(),
        value: Some(b"{}".to_vec()),
        left_out_bytes: None,
        epoch: None,
        written_ms,
        settled: None,
    }
}

fn place(offset: i64) -> Place {
    Place {
        part: 0,
        offset,
        written_ms: None,
    }
}

fn visited(letters: Vec<StoredLetter>, selection: &Selection, newest: Option<usize>) -> Vec<i64> {
    let mut offsets = Vec::new();
    let mut visit = |letter: StoredLetter| {
        offsets.push(letter.origin.offset);
        ControlFlow::Continue(())
    };
    let settlements = Settlements::default();
    let mut sieve = Sieve::new(settlements, (selection, newest), &mut visit);
    for (letter, offset) in letters.into_iter().zip(0..) {
        assert_eq!(
            sieve.offer(letter, place(offset)),
            ControlFlow::Continue(())
        );
    }
    sieve.finish();
    offsets
}

#[test]
fn a_letter_that_is_repeated_is_visited_once() {
    let letters = [1, 2, 1, 3, 2].map(|offset| letter(offset, Some(offset)));
    let all = Selection::default();
    assert_eq!(visited(letters.to_vec(), &all, None), [1, 2, 3]);
    assert_eq!(visited(letters.to_vec(), &all, Some(2)), [2, 3]);
}

#[test]
fn the_newest_are_those_that_were_written_last() {
    let letters = vec![
        letter(1, Some(30)),
        letter(2, None),
        letter(3, Some(10)),
        letter(4, Some(20)),
    ];
    let all = Selection::default();
    assert_eq!(visited(letters.clone(), &all, Some(3)), [3, 4, 1]);
    assert_eq!(visited(letters, &all, Some(9)), [2, 3, 4, 1]);
}

#[test]
fn a_selection_takes_what_all_of_it_takes() {
    let letter = letter(7, Some(50));
    let takes = |change: fn(&mut Selection)| {
        let mut selection = Selection::default();
        change(&mut selection);
        selection.takes(&letter)
    };
    assert!(takes(|_| {}));
    assert!(takes(|s| s.stage = Some("decode".into())));
    assert!(!takes(|s| s.stage = Some("dec".into())));
    assert!(takes(|s| s.reason = Some("`XYZ`".into())));
    assert!(!takes(|s| s.reason = Some("`ABC`".into())));
    assert!(takes(|s| s.since_ms = Some(50)) && takes(|s| s.until_ms = Some(50)));
    assert!(!takes(|s| s.since_ms = Some(51)) && !takes(|s| s.until_ms = Some(49)));
    assert!(takes(|s| s.places = vec![Origin {
        partition: Partition(1),
        offset: 7
    }]));
    assert!(!takes(|s| s.places = vec![Origin {
        partition: Partition(0),
        offset: 7
    }]));
}

#[test]
fn documents_of_no_record_have_keys_of_their_own() {
    let of = |origin, document: Option<&str>| stable_key("sales", origin, "search", document);
    let record = letter(7, None).origin;
    assert_eq!(of(record, None), "sales/1/7/search");
    assert_eq!(of(record, Some("days/a/b")), "sales/1/7/search/days/a/b");
    assert_eq!(
        of(Origin::NO_RECORD, Some("days/1")),
        "sales/-/-/search/days/1"
    );
    assert_ne!(
        of(Origin::NO_RECORD, Some("days/1")),
        of(Origin::NO_RECORD, Some("days/2"))
    );
}

#[test]
fn only_whole_records_of_the_topic_can_be_replayed() {
    let record = letter(7, None);
    assert_eq!(record.replayable("sales"), Ok(()));
    assert_eq!(record.replayable("returns"), Err(NoReplay::OtherSource));
    let tombstone = StoredLetter {
        value: None,
        ..record.clone()
    };
    assert_eq!(tombstone.replayable("sales"), Ok(()));
    let left_out = StoredLetter {
        left_out_bytes: Some(9),
        ..tombstone
    };
    assert_eq!(left_out.replayable("sales"), Err(NoReplay::LeftOut));
    let document = StoredLetter {
        document: Some("i/1".into()),
        ..record
    };
    assert_eq!(document.replayable("sales"), Err(NoReplay::Document));
}

#[test]
fn keys_are_remembered_until_there_are_too_many() {
    let mut remembered = Remembered::default();
    for number in 0..=REMEMBERED_MAX {
        assert!(remembered.is_new(&number.to_string()));
    }
    assert_eq!(remembered.known.len(), REMEMBERED_MAX);
    assert!(!remembered.is_new("1"));
    assert!(remembered.is_new("0"), "the oldest was forgotten");
}

proptest! {
    #[test]
    fn headers_read_back_from_json(
        headers in prop::collection::vec(
            (".{0,9}", prop::option::of(prop::collection::vec(any::<u8>(), 0..9))), 1..5)
    ) {
        let headers: Vec<RecordHeader> = headers
            .into_iter()
            .map(|(name, value)| RecordHeader { name, value })
            .collect();
        let json = headers_json(&headers).unwrap();
        prop_assert!(!json.contains('\0'), "PostgreSQL's texts cannot have it");
        prop_assert_eq!(parse_headers(&json), Some(headers));
    }
}
