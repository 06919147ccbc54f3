//! The column level over rows.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use wasmill_guest::testing::{self, AggregateGuest};

use super::*;

fn top(config: Value) -> Result<AggregateGuest<Top>, String> {
    let input = testing::fields(&[
        ("brand", "utf8?"),
        ("product", "int64"),
        ("amount", "decimal(2)?"),
        ("ratio", "float64"),
    ]);
    testing::column_aggregate(&input, config)
}

fn row(brand: &str, amount: &str) -> Value {
    json!({"brand": brand, "product": 7, "amount": amount, "ratio": 0.5})
}

fn by_amount() -> Value {
    json!({"column": "brand", "weight": "amount", "k": 2})
}

#[test]
fn the_heaviest_values_are_listed_with_their_weights() {
    let rows = [
        row("a", "1.50"),
        row("b", "9.00"),
        row("a", "8.00"),
        row("c", "0.01"),
    ];
    let output = top(by_amount()).unwrap().run(&[0, 0, 0, 0], &rows).unwrap();
    assert_eq!(
        output,
        [json!({
            "top": r#"[{"value":"a","weight":9.50},{"value":"b","weight":9.00}]"#,
            "error": "0.00",
        })]
    );
}

#[test]
fn without_a_weight_rows_are_counted() {
    let rows = [row("a", "1"), row("b", "1"), row("b", "1")];
    let guest = top(json!({"column": "brand", "k": 1})).unwrap();
    let output = guest.run(&[0, 0, 0], &rows).unwrap();
    assert_eq!(
        output,
        [json!({"top": r#"[{"value":"b","weight":2}]"#, "error": 0})]
    );
}

#[test]
fn integers_are_ranked_too() {
    let guest = top(json!({"column": "product"})).unwrap();
    let output = guest.run(&[0, 0], &[row("a", "1"), row("b", "1")]).unwrap();
    assert_eq!(output[0]["top"], r#"[{"value":7,"weight":2}]"#);
}

#[test]
fn a_value_is_escaped_as_json_has_it() {
    let guest = top(json!({"column": "brand"})).unwrap();
    let output = guest.run(&[0], &[row("\"é\"\n", "1")]).unwrap();
    assert_eq!(
        output[0]["top"],
        "[{\"value\":\"\\\"é\\\"\\n\",\"weight\":1}]"
    );
}

#[test]
fn what_is_missing_or_weighs_nothing_leaves_no_trace() {
    let rows = [
        json!({"brand": null, "product": 1, "amount": "1", "ratio": 0.0}),
        json!({"brand": "a", "product": 1, "amount": null, "ratio": 0.0}),
        row("b", "0"),
    ];
    let output = top(by_amount()).unwrap().run(&[0, 0, 0], &rows).unwrap();
    assert_eq!(output, [json!({"top": "[]", "error": "0.00"})]);
}

#[test]
fn a_negative_weight_and_a_long_value_reject_their_rows() {
    let rows = [
        row("a", "1"),
        row("a", "-0.50"),
        row(&"x".repeat(1_025), "1"),
    ];
    let Ok(Folded::Rejected(rejections)) = top(by_amount()).unwrap().fold(&[0, 0, 0], &rows) else {
        panic!("two rows are rejected");
    };
    let reasons: Vec<_> = rejections
        .iter()
        .map(|r| (r.row, r.reason.as_str()))
        .collect();
    assert_eq!(
        reasons,
        [
            (1, "the weight `amount` is -0.50, and has to be 0 or more"),
            (2, "`brand` has 1025 bytes, and may have 1024"),
        ]
    );
}

#[test]
fn a_sum_that_does_not_fit_is_an_error_that_names_the_weight() {
    let most = "9999999999999999.99";
    let error = top(by_amount())
        .unwrap()
        .run(&[0, 0], &[row("a", most), row("a", "0.01")])
        .unwrap_err();
    assert_eq!(
        error,
        "the sum of `amount` for a value has more digits than decimal(2) can have"
    );
}

#[test]
fn a_state_has_no_more_values_than_its_capacity() {
    let guest = top(json!({"column": "brand", "k": 1, "capacity": 3})).unwrap();
    let rows: Vec<_> = (0..1_000)
        .map(|i| row(&format!("{:03}", i % 100), "1"))
        .collect();
    let state = guest.states(&vec![0; rows.len()], &rows).unwrap();
    let Values::Bytes(entries) = &state.columns[1].values else {
        panic!("entries are bytes");
    };
    assert!(entries.bytes.len() <= 1 + 3 * (10 + 3));
    assert_eq!(state.columns[0].values, Values::I64s(vec![10]));
}

#[test]
fn states_of_another_version_or_type_are_not_read_and_damaged_ones_neither() {
    let guest = top(by_amount()).unwrap();
    let state = guest.contract().state.clone();
    assert!(guest.migrate(1, &state, &[]).is_ok());
    assert!(
        guest
            .migrate(2, &state, &[])
            .unwrap_err()
            .contains("version 2 cannot be read")
    );
    let other = top(json!({"column": "product", "weight": "amount"})).unwrap();
    assert_eq!(
        other.migrate(1, &state, &[]).unwrap_err(),
        "the stored states are not those of int64 values with weights of type decimal(2)"
    );
    let damaged = Batch {
        rows: 1,
        columns: vec![
            Column::new(Values::I64s(vec![0])),
            Column::new(Values::Bytes(["\u{1}!"].into_iter().collect())),
        ],
    };
    assert_eq!(
        guest.merge(&[0], damaged.clone()).unwrap_err(),
        "a stored state is damaged"
    );
    assert_eq!(
        guest.finish(damaged).unwrap_err(),
        "a stored state is damaged"
    );
}

#[test]
fn a_config_that_does_not_suit_is_refused() {
    for (config, expected) in [
        (
            json!({"column": "x"}),
            "there is no column `x`: the input has brand, product, amount, ratio",
        ),
        (
            json!({"column": "amount"}),
            "column `amount` is decimal(2): only utf8 and int64 can be ranked (`project` casts others to utf8)",
        ),
        (
            json!({"column": "brand", "weight": "ratio"}),
            "the weight `ratio` has to be a decimal or int64, but is float64",
        ),
        (
            json!({"column": "brand", "k": 0}),
            "`k` is 1 to 10000, not 0",
        ),
        (
            json!({"column": "brand", "k": 5, "capacity": 4}),
            "`capacity` is 5 (`k`) to 10000, not 4",
        ),
        (
            json!({"column": "brand", "capacity": 10_001}),
            "`capacity` is 10 (`k`) to 10000, not 10001",
        ),
    ] {
        assert_eq!(top(config).unwrap_err(), expected);
    }
    let error = top(json!({"column": "brand", "n": 3})).unwrap_err();
    assert!(error.contains("unknown field `n`"), "{error}");
}

/// States of group 0, one after the other.
fn concat(parts: &[Batch]) -> Batch {
    let mut states = States::default();
    for part in parts {
        let (errors, entries) = columns(part).unwrap();
        for (row, &error) in errors.iter().enumerate() {
            states.errors.push(error);
            states.entries.push(entries.get(row));
        }
    }
    states.into_batch()
}

fn sales() -> impl Strategy<Value = Vec<(u8, u16)>> {
    prop::collection::vec((0_u8..12, 0_u16..500), 1..40)
}

fn as_rows(sales: &[(u8, u16)]) -> Vec<Value> {
    let row = |&(brand, cents): &(u8, u16)| {
        row(
            &format!("b{brand}"),
            &format!("{}.{:02}", cents / 100, cents % 100),
        )
    };
    sales.iter().map(row).collect()
}

proptest! {
    #[test]
    fn the_laws_hold_while_the_values_fit(sales in sales()) {
        top(json!({"column": "brand", "weight": "amount", "capacity": 12}))
            .unwrap()
            .check_laws(&as_rows(&sales))
            .unwrap();
    }

    #[test]
    fn beyond_the_capacity_weights_are_within_the_error_in_every_order(
        parts in prop::collection::vec(sales(), 1..6),
        capacity in 1_u32..6,
        at_once in any::<bool>(),
        backwards in any::<bool>(),
    ) {
        let config = json!({"column": "brand", "weight": "amount", "k": capacity, "capacity": capacity});
        let guest = top(config).unwrap();
        let mut states: Vec<_> = (parts.iter())
            .map(|part| guest.states(&vec![0; part.len()], &as_rows(part)).unwrap())
            .collect();
        if backwards {
            states.reverse();
        }
        let state = if at_once {
            guest.merge(&vec![0; states.len()], concat(&states)).unwrap()
        } else {
            states.into_iter().reduce(|a, b| guest.merge(&[0, 0], concat(&[a, b])).unwrap()).unwrap()
        };

        let mut truth: BTreeMap<String, i64> = BTreeMap::new();
        for (brand, cents) in parts.iter().flatten() {
            *truth.entry(format!("b{brand}")).or_default() += i64::from(*cents);
        }
        let (errors, entries) = columns(&state).unwrap();
        prop_assert!(errors[0] * i64::from(capacity + 1) <= truth.values().sum());
        let mut said = Vec::new();
        layout::read(entries.get(0), &mut said).unwrap();
        prop_assert!(said.len() <= capacity as usize);
        for (brand, weight) in truth {
            let said = said.iter().find(|entry| entry.value == brand.as_bytes());
            let said = said.map_or(0, |entry| entry.weight as i64);
            prop_assert!(said <= weight && weight <= said + errors[0], "{brand}: {said}, {weight}");
        }
    }
}
