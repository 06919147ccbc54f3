//! Guests in JavaScript and Python: `currency` in each of them against the one in Rust, and what the
//! sandbox makes of an interpreter that does not come back.
//!
//! Their components are there where `cargo xtask guests --all` found the languages. Elsewhere these tests
//! say that they do nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::Schema as ArrowSchema;
use proptest::prelude::*;
use serde_json::{Value, json};

use wasmill::config::Limits;
use wasmill::guest::{CallError, Component, GuestEngine, Kind, TransformGuest};
use wasmill::schema::Schema;

use super::currency::{self, Converted, Row};
use super::{LIMITS, MOST, in_the_middle};

/// A full call.
const ROWS: usize = 8192;

/// Rows of a call that fails: few, as each has a share of the time limit.
const FEW_ROWS: usize = 10;

/// One component, compiled once for all tests and all runs of them (it takes 15 s in a debug build).
fn load(name: &'static str) -> Option<Component> {
    static LOADED: Mutex<BTreeMap<&str, Component>> = Mutex::new(BTreeMap::new());
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/guests")
        .join(name)
        .with_extension("wasm");
    if !path.exists() {
        // Not `eprintln`, which nobody sees of a test that passes.
        let told = writeln!(
            std::io::stderr(),
            "skipped: {name}.wasm is not there; `cargo xtask guests --all` builds it"
        );
        told.unwrap();
        return None;
    }
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let component = loaded.entry(name).or_insert_with(|| {
        let engine = GuestEngine::new(Some(env!("CARGO_TARGET_TMPDIR").into())).unwrap();
        engine.load(name, &path).unwrap()
    });
    Some(component.clone())
}

/// Rates with many digits and few, and codes of other lengths than three bytes.
fn config() -> Value {
    let mut config = currency::config();
    let more = json!({
        "HALF": "0.5", "CHF": "1.005", "X": 3, "ÆØ": "2", "€": "1.08", "\u{feff}": "7",
        "MUCH": "999999999999999999", "TINY": "0.000000000000000001", "FINE": "0.10000000000000001",
    });
    let rates = config["rates"].as_object_mut().unwrap();
    rates.extend(more.as_object().unwrap().clone());
    config
}

fn configure(component: &Component, scale: u8) -> RefCell<TransformGuest> {
    let guest = component.transform("sales", &currency::input(scale), &config(), &LIMITS);
    RefCell::new(guest.unwrap())
}

fn convert(guest: &RefCell<TransformGuest>, batch: &RecordBatch) -> Converted {
    let changes = guest.borrow_mut().apply(batch).unwrap();
    currency::as_converted(&changes, batch.num_rows())
}

fn any_row() -> impl Strategy<Value = Row> {
    let codes = [
        "USD", "EUR", "GBP", "JPY", "HALF", "CHF", "X", "ÆØ", "€", "\u{feff}", "MUCH", "TINY",
        "FINE",
    ];
    let code = prop_oneof![
        8 => prop::sample::select(codes.to_vec()).prop_map(str::to_owned),
        1 => ".{0,40}",
    ];
    let sign = |magnitude: i64| prop::sample::select(vec![magnitude, -magnitude]);
    let amount = prop_oneof![
        4 => -1_000_000_i64..1_000_000,
        // Halves of a digit that is cut off.
        2 => (-1_000_000_i64..1_000_000, 0_u32..12).prop_map(|(n, zeros)| n * 5 * 10_i64.pow(zeros) / 10),
        // Where doubles stop being exact, and where 32 bits end.
        2 => (30_u32..60, -3_i64..=3).prop_flat_map(move |(bits, near)| sign((1 << bits) + near)),
        1 => (0_i64..100).prop_flat_map(move |less| sign(MOST - less)),
        2 => -MOST..=MOST,
    ];
    (
        prop::option::weighted(0.9, amount),
        prop::option::weighted(0.9, code),
    )
}

fn assert_rows_become_what_they_become_in_rust(name: &'static str) {
    let Some(component) = load(name) else { return };
    for scale in [0, 2, 3, 17, 18] {
        let rust = configure(&super::load("currency"), scale);
        let other = configure(&component, scale);
        let rows = || prop::collection::vec(any_row(), 0..200);
        proptest!(ProptestConfig::with_cases(64), |(rows in rows(), before in rows())| {
            let batch = currency::batch(scale, &rows);
            let batch = in_the_middle(&batch, &currency::batch(scale, &before));
            prop_assert_eq!(convert(&other, &batch), convert(&rust, &batch));
        });
    }
}

#[test]
fn rows_become_in_javascript_what_they_become_in_rust() {
    assert_rows_become_what_they_become_in_rust("currency-js");
}

#[test]
fn rows_become_in_python_what_they_become_in_rust() {
    assert_rows_become_what_they_become_in_rust("currency-py");
}

#[test]
fn wrong_settings_are_refused_in_the_same_words() {
    for component in ["currency-js", "currency-py"].into_iter().filter_map(load) {
        currency::assert_wrong_settings_are_refused(&component);
    }
}

#[test]
fn they_say_what_they_are_and_take_the_config_of_the_one_in_rust() {
    let described = |component: &Component| {
        let description = component.describe().unwrap();
        let schema: Value = serde_json::from_str(&description.config_schema.unwrap()).unwrap();
        let properties = schema["properties"].as_object().unwrap();
        let types: BTreeMap<_, _> = (properties.iter())
            .map(|(key, property)| (key.clone(), property["type"].clone()))
            .collect();
        let keys = (types, schema["required"].clone());
        (description.name, description.version, keys)
    };
    let rust = described(&super::load("currency"));
    for component in ["currency-js", "currency-py"].into_iter().filter_map(load) {
        assert_eq!(component.kind(), Kind::Transform);
        assert_eq!(described(&component), rust);
    }
}

#[test]
fn they_live_in_the_default_memory_however_many_batches_they_are_given() {
    let row = |i: usize| (Some(i as i64), Some(["EUR", "XXX"][i % 2].to_owned()));
    let rows: Vec<Row> = (0..ROWS).map(row).collect();
    let batch = currency::batch(2, &rows);
    for component in ["currency-js", "currency-py"].into_iter().filter_map(load) {
        let guest = configure(&component, 2);
        for _ in 0..40 {
            let converted = convert(&guest, &batch);
            assert_eq!(converted.rejections.len(), ROWS / 2);
        }
        let bytes = guest.borrow().memory_bytes().unwrap();
        assert!(
            bytes <= 64 << 20,
            "{} takes {bytes} bytes",
            component.name()
        );
    }
}

/// Rows of no columns: that is what the hostile guests ask for.
fn rows_alone(count: usize) -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    RecordBatch::try_new_with_options(ArrowSchema::empty().into(), vec![], &options).unwrap()
}

/// What becomes of a call of a hostile guest.
fn misbehave(component: &Component, fault: &str) -> Result<(), CallError> {
    let limits = Limits {
        time: Duration::from_secs(2),
        ..LIMITS
    };
    let input = Schema::new(vec![]).unwrap();
    let config = json!({ "fault": fault });
    let guest = component.transform("stage", &input, &config, &limits);
    guest.unwrap().apply(&rows_alone(FEW_ROWS)).map(|_| ())
}

/// Both hostile guests do it; what comes of each.
fn failures(fault: &str) -> Vec<CallError> {
    (["hostile-js", "hostile-py"].into_iter().filter_map(load))
        .map(|component| {
            misbehave(&component, "none").unwrap();
            misbehave(&component, fault).expect_err(component.name())
        })
        .collect()
}

#[test]
fn an_endless_loop_in_an_interpreter_is_stopped() {
    for error in failures("loop") {
        assert!(matches!(error, CallError::TimedOut(_)), "{error}");
    }
}

#[test]
fn an_interpreter_that_waits_traps() {
    for error in failures("wait") {
        assert!(matches!(error, CallError::Trapped { .. }), "{error}");
    }
}

#[test]
fn recursion_without_end_is_over_when_the_stack_is() {
    for error in failures("recurse") {
        assert!(matches!(error, CallError::Trapped { .. }), "{error}");
    }
}

#[test]
fn an_interpreter_that_hoards_memory_is_stopped_at_its_limit() {
    for error in failures("hoard") {
        // JavaScript's engine throws, so these are the guest's words.
        let is_told = match &error {
            CallError::MemoryExceeded(_) => true,
            CallError::Refused(words) => words == "out of memory",
            _ => false,
        };
        assert!(is_told, "{error}");
    }
}

#[test]
fn an_exception_that_nobody_catches_is_a_trap() {
    for error in failures("exception") {
        assert!(matches!(error, CallError::Trapped { .. }), "{error}");
    }
}
