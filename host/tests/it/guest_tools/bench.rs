//! `wasmill bench`: that there are figures, not which.

use serde_json::Value;

use super::{RATES, folder, run};
use crate::support::binary::{stderr, stdout};

fn costs(measured: &Value) -> Vec<(&str, u64)> {
    let costs = measured["costs"].as_array().unwrap().iter();
    costs
        .map(|cost| {
            let nanos = cost["nanos_a_row"].as_f64().unwrap();
            assert!(nanos > 0.0 && nanos < 1e7, "{cost}");
            (
                cost["call"].as_str().unwrap(),
                cost["rows"].as_u64().unwrap(),
            )
        })
        .collect()
}

#[test]
fn a_transform_is_measured_at_several_sizes() {
    let arguments = [
        "--input",
        "rows.ndjson",
        "--config",
        RATES,
        "--runs",
        "1",
        "--json",
    ];
    let output = run(folder().path(), "bench", "currency", &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let measured: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(
        costs(&measured),
        [
            ("apply", 64),
            ("apply", 1_024),
            ("apply", 4_096),
            ("apply", 8_192)
        ]
    );
    assert_eq!(measured["rejected"], 1);
    let memory = measured["memory_bytes"].as_u64().unwrap();
    assert!((64 << 10..64 << 20).contains(&memory), "{memory}");
}

#[test]
fn an_aggregate_is_measured_in_all_three_calls() {
    let config = r#"{"column": "total_amount"}"#;
    let arguments = [
        "--input",
        "rows.ndjson",
        "--config",
        config,
        "--key",
        "currency",
        "--runs",
        "1",
    ];
    let output = run(folder().path(), "bench", "totals", &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let table = stdout(&output);
    for wanted in [
        "| fold   |",
        "| merge  |",
        "| finish |",
        "ns a row",
        "median of 1 runs",
        "memory",
    ] {
        assert!(table.contains(wanted), "`{wanted}` in: {table}");
    }
}

#[test]
fn a_guest_that_fails_on_the_rows_is_not_measured() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rows.ndjson"), "{\"value\": 1}\n").unwrap();
    let arguments = ["--input", "rows.ndjson", "--config", r#"{"mode": "trap"}"#];
    let output = run(folder.path(), "bench", "hostile", &arguments);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("the guest fails on these rows"));
    assert_eq!(stdout(&output), "");
}
