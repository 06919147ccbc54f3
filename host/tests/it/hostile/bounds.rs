//! What guests may cost the host at most: calls, time, memory, and each other.
//!
//! Costs are counted in calls and processor time, never in time on the wall.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use serde_json::{Value, json};
use wasmill::config::Limits;
use wasmill::guest::{CallError, Component, Failure, GuestMeter, TransformGuest};
use wasmill::record::Rows;
use wasmill::schema::{DataType, Field, Schema};
use wasmill::transform::TransformStage;

use super::job::{Job, POISON, Role, engine};
use crate::support;

const LIMITS: Limits = Limits {
    memory: 64 << 20,
    time: Duration::from_millis(200),
    output: 8 << 20,
};

/// Says that a test runs in a process of its own.
const ALONE: &str = "WASMILL_TEST_ALONE";

/// With meters that no other test counts with.
fn hostile() -> Component {
    engine().load("guilty", &support::guest("hostile")).unwrap()
}

fn input() -> Schema {
    Schema::new(vec![Field::new("value", DataType::Int64, false)]).unwrap()
}

fn configured(component: &Component, stage: &str, config: &Value) -> TransformGuest {
    component
        .transform(stage, &input(), config, &LIMITS)
        .unwrap()
}

/// Rows with their numbers, but for those that are poisoned.
fn values(count: usize, is_poisoned: impl Fn(usize) -> bool) -> RecordBatch {
    let value = |row| if is_poisoned(row) { POISON } else { row as i64 };
    let values: ArrayRef = Arc::new((0..count).map(value).collect::<Int64Array>());
    RecordBatch::try_new(Arc::clone(input().arrow()), vec![values]).unwrap()
}

/// Runs a stage over a batch: how many rows were rejected, and what it cost.
fn rejected(config: &Value, batch: &RecordBatch) -> (usize, Arc<GuestMeter>) {
    let component = hostile();
    let mut stage = TransformStage::new("stage", configured(&component, "stage", config));
    let rows = Rows {
        columns: batch.clone(),
        records: (0..batch.num_rows() as u32).collect(),
    };
    let mut rejected = Vec::new();
    let output = stage.apply(&rows, &mut rejected).unwrap();
    assert_eq!(output.records.len() + rejected.len(), batch.num_rows());
    (rejected.len(), component.meter("stage"))
}

#[test]
fn a_call_has_time_for_its_rows() {
    let component = hostile();
    let mut guest = configured(&component, "stage", &json!({ "mode": "spin" }));
    for (rows, due) in [(1, 20), (819, 20), (4096, 100), (8192, 200)] {
        let error = guest.apply(&values(rows, |_| false)).unwrap_err();
        let CallError::TimedOut(allowed) = error else {
            panic!("{error}");
        };
        let due = Duration::from_millis(due);
        assert!(
            allowed.abs_diff(due) < Duration::from_millis(1),
            "{allowed:?}"
        );
    }
}

#[test]
fn many_slow_rows_in_a_batch_cost_a_bounded_number_of_calls() {
    let config = json!({ "mode": "spin", "poison": POISON });
    let (rejected, meter) = rejected(&config, &values(8192, |row| row % 100 == 7));
    assert!(rejected >= 82, "{rejected}");
    // Eight rows are found, at 26 calls each; a range that still fails then is left out as a whole.
    assert!(meter.failures(Failure::Time) < 2 + 8 * 14 + 14);
    assert!(meter.calls() < 500, "{} calls", meter.calls());
    // A full call has 200 ms, and of the ranges that are searched few are long.
    assert!(meter.time() < Duration::from_mins(1), "{:?}", meter.time());
}

#[test]
fn a_guest_that_fails_on_every_row_costs_a_bounded_number_of_calls() {
    for (mode, failure) in [("trap", Failure::Trap), ("refuse", Failure::Refused)] {
        let (rejected, meter) = rejected(&json!({ "mode": mode }), &values(8192, |_| false));
        assert_eq!(rejected, 8192);
        let failures = meter.failures(failure);
        assert!(failures < 100, "{failures} failures of {mode}");
        // With each failure goes an instance, and to make one takes two calls.
        assert!(meter.calls() < 3 * 100, "{} calls", meter.calls());
    }
}

#[test]
fn an_instance_is_used_again_after_a_success_and_never_after_a_failure() {
    let component = hostile();
    let config = json!({ "mode": "trap", "poison": POISON });
    let mut guest = configured(&component, "stage", &config);
    let meter = component.meter("stage");
    let making = meter.calls();
    for calls in 1..=100 {
        guest.apply(&values(10, |_| false)).unwrap();
        assert_eq!((meter.calls(), meter.instances()), (making + calls, 1));
    }
    guest.apply(&values(10, |row| row == 3)).unwrap_err();
    assert_eq!((meter.instances(), meter.memory()), (0, 0));
    guest.apply(&values(10, |_| false)).unwrap();
    assert_eq!((meter.calls(), meter.instances()), (2 * making + 102, 1));
}

#[test]
fn a_trap_in_one_worker_does_not_touch_the_instance_of_another() {
    let component = hostile();
    let config = json!({ "mode": "trap", "poison": POISON });
    let work = |stage: &str, is_poisoned: bool| {
        let mut guest = configured(&component, stage, &config);
        for _ in 0..200 {
            let result = guest.apply(&values(100, |row| is_poisoned && row == 50));
            assert_eq!(result.is_err(), is_poisoned);
        }
    };
    std::thread::scope(|threads| {
        threads.spawn(|| work("trapping", true));
        threads.spawn(|| work("working", false));
    });
    assert_eq!(component.meter("trapping").failures(Failure::Trap), 200);
    // Instantiated, configured, and called: nothing else.
    assert_eq!(component.meter("working").calls(), 2 + 200);
}

#[test]
fn memory_does_not_grow_with_the_number_of_traps() {
    const TRAPS: usize = 4000;
    // Other tests have memory of their own, so this one is measured in another process.
    if std::env::var_os(ALONE).is_none() {
        let name = "hostile::bounds::memory_does_not_grow_with_the_number_of_traps";
        let alone = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(ALONE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&alone.stderr);
        assert!(alone.status.success(), "{said}");
        let ran = String::from_utf8_lossy(&alone.stdout);
        assert!(ran.contains("1 passed"), "{ran}");
        return;
    }
    let component = hostile();
    let batch = values(100, |_| false);
    let trap = |mode: &str, times: usize| {
        let mut guest = configured(&component, mode, &json!({ "mode": mode }));
        for _ in 0..times {
            guest.apply(&batch).unwrap_err();
        }
    };
    for mode in ["trap", "refuse", "extra"] {
        trap(mode, 200);
    }
    let before = resident_bytes();
    for mode in ["trap", "refuse", "extra"] {
        trap(mode, TRAPS / 3);
    }
    let after = resident_bytes();
    // An instance has more than a megabyte: if one in a hundred stayed, it would show.
    let grown = after.saturating_sub(before);
    eprintln!("{TRAPS} failures: {} KiB more", grown >> 10);
    assert!(
        grown < 24 << 20,
        "{grown} bytes more after {TRAPS} failures"
    );
}

/// What the process has in memory.
fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// However often it is asked, it rejects one more row.
#[tokio::test(flavor = "multi_thread")]
async fn a_fold_that_rejects_row_after_row_costs_a_bounded_number_of_calls() {
    let guest = support::guest("hostile_aggregate");
    let config = json!({ "mode": "rejects-the-first", "in": "fold" });
    let job = Job::new(Role::Aggregate, &guest, &config);
    let run = job.run().await;
    assert!(run.ended.is_ok(), "{:?}", run.ended);
    let calls =
        run.number("wasmill_guest_calls_total{stage=\"guilty_totals\",component=\"guilty\"} ");
    // For 1,200 records, in a handful of batches.
    assert!(calls < 900, "{calls} calls");
}
