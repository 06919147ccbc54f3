//! Natively: the guests' own code, compiled for this machine.

use anyhow::Context;
use currency::Currency;
use currency_by_hand::config::Config;
use currency_by_hand::converter::{Amounts, Codes, Converted, Converter};
use totals::Totals;
use totals_by_hand::sums::{self, Sums};
use wasmill_guest::{
    AggregateRows, Batch, Column, ColumnAggregate, ColumnTransform, DataType, Field, Folded,
    TransformRows, Values, VarBytes,
};

use crate::{
    GROUPS, ROWS, amount, code, compare, currency_config, groups, is_present, timed, totals_config,
};

pub(crate) fn run() -> anyhow::Result<()> {
    currency("currency, native", None)?;
    let validity = || Some((0..ROWS).map(|row| u8::from(is_present(row))).collect());
    totals("totals, native", None)?;
    totals("totals with nulls, native", validity())
}

fn amounts() -> Vec<i64> {
    (0..ROWS).map(amount).collect()
}

fn currency(name: &str, validity: Option<Vec<u8>>) -> anyhow::Result<()> {
    let codes: VarBytes = (0..ROWS).map(code).collect();
    let batch = Batch {
        rows: ROWS as u32,
        columns: vec![
            Column {
                values: Values::I64s(amounts()),
                validity,
            },
            Column::new(Values::Bytes(codes)),
        ],
    };
    let input = [
        Field::nullable("total_amount", DataType::Decimal(2)),
        Field::nullable("currency", DataType::Utf8),
    ];
    let config = serde_json::from_value(currency_config())?;
    let (sdk, _) =
        TransformRows::<Currency>::configure(&input, config).map_err(anyhow::Error::msg)?;
    let config = Config::parse(&currency_config().to_string()).map_err(anyhow::Error::msg)?;
    let by_hand = Converter::new(config, 2);

    compare(
        name,
        &mut || {
            let batch = batch.clone();
            let (took, converted) = timed(|| convert_by_hand(&by_hand, batch));
            Ok((took, converted?.cents.iter().sum()))
        },
        &mut || {
            let batch = batch.clone();
            let (took, changes) = timed(|| sdk.apply(batch));
            let changes = changes.map_err(anyhow::Error::msg)?;
            Ok((took, sum(&changes.columns[0])))
        },
    )
}

/// Takes the batch over, and drops it, as a guest does.
#[expect(
    clippy::needless_pass_by_value,
    reason = "to drop it is measured on both sides"
)]
fn convert_by_hand(converter: &Converter, batch: Batch) -> anyhow::Result<Converted> {
    let [amounts, codes] = batch.columns.as_slice() else {
        anyhow::bail!("other columns");
    };
    let (Values::I64s(values), Values::Bytes(bytes)) = (&amounts.values, &codes.values) else {
        anyhow::bail!("other columns");
    };
    Ok(converter.convert(
        Amounts {
            values,
            validity: amounts.validity.as_deref(),
        },
        Codes {
            offsets: &bytes.offsets,
            bytes: &bytes.bytes,
            validity: codes.validity.as_deref(),
        },
    ))
}

fn totals(name: &str, validity: Option<Vec<u8>>) -> anyhow::Result<()> {
    let input = [Field::nullable("amount", DataType::Decimal(2))];
    let config = serde_json::from_value(totals_config())?;
    let (sdk, _) =
        AggregateRows::<Totals>::configure(&input, config).map_err(anyhow::Error::msg)?;
    let batch = Batch {
        rows: ROWS as u32,
        columns: vec![Column {
            values: Values::I64s(amounts()),
            validity,
        }],
    };
    let groups = groups();

    compare(
        name,
        &mut || {
            let batch = batch.clone();
            let (took, sums) = timed(|| fold_by_hand(&groups, batch));
            Ok((took, sums?.sums.iter().sum()))
        },
        &mut || {
            let batch = batch.clone();
            let (took, folded) = timed(|| sdk.fold(&groups, GROUPS, batch));
            match folded {
                Ok(Folded::States(states)) => Ok((took, sum(&states.columns[0]))),
                other => anyhow::bail!("{other:?}"),
            }
        },
    )
}

/// Takes the batch over, and drops it, as a guest does.
#[expect(
    clippy::needless_pass_by_value,
    reason = "to drop it is measured on both sides"
)]
fn fold_by_hand(groups: &[u32], batch: Batch) -> anyhow::Result<Sums> {
    let [
        Column {
            values: Values::I64s(values),
            validity,
        },
    ] = batch.columns.as_slice()
    else {
        anyhow::bail!("other columns");
    };
    let sums = sums::fold(groups, GROUPS, values, validity.as_deref());
    sums.context("a sum is too large")
}

fn sum(column: &Column) -> i64 {
    match &column.values {
        Values::I64s(values) => values.iter().sum(),
        _ => 0,
    }
}
