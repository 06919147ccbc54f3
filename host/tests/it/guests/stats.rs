//! `stats` in the sandbox.

use serde_json::json;
use stats::Stats;

use super::alike::aggregates_alike;

#[test]
fn numbers_are_summarised_in_the_sandbox_as_they_are_natively() {
    for column in ["float64", "decimal", "int64"] {
        aggregates_alike::<Stats>("stats", &json!({"column": column}));
    }
    aggregates_alike::<Stats>("stats", &json!({"column": "decimal", "mean_scale": 18}));
}
