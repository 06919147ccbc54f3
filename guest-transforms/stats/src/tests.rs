//! The column level over rows.

use proptest::prelude::*;
use serde_json::{Value, json};
use wasmill_guest::testing::{self, AggregateGuest};

use super::*;

fn stats(ty: &str, config: Value) -> Result<AggregateGuest<Stats>, String> {
    testing::column_aggregate(&testing::fields(&[("value", ty), ("note", "utf8")]), config)
}

fn column() -> Value {
    json!({"column": "value"})
}

fn rows<T: Into<Value> + Clone>(values: &[T]) -> Vec<Value> {
    values
        .iter()
        .map(|value| json!({"value": value.clone().into(), "note": ""}))
        .collect()
}

#[test]
fn decimals_have_count_sum_min_max_and_mean() {
    let guest = stats("decimal(2)?", column()).unwrap();
    let rows = rows(&[json!("1.00"), json!("2.00"), json!("2.01"), json!(null)]);
    assert_eq!(
        guest.run(&[0, 0, 0, 1], &rows),
        Ok(vec![
            json!({"count": 3, "sum": "5.01", "min": "1.00", "max": "2.01", "mean": "1.67"}),
            json!({"count": 0, "sum": "0.00", "min": null, "max": null, "mean": null}),
        ])
    );
}

#[test]
fn integers_have_an_integer_sum_and_a_decimal_mean() {
    let guest = stats("int64", column()).unwrap();
    assert_eq!(
        guest.run(&[0, 0, 0], &rows(&[1, 2, 2])),
        Ok(vec![
            json!({"count": 3, "sum": 5, "min": 1, "max": 2, "mean": "1.67"})
        ])
    );
    let guest = stats("int64", json!({"column": "value", "mean_scale": 6})).unwrap();
    assert_eq!(
        guest.run(&[0, 0, 0], &rows(&[1, 2, 2])).unwrap()[0]["mean"],
        "1.666667"
    );
}

#[test]
fn doubles_have_no_sum_and_no_mean() {
    let guest = stats("float64", column()).unwrap();
    assert_eq!(
        guest.run(&[0, 0, 0], &rows(&[0.5, -1.25, 0.1])),
        Ok(vec![json!({"count": 3, "min": -1.25, "max": 0.5})])
    );
    let error = stats("float64", json!({"column": "value", "mean_scale": 2})).unwrap_err();
    assert!(error.contains("declare it as a decimal"), "{error}");
}

#[test]
fn a_value_that_could_make_too_long_a_mean_is_rejected() {
    let guest = stats("int64?", column()).unwrap();
    let most = 9_999_999_999_999_999_i64;
    let good = guest.run(&[0, 0], &rows(&[most, most])).unwrap();
    assert_eq!(good[0]["mean"], "9999999999999999.00");
    let folded = guest.fold(&[0, 0], &rows(&[1, -most - 1]));
    let Ok(Folded::Rejected(rejections)) = folded else {
        panic!("{folded:?}");
    };
    assert_eq!(rejections.len(), 1);
    assert_eq!(rejections[0].row, 1);
    assert_eq!(
        rejections[0].reason,
        "`value` is -10000000000000000: a mean of such values has more than 18 digits, 2 of them after the point"
    );
}

#[test]
fn a_sum_that_does_not_fit_is_an_error_that_names_the_column() {
    let guest = stats("decimal(2)", column()).unwrap();
    let most = "9999999999999999.99";
    let error = guest.run(&[0, 0], &rows(&[most, "0.01"])).unwrap_err();
    assert_eq!(
        error,
        "the sum of `value` in a group has more than 18 digits"
    );
}

#[test]
fn a_config_that_does_not_suit_the_input_is_refused() {
    for (ty, config, expected) in [
        (
            "utf8",
            column(),
            "column `value` has to be a decimal, int64 or float64, but is utf8",
        ),
        (
            "int64",
            json!({"column": "x"}),
            "there is no column `x`: the input has value, note",
        ),
        (
            "decimal(4)",
            json!({"column": "value", "mean_scale": 3}),
            "`mean_scale` is 4 (the scale of column `value`) to 18, not 3",
        ),
        (
            "decimal(4)",
            json!({"column": "value", "mean_scale": 19}),
            "`mean_scale` is 4 (the scale of column `value`) to 18, not 19",
        ),
    ] {
        assert_eq!(stats(ty, config).unwrap_err(), expected);
    }
    let error = stats("int64", json!({"column": "value", "mean": 3})).unwrap_err();
    assert!(error.contains("unknown field `mean`"), "{error}");
}

#[test]
fn states_of_another_version_or_column_type_are_not_read() {
    let guest = stats("decimal(2)", column()).unwrap();
    let state = guest.contract().state.clone();
    let states = [json!({"count": 1, "sum_high": 0, "sum_low": 100, "min": "1.00", "max": "1.00"})];
    assert!(guest.migrate(1, &state, &states).is_ok());
    assert_eq!(
        guest.migrate(2, &state, &states).unwrap_err(),
        "states of version 2 cannot be read: this is version 1"
    );
    let state = stats("decimal(3)", column())
        .unwrap()
        .contract()
        .state
        .clone();
    assert_eq!(
        guest.migrate(1, &state, &[]).unwrap_err(),
        "the stored states are not those of a column of type decimal(2)"
    );
}

proptest! {
    #[test]
    fn the_laws_hold_of_integers(values in prop::collection::vec(prop::option::weighted(0.9, -1_000_000_000_000_i64..1_000_000_000_000), 0..40)) {
        stats("int64?", column()).unwrap().check_laws(&rows(&values)).unwrap();
    }

    #[test]
    fn the_laws_hold_of_decimals(values in prop::collection::vec(-1_000_000_i64..1_000_000, 0..40)) {
        stats("decimal(2)", column()).unwrap().check_laws(&rows(&values)).unwrap();
    }

    #[test]
    fn the_laws_hold_of_doubles(values in prop::collection::vec(prop::num::f64::NORMAL | prop::num::f64::ZERO, 0..40)) {
        stats("float64", column()).unwrap().check_laws(&rows(&values)).unwrap();
    }

    #[test]
    fn it_is_what_one_computes_by_hand(values in prop::collection::vec(-1_000_i64..1_000, 1..40)) {
        let output = stats("int64", column()).unwrap().run(&vec![0; values.len()], &rows(&values)).unwrap();
        prop_assert_eq!(&output[0]["count"], &json!(values.len()));
        prop_assert_eq!(&output[0]["sum"], &json!(values.iter().sum::<i64>()));
        prop_assert_eq!(&output[0]["min"], &json!(values.iter().min()));
        prop_assert_eq!(&output[0]["max"], &json!(values.iter().max()));
    }
}
