//! `filter` in the sandbox.

use filter::Filter;
use serde_json::json;

use super::alike::transforms_alike;
use super::{LIMITS, load, passthrough};

#[test]
fn a_condition_holds_in_the_sandbox_where_it_holds_natively() {
    for condition in [
        "int64 > 0 or `boolean` and utf8 < 'm'",
        "decimal between -1000000 and 99999.5 or decimal is null",
        "float64 <> 0.5 and float64 * 2 > decimal",
        "`timestamp` >= '2024-02-29' or `date` < '1970-01-01'",
        "not (utf8 like '%a_' or `binary` = '00ff') and utf8 in ('', 'a', 'b')",
    ] {
        for otherwise in ["drop", "reject"] {
            transforms_alike::<Filter>(
                "filter",
                &json!({"where": condition, "otherwise": otherwise}),
            );
        }
    }
}

#[test]
fn what_cannot_be_computed_is_rejected_there_too() {
    let condition = "int64 * int64 * int64 / int64 > decimal";
    transforms_alike::<Filter>("filter", &json!({"where": condition}));
}

#[test]
fn a_mistake_in_the_condition_arrives_with_its_place() {
    let refusal = |condition: String| {
        let config = json!({"where": condition});
        let error = load("filter").transform("stage", &passthrough::input(), &config, &LIMITS);
        error.unwrap_err().to_string()
    };
    let message = refusal("int64 > 0 and int46 < 1".to_owned());
    let expected =
        "`where`, character 15: there is no column `int46`: the input has boolean, int64";
    assert!(message.contains(expected), "{message}");
    let deep = refusal(format!("{}boolean", "(".repeat(5_000)));
    assert!(deep.contains("nested deeper than 50"), "{deep}");
}

#[test]
fn the_stack_of_the_sandbox_is_enough_for_every_condition_that_is_accepted() {
    let deep = format!("{}`boolean`{}", "not (".repeat(50), ")".repeat(50));
    let nested = (0..50).fold("int64".to_owned(), |inner, _| format!("({inner} + 1 - 2)"));
    for condition in [
        deep,
        vec!["int64 = 7"; 2_000].join(" and "),
        format!("{nested} > 7"),
        format!("int64 in ({})", vec!["7"; 2_000].join(", ")),
    ] {
        transforms_alike::<Filter>("filter", &json!({"where": condition}));
    }
}
