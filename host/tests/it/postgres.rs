//! The PostgreSQL ledger against a real server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod exactly_once;
mod ownership;
mod screen;
mod tables;
mod values;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{Decimal64Array, RecordBatch, StringArray};
use serde_json::json;
use wasmill::config::{OnConflict, Table};
use wasmill::epoch::{EpochId, EpochOutput, OutputBatch};
use wasmill::record::{Origin, Partition, Positions};
use wasmill::schema::{DataType, Field, Schema};
use wasmill::sink::postgres::PostgresLedger;
use wasmill::sink::table::TableTarget;
use wasmill::sink::{Ledger, Sink, SinkError};

use crate::support::postgres::Database;

/// The stream of most tests.
fn sales() -> Schema {
    Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("amount", DataType::Decimal(2), false),
    ])
    .unwrap()
}

fn table(name: &str, key: &[&str], on_conflict: OnConflict) -> Table {
    Table {
        from: "sales".into(),
        table: name.into(),
        key: key.iter().map(|&column| column.to_owned()).collect(),
        columns: None,
        on_conflict,
        span: 0..0,
    }
}

fn sales_table(on_conflict: OnConflict) -> TableTarget {
    TableTarget::new(&table("sales", &["id"], on_conflict), &sales()).unwrap()
}

fn ledger(database: &Database, pipeline: &str, tables: Vec<TableTarget>) -> PostgresLedger {
    PostgresLedger::new("postgres", pipeline, &database.secret(), tables).unwrap()
}

/// A ledger that has claimed its pipeline.
async fn claimed_with(
    database: &Database,
    pipeline: &str,
    tables: Vec<TableTarget>,
) -> PostgresLedger {
    let mut ledger = ledger(database, pipeline, tables);
    ledger.prepare().await.unwrap();
    ledger.claim(&json!({}), &[]).await.unwrap();
    ledger
}

/// The same with the table `sales`.
async fn claimed(database: &Database, pipeline: &str) -> PostgresLedger {
    claimed_with(database, pipeline, vec![sales_table(OnConflict::Update)]).await
}

async fn write(ledger: &mut PostgresLedger, epoch: &EpochOutput) {
    let durable = ledger.write(epoch).await.unwrap();
    assert!(durable.refused.is_empty());
}

fn origin(partition: u32, offset: i64) -> Origin {
    Origin {
        partition: Partition(partition),
        offset,
    }
}

fn positions(next: &[(u32, i64)]) -> Positions {
    next.iter()
        .map(|&(partition, next)| (Partition(partition), next))
        .collect()
}

/// Rows of the stream `sales`: id, unscaled amount, offset in partition 0.
fn batch(rows: &[(&str, i64, i64)]) -> OutputBatch {
    let ids = StringArray::from_iter_values(rows.iter().map(|row| row.0));
    let amounts = Decimal64Array::from_iter_values(rows.iter().map(|row| row.1))
        .with_precision_and_scale(18, 2)
        .unwrap();
    OutputBatch {
        columns: RecordBatch::try_new(
            Arc::clone(sales().arrow()),
            vec![Arc::new(ids), Arc::new(amounts)],
        )
        .unwrap(),
        origins: rows.iter().map(|row| origin(0, row.2)).collect(),
    }
}

fn epoch(id: u64, batches: Vec<OutputBatch>) -> EpochOutput {
    EpochOutput {
        epoch: EpochId(id),
        positions: positions(&[(0, id.cast_signed() * 10)]),
        streams: BTreeMap::from([("sales".into(), batches)]),
        ..EpochOutput::default()
    }
}

async fn stored_sales(database: &Database) -> Vec<Vec<String>> {
    database
        .rows("SELECT id, amount FROM sales ORDER BY id")
        .await
}

fn permanent<T: std::fmt::Debug>(result: Result<T, SinkError>) -> String {
    match result {
        Err(error @ SinkError::Permanent(_)) => error.to_string(),
        other => panic!("expected a permanent error, got {other:?}"),
    }
}
