//! Guest `totals`: the sum of a decimal column, and how many values it has.
//!
//! The output is `total`, of the column's own scale, and `count`. A missing value adds nothing and
//! is not counted. Sums are exact, and a sum of more than 18 digits is an error with a message.

use schemars::JsonSchema;
use serde::Deserialize;
use wasmill_guest::{Aggregate, AnyDecimal, Bind, Input, Output, Reject, State, Sum};

/// What to sum.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The decimal column that is summed.
    column: String,
}

/// A row.
#[derive(Debug, Clone, Copy, Input)]
pub struct Row {
    value: Option<AnyDecimal>,
}

/// What is kept of a group.
#[derive(Debug, Clone, Copy, Default, State)]
pub struct Sums {
    sum: Sum<AnyDecimal>,
    count: Sum<i64>,
}

/// What is shown of a group.
#[derive(Debug, Clone, Copy, Output)]
pub struct Total {
    total: Sum<AnyDecimal>,
    count: Sum<i64>,
}

/// The aggregate.
#[derive(Debug)]
pub struct Totals {
    column: String,
}

impl Aggregate for Totals {
    type Config = Config;
    type Input<'a> = Row;
    type State = Sums;
    type Output = Total;

    const STATE_VERSION: u32 = 1;

    fn new(Config { column }: Config) -> Result<Self, String> {
        Ok(Self { column })
    }

    fn bind(&mut self, columns: &mut Bind<'_>) -> Result<(), String> {
        let column = &self.column;
        let scale = columns.input("value", column).scale("value")?;
        columns
            .state_scale("sum", scale)
            .state_label("sum", format!("the sum of `{column}` in a group"))
            .output_scale("total", scale);
        Ok(())
    }

    fn add(&self, state: &mut Sums, row: Row) -> Result<(), Reject> {
        if let Some(value) = row.value {
            state.sum.add(value);
            state.count.add(1);
        }
        Ok(())
    }

    fn merge(&self, state: &mut Sums, other: &Sums) -> Result<(), String> {
        state.sum.merge(&other.sum);
        state.count.merge(&other.count);
        Ok(())
    }

    fn finish(&self, state: &Sums) -> Result<Total, String> {
        Ok(Total {
            total: state.sum,
            count: state.count,
        })
    }
}

wasmill_guest::aggregate!(Totals);

#[cfg(test)]
mod tests;
