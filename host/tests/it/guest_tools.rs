//! `wasmill test`, `inspect` and `bench` on the shipped guests.

mod bench;
mod inspect;
mod test;

use std::path::Path;
use std::process::Output;

use crate::support::{self, binary};

/// The config of `currency`.
const RATES: &str = r#"{"base": "USD", "rates": {"EUR": "1.08"}}"#;

/// Sales in three currencies, one of which has no rate.
const SALES: &str = r#"{"currency": "EUR", "total_amount": 10.5, "note": "first"}
{"currency": "CHF", "total_amount": 20.25, "note": "second"}

{"total_amount": 3.1, "currency": "USD"}
"#;

/// A folder with the sales as `rows.ndjson`.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rows.ndjson"), SALES).unwrap();
    folder
}

/// Runs the binary there; the first argument but one is the name of a guest.
fn run(folder: &Path, command: &str, guest: &str, arguments: &[&str]) -> Output {
    let component = support::guest(guest);
    let mut wasmill = binary::wasmill(&[command]);
    wasmill.arg(component).args(arguments).current_dir(folder);
    wasmill.output().expect("the binary starts")
}
