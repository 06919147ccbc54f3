//! What it does when it is time to misbehave.

use crate::bindings::exports::wasmill::guest::transform::Changes;
use crate::bindings::wasmill::guest::data::{Rejection, Values, VarBytes};
use crate::mode::Mode;
use crate::{Settings, changes, doubled};

pub(crate) fn misbehave(settings: &Settings, values: &[i64]) -> Result<Changes, String> {
    let rows = values.len() as u32;
    let mut changes = doubled(values);
    match settings.mode {
        Mode::Behave | Mode::Unconfigurable | Mode::Greedy => {}
        Mode::Trap => panic!("poison in a batch of {rows}"),
        Mode::Spin => spin(),
        Mode::Recurse => {
            recurse(u64::from(rows));
        }
        Mode::Allocate => allocate(),
        Mode::Flood => changes.columns[0].values = Values::I64s(vec![0; 4 << 20]),
        Mode::Short => return Ok(doubled(&values[1..])),
        Mode::Long => return Ok(doubled(&[values, &[0]].concat())),
        Mode::Extra => changes.columns.extend(doubled(values).columns),
        Mode::Bare => changes.columns.clear(),
        Mode::Types => changes.columns[0].values = Values::F64s(vec![0.5; values.len()]),
        Mode::Fall => changes.selection = Some((0..=rows).rev().collect()),
        Mode::Both => {
            changes.selection = Some((0..rows).collect());
            changes.rejections = vec![rejection(0)];
        }
        Mode::Beyond => changes.selection = Some(vec![rows; values.len()]),
        Mode::Unasked => changes.selection = Some((0..rows).collect()),
        Mode::Stranger => changes.rejections = vec![rejection(rows)],
        Mode::Twice => changes.rejections = vec![rejection(0), rejection(0)],
        Mode::Offsets | Mode::OffsetsFall | Mode::OffsetsStart | Mode::Mojibake | Mode::Halves => {
            return Ok(no_text(settings.mode, rows));
        }
        Mode::Validity => changes.columns[0].validity = Some(vec![]),
        Mode::Garbage => changes.columns[0].validity = Some(vec![7; values.len()]),
        Mode::Null => changes.columns[0].validity = Some(vec![0; values.len()]),
        Mode::Refuse => return Err(format!("poison in a batch of {rows}")),
        Mode::Sleep => std::thread::sleep(std::time::Duration::from_hours(1)),
        Mode::Print => loop {
            println!("and on and on");
        },
        Mode::Mumble => loop {
            eprint!("and on and on ");
        },
        Mode::Reject => return Ok(reject(settings, values, "poisoned")),
        Mode::Rant => return Ok(reject(settings, values, &"\u{1b}[2J\0no! ".repeat(1 << 17))),
        Mode::Exit => std::process::exit(1),
        Mode::Burgle => burgle(),
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

/// Prints on its way down: the host must have stack left for that wherever the guest stands.
#[expect(unconditional_recursion, reason = "that is what it is for")]
fn recurse(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    if depth.is_multiple_of(64) {
        println!("{depth} deep");
    }
    frame[7] + recurse(depth + 1) + frame[9]
}

fn allocate() {
    let mut hoard = Vec::new();
    loop {
        hoard.push(std::hint::black_box(Vec::<u8>::with_capacity(1 << 20)));
    }
}

fn reject(settings: &Settings, values: &[i64], reason: &str) -> Changes {
    let bad = |value: i64| settings.poison == Some(value);
    let good: Vec<i64> = values.iter().copied().filter(|&v| !bad(v)).collect();
    let mut changes = doubled(&good);
    changes.rejections = (0_u32..)
        .zip(values)
        .filter(|&(_, &value)| bad(value))
        .map(|(row, _)| Rejection {
            row,
            reason: reason.to_owned(),
        })
        .collect();
    changes
}

/// The same text in every row.
pub(crate) fn texts(text: &str, rows: usize) -> Changes {
    bytes(
        (0..=rows).map(|row| (row * text.len()) as u32).collect(),
        text.as_bytes().repeat(rows),
    )
}

/// What is no column of text, however few rows there are.
fn no_text(mode: Mode, rows: u32) -> Changes {
    let rows = rows as usize;
    // The first row has everything.
    let mut offsets = vec![10; rows + 1];
    offsets[0] = 0;
    match mode {
        Mode::Offsets => offsets[rows] = 1000,
        // One row has no offset between its ends that might fall.
        Mode::OffsetsFall if rows > 1 => offsets[rows] = 3,
        Mode::OffsetsFall | Mode::OffsetsStart => offsets[0] = 3,
        Mode::Mojibake => return bytes(offsets, b"caf\xe9 latte".to_vec()),
        // Two rows share a character: all of it together is UTF-8.
        _ => {
            offsets.iter_mut().skip(2).for_each(|offset| *offset = 11);
            let text = "nine and é".as_bytes();
            return bytes(offsets, text[..text.len().min(9 + rows)].to_vec());
        }
    }
    bytes(offsets, vec![b'a'; 10])
}

fn bytes(offsets: Vec<u32>, bytes: Vec<u8>) -> Changes {
    changes(Values::Bytes(VarBytes { offsets, bytes }))
}

/// Panics with what it was told.
fn burgle() {
    let file = std::fs::read_to_string("/etc/passwd").map_err(|error| error.to_string());
    let written = std::fs::write("/tmp/hostile", "was here").map_err(|error| error.to_string());
    let variable = std::env::var("DATABASE_URL").map_err(|error| error.to_string());
    panic!("file {file:?}, written {written:?}, variable {variable:?}");
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
