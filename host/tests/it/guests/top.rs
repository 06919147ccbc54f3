//! `top` in the sandbox.

use serde_json::json;
use top::Top;

use super::alike::aggregates_alike;

#[test]
fn values_are_ranked_in_the_sandbox_as_they_are_natively() {
    for column in ["utf8", "int64"] {
        aggregates_alike::<Top>("top", &json!({"column": column, "k": 3, "capacity": 300}));
    }
}

#[test]
fn what_is_rejected_natively_is_rejected_in_the_sandbox() {
    aggregates_alike::<Top>("top", &json!({"column": "utf8", "weight": "decimal"}));
}
