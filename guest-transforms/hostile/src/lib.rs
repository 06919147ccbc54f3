//! A transform that misbehaves on request, for the tests of the sandbox.
//!
//! Its contract is harmless: it needs `value` (int64) and returns `doubled` (int64, or text where
//! text is what goes wrong). The config says what goes wrong and when: `{ "mode": "trap", "poison": 13 }`
//! traps whenever a row of the batch has the value 13, and with `"every": 7` each seventh call of an
//! instance does. Without either every call goes wrong.
//!
//! It is written in plain `wit-bindgen`, as what it says must be as wrong as it likes.

mod bindings {
    #![expect(clippy::pedantic, reason = "generated")]

    wit_bindgen::generate!({ path: "../../wit", world: "transform-guest" });
}

mod deeds;
mod mode;

use std::cell::{Cell, OnceCell};

use bindings::exports::wasmill::guest::transform::{Changes, Contract, Guest};
use bindings::wasmill::guest::data::{Batch, Column, DataType, Description, Field, Values};

use mode::Mode;

struct Settings {
    mode: Mode,
    poison: Option<i64>,
    /// each call of this number goes wrong
    every: Option<u64>,
}

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
    static SETTINGS: OnceCell<Settings> = const { OnceCell::new() };
}

struct Hostile;

impl Guest for Hostile {
    fn describe() -> Description {
        Description {
            name: "hostile".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            about: "misbehaves on request".into(),
            config_schema: None,
        }
    }

    fn configure(_input: Vec<Field>, config: String) -> Result<Contract, String> {
        let config: serde_json::Value =
            serde_json::from_str(&config).map_err(|error| error.to_string())?;
        let name = config["mode"].as_str().ok_or("`mode` is missing")?;
        let mode = Mode::from_name(name).ok_or_else(|| format!("no mode is called `{name}`"))?;
        if mode == Mode::Unconfigurable {
            return Err("this config is never right".into());
        }
        let text = mode.returns_text();
        SETTINGS.with(|settings| {
            settings
                .set(Settings {
                    mode,
                    poison: config["poison"].as_i64(),
                    every: config["every"].as_u64(),
                })
                .map_err(|_| "configured twice".to_owned())
        })?;
        let mut needs = vec!["value".to_owned()];
        if mode == Mode::Greedy {
            needs.push("everything".into());
        }
        Ok(Contract {
            needs,
            returns: vec![Field {
                name: "doubled".into(),
                ty: if text {
                    DataType::Utf8
                } else {
                    DataType::Int64
                },
                nullable: mode == Mode::Garbage,
            }],
            drops: vec![],
            selects: mode.selects(),
        })
    }

    fn apply(input: Batch) -> Result<Changes, String> {
        SETTINGS.with(|settings| {
            let settings = settings.get().ok_or("not configured")?;
            let Some(Values::I64s(values)) = input.columns.first().map(|column| &column.values)
            else {
                return Err("`value` is no int64".into());
            };
            let calls = CALLS.get() + 1;
            CALLS.set(calls);
            let poisoned = match (settings.poison, settings.every) {
                (Some(poison), _) => values.contains(&poison),
                (None, Some(every)) => calls.is_multiple_of(every),
                (None, None) => true,
            };
            if poisoned {
                deeds::misbehave(settings, values)
            } else if settings.mode.returns_text() {
                Ok(deeds::texts("fine", values.len()))
            } else {
                Ok(doubled(values))
            }
        })
    }
}

/// What a good guest returns.
fn doubled(values: &[i64]) -> Changes {
    let doubled = values.iter().map(|value| value.wrapping_mul(2)).collect();
    changes(Values::I64s(doubled))
}

fn changes(values: Values) -> Changes {
    Changes {
        selection: None,
        columns: vec![Column {
            values,
            validity: None,
        }],
        rejections: vec![],
    }
}

bindings::export!(Hostile with_types_in bindings);
