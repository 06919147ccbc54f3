//! What happens to a table that lacks a column, in every sink that has tables of its users'.

use serde_json::json;
use wasmill::config::{OnNewColumn, Projection, TableColumn};
use wasmill::schema::{Field, Schema};
use wasmill::sink::table::TableTarget;
use wasmill::sink::{Ledger, SinkError};

use super::harness::TableHarness;
use super::write;
use crate::support::rows::{self, Row, batch, epoch, row, stored};

/// What the table has not.
const LACKS: [&str; 3] = ["flag", "note", "at"];

/// The stream, whose `note` is never null.
fn with_notes() -> Schema {
    let fields = rows::schema();
    let fields = fields.fields().iter().map(|field| Field {
        nullable: field.nullable && field.name != "note",
        ..field.clone()
    });
    Schema::new(fields.collect()).unwrap()
}

/// The table with its columns but for those in [`LACKS`].
fn lacking() -> TableTarget {
    let schema = rows::schema();
    let names = schema.fields().iter().map(|field| field.name.clone());
    let columns = names.filter(|name| !LACKS.contains(&name.as_str()));
    let columns = columns.map(|name| TableColumn {
        value: Projection::Column(name.clone()),
        name,
    });
    let table = wasmill::config::Table {
        columns: Some(columns.collect()),
        ..rows::table("sales")
    };
    TableTarget::new(&table, &schema).unwrap()
}

fn whole(schema: &Schema, on_new_column: OnNewColumn) -> TableTarget {
    let target = TableTarget::new(&rows::table("sales"), schema).unwrap();
    target.on_new_column(on_new_column)
}

fn full(id: &str, n: i64) -> Row {
    Row {
        flag: Some(true),
        note: Some("a note".into()),
        at: Some(1),
        ..row(id, n)
    }
}

/// Makes the table that lacks columns, with a row in it.
async fn make(harness: &impl TableHarness) -> Box<dyn Ledger> {
    let mut ledger = harness.ledger(lacking());
    ledger.prepare().await.unwrap();
    ledger.claim(&json!({}), &[]).await.unwrap();
    write(&mut *ledger, &epoch(1, vec![batch(&[full("old", 1)])])).await;
    ledger
}

fn refusal<T: std::fmt::Debug>(answer: Result<T, SinkError>) -> String {
    match answer {
        Err(error @ SinkError::Permanent(_)) => error.to_string(),
        other => panic!("it has to be refused for good: {other:?}"),
    }
}

pub(super) async fn a_table_gets_the_columns_that_it_lacks(harness: &impl TableHarness) {
    drop(make(harness).await);
    let mut ledger = harness.ledger(whole(&with_notes(), OnNewColumn::Add));
    let said = ledger.check().await.unwrap();
    let expected = LACKS.map(|column| format!("table `sales` gets column `{column}`"));
    assert_eq!(said, expected);
    assert_eq!(
        ledger.check().await.unwrap(),
        expected,
        "a check adds nothing"
    );
    ledger.prepare().await.unwrap();
    assert!(ledger.check().await.unwrap().is_empty());
    ledger.claim(&json!({}), &[]).await.unwrap();
    write(&mut *ledger, &epoch(2, vec![batch(&[full("new", 2)])])).await;
    let old = Row {
        flag: None,
        note: None,
        at: None,
        ..full("old", 1)
    };
    assert_eq!(harness.rows().await, stored(&[old, full("new", 2)]));
    // What the stream never has null may be null in the table: it is so at every start.
    for on_new_column in [OnNewColumn::Add, OnNewColumn::Refuse] {
        let mut later = harness.ledger(whole(&with_notes(), on_new_column));
        later.prepare().await.unwrap();
    }
}

pub(super) async fn a_ledger_that_is_aimed_at_more_columns_adds_them(harness: &impl TableHarness) {
    let mut ledger = make(harness).await;
    let targets = wasmill::sink::Targets {
        tables: vec![whole(&rows::schema(), OnNewColumn::Add)],
        ..Default::default()
    };
    ledger.aim(&targets).unwrap();
    ledger.prepare().await.unwrap();
    write(&mut *ledger, &epoch(2, vec![batch(&[full("old", 2)])])).await;
    assert_eq!(harness.rows().await, stored(&[full("old", 2)]));
}

pub(super) async fn a_missing_column_is_refused_where_that_is_wanted(harness: &impl TableHarness) {
    drop(make(harness).await);
    let mut ledger = harness.ledger(whole(&rows::schema(), OnNewColumn::Refuse));
    let message = refusal(ledger.prepare().await);
    for column in LACKS {
        let part = format!("column `{column}` is missing");
        assert!(message.contains(&part), "{message}");
    }
    assert_eq!(refusal(ledger.check().await), message);
}

pub(super) async fn a_column_of_the_key_is_never_added(harness: &impl TableHarness) {
    drop(make(harness).await);
    let table = wasmill::config::Table {
        key: vec!["id".into(), "note".into()],
        ..rows::table("sales")
    };
    let target = TableTarget::new(&table, &with_notes()).unwrap();
    let mut ledger = harness.ledger(target.on_new_column(OnNewColumn::Add));
    let message = refusal(ledger.prepare().await);
    assert!(message.contains("column `note` is missing"), "{message}");
    assert!(!message.contains("`flag`"), "{message}");
    assert_eq!(refusal(ledger.check().await), message);
    // Nor is any other one then: all of it happens or nothing.
    let mut ledger = harness.ledger(whole(&rows::schema(), OnNewColumn::Add));
    assert_eq!(ledger.check().await.unwrap().len(), LACKS.len());
}
