//! Guest `project`: keeps, drops, renames and casts columns.
//!
//! `plan` settles at `configure` what becomes of each column; `cast` does it. Columns that stay as
//! they are never cross the border.

pub mod cast;
mod plan;
mod text;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use wasmill_guest::{
    Batch, Changes, Column, ColumnTransform, Field, Rejection, TransformContract, Values, VarBytes,
};

use plan::Plan;

/// What becomes of the columns. All names but the new ones are those of the input.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// the only columns that stay; without it all stay
    keep: Option<Vec<String>>,
    /// columns that end here
    drop: Vec<String>,
    /// old name = new name
    rename: BTreeMap<String, String>,
    /// column = type, as in `[source]`: `decimal(2)`
    cast: BTreeMap<String, String>,
    /// columns whose cast may round, half to even, instead of rejecting the row
    round: Vec<String>,
}

/// The guest.
#[derive(Debug)]
pub struct Project {
    plan: Plan,
}

wasmill_guest::column_transform!(Project);

impl ColumnTransform for Project {
    type Config = Config;

    fn configure(input: &[Field], config: Config) -> Result<(Self, TransformContract), String> {
        let plan = Plan::new(input, &config)?;
        let contract = plan.contract.clone();
        Ok((Self { plan }, contract))
    }

    fn apply(&self, input: Batch) -> Result<Changes, String> {
        let names = &self.plan.contract.needs;
        if input.columns.len() != names.len() {
            return Err("got other columns than configured".to_owned());
        }
        let mut reasons: BTreeMap<usize, String> = BTreeMap::new();
        let mut columns = Vec::with_capacity(names.len());
        for ((column, cast), name) in input.columns.into_iter().zip(&self.plan.casts).zip(names) {
            columns.push(cast.apply(column, |row, reason| {
                let reason = || format!("column `{name}`: {reason}");
                reasons.entry(row).or_insert_with(reason);
            })?);
        }
        if !reasons.is_empty() {
            let keep: Vec<_> = (0..input.rows as usize)
                .map(|row| !reasons.contains_key(&row))
                .collect();
            columns = columns
                .into_iter()
                .map(|column| without(column, &keep))
                .collect();
        }
        let rejections = (reasons.into_iter())
            .map(|(row, reason)| Rejection {
                row: row as u32,
                reason,
            })
            .collect();
        Ok(Changes {
            selection: None,
            columns,
            rejections,
        })
    }
}

/// The column without the rows that are not kept.
fn without(column: Column, keep: &[bool]) -> Column {
    fn kept<T>(values: Vec<T>, keep: &[bool]) -> Vec<T> {
        let pairs = values.into_iter().zip(keep);
        pairs
            .filter(|(_, keep)| **keep)
            .map(|(value, _)| value)
            .collect()
    }
    Column {
        validity: column.validity.map(|validity| kept(validity, keep)),
        values: match column.values {
            Values::Bools(values) => Values::Bools(kept(values, keep)),
            Values::I32s(values) => Values::I32s(kept(values, keep)),
            Values::I64s(values) => Values::I64s(kept(values, keep)),
            Values::F64s(values) => Values::F64s(kept(values, keep)),
            Values::Bytes(values) => {
                let mut left = VarBytes::with_capacity(values.len(), values.bytes.len());
                for row in (0..values.len()).filter(|&row| keep[row]) {
                    left.push(values.get(row));
                }
                Values::Bytes(left)
            }
        },
    }
}

#[cfg(test)]
mod tests;
