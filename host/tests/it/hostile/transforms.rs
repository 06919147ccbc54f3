//! Transforms in Rust that misbehave on request: see the guest `hostile`.

use serde_json::json;
use wasmill::guest::Failure;

use super::job::{POISON, Role};
use super::{Case, Guilty, hold};
use crate::support;

/// Goes wrong wherever a row has the poison.
fn poisoned(
    name: &'static str,
    mode: &str,
    failure: impl Into<Option<Failure>>,
    says: &'static str,
) -> Case {
    Case {
        name,
        guest: support::guest("hostile"),
        config: json!({ "mode": mode, "poison": POISON }),
        guilty: Guilty::Poisoned,
        failure: failure.into(),
        says,
    }
}

#[rustfmt::skip]
fn what_its_code_does() -> Vec<Case> {
    use Failure::{Memory, Output, Refused, Time, Trap};
    vec![
        poisoned("a panic is a trap, with its message", "trap", Trap, "poison in a batch of 1"),
        poisoned("an endless loop is ended", "spin", Time, "used up its time"),
        poisoned("recursion without end overflows the guest's stack, not the host's", "recurse", Trap, "in hostile::deeds::recurse"),
        poisoned("memory has a bound", "allocate", Memory, "67108864 bytes of memory"),
        poisoned("what a call hands back has a bound", "flood", Output, "8388608 bytes of output"),
        poisoned("lines printed without end are ended", "print", Time, "used up its time"),
        poisoned("a line without an end is ended", "mumble", Time, "used up its time"),
        poisoned("a sleep is a trap", "sleep", Trap, "wasi:"),
        poisoned("an exit is a trap", "exit", Trap, "it exited"),
        poisoned("there are no files and no variables", "burgle", Trap,
            r#"file Err("No such file or directory (os error 44)"), written Err("No such file or directory (os error 44)"), variable Err("environment variable not found")"#),
        poisoned("an error for one row costs that row", "refuse", Refused, "poison in a batch of 1"),
    ]
}

#[rustfmt::skip]
fn what_it_returns() -> Vec<Case> {
    use Failure::Contract;
    vec![
        poisoned("a row too few is noticed", "short", Contract, "there are 0 values where 1 were due"),
        poisoned("a row too many is noticed", "long", Contract, "there are 2 values where 1 were due"),
        poisoned("a column too many is noticed", "extra", Contract, "2 columns where its contract has 1"),
        poisoned("a column too few is noticed", "bare", Contract, "0 columns where its contract has 1"),
        poisoned("values of another type are noticed", "types", Contract, "values are f64s and its type is int64"),
        poisoned("a selection that falls is noticed", "fall", Contract, "its selection falls from 1 to 0"),
        poisoned("a selection of what is not there is noticed", "beyond", Contract, "it selected row 1 of 1"),
        poisoned("a row selected and rejected is noticed", "both", Contract, "both selected and rejected row 0"),
        poisoned("a selection that was not agreed on is noticed", "unasked", Contract, "its contract says that it makes none"),
        poisoned("a rejection of what is not there is noticed", "stranger", Contract, "it rejected row 1 of 1"),
        poisoned("a row rejected twice is noticed", "twice", Contract, "it rejected row 0 twice"),
        poisoned("offsets past the end are noticed", "offsets", Contract, "the last offset is 1000 and there are 10 bytes"),
        poisoned("offsets that begin late are noticed", "offsets-start", Contract, "the first offset is 3, not 0"),
        poisoned("offsets that fall are noticed", "offsets-fall", Contract, "the first offset is 3, not 0"),
        poisoned("text that is not UTF-8 is noticed", "mojibake", Contract, "row 0 is not UTF-8"),
        poisoned("half a character is noticed", "halves", Contract, "row 0 is not UTF-8"),
        poisoned("a validity of other rows is noticed", "validity", Contract, "there are 0 entries of `validity` where 1 were due"),
        poisoned("a validity that is neither is noticed", "garbage", Contract, "`validity` of row 0 is 7, neither 0 nor 1"),
        poisoned("a null where none may be is noticed", "null", Contract, "row 0 is null, and the column is not nullable"),
        poisoned("a rejection is no failure", "reject", None, "poisoned"),
        poisoned("a reason of a megabyte that steers terminals is cut and cleaned", "rant", None,
            "\u{fffd}[2J\u{fffd}no! \u{fffd}[2J"),
    ]
}

/// Nobody is at fault, and nobody is left out.
#[rustfmt::skip]
fn what_comes_and_goes() -> Vec<Case> {
    use Failure::{Contract, Memory, Refused, Trap};
    let every = |name, mode: &str, every: u64, failure| Case {
        config: json!({ "mode": mode, "every": every }),
        guilty: Guilty::Nobody,
        ..poisoned(name, mode, failure, "")
    };
    vec![
        every("a panic on every second call costs no record", "trap", 2, Trap),
        every("an error on every second call costs no record", "refuse", 2, Refused),
        every("wrong rows on every second call cost no record", "short", 2, Contract),
        every("too much memory on every second call costs no record", "allocate", 2, Memory),
    ]
}

/// No row is to blame more than another, and all have to go.
#[rustfmt::skip]
fn what_never_works() -> Vec<Case> {
    use Failure::{Contract, Refused, Time, Trap};
    let always = |name, mode: &str, failure, says| Case {
        config: json!({ "mode": mode }),
        guilty: Guilty::Everybody,
        ..poisoned(name, mode, failure, says)
    };
    vec![
        always("a guest that always traps costs its records and not the run", "trap", Trap, "poison in a batch of"),
        always("a guest that never returns costs its records and not the run", "spin", Time, "used up its time"),
        always("a guest that always refuses costs its records and not the run", "refuse", Refused, "poison in a batch of"),
        always("a guest that always breaks its contract costs its records and not the run", "extra", Contract, "2 columns"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_transform_does_costs_only_its_row() {
    hold(Role::Transform, what_its_code_does()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_transform_returns_is_not_believed() {
    hold(Role::Transform, what_it_returns()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_away_on_a_fresh_instance_costs_no_record() {
    hold(Role::Transform, what_comes_and_goes()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transform_that_never_works_does_not_stop_the_run() {
    hold(Role::Transform, what_never_works()).await;
}
