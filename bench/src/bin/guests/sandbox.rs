//! In the sandbox: components, called as the host calls them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arrow_array::cast::AsArray;
use arrow_array::types::Decimal64Type;
use arrow_array::{ArrayRef, Decimal64Array, RecordBatch, StringArray};
use wasmill::config::Limits;
use wasmill::guest::{AggregateGuest, Component, Folded, GuestEngine, TransformGuest};
use wasmill::schema::{DataType, Field, Schema};

use crate::{
    Call, GROUPS, ROWS, amount, code, compare, currency_config, groups, is_present, timed,
    totals_config,
};

const LIMITS: Limits = Limits {
    memory: 64 << 20,
    time: Duration::from_secs(10),
    output: 8 << 20,
};

const SDK: &str = "target/guests";
const BY_HAND: &str = "target/wasm32-wasip2/release";

pub(crate) fn run() -> anyhow::Result<()> {
    let engine = GuestEngine::new(None)?;
    let load = |folder: &str, name: &str| {
        let path = Path::new(folder).join(format!("{name}.wasm"));
        let loaded = engine.load(name, &path);
        loaded.with_context(|| format!("{} is not there", path.display()))
    };
    let (by_hand, sdk) = (load(BY_HAND, "currency_by_hand")?, load(SDK, "currency")?);
    currency("currency, sandbox", &by_hand, &sdk)?;
    let (by_hand, sdk) = (load(BY_HAND, "totals_by_hand")?, load(SDK, "totals")?);
    totals("totals, sandbox", &by_hand, &sdk, |_| true)?;
    totals("totals with nulls, sandbox", &by_hand, &sdk, is_present)
}

fn amounts(is_present: impl Fn(usize) -> bool) -> anyhow::Result<ArrayRef> {
    let value = |row| is_present(row).then(|| amount(row));
    let amounts: Decimal64Array = (0..ROWS).map(value).collect();
    Ok(Arc::new(amounts.with_precision_and_scale(18, 2)?))
}

fn currency(name: &str, by_hand: &Component, sdk: &Component) -> anyhow::Result<()> {
    let schema = Schema::new(vec![
        Field::new("total_amount", DataType::Decimal(2), true),
        Field::new("currency", DataType::Utf8, true),
    ])?;
    let codes: StringArray = (0..ROWS).map(|row| Some(code(row))).collect();
    let columns: Vec<ArrayRef> = vec![amounts(|_| true)?, Arc::new(codes)];
    let batch = RecordBatch::try_new(schema.arrow().clone(), columns)?;
    let configure =
        |component: &Component| component.transform("sales", &schema, &currency_config(), &LIMITS);
    let (mut by_hand, mut sdk) = (configure(by_hand)?, configure(sdk)?);
    compare(
        name,
        &mut *apply(&mut by_hand, &batch),
        &mut *apply(&mut sdk, &batch),
    )
}

fn apply<'a>(guest: &'a mut TransformGuest, batch: &'a RecordBatch) -> Box<Call<'a>> {
    Box::new(|| {
        let (took, changes) = timed(|| guest.apply(batch));
        Ok((took, sum(&changes?.columns[0])))
    })
}

fn totals(
    name: &str,
    by_hand: &Component,
    sdk: &Component,
    is_present: impl Fn(usize) -> bool,
) -> anyhow::Result<()> {
    let schema = Schema::new(vec![Field::new("amount", DataType::Decimal(2), true)])?;
    let batch = RecordBatch::try_new(schema.arrow().clone(), vec![amounts(is_present)?])?;
    let configure = |component: &Component| {
        component.aggregate("sales_per_day", &schema, &totals_config(), &LIMITS)
    };
    let (mut by_hand, mut sdk) = (configure(by_hand)?, configure(sdk)?);
    compare(
        name,
        &mut *fold(&mut by_hand, &batch),
        &mut *fold(&mut sdk, &batch),
    )
}

fn fold<'a>(guest: &'a mut AggregateGuest, batch: &'a RecordBatch) -> Box<Call<'a>> {
    let groups = groups();
    Box::new(move || {
        let (took, folded) = timed(|| guest.fold(&groups, GROUPS, batch));
        match folded? {
            Folded::States(states) => Ok((took, sum(states.column(0)))),
            Folded::Rejected(rejections) => anyhow::bail!("{rejections:?}"),
        }
    })
}

fn sum(column: &ArrayRef) -> i64 {
    column.as_primitive::<Decimal64Type>().values().iter().sum()
}
