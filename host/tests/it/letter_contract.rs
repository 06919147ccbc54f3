//! What every kind of dead letters has to keep: what was written is found again, whole and once.
//!
//! A new kind joins by a [`LettersHarness`] in `harness.rs` and one line at the end of this file.

mod harness;

use std::ops::ControlFlow;

use wasmill::dead_letter::{LetterStore, NoReplay, Selection, StoredLetter};
use wasmill::deployment::Version;
use wasmill::record::{Cause, DeadLetter, Origin, Partition, RecordHeader};

use self::harness::{LettersHarness, SETTLED_BY};

const EVERY: u64 = 12;

fn letter(partition: u32, offset: i64, stage: &str, reason: &str) -> DeadLetter {
    DeadLetter {
        origin: Origin {
            partition: Partition(partition),
            offset,
        },
        document: None,
        stage: stage.into(),
        component: None,
        column: None,
        cause: Cause::Value,
        reason: reason.into(),
        timestamp_ms: None,
        key: None,
        headers: Vec::new(),
        value: Some(b"{}".to_vec()),
    }
}

/// With everything that a letter can have, and what is hard to store of it.
fn full() -> DeadLetter {
    let header = |name: &str, value: Option<&[u8]>| RecordHeader {
        name: name.to_owned(),
        value: value.map(<[u8]>::to_vec),
    };
    DeadLetter {
        component: Some("currency".into()),
        column: Some("währung".into()),
        timestamp_ms: Some(1_767_132_194_299),
        key: Some((0..=255).collect()),
        headers: vec![
            header("trace", Some(b"\x00\xff")),
            header("trace", Some(b"again, \xc3\xa9")),
            header("empty", Some(b"")),
            header("null", None),
        ],
        value: Some(b"\x00 \xff {\"a\": 1}\r\n".to_vec()),
        ..letter(
            3,
            7,
            "sales",
            "no rate for `\"\\ \u{1}é\u{10ffff}`\nof two lines",
        )
    }
}

fn document(name: &str, origin: Origin) -> DeadLetter {
    DeadLetter {
        origin,
        document: Some(name.to_owned()),
        ..letter(0, 0, "search", "document_parsing_exception")
    }
}

async fn scan(
    store: &mut dyn LetterStore,
    selection: &Selection,
    newest: Option<usize>,
) -> Vec<StoredLetter> {
    let mut letters = Vec::new();
    let mut visit = |letter| {
        letters.push(letter);
        ControlFlow::Continue(())
    };
    store.scan(selection, newest, &mut visit).await.unwrap();
    letters
}

async fn all(harness: &impl LettersHarness) -> Vec<StoredLetter> {
    scan(&mut *harness.store(), &Selection::default(), None).await
}

fn places(letters: &[StoredLetter]) -> Vec<(u32, i64)> {
    let origins = letters.iter().map(|letter| letter.origin);
    let mut places: Vec<_> = origins.map(|o| (o.partition.0, o.offset)).collect();
    places.sort_unstable();
    places
}

// ---- every kind ----

async fn a_letter_comes_back_as_it_was(harness: &impl LettersHarness) {
    let written = full();
    let tombstone = DeadLetter {
        value: None,
        ..letter(3, 8, "decode", "a tombstone")
    };
    let before = chrono::Utc::now().timestamp_millis();
    let mut host = harness.host().await;
    host.write(1, &[written.clone(), tombstone]).await;
    let after = chrono::Utc::now().timestamp_millis();
    let mut found = all(harness).await;
    found.sort_by_key(|letter| letter.origin);
    let [letter, tombstone] = &found[..] else {
        panic!("{found:?}");
    };
    let at = letter.written_ms.unwrap();
    assert!((before..=after).contains(&at), "{before} {at} {after}");
    assert_eq!(
        *letter,
        StoredLetter {
            topic: "sales".into(),
            origin: written.origin,
            document: None,
            stage: written.stage,
            component: written.component,
            column: written.column,
            reason: written.reason,
            timestamp_ms: written.timestamp_ms,
            key: written.key,
            headers: written.headers,
            value: written.value,
            left_out_bytes: None,
            epoch: letter.epoch,
            written_ms: letter.written_ms,
            settled: None,
        }
    );
    assert_eq!(letter.replayable("sales"), Ok(()));
    assert_eq!((&tombstone.value, &tombstone.key), (&None, &None));
    assert!(tombstone.headers.is_empty());
}

async fn a_reason_with_what_no_database_holds_is_written(harness: &impl LettersHarness) {
    let letter = letter(0, 1, "sales", "a\0b");
    harness.host().await.write(1, &[letter]).await;
    let reason = &all(harness).await[0].reason;
    assert!(reason == "a\0b" || reason == "a\\u0000b", "{reason:?}");
}

async fn letters_that_are_written_again_are_found_once(harness: &impl LettersHarness) {
    let letters = [letter(0, 1, "decode", "a"), letter(1, 1, "decode", "a")];
    let mut host = harness.host().await;
    host.write(1, &letters).await;
    // The answer got lost.
    host.repeat(1, &letters).await;
    drop(host);
    harness.host().await.repeat(1, &letters).await;
    assert_eq!(places(&all(harness).await), [(0, 1), (1, 1)]);
}

/// The letters of this selection, with those that are settled: offset, reason and by whom.
async fn with_settled(harness: &impl LettersHarness) -> Vec<(i64, String, Option<Version>)> {
    let selection = Selection {
        with_settled: true,
        ..Selection::default()
    };
    let letters = scan(&mut *harness.store(), &selection, None).await;
    let mut found: Vec<_> = letters
        .into_iter()
        .map(|letter| {
            let settled = letter.settled.map(|settled| settled.version);
            (letter.origin.offset, letter.reason, settled)
        })
        .collect();
    found.sort();
    found
}

async fn a_settled_letter_is_found_only_where_that_is_asked_for(harness: &impl LettersHarness) {
    let letters: Vec<DeadLetter> = (1..=3).map(|n| letter(0, n, "sales", "no rate")).collect();
    let mut host = harness.host().await;
    host.write(1, &letters).await;
    // That is about the same record, and stays.
    let refused = document("days/1", letters[0].origin);
    host.confirm(1, &[refused]).await;
    let of_another_stage = letter(0, 2, "decode", "no JSON");
    host.write(2, &[of_another_stage]).await;
    let (first, second) = (letters[0].origin, letters[1].origin);
    host.settle(3, ("sales", &[first, second]), &[]).await;

    let open = all(harness).await;
    assert_eq!(places(&open), [(0, 1), (0, 2), (0, 3)]);
    assert!(open.iter().all(|letter| letter.settled.is_none()));
    let newest = scan(&mut *harness.store(), &Selection::default(), Some(2)).await;
    assert_eq!(places(&newest).len(), 2);
    assert!(newest.iter().all(|letter| letter.settled.is_none()));
    let by = Some(SETTLED_BY);
    let expected = [
        (1, "document_parsing_exception", None),
        (1, "no rate", by),
        (2, "no JSON", None),
        (2, "no rate", by),
        (3, "no rate", None),
    ];
    let expected = expected.map(|(offset, reason, by)| (offset, reason.to_owned(), by));
    assert_eq!(with_settled(harness).await, expected);
    let selection = Selection {
        places: vec![first],
        stage: Some("sales".into()),
        with_settled: true,
        ..Selection::default()
    };
    let found = scan(&mut *harness.store(), &selection, None).await;
    assert_eq!(found[0].replayable("sales"), Err(NoReplay::Settled));
    let settled = found[0].settled.unwrap();
    assert!(settled.at_ms >= found[0].written_ms, "{settled:?}");
}

async fn a_record_that_is_rejected_again_has_a_letter_that_is_not_settled(
    harness: &impl LettersHarness,
) {
    let letters: Vec<DeadLetter> = (1..=2).map(|n| letter(0, n, "sales", "before")).collect();
    let mut host = harness.host().await;
    host.write(1, &letters).await;
    let both = [letters[0].origin, letters[1].origin];
    let again = [letter(0, 2, "sales", "again")];
    host.settle(2, ("sales", &both), &again).await;
    let found = all(harness).await;
    assert_eq!(places(&found), [(0, 2)]);
    assert_eq!(found[0].reason, "again");
    assert_eq!(found[0].replayable("sales"), Ok(()));
}

async fn refused_documents_have_letters_of_their_own(harness: &impl LettersHarness) {
    let record = Origin {
        partition: Partition(2),
        offset: 5,
    };
    let refused = [
        document("days/2026-01-01", Origin::NO_RECORD),
        document("days/2026-01-02", Origin::NO_RECORD),
        document("sales/a", record),
        document("other/a", record),
    ];
    let mut host = harness.host().await;
    host.write(1, &[letter(2, 4, "decode", "a")]).await;
    host.confirm(1, &refused).await;
    host.confirm(1, &refused).await;
    let found = all(harness).await;
    let mut documents: Vec<_> = found.iter().filter_map(|l| l.document.as_deref()).collect();
    documents.sort_unstable();
    let expected = ["days/2026-01-01", "days/2026-01-02", "other/a", "sales/a"];
    assert_eq!(documents, expected);
    assert_eq!(found.len(), 5);
    let refused = found.iter().filter(|letter| letter.document.is_some());
    assert!(
        refused
            .clone()
            .all(|letter| letter.replayable("sales").is_err())
    );
    assert!(refused.clone().all(|letter| letter.stage == "search"));
}

/// Writes an epoch of one letter for each number below [`EVERY`]; a time after each.
async fn write_every(harness: &impl LettersHarness) -> Vec<i64> {
    const APART: std::time::Duration = std::time::Duration::from_millis(3);
    let mut host = harness.host().await;
    let mut times = Vec::new();
    for number in 0..EVERY {
        let stage = if number % 2 == 0 { "decode" } else { "sales" };
        let reason = format!("reason {} of `%_é`", number % 3);
        let letter = letter(number as u32 % 4, number.cast_signed(), stage, &reason);
        host.write(number + 1, &[letter]).await;
        tokio::time::sleep(APART).await;
        times.push(chrono::Utc::now().timestamp_millis());
        tokio::time::sleep(APART).await;
    }
    times
}

/// The offsets of what is found, in order.
async fn offsets(harness: &impl LettersHarness, change: impl FnOnce(&mut Selection)) -> Vec<i64> {
    let mut selection = Selection::default();
    change(&mut selection);
    let found = scan(&mut *harness.store(), &selection, None).await;
    let mut offsets: Vec<_> = found.iter().map(|letter| letter.origin.offset).collect();
    offsets.sort_unstable();
    offsets
}

async fn every_kind_selects_the_same(harness: &impl LettersHarness) {
    let times = write_every(harness).await;
    let at = |number: usize| Some(times[number]);
    let all: Vec<i64> = (0..EVERY.cast_signed()).collect();
    let none: [i64; 0] = [];
    assert_eq!(offsets(harness, |_| {}).await, all);
    let stage = async |stage: &str| offsets(harness, |s| s.stage = Some(stage.into())).await;
    assert_eq!(stage("sales").await, [1, 3, 5, 7, 9, 11]);
    assert_eq!(stage("SALES").await, none);
    let reason = async |text: &str| offsets(harness, |s| s.reason = Some(text.into())).await;
    assert_eq!(reason("2 of `%_é`").await, [2, 5, 8, 11]);
    assert_eq!(reason("%").await, all);
    assert_eq!(reason("2%é").await, none);
    let place = |partition, offset| Origin {
        partition: Partition(partition),
        offset,
    };
    let places = vec![place(1, 5), place(2, 5), place(2, 10)];
    assert_eq!(offsets(harness, |s| s.places = places).await, [5, 10]);
    let between = async |since: Option<i64>, until: Option<i64>| {
        let set = |s: &mut Selection| (s.since_ms, s.until_ms) = (since, until);
        offsets(harness, set).await
    };
    assert_eq!(between(at(8), None).await, [9, 10, 11]);
    assert_eq!(between(at(3), at(6)).await, [4, 5, 6]);
    assert_eq!(between(None, at(1)).await, [0, 1]);
    let later = at(11).map(|time| time + 3_600_000);
    assert_eq!(between(later, None).await, none);
}

async fn the_newest_are_in_the_order_of_their_writing(harness: &impl LettersHarness) {
    write_every(harness).await;
    let newest = async |stage: Option<&str>, count| {
        let selection = Selection {
            stage: stage.map(str::to_owned),
            ..Selection::default()
        };
        let found = scan(&mut *harness.store(), &selection, Some(count)).await;
        let offsets = found.iter().map(|letter| letter.origin.offset);
        offsets.collect::<Vec<_>>()
    };
    assert_eq!(newest(None, 3).await, [9, 10, 11]);
    assert_eq!(newest(Some("sales"), 2).await, [9, 11]);
    assert_eq!(newest(Some("decode"), 99).await, [0, 2, 4, 6, 8, 10]);
}

async fn letters_of_a_partition_are_in_order(harness: &impl LettersHarness) {
    let mut host = harness.host().await;
    for epoch in 0..3_i64 {
        let offsets = epoch * 50..(epoch + 1) * 50;
        // Stage by stage, as an epoch has them.
        let mut letters: Vec<_> = offsets
            .map(|n| letter(n as u32 % 2, n, "decode", "a"))
            .collect();
        letters.sort_by_key(|letter| letter.origin.offset % 3);
        host.write(epoch.cast_unsigned() + 1, &letters).await;
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let found = all(harness).await;
    for partition in 0..2 {
        let of = found.iter().filter(|l| l.origin.partition.0 == partition);
        let offsets: Vec<_> = of.map(|letter| letter.origin.offset).collect();
        assert_eq!(offsets.len(), 75);
        assert!(offsets.is_sorted(), "{offsets:?}");
    }
}

async fn who_has_had_enough_gets_no_more(harness: &impl LettersHarness) {
    let letters: Vec<_> = (0..20).map(|n| letter(0, n, "decode", "a")).collect();
    harness.host().await.write(1, &letters).await;
    let mut seen = 0;
    let mut visit = |_| {
        seen += 1;
        if seen == 5 {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    };
    let mut store = harness.store();
    store
        .scan(&Selection::default(), None, &mut visit)
        .await
        .unwrap();
    assert_eq!(seen, 5);
}

async fn where_nothing_was_written_yet_the_place_is_named(harness: &impl LettersHarness) {
    let mut store = harness.store();
    let mut visit = |_| ControlFlow::Continue(());
    let scanned = store.scan(&Selection::default(), None, &mut visit).await;
    let error = scanned.unwrap_err().to_string();
    assert!(error.starts_with("there is no "), "{error}");
    assert!(
        error.ends_with("the pipeline creates it when it first runs"),
        "{error}"
    );
    // Its place alone is enough.
    drop(harness.host().await);
    assert_eq!(scan(&mut *store, &Selection::default(), None).await, []);
}

// ---- those that promise exactly once ----

async fn letters_of_an_epoch_that_was_not_committed_are_gone(harness: &impl LettersHarness) {
    let mut host = harness.host().await;
    host.write(1, &[letter(0, 1, "decode", "a")]).await;
    host.fail(2, &[letter(0, 2, "decode", "b")]).await;
    drop(host);
    let mut next = harness.host().await;
    assert_eq!(places(&all(harness).await), [(0, 1)]);
    next.write(2, &[letter(0, 3, "decode", "c")]).await;
    assert_eq!(places(&all(harness).await), [(0, 1), (0, 3)]);
}

macro_rules! facts {
    ($module:ident, $harness:ident, [$($fact:ident,)*]) => {
        mod $module {
            use super::harness::LettersHarness as _;
            $(
                #[tokio::test]
                async fn $fact() {
                    let harness = super::harness::$harness::new().await;
                    super::$fact(&harness).await;
                }
            )*
        }
    };
}

macro_rules! letter_contract {
    ($module:ident, $harness:ident, [$($more:ident,)*]) => {
        facts!(
            $module,
            $harness,
            [
                a_letter_comes_back_as_it_was,
                a_reason_with_what_no_database_holds_is_written,
                letters_that_are_written_again_are_found_once,
                refused_documents_have_letters_of_their_own,
                every_kind_selects_the_same,
                the_newest_are_in_the_order_of_their_writing,
                letters_of_a_partition_are_in_order,
                who_has_had_enough_gets_no_more,
                where_nothing_was_written_yet_the_place_is_named,
                a_settled_letter_is_found_only_where_that_is_asked_for,
                a_record_that_is_rejected_again_has_a_letter_that_is_not_settled,
                $($more,)*
            ]
        );
    };
}

letter_contract!(
    file,
    LetterFile,
    [letters_of_an_epoch_that_was_not_committed_are_gone,]
);
letter_contract!(kafka, LetterTopic, []);
letter_contract!(
    postgres,
    PostgresTable,
    [letters_of_an_epoch_that_was_not_committed_are_gone,]
);
letter_contract!(
    sqlite,
    SqliteTable,
    [letters_of_an_epoch_that_was_not_committed_are_gone,]
);
