//! Configs over rows.

use serde_json::{Value, json};
use wasmill_guest::testing::{self, TransformGuest};

use super::*;

fn project(config: Value) -> Result<TransformGuest<Project>, String> {
    let input = testing::fields(&[
        ("id", "utf8"),
        ("amount", "decimal(2)?"),
        ("quantity", "int64"),
        ("note", "utf8?"),
    ]);
    testing::column_transform(&input, config)
}

fn columns(config: Value) -> Vec<String> {
    let guest = project(config).unwrap();
    let output = guest.output();
    output
        .iter()
        .map(|field| format!("{} {}", field.name, field.ty))
        .collect()
}

#[test]
fn columns_are_kept_or_dropped() {
    assert_eq!(
        columns(json!({"keep": ["quantity", "id"]})),
        ["id utf8", "quantity int64"]
    );
    assert_eq!(
        columns(json!({"drop": ["note", "id"]})),
        ["amount decimal(2)", "quantity int64"]
    );
    let guest = project(json!({"drop": ["note"]})).unwrap();
    assert!(
        guest.contract().needs.is_empty(),
        "nothing crosses the border"
    );
}

#[test]
fn a_renamed_column_stands_behind_the_others() {
    let names = columns(json!({"rename": {"amount": "total"}}));
    assert_eq!(
        names,
        ["id utf8", "quantity int64", "note utf8", "total decimal(2)"]
    );
}

#[test]
fn names_may_be_swapped_and_taken_over() {
    let names = columns(json!({"rename": {"id": "note", "note": "id"}}));
    assert_eq!(
        names,
        [
            "id utf8",
            "amount decimal(2)",
            "quantity int64",
            "note utf8"
        ]
    );
    let swapped = project(json!({"rename": {"id": "note", "note": "id"}})).unwrap();
    let rows = [json!({"id": "a", "amount": "1", "quantity": 1, "note": "b"})];
    let after = swapped.apply(&rows).unwrap();
    assert_eq!(
        after.rows,
        [json!({"id": "b", "amount": "1.00", "quantity": 1, "note": "a"})]
    );
    let names = columns(json!({"drop": ["id"], "rename": {"note": "id"}}));
    assert_eq!(names, ["id utf8", "amount decimal(2)", "quantity int64"]);
}

#[test]
fn a_cast_replaces_the_column_in_its_place() {
    let config =
        json!({"cast": {"quantity": "decimal(1)", "amount": "utf8"}, "rename": {"amount": "text"}});
    let guest = project(config).unwrap();
    let rows = [
        json!({"id": "a", "amount": "1.5", "quantity": 3}),
        json!({"id": "b", "amount": null, "quantity": 4}),
    ];
    let after = guest.apply(&rows).unwrap();
    assert_eq!(
        after.rows,
        [
            json!({"id": "a", "quantity": "3.0", "note": null, "text": "1.50"}),
            json!({"id": "b", "quantity": "4.0", "note": null, "text": null}),
        ]
    );
}

#[test]
fn a_value_that_does_not_fit_rejects_its_row_once() {
    let guest =
        project(json!({"cast": {"id": "int64", "amount": "int64", "note": "date"}})).unwrap();
    let row = |id: &str, amount: &str, note: Value| json!({"id": id, "amount": amount, "quantity": 1, "note": note});
    let after = guest
        .apply(&[
            row("1", "2", json!(null)),
            row("x", "2.5", json!(null)),
            row("3", "4", json!("tomorrow")),
            row("5", "6", json!("2025-03-01")),
        ])
        .unwrap();
    assert_eq!(
        after.rows,
        [
            json!({"id": 1, "amount": 2, "quantity": 1, "note": null}),
            json!({"id": 5, "amount": 6, "quantity": 1, "note": "2025-03-01"}),
        ]
    );
    let reasons: Vec<_> = after
        .rejections
        .iter()
        .map(|r| (r.row, r.reason.as_str()))
        .collect();
    assert_eq!(
        reasons,
        [
            (1, "column `id`: `x` is no int64"),
            (2, "column `note`: `tomorrow` is no date")
        ]
    );
}

#[test]
fn a_cast_rounds_only_where_it_may() {
    let config = json!({"cast": {"amount": "int64"}, "round": ["amount"]});
    let rows = [json!({"id": "a", "amount": "2.50", "quantity": 3})];
    let after = project(config).unwrap().apply(&rows).unwrap();
    assert_eq!(after.rows[0]["amount"], 2);
}

#[test]
fn a_config_that_contradicts_itself_or_the_input_is_refused() {
    for (config, expected) in [
        (
            json!({"keep": ["id"], "drop": ["note"]}),
            "`keep` and `drop` exclude each other: give one of them",
        ),
        (
            json!({"keep": ["ID"]}),
            "`keep`: there is no column `ID`: the input has id, amount, quantity, note",
        ),
        (
            json!({"drop": ["x"]}),
            "`drop`: there is no column `x`: the input has id, amount, quantity, note",
        ),
        (
            json!({"drop": ["id"], "rename": {"id": "key"}}),
            "`rename`: column `id` is not kept",
        ),
        (
            json!({"keep": ["id"], "cast": {"amount": "int64"}}),
            "`cast`: column `amount` is not kept",
        ),
        (
            json!({"rename": {"id": "note"}}),
            "two columns would have the name `note`",
        ),
        (
            json!({"rename": {"id": "key", "note": "key"}}),
            "two columns would have the name `key`",
        ),
        (
            json!({"cast": {"id": "boolean"}, "round": ["amount"]}),
            "`round`: column `amount` has no cast",
        ),
        (
            json!({"cast": {"quantity": "date"}}),
            "`cast`: column `quantity` is int64, which cannot become date",
        ),
        (json!({"keep": []}), "no column would be left"),
    ] {
        assert_eq!(project(config).unwrap_err(), expected);
    }
    let error = project(json!({"cast": {"id": "string"}})).unwrap_err();
    assert!(
        error.starts_with("`cast`: `id`: no type is called `string`"),
        "{error}"
    );
    let error = project(json!({"renames": {}})).unwrap_err();
    assert!(error.contains("unknown field `renames`"), "{error}");
}
