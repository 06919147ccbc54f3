//! A transform that misbehaves on request, for the tests of the sandbox.
//!
//! Its contract is harmless: it needs `value` (int64) and returns `doubled` (int64). The config says
//! what goes wrong and when: `{ "mode": "trap", "poison": 13 }` traps whenever a row of the batch
//! has the value 13; without `poison` every call goes wrong.
//!
//! It is written in plain `wit-bindgen`, as what it says must be as wrong as it likes.

mod bindings {
    #![expect(clippy::pedantic, reason = "generated")]

    wit_bindgen::generate!({ path: "../../wit", world: "transform-guest" });
}

use std::cell::OnceCell;

use bindings::exports::wasmill::guest::transform::{Changes, Contract, Guest};
use bindings::wasmill::guest::data::{
    Batch, Column, DataType, Description, Field, Rejection, Values, VarBytes,
};

/// How it misbehaves. The names in the config are those of [`Mode::from_name`].
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    /// Not at all.
    Behave,
    /// Panics, which is a trap.
    Trap,
    /// Never returns.
    Spin,
    /// Allocates until something stops it.
    Allocate,
    /// Returns 32 MiB.
    Flood,
    /// Returns one row too few.
    Short,
    /// Returns a selection that falls.
    Fall,
    /// Selects a row that it also rejects.
    Both,
    /// Rejects a row that does not exist.
    Stranger,
    /// Returns strings whose offsets point past the end.
    Offsets,
    /// Refuses the whole batch with an error.
    Refuse,
    /// Sleeps for an hour.
    Sleep,
    /// Prints without end.
    Print,
    /// Rejects the poisoned rows one by one, as a good guest does.
    Reject,
    /// Refuses its configuration.
    Unconfigurable,
    /// Needs a column that no stream has.
    Greedy,
    /// Exits the process.
    Exit,
    /// Reads the clock, the environment, a file and the random seed, and says what it saw.
    Look,
}

impl Mode {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "behave" => Self::Behave,
            "trap" => Self::Trap,
            "spin" => Self::Spin,
            "allocate" => Self::Allocate,
            "flood" => Self::Flood,
            "short" => Self::Short,
            "fall" => Self::Fall,
            "both" => Self::Both,
            "stranger" => Self::Stranger,
            "offsets" => Self::Offsets,
            "refuse" => Self::Refuse,
            "sleep" => Self::Sleep,
            "print" => Self::Print,
            "reject" => Self::Reject,
            "unconfigurable" => Self::Unconfigurable,
            "greedy" => Self::Greedy,
            "exit" => Self::Exit,
            "look" => Self::Look,
            _ => return None,
        })
    }
}

struct Settings {
    mode: Mode,
    poison: Option<i64>,
}

thread_local! {
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
        let text = matches!(mode, Mode::Offsets | Mode::Look);
        SETTINGS.with(|settings| {
            settings
                .set(Settings {
                    mode,
                    poison: config["poison"].as_i64(),
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
                nullable: false,
            }],
            drops: vec![],
            selects: matches!(mode, Mode::Fall | Mode::Both),
        })
    }

    fn apply(input: Batch) -> Result<Changes, String> {
        SETTINGS.with(|settings| {
            let settings = settings.get().ok_or("not configured")?;
            let Some(Values::I64s(values)) = input.columns.first().map(|column| &column.values)
            else {
                return Err("`value` is no int64".into());
            };
            let poisoned = match settings.poison {
                Some(poison) => values.contains(&poison),
                None => true,
            };
            if poisoned {
                misbehave(settings, values)
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

fn misbehave(settings: &Settings, values: &[i64]) -> Result<Changes, String> {
    let rows = values.len() as u32;
    let mut changes = doubled(values);
    match settings.mode {
        Mode::Behave | Mode::Unconfigurable | Mode::Greedy => {}
        Mode::Trap => panic!("poison in a batch of {rows}"),
        Mode::Spin => spin(),
        Mode::Allocate => allocate(),
        Mode::Flood => changes.columns[0].values = Values::I64s(vec![0; 4 << 20]),
        Mode::Short => return Ok(doubled(&values[1..])),
        Mode::Fall => changes.selection = Some((0..rows).rev().collect()),
        Mode::Both => {
            changes.selection = Some((0..rows).collect());
            changes.rejections = vec![rejection(0)];
        }
        Mode::Stranger => changes.rejections = vec![rejection(rows)],
        Mode::Offsets => {
            changes.columns[0].values = Values::Bytes(VarBytes {
                offsets: (0..=rows).map(|row| row * 1000).collect(),
                bytes: vec![b'a'; 10],
            });
        }
        Mode::Refuse => return Err(format!("poison in a batch of {rows}")),
        Mode::Sleep => std::thread::sleep(std::time::Duration::from_hours(1)),
        Mode::Print => loop {
            println!("and on and on");
        },
        Mode::Reject => return Ok(reject(settings, values)),
        Mode::Exit => std::process::exit(1),
        Mode::Look => return Ok(texts(&look(), values.len())),
    }
    Ok(changes)
}

fn rejection(row: u32) -> Rejection {
    Rejection {
        row,
        reason: "poisoned".into(),
    }
}

fn spin() {
    let mut count = 0_u64;
    loop {
        count = std::hint::black_box(count.wrapping_add(1));
    }
}

fn allocate() {
    let mut hoard = Vec::new();
    loop {
        hoard.push(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
}

fn reject(settings: &Settings, values: &[i64]) -> Changes {
    let bad = |value: i64| settings.poison == Some(value);
    let good: Vec<i64> = values.iter().copied().filter(|&v| !bad(v)).collect();
    let mut changes = doubled(&good);
    changes.rejections = (0_u32..)
        .zip(values)
        .filter(|&(_, &value)| bad(value))
        .map(|(row, _)| rejection(row))
        .collect();
    changes
}

fn texts(text: &str, rows: usize) -> Changes {
    changes(Values::Bytes(VarBytes {
        offsets: (0..=rows).map(|row| (row * text.len()) as u32).collect(),
        bytes: text.as_bytes().repeat(rows),
    }))
}

/// Everything of the world outside that a guest can see through the standard library.
fn look() -> String {
    use std::hash::BuildHasher;
    use std::time::{Instant, SystemTime, UNIX_EPOCH};

    let start = Instant::now();
    let clock = SystemTime::now().duration_since(UNIX_EPOCH);
    let seed = std::collections::hash_map::RandomState::new().hash_one(7);
    eprintln!("looking around");
    format!(
        "elapsed {:?}, clock {clock:?}, arguments {}, variables {}, files {}, seed {seed}",
        start.elapsed(),
        std::env::args().count(),
        std::env::vars().count(),
        std::fs::read_dir("/").is_ok() || std::fs::read("/etc/passwd").is_ok(),
    )
}

bindings::export!(Hostile with_types_in bindings);
