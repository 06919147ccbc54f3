//! An aggregate that misbehaves on request, for the tests of the sandbox.
//!
//! Its contract is harmless: it needs `value` (int64), keeps `sum` and `count`, and shows them. The
//! config says what goes wrong, in which of its functions, and when:
//! `{ "mode": "trap", "in": "fold", "poison": 13 }` traps whenever `fold` gets a row with the value
//! 13, and with `"every": 7` each seventh call of an instance goes wrong. Without either every call
//! of that function does. `"version": 2` raises the version of its states, which `migrate` takes over
//! as they are.
//!
//! It is written in plain `wit-bindgen`, as what it says must be as wrong as it likes.

mod bindings {
    #![expect(clippy::pedantic, reason = "generated")]

    wit_bindgen::generate!({ path: "../../wit", world: "aggregate-guest" });
}

use std::cell::{Cell, OnceCell};

use bindings::exports::wasmill::guest::aggregate::{Contract, Folded, Guest};
use bindings::wasmill::guest::data::{
    Batch, Column, DataType, Description, Field, Rejection, Values,
};

struct Settings {
    mode: String,
    function: String,
    poison: Option<i64>,
    every: Option<u64>,
}

thread_local! {
    static SETTINGS: OnceCell<Settings> = const { OnceCell::new() };
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

struct Hostile;

impl Guest for Hostile {
    fn describe() -> Description {
        Description {
            name: "hostile-aggregate".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            about: "misbehaves on request".into(),
            config_schema: None,
        }
    }

    fn configure(_input: Vec<Field>, config: String) -> Result<Contract, String> {
        let config: serde_json::Value =
            serde_json::from_str(&config).map_err(|error| error.to_string())?;
        let state_version = config["version"].as_u64().unwrap_or(1) as u32;
        let text = |key: &str| config[key].as_str().unwrap_or_default().to_owned();
        SETTINGS.with(|settings| {
            settings
                .set(Settings {
                    mode: text("mode"),
                    function: text("in"),
                    poison: config["poison"].as_i64(),
                    every: config["every"].as_u64(),
                })
                .map_err(|_| "configured twice".to_owned())
        })?;
        let field = |name: &str| Field {
            name: name.into(),
            ty: DataType::Int64,
            nullable: false,
        };
        Ok(Contract {
            needs: vec!["value".into()],
            state: vec![field("sum"), field("count")],
            state_version,
            output: vec![field("sum"), field("count")],
        })
    }

    fn fold(groups: Vec<u32>, group_count: u32, input: Batch) -> Result<Folded, String> {
        let values = numbers(&input, 0)?;
        let mut states = Sums::new(group_count);
        for (&group, &value) in groups.iter().zip(values) {
            states.add(group, value, 1);
        }
        match deed("fold", values) {
            None => Ok(Folded::States(states.into_batch())),
            Some(("rejects-none", _)) => Ok(Folded::Rejected(vec![])),
            Some(("rejects-a-stranger", _)) => Ok(rejected(&[input.rows])),
            Some(("rejects-twice", _)) => Ok(rejected(&[0, 0])),
            // All of them are rejected in the end, one a call.
            Some(("rejects-the-first", _)) => Ok(rejected(&[0])),
            Some(("rejects-one-poisoned", poison)) => {
                let row = values.iter().position(|&value| Some(value) == poison);
                Ok(rejected(&[row.unwrap_or_default() as u32]))
            }
            Some((mode, _)) => misbehave(mode, states.into_batch()).map(Folded::States),
        }
    }

    fn merge(groups: Vec<u32>, group_count: u32, parts: Batch) -> Result<Batch, String> {
        let (sums, counts) = (numbers(&parts, 0)?, numbers(&parts, 1)?);
        let mut states = Sums::new(group_count);
        for (group, (&sum, &count)) in groups.iter().zip(sums.iter().zip(counts)) {
            states.add(*group, sum, count);
        }
        match deed("merge", sums) {
            None => Ok(states.into_batch()),
            Some((mode, _)) => misbehave(mode, states.into_batch()),
        }
    }

    fn finish(states: Batch) -> Result<Batch, String> {
        let sums = numbers(&states, 0)?;
        match deed("finish", sums) {
            None => Ok(states),
            Some((mode, _)) => misbehave(mode, states),
        }
    }

    fn migrate(_version: u32, _state: Vec<Field>, states: Batch) -> Result<Batch, String> {
        match deed("migrate", numbers(&states, 0)?) {
            None => Ok(states),
            Some((mode, _)) => misbehave(mode, states),
        }
    }
}

fn numbers(batch: &Batch, column: usize) -> Result<&[i64], String> {
    match batch.columns.get(column).map(|column| &column.values) {
        Some(Values::I64s(values)) => Ok(values),
        _ => Err(format!("column {column} is no int64")),
    }
}

/// What is to go wrong in this call, if anything; and the poison.
fn deed(function: &str, values: &[i64]) -> Option<(&'static str, Option<i64>)> {
    SETTINGS.with(|settings| {
        let settings = settings.get()?;
        if settings.function != function {
            return None;
        }
        let calls = CALLS.get() + 1;
        CALLS.set(calls);
        let is_due = match (settings.poison, settings.every) {
            (Some(poison), _) => values.contains(&poison),
            (None, Some(every)) => calls.is_multiple_of(every),
            (None, None) => true,
        };
        // An instance has one mode for all of its life, which ends with the process.
        let mode: &'static str = Box::leak(settings.mode.clone().into_boxed_str());
        is_due.then_some((mode, settings.poison))
    })
}

fn misbehave(mode: &str, mut states: Batch) -> Result<Batch, String> {
    match mode {
        "trap" => panic!("poison in {} states", states.rows),
        "spin" => loop {
            std::hint::black_box(&mut states);
        },
        "allocate" => {
            let mut hoard = Vec::new();
            loop {
                hoard.push(std::hint::black_box(Vec::<u8>::with_capacity(1 << 20)));
            }
        }
        "refuse" => Err(format!("poison in {} states", states.rows)),
        "flood" => {
            states.columns[0].values = Values::I64s(vec![0; 4 << 20]);
            Ok(states)
        }
        "more-groups" => {
            states.rows += 1;
            for column in &mut states.columns {
                if let Values::I64s(values) = &mut column.values {
                    values.push(0);
                }
            }
            Ok(states)
        }
        "fewer-groups" => {
            states.rows = 0;
            for column in &mut states.columns {
                column.values = Values::I64s(vec![]);
            }
            Ok(states)
        }
        "lies-about-rows" => {
            states.rows = u32::MAX;
            Ok(states)
        }
        "types" => {
            states.columns[0].values = Values::Bools(vec![1; states.rows as usize]);
            Ok(states)
        }
        "null" => {
            states.columns[0].validity = Some(vec![0; states.rows as usize]);
            Ok(states)
        }
        other => Err(format!("no mode is called `{other}`")),
    }
}

fn rejected(rows: &[u32]) -> Folded {
    let reject = |&row: &u32| Rejection {
        row,
        reason: "not this one".into(),
    };
    Folded::Rejected(rows.iter().map(reject).collect())
}

/// Sums and counts by group.
struct Sums {
    sums: Vec<i64>,
    counts: Vec<i64>,
}

impl Sums {
    fn new(groups: u32) -> Self {
        Self {
            sums: vec![0; groups as usize],
            counts: vec![0; groups as usize],
        }
    }

    fn add(&mut self, group: u32, sum: i64, count: i64) {
        self.sums[group as usize] += sum;
        self.counts[group as usize] += count;
    }

    fn into_batch(self) -> Batch {
        let column = |values| Column {
            values: Values::I64s(values),
            validity: None,
        };
        Batch {
            rows: self.sums.len() as u32,
            columns: vec![column(self.sums), column(self.counts)],
        }
    }
}

bindings::export!(Hostile with_types_in bindings);
