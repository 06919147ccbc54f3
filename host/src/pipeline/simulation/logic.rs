//! The pipeline that is simulated: rows of `id`, `grp`, `amount`; and a sum of `amount` for each `grp`.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch};

use crate::aggregate::{AggregateLogic, AggregateStage, Layout, StateTable};
use crate::config::{self, ColumnFrom, OnConflict, SourceColumn, Table};
use crate::decode::Decoder;
use crate::deduplicate::Deduplicator;
use crate::guest::{CallError, ConfigureError, Folded, RowRejection};
use crate::pipeline::topology::Stages;
use crate::pipeline::worker::{Aggregate, Chain, StageNames};
use crate::schema::{DataType, Field, Schema};

/// The stream of rows, and the table that it fills.
pub(super) const ROWS: &str = "source";
/// The stream of sums, and the table that it fills.
pub(super) const SUMS: &str = "sums";
/// The ledger.
pub(super) const LEDGER: &str = "ledger";

/// An amount that folding rejects.
pub(super) const POISON: i64 = -1;
/// An amount that the ledger refuses.
pub(super) const REFUSED: i64 = -2;

pub(super) fn rows() -> Schema {
    schema(&[
        ("id", DataType::Utf8),
        ("grp", DataType::Utf8),
        ("amount", DataType::Int64),
    ])
}

fn schema(fields: &[(&str, DataType)]) -> Schema {
    let fields = fields
        .iter()
        .map(|(name, ty)| Field::new(*name, *ty, false));
    Schema::new(fields.collect()).expect("the names are distinct")
}

fn layout() -> Layout {
    let sum = schema(&[("sum", DataType::Int64)]);
    Layout::new(
        &rows(),
        &["grp".to_owned()],
        &config::Window::None,
        &sum,
        &sum,
    )
    .expect("the key is there")
}

/// Both tables.
pub(super) fn tables() -> [(Table, Schema); 2] {
    let table = |name: &str, key: &str, schema: Schema| {
        let table = Table {
            from: name.to_owned(),
            table: name.to_owned(),
            key: vec![key.to_owned()],
            columns: None,
            on_conflict: OnConflict::Update,
            span: 0..0,
        };
        (table, schema)
    };
    [
        table(ROWS, "id", rows()),
        table(SUMS, "grp", layout().output().clone()),
    ]
}

/// The stages.
pub(super) struct Logic {
    /// ids of each partition that deduplication remembers; 0: there is none
    pub(super) remembered: usize,
}

impl Stages for Logic {
    fn definition(&self) -> serde_json::Value {
        serde_json::json!({ "simulated": true })
    }

    fn ledger(&self) -> &'static str {
        LEDGER
    }

    fn chain(&self) -> Result<Chain, ConfigureError> {
        let columns = ["id", "grp", "amount"].map(|name| SourceColumn {
            name: name.to_owned(),
            from: ColumnFrom::Json(vec![name.to_owned()]),
            ty: if name == "amount" {
                DataType::Int64
            } else {
                DataType::Utf8
            },
            nullable: false,
        });
        let stage = AggregateStage::new(SUMS.into(), Box::new(Sum), vec![2], &layout(), 1 << 20);
        Ok(Chain {
            decoder: Decoder::new(&columns),
            deduplicator: (self.remembered > 0).then(|| self.deduplicator()),
            transforms: Vec::new(),
            aggregates: vec![Aggregate {
                from: 0,
                stage,
                names: StageNames {
                    stage: SUMS.into(),
                    component: None,
                },
            }],
            screens: Vec::new(),
            shown: vec![(0, ROWS.into())],
        })
    }

    fn states(&self) -> Result<Vec<(StateTable, bool)>, ConfigureError> {
        let table = StateTable::new(SUMS.into(), layout(), Box::new(Sum), 1 << 20);
        Ok(vec![(table, true)])
    }

    fn of_sink(self: Arc<Self>, _: &str) -> Arc<dyn Stages> {
        Arc::new(Self { remembered: 0 })
    }
}

impl Logic {
    fn deduplicator(&self) -> Deduplicator {
        let config = config::Deduplicate {
            key: vec!["id".to_owned()],
            last: self.remembered as u32,
        };
        Deduplicator::new(&config, &rows())
    }
}

/// Adds up the only column.
struct Sum;

impl Sum {
    fn add(groups: &[u32], group_count: u32, batch: &RecordBatch) -> RecordBatch {
        let mut sums = vec![0; group_count as usize];
        let values = batch.column(0).as_primitive::<Int64Type>().values();
        for (group, value) in groups.iter().zip(values) {
            sums[*group as usize] += value;
        }
        let sums: ArrayRef = Arc::new(Int64Array::from(sums));
        let columns = schema(&[("sum", DataType::Int64)]);
        RecordBatch::try_new(Arc::clone(columns.arrow()), vec![sums]).expect("one column")
    }
}

impl AggregateLogic for Sum {
    fn fold(
        &mut self,
        groups: &[u32],
        group_count: u32,
        input: &RecordBatch,
    ) -> Result<Folded, CallError> {
        let values = input.column(0).as_primitive::<Int64Type>().values();
        let poisoned = (0..).zip(values).filter(|(_, value)| **value == POISON);
        let rejected: Vec<RowRejection> = poisoned
            .map(|(row, _)| RowRejection {
                row,
                reason: "poison".to_owned(),
            })
            .collect();
        if rejected.is_empty() {
            return Ok(Folded::States(Self::add(groups, group_count, input)));
        }
        Ok(Folded::Rejected(rejected))
    }

    fn merge(
        &mut self,
        groups: &[u32],
        group_count: u32,
        parts: &RecordBatch,
    ) -> Result<RecordBatch, CallError> {
        Ok(Self::add(groups, group_count, parts))
    }

    fn finish(&mut self, states: &RecordBatch) -> Result<RecordBatch, CallError> {
        Ok(states.clone())
    }
}
