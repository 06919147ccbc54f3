//! Guest `currency`: adds an amount in one base currency, so that amounts can be summed.
//!
//! `base = round_half_even(round_half_even(amount, 2) × rate, 2)`, in exact integer arithmetic. A row
//! is rejected, with the reason, when its amount or currency is missing, when there is no rate for its
//! currency, or when the result needs more than 18 digits.
//!
//! This file is the border: it maps the contract of `wit/` to [`config`] and [`converter`], which
//! know nothing of WebAssembly and are the same code in a native build.

#[expect(clippy::same_length_and_capacity, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({ path: "../../../wit", world: "transform-guest" });
}

pub mod config;
pub mod conversion;
pub mod converter;
pub mod rate;

use std::cell::RefCell;

use bindings::exports::wasmill::guest::transform::{Changes, Contract, Guest};
use bindings::wasmill::guest::data::{
    Batch, Column, DataType, Description, Field, Rejection, Values,
};

use config::Config;
use conversion::CENTS_SCALE;
use converter::{Amounts, Codes, Converter};

struct Currency;

#[cfg(target_family = "wasm")]
bindings::export!(Currency with_types_in bindings);

thread_local! {
    /// Made by `configure`; an instance has one thread.
    static CONVERTER: RefCell<Option<Converter>> = const { RefCell::new(None) };
}

impl Guest for Currency {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            about: env!("CARGO_PKG_DESCRIPTION").to_owned(),
            config_schema: Some(include_str!("config.schema.json").to_owned()),
        }
    }

    fn configure(input: Vec<Field>, config: String) -> Result<Contract, String> {
        let config = Config::parse(&config)?;
        let scale = decimal_scale(&input, &config.amount)?;
        require_text(&input, &config.currency)?;

        let contract = Contract {
            needs: vec![config.amount.clone(), config.currency.clone()],
            returns: vec![Field {
                name: config.output.clone(),
                ty: DataType::Decimal(CENTS_SCALE),
                nullable: false,
            }],
            drops: Vec::new(),
            selects: false,
        };
        CONVERTER.set(Some(Converter::new(config, scale)));
        Ok(contract)
    }

    fn apply(input: Batch) -> Result<Changes, String> {
        CONVERTER.with_borrow(|converter| {
            let converter = converter.as_ref().ok_or("apply came before configure")?;
            apply(converter, &input)
        })
    }
}

fn apply(converter: &Converter, input: &Batch) -> Result<Changes, String> {
    let [amount, currency] = input.columns.as_slice() else {
        return Err(format!("got {} columns, not 2", input.columns.len()));
    };
    let (Values::I64s(amounts), Values::Bytes(codes)) = (&amount.values, &currency.values) else {
        return Err("got columns of other types than configured".to_owned());
    };
    let outcome = converter.convert(
        Amounts {
            values: amounts,
            validity: amount.validity.as_deref(),
        },
        Codes {
            offsets: &codes.offsets,
            bytes: &codes.bytes,
            validity: currency.validity.as_deref(),
        },
    );
    Ok(Changes {
        selection: None,
        columns: vec![Column {
            values: Values::I64s(outcome.cents),
            validity: None,
        }],
        rejections: outcome
            .rejections
            .into_iter()
            .map(|(row, reason)| Rejection { row, reason })
            .collect(),
    })
}

/// The scale of the column `name`, if that is a decimal.
fn decimal_scale(input: &[Field], name: &str) -> Result<u8, String> {
    match find(input, name)?.ty {
        DataType::Decimal(scale) => Ok(scale),
        other => Err(format!(
            "column `{name}` has to be a decimal, but is {}",
            type_name(other)
        )),
    }
}

fn require_text(input: &[Field], name: &str) -> Result<(), String> {
    match find(input, name)?.ty {
        DataType::Utf8 => Ok(()),
        other => Err(format!(
            "column `{name}` has to be utf8, but is {}",
            type_name(other)
        )),
    }
}

fn find<'a>(input: &'a [Field], name: &str) -> Result<&'a Field, String> {
    input
        .iter()
        .find(|field| field.name == name)
        .ok_or_else(|| {
            let names: Vec<_> = input.iter().map(|field| field.name.as_str()).collect();
            format!(
                "there is no column `{name}`: the input has {}",
                names.join(", ")
            )
        })
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
