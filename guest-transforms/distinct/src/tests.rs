//! The column level over rows.

use proptest::prelude::*;
use serde_json::{Value, json};
use wasmill_guest::testing::{self, AggregateGuest};

use super::*;

fn distinct(ty: &str, config: Value) -> Result<AggregateGuest<Distinct>, String> {
    testing::column_aggregate(&testing::fields(&[("value", ty)]), config)
}

fn column() -> Value {
    json!({"column": "value"})
}

fn rows<T: Into<Value> + Clone>(values: &[T]) -> Vec<Value> {
    values
        .iter()
        .map(|value| json!({"value": value.clone().into()}))
        .collect()
}

#[test]
fn different_values_are_counted_by_group() {
    let guest = distinct("utf8?", column()).unwrap();
    let rows = rows(&[
        json!("a"),
        json!("b"),
        json!("a"),
        json!(null),
        json!("a"),
        json!(null),
    ]);
    assert_eq!(
        guest.run(&[0, 0, 0, 0, 1, 2], &rows),
        Ok(vec![
            json!({"distinct": 2}),
            json!({"distinct": 1}),
            json!({"distinct": 0})
        ])
    );
}

#[test]
fn every_type_can_be_counted() {
    for (ty, values) in [
        ("boolean", [json!(true), json!(false), json!(true)]),
        ("int64", [json!(1), json!(2), json!(1)]),
        ("float64", [json!(0.0), json!(1.5), json!(-0.0)]),
        ("decimal(2)", [json!("1.0"), json!("2"), json!("1.00")]),
        ("utf8", [json!("a"), json!("b"), json!("a")]),
        ("binary", [json!("a"), json!("b"), json!("a")]),
        (
            "timestamp",
            [
                json!("2025-03-01T00:00:00Z"),
                json!(0),
                json!("2025-03-01T00:00:00Z"),
            ],
        ),
        (
            "date",
            [
                json!("2025-03-01"),
                json!("2025-03-02"),
                json!("2025-03-01"),
            ],
        ),
    ] {
        let guest = distinct(ty, column()).unwrap();
        assert_eq!(
            guest.run(&[0, 0, 0], &rows(&values)).unwrap()[0]["distinct"],
            2,
            "{ty}"
        );
    }
}

#[test]
fn what_was_counted_before_is_not_counted_again() {
    let guest = distinct("int64", json!({"column": "value", "precision": 14})).unwrap();
    let whole: Vec<i64> = (0..30_000).collect();
    let mut state = guest
        .states(&vec![0; 5_000], &rows(&whole[..5_000]))
        .unwrap();
    for part in whole.chunks(5_000).chain(whole.chunks(5_000)) {
        let part = guest.states(&vec![0; part.len()], &rows(part)).unwrap();
        let Values::Bytes(mut both) = state.columns[0].values.clone() else {
            panic!("states are bytes");
        };
        let Values::Bytes(part) = &part.columns[0].values else {
            panic!("states are bytes");
        };
        both.push(part.get(0));
        let parts = Batch {
            rows: 2,
            columns: vec![Column::new(Values::Bytes(both))],
        };
        state = guest.merge(&[0, 0], parts).unwrap();
    }
    let count = guest.finish(state).unwrap()[0]["distinct"]
        .as_f64()
        .unwrap();
    // Within three standard errors.
    assert!(
        (count / 30_000.0 - 1.0).abs() < 3.0 * 1.04 / 128.0,
        "{count}"
    );
}

#[test]
fn a_state_tells_its_column_type_and_precision_in_its_name() {
    let state = |ty: &str, precision: u8| {
        let config = json!({"column": "value", "precision": precision});
        distinct(ty, config).unwrap().contract().state[0]
            .name
            .clone()
    };
    assert_eq!(state("utf8", 12), "sketch_utf8_p12");
    assert_eq!(state("decimal(2)", 4), "sketch_decimal2_p4");
}

#[test]
fn states_of_another_version_type_or_precision_are_not_read() {
    let guest = distinct("utf8", column()).unwrap();
    let state = guest.contract().state.clone();
    assert!(guest.migrate(1, &state, &[]).is_ok());
    assert_eq!(
        guest.migrate(2, &state, &[]).unwrap_err(),
        "states of version 2 cannot be read: this is version 1"
    );
    let other = distinct("int64", column())
        .unwrap()
        .contract()
        .state
        .clone();
    assert_eq!(
        guest.migrate(1, &other, &[]).unwrap_err(),
        "the stored states are not those of a column of type utf8 with precision 12"
    );
}

#[test]
fn a_damaged_state_is_an_error() {
    let guest = distinct("utf8", column()).unwrap();
    let states = Batch {
        rows: 1,
        columns: vec![Column::new(Values::Bytes(
            [[1_u8, 12, 9]].into_iter().collect(),
        ))],
    };
    let expected = "a stored sketch is damaged: it has no form that there is";
    assert_eq!(guest.merge(&[0], states.clone()).unwrap_err(), expected);
    assert_eq!(guest.finish(states).unwrap_err(), expected);
}

#[test]
fn a_config_that_does_not_suit_is_refused() {
    for (config, expected) in [
        (
            json!({"column": "x"}),
            "there is no column `x`: the input has value",
        ),
        (
            json!({"column": "value", "precision": 3}),
            "`precision` is 4 to 14, not 3",
        ),
        (
            json!({"column": "value", "precision": 15}),
            "`precision` is 4 to 14, not 15",
        ),
    ] {
        assert_eq!(distinct("utf8", config).unwrap_err(), expected);
    }
    let error = distinct("utf8", json!({"column": "value", "p": 12})).unwrap_err();
    assert!(error.contains("unknown field `p`"), "{error}");
}

proptest! {
    #[test]
    fn the_laws_hold(precision in 4_u8..8, values in prop::collection::vec(prop::option::weighted(0.9, 0_i64..60), 0..60)) {
        let config = json!({"column": "value", "precision": precision});
        distinct("int64?", config).unwrap().check_laws(&rows(&values)).unwrap();
    }

    #[test]
    fn few_values_are_counted_exactly(values in prop::collection::vec(".{0,6}", 0..300)) {
        let expected = values.iter().collect::<std::collections::BTreeSet<_>>().len();
        let guest = distinct("utf8", column()).unwrap();
        let states = guest.states(&vec![0; values.len()], &rows(&values)).unwrap();
        if let Some(row) = guest.finish(states).unwrap().first() {
            prop_assert_eq!(&row["distinct"], &json!(expected));
        }
    }
}
