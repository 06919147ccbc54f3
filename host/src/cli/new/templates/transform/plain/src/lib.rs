//! Labels each sale as large or small.
//!
//! Written with plain `wit-bindgen`: `wit/transform.wit` says what each function has to do.

mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "transform-guest" });
}

use std::cell::OnceCell;

use serde::Deserialize;

use bindings::exports::wasmill::guest::transform::{Changes, Contract, Guest};
use bindings::wasmill::guest::data::{
    Batch, Column, DataType, Description, Field, Rejection, Values, VarBytes,
};

/// The column that is read, a `decimal(2)`.
const AMOUNT: &str = "total_amount";

/// What `config` has to be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// sales of this amount or more are large: `"100.00"`
    large_from: String,
}

thread_local! {
    /// In cents; set by `configure`. An instance has one thread.
    static LARGE_FROM: OnceCell<i64> = const { OnceCell::new() };
}

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
        let config: Config = serde_json::from_str(&config)
            .map_err(|error| format!("the config is wrong: {error}"))?;
        let large_from = cents(&config.large_from)?;
        let amount = input.iter().find(|field| field.name == AMOUNT);
        match amount.map(|field| (field.ty, field.nullable)) {
            Some((DataType::Decimal(2), false)) => {}
            _ => {
                return Err(format!(
                    "`{AMOUNT}` has to be a decimal(2) that is never missing"
                ));
            }
        }
        LARGE_FROM
            .with(|cell| cell.set(large_from))
            .map_err(|_| "configured twice")?;
        Ok(Contract {
            needs: vec![AMOUNT.to_owned()],
            returns: vec![Field {
                name: "sale_size".to_owned(),
                ty: DataType::Utf8,
                nullable: false,
            }],
            drops: Vec::new(),
            selects: false,
        })
    }

    fn apply(input: Batch) -> Result<Changes, String> {
        let large_from = LARGE_FROM
            .with(|cell| cell.get().copied())
            .ok_or("apply came before configure")?;
        let [
            Column {
                values: Values::I64s(amounts),
                ..
            },
        ] = input.columns.as_slice()
        else {
            return Err("got other columns than configured".to_owned());
        };
        let mut sizes = VarBytes {
            offsets: vec![0],
            bytes: Vec::new(),
        };
        let mut rejections = Vec::new();
        for (row, &amount) in amounts.iter().enumerate() {
            match size(amount, large_from) {
                Ok(size) => {
                    sizes.bytes.extend_from_slice(size.as_bytes());
                    sizes.offsets.push(sizes.bytes.len() as u32);
                }
                Err(reason) => rejections.push(Rejection {
                    row: row as u32,
                    reason,
                }),
            }
        }
        Ok(Changes {
            selection: None,
            columns: vec![Column {
                values: Values::Bytes(sizes),
                validity: None,
            }],
            rejections,
        })
    }
}

/// The size of a sale, or why it is none. Amounts are in cents.
fn size(amount: i64, large_from: i64) -> Result<&'static str, String> {
    if amount < 0 {
        let (whole, cents) = (amount.unsigned_abs() / 100, amount.unsigned_abs() % 100);
        return Err(format!("`{AMOUNT}` is negative: -{whole}.{cents:02}"));
    }
    Ok(if amount >= large_from {
        "large"
    } else {
        "small"
    })
}

/// `100.00` in cents.
fn cents(text: &str) -> Result<i64, String> {
    let wrong = || format!("`large_from` is an amount such as \"100.00\", not \"{text}\"");
    let (whole, cents) = text.split_once('.').unwrap_or((text, "00"));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if cents.len() != 2 || whole.is_empty() || !digits(whole) || !digits(cents) {
        return Err(wrong());
    }
    format!("{whole}{cents}").parse().map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sale_is_large_from_the_configured_amount_on() {
        assert_eq!(size(9_999, 10_000), Ok("small"));
        assert_eq!(size(10_000, 10_000), Ok("large"));
    }

    #[test]
    fn a_negative_amount_is_rejected() {
        let reason = size(-505, 10_000).unwrap_err();
        assert_eq!(reason, "`total_amount` is negative: -5.05");
    }

    #[test]
    fn an_amount_is_read_in_cents() {
        assert_eq!(cents("100.00"), Ok(10_000));
        assert_eq!(cents("7"), Ok(700));
        for wrong in ["", "1.5", "-1.00", "x.00", "99999999999999999999"] {
            assert!(cents(wrong).is_err(), "{wrong}");
        }
    }
}
