//! Guest `totals`: the sum of a decimal column, and how many values it has.
//!
//! The output is `total`, of the column's own scale, and `count`. A missing value adds nothing and
//! is not counted. Sums are exact, and a sum of more than 18 digits is an error with a message.
//!
//! This file is the border: it maps the contract of `wit/` to [`sums`], which knows nothing of
//! WebAssembly and is the same code in a native build.

#[expect(clippy::same_length_and_capacity, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({ path: "../../../wit", world: "aggregate-guest" });
}

pub mod sums;

use std::cell::RefCell;

use serde::Deserialize;

use bindings::exports::wasmill::guest::aggregate::{Contract, Folded, Guest};
use bindings::wasmill::guest::data::{Batch, Column, DataType, Description, Field, Values};

use sums::{Sums, SumsRef};

/// Raised when what a state means changes.
const STATE_VERSION: u32 = 1;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    column: String,
}

/// What `configure` settled.
struct Stage {
    column: String,
    scale: u8,
}

struct Totals;

#[cfg(target_family = "wasm")]
bindings::export!(Totals with_types_in bindings);

thread_local! {
    /// Set by `configure`; an instance has one thread.
    static STAGE: RefCell<Option<Stage>> = const { RefCell::new(None) };
}

impl Guest for Totals {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            about: env!("CARGO_PKG_DESCRIPTION").to_owned(),
            config_schema: Some(include_str!("config.schema.json").to_owned()),
        }
    }

    fn configure(input: Vec<Field>, config: String) -> Result<Contract, String> {
        let Config { column } = serde_json::from_str(&config)
            .map_err(|error| format!("the config is wrong: {error}"))?;
        let scale = decimal_scale(&input, &column)?;
        let contract = Contract {
            needs: vec![column.clone()],
            state: state_fields(scale),
            state_version: STATE_VERSION,
            output: vec![
                field("total", DataType::Decimal(scale)),
                field("count", DataType::Int64),
            ],
        };
        STAGE.set(Some(Stage { column, scale }));
        Ok(contract)
    }

    fn fold(groups: Vec<u32>, group_count: u32, input: Batch) -> Result<Folded, String> {
        let [
            Column {
                values: Values::I64s(values),
                validity,
            },
        ] = input.columns.as_slice()
        else {
            return Err("got other columns than configured".to_owned());
        };
        let sums = sums::fold(&groups, group_count, values, validity.as_deref());
        sums.map(|sums| Folded::States(to_batch(sums)))
            .ok_or_else(too_large)
    }

    fn merge(groups: Vec<u32>, group_count: u32, parts: Batch) -> Result<Batch, String> {
        sums::merge(&groups, group_count, from_batch(&parts)?)
            .map(to_batch)
            .ok_or_else(too_large)
    }

    fn finish(states: Batch) -> Result<Batch, String> {
        // A state is what is shown of it: the sum and the count.
        from_batch(&states)?;
        Ok(states)
    }

    fn migrate(version: u32, state: Vec<Field>, states: Batch) -> Result<Batch, String> {
        if version != STATE_VERSION {
            return Err(format!(
                "states of version {version} cannot be read: this is version {STATE_VERSION}"
            ));
        }
        let scale = with_stage(|stage| stage.scale)?;
        if !state
            .iter()
            .map(shape)
            .eq(state_fields(scale).iter().map(shape))
        {
            return Err(format!(
                "the stored states are not those of a sum with {scale} digits after the point"
            ));
        }
        from_batch(&states)?;
        Ok(states)
    }
}

fn with_stage<T>(read: impl FnOnce(&Stage) -> T) -> Result<T, String> {
    STAGE.with_borrow(|stage| {
        stage
            .as_ref()
            .map(read)
            .ok_or_else(|| "this instance was not configured".to_owned())
    })
}

#[cold]
fn too_large() -> String {
    let column = with_stage(|stage| stage.column.clone()).unwrap_or_default();
    format!("the sum of `{column}` in a group has more than 18 digits")
}

fn state_fields(scale: u8) -> Vec<Field> {
    vec![
        field("sum", DataType::Decimal(scale)),
        field("count", DataType::Int64),
    ]
}

fn field(name: &str, ty: DataType) -> Field {
    Field {
        name: name.to_owned(),
        ty,
        nullable: false,
    }
}

/// What has to agree between a state that was stored and this one; generated types have no `==`.
fn shape(field: &Field) -> (&str, String, bool) {
    (&field.name, type_name(field.ty), field.nullable)
}

fn from_batch(states: &Batch) -> Result<SumsRef<'_>, String> {
    match states.columns.as_slice() {
        [
            Column {
                values: Values::I64s(sums),
                validity: None,
            },
            Column {
                values: Values::I64s(counts),
                validity: None,
            },
        ] => Ok(SumsRef { sums, counts }),
        _ => Err("got other state columns than sum and count".to_owned()),
    }
}

fn to_batch(sums: Sums) -> Batch {
    let column = |values| Column {
        values: Values::I64s(values),
        validity: None,
    };
    Batch {
        rows: sums.sums.len() as u32,
        columns: vec![column(sums.sums), column(sums.counts)],
    }
}

/// The scale of the column `name`, if that is a decimal.
fn decimal_scale(input: &[Field], name: &str) -> Result<u8, String> {
    let Some(field) = input.iter().find(|field| field.name == name) else {
        let names: Vec<_> = input.iter().map(|field| field.name.as_str()).collect();
        return Err(format!(
            "there is no column `{name}`: the input has {}",
            names.join(", ")
        ));
    };
    match field.ty {
        DataType::Decimal(scale) => Ok(scale),
        other => Err(format!(
            "column `{name}` has to be a decimal, but is {}",
            type_name(other)
        )),
    }
}

fn type_name(ty: DataType) -> String {
    match ty {
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int64 => "int64".to_owned(),
        DataType::Float64 => "float64".to_owned(),
        DataType::Decimal(scale) => format!("decimal({scale})"),
        DataType::Utf8 => "utf8".to_owned(),
        DataType::Binary => "binary".to_owned(),
        DataType::Timestamp => "timestamp".to_owned(),
        DataType::Date => "date".to_owned(),
    }
}
