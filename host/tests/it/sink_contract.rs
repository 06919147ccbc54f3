//! What every sink has to keep, run on every sink, and what every ledger has to keep.
//!
//! A new sink joins by a [`SinkHarness`] (and, where it is a ledger, a [`LedgerHarness`], and where its
//! tables are its users', a [`TableHarness`](harness::TableHarness)) in `harness.rs` and a line for each
//! at the end of this file.

mod columns;
mod deployments;
mod harness;

use serde_json::json;
use wasmill::epoch::{ByStage, EpochId, EpochOutput};
use wasmill::sink::{Claim, Durable, Ledger, Sink, SinkError};

use self::columns::{
    a_column_of_the_key_is_never_added, a_ledger_that_is_aimed_at_more_columns_adds_them,
    a_missing_column_is_refused_where_that_is_wanted, a_table_gets_the_columns_that_it_lacks,
};
use self::deployments::{
    a_deployment_whose_answer_was_lost_is_there_once,
    a_host_that_was_overtaken_deploys_and_concludes_nothing,
    a_version_that_takes_anothers_place_says_what_became_of_it, deployments_come_back_in_order,
    rows_go_to_the_tables_that_a_ledger_is_aimed_at, the_journal_says_which_version_made_an_epoch,
    what_became_of_a_deployment_is_kept,
};
use self::harness::{LedgerHarness, SinkHarness};
use crate::support::rows::{Row, batch, batch_from, epoch, origin, row, stored};

async fn write(sink: &mut (impl Sink + ?Sized), output: &EpochOutput) {
    let Durable { refused } = sink.write(output).await.unwrap();
    assert!(refused.is_empty(), "{refused:?}");
}

// ---- every sink ----

async fn an_epoch_written_twice_is_there_once(harness: &impl SinkHarness) {
    let rows = [row("a", 1), row("b", 2)];
    let output = epoch(1, vec![batch_from(0, &rows)]);
    let mut sink = harness.open().await;
    write(&mut *sink, &output).await;
    write(&mut *sink, &output).await;
    assert_eq!(harness.rows().await, stored(&rows));
    drop(sink);
    write(&mut *harness.open().await, &output).await;
    assert_eq!(harness.rows().await, stored(&rows));
}

async fn a_later_epoch_replaces_the_rows_of_its_keys(harness: &impl SinkHarness) {
    let full = Row {
        note: Some("a note that the later row does not have".into()),
        ..row("a", 1)
    };
    let mut sink = harness.open().await;
    write(
        &mut *sink,
        &epoch(1, vec![batch_from(0, &[full, row("b", 2)])]),
    )
    .await;
    write(
        &mut *sink,
        &epoch(2, vec![batch_from(2, &[row("c", 3), row("a", 4)])]),
    )
    .await;
    let expected = [row("a", 4), row("b", 2), row("c", 3)];
    assert_eq!(harness.rows().await, stored(&expected));
}

async fn of_equal_keys_in_an_epoch_the_greatest_origin_wins(harness: &impl SinkHarness) {
    let mut shuffled = batch(&[row("a", 8), row("a", 2), row("b", 5)]);
    shuffled.origins = vec![origin(8), origin(2), origin(5)];
    let batches = vec![
        batch_from(20, &[row("c", 20)]),
        shuffled,
        batch_from(3, &[row("a", 3), row("b", 4)]),
        batch_from(10, &[row("c", 10)]),
    ];
    write(&mut *harness.open().await, &epoch(1, batches)).await;
    let expected = [row("a", 8), row("b", 5), row("c", 20)];
    assert_eq!(harness.rows().await, stored(&expected));
}

async fn rows_without_origins_are_written(harness: &impl SinkHarness) {
    let rows = [row("a", 1), row("b", 2)];
    write(&mut *harness.open().await, &epoch(1, vec![batch(&rows)])).await;
    assert_eq!(harness.rows().await, stored(&rows));
}

async fn an_empty_epoch_changes_nothing(harness: &impl SinkHarness) {
    let mut sink = harness.open().await;
    write(&mut *sink, &epoch(1, vec![batch(&[row("a", 1)])])).await;
    write(&mut *sink, &epoch(2, vec![])).await;
    write(&mut *sink, &epoch(3, vec![batch(&[]), batch(&[])])).await;
    let without_streams = EpochOutput {
        streams: std::collections::BTreeMap::new(),
        ..epoch(4, vec![])
    };
    write(&mut *sink, &without_streams).await;
    assert_eq!(harness.rows().await, stored(&[row("a", 1)]));
}

async fn every_type_keeps_its_values(harness: &impl SinkHarness) {
    const DECIMAL_MAX: i64 = 999_999_999_999_999_999;
    let nulls = Row {
        id: "nulls".into(),
        ..Row::default()
    };
    let ordinary = Row {
        id: "ordinary".into(),
        flag: Some(false),
        count: Some(0),
        ratio: Some(0.1),
        amount: Some(-5),
        precise: Some(1),
        note: Some(String::new()),
        raw: Some(Vec::new()),
        at: Some(-1),
        day: Some(-1),
    };
    let greatest = Row {
        id: "ключ \" \\ \n é 😀 \u{2028}".into(),
        flag: Some(true),
        count: Some(i64::MAX),
        ratio: Some(f64::MAX),
        amount: Some(DECIMAL_MAX),
        precise: Some(DECIMAL_MAX),
        note: Some("\u{1}\u{1f}\u{7f}\t\r\n\"\\/ é ß 漢字 😀 \u{10ffff}".into()),
        raw: Some((0..=255).collect()),
        at: Some(253_402_300_799_999_999), // 9999-12-31T23:59:59.999999
        day: Some(2_932_896),              // 9999-12-31
    };
    let least = Row {
        id: "least".into(),
        flag: None,
        count: Some(i64::MIN),
        ratio: Some(f64::MIN_POSITIVE),
        amount: Some(-DECIMAL_MAX),
        precise: Some(-DECIMAL_MAX),
        note: Some(" ".into()),
        raw: Some(vec![0]),
        at: Some(-62_135_596_800_000_000), // 0001-01-01T00:00:00
        day: Some(-719_162),               // 0001-01-01
    };
    let rows = [nulls, ordinary, greatest, least];
    write(&mut *harness.open().await, &epoch(1, vec![batch(&rows)])).await;
    assert_eq!(harness.rows().await, stored(&rows));
}

async fn a_large_epoch_is_written_whole(harness: &impl SinkHarness) {
    let rows: Vec<Row> = (0..9_000).map(|n| row(&format!("id-{n}"), n)).collect();
    let (front, back) = rows.split_at(4_321);
    let batches = vec![batch_from(0, front), batch_from(4_321, back)];
    write(&mut *harness.open().await, &epoch(1, batches)).await;
    assert_eq!(harness.rows().await, stored(&rows));
}

async fn preparing_again_is_harmless(harness: &impl SinkHarness) {
    let mut sink = harness.open().await;
    sink.prepare().await.unwrap();
    write(&mut *sink, &epoch(1, vec![batch(&[row("a", 1)])])).await;
    sink.prepare().await.unwrap();
    write(&mut *sink, &epoch(2, vec![batch(&[row("b", 2)])])).await;
    assert_eq!(harness.rows().await, stored(&[row("a", 1), row("b", 2)]));
}

async fn a_check_changes_nothing(harness: &impl SinkHarness) {
    let mut sink = harness.open().await;
    sink.check().await.unwrap();
    write(&mut *sink, &epoch(1, vec![batch(&[row("a", 1)])])).await;
    sink.check().await.unwrap();
    harness.open().await.check().await.unwrap();
    assert_eq!(harness.rows().await, stored(&[row("a", 1)]));
}

// ---- every ledger ----

async fn claim(ledger: &mut (impl Ledger + ?Sized)) -> Claim {
    let definition = json!({ "source": "sales", "aggregates": ["per_day"] });
    ledger.claim(&definition, &["search".into()]).await.unwrap()
}

fn confirmed(claim: &Claim) -> EpochId {
    claim.confirmed.get("search").copied().unwrap_or_default()
}

async fn a_new_pipeline_stands_before_the_first_epoch(harness: &impl LedgerHarness) {
    let mut ledger = harness.open_ledger().await;
    let found = claim(&mut *ledger).await;
    assert!(found.generation > 0);
    assert_eq!(found.epoch, EpochId(0));
    assert!(found.positions.is_empty());
    assert_eq!(confirmed(&found), EpochId(0));
    assert_eq!(found.dead_letter_bytes, None);
    assert!(!found.life.is_empty());
    assert!(
        ledger
            .journal(EpochId(0), usize::MAX)
            .await
            .unwrap()
            .is_empty()
    );
}

async fn each_claim_raises_the_generation(harness: &impl LedgerHarness) {
    let first = claim(&mut *harness.open_ledger().await).await.generation;
    let second = claim(&mut *harness.open_ledger().await).await.generation;
    assert!(second > first, "{first}, then {second}");
}

async fn a_host_that_was_overtaken_writes_nothing_more(harness: &impl LedgerHarness) {
    let mut old = harness.open_ledger().await;
    claim(&mut *old).await;
    write(&mut *old, &epoch(1, vec![batch(&[row("a", 1)])])).await;
    let mut new = harness.open_ledger().await;
    claim(&mut *new).await;

    let error = old
        .write(&epoch(2, vec![batch(&[row("a", 2)])]))
        .await
        .unwrap_err();
    assert!(matches!(error, SinkError::Fenced { .. }), "{error}");
    let error = old
        .confirm("search", EpochId(1), &[], None)
        .await
        .unwrap_err();
    assert!(matches!(error, SinkError::Fenced { .. }), "{error}");

    assert_eq!(harness.rows().await, stored(&[row("a", 1)]));
    assert_eq!(new.journal(EpochId(0), usize::MAX).await.unwrap().len(), 1);
    write(&mut *new, &epoch(2, vec![batch(&[row("a", 3)])])).await;
    assert_eq!(harness.rows().await, stored(&[row("a", 3)]));
}

async fn progress_comes_back(harness: &impl LedgerHarness) {
    let mut ledger = harness.open_ledger().await;
    claim(&mut *ledger).await;
    for number in 1..=3 {
        let output = EpochOutput {
            dead_letter_bytes: Some(10 * number),
            ..epoch(number, vec![batch(&[row("a", 1)])])
        };
        write(&mut *ledger, &output).await;
    }
    drop(ledger);
    let found = claim(&mut *harness.open_ledger().await).await;
    assert_eq!(found.epoch, EpochId(3));
    assert_eq!(found.positions, epoch(3, vec![]).positions);
    assert_eq!(found.dead_letter_bytes, Some(30));
}

fn rejected(number: u64) -> ByStage {
    let of = |stage: &str| (stage.into(), [origin(number.cast_signed())].into());
    [of("decode"), of("größe \"of\" sales")].into()
}

async fn the_journal_has_every_epoch_after_the_one_asked_for(harness: &impl LedgerHarness) {
    let mut ledger = harness.open_ledger().await;
    claim(&mut *ledger).await;
    for number in 1..=12_u64 {
        let output = EpochOutput {
            excluded: [origin(number.cast_signed()), origin(7)].into(),
            rejected: rejected(number),
            readmitted: [origin(100), origin(100 + number.cast_signed())].into(),
            ..epoch(number, vec![])
        };
        write(&mut *ledger, &output).await;
    }
    for after in [0, 5, 12] {
        let journal = ledger.journal(EpochId(after), usize::MAX).await.unwrap();
        let numbers: Vec<u64> = journal.iter().map(|entry| entry.epoch.0).collect();
        assert_eq!(numbers, (after + 1..=12).collect::<Vec<_>>());
        for entry in journal {
            let number = entry.epoch.0;
            assert_eq!(entry.positions, epoch(number, vec![]).positions);
            assert_eq!(
                entry.excluded,
                [origin(number.cast_signed()), origin(7)].into()
            );
            assert_eq!(entry.rejected, rejected(number));
            let readmitted = [origin(100), origin(100 + number.cast_signed())];
            assert_eq!(entry.readmitted, readmitted.into());
        }
    }
}

async fn confirmations_of_other_sinks_are_kept(harness: &impl LedgerHarness) {
    let mut ledger = harness.open_ledger().await;
    claim(&mut *ledger).await;
    for number in 1..=2 {
        write(&mut *ledger, &epoch(number, vec![])).await;
    }
    ledger
        .confirm("search", EpochId(1), &[], Some(47))
        .await
        .unwrap();
    let found = claim(&mut *harness.open_ledger().await).await;
    assert_eq!(confirmed(&found), EpochId(1));
    assert_eq!(found.dead_letter_bytes, Some(47));
}

async fn another_definition_is_refused_and_fences_nobody(harness: &impl LedgerHarness) {
    let mut running = harness.open_ledger().await;
    claim(&mut *running).await;
    let other = json!({ "source": "purchases", "aggregates": ["per_day"] });
    let error = harness
        .open_ledger()
        .await
        .claim(&other, &[])
        .await
        .unwrap_err();
    assert!(matches!(error, SinkError::Permanent(_)), "{error}");
    assert!(error.to_string().contains("source"), "{error}");
    assert!(!error.to_string().contains("per_day"), "{error}");
    write(&mut *running, &epoch(1, vec![batch(&[row("a", 1)])])).await;
}

async fn a_checked_claim_is_refused_like_a_claim_and_fences_nobody(harness: &impl LedgerHarness) {
    let same = json!({ "source": "sales", "aggregates": ["per_day"] });
    let other = json!({ "source": "purchases", "aggregates": ["per_day"] });
    let search = ["search".to_owned()];
    let mut checking = harness.open_ledger().await;
    checking.check_claim(&other, &search).await.unwrap();

    let mut running = harness.open_ledger().await;
    let generation = claim(&mut *running).await.generation;
    checking.check_claim(&same, &search).await.unwrap();
    let error = checking.check_claim(&other, &search).await.unwrap_err();
    assert!(matches!(error, SinkError::Permanent(_)), "{error}");
    assert!(error.to_string().contains("source"), "{error}");
    write(&mut *running, &epoch(1, vec![batch(&[row("a", 1)])])).await;
    checking.check_claim(&same, &search).await.unwrap();
    assert_eq!(claim(&mut *running).await.generation, generation + 1);
}

async fn a_life_lasts_as_long_as_its_tables(harness: &impl LedgerHarness) {
    let first = claim(&mut *harness.open_ledger().await).await.life;
    let second = claim(&mut *harness.open_ledger().await).await.life;
    assert_eq!(first, second);
    assert!(
        first.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{first}"
    );
}

async fn the_journal_forgets_what_checkpoints_and_sinks_no_longer_need(
    harness: &impl LedgerHarness,
) {
    let mut ledger = harness.open_ledger().await;
    claim(&mut *ledger).await;
    for number in 1..=9 {
        write(&mut *ledger, &epoch(number, vec![])).await;
    }
    let numbers = async |ledger: &mut dyn Ledger| -> Vec<u64> {
        let journal = ledger.journal(EpochId(0), usize::MAX).await.unwrap();
        journal.iter().map(|entry| entry.epoch.0).collect()
    };
    ledger
        .confirm("search", EpochId(4), &[], None)
        .await
        .unwrap();
    ledger.checkpointed(EpochId(7)).await.unwrap();
    // The first one says where everything began, and the sink goes on after epoch 4.
    assert_eq!(numbers(&mut *ledger).await, [1, 4, 5, 6, 7, 8, 9]);
    ledger
        .confirm("search", EpochId(9), &[], None)
        .await
        .unwrap();
    ledger.checkpointed(EpochId(7)).await.unwrap();
    assert_eq!(numbers(&mut *ledger).await, [1, 7, 8, 9]);
    assert_eq!(claim(&mut *ledger).await.epoch, EpochId(9));
}

async fn a_host_that_was_overtaken_forgets_nothing(harness: &impl LedgerHarness) {
    let mut old = harness.open_ledger().await;
    claim(&mut *old).await;
    for number in 1..=3 {
        write(&mut *old, &epoch(number, vec![])).await;
    }
    let mut new = harness.open_ledger().await;
    claim(&mut *new).await;
    new.confirm("search", EpochId(3), &[], None).await.unwrap();
    let error = old.checkpointed(EpochId(3)).await.unwrap_err();
    assert!(matches!(error, SinkError::Fenced { .. }), "{error}");
    assert_eq!(new.journal(EpochId(0), usize::MAX).await.unwrap().len(), 3);
}

async fn an_epoch_whose_answer_was_lost_is_not_doubled(harness: &impl LedgerHarness) {
    let mut ledger = harness.open_ledger().await;
    claim(&mut *ledger).await;
    let output = epoch(1, vec![batch_from(0, &[row("a", 1)])]);
    write(&mut *ledger, &output).await;
    // The caller did not hear of it, and writes again.
    write(&mut *ledger, &output).await;
    assert_eq!(harness.rows().await, stored(&[row("a", 1)]));
    assert_eq!(
        ledger.journal(EpochId(0), usize::MAX).await.unwrap().len(),
        1
    );
    write(&mut *ledger, &epoch(2, vec![batch(&[row("a", 2)])])).await;
    assert_eq!(harness.rows().await, stored(&[row("a", 2)]));
}

macro_rules! facts {
    ($module:ident, $harness:ident, [$($fact:ident,)*]) => {
        mod $module {
            use super::harness::SinkHarness as _;
            $(
                #[tokio::test]
                async fn $fact() {
                    let harness = super::harness::$harness::new().await;
                    super::$fact(&harness).await;
                    harness.remove().await;
                }
            )*
        }
    };
}

macro_rules! sink_contract {
    ($module:ident, $harness:ident) => {
        facts!(
            $module,
            $harness,
            [
                an_epoch_written_twice_is_there_once,
                a_later_epoch_replaces_the_rows_of_its_keys,
                of_equal_keys_in_an_epoch_the_greatest_origin_wins,
                rows_without_origins_are_written,
                an_empty_epoch_changes_nothing,
                every_type_keeps_its_values,
                a_large_epoch_is_written_whole,
                preparing_again_is_harmless,
                a_check_changes_nothing,
            ]
        );
    };
}

macro_rules! ledger_contract {
    ($module:ident, $harness:ident) => {
        facts!(
            $module,
            $harness,
            [
                a_new_pipeline_stands_before_the_first_epoch,
                each_claim_raises_the_generation,
                a_host_that_was_overtaken_writes_nothing_more,
                progress_comes_back,
                the_journal_has_every_epoch_after_the_one_asked_for,
                confirmations_of_other_sinks_are_kept,
                another_definition_is_refused_and_fences_nobody,
                a_checked_claim_is_refused_like_a_claim_and_fences_nobody,
                a_life_lasts_as_long_as_its_tables,
                the_journal_forgets_what_checkpoints_and_sinks_no_longer_need,
                a_host_that_was_overtaken_forgets_nothing,
                an_epoch_whose_answer_was_lost_is_not_doubled,
                deployments_come_back_in_order,
                a_deployment_whose_answer_was_lost_is_there_once,
                the_journal_says_which_version_made_an_epoch,
                what_became_of_a_deployment_is_kept,
                a_version_that_takes_anothers_place_says_what_became_of_it,
                a_host_that_was_overtaken_deploys_and_concludes_nothing,
                rows_go_to_the_tables_that_a_ledger_is_aimed_at,
            ]
        );
    };
}

macro_rules! table_contract {
    ($module:ident, $harness:ident) => {
        facts!(
            $module,
            $harness,
            [
                a_table_gets_the_columns_that_it_lacks,
                a_ledger_that_is_aimed_at_more_columns_adds_them,
                a_missing_column_is_refused_where_that_is_wanted,
                a_column_of_the_key_is_never_added,
            ]
        );
    };
}

sink_contract!(memory, Memory);
ledger_contract!(memory_ledger, Memory);
sink_contract!(elasticsearch, Elasticsearch);
sink_contract!(postgres, Postgres);
ledger_contract!(postgres_ledger, Postgres);
table_contract!(postgres_tables, Postgres);
sink_contract!(sqlite, Sqlite);
ledger_contract!(sqlite_ledger, Sqlite);
table_contract!(sqlite_tables, Sqlite);
