//! Sinks in memory: the reference for what a [`Sink`] and a [`Ledger`] have to do.
//!
//! Tests read here what a pipeline wrote, and start it again on the same [`MemoryStore`], as if the
//! host had been killed in between; measurements use it to leave the servers out. Each call takes
//! one lock, so it happens as a whole or not at all, as a transaction does.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal64Type, Float64Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, RecordBatch};
use async_trait::async_trait;

use super::latest::{self, KeyedBatch, Winner};
use super::projection::Projector;
use super::{Claim, Durable, Ledger, Sink, SinkError};
use crate::checkpoint::StateChange;
use crate::config::{OnConflict, Table};
use crate::epoch::{EpochId, EpochOutput, JournalEntry, OutputBatch};
use crate::record::Positions;
use crate::schema::{DataType, Schema};

/// One value of a stored row, with its meaning.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// a missing value
    Null,
    /// `boolean`
    Boolean(bool),
    /// `int64`
    Int64(i64),
    /// `float64`
    Float64(f64),
    /// `decimal(scale)`
    Decimal {
        /// its digits without the point
        unscaled: i64,
        /// digits after the point
        scale: u8,
    },
    /// `utf8`
    Utf8(String),
    /// `binary`
    Binary(Vec<u8>),
    /// `timestamp`: µs since 1970-01-01T00:00:00Z
    Timestamp(i64),
    /// `date`: days since 1970-01-01
    Date(i32),
}

impl Value {
    fn read(column: &dyn Array, ty: DataType, row: usize) -> Self {
        if column.is_null(row) {
            return Self::Null;
        }
        match ty {
            DataType::Boolean => Self::Boolean(column.as_boolean().value(row)),
            DataType::Int64 => Self::Int64(column.as_primitive::<Int64Type>().value(row)),
            DataType::Float64 => Self::Float64(column.as_primitive::<Float64Type>().value(row)),
            DataType::Decimal(scale) => Self::Decimal {
                unscaled: column.as_primitive::<Decimal64Type>().value(row),
                scale,
            },
            DataType::Utf8 => Self::Utf8(column.as_string::<i32>().value(row).to_owned()),
            DataType::Binary => Self::Binary(column.as_binary::<i32>().value(row).to_vec()),
            DataType::Timestamp => {
                let column = column.as_primitive::<TimestampMicrosecondType>();
                Self::Timestamp(column.value(row))
            }
            DataType::Date => Self::Date(column.as_primitive::<Date32Type>().value(row)),
        }
    }
}

/// As text: exact, one text for each value of a type. Times are whole numbers (see the variants).
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Boolean(value) => value.fmt(f),
            Self::Int64(value) | Self::Timestamp(value) => value.fmt(f),
            Self::Float64(value) => write!(f, "{value:?}"),
            Self::Decimal { unscaled, scale } => {
                let sign = if *unscaled < 0 { "-" } else { "" };
                let unit = 10_u64.pow(u32::from(*scale));
                let magnitude = unscaled.unsigned_abs();
                write!(f, "{sign}{}", magnitude / unit)?;
                if *scale > 0 {
                    let width = usize::from(*scale);
                    write!(f, ".{:0width$}", magnitude % unit)?;
                }
                Ok(())
            }
            Self::Utf8(value) => f.write_str(value),
            Self::Binary(value) => value.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            Self::Date(value) => value.fmt(f),
        }
    }
}

/// The rows of one table.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryTable {
    /// its columns
    pub schema: Schema,
    /// the texts of each row's key columns, and all of its values in order of the columns
    pub rows: BTreeMap<Vec<String>, Vec<Value>>,
}

/// An aggregate and the key of one of its groups.
type Group = (Arc<str>, Box<[u8]>);

/// What a pipeline's ledger holds.
#[derive(Debug, Default)]
struct Books {
    definition: Option<serde_json::Value>,
    generation: u64,
    journal: Vec<JournalEntry>,
    confirmed: BTreeMap<String, EpochId>,
    dead_letter_bytes: u64,
    /// the newest state of each group
    state: BTreeMap<Group, Box<[u8]>>,
}

impl Books {
    /// The last committed epoch.
    fn epoch(&self) -> EpochId {
        self.journal
            .last()
            .map_or(EpochId::default(), |entry| entry.epoch)
    }

    fn check_generation(&self, pipeline: &str, ours: u64) -> Result<(), SinkError> {
        if self.generation == ours {
            return Ok(());
        }
        Err(SinkError::Fenced {
            pipeline: pipeline.to_owned(),
            ours,
            theirs: self.generation,
        })
    }
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

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Clone)]
struct Target {
    from: String,
    table: String,
    projector: Projector,
    key: Vec<usize>,
    on_conflict: OnConflict,
}

impl Target {
    fn new(table: &Table, stream: &Schema) -> Result<Self, SinkError> {
        let name = &table.table;
        let unusable = |reason: String| {
            SinkError::Permanent(format!("table `{name}` is not usable: {reason}"))
        };
        let projector = Projector::new(stream, table.columns.as_deref())
            .map_err(|error| unusable(error.to_string()))?;
        let key = table
            .key
            .iter()
            .map(|column| {
                let index = projector.schema().index_of(column);
                index.ok_or_else(|| unusable(format!("it has no column `{column}` to be its key")))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            from: table.from.clone(),
            table: name.clone(),
            projector,
            key,
            on_conflict: table.on_conflict,
        })
    }

    fn write(&self, batches: &[OutputBatch], into: &mut MemoryTable) {
        let projected: Vec<RecordBatch> = batches
            .iter()
            .map(|batch| self.projector.apply(&batch.columns))
            .collect();
        let keyed: Vec<_> = projected
            .iter()
            .zip(batches)
            .map(|(columns, batch)| KeyedBatch {
                columns,
                origins: &batch.origins,
            })
            .collect();
        let winner = match self.on_conflict {
            OnConflict::Update => Winner::Last,
            OnConflict::Ignore => Winner::First,
        };
        let survivors = latest::survivors(&keyed, &self.key, winner);
        for (columns, rows) in projected.iter().zip(survivors) {
            match rows {
                Some(rows) => rows
                    .iter()
                    .for_each(|&row| self.store(columns, row as usize, into)),
                None => (0..columns.num_rows()).for_each(|row| self.store(columns, row, into)),
            }
        }
    }

    fn store(&self, columns: &RecordBatch, row: usize, into: &mut MemoryTable) {
        let values: Vec<Value> = columns
            .columns()
            .iter()
            .zip(self.projector.schema().fields())
            .map(|(column, field)| Value::read(column, field.ty, row))
            .collect();
        let key = self.key.iter().map(|&i| values[i].to_string()).collect();
        match self.on_conflict {
            OnConflict::Update => {
                into.rows.insert(key, values);
            }
            OnConflict::Ignore => {
                into.rows.entry(key).or_insert(values);
            }
        }
    }
}

/// A [`Sink`] without a journal, as Elasticsearch is one.
#[derive(Debug)]
pub struct MemorySink {
    name: String,
    store: MemoryStore,
    targets: Vec<Target>,
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
                .map(|(table, stream)| Target::new(table, stream))
                .collect::<Result<_, _>>()?,
        })
    }

    fn create_tables(&self, tables: &mut BTreeMap<String, MemoryTable>) -> Result<(), SinkError> {
        let differing: Vec<String> = self
            .targets
            .iter()
            .filter(|target| {
                tables
                    .get(&target.table)
                    .is_some_and(|there| there.schema != *target.projector.schema())
            })
            .map(|target| format!("table `{}` has other columns", target.table))
            .collect();
        if !differing.is_empty() {
            return Err(SinkError::Permanent(differing.join("; ")));
        }
        for target in &self.targets {
            tables
                .entry(target.table.clone())
                .or_insert_with(|| MemoryTable {
                    schema: target.projector.schema().clone(),
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
            let Some(batches) = epoch.streams.get(target.from.as_str()) else {
                continue;
            };
            let table = tables.get_mut(&target.table).ok_or_else(|| {
                SinkError::Permanent(format!("there is no table `{}`", target.table))
            })?;
            target.write(batches, table);
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

    async fn write(&mut self, epoch: &EpochOutput) -> Result<Durable, SinkError> {
        self.write_tables(epoch, &mut self.store.lock().tables)?;
        Ok(Durable::default())
    }
}

/// A [`Ledger`]: tables, journal and progress in one store.
#[derive(Debug)]
pub struct MemoryLedger {
    sink: MemorySink,
    pipeline: String,
    generation: u64,
}

impl MemoryLedger {
    /// The ledger of this pipeline in the store of `sink`.
    #[must_use]
    pub fn new(pipeline: impl Into<String>, sink: MemorySink) -> Self {
        Self {
            sink,
            pipeline: pipeline.into(),
            generation: 0,
        }
    }

    /// Does `action` with the contents and this pipeline's books, if it is still ours.
    fn as_owner<T>(
        &self,
        action: impl FnOnce(&mut Books, &mut BTreeMap<String, MemoryTable>) -> Result<T, SinkError>,
    ) -> Result<T, SinkError> {
        let mut contents = self.sink.store.lock();
        let Contents { tables, pipelines } = &mut *contents;
        let books = pipelines.entry(self.pipeline.clone()).or_default();
        books.check_generation(&self.pipeline, self.generation)?;
        action(books, tables)
    }
}

#[async_trait]
impl Sink for MemoryLedger {
    fn name(&self) -> &str {
        self.sink.name()
    }

    async fn prepare(&mut self) -> Result<(), SinkError> {
        self.sink.prepare().await
    }

    async fn write(&mut self, epoch: &EpochOutput) -> Result<Durable, SinkError> {
        self.as_owner(|books, tables| {
            if epoch.epoch <= books.epoch() {
                // It was committed, and the answer got lost.
                return Ok(());
            }
            if epoch.epoch != books.epoch().next() {
                return Err(SinkError::Permanent(format!(
                    "epoch {} cannot follow epoch {}",
                    epoch.epoch,
                    books.epoch()
                )));
            }
            self.sink.write_tables(epoch, tables)?;
            for change in &epoch.state {
                let group = (Arc::clone(&change.aggregate), change.key.clone());
                books.state.insert(group, change.state.clone());
            }
            books.dead_letter_bytes = epoch.dead_letter_bytes;
            books.journal.push(JournalEntry {
                epoch: epoch.epoch,
                positions: epoch.positions.clone(),
                excluded: epoch.excluded.clone(),
            });
            Ok(())
        })?;
        Ok(Durable::default())
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn claim(
        &mut self,
        definition: &serde_json::Value,
        others: &[String],
    ) -> Result<Claim, SinkError> {
        let mut contents = self.sink.store.lock();
        let books = contents.pipelines.entry(self.pipeline.clone()).or_default();
        let stored = books.definition.get_or_insert_with(|| definition.clone());
        let differing = differing_keys(stored, definition);
        if !differing.is_empty() {
            return Err(SinkError::Permanent(format!(
                "pipeline `{}` was started with other settings: {} changed; go back to the old ones, \
                 or give the pipeline another name",
                self.pipeline,
                differing.join(", ")
            )));
        }
        books.generation += 1;
        self.generation = books.generation;
        Ok(Claim {
            generation: books.generation,
            epoch: books.epoch(),
            positions: books
                .journal
                .last()
                .map_or_else(Positions::default, |entry| entry.positions.clone()),
            confirmed: others
                .iter()
                .map(|sink| {
                    let confirmed = books.confirmed.get(sink).copied();
                    (sink.clone(), confirmed.unwrap_or_default())
                })
                .collect(),
            dead_letter_bytes: books.dead_letter_bytes,
            state: books
                .state
                .iter()
                .map(|((aggregate, key), state)| StateChange {
                    aggregate: Arc::clone(aggregate),
                    key: key.clone(),
                    state: state.clone(),
                })
                .collect(),
        })
    }

    async fn journal(&mut self, after: EpochId) -> Result<Vec<JournalEntry>, SinkError> {
        self.as_owner(|books, _| {
            let entries = books.journal.iter().filter(|entry| entry.epoch > after);
            Ok(entries.cloned().collect())
        })
    }

    async fn confirm(&mut self, sink: &str, epoch: EpochId) -> Result<(), SinkError> {
        self.as_owner(|books, _| {
            books.confirmed.insert(sink.to_owned(), epoch);
            Ok(())
        })
    }
}

/// The keys of two definitions whose values differ; "everything" when one is no object.
fn differing_keys(stored: &serde_json::Value, new: &serde_json::Value) -> Vec<String> {
    if stored == new {
        return Vec::new();
    }
    let (Some(old), Some(new)) = (stored.as_object(), new.as_object()) else {
        return vec!["everything".to_owned()];
    };
    let added = new.keys().filter(|key| !old.contains_key(*key));
    old.keys()
        .chain(added)
        .filter(|key| old.get(*key) != new.get(*key))
        .map(|key| format!("`{key}`"))
        .collect()
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, Int64Array, StringArray};
    use serde_json::json;

    use super::*;
    use crate::schema::Field;

    fn stream() -> Schema {
        let field = |name: &str, ty| Field {
            name: name.into(),
            ty,
            nullable: false,
        };
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
            "table `sales` is not usable: it has no column `ident` to be its key"
        );
    }

    #[tokio::test]
    async fn a_table_with_other_columns_is_refused() {
        let store = MemoryStore::new();
        let (config, stream) = table("id", OnConflict::Update);
        let mut sink = MemorySink::new("memory", &store, &[(config.clone(), stream)]).unwrap();
        sink.prepare().await.unwrap();
        let other = Schema::new(vec![Field {
            name: "id".into(),
            ty: DataType::Int64,
            nullable: false,
        }])
        .unwrap();
        let mut sink = MemorySink::new("memory", &store, &[(config, other)]).unwrap();
        assert_eq!(
            sink.prepare().await.unwrap_err().to_string(),
            "table `sales` has other columns"
        );
    }

    #[test]
    fn values_have_one_exact_text() {
        let decimal = |unscaled, scale| Value::Decimal { unscaled, scale }.to_string();
        assert_eq!(decimal(-5, 2), "-0.05");
        assert_eq!(decimal(123, 0), "123");
        assert_eq!(Value::Binary(vec![0, 255]).to_string(), "00ff");
        assert_eq!(Value::Float64(1.0).to_string(), "1.0");
    }
}
