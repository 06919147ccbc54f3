//! The stage's `config`, validated.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::rate::Rate;

/// Bytes that a currency code has at most; ISO 4217 has three.
pub const CODE_BYTES_MAX: usize = 7;

/// What to convert, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// the decimal column that is converted
    pub amount: String,
    /// the utf8 column with its currency
    pub currency: String,
    /// the column that is added
    pub output: String,
    /// the rate of every currency, that of the base (1) included
    pub rates: BTreeMap<String, Rate>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    base: String,
    // Kept as text: a rate that goes through a float is no longer the rate that was written.
    rates: BTreeMap<String, Box<RawValue>>,
    amount: Option<String>,
    currency: Option<String>,
    output: Option<String>,
}

impl Config {
    /// Reads the JSON that `configure` was given.
    ///
    /// # Errors
    ///
    /// Says which key is wrong, what was expected and what was found.
    pub fn parse(json: &str) -> Result<Self, String> {
        let raw: RawConfig =
            serde_json::from_str(json).map_err(|error| format!("the config is wrong: {error}"))?;
        check_code(&raw.base).map_err(|error| format!("`base`: {error}"))?;

        let mut rates = BTreeMap::new();
        for (code, value) in raw.rates {
            let rate = check_code(&code)
                .and_then(|()| rate_text(&value))
                .and_then(|text| Rate::parse(&text))
                .map_err(|error| format!("`rates`: `{code}`: {error}"))?;
            rates.insert(code, rate);
        }
        match rates.insert(raw.base.clone(), Rate::ONE) {
            Some(rate) if rate != Rate::ONE => {
                return Err(format!(
                    "`rates`: `{}` is the base, so its rate is 1, not {rate}",
                    raw.base
                ));
            }
            _ => {}
        }

        let amount = raw.amount.unwrap_or_else(|| "total_amount".to_owned());
        Ok(Self {
            currency: raw.currency.unwrap_or_else(|| "currency".to_owned()),
            output: raw.output.unwrap_or_else(|| format!("{amount}_base")),
            amount,
            rates,
        })
    }
}

fn check_code(code: &str) -> Result<(), String> {
    if (1..=CODE_BYTES_MAX).contains(&code.len()) {
        Ok(())
    } else {
        Err(format!(
            "a currency code has 1 to {CODE_BYTES_MAX} bytes, not {}",
            code.len()
        ))
    }
}

/// The digits of a JSON string or number, as they were written.
fn rate_text(value: &RawValue) -> Result<String, String> {
    let text = value.get();
    if text.starts_with('"') {
        return serde_json::from_str(text).map_err(|error| error.to_string());
    }
    if text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
        return Ok(text.to_owned());
    }
    Err(format!("a rate is a string or a number, not {text}"))
}
