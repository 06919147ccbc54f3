//! What the SDK costs: `currency` and `totals` as they are, against the same written by hand over columns
//! (`bench/by-hand`), natively and in the sandbox. Prints ns a row, and the ratio of the two.
//!
//! The components are built beforehand:
//!
//! ```sh
//! cargo xtask guests
//! cargo build --release --target wasm32-wasip2 -p currency-by-hand -p totals-by-hand
//! cargo run --release -p wasmill-bench --bin guests
//! ```
//!
//! Both sides take turns, call by call, and the fastest call of each counts: what else the machine does
//! only ever adds. In the sandbox a call includes the border, which is the same on both sides.

mod native;
mod sandbox;

use std::time::{Duration, Instant};

use anyhow::ensure;

/// Rows of a batch: a full one.
const ROWS: usize = 8_192;

/// Groups that `totals` folds into.
const GROUPS: u32 = 200;

/// Calls of each side.
const CALLS: usize = 2_000;

/// A call on a batch: what it took, and a number that tells what came out.
type Call<'a> = dyn FnMut() -> anyhow::Result<(Duration, i64)> + 'a;

fn main() -> anyhow::Result<()> {
    println!(
        "{:24} {:>8} {:>8} {:>6}",
        "ns a row", "by hand", "SDK", "ratio"
    );
    native::run()?;
    sandbox::run()
}

/// Measures two ways to the same result and prints a line.
fn compare(name: &str, by_hand: &mut Call<'_>, sdk: &mut Call<'_>) -> anyhow::Result<()> {
    let (mut fastest, mut fastest_sdk) = (Duration::MAX, Duration::MAX);
    for _ in 0..CALLS {
        let (took, result) = by_hand()?;
        let (took_sdk, result_sdk) = sdk()?;
        ensure!(
            result == result_sdk,
            "{name}: {result} by hand, {result_sdk} with the SDK"
        );
        fastest = fastest.min(took);
        fastest_sdk = fastest_sdk.min(took_sdk);
    }
    let a_row = |took: Duration| took.as_secs_f64() * 1e9 / ROWS as f64;
    let (by_hand, sdk) = (a_row(fastest), a_row(fastest_sdk));
    println!("{name:24} {by_hand:8.2} {sdk:8.2} {:6.2}", sdk / by_hand);
    Ok(())
}

/// Runs `call` and says how long it took.
fn timed<T>(call: impl FnOnce() -> T) -> (Duration, T) {
    let begin = Instant::now();
    let result = std::hint::black_box(call());
    (begin.elapsed(), result)
}

/// An amount in cents, in no order.
fn amount(row: usize) -> i64 {
    (row as i64 * 7_919) % 1_000_003
}

/// One of four currencies, in no order that a processor could learn.
fn code(row: usize) -> &'static str {
    let shuffled = (row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62;
    ["EUR", "USD", "GBP", "JPY"][shuffled as usize]
}

fn groups() -> Vec<u32> {
    (0..ROWS as u32).map(|row| row * 31 % GROUPS).collect()
}

/// Whether the value of a row is there, where some are missing.
fn is_present(row: usize) -> bool {
    !row.is_multiple_of(10)
}

fn currency_config() -> serde_json::Value {
    serde_json::json!({"base": "USD", "rates": {"EUR": "1.08", "GBP": "1.27", "JPY": "0.0065"}})
}

fn totals_config() -> serde_json::Value {
    serde_json::json!({"column": "amount"})
}
