//! The stores that the contract runs on.

use async_trait::async_trait;
use serde_json::json;
use wasmill::config::Secret;
use wasmill::sink::elasticsearch::{ElasticsearchSink, IndexTarget};
use wasmill::sink::memory::{MemoryLedger, MemorySink, MemoryStore, Value};
use wasmill::sink::postgres::PostgresLedger;
use wasmill::sink::sqlite::SqliteLedger;
use wasmill::sink::table::TableTarget;
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

/// The same for a ledger whose tables others may have made.
pub(super) trait TableHarness: LedgerHarness {
    /// A ledger of this table in the store, not prepared.
    fn ledger(&self, target: TableTarget) -> Box<dyn Ledger>;
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
        let mut ledger = self.ledger(sales());
        ledger.prepare().await.unwrap();
        ledger
    }
}

impl TableHarness for Postgres {
    fn ledger(&self, target: TableTarget) -> Box<dyn Ledger> {
        let url = self.0.secret();
        let ledger = PostgresLedger::new("postgres", "pipeline", &url, vec![target]);
        Box::new(ledger.unwrap())
    }
}

pub(super) struct Sqlite(tempfile::TempDir);

impl Sqlite {
    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("below/contract.sqlite3")
    }
}

#[async_trait]
impl SinkHarness for Sqlite {
    async fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    async fn open(&self) -> Box<dyn Sink> {
        let mut ledger = self.open_ledger().await;
        ledger.claim(&json!({}), &[]).await.unwrap();
        ledger
    }

    async fn rows(&self) -> Stored {
        let file = rusqlite::Connection::open(self.path()).unwrap();
        // Decimals as the view shows them.
        let sql = "SELECT id, iif(flag, 'true', 'false'), count, ratio, amount, precise, note,
                          lower(hex(raw)), at, day, flag IS NULL, raw IS NULL FROM sales";
        let mut rows = file.prepare(sql).unwrap();
        let mut rows = rows.query([]).unwrap();
        let mut stored = Stored::new();
        while let Some(row) = rows.next().unwrap() {
            let is_null = |name: &str| match name {
                "flag" => row.get(10).unwrap(),
                "raw" => row.get(11).unwrap(),
                _ => false,
            };
            let schema = rows::schema();
            let columns = schema.fields().iter().enumerate();
            let texts = columns.filter(|(_, field)| !is_null(&field.name));
            let texts = texts.filter_map(|(index, field)| {
                let text = sqlite_text(&field.name, row.get_ref(index).unwrap())?;
                Some((field.name.clone(), text))
            });
            stored.insert(row.get(0).unwrap(), texts.collect());
        }
        stored
    }

    async fn remove(&self) {}
}

fn sales() -> TableTarget {
    TableTarget::new(&rows::table("sales"), &rows::schema()).unwrap()
}

/// A value in the form of the contract; `None` when it is null.
fn sqlite_text(column: &str, value: rusqlite::types::ValueRef<'_>) -> Option<String> {
    use chrono::{DateTime, NaiveDate};
    use rusqlite::types::ValueRef;
    let text = match value {
        ValueRef::Null => return None,
        ValueRef::Integer(value) => value.to_string(),
        ValueRef::Real(value) => format!("{value:?}"),
        ValueRef::Text(text) => String::from_utf8(text.to_vec()).unwrap(),
        ValueRef::Blob(_) => panic!("{column} is read as text"),
    };
    Some(match column {
        "at" => DateTime::parse_from_rfc3339(&text)
            .unwrap()
            .timestamp_micros()
            .to_string(),
        "day" => {
            let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
            let day: NaiveDate = text.parse().unwrap();
            (day - epoch).num_days().to_string()
        }
        _ => text,
    })
}

#[async_trait]
impl LedgerHarness for Sqlite {
    async fn open_ledger(&self) -> Box<dyn Ledger> {
        let mut ledger = self.ledger(sales());
        ledger.prepare().await.unwrap();
        ledger
    }
}

impl TableHarness for Sqlite {
    fn ledger(&self, target: TableTarget) -> Box<dyn Ledger> {
        let ledger = SqliteLedger::new("file", "pipeline", &self.path(), vec![target]);
        Box::new(ledger.unwrap())
    }
}
