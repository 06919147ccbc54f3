//! `project` in the sandbox.

use project::Project;
use serde_json::json;

use super::alike::transforms_alike;
use super::{LIMITS, load, passthrough};

#[test]
fn columns_are_cast_in_the_sandbox_as_they_are_natively() {
    for (column, types) in [
        ("boolean", &["int64", "utf8"][..]),
        ("int64", &["boolean", "float64", "decimal(2)", "utf8"]),
        ("float64", &["int64", "decimal(4)", "utf8"]),
        (
            "decimal",
            &["int64", "float64", "decimal(3)", "decimal(18)", "utf8"],
        ),
        (
            "utf8",
            &[
                "boolean",
                "int64",
                "float64",
                "decimal(2)",
                "binary",
                "timestamp",
                "date",
            ],
        ),
        ("binary", &["utf8"]),
        ("timestamp", &["date", "utf8"]),
        ("date", &["timestamp", "utf8"]),
    ] {
        for ty in types {
            let config = json!({"cast": {column: ty}, "rename": {column: "cast"}});
            transforms_alike::<Project>("project", &config);
        }
    }
}

#[test]
fn rounding_in_the_sandbox_is_rounding_natively() {
    let config = json!({
        "cast": {"decimal": "decimal(2)", "float64": "decimal(1)", "int64": "float64"},
        "round": ["decimal", "float64", "int64"],
        "drop": ["utf8"],
    });
    transforms_alike::<Project>("project", &config);
}

#[test]
fn its_output_has_the_columns_that_are_left() {
    let config = json!({"keep": ["utf8", "date", "int64"], "rename": {"date": "day"}});
    let guest = load("project")
        .transform("stage", &passthrough::input(), &config, &LIMITS)
        .unwrap();
    let output = guest.contract().output.clone();
    let names: Vec<_> = output
        .fields()
        .iter()
        .map(|field| field.name.clone())
        .collect();
    assert_eq!(names, ["int64", "utf8", "day"]);
}
