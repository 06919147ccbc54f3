//! The guest as the host drives it, natively.

use proptest::prelude::*;
use serde_json::{Value, json};
use wasmill_guest::testing::{self, TransformGuest};
use wasmill_guest::{DataType, Field, TransformRows};

use super::*;

const MOST: i64 = 999_999_999_999_999_999;

fn sales(scale: u8) -> Vec<Field> {
    vec![
        Field::new("transaction_id", DataType::Utf8),
        Field::nullable("total_amount", DataType::Decimal(scale)),
        Field::nullable("currency", DataType::Utf8),
    ]
}

fn config() -> Value {
    json!({"base": "USD", "rates": {"EUR": "1.08", "GBP": "1.27", "ÆØ": "2", "X": "3"}})
}

fn guest(scale: u8) -> TransformGuest<TransformRows<Currency>> {
    testing::transform(&sales(scale), config()).unwrap()
}

fn refusal(input: &[Field]) -> String {
    let refused = testing::transform::<Currency>(input, config()).err();
    refused.expect("this is refused")
}

/// Amounts are unscaled, and those that come out are cents.
type Converted = (Vec<i64>, Vec<(u32, String)>);

fn convert_rows(scale: u8, rows: &[(Option<i64>, Option<&str>)]) -> Converted {
    let row = |&(amount, currency): &(Option<i64>, Option<&str>)| {
        let amount = amount.map(|unscaled| AnyDecimal::new(unscaled, scale).unwrap());
        json!({"transaction_id": "t", "total_amount": amount, "currency": currency})
    };
    let rows: Vec<_> = rows.iter().map(row).collect();
    let transformed = guest(scale).apply(&rows).unwrap();
    let cents = |row: &Value| {
        let base: Decimal<2> = row["total_amount_base"].as_str().unwrap().parse().unwrap();
        base.unscaled()
    };
    let rejections = transformed.rejections.into_iter();
    (
        transformed.rows.iter().map(cents).collect(),
        rejections.map(|r| (r.row, r.reason)).collect(),
    )
}

#[test]
fn the_contract_asks_for_two_columns_and_adds_one() {
    let guest = guest(2);
    let contract = guest.contract();
    assert_eq!(contract.needs, ["total_amount", "currency"]);
    assert_eq!(
        contract.returns,
        [Field::new("total_amount_base", DataType::Decimal(2))]
    );
    assert!(contract.drops.is_empty());
    assert!(!contract.selects);
}

#[test]
fn a_missing_column_is_named_with_those_that_are_there() {
    assert_eq!(
        refusal(&sales(2)[..2]),
        "there is no column `currency`: the input has transaction_id, total_amount"
    );
}

#[test]
fn a_column_of_the_wrong_type_is_named_with_the_type_that_it_has() {
    let mut input = sales(2);
    input[1].ty = DataType::Float64;
    assert_eq!(
        refusal(&input),
        "column `total_amount` has to be a decimal, but is float64"
    );
    let mut input = sales(2);
    input[2].ty = DataType::Decimal(3);
    assert_eq!(
        refusal(&input),
        "column `currency` has to be utf8, but is decimal(3)"
    );
}

#[test]
fn each_row_is_converted_at_the_rate_of_its_currency() {
    let rows = [
        (Some(10_000), Some("EUR")),
        (Some(10_000), Some("USD")),
        (Some(-10_000), Some("GBP")),
        (Some(1), Some("ÆØ")),
        (Some(1), Some("X")),
    ];
    let (cents, rejections) = convert_rows(2, &rows);
    assert_eq!(cents, [10_800, 10_000, -12_700, 2, 3]);
    assert_eq!(rejections, []);
    assert_eq!(convert_rows(2, &[]), (vec![], vec![]));
}

#[test]
fn a_row_that_cannot_be_converted_is_rejected_with_the_reason() {
    let long = "long".repeat(20);
    let rows = [
        (Some(1), Some("JPY")),
        (Some(100), Some("USD")),
        (None, Some("USD")),
        (Some(1), None),
        (Some(MOST), Some("EUR")),
        (Some(1), Some("")),
        (Some(1), Some("usd")),
        (Some(1), Some("USD\0")),
        (Some(1), Some(&long)),
        (Some(200), Some("USD")),
    ];
    let (cents, rejections) = convert_rows(2, &rows);
    assert_eq!(cents, [100, 200]);
    let expected = [
        (0, "there is no rate for `currency` `JPY`"),
        (2, "`total_amount` is missing"),
        (3, "`currency` is missing"),
        (
            4,
            "`total_amount_base` would have more than 18 digits: `total_amount` in `EUR`",
        ),
        (5, "there is no rate for `currency` ``"),
        (6, "there is no rate for `currency` `usd`"),
        (7, "there is no rate for `currency` `USD\0`"),
        (
            8,
            "there is no rate for `currency` `longlonglonglonglonglonglonglong…`",
        ),
    ];
    let expected = expected.map(|(row, reason)| (row, reason.to_owned()));
    assert_eq!(rejections, expected);
}

#[test]
fn different_codes_are_different_numbers() {
    let codes = [
        "", "\0", "\0\0", "A", "A\0", "\0A", "ABC", "ABC\0", "ABCDEFG",
    ];
    for (i, a) in codes.iter().enumerate() {
        for b in &codes[i + 1..] {
            assert_ne!(pack(a), pack(b), "{a:?} {b:?}");
        }
    }
    assert_eq!(pack("EIGHTEEN"), 0);
}

/// The cents of an unscaled amount at a rate.
fn cents(amount: i64, scale: u8, rate: &str) -> Option<i64> {
    let amount = AnyDecimal::new(amount, scale).unwrap();
    convert(amount, rate.parse().unwrap()).map(Decimal::unscaled)
}

#[test]
fn half_a_cent_goes_to_the_even_cent() {
    // × 0.5: 0.005, 0.015, 0.025, 0.035
    for (amount, expected) in [(1, 0), (3, 2), (5, 2), (7, 4)] {
        assert_eq!(cents(amount, 2, "0.5"), Some(expected), "{amount} cents");
        assert_eq!(cents(-amount, 2, "0.5"), Some(-expected), "-{amount} cents");
    }
    assert_eq!(cents(51, 2, "0.01"), Some(1));
    assert_eq!(cents(-51, 2, "0.01"), Some(-1));
    assert_eq!(cents(296_190, 2, "1.27"), Some(376_161));
    assert_eq!(cents(7, 0, "1.08"), Some(756));
}

#[test]
fn the_amount_is_rounded_before_it_is_multiplied() {
    // 0.005 is 0.00 in cents, though 0.005 × 100 would be 0.50.
    assert_eq!(cents(5, 3, "100"), Some(0));
    // 0.015 is 0.02.
    assert_eq!(cents(15, 3, "100"), Some(200));
    assert_eq!(cents(-15, 3, "100"), Some(-200));
    // 0.005000000000000001 is more than half.
    assert_eq!(cents(5_000_000_000_000_001, 18, "1"), Some(1));
}

#[test]
fn a_result_of_nineteen_digits_is_none() {
    assert_eq!(cents(MOST, 2, "1"), Some(MOST));
    assert_eq!(cents(-MOST, 2, "1"), Some(-MOST));
    assert_eq!(cents(MOST, 2, "1.000000000000001"), None);
    assert_eq!(cents(MOST, 2, "999999999999999999"), None);
    assert_eq!(cents(-MOST, 0, "1"), None);
    // Too large in cents, but not in the base.
    assert_eq!(cents(MOST, 0, "0.01"), Some(MOST));
}

fn any_row() -> impl Strategy<Value = (Option<i64>, Option<&'static str>)> {
    let code = prop::sample::select(vec!["EUR", "GBP", "USD", "ÆØ", "X", "JPY", ""]);
    (
        prop::option::weighted(0.9, -MOST..=MOST),
        prop::option::weighted(0.9, code),
    )
}

proptest! {
    #[test]
    fn every_row_comes_out_once_as_its_own_conversion_says(
        rows in prop::collection::vec(any_row(), 0..50), scale in 0_u8..=18
    ) {
        let rate = |code| match code {
            "USD" => Some("1"),
            "EUR" => Some("1.08"),
            "GBP" => Some("1.27"),
            "ÆØ" => Some("2"),
            "X" => Some("3"),
            _ => None,
        };
        let (converted, rejections) = convert_rows(scale, &rows);
        let mut converted = converted.iter();
        let mut rejected = rejections.iter().map(|&(row, _)| row as usize);
        for (i, &(amount, code)) in rows.iter().enumerate() {
            let alone = amount.zip(code.and_then(rate)).and_then(|(amount, rate)| cents(amount, scale, rate));
            if let Some(base) = alone {
                prop_assert_eq!(converted.next(), Some(&base));
            } else {
                prop_assert_eq!(rejected.next(), Some(i));
            }
        }
        prop_assert_eq!((converted.next(), rejected.next()), (None, None));
    }
}
