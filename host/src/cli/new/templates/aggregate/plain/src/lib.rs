//! Counts the sales of a group, and finds the largest.
//!
//! Written with plain `wit-bindgen`: `wit/aggregate.wit` says what each function has to do.

mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "aggregate-guest" });
}

use bindings::exports::wasmill::guest::aggregate::{Contract, Folded, Guest};
use bindings::wasmill::guest::data::{
    Batch, Column, DataType, Description, Field, Rejection, Values,
};

/// The column that is read, a `decimal(2)`.
const AMOUNT: &str = "total_amount";

/// To be raised when stored states of an older build can no longer be read as they are.
const STATE_VERSION: u32 = 1;

struct Component;

#[cfg(target_family = "wasm")]
bindings::export!(Component with_types_in bindings);

impl Guest for Component {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            about: env!("CARGO_PKG_DESCRIPTION").to_owned(),
            config_schema: None,
        }
    }

    fn configure(input: Vec<Field>, config: String) -> Result<Contract, String> {
        if config.trim() != "{}" {
            return Err("this guest takes no config".to_owned());
        }
        let amount = input.iter().find(|field| field.name == AMOUNT);
        match amount.map(|field| (field.ty, field.nullable)) {
            Some((DataType::Decimal(2), false)) => {}
            _ => {
                return Err(format!(
                    "`{AMOUNT}` has to be a decimal(2) that is never missing"
                ));
            }
        }
        Ok(Contract {
            needs: vec![AMOUNT.to_owned()],
            state: fields(),
            state_version: STATE_VERSION,
            output: fields(),
        })
    }

    fn fold(groups: Vec<u32>, group_count: u32, input: Batch) -> Result<Folded, String> {
        let [amounts] = columns(&input)?;
        let negative = amounts
            .iter()
            .enumerate()
            .filter(|(_, amount)| **amount < 0);
        let rejections: Vec<Rejection> = negative
            .map(|(row, &amount)| Rejection {
                row: row as u32,
                reason: negative_amount(amount),
            })
            .collect();
        if !rejections.is_empty() {
            return Ok(Folded::Rejected(rejections));
        }
        let mut sales = Sales::none(group_count);
        for (&group, &amount) in groups.iter().zip(amounts) {
            sales.add(group, 1, amount)?;
        }
        Ok(Folded::States(sales.into_batch()))
    }

    fn merge(groups: Vec<u32>, group_count: u32, parts: Batch) -> Result<Batch, String> {
        let [orders, largest] = columns(&parts)?;
        let mut sales = Sales::none(group_count);
        for ((&group, &orders), &largest) in groups.iter().zip(orders).zip(largest) {
            sales.add(group, orders, largest)?;
        }
        Ok(sales.into_batch())
    }

    fn finish(states: Batch) -> Result<Batch, String> {
        // A state is what is shown of it.
        Ok(states)
    }

    fn migrate(version: u32, _state: Vec<Field>, _states: Batch) -> Result<Batch, String> {
        Err(format!(
            "states of version {version} cannot be read: this is version {STATE_VERSION}"
        ))
    }
}

/// The columns of a state, a value a group.
struct Sales {
    orders: Vec<i64>,
    largest: Vec<i64>,
}

impl Sales {
    /// Amounts are never negative, so 0 is below all of them.
    fn none(groups: u32) -> Self {
        Self {
            orders: vec![0; groups as usize],
            largest: vec![0; groups as usize],
        }
    }

    fn add(&mut self, group: u32, orders: i64, largest: i64) -> Result<(), String> {
        let group = group as usize;
        self.orders[group] = self.orders[group]
            .checked_add(orders)
            .ok_or("a group has too many orders")?;
        self.largest[group] = self.largest[group].max(largest);
        Ok(())
    }

    fn into_batch(self) -> Batch {
        let column = |values| Column {
            values: Values::I64s(values),
            validity: None,
        };
        Batch {
            rows: self.orders.len() as u32,
            columns: vec![column(self.orders), column(self.largest)],
        }
    }
}

/// The columns of a state, and of the output.
fn fields() -> Vec<Field> {
    let field = |name: &str, ty| Field {
        name: name.to_owned(),
        ty,
        nullable: false,
    };
    vec![
        field("orders", DataType::Int64),
        field("largest", DataType::Decimal(2)),
    ]
}

/// So many columns of numbers.
fn columns<const N: usize>(batch: &Batch) -> Result<[&[i64]; N], String> {
    let numbers = batch
        .columns
        .iter()
        .filter_map(|column| match &column.values {
            Values::I64s(values) => Some(values.as_slice()),
            _ => None,
        });
    let columns: Vec<&[i64]> = numbers.collect();
    columns
        .try_into()
        .map_err(|_| "got other columns than configured".to_owned())
}

fn negative_amount(cents: i64) -> String {
    let (whole, cents) = (cents.unsigned_abs() / 100, cents.unsigned_abs() % 100);
    format!("`{AMOUNT}` is negative: -{whole}.{cents:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(columns: &[&[i64]]) -> Batch {
        let column = |values: &&[i64]| Column {
            values: Values::I64s(values.to_vec()),
            validity: None,
        };
        Batch {
            rows: columns[0].len() as u32,
            columns: columns.iter().map(column).collect(),
        }
    }

    #[test]
    fn each_group_has_its_count_and_its_largest() {
        let amounts = batch(&[&[1_250, 300, 9_999]]);
        let folded = Component::fold(vec![0, 1, 0], 2, amounts).unwrap();
        let Folded::States(states) = folded else {
            panic!("no row is to be rejected");
        };
        assert_eq!(columns(&states).unwrap(), [&[2, 1], &[9_999, 300]]);
    }

    #[test]
    fn parts_of_a_group_come_together() {
        let parts = batch(&[&[2, 1, 4], &[500, 900, 100]]);
        let merged = Component::merge(vec![0, 0, 1], 2, parts).unwrap();
        assert_eq!(columns(&merged).unwrap(), [&[3, 4], &[900, 100]]);
    }

    #[test]
    fn a_negative_amount_is_rejected() {
        let folded = Component::fold(vec![0, 0], 1, batch(&[&[100, -505]])).unwrap();
        let Folded::Rejected(rejections) = folded else {
            panic!("a row is to be rejected");
        };
        assert_eq!(rejections[0].row, 1);
        assert_eq!(rejections[0].reason, "`total_amount` is negative: -5.05");
    }
}
