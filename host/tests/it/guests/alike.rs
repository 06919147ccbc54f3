//! The same guest as native code beside the component: what one makes of a batch, the other makes too.
//!
//! The batches are those of [`passthrough`]: a column of each type, with missing values.

use std::cell::RefCell;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal64Array, Float64Array, Int64Array,
    RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow_select::concat::concat_batches;
use proptest::prelude::*;
use serde_json::Value;

use wasmill::guest::{AggregateGuest, Changes, Folded};
use wasmill::schema::{DataType, Field};
use wasmill_guest::{Batch, Column, ColumnAggregate, ColumnTransform, Values, testing};

use super::natively;
use super::passthrough::{self, Row};
use super::{LIMITS, in_the_middle, load};

/// What the host makes of a column that a guest returned.
fn array(column: &Column, ty: DataType) -> ArrayRef {
    let rows = 0..column.values.len();
    let there = |row: &usize| column.is_present(*row);
    match (&column.values, ty) {
        (Values::Bools(flags), _) => {
            let flags: BooleanArray = rows.map(|i| there(&i).then(|| flags[i] != 0)).collect();
            Arc::new(flags)
        }
        (Values::I32s(days), _) => {
            let days: Date32Array = rows.map(|i| there(&i).then(|| days[i])).collect();
            Arc::new(days)
        }
        (Values::F64s(doubles), _) => {
            let doubles: Float64Array = rows.map(|i| there(&i).then(|| doubles[i])).collect();
            Arc::new(doubles)
        }
        (Values::I64s(integers), DataType::Decimal(scale)) => {
            let all: Decimal64Array = rows.map(|i| there(&i).then(|| integers[i])).collect();
            let all = all.with_precision_and_scale(18, scale.cast_signed());
            Arc::new(all.unwrap())
        }
        (Values::I64s(integers), DataType::Timestamp) => {
            let all = rows.map(|i| there(&i).then(|| integers[i]));
            Arc::new(
                all.collect::<TimestampMicrosecondArray>()
                    .with_timezone("UTC"),
            )
        }
        (Values::I64s(integers), _) => {
            let all: Int64Array = rows.map(|i| there(&i).then(|| integers[i])).collect();
            Arc::new(all)
        }
        (Values::Bytes(bytes), DataType::Utf8) => {
            let text = |i| std::str::from_utf8(bytes.get(i)).unwrap();
            let texts: StringArray = rows.map(|i| there(&i).then(|| text(i))).collect();
            Arc::new(texts)
        }
        (Values::Bytes(bytes), _) => {
            let bytes: BinaryArray = rows.map(|i| there(&i).then(|| bytes.get(i))).collect();
            Arc::new(bytes)
        }
    }
}

fn arrays(batch: &Batch, fields: &[Field]) -> Vec<ArrayRef> {
    let columns = batch.columns.iter().zip(fields);
    columns
        .map(|(column, field)| array(column, field.ty))
        .collect()
}

/// The input row of each output row.
fn selected(selection: Option<&Vec<u32>>, rejected: &[u32], rows: usize) -> Vec<u32> {
    let all = (0..rows as u32).filter(|row| !rejected.contains(row));
    selection.map_or_else(|| all.collect(), Clone::clone)
}

/// What the host makes of a guest's words: one line that steers no terminal.
pub(super) fn as_told(words: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    words.chars().map(shown).collect()
}

/// Random batches through a transform, natively and in the sandbox.
pub(super) fn transforms_alike<T: ColumnTransform>(name: &'static str, config: &Value) {
    let native =
        testing::column_transform::<T>(&natively::fields(&passthrough::input()), config.clone())
            .unwrap();
    let guest = load(name).transform("stage", &passthrough::input(), config, &LIMITS);
    let guest = RefCell::new(guest.unwrap());
    let contract = guest.borrow().contract().clone();
    proptest!(ProptestConfig::with_cases(64), |(rows in passthrough::rows(), before in passthrough::rows())| {
        let batch = in_the_middle(&passthrough::batch(&rows), &passthrough::batch(&before));
        let input = batch.project(&contract.needs).unwrap();
        let Changes { selection, columns, rejections } = guest.borrow_mut().apply(&input).unwrap();
        let expected = native.guest().apply(natively::batch(&input)).unwrap();

        let reasons: Vec<_> = rejections.iter().map(|it| (it.row, it.reason.as_str())).collect();
        let natively: Vec<_> = expected.rejections.iter().map(|it| (it.row, as_told(&it.reason))).collect();
        let natively: Vec<_> = natively.iter().map(|(row, reason)| (*row, reason.as_str())).collect();
        prop_assert_eq!(&reasons, &natively);
        let rejected: Vec<u32> = rejections.iter().map(|it| it.row).collect();
        prop_assert_eq!(
            selected(selection.as_ref(), &rejected, rows.len()),
            selected(expected.selection.as_ref(), &rejected, rows.len())
        );
        let expected = Batch { rows: 0, columns: expected.columns };
        prop_assert_eq!(columns, arrays(&expected, &contract.returns));
    });
}

/// How many groups the rows are cut into.
const GROUPS: u32 = 3;

/// Each group occurs, as the contract says.
fn grouped() -> impl Strategy<Value = (Vec<u32>, Vec<Row>)> {
    let enough = |rows: &Vec<Row>| rows.len() >= GROUPS as usize;
    (
        passthrough::rows().prop_filter("too few rows", enough),
        any::<u64>(),
    )
        .prop_map(|(rows, seed)| {
            let group = |row: u64| match row {
                0..3 => row as u32,
                _ => (seed.rotate_left(row as u32 * 7) % u64::from(GROUPS)) as u32,
            };
            ((0..rows.len() as u64).map(group).collect(), rows)
        })
}

fn merge(guest: &mut AggregateGuest, parts: &[&RecordBatch]) -> RecordBatch {
    let groups: Vec<u32> = parts.iter().flat_map(|_| 0..GROUPS).collect();
    let parts = concat_batches(&parts[0].schema(), parts.iter().copied()).unwrap();
    guest.merge(&groups, GROUPS, &parts).unwrap()
}

/// Random batches through an aggregate, natively and in the sandbox; and its laws there.
pub(super) fn aggregates_alike<A: ColumnAggregate>(name: &'static str, config: &Value) {
    let native =
        testing::column_aggregate::<A>(&natively::fields(&passthrough::input()), config.clone())
            .unwrap();
    let guest = load(name).aggregate("stage", &passthrough::input(), config, &LIMITS);
    let guest = RefCell::new(guest.unwrap());
    let contract = guest.borrow().contract().clone();
    proptest!(ProptestConfig::with_cases(64), |((groups_a, a) in grouped(), (groups_b, b) in grouped())| {
        let guest = &mut *guest.borrow_mut();
        let project = |rows: &[Row]| passthrough::batch(rows).project(&contract.needs).unwrap();
        let (a, b) = (project(&a), project(&b));
        let whole = in_the_middle(&concat_batches(&a.schema(), [&a, &b]).unwrap(), &b);
        let groups = [groups_a.clone(), groups_b.clone()].concat();

        let natively = native.guest().fold(&groups, GROUPS, natively::batch(&whole)).unwrap();
        match (guest.fold(&groups, GROUPS, &whole).unwrap(), natively) {
            (Folded::Rejected(rejections), wasmill_guest::Folded::Rejected(natively)) => {
                let reasons: Vec<_> = rejections.into_iter().map(|it| (it.row, it.reason)).collect();
                let natively: Vec<_> = natively.into_iter().map(|it| (it.row, it.reason)).collect();
                prop_assert_eq!(reasons, natively);
            }
            (Folded::States(states), wasmill_guest::Folded::States(natively)) => {
                let fold = |guest: &mut AggregateGuest, groups: &[u32], part: &RecordBatch| {
                    match guest.fold(groups, GROUPS, part).unwrap() {
                        Folded::States(states) => states,
                        Folded::Rejected(rejections) => panic!("{rejections:?}"),
                    }
                };
                let parts = [fold(guest, &groups_a, &a), fold(guest, &groups_b, &b)];
                let merged = merge(guest, &[&parts[0], &parts[1]]);
                prop_assert_eq!(&merged, &states);
                prop_assert_eq!(&merge(guest, &[&parts[1], &parts[0]]), &states);

                prop_assert_eq!(states.columns(), arrays(&natively, contract.state.fields()));
                match (guest.finish(&states), native.guest().finish(natively)) {
                    (Err(error), Err(natively)) => {
                        prop_assert!(error.to_string().contains(&natively), "{error}");
                    }
                    (sandboxed, natively) => {
                        let natively = arrays(&natively.unwrap(), contract.output.fields());
                        prop_assert_eq!(sandboxed.unwrap().columns().to_vec(), natively);
                    }
                }
            }
            (sandboxed, natively) => panic!("{sandboxed:?}, and natively {natively:?}"),
        }
    });
}
