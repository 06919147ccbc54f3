//! The guest as the host drives it, natively.

use proptest::prelude::*;
use serde_json::{Value, json};
use wasmill_guest::testing::{self, AggregateGuest, fields};
use wasmill_guest::{AggregateRows, Batch, Column, Values};

use super::*;

const MOST: i64 = 999_999_999_999_999_999;

type Guest = AggregateGuest<AggregateRows<Totals>>;

fn guest(scale: u8) -> Guest {
    let ty = format!("decimal({scale})?");
    let input = fields(&[("id", "utf8"), ("amount", &ty)]);
    testing::aggregate::<Totals>(&input, json!({"column": "amount"})).unwrap()
}

/// Rows of unscaled values.
fn rows(values: &[Option<i64>]) -> Vec<Value> {
    let row = |value: &Option<i64>| {
        let amount = value.map(|value| AnyDecimal::new(value, 2).unwrap());
        json!({"id": "i", "amount": amount})
    };
    values.iter().map(row).collect()
}

fn fold(groups: &[u32], values: &[Option<i64>]) -> Result<Batch, String> {
    guest(2).states(groups, &rows(values))
}

/// Sums and counts.
fn read(states: &Batch) -> (&[i64], &[i64]) {
    match states.columns.as_slice() {
        [
            Column {
                values: Values::I64s(sums),
                validity: None,
            },
            Column {
                values: Values::I64s(counts),
                validity: None,
            },
        ] => (sums, counts),
        other => panic!("{other:?}"),
    }
}

#[test]
fn sums_keep_the_scale_of_their_column() {
    let guest = guest(3);
    let contract = guest.contract();
    assert_eq!(contract.needs, ["amount"]);
    assert_eq!(contract.state_version, 1);
    let state = fields(&[("sum", "decimal(3)"), ("count", "int64")]);
    assert_eq!(contract.state, state);
    let output = fields(&[("total", "decimal(3)"), ("count", "int64")]);
    assert_eq!(contract.output, output);
}

#[test]
fn a_config_error_says_what_was_expected_and_found() {
    let refusal = |config: Value| {
        let input = fields(&[("id", "utf8"), ("amount", "decimal(2)")]);
        testing::aggregate::<Totals>(&input, config).err().unwrap()
    };
    assert!(refusal(json!({})).contains("missing field `column`"));
    assert!(refusal(json!({"column": "a", "by": 1})).contains("unknown field `by`"));
    assert_eq!(
        refusal(json!({"column": "total"})),
        "there is no column `total`: the input has id, amount"
    );
    assert_eq!(
        refusal(json!({"column": "id"})),
        "column `id` has to be a decimal, but is utf8"
    );
}

#[test]
fn rows_are_folded_merged_and_finished() {
    let states = fold(&[0, 1, 0, 2], &[Some(100), Some(20), Some(-5), Some(7)]).unwrap();
    assert_eq!(read(&states), (&[95, 20, 7][..], &[2, 1, 1][..]));
    let merged = guest(2).merge(&[0, 0, 1], states).unwrap();
    assert_eq!(read(&merged), (&[115, 7][..], &[3, 1][..]));
    assert_eq!(
        guest(2).finish(merged).unwrap(),
        [
            json!({"total": "1.15", "count": 3}),
            json!({"total": "0.07", "count": 1})
        ]
    );
}

#[test]
fn a_missing_value_is_neither_added_nor_counted() {
    let states = fold(&[0, 0, 1], &[Some(100), None, None]).unwrap();
    assert_eq!(read(&states), (&[100, 0][..], &[1, 0][..]));
}

#[test]
fn a_sum_that_is_too_large_is_an_error_that_names_the_column() {
    let expected = Err("the sum of `amount` in a group has more than 18 digits".to_owned());
    assert_eq!(
        read(&fold(&[0, 0], &[Some(MOST), Some(0)]).unwrap()).0,
        [MOST]
    );
    assert_eq!(fold(&[0, 0], &[Some(MOST), Some(1)]), expected);
    assert_eq!(fold(&[0, 0], &[Some(-MOST), Some(-1)]), expected);
    let parts = fold(&[0, 1], &[Some(MOST), Some(1)]).unwrap();
    assert_eq!(guest(2).merge(&[0, 0], parts), expected);
}

#[test]
fn a_sum_may_be_large_on_the_way() {
    let values = [[Some(MOST); 20], [Some(-MOST); 20]].concat();
    let states = fold(&[0; 40], &values).unwrap();
    assert_eq!(read(&states), (&[0][..], &[40][..]));
}

#[test]
fn a_count_beyond_64_bits_is_an_error() {
    let column = |values: &[i64]| Column::new(Values::I64s(values.to_vec()));
    let parts = Batch {
        rows: 2,
        columns: vec![column(&[0, 0]), column(&[i64::MAX, 1])],
    };
    assert_eq!(
        guest(2).merge(&[0, 0], parts),
        Err("`count` does not fit into 64 bits".to_owned())
    );
}

#[test]
fn states_of_this_version_and_shape_migrate_unchanged() {
    let guest = guest(2);
    let state = [json!({"sum": "0.05", "count": 1})];
    let own = guest.contract().state.clone();
    assert_eq!(guest.migrate(1, &own, &state).unwrap(), state);
}

#[test]
fn states_of_another_version_or_shape_are_refused() {
    let guest = guest(2);
    let own = guest.contract().state.clone();
    assert_eq!(
        guest.migrate(2, &own, &[]),
        Err("states of version 2 cannot be read: this is version 1".to_owned())
    );
    let other = fields(&[("sum", "decimal(3)"), ("count", "int64")]);
    assert_eq!(
        guest.migrate(1, &other, &[]),
        Err(
            "the stored states are sum decimal(3), count int64, and those of this version 1 are sum \
             decimal(2), count int64"
                .to_owned()
        )
    );
}

type TestRow = (u32, Option<i64>);

const GROUPS: u32 = 4;

/// Every group occurs.
fn grouped() -> impl Strategy<Value = Vec<TestRow>> {
    let value = || prop::option::weighted(0.9, -MOST / 100..=MOST / 100);
    let first = prop::collection::vec(value(), GROUPS as usize);
    let more = prop::collection::vec((0..GROUPS, value()), 0..50);
    (first, more).prop_map(|(first, more)| (0..GROUPS).zip(first).chain(more).collect())
}

proptest! {
    #[test]
    fn a_fold_is_a_filter_and_a_sum(rows in grouped()) {
        let (groups, values): (Vec<_>, Vec<_>) = rows.iter().copied().unzip();
        let states = fold(&groups, &values).unwrap();
        let (sums, counts) = read(&states);
        for group in 0..GROUPS {
            let present = rows.iter().filter(|row| row.0 == group).filter_map(|row| row.1);
            prop_assert_eq!(sums[group as usize], present.clone().sum::<i64>());
            prop_assert_eq!(counts[group as usize], present.count() as i64);
        }
    }

    #[test]
    fn the_laws_of_an_aggregate_hold(values in prop::collection::vec(prop::option::weighted(0.9, -MOST / 100..=MOST / 100), 0..20)) {
        guest(2).check_laws(&rows(&values)).unwrap();
    }
}
