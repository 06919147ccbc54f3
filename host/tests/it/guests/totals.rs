//! `totals` in the sandbox.

use std::cell::RefCell;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal64Type, Int64Type};
use arrow_array::{ArrayRef, Decimal64Array, RecordBatch};
use arrow_select::concat::concat_batches;
use proptest::prelude::*;
use serde_json::{Value, json};

use totals::Totals;
use wasmill::guest::{AggregateGuest, Folded};
use wasmill::schema::{DataType, Schema};
use wasmill_guest::{AggregateRows, ColumnAggregate};

use super::{LIMITS, MOST, in_the_middle, load, natively, schema};

const GROUPS: u32 = 5;

/// States, one a group.
#[derive(Debug, PartialEq, Eq)]
struct Sums {
    /// unscaled
    sums: Vec<i64>,
    counts: Vec<i64>,
}

/// A group and a value.
type Row = (u32, Option<i64>);

fn input() -> Schema {
    schema(&[("amount", DataType::Decimal(2))])
}

fn guest() -> AggregateGuest {
    let config = json!({"column": "amount"});
    let guest = load("totals").aggregate("sales_per_day", &input(), &config, &LIMITS);
    guest.unwrap()
}

fn batch(rows: &[Row]) -> RecordBatch {
    let values: Decimal64Array = rows.iter().map(|row| row.1).collect();
    let values: ArrayRef = Arc::new(values.with_precision_and_scale(18, 2).unwrap());
    RecordBatch::try_new(input().arrow().clone(), vec![values]).unwrap()
}

fn fold(guest: &mut AggregateGuest, rows: &[Row], batch: &RecordBatch) -> RecordBatch {
    let groups: Vec<u32> = rows.iter().map(|row| row.0).collect();
    match guest.fold(&groups, GROUPS, batch).unwrap() {
        Folded::States(states) => states,
        Folded::Rejected(rejections) => panic!("{rejections:?}"),
    }
}

/// The same guest, in this process.
fn native() -> AggregateRows<Totals> {
    let config = serde_json::from_value(json!({"column": "amount"})).unwrap();
    let fields = natively::fields(&input());
    AggregateRows::configure(&fields, config).unwrap().0
}

fn fold_natively(guest: &AggregateRows<Totals>, groups: &[u32], batch: &RecordBatch) -> Sums {
    let folded = guest.fold(groups, GROUPS, natively::batch(batch)).unwrap();
    let wasmill_guest::Folded::States(states) = folded else {
        panic!("{folded:?}");
    };
    let [sums, counts] = states.columns.try_into().unwrap();
    Sums {
        sums: natively::i64s(sums),
        counts: natively::i64s(counts),
    }
}

/// Merges states of all groups.
fn merge(guest: &mut AggregateGuest, parts: &[&RecordBatch]) -> RecordBatch {
    let groups: Vec<u32> = parts.iter().flat_map(|_| 0..GROUPS).collect();
    let parts = concat_batches(&parts[0].schema(), parts.iter().copied()).unwrap();
    guest.merge(&groups, GROUPS, &parts).unwrap()
}

fn as_sums(states: &RecordBatch) -> Sums {
    Sums {
        sums: states
            .column(0)
            .as_primitive::<Decimal64Type>()
            .values()
            .to_vec(),
        counts: states
            .column(1)
            .as_primitive::<Int64Type>()
            .values()
            .to_vec(),
    }
}

/// Each group occurs, as the contract says.
fn rows() -> impl Strategy<Value = Vec<Row>> {
    let value = || prop::option::weighted(0.9, -MOST / 1000..=MOST / 1000);
    let first = prop::collection::vec(value(), GROUPS as usize);
    let more = prop::collection::vec((0..GROUPS, value()), 0..200);
    (first, more).prop_map(|(first, more)| (0..GROUPS).zip(first).chain(more).collect())
}

#[test]
fn states_in_the_sandbox_are_those_of_the_native_fold() {
    let guest = RefCell::new(guest());
    let native = native();
    proptest!(ProptestConfig::with_cases(64), |(rows in rows(), before in rows())| {
        let batch = in_the_middle(&batch(&rows), &batch(&before));
        let states = fold(&mut guest.borrow_mut(), &rows, &batch);

        let groups: Vec<u32> = rows.iter().map(|row| row.0).collect();
        let native = fold_natively(&native, &groups, &batch);
        prop_assert_eq!(as_sums(&states), native);
    });
}

#[test]
fn the_laws_of_an_aggregate_hold_across_the_border() {
    let guest = RefCell::new(guest());
    proptest!(ProptestConfig::with_cases(64), |(a in rows(), b in rows(), c in rows())| {
        let guest = &mut *guest.borrow_mut();
        let all = [a.clone(), b.clone(), c.clone()].concat();
        let whole = fold(guest, &all, &batch(&all));

        let a = fold(guest, &a, &batch(&a));
        let b = fold(guest, &b, &batch(&b));
        let c = fold(guest, &c, &batch(&c));
        prop_assert_eq!(&merge(guest, &[&a, &b, &c]), &whole);
        prop_assert_eq!(&merge(guest, &[&c, &a, &b]), &whole);
        let left = merge(guest, &[&a, &b]);
        prop_assert_eq!(&merge(guest, &[&left, &c]), &whole);
        let right = merge(guest, &[&b, &c]);
        prop_assert_eq!(&merge(guest, &[&a, &right]), &whole);
    });
}

#[test]
fn finished_states_are_totals_and_counts() {
    let mut guest = guest();
    let rows = [
        (0, Some(5)),
        (1, None),
        (2, Some(7)),
        (3, Some(1)),
        (4, Some(-1)),
        (0, Some(6)),
    ];
    let states = fold(&mut guest, &rows, &batch(&rows));
    let output = guest.finish(&states).unwrap();
    let schema = output.schema();
    let names: Vec<_> = schema.fields().iter().map(|field| field.name()).collect();
    assert_eq!(names, ["total", "count"]);
    assert_eq!(
        schema.field(0).data_type(),
        &DataType::Decimal(2).to_arrow()
    );
    let output = as_sums(&output);
    assert_eq!(output.sums, [11, 0, 7, 1, -1]);
    assert_eq!(output.counts, [2, 0, 1, 1, 1]);
}

#[test]
fn a_sum_that_is_too_large_is_an_error_and_the_next_batch_is_folded() {
    let mut guest = guest();
    let rows = [(0, Some(MOST)), (0, Some(1))];
    let error = guest.fold(&[0, 0], 1, &batch(&rows)).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the sum of `amount` in a group has more than 18 digits"),
        "{error}"
    );
    let Folded::States(states) = guest.fold(&[0], 1, &batch(&rows[1..])).unwrap() else {
        panic!("one value can be summed");
    };
    assert_eq!(as_sums(&states).sums, [1]);
}

#[test]
fn what_is_wrong_with_its_config_or_input_arrives_as_text() {
    let component = load("totals");
    let refusal = |config: &Value| {
        let error = component.aggregate("sales_per_day", &input(), config, &LIMITS);
        error.unwrap_err().to_string()
    };
    for (config, expected) in [
        (json!({}), "missing field `column`"),
        (
            json!({"column": "amount", "by": "day"}),
            "unknown field `by`",
        ),
        (
            json!({"column": "total"}),
            "there is no column `total`: the input has amount",
        ),
    ] {
        let message = refusal(&config);
        assert!(message.contains(expected), "{message}");
    }
}
