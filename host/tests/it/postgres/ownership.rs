//! Who owns a pipeline, and what a starting host finds.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use wasmill::config::OnConflict;
use wasmill::epoch::{EpochId, JournalEntry};
use wasmill::sink::postgres::PostgresLedger;
use wasmill::sink::{Ledger, Sink, SinkError};

use super::{
    batch, claimed, epoch, ledger, origin, permanent, positions, sales_table, stored_sales, write,
};
use crate::support::postgres::Database;
use crate::support::unique;

#[tokio::test]
async fn two_hosts_that_start_at_once_create_the_tables_once() {
    let database = Database::fresh().await;
    let pipeline = unique("sales");
    let mut ledgers: Vec<PostgresLedger> = (0..4)
        .map(|_| ledger(&database, &pipeline, vec![sales_table(OnConflict::Update)]))
        .collect();
    let [a, b, c, d] = &mut ledgers[..] else {
        unreachable!("there are four")
    };
    tokio::try_join!(a.prepare(), b.prepare(), c.prepare(), d.prepare()).unwrap();
    let definition = json!({});
    let claims = tokio::try_join!(
        a.claim(&definition, &[]),
        b.claim(&definition, &[]),
        c.claim(&definition, &[]),
        d.claim(&definition, &[])
    )
    .unwrap();
    let generations: BTreeSet<u64> = [claims.0, claims.1, claims.2, claims.3]
        .map(|claim| claim.generation)
        .into();
    assert_eq!(generations, BTreeSet::from([1, 2, 3, 4]));
}

#[tokio::test]
async fn the_older_host_is_fenced() {
    let database = Database::fresh().await;
    let pipeline = unique("sales");
    let mut old = claimed(&database, &pipeline).await;
    write(&mut old, &epoch(1, vec![batch(&[("a", 100, 0)])])).await;
    let mut new = claimed(&database, &pipeline).await;
    let fenced = |result: Result<(), SinkError>| match result {
        Err(SinkError::Fenced { ours, theirs, .. }) => assert_eq!((ours, theirs), (1, 2)),
        other => panic!("expected to be fenced, got {other:?}"),
    };
    let second = epoch(2, vec![batch(&[("a", 200, 1)])]);
    fenced(old.write(&second).await.map(drop));
    fenced(old.confirm("postgres", EpochId(2), &[], None).await);
    // Even what is committed already is no longer the old host's to confirm.
    write(&mut new, &second).await;
    fenced(old.write(&second).await.map(drop));
    assert_eq!(stored_sales(&database).await, [["a", "2.00"]]);
}

/// The server ends no COPY whose client says nothing, whatever time limits there are.
#[tokio::test]
async fn a_host_that_stands_still_in_the_middle_of_a_copy_is_cut_off_by_the_next_one() {
    let database = Database::fresh().await;
    let pipeline = unique("sales");
    let mut old = claimed(&database, &pipeline).await;
    write(&mut old, &epoch(1, vec![batch(&[("a", 100, 0)])])).await;
    // What the server sees of a host that was stopped while it wrote epoch 2.
    let frozen = database.connect().await;
    let beginning = format!(
        "SET application_name = 'wasmill {pipeline}';
         SET statement_timeout = '15s';
         CREATE TEMPORARY TABLE stage (id text);
         BEGIN;
         UPDATE wasmill_progress SET epoch = 2 WHERE pipeline = '{pipeline}'"
    );
    frozen.batch_execute(&beginning).await.unwrap();
    let copy = frozen.copy_in::<_, bytes::Bytes>("COPY stage FROM STDIN");
    let copy = copy.await.unwrap();

    let mut new = ledger(&database, &pipeline, vec![sales_table(OnConflict::Update)]);
    new.prepare().await.unwrap();
    let claim = new.claim(&json!({}), &[]).await.unwrap();
    assert_eq!((claim.epoch, claim.generation), (EpochId(1), 2));
    drop(copy);
    assert!(frozen.batch_execute("COMMIT").await.is_err());
}

/// Somebody else's transaction is not ours to end.
#[tokio::test]
async fn a_person_who_holds_the_rows_is_waited_for() {
    let database = Database::fresh().await;
    let pipeline = unique("sales");
    let _old = claimed(&database, &pipeline).await;
    let person = database.connect().await;
    let look =
        format!("BEGIN; SELECT FROM wasmill_progress WHERE pipeline = '{pipeline}' FOR UPDATE");
    person.batch_execute(&look).await.unwrap();
    let mut new = ledger(&database, &pipeline, vec![sales_table(OnConflict::Update)]);
    new.prepare().await.unwrap();
    let refused = new.claim(&json!({}), &[]).await;
    assert!(
        matches!(refused, Err(SinkError::Unavailable { .. })),
        "{refused:?}"
    );
    person.batch_execute("COMMIT").await.unwrap();
    new.claim(&json!({}), &[]).await.unwrap();
}

#[tokio::test]
async fn a_changed_definition_is_refused_and_the_sql_shown_forgets_the_old_one() {
    let database = Database::fresh().await;
    let pipeline = unique("it's sales");
    let mut ledger = ledger(&database, &pipeline, vec![sales_table(OnConflict::Update)]);
    ledger.prepare().await.unwrap();
    let stored = json!({"aggregates": [{"name": "day", "key": []}], "huge": 1e300, "half": 0.5});
    ledger.claim(&stored, &[]).await.unwrap();
    write(&mut ledger, &epoch(1, vec![])).await;
    ledger.claim(&stored, &[]).await.unwrap();
    let new = json!({"aggregates": [{"name": "day", "key": ["shop"]}], "huge": 1e300, "half": 0.5});
    let message = permanent(ledger.claim(&new, &[]).await);
    assert!(
        message.contains("aggregates[0].key[0] was missing, is now \"shop\""),
        "{message}"
    );
    assert!(!message.contains("huge"), "{message}");
    let forget = message.lines().last().unwrap();
    database.rows(forget).await;
    let claim = ledger.claim(&new, &[]).await.unwrap();
    assert_eq!((claim.epoch, claim.generation), (EpochId(0), 1));
}

#[tokio::test]
async fn a_sink_that_joins_later_is_refused() {
    let database = Database::fresh().await;
    let mut ledger = claimed(&database, &unique("sales")).await;
    let search = ["search".to_owned()];
    // As long as nothing is committed it has missed nothing.
    ledger.claim(&json!({}), &search).await.unwrap();
    write(&mut ledger, &epoch(1, vec![])).await;
    let both = ["search".to_owned(), "archive".to_owned()];
    let message = permanent(ledger.claim(&json!({}), &both).await);
    assert!(message.contains("sink `archive` is new"), "{message}");
    let claim = ledger.claim(&json!({}), &search).await.unwrap();
    assert_eq!(
        claim.confirmed,
        BTreeMap::from([("search".into(), EpochId(0))])
    );
}

#[tokio::test]
async fn the_journal_reaches_back_to_the_slowest_sink() {
    let database = Database::fresh().await;
    let mut ledger = claimed(&database, &unique("sales")).await;
    let search = ["search".to_owned()];
    ledger.claim(&json!({}), &search).await.unwrap();
    let excluded = BTreeSet::from([origin(0, 3), origin(7, i64::MAX)]);
    for id in 1..=3 {
        let mut epoch = epoch(id, vec![]);
        epoch.excluded.clone_from(&excluded);
        epoch.dead_letter_bytes = Some(id * 100);
        write(&mut ledger, &epoch).await;
    }
    let ids = |journal: &[JournalEntry]| -> Vec<u64> {
        journal.iter().map(|entry| entry.epoch.0).collect()
    };
    let journal = ledger.journal(EpochId(0), usize::MAX).await.unwrap();
    assert_eq!(ids(&journal), [1, 2, 3]);
    assert_eq!(journal[2].positions, positions(&[(0, 30)]));
    assert_eq!(journal[2].excluded, excluded);
    ledger
        .confirm("search", EpochId(2), &[], None)
        .await
        .unwrap();
    ledger
        .confirm("search", EpochId(1), &[], None)
        .await
        .unwrap();
    write(&mut ledger, &epoch(4, vec![])).await;
    ledger.checkpointed(EpochId(4)).await.unwrap();
    assert_eq!(
        ids(&ledger.journal(EpochId(0), usize::MAX).await.unwrap()),
        [1, 2, 3, 4]
    );
    assert_eq!(
        ids(&ledger.journal(EpochId(3), usize::MAX).await.unwrap()),
        [4]
    );
    let claim = ledger.claim(&json!({}), &search).await.unwrap();
    assert_eq!(claim.confirmed["search"], EpochId(2));
    assert_eq!(claim.epoch, EpochId(4));

    // Left out for a while, the sink has missed what was forgotten meanwhile.
    ledger.claim(&json!({}), &[]).await.unwrap();
    write(&mut ledger, &epoch(5, vec![])).await;
    ledger.checkpointed(EpochId(5)).await.unwrap();
    assert_eq!(
        ids(&ledger.journal(EpochId(0), usize::MAX).await.unwrap()),
        [1, 5]
    );
    let message = permanent(ledger.claim(&json!({}), &search).await);
    assert!(
        message.contains("the journal now begins at epoch 5"),
        "{message}"
    );
}

#[tokio::test]
async fn tables_of_an_older_version_are_refused_with_what_to_do() {
    let database = Database::fresh().await;
    let mut ledger = claimed(&database, &unique("sales")).await;
    database
        .rows("ALTER TABLE wasmill_pipelines DROP COLUMN life")
        .await;
    let message = permanent(ledger.prepare().await);
    assert!(
        message.contains("wasmill_pipelines has no column `life`"),
        "{message}"
    );
    assert_eq!(permanent(ledger.check().await), message);
    database.rows(message.lines().last().unwrap()).await;
    ledger.prepare().await.unwrap();
    let claim = ledger.claim(&json!({}), &[]).await.unwrap();
    assert_eq!(claim.epoch, EpochId(0));
}

#[tokio::test]
async fn a_polite_host_claims_what_nobody_runs_and_waits_for_who_does() {
    let database = Database::fresh().await;
    let pipeline = unique("sales");
    let polite = || {
        let tables = vec![sales_table(OnConflict::Update)];
        ledger(&database, &pipeline, tables).waiting_for_the_owner()
    };
    let (mut first, mut second) = (polite(), polite());
    first.prepare().await.unwrap();
    let claim = first.claim(&json!({}), &[]).await.unwrap();
    assert_eq!(claim.generation, 1);
    // Its own former run is nobody to wait for.
    let claim = first.claim(&json!({}), &[]).await.unwrap();
    assert_eq!(claim.generation, 2);
    write(&mut first, &epoch(1, vec![])).await;
    drop(first);
    second.prepare().await.unwrap();
    let claim = second.claim(&json!({}), &[]).await.unwrap();
    assert_eq!(claim.generation, 3);
}
