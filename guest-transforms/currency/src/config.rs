//! The stage's `config`, and the rates in it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;
use wasmill_guest::{AnyDecimal, ParseDecimalError};

/// Bytes that a currency code has at most; ISO 4217 has three.
pub(crate) const CODE_BYTES_MAX: usize = 7;

/// What to convert, and how.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The currency that amounts are converted into. Its own rate is 1.
    #[schemars(length(min = 1, max = 7))]
    base: String,
    /// For each other currency: how much one unit of it is worth in the base. Greater than 0, at most 18
    /// digits.
    // Kept as text: a rate that goes through a float is no longer the rate that was written.
    #[schemars(with = "BTreeMap<String, AnyDecimal>")]
    rates: BTreeMap<String, Box<RawValue>>,
    /// The decimal column that is converted. Default: `total_amount`.
    amount: Option<String>,
    /// The utf8 column with the amount's currency. Default: `currency`.
    currency: Option<String>,
    /// The decimal(2) column that is added. Default: the name of the amount and `_base`.
    output: Option<String>,
}

/// The names of the columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Columns {
    pub(crate) amount: String,
    pub(crate) currency: String,
    pub(crate) output: String,
}

impl Config {
    /// The columns, and the rate of every currency, that of the base (1) included.
    ///
    /// # Errors
    ///
    /// Says which key is wrong, what was expected and what was found.
    pub(crate) fn check(self) -> Result<(Columns, BTreeMap<String, AnyDecimal>), String> {
        let base = self.base;
        check_code(&base).map_err(|error| format!("`base`: {error}"))?;

        let mut rates = BTreeMap::new();
        for (code, value) in self.rates {
            let rate = check_code(&code)
                .and_then(|()| rate_text(&value))
                .and_then(|text| parse_rate(&text))
                .map_err(|error| format!("`rates`: `{code}`: {error}"))?;
            rates.insert(code, rate);
        }
        let one = AnyDecimal::new(1, 0).expect("1 is a decimal");
        match rates.insert(base.clone(), one) {
            Some(rate) if rate != one => {
                return Err(format!(
                    "`rates`: `{base}` is the base, so its rate is 1, not {rate}"
                ));
            }
            _ => {}
        }

        let amount = self.amount.unwrap_or_else(|| "total_amount".to_owned());
        let columns = Columns {
            currency: self.currency.unwrap_or_else(|| "currency".to_owned()),
            output: self.output.unwrap_or_else(|| format!("{amount}_base")),
            amount,
        };
        Ok((columns, rates))
    }
}

fn check_code(code: &str) -> Result<(), String> {
    if (1..=CODE_BYTES_MAX).contains(&code.len()) {
        Ok(())
    } else {
        let len = code.len();
        Err(format!(
            "a currency code has 1 to {CODE_BYTES_MAX} bytes, not {len}"
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

fn parse_rate(text: &str) -> Result<AnyDecimal, String> {
    let rate = text.parse().map_err(|error| match error {
        ParseDecimalError::TooLong(text) => format!("a rate has at most 18 digits: `{text}`"),
        other => other.to_string(),
    })?;
    if text.starts_with('-') {
        return Err(ParseDecimalError::Malformed(text.to_owned()).to_string());
    }
    if rate == AnyDecimal::default() {
        return Err("a rate is greater than 0".to_owned());
    }
    Ok(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str) -> Result<(Columns, BTreeMap<String, AnyDecimal>), String> {
        let config: Config = serde_json::from_str(json).map_err(|error| error.to_string())?;
        config.check()
    }

    fn error(json: &str) -> String {
        check(json).expect_err("this config is wrong")
    }

    fn rates(json: &str) -> BTreeMap<String, String> {
        let (_, rates) = check(json).unwrap();
        let show = |(code, rate): (String, AnyDecimal)| (code, rate.to_string());
        rates.into_iter().map(show).collect()
    }

    #[test]
    fn columns_have_default_names() {
        let (columns, _) = check(r#"{"base": "USD", "rates": {}}"#).unwrap();
        assert_eq!(columns.amount, "total_amount");
        assert_eq!(columns.currency, "currency");
        assert_eq!(columns.output, "total_amount_base");
    }

    #[test]
    fn the_output_is_named_after_the_amount() {
        let (columns, _) = check(r#"{"base": "USD", "rates": {}, "amount": "price"}"#).unwrap();
        assert_eq!(columns.output, "price_base");
    }

    #[test]
    fn the_base_has_rate_one() {
        let rates = rates(r#"{"base": "USD", "rates": {"EUR": "1.08"}}"#);
        assert_eq!(rates["USD"], "1");
        assert_eq!(rates.len(), 2);
    }

    #[test]
    fn the_base_may_be_listed_with_rate_one_only() {
        assert!(check(r#"{"base": "USD", "rates": {"USD": "1.00"}}"#).is_ok());
        assert_eq!(
            error(r#"{"base": "USD", "rates": {"USD": "1.01"}}"#),
            "`rates`: `USD` is the base, so its rate is 1, not 1.01"
        );
    }

    #[test]
    fn a_number_is_read_digit_by_digit() {
        let json = r#"{"base": "USD", "rates": {"EUR": 0.1000000000000000055}}"#;
        assert!(error(json).contains("a rate has at most 18 digits"));
        let json = r#"{"base": "USD", "rates": {"EUR": 0.10000000000000001, "JPY": 6.5e-3}}"#;
        let rates = rates(json);
        assert_eq!(rates["EUR"], "0.10000000000000001");
        assert_eq!(rates["JPY"], "0.0065");
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
        let schema = schemars::schema_for!(Config).to_value();
        let keys: Vec<_> = schema["properties"].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["amount", "base", "currency", "output", "rates"]);
        assert_eq!(schema["required"], serde_json::json!(["base", "rates"]));
        assert_eq!(schema["additionalProperties"], false);
    }
}
