//! The shipped guests, as components in the host's sandbox, against the same code run natively.
//!
//! Every border between the two is crossed here: Arrow to the contract, the canonical ABI, the guest's
//! own export glue, and back. Random batches have missing values, all of Unicode, and begin in the
//! middle of their buffers.

mod alike;
mod currency;
mod distinct;
mod filter;
mod mask;
mod natively;
mod other_languages;
mod pages;
mod passthrough;
mod project;
mod stats;
mod top;
mod totals;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use arrow_array::RecordBatch;
use serde_json::Value;

use wasmill::config::Limits;
use wasmill::guest::{Component, GuestEngine, Kind};
use wasmill::schema::{DataType, Field, Schema};

use crate::support;

const LIMITS: Limits = Limits {
    memory: 64 << 20,
    time: Duration::from_secs(10),
    output: 8 << 20,
};

/// The largest magnitude of a decimal.
const MOST: i64 = 999_999_999_999_999_999;

/// A guest, compiled once for all tests.
fn load(name: &'static str) -> Component {
    static LOADED: Mutex<BTreeMap<&str, Component>> = Mutex::new(BTreeMap::new());
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let component = loaded.entry(name).or_insert_with(|| {
        let engine = GuestEngine::new(None).unwrap();
        engine.load(name, &support::guest(name)).unwrap()
    });
    component.clone()
}

fn schema(fields: &[(&str, DataType)]) -> Schema {
    let nullable = |&(name, ty): &(&str, DataType)| Field::new(name, ty, true);
    Schema::new(fields.iter().map(nullable).collect()).unwrap()
}

/// The same rows as `batch`, not at the beginning of their buffers.
fn in_the_middle(batch: &RecordBatch, before: &RecordBatch) -> RecordBatch {
    let both = arrow_select::concat::concat_batches(&batch.schema(), [before, batch, before]);
    both.unwrap().slice(before.num_rows(), batch.num_rows())
}

#[test]
fn each_guest_says_what_it_is() {
    for (name, kind) in [
        ("currency", Kind::Transform),
        ("distinct", Kind::Aggregate),
        ("filter", Kind::Transform),
        ("mask", Kind::Transform),
        ("passthrough", Kind::Transform),
        ("project", Kind::Transform),
        ("stats", Kind::Aggregate),
        ("top", Kind::Aggregate),
        ("totals", Kind::Aggregate),
    ] {
        let component = load(name);
        assert_eq!(component.kind(), kind);
        let description = component.describe().unwrap();
        assert_eq!(description.name, name);
        assert_eq!(description.version, env!("CARGO_PKG_VERSION"));
        assert!(!description.about.is_empty());
        let schema: Value = serde_json::from_str(&description.config_schema.unwrap()).unwrap();
        assert_eq!(schema["type"], "object");
    }
}

#[test]
fn a_component_of_the_other_kind_is_refused() {
    let input = schema(&[("amount", DataType::Decimal(2))]);
    let config = serde_json::json!({"column": "amount"});
    let error = load("totals").transform("sales", &input, &config, &LIMITS);
    assert_eq!(
        error.unwrap_err().to_string(),
        "it is an aggregate, and a transform is due here"
    );
}
