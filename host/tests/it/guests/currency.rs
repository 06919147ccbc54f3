//! `currency` in the sandbox.

use std::cell::RefCell;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Decimal64Type;
use arrow_array::{Array, ArrayRef, Decimal64Array, RecordBatch, StringArray};
use proptest::prelude::*;
use serde_json::{Value, json};

use currency::Currency;
use wasmill::guest::{Changes, Component, TransformGuest};
use wasmill::schema::{DataType, Schema};
use wasmill_guest::{ColumnTransform, TransformRows};

use super::alike::as_told;
use super::{LIMITS, MOST, in_the_middle, load, natively, schema};

pub(super) type Row = (Option<i64>, Option<String>);

pub(super) fn config() -> Value {
    json!({"base": "USD", "rates": {"EUR": "1.08", "GBP": "1.27", "JPY": 0.0065}})
}

pub(super) fn input(scale: u8) -> Schema {
    schema(&[
        ("total_amount", DataType::Decimal(scale)),
        ("currency", DataType::Utf8),
    ])
}

fn guest(scale: u8) -> TransformGuest {
    let component = load("currency");
    let guest = component.transform("sales", &input(scale), &config(), &LIMITS);
    guest.unwrap()
}

pub(super) fn batch(scale: u8, rows: &[Row]) -> RecordBatch {
    let amounts: Decimal64Array = rows.iter().map(|row| row.0).collect();
    let amounts = amounts.with_precision_and_scale(18, scale.cast_signed());
    let codes: StringArray = rows.iter().map(|row| row.1.as_deref()).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(amounts.unwrap()), Arc::new(codes)];
    RecordBatch::try_new(input(scale).arrow().clone(), columns).unwrap()
}

/// What becomes of a batch: the cents of the rows that were converted, and the other rows, each with why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Converted {
    pub(super) cents: Vec<i64>,
    pub(super) rejections: Vec<(u32, String)>,
}

/// The same guest, in this process.
fn native(scale: u8) -> TransformRows<Currency> {
    let config = serde_json::from_value(config()).unwrap();
    let fields = natively::fields(&input(scale));
    TransformRows::configure(&fields, config).unwrap().0
}

fn convert_natively(guest: &TransformRows<Currency>, batch: &RecordBatch) -> Converted {
    let changes = guest.apply(natively::batch(batch)).unwrap();
    assert_eq!(changes.selection, None);
    let [cents] = changes.columns.try_into().unwrap();
    let rejections = changes.rejections.into_iter();
    Converted {
        cents: natively::i64s(cents),
        rejections: rejections.map(|r| (r.row, as_told(&r.reason))).collect(),
    }
}

/// What the host made of the guest's answer, which has to be about `rows` rows.
pub(super) fn as_converted(changes: &Changes, rows: usize) -> Converted {
    let [cents] = changes.columns.as_slice() else {
        panic!("{} columns", changes.columns.len());
    };
    assert_eq!(cents.data_type(), &DataType::Decimal(2).to_arrow());
    assert_eq!(cents.null_count(), 0);

    let is_rejected = |row: &u32| changes.rejections.iter().any(|r| r.row == *row);
    let kept: Vec<u32> = (0..rows as u32).filter(|row| !is_rejected(row)).collect();
    match &changes.selection {
        Some(selection) => assert!(*selection == kept, "the rejected rows alone are left out"),
        None => assert_eq!(kept.len(), rows, "nothing is left out"),
    }
    Converted {
        cents: cents.as_primitive::<Decimal64Type>().values().to_vec(),
        rejections: (changes.rejections.iter())
            .map(|rejection| (rejection.row, rejection.reason.clone()))
            .collect(),
    }
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let code = prop_oneof![
        8 => prop::sample::select(vec!["USD", "EUR", "GBP", "JPY"]).prop_map(str::to_owned),
        1 => ".{0,8}",
    ];
    // Small amounts and large ones, so that most are converted and some are too large.
    let amount = prop_oneof![4 => -1_000_000_i64..1_000_000, 1 => -MOST..=MOST];
    let row = (
        prop::option::weighted(0.9, amount),
        prop::option::weighted(0.9, code),
    );
    prop::collection::vec(row, 0..200)
}

#[test]
fn a_batch_in_the_sandbox_becomes_what_it_becomes_natively() {
    for scale in [0, 2, 3, 18] {
        let guest = RefCell::new(guest(scale));
        let native = native(scale);
        proptest!(ProptestConfig::with_cases(64), |(rows in rows(), before in rows())| {
            let batch = in_the_middle(&batch(scale, &rows), &batch(scale, &before));
            let changes = guest.borrow_mut().apply(&batch).unwrap();
            prop_assert_eq!(as_converted(&changes, rows.len()), convert_natively(&native, &batch));
        });
    }
}

#[test]
fn a_full_batch_is_converted_and_the_bad_rows_named() {
    let rows: Vec<Row> = (0..8192)
        .map(|i| {
            let code = if i % 100 == 7 { "XXX" } else { "EUR" };
            (Some(i), Some(code.to_owned()))
        })
        .collect();
    let converted = as_converted(&guest(2).apply(&batch(2, &rows)).unwrap(), rows.len());
    assert_eq!(converted.cents.len() + converted.rejections.len(), 8192);
    assert_eq!(converted.cents[..3], [0, 1, 2]);
    let expected = "there is no rate for `currency` `XXX`".to_owned();
    assert_eq!(converted.rejections[1], (107, expected));
}

#[test]
fn its_output_stands_behind_the_columns_of_the_input() {
    let guest = guest(2);
    let contract = guest.contract();
    let names: Vec<_> = (contract.output.fields().iter())
        .map(|field| format!("{} {}", field.name, field.ty))
        .collect();
    assert_eq!(
        names,
        [
            "total_amount decimal(2)",
            "currency utf8",
            "total_amount_base decimal(2)"
        ]
    );
    assert_eq!(contract.needs, [0, 1]);
    assert!(!contract.selects);
}

#[test]
fn what_is_wrong_with_its_config_or_input_arrives_as_text() {
    assert_wrong_settings_are_refused(&load("currency"));
}

/// Of this guest, in whatever language.
pub(super) fn assert_wrong_settings_are_refused(component: &Component) {
    let refusal = |input: &Schema, config: &Value| {
        let error = component.transform("sales", input, config, &LIMITS);
        error.unwrap_err().to_string()
    };
    let good = input(2);
    for (config, expected) in [
        (json!({"rates": {}}), "missing field `base`"),
        (
            json!({"base": "USD", "rates": {}, "rate": 1}),
            "unknown field `rate`",
        ),
        (
            json!({"base": "USD", "rates": {"EUR": "cheap"}}),
            "`rates`: `EUR`: `cheap` is no decimal number",
        ),
        (
            json!({"base": "USD", "rates": {"EUR": 0}}),
            "`rates`: `EUR`: a rate is greater than 0",
        ),
        (
            json!({"base": "USD", "rates": {"EUR": null}}),
            "`rates`: `EUR`: a rate is a string or a number, not null",
        ),
        (
            json!({"base": "USD", "rates": {"EUR": "-1.08"}}),
            "`rates`: `EUR`: `-1.08` is no decimal number",
        ),
        (
            json!({"base": "USD", "rates": {"EUR": "0.1000000000000000055"}}),
            "`rates`: `EUR`: a rate has at most 18 digits: `0.1000000000000000055`",
        ),
        (
            json!({"base": "USD", "rates": {"EUROEURO": 1}}),
            "`rates`: `EUROEURO`: a currency code has 1 to 7 bytes, not 8",
        ),
        (
            json!({"base": "USD", "rates": {"USD": "1.01"}}),
            "`rates`: `USD` is the base, so its rate is 1, not 1.01",
        ),
        (
            json!({"base": "USD", "rates": {}, "amount": "price"}),
            "there is no column `price`: the input has total_amount, currency",
        ),
    ] {
        let message = refusal(&good, &config);
        assert!(message.contains(expected), "{message}");
    }
    let floats = schema(&[
        ("total_amount", DataType::Float64),
        ("currency", DataType::Utf8),
    ]);
    let message = refusal(&floats, &config());
    assert!(
        message.contains("column `total_amount` has to be a decimal, but is float64"),
        "{message}"
    );
}
