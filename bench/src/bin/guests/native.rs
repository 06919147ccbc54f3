//! Natively: the guests' own code, compiled for this machine.

use currency::Currency;
use currency_by_hand::config::Config;
use currency_by_hand::converter::{Amounts, Codes, Converter};
use totals::Totals;
use totals_by_hand::sums;
use wasmill_guest::{
    AggregateRows, Batch, Column, ColumnAggregate, ColumnTransform, DataType, Field, Folded,
    TransformRows, Values, VarBytes,
};

use crate::{
    GROUPS, ROWS, amount, code, compare, currency_config, groups, is_present, timed, totals_config,
};

pub(crate) fn run() -> anyhow::Result<()> {
    currency("currency, native", None)?;
    let validity = || {
        Some(
            (0..ROWS)
                .map(|row| u8::from(is_present(row)))
                .collect::<Vec<u8>>(),
        )
    };
    totals("totals, native", None)?;
    totals("totals with nulls, native", validity().as_deref())
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
            Column::new(Values::Bytes(codes.clone())),
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
    let values = amounts();

    compare(
        name,
        &mut || {
            let (took, converted) = timed(|| {
                by_hand.convert(
                    Amounts {
                        values: &values,
                        validity: batch.columns[0].validity.as_deref(),
                    },
                    Codes {
                        offsets: &codes.offsets,
                        bytes: &codes.bytes,
                        validity: None,
                    },
                )
            });
            Ok((took, converted.cents.iter().sum()))
        },
        &mut || {
            let batch = batch.clone();
            let (took, changes) = timed(|| sdk.apply(batch));
            let changes = changes.map_err(anyhow::Error::msg)?;
            Ok((took, sum(&changes.columns[0])))
        },
    )
}

fn totals(name: &str, validity: Option<&[u8]>) -> anyhow::Result<()> {
    let input = [Field::nullable("amount", DataType::Decimal(2))];
    let config = serde_json::from_value(totals_config())?;
    let (sdk, _) =
        AggregateRows::<Totals>::configure(&input, config).map_err(anyhow::Error::msg)?;
    let batch = Batch {
        rows: ROWS as u32,
        columns: vec![Column {
            values: Values::I64s(amounts()),
            validity: validity.map(<[u8]>::to_vec),
        }],
    };
    let (groups, values) = (groups(), amounts());

    compare(
        name,
        &mut || {
            let (took, sums) = timed(|| sums::fold(&groups, GROUPS, &values, validity));
            Ok((took, sums.map_or(0, |sums| sums.sums.iter().sum())))
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

fn sum(column: &Column) -> i64 {
    match &column.values {
        Values::I64s(values) => values.iter().sum(),
        _ => 0,
    }
}
