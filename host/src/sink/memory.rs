//! Sinks in memory: the reference for what a [`Sink`] and a [`Ledger`](super::Ledger) have to do.
//!
//! Tests read here what a pipeline wrote, and start it again on the same [`MemoryStore`], as if the
//! host had been killed in between; measurements use it to leave the servers out. Each call takes
//! one lock, so it happens as a whole or not at all, as a transaction does.

mod ledger;
mod value;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::RecordBatch;
use async_trait::async_trait;

use self::ledger::Books;
use super::latest;
use super::table::TableTarget;
use super::{Durable, Sink, SinkError, Targets};
use crate::config::{OnConflict, Table};
#[cfg(test)]
use crate::deployment::Deployment;
#[cfg(test)]
use crate::epoch::EpochId;
use crate::epoch::{EpochOutput, OutputBatch};
#[cfg(test)]
use crate::record::Positions;
use crate::schema::Schema;

pub use self::ledger::MemoryLedger;
pub use self::value::Value;

/// The rows of one table.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryTable {
    /// its columns
    pub schema: Schema,
    /// the texts of each row's key columns, and all of its values in order of the columns
    pub rows: BTreeMap<Vec<String>, Vec<Value>>,
}

#[derive(Debug, Default)]
struct Contents {
    tables: BTreeMap<String, MemoryTable>,
    pipelines: BTreeMap<String, Books>,
}

/// What outlives a host: tables, journals, progress. Clones are handles on the same store.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    contents: Arc<Mutex<Contents>>,
    /// how often somebody looked into it or changed it
    #[cfg(test)]
    uses: Arc<std::sync::atomic::AtomicU64>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A copy of a table, as it is now; `None` before a sink was prepared for it.
    #[must_use]
    pub fn table(&self, name: &str) -> Option<MemoryTable> {
        self.lock().tables.get(name).cloned()
    }

    /// How many rows a table has; 0 when there is none.
    #[must_use]
    pub fn row_count(&self, name: &str) -> usize {
        self.lock().tables.get(name).map_or(0, |t| t.rows.len())
    }

    /// How far a pipeline has come.
    #[cfg(test)]
    pub(crate) fn progress(&self, pipeline: &str) -> (EpochId, Positions) {
        let contents = self.lock();
        let books = contents.pipelines.get(pipeline);
        books.map_or_else(Default::default, Books::progress)
    }

    /// All deployments of a pipeline, in order.
    #[cfg(test)]
    pub(crate) fn deployments(&self, pipeline: &str) -> Vec<Deployment> {
        let contents = self.lock();
        let books = contents.pipelines.get(pipeline);
        books.map_or_else(Vec::new, Books::deployments)
    }

    /// The last epoch of a pipeline that another sink has confirmed.
    #[cfg(test)]
    pub(crate) fn confirmed(&self, pipeline: &str, sink: &str) -> EpochId {
        let contents = self.lock();
        let books = contents.pipelines.get(pipeline);
        books.map_or_else(Default::default, |books| books.confirmed(sink))
    }

    /// The sum of a column of integers; 0 where there is no such table.
    #[cfg(test)]
    pub(crate) fn sum(&self, table: &str, column: usize) -> i64 {
        let contents = self.lock();
        let rows = contents.tables.get(table).into_iter();
        let values = rows.flat_map(|table| table.rows.values());
        let integer = |values: &Vec<Value>| match values[column] {
            Value::Int64(value) => value,
            _ => 0,
        };
        values.map(integer).sum()
    }

    /// Has a pipeline's journal forget all but the first and the last epoch.
    #[cfg(test)]
    pub(crate) fn forget_all(&self, pipeline: &str) {
        let mut contents = self.lock();
        contents
            .pipelines
            .entry(pipeline.to_owned())
            .or_default()
            .forget_all();
    }

    /// How often it was used: as long as this is the same, nothing has changed.
    #[cfg(test)]
    pub(crate) fn uses(&self) -> u64 {
        self.uses.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        #[cfg(test)]
        self.uses.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write(target: &TableTarget, batches: &[OutputBatch], into: &mut MemoryTable) {
    let winner = target.on_conflict().into();
    for batch in latest::survivors(target.projector(), batches, target.key(), winner) {
        let columns = &batch.columns;
        match batch.rows {
            Some(rows) => rows
                .iter()
                .for_each(|&row| store(target, columns, row as usize, into)),
            None => (0..columns.num_rows()).for_each(|row| store(target, columns, row, into)),
        }
    }
}

fn store(target: &TableTarget, columns: &RecordBatch, row: usize, into: &mut MemoryTable) {
    let values: Vec<Value> = columns
        .columns()
        .iter()
        .zip(target.schema().fields())
        .map(|(column, field)| Value::read(column, field.ty, row))
        .collect();
    let key = target
        .key()
        .iter()
        .map(|&i| values[i].to_string())
        .collect();
    match target.on_conflict() {
        OnConflict::Update => {
            into.rows.insert(key, values);
        }
        OnConflict::Ignore => {
            into.rows.entry(key).or_insert(values);
        }
    }
}

/// A [`Sink`] without a journal, as Elasticsearch is one.
#[derive(Debug)]
pub struct MemorySink {
    name: String,
    store: MemoryStore,
    targets: Vec<TableTarget>,
}

impl MemorySink {
    /// A sink that fills these tables of `store`, each from a stream of the schema beside it.
    ///
    /// # Errors
    ///
    /// [`SinkError::Permanent`] when a stream cannot fill its table.
    pub fn new(
        name: impl Into<String>,
        store: &MemoryStore,
        tables: &[(Table, Schema)],
    ) -> Result<Self, SinkError> {
        Ok(Self {
            name: name.into(),
            store: store.clone(),
            targets: tables
                .iter()
                .map(|(table, stream)| TableTarget::new(table, stream))
                .collect::<Result<_, _>>()
                .map_err(|error| SinkError::Permanent(error.to_string()))?,
        })
    }

    fn compare_tables(&self, tables: &BTreeMap<String, MemoryTable>) -> Result<(), SinkError> {
        let differing: Vec<String> = self
            .targets
            .iter()
            .filter(|target| {
                tables
                    .get(target.name())
                    .is_some_and(|there| there.schema != *target.schema())
            })
            .map(|target| format!("table `{}` has other columns", target.name()))
            .collect();
        if differing.is_empty() {
            return Ok(());
        }
        Err(SinkError::Permanent(differing.join("; ")))
    }

    fn create_tables(&self, tables: &mut BTreeMap<String, MemoryTable>) -> Result<(), SinkError> {
        self.compare_tables(tables)?;
        for target in &self.targets {
            tables
                .entry(target.name().to_owned())
                .or_insert_with(|| MemoryTable {
                    schema: target.schema().clone(),
                    rows: BTreeMap::new(),
                });
        }
        Ok(())
    }

    fn write_tables(
        &self,
        epoch: &EpochOutput,
        tables: &mut BTreeMap<String, MemoryTable>,
    ) -> Result<(), SinkError> {
        for target in &self.targets {
            let Some(batches) = epoch.streams.get(target.from()) else {
                continue;
            };
            let table = tables.get_mut(target.name()).ok_or_else(|| {
                SinkError::Permanent(format!("there is no table `{}`", target.name()))
            })?;
            write(target, batches, table);
        }
        Ok(())
    }
}

#[async_trait]
impl Sink for MemorySink {
    fn name(&self) -> &str {
        &self.name
    }

    async fn prepare(&mut self) -> Result<(), SinkError> {
        self.create_tables(&mut self.store.lock().tables)
    }

    fn aim(&mut self, targets: &Targets) -> Result<(), SinkError> {
        self.targets.clone_from(&targets.tables);
        Ok(())
    }

    async fn check(&mut self) -> Result<Vec<String>, SinkError> {
        self.compare_tables(&self.store.lock().tables)?;
        Ok(Vec::new())
    }

    async fn write(&mut self, epoch: &EpochOutput) -> Result<Durable, SinkError> {
        self.write_tables(epoch, &mut self.store.lock().tables)?;
        Ok(Durable::default())
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, Int64Array, StringArray};
    use serde_json::json;

    use super::*;
    use crate::epoch::EpochId;
    use crate::schema::{DataType, Field};
    use crate::sink::Ledger;

    fn stream() -> Schema {
        let field = |name: &str, ty| Field::new(name, ty, false);
        Schema::new(vec![
            field("id", DataType::Utf8),
            field("n", DataType::Int64),
        ])
        .unwrap()
    }

    fn table(key: &str, on_conflict: OnConflict) -> (Table, Schema) {
        let table = Table {
            from: "sales".into(),
            table: "sales".into(),
            key: vec![key.into()],
            columns: None,
            on_conflict,
            span: 0..0,
        };
        (table, stream())
    }

    fn epoch(number: u64, rows: &[(&str, i64)]) -> EpochOutput {
        let ids: StringArray = rows.iter().map(|(id, _)| Some(*id)).collect();
        let numbers: Int64Array = rows.iter().map(|(_, n)| Some(*n)).collect();
        let columns: Vec<ArrayRef> = vec![Arc::new(ids), Arc::new(numbers)];
        let batch = OutputBatch {
            columns: RecordBatch::try_new(Arc::clone(stream().arrow()), columns).unwrap(),
            origins: Vec::new(),
        };
        EpochOutput {
            epoch: EpochId(number),
            streams: BTreeMap::from([("sales".into(), vec![batch])]),
            ..EpochOutput::default()
        }
    }

    #[tokio::test]
    async fn an_ignored_conflict_leaves_the_first_row() {
        let store = MemoryStore::new();
        let tables = [table("id", OnConflict::Ignore)];
        let mut sink = MemorySink::new("memory", &store, &tables).unwrap();
        sink.prepare().await.unwrap();
        for output in [
            epoch(1, &[("a", 1), ("a", 2)]),
            epoch(2, &[("a", 3), ("b", 4)]),
        ] {
            assert!(sink.write(&output).await.unwrap().refused.is_empty());
        }
        let rows = store.table("sales").unwrap().rows;
        assert_eq!(rows[&vec!["a".to_owned()]][1], Value::Int64(1));
        assert_eq!(rows[&vec!["b".to_owned()]][1], Value::Int64(4));
    }

    #[tokio::test]
    async fn an_epoch_cannot_be_left_out() {
        let store = MemoryStore::new();
        let tables = [table("id", OnConflict::Update)];
        let sink = MemorySink::new("memory", &store, &tables).unwrap();
        let mut ledger = MemoryLedger::new("pipeline", sink);
        ledger.prepare().await.unwrap();
        ledger.claim(&json!({}), &[]).await.unwrap();
        let error = ledger.write(&epoch(2, &[("a", 1)])).await.unwrap_err();
        assert_eq!(error.to_string(), "epoch 2 cannot follow epoch 0");
        assert_eq!(store.row_count("sales"), 0);
    }

    #[test]
    fn an_unknown_key_column_is_refused() {
        let tables = [table("ident", OnConflict::Update)];
        let error = MemorySink::new("memory", &MemoryStore::new(), &tables).unwrap_err();
        assert_eq!(
            error.to_string(),
            "table `sales` has no column `ident` to be its key: there are id, n"
        );
    }

    #[tokio::test]
    async fn a_table_with_other_columns_is_refused() {
        let store = MemoryStore::new();
        let (config, stream) = table("id", OnConflict::Update);
        let mut sink = MemorySink::new("memory", &store, &[(config.clone(), stream)]).unwrap();
        sink.prepare().await.unwrap();
        let other = Schema::new(vec![Field::new("id", DataType::Int64, false)]).unwrap();
        let mut sink = MemorySink::new("memory", &store, &[(config, other)]).unwrap();
        assert_eq!(
            sink.prepare().await.unwrap_err().to_string(),
            "table `sales` has other columns"
        );
    }
}
