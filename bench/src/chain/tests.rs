//! Native code has to do what the components do, or comparing their times says nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal64Array, Float64Array, Int64Array,
    RecordBatch, StringArray, TimestampMicrosecondArray,
};
use serde_json::json;
use wasmill::aggregate::AggregateLogic;
use wasmill::config::Limits;
use wasmill::guest::{Component, Folded, GuestEngine};
use wasmill::schema::{DataType, Field, Schema};
use wasmill::transform::TransformLogic;

use super::columns::{lift_batch, lower};
use super::native::{NativeAggregate, NativeTransform};

const LIMITS: Limits = Limits {
    memory: 64 << 20,
    time: Duration::from_mins(1),
    output: 8 << 20,
};

/// One of the components that `cargo xtask guests` builds.
fn component(name: &str) -> Component {
    let guests = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/guests");
    let engine = GuestEngine::new(None).unwrap();
    let path = guests.join(name).with_extension("wasm");
    engine.load(name, &path).unwrap()
}

fn batch(schema: &Schema, columns: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_new(Arc::clone(schema.arrow()), columns).unwrap()
}

fn decimals(values: Vec<Option<i64>>) -> ArrayRef {
    let decimals = Decimal64Array::from(values).with_precision_and_scale(18, 2);
    Arc::new(decimals.unwrap())
}

#[test]
#[ignore = "needs components: `cargo xtask guests`"]
fn currency_answers_as_its_component_does() {
    let schema = Schema::new(vec![
        Field::new("currency", DataType::Utf8, false),
        Field::new("total_amount", DataType::Decimal(2), false),
    ])
    .unwrap();
    let config = json!({"base": "USD", "rates": {"EUR": "1.08", "GBP": "1.27"}});
    let mut guest = component("currency")
        .transform("sales", &schema, &config, &LIMITS)
        .unwrap();
    let mut native = NativeTransform::new(&guest, &schema, &config).unwrap();
    let codes = ["EUR", "USD", "XXX", "GBP", "EUR", "USD"];
    let amounts = [1, 250, 7, -1_999, 100_000_001, 0].map(Some);
    let rows = batch(
        &schema,
        vec![
            Arc::new(StringArray::from(codes.to_vec())),
            decimals(amounts.to_vec()),
        ],
    );
    let needs = rows.project(&guest.contract().needs).unwrap();
    for rows in [needs.slice(0, 6), needs.slice(3, 3)] {
        let (theirs, ours) = (guest.apply(&rows).unwrap(), native.apply(&rows).unwrap());
        assert_eq!(theirs.columns, ours.columns);
        assert_eq!(theirs.rejections, ours.rejections);
    }
}

#[test]
#[ignore = "needs components: `cargo xtask guests`"]
fn totals_answer_as_their_component_does() {
    let schema = Schema::new(vec![Field::new("amount", DataType::Decimal(2), true)]).unwrap();
    let config = json!({"column": "amount"});
    let mut guest = component("totals")
        .aggregate("totals", &schema, &config, &LIMITS)
        .unwrap();
    let mut native = NativeAggregate::new(&guest, &schema, &config).unwrap();
    let amounts = vec![Some(1), None, Some(-7), Some(1_000), Some(3)];
    let rows = batch(&schema, vec![decimals(amounts)]);
    let groups = [0, 1, 0, 2, 1];
    let theirs = guest.fold(&groups, 3, &rows).unwrap();
    assert_eq!(theirs, native.fold(&groups, 3, &rows).unwrap());
    let Folded::States(states) = theirs else {
        panic!("{theirs:?}");
    };
    let merged = guest.merge(&[0, 1, 0], 2, &states).unwrap();
    assert_eq!(merged, native.merge(&[0, 1, 0], 2, &states).unwrap());
    assert_eq!(
        guest.finish(&merged).unwrap(),
        native.finish(&merged).unwrap()
    );
}

#[test]
fn columns_of_every_type_come_back_as_they_were() {
    let types = [
        DataType::Boolean,
        DataType::Int64,
        DataType::Float64,
        DataType::Decimal(2),
        DataType::Utf8,
        DataType::Binary,
        DataType::Timestamp,
        DataType::Date,
    ];
    let fields = types.iter().map(|ty| Field::new(ty.to_string(), *ty, true));
    let schema = Schema::new(fields.collect()).unwrap();
    let rows = batch(
        &schema,
        vec![
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
            Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])),
            Arc::new(Float64Array::from(vec![Some(0.5), None, Some(-1.0)])),
            decimals(vec![Some(100), None, Some(-1)]),
            Arc::new(StringArray::from(vec![Some("a"), None, Some("größer")])),
            Arc::new(BinaryArray::from(vec![
                Some(&b"\0"[..]),
                None,
                Some(b"xyz"),
            ])),
            Arc::new(
                TimestampMicrosecondArray::from(vec![Some(1), None, Some(2)]).with_timezone("UTC"),
            ),
            Arc::new(Date32Array::from(vec![Some(1), None, Some(-1)])),
        ],
    );
    for rows in [rows.slice(0, 3), rows.slice(1, 2), rows.slice(2, 0)] {
        assert_eq!(lift_batch(&schema, lower(&rows).unwrap()).unwrap(), rows);
    }
}
