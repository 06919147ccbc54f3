//! The pipeline that is simulated: rows of `id`, `grp`, `amount`; and for each `grp` a sum of `amount`,
//! once as it is and once weighted, by which one can tell which version has counted a record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch};

use super::dice::Dice;
use crate::aggregate::{AggregateLogic, AggregateStage, Layout, StateKind, StateTable};
use crate::config::{self, ColumnFrom, OnConflict, SourceColumn, Table};
use crate::decode::Decoder;
use crate::deduplicate::Deduplicator;
use crate::deployment::Blueprint;
use crate::guest::{CallError, ConfigureError, Folded, RowRejection};
use crate::pipeline::Plan;
use crate::pipeline::chain::{Aggregate, Chain, StageNames};
use crate::pipeline::topology::Stages;
use crate::schema::{DataType, Field, Schema};
use crate::sink::Targets;
use crate::sink::table::TableTarget;

/// The stream of rows, and the table that it fills.
pub(super) const ROWS: &str = "source";
/// The stream of sums, and the table that it fills.
pub(super) const SUMS: &str = "sums";
/// The stream of sums of the second aggregate, and the table that it fills.
pub(super) const EXTRA: &str = "extra";
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

/// An amount that some versions reject: those that are divisible by it.
pub(super) const UNLIKED: i64 = 5;

/// What versions may do in a world.
#[derive(Debug, Clone, Copy)]
pub(super) struct May {
    /// give new aggregates what came before them
    pub(super) backfill: bool,
    /// reject what others take, and be rolled back
    pub(super) reject: bool,
}

/// What versions of the logic differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Program {
    /// what an amount counts, in the sum that is weighted
    pub(super) weight: i64,
    /// the version of the states, and the unit that they count in
    pub(super) unit: u32,
    /// whether there is a second aggregate
    pub(super) has_extra: bool,
    /// whether that gets what came before it
    pub(super) backfills: bool,
    /// whether it rejects amounts that are not liked
    pub(super) is_picky: bool,
}

impl Program {
    pub(super) const FIRST: Self = Self {
        weight: 1,
        unit: 1,
        has_extra: false,
        backfills: false,
        is_picky: false,
    };

    /// Any.
    pub(super) fn any(dice: &Dice, may: May) -> Self {
        Self {
            weight: dice.between(1, 1_000) as i64,
            unit: dice.between(1, 3) as u32,
            has_extra: dice.chance(0.5),
            backfills: may.backfill && dice.chance(0.7),
            is_picky: may.reject && dice.chance(0.5),
        }
    }

    pub(super) fn of(blueprint: &Blueprint) -> Self {
        let number = |key: &str| blueprint.configs[key].as_i64().expect("it is written down");
        Self {
            weight: number("weight"),
            unit: number("unit") as u32,
            has_extra: number("extra") == 1,
            backfills: number("backfills") == 1,
            is_picky: number("picky") == 1,
        }
    }

    /// Whether it leaves out a record of this amount.
    pub(super) fn rejects(self, amount: i64) -> bool {
        amount == POISON || (self.is_picky && amount > 0 && amount % UNLIKED == 0)
    }

    fn layout(self) -> Layout {
        let sums = sums();
        let kind = StateKind {
            columns: sums.clone(),
            version: self.unit,
        };
        let none = config::Window::None;
        Layout::new(&rows(), &["grp".to_owned()], &none, kind, &sums).expect("the key is there")
    }

    fn aggregates(self) -> impl Iterator<Item = &'static str> {
        [SUMS, EXTRA]
            .into_iter()
            .take(if self.has_extra { 2 } else { 1 })
    }
}

fn sums() -> Schema {
    schema(&[("sum", DataType::Int64), ("weighted", DataType::Int64)])
}

/// All tables that a version has.
pub(super) fn targets(program: Program) -> Targets {
    let table = |name: &str, key: &str, schema: &Schema| {
        let table = Table {
            from: name.to_owned(),
            table: name.to_owned(),
            key: vec![key.to_owned()],
            columns: None,
            on_conflict: OnConflict::Update,
            span: 0..0,
        };
        TableTarget::new(&table, schema).expect("the table fits")
    };
    let mut tables = vec![table(ROWS, "id", &rows())];
    let sums = program.layout().output().clone();
    tables.extend(program.aggregates().map(|name| table(name, "grp", &sums)));
    Targets {
        tables,
        ..Targets::default()
    }
}

/// The stages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Logic {
    /// ids of each partition that deduplication remembers; 0: there is none
    pub(super) remembered: usize,
    pub(super) program: Program,
}

impl Stages for Logic {
    fn definition(&self) -> serde_json::Value {
        serde_json::json!({ "simulated": true })
    }

    fn blueprint(&self) -> Blueprint {
        let Program {
            weight,
            unit,
            has_extra,
            backfills,
            is_picky,
        } = self.program;
        let configs = serde_json::json!({
            "weight": weight, "unit": unit, "extra": i64::from(has_extra),
            "backfills": i64::from(backfills),
            "picky": i64::from(is_picky),
        });
        let definition = self.program.layout().definition();
        let states = self
            .program
            .aggregates()
            .map(|name| (name.to_owned(), definition.clone()));
        Blueprint {
            logic: configs.to_string(),
            configs,
            states: serde_json::Value::Object(states.collect()),
            ..Blueprint::default()
        }
    }

    fn binaries(&self) -> Vec<(String, Arc<[u8]>)> {
        Vec::new()
    }

    fn sibling(
        &self,
        blueprint: &Blueprint,
        _: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Arc<dyn Stages>, String> {
        Ok(Arc::new(Self {
            remembered: self.remembered,
            program: Program::of(blueprint),
        }))
    }

    fn plan(self: Arc<Self>) -> Option<Arc<Plan>> {
        None
    }

    fn targets(&self) -> Arc<Targets> {
        Arc::new(targets(self.program))
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
        let aggregate = |name: &str| Aggregate {
            from: 0,
            stage: AggregateStage::new(
                name.into(),
                Box::new(Sum(self.program)),
                vec![2],
                &self.program.layout(),
                1 << 20,
            ),
            names: StageNames {
                stage: name.into(),
                component: None,
            },
            is_only_asked: false,
            begin: None,
        };
        Ok(Chain {
            decoder: Decoder::new(&columns),
            deduplicator: (self.remembered > 0).then(|| self.deduplicator()),
            transforms: Vec::new(),
            aggregates: self.program.aggregates().map(aggregate).collect(),
            screens: Vec::new(),
            shown: vec![(0, ROWS.into())],
        })
    }

    fn states(&self) -> Result<Vec<(StateTable, bool)>, ConfigureError> {
        let table = |name: &str| {
            let logic = Box::new(Sum(self.program));
            let table = StateTable::new(name.into(), self.program.layout(), logic, 1 << 20);
            (table, true)
        };
        Ok(self.program.aggregates().map(table).collect())
    }

    fn backfilled(&self) -> BTreeSet<String> {
        let Program {
            has_extra,
            backfills,
            ..
        } = self.program;
        let backfilled = (has_extra && backfills).then(|| EXTRA.to_owned());
        backfilled.into_iter().collect()
    }

    fn of_sink(self: Arc<Self>, _: &str) -> Arc<dyn Stages> {
        Arc::new(Self {
            remembered: 0,
            program: self.program,
        })
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

/// Adds up amounts, as they are and weighted.
struct Sum(Program);

impl Sum {
    fn batch(columns: [Vec<i64>; 2]) -> RecordBatch {
        let columns = columns.map(|column| Arc::new(Int64Array::from(column)) as ArrayRef);
        RecordBatch::try_new(Arc::clone(sums().arrow()), columns.into()).expect("two columns")
    }

    fn values(batch: &RecordBatch, column: usize) -> &[i64] {
        batch.column(column).as_primitive::<Int64Type>().values()
    }
}

impl AggregateLogic for Sum {
    fn fold(
        &mut self,
        groups: &[u32],
        group_count: u32,
        input: &RecordBatch,
    ) -> Result<Folded, CallError> {
        let values = Self::values(input, 0);
        let program = self.0;
        let poisoned = (0..)
            .zip(values)
            .filter(|(_, value)| program.rejects(**value));
        let rejected: Vec<RowRejection> = poisoned
            .map(|(row, _)| RowRejection {
                row,
                reason: "poison".to_owned(),
            })
            .collect();
        if !rejected.is_empty() {
            return Ok(Folded::Rejected(rejected));
        }
        let unit = i64::from(self.0.unit);
        let factors = [unit, unit * self.0.weight];
        let states = factors.map(|factor| {
            let mut sums = vec![0; group_count as usize];
            for (group, value) in groups.iter().zip(values) {
                sums[*group as usize] += value * factor;
            }
            sums
        });
        Ok(Folded::States(Self::batch(states)))
    }

    fn merge(
        &mut self,
        groups: &[u32],
        group_count: u32,
        parts: &RecordBatch,
    ) -> Result<RecordBatch, CallError> {
        let merged = [0, 1].map(|column| {
            let mut sums = vec![0; group_count as usize];
            for (group, value) in groups.iter().zip(Self::values(parts, column)) {
                sums[*group as usize] += value;
            }
            sums
        });
        Ok(Self::batch(merged))
    }

    fn finish(&mut self, states: &RecordBatch) -> Result<RecordBatch, CallError> {
        let unit = i64::from(self.0.unit);
        let column = |column| {
            Self::values(states, column)
                .iter()
                .map(|v| v / unit)
                .collect()
        };
        Ok(Self::batch([column(0), column(1)]))
    }

    fn migrate(&mut self, of: &StateKind, states: &RecordBatch) -> Result<RecordBatch, CallError> {
        let (from, to) = (i64::from(of.version), i64::from(self.0.unit));
        let column = |column| {
            let values = Self::values(states, column).iter();
            values.map(|value| value / from * to).collect()
        };
        Ok(Self::batch([column(0), column(1)]))
    }
}
