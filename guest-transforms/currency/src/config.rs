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

#[cfg(test)]
mod tests {
    use super::*;

    fn error(json: &str) -> String {
        Config::parse(json).expect_err("this config is wrong")
    }

    #[test]
    fn columns_have_default_names() {
        let config = Config::parse(r#"{"base": "USD", "rates": {}}"#).unwrap();
        assert_eq!(config.amount, "total_amount");
        assert_eq!(config.currency, "currency");
        assert_eq!(config.output, "total_amount_base");
    }

    #[test]
    fn the_output_is_named_after_the_amount() {
        let config = Config::parse(r#"{"base": "USD", "rates": {}, "amount": "price"}"#).unwrap();
        assert_eq!(config.output, "price_base");
    }

    #[test]
    fn the_base_has_rate_one() {
        let config = Config::parse(r#"{"base": "USD", "rates": {"EUR": "1.08"}}"#).unwrap();
        assert_eq!(config.rates["USD"], Rate::ONE);
        assert_eq!(config.rates.len(), 2);
    }

    #[test]
    fn the_base_may_be_listed_with_rate_one_only() {
        assert!(Config::parse(r#"{"base": "USD", "rates": {"USD": "1.00"}}"#).is_ok());
        assert_eq!(
            error(r#"{"base": "USD", "rates": {"USD": "1.01"}}"#),
            "`rates`: `USD` is the base, so its rate is 1, not 1.01"
        );
    }

    #[test]
    fn a_number_is_read_digit_by_digit() {
        let json = r#"{"base": "USD", "rates": {"EUR": 0.1000000000000000055}}"#;
        assert!(error(json).contains("at most 18"));
        let json = r#"{"base": "USD", "rates": {"EUR": 0.10000000000000001, "JPY": 6.5e-3}}"#;
        let config = Config::parse(json).unwrap();
        assert_eq!(config.rates["EUR"].to_string(), "0.10000000000000001");
        assert_eq!(config.rates["JPY"].to_string(), "0.0065");
    }

    #[test]
    fn an_unknown_key_is_named() {
        let message = error(r#"{"base": "USD", "rates": {}, "bases": "EUR"}"#);
        assert!(message.contains("unknown field `bases`"), "{message}");
    }

    #[test]
    fn a_missing_key_is_named() {
        let message = error("{}");
        assert!(message.contains("missing field `base`"), "{message}");
    }

    #[test]
    fn a_rate_that_is_no_number_is_refused_by_name() {
        for (value, expected) in [
            (r#""1,08""#, "`rates`: `EUR`: `1,08` is no decimal number"),
            (
                "true",
                "`rates`: `EUR`: a rate is a string or a number, not true",
            ),
            (
                "null",
                "`rates`: `EUR`: a rate is a string or a number, not null",
            ),
            ("-1.08", "`rates`: `EUR`: `-1.08` is no decimal number"),
            (r#""0.00""#, "`rates`: `EUR`: a rate is greater than 0"),
        ] {
            let json = format!(r#"{{"base": "USD", "rates": {{"EUR": {value}}}}}"#);
            assert_eq!(error(&json), expected);
        }
    }

    #[test]
    fn a_code_has_one_to_seven_bytes() {
        let message = error(r#"{"base": "", "rates": {}}"#);
        assert_eq!(message, "`base`: a currency code has 1 to 7 bytes, not 0");
        let message = error(r#"{"base": "USD", "rates": {"EUROEURO": "1"}}"#);
        assert!(message.contains("`EUROEURO`"), "{message}");
    }

    #[test]
    fn the_schema_that_is_shown_names_every_key() {
        let schema: serde_json::Value =
            serde_json::from_str(include_str!("config.schema.json")).unwrap();
        let keys: Vec<_> = schema["properties"].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["amount", "base", "currency", "output", "rates"]);
    }
}
