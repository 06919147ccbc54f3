//! What the sandbox must survive: a guest that does everything wrong on request.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use serde_json::{Value, json};
use wasmill::config::Limits;
use wasmill::guest::{
    CallError, Component, ConfigureError, GuestEngine, Kind, TransformGuest, lowered_bytes,
};
use wasmill::record::{Rejection, Rows};
use wasmill::schema::{DataType, Field, Schema};
use wasmill::transform::TransformStage;

use crate::support;

const POISON: i64 = -1;

const LIMITS: Limits = Limits {
    memory: 64 << 20,
    time: Duration::from_millis(200),
    output: 8 << 20,
};

/// Compiled once for all tests.
fn hostile() -> &'static Component {
    static HOSTILE: LazyLock<Component> = LazyLock::new(|| {
        let engine = GuestEngine::new(None).unwrap();
        engine.load("hostile", &support::guest("hostile")).unwrap()
    });
    &HOSTILE
}

fn input() -> Schema {
    let field = |name: &str, ty| Field::new(name, ty, false);
    Schema::new(vec![
        field("text", DataType::Utf8),
        field("value", DataType::Int64),
    ])
    .unwrap()
}

fn configured(config: &Value) -> Result<TransformGuest, ConfigureError> {
    hostile().transform("stage", &input(), config, &LIMITS)
}

/// A guest that does this whenever a row has the value [`POISON`].
fn poisoned(mode: &str) -> TransformGuest {
    configured(&json!({ "mode": mode, "poison": POISON })).unwrap()
}

/// Rows whose value is their number, but for the poisoned ones.
fn rows(count: u32, poison: &[u32]) -> Rows {
    let value = |row: u32| {
        if poison.contains(&row) {
            POISON
        } else {
            i64::from(row)
        }
    };
    let values: ArrayRef = Arc::new((0..count).map(value).collect::<Int64Array>());
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(
        (0..count).map(|row| format!("é{row}")),
    ));
    Rows {
        columns: RecordBatch::try_new(input().arrow().clone(), vec![texts, values]).unwrap(),
        records: (0..count).map(|row| row + 1000).collect(),
    }
}

/// Only the column that the guest needs.
fn values(count: u32, poison: &[u32]) -> RecordBatch {
    rows(count, poison).columns.project(&[1]).unwrap()
}

fn numbers(column: &ArrayRef) -> Vec<i64> {
    column.as_primitive::<Int64Type>().values().to_vec()
}

/// What a batch with one poisoned row comes back with.
fn failure(mode: &str) -> CallError {
    poisoned(mode).apply(&values(100, &[50])).unwrap_err()
}

fn invalid(mode: &str) -> String {
    match failure(mode) {
        CallError::Invalid(what) => what,
        other => panic!("{other:?}"),
    }
}

/// Everything but `poison` must have come through a stage, and that be rejected.
fn assert_innocents_survive(mode: &str, count: u32, poison: &[u32]) -> Vec<Rejection> {
    let mut stage = TransformStage::new("stage", poisoned(mode));
    let mut rejected = vec![];
    let output = stage.apply(&rows(count, poison), &mut rejected).unwrap();
    let left: Vec<u32> = (0..count).filter(|row| !poison.contains(row)).collect();
    let due: Vec<i64> = left.iter().map(|&row| i64::from(row) * 2).collect();
    assert_eq!(numbers(output.columns.column(2)), due);
    let texts = output.columns.column(0).as_string::<i32>();
    let due: Vec<String> = left.iter().map(|row| format!("é{row}")).collect();
    assert!(texts.iter().flatten().eq(due.iter().map(String::as_str)));
    assert!(
        output
            .records
            .iter()
            .copied()
            .eq(left.iter().map(|row| row + 1000))
    );
    let records: Vec<u32> = rejected.iter().map(|rejection| rejection.record).collect();
    assert_eq!(
        records,
        poison.iter().map(|row| row + 1000).collect::<Vec<_>>()
    );
    rejected
}

#[test]
fn a_guest_that_behaves_gets_slices_and_keeps_its_instance() {
    let mut guest = poisoned("behave");
    assert_eq!(guest.contract().needs, [1]);
    let batch = values(100, &[]);
    for (start, len) in [(0, 100), (10, 5), (99, 1), (7, 0)] {
        let changes = guest.apply(&batch.slice(start, len)).unwrap();
        let due: Vec<i64> = (start..start + len).map(|row| row as i64 * 2).collect();
        assert_eq!(numbers(&changes.columns[0]), due);
    }
}

#[test]
fn a_trap_costs_only_the_row_that_causes_it() {
    let rejected = assert_innocents_survive("trap", 20_000, &[12_345]);
    let reason = &rejected[0].reason;
    assert!(reason.contains("poison in a batch of 1"), "{reason}");
    assert!(reason.contains("hostile::deeds::misbehave"), "{reason}");
    assert_innocents_survive("trap", 3000, &[0, 1, 700, 2999]);
}

#[test]
fn an_error_for_the_batch_costs_only_the_row_that_causes_it() {
    let rejected = assert_innocents_survive("refuse", 8192, &[77]);
    assert_eq!(
        rejected[0].reason,
        "the guest refused the batch: poison in a batch of 1"
    );
}

#[test]
fn a_row_that_the_guest_rejects_leaves_alone() {
    let rejected = assert_innocents_survive("reject", 20_000, &[3, 9000, 19_999]);
    assert!(
        rejected
            .iter()
            .all(|rejection| rejection.reason == "poisoned")
    );
}

#[test]
fn every_other_failure_costs_only_its_row_too() {
    for mode in [
        "allocate", "flood", "short", "stranger", "sleep", "exit", "spin",
    ] {
        assert_innocents_survive(mode, 64, &[33]);
    }
}

#[test]
fn time_is_bounded() {
    assert!(matches!(failure("spin"), CallError::TimedOut(_)));
    assert!(matches!(failure("print"), CallError::TimedOut(_)));
}

#[test]
fn memory_is_bounded() {
    let slow = Limits {
        time: Duration::from_mins(1),
        ..LIMITS
    };
    let config = json!({ "mode": "allocate" });
    let mut guest = hostile()
        .transform("stage", &input(), &config, &slow)
        .unwrap();
    let error = guest.apply(&values(1, &[])).unwrap_err();
    assert!(
        matches!(error, CallError::MemoryExceeded(limit) if limit == LIMITS.memory),
        "{error}"
    );
}

#[test]
fn output_is_bounded() {
    assert!(matches!(
        failure("flood"),
        CallError::OutputExceeded(limit) if limit == LIMITS.output
    ));
}

#[test]
fn input_that_does_not_fit_into_memory_is_no_trap_of_the_guests_own() {
    let large: ArrayRef = Arc::new(Int64Array::from(vec![0; 16 << 20]));
    let batch = RecordBatch::try_from_iter([("value", large)]).unwrap();
    assert!(lowered_bytes(&batch) as u64 > LIMITS.memory);
    let error = poisoned("behave").apply(&batch).unwrap_err();
    assert!(matches!(error, CallError::MemoryExceeded(_)), "{error}");
}

#[test]
fn a_guest_cannot_sleep_or_exit() {
    for (mode, due) in [("sleep", "wasi:"), ("exit", "it exited")] {
        let error = failure(mode);
        let CallError::Trapped { reason, .. } = &error else {
            panic!("{error:?}");
        };
        assert!(reason.contains(due), "{reason}");
    }
}

#[test]
fn nonsense_is_not_believed() {
    assert!(invalid("short").contains("there are 99 values where 100 were due"));
    assert_eq!(invalid("fall"), "its selection falls from 100 to 99");
    assert_eq!(invalid("both"), "it both selected and rejected row 0");
    assert_eq!(invalid("stranger"), "it rejected row 100 of 100");
    assert!(invalid("offsets").contains("the last offset is 1000 and there are 10 bytes"));
    assert!(invalid("offsets-fall").contains("offsets fall from 10 to 3 at row 99"));
    assert!(invalid("halves").contains("row 0 is not UTF-8"));
}

#[test]
fn after_a_failure_the_next_call_gets_a_fresh_instance() {
    let mut guest = poisoned("trap");
    for _ in 0..3 {
        assert!(guest.apply(&values(10, &[5])).is_err());
        let changes = guest.apply(&values(10, &[])).unwrap();
        assert_eq!(numbers(&changes.columns[0])[9], 18);
    }
}

#[test]
fn a_guest_that_always_fails_ends_in_bounded_time() {
    let limits = Limits {
        time: Duration::from_millis(20),
        ..LIMITS
    };
    for mode in ["trap", "spin", "refuse"] {
        let config = json!({ "mode": mode });
        let guest = hostile().transform("stage", &input(), &config, &limits);
        let mut stage = TransformStage::new("stage", guest.unwrap());
        let mut rejected = vec![];
        let output = stage.apply(&rows(8192, &[]), &mut rejected).unwrap();
        assert_eq!(output.columns.num_rows(), 0);
        assert_eq!(rejected.len(), 8192);
    }
}

#[test]
fn no_rows_make_no_call() {
    let guest = configured(&json!({ "mode": "trap" })).unwrap();
    let mut stage = TransformStage::new("stage", guest);
    let mut rejected = vec![];
    let output = stage.apply(&rows(0, &[]), &mut rejected).unwrap();
    assert_eq!(output.columns.num_columns(), 3);
    assert!(rejected.is_empty());
}

#[test]
fn a_guest_sees_nothing_of_the_world_and_always_the_same() {
    let mut seen = vec![];
    for _ in 0..2 {
        let mut guest = configured(&json!({ "mode": "look" })).unwrap();
        let changes = guest.apply(&values(1, &[])).unwrap();
        seen.push(changes.columns[0].as_string::<i32>().value(0).to_owned());
    }
    assert_eq!(seen[0], seen[1]);
    let due = "elapsed 0ns, clock Ok(0ns), arguments 0, variables 0, files false, seed ";
    assert!(seen[0].starts_with(due), "{}", seen[0]);
}

#[test]
fn a_configuration_that_does_not_fit_is_refused_by_name() {
    let refusal = |mode: &str| {
        configured(&json!({ "mode": mode }))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refusal("unconfigurable"),
        "the guest refused its configuration: this config is never right"
    );
    assert_eq!(
        refusal("greedy"),
        "the guest needs column `everything`, and its input has only `text`, `value`"
    );
    let error = hostile().aggregate("stage", &input(), &json!({}), &LIMITS);
    assert_eq!(
        error.unwrap_err().to_string(),
        "it is a transform, and an aggregate is due here"
    );
    let tiny = Limits {
        memory: 64 << 10,
        ..LIMITS
    };
    let error = hostile().transform("stage", &input(), &json!({ "mode": "behave" }), &tiny);
    assert!(matches!(
        error,
        Err(ConfigureError::Failed(CallError::MemoryExceeded(_)))
    ));
}

#[test]
fn a_component_tells_what_it_is() {
    let component = hostile();
    assert_eq!(component.kind(), Kind::Transform);
    assert_eq!(component.name(), "hostile");
    assert_eq!(component.digest().len(), 64);
    let description = component.describe().unwrap();
    assert_eq!(description.name, "hostile");
    assert_eq!(description.config_schema, None);
}

#[test]
fn a_component_from_the_cache_works_as_one_that_was_compiled() {
    let directory = tempfile::tempdir().unwrap();
    let entries = || std::fs::read_dir(directory.path()).unwrap();
    for _ in 0..2 {
        let engine = GuestEngine::new(Some(directory.path().join("cache"))).unwrap();
        let component = engine.load("hostile", &support::guest("hostile")).unwrap();
        let config = json!({ "mode": "behave" });
        let mut guest = component
            .transform("stage", &input(), &config, &LIMITS)
            .unwrap();
        assert!(guest.apply(&values(3, &[])).is_ok());
        assert_eq!(entries().count(), 1);
    }
}
