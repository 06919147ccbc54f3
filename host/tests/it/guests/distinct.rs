//! `distinct` in the sandbox.

use distinct::Distinct;
use serde_json::json;

use super::alike::aggregates_alike;

#[test]
fn values_of_every_type_are_counted_in_the_sandbox_as_they_are_natively() {
    for column in [
        "boolean",
        "int64",
        "float64",
        "decimal",
        "utf8",
        "binary",
        "timestamp",
        "date",
    ] {
        aggregates_alike::<Distinct>("distinct", &json!({"column": column}));
    }
}

#[test]
fn registers_are_the_same_as_natively() {
    for precision in [4, 5] {
        aggregates_alike::<Distinct>(
            "distinct",
            &json!({"column": "int64", "precision": precision}),
        );
    }
}
