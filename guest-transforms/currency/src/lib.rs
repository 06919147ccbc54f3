//! Guest `currency`: adds an amount in one base currency, so that amounts can be summed.
//!
//! `base = round_half_even(round_half_even(amount, 2) × rate, 2)`, in exact integer arithmetic. A row
//! is rejected, with the reason, when its amount or currency is missing, when there is no rate for its
//! currency, or when the result needs more than 18 digits.

mod config;

use wasmill_guest::{AnyDecimal, Bind, Decimal, Input, Output, Reject, Transform, reject};

use config::{CODE_BYTES_MAX, Columns};

pub use config::Config;

/// Digits after the point of an amount that is converted, and of the result.
const CENTS_SCALE: u8 = 2;

/// Characters of an unknown currency that a reason quotes.
const QUOTED_CHARS_MAX: usize = 32;

/// What is read of a sale.
#[derive(Debug, Clone, Copy, Input)]
pub struct Sale<'a> {
    amount: Option<AnyDecimal>,
    currency: Option<&'a str>,
}

/// What is added to it.
#[derive(Debug, Clone, Copy, Output)]
pub struct Converted {
    base: Decimal<CENTS_SCALE>,
}

/// The transform.
#[derive(Debug)]
pub struct Currency {
    columns: Columns,
    // Packed and sorted; beside each its rate.
    codes: Vec<u64>,
    rates: Vec<AnyDecimal>,
}

impl Transform for Currency {
    type Config = Config;
    type Input<'a> = Sale<'a>;
    type Output = Converted;

    fn new(config: Config) -> Result<Self, String> {
        let (columns, rates) = config.check()?;
        let pack = |(code, rate): (String, _)| (pack(&code), rate);
        let mut by_code: Vec<_> = rates.into_iter().map(pack).collect();
        by_code.sort_unstable_by_key(|&(code, _)| code);
        let (codes, rates) = by_code.into_iter().unzip();
        Ok(Self {
            columns,
            codes,
            rates,
        })
    }

    fn bind(&mut self, columns: &mut Bind<'_>) -> Result<(), String> {
        let Columns {
            amount,
            currency,
            output,
        } = &self.columns;
        columns
            .input("amount", amount)
            .input("currency", currency)
            .output("base", output);
        Ok(())
    }

    fn apply(&self, sale: Sale<'_>) -> Result<Converted, Reject> {
        let amount = sale.amount.ok_or_else(|| missing(&self.columns.amount))?;
        let currency = sale
            .currency
            .ok_or_else(|| missing(&self.columns.currency))?;
        let rate = self.rate(currency).ok_or_else(|| self.unknown(currency))?;
        let base = convert(amount, rate).ok_or_else(|| self.too_large(currency))?;
        Ok(Converted { base })
    }
}

wasmill_guest::transform!(Currency);

impl Currency {
    fn rate(&self, currency: &str) -> Option<AnyDecimal> {
        // No cache of the last hit: sales mix currencies, and a branch that is foreseen half of the
        // time costs more than this search, which has none.
        let found = self.codes.binary_search(&pack(currency)).ok()?;
        Some(self.rates[found])
    }

    #[cold]
    fn unknown(&self, currency: &str) -> Reject {
        let quoted: String = currency.chars().take(QUOTED_CHARS_MAX).collect();
        let more = if quoted.len() < currency.len() {
            "…"
        } else {
            ""
        };
        let column = &self.columns.currency;
        reject(format!("there is no rate for `{column}` `{quoted}{more}`"))
    }

    #[cold]
    fn too_large(&self, currency: &str) -> Reject {
        let Columns { amount, output, .. } = &self.columns;
        reject(format!(
            "`{output}` would have more than 18 digits: `{amount}` in `{currency}`"
        ))
    }
}

#[cold]
fn missing(column: &str) -> Reject {
    reject(format!("`{column}` is missing"))
}

/// `round_half_even(round_half_even(amount, 2) × rate, 2)`; `None` when that has more than 18 digits.
fn convert(amount: AnyDecimal, rate: AnyDecimal) -> Option<Decimal<CENTS_SCALE>> {
    // With fewer digits after the point there is nothing to round, and in cents there may be too many
    // before it.
    let cents = if amount.scale() > CENTS_SCALE {
        amount.rescale(CENTS_SCALE)?
    } else {
        amount
    };
    cents.checked_mul(rate, CENTS_SCALE)?.to_decimal()
}

/// The code as one number: its bytes, the first lowest, and its length on top. 0, which no code has, for
/// what is too long.
fn pack(code: &str) -> u64 {
    let word = match *code.as_bytes() {
        // As in ISO 4217.
        [a, b, c] => u64::from(a) | u64::from(b) << 8 | u64::from(c) << 16,
        ref bytes if bytes.len() <= CODE_BYTES_MAX => {
            let shift = |word, &byte| (word << 8) | u64::from(byte);
            bytes.iter().rev().fold(0, shift)
        }
        _ => return 0,
    };
    ((code.len() as u64) << 56) | word
}

#[cfg(test)]
mod tests;
