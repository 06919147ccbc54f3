//! Labels each sale as large or small.

use schemars::JsonSchema;
use serde::Deserialize;
use wasmill_guest::{Decimal, Input, Output, Reject, Transform, reject};

/// What is read of a row: each field is the column of its name.
#[derive(Input)]
struct Sale {
    total_amount: Decimal<2>,
}

/// What is added to it; a column that is there already would be replaced.
#[derive(Debug, PartialEq, Output)]
struct Labelled {
    sale_size: &'static str,
}

/// The stage's `config` in `pipeline.toml`. `wasmill inspect` shows these comments.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Sales of this amount or more are large.
    large_from: Decimal<2>,
}

struct SaleSize {
    large_from: Decimal<2>,
}

wasmill_guest::transform!(SaleSize);

impl Transform for SaleSize {
    type Config = Config;
    type Input<'a> = Sale;
    type Output = Labelled;

    fn new(config: Config) -> Result<Self, String> {
        let Config { large_from } = config;
        Ok(Self { large_from })
    }

    fn apply(&self, sale: Sale) -> Result<Labelled, Reject> {
        let amount = sale.total_amount;
        if amount < Decimal::default() {
            return Err(reject(format!("`total_amount` is negative: {amount}")));
        }
        let is_large = amount >= self.large_from;
        Ok(Labelled {
            sale_size: if is_large { "large" } else { "small" },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labelled(amount: &str) -> Result<&'static str, String> {
        let config = Config {
            large_from: "100.00".parse().unwrap(),
        };
        let sale = Sale {
            total_amount: amount.parse().unwrap(),
        };
        let labelled = SaleSize::new(config).unwrap().apply(sale);
        labelled
            .map(|labelled| labelled.sale_size)
            .map_err(|reject| reject.reason().to_owned())
    }

    #[test]
    fn a_sale_is_large_from_the_configured_amount_on() {
        assert_eq!(labelled("99.99"), Ok("small"));
        assert_eq!(labelled("100.00"), Ok("large"));
    }

    #[test]
    fn a_negative_amount_is_rejected() {
        let reason = labelled("-5.05").unwrap_err();
        assert_eq!(reason, "`total_amount` is negative: -5.05");
    }
}
