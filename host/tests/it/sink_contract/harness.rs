//! The stores that the contract runs on.

use async_trait::async_trait;
use serde_json::json;
use wasmill::config::Secret;
use wasmill::sink::elasticsearch::{ElasticsearchSink, IndexTarget};
use wasmill::sink::memory::{MemoryLedger, MemorySink, MemoryStore, Value};
use wasmill::sink::postgres::{PostgresLedger, TableTarget};
use wasmill::sink::{Ledger, Sink};

use crate::support;
use crate::support::elastic::Elastic;
use crate::support::postgres::Database;
use crate::support::rows::{self, Stored};

/// A store of its own for one test, with one table (or index) of the stream of [`rows`].
#[async_trait]
pub(super) trait SinkHarness: Sync {
    /// An empty store.
    async fn new() -> Self
    where
        Self: Sized;

    /// A new connection to the store, prepared and ready to write.
    async fn open(&self) -> Box<dyn Sink>;

    /// What the store holds, read by other means than the sink's.
    async fn rows(&self) -> Stored;

    /// Removes the store.
    async fn remove(&self);
}

/// The same for a ledger.
#[async_trait]
pub(super) trait LedgerHarness: SinkHarness {
    /// A new connection to the store, prepared and not claimed.
    async fn open_ledger(&self) -> Box<dyn Ledger>;
}

pub(super) struct Memory(MemoryStore);

impl Memory {
    fn sink(&self) -> MemorySink {
        let tables = [(rows::table("sales"), rows::schema())];
        MemorySink::new("memory", &self.0, &tables).unwrap()
    }
}

#[async_trait]
impl SinkHarness for Memory {
    async fn new() -> Self {
        Self(MemoryStore::new())
    }

    async fn open(&self) -> Box<dyn Sink> {
        let mut sink = self.sink();
        sink.prepare().await.unwrap();
        Box::new(sink)
    }

    async fn rows(&self) -> Stored {
        let table = self.0.table("sales").unwrap();
        let fields = table.schema.fields();
        let texts = |values: &Vec<Value>| {
            fields
                .iter()
                .zip(values)
                .filter(|(_, value)| **value != Value::Null)
                .map(|(field, value)| (field.name.clone(), value.to_string()))
                .collect()
        };
        let rows = table.rows.iter();
        rows.map(|(key, values)| (key.concat(), texts(values)))
            .collect()
    }

    async fn remove(&self) {}
}

#[async_trait]
impl LedgerHarness for Memory {
    async fn open_ledger(&self) -> Box<dyn Ledger> {
        let mut ledger = MemoryLedger::new("pipeline", self.sink());
        ledger.prepare().await.unwrap();
        Box::new(ledger)
    }
}

pub(super) struct Elasticsearch {
    server: Elastic,
    index: String,
}

#[async_trait]
impl SinkHarness for Elasticsearch {
    async fn new() -> Self {
        Self {
            server: Elastic::new(&support::elasticsearch()),
            index: support::unique("contract"),
        }
    }

    async fn open(&self) -> Box<dyn Sink> {
        let target = IndexTarget::new(&rows::index(&self.index), &rows::schema()).unwrap();
        let url = Secret::new(support::elasticsearch());
        let mut sink = ElasticsearchSink::new("search", &url, vec![target]).unwrap();
        sink.prepare().await.unwrap();
        Box::new(sink)
    }

    async fn rows(&self) -> Stored {
        let documents = self.server.documents(&self.index).await;
        let parse = |(id, (_, source)): (String, (u64, String))| (id, rows::of_document(&source));
        documents.into_iter().map(parse).collect()
    }

    async fn remove(&self) {
        self.server.remove(&self.index).await;
    }
}

pub(super) struct Postgres(Database);

#[async_trait]
impl SinkHarness for Postgres {
    async fn new() -> Self {
        Self(Database::fresh().await)
    }

    async fn open(&self) -> Box<dyn Sink> {
        let mut ledger = self.open_ledger().await;
        ledger.claim(&json!({}), &[]).await.unwrap();
        ledger
    }

    async fn rows(&self) -> Stored {
        let rows = self.0.rows(
            "SELECT id, flag, count, ratio, amount, precise, note, encode(raw, 'hex'),
                    (extract(epoch FROM at) * 1000000)::int8, day - date '1970-01-01'
             FROM sales",
        );
        let schema = rows::schema();
        let text = |name: &str, text: String| match name {
            "flag" => (text == "t").to_string(),
            "ratio" => format!("{:?}", text.parse::<f64>().unwrap()),
            _ => text,
        };
        let texts = |row: Vec<String>| {
            schema
                .fields()
                .iter()
                .zip(row)
                .filter(|(_, value)| value != "∅")
                .map(|(field, value)| (field.name.clone(), text(&field.name, value)))
                .collect()
        };
        let rows = rows.await.into_iter();
        rows.map(|row| (row[0].clone(), texts(row))).collect()
    }

    async fn remove(&self) {}
}

#[async_trait]
impl LedgerHarness for Postgres {
    async fn open_ledger(&self) -> Box<dyn Ledger> {
        let table = TableTarget::new(&rows::table("sales"), &rows::schema()).unwrap();
        let url = self.0.secret();
        let mut ledger = PostgresLedger::new("postgres", "pipeline", &url, vec![table]).unwrap();
        ledger.prepare().await.unwrap();
        Box::new(ledger)
    }
}
