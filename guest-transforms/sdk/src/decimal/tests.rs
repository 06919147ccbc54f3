use super::*;

use proptest::prelude::*;

const MOST: i64 = TOO_LARGE.cast_signed() - 1;

fn any(text: &str) -> AnyDecimal {
    text.parse().unwrap()
}

fn error(text: &str) -> String {
    text.parse::<AnyDecimal>().unwrap_err().to_string()
}

#[test]
fn a_decimal_keeps_every_digit() {
    for text in [
        "1.08",
        "-1.08",
        "0.000000000000000001",
        "999999999999999999",
        "-123456789.123456789",
    ] {
        assert_eq!(any(text).to_string(), text);
    }
}

#[test]
fn zeros_that_mean_nothing_are_dropped() {
    assert_eq!(any("001.0800").to_string(), "1.08");
    assert_eq!(any("100").to_string(), "100");
    assert_eq!(any("-0.00").to_string(), "0");
    assert_eq!(any(&format!("1.{}", "0".repeat(300))).to_string(), "1");
}

#[test]
fn exponents_move_the_point() {
    assert_eq!(any("6.5e-3").to_string(), "0.0065");
    assert_eq!(any("1.5E+2").to_string(), "150");
    assert_eq!(any("25e16").to_string(), "250000000000000000");
}

#[test]
fn nineteen_digits_are_too_many() {
    for text in [
        "1000000000000000000",
        "1.000000000000000001",
        "0.0000000000000000001",
        "1e18",
        "1e32767",
        "1e-19",
    ] {
        assert_eq!(
            error(text),
            format!("a decimal has at most 18 digits: `{text}`")
        );
    }
}

#[test]
fn what_is_no_number_is_refused() {
    for text in [
        "", "-", ".", "1.", ".5", "+1", "--1", "1,08", "1.0.8", "1e", "e1", "1e99999", " 1", "1_0",
        "١",
    ] {
        assert_eq!(error(text), format!("`{text}` is no decimal number"));
    }
}

#[test]
fn a_scale_that_is_known_rounds_nothing_when_it_reads() {
    let read = |text: &str| {
        text.parse::<Decimal<2>>()
            .map_err(|error| error.to_string())
    };
    assert_eq!(read("-1.5").unwrap().to_string(), "-1.50");
    assert_eq!(read("1.500").unwrap().unscaled(), 150);
    assert_eq!(
        read("1.505").unwrap_err(),
        "`1.505` has more than 2 digits after the point"
    );
    assert_eq!(
        read("99999999999999999").unwrap_err(),
        "a decimal has at most 18 digits: `99999999999999999`"
    );
}

#[test]
fn a_sum_of_nineteen_digits_is_none() {
    let most = Decimal::<2>::MAX;
    let cent = Decimal::<2>::from_unscaled(1).unwrap();
    assert_eq!(most.checked_add(cent), None);
    assert_eq!((-most).checked_sub(cent), None);
    assert_eq!(most.checked_sub(cent).unwrap().unscaled(), MOST - 1);
    assert_eq!(most.checked_add(-most), Some(Decimal::ZERO));
    assert_eq!(Decimal::<2>::from_unscaled(MOST + 1), None);
    assert_eq!(Decimal::<2>::from_integer(10_i64.pow(16)), None);
    assert_eq!(Decimal::<0>::from_integer(i64::MIN), None);
    assert_eq!(Decimal::<2>::from_integer(-7).unwrap().to_string(), "-7.00");
}

#[test]
fn half_goes_to_the_even_neighbour() {
    let half: Decimal<1> = "0.5".parse().unwrap();
    for (cents, expected) in [(1, 0), (3, 2), (5, 2), (7, 4), (-1, 0), (-3, -2)] {
        let product: Decimal<2> = Decimal::<2>::trusted(cents).checked_mul(half).unwrap();
        assert_eq!(product.unscaled(), expected, "{cents} cents × 0.5");
    }
    let rescaled = |text: &str| any(text).rescale(2).unwrap().to_string();
    assert_eq!(rescaled("0.005"), "0.00");
    assert_eq!(rescaled("0.015"), "0.02");
    assert_eq!(rescaled("0.005000000000000001"), "0.01");
    assert_eq!(rescaled("-0.015"), "-0.02");
    assert_eq!(rescaled("7"), "7.00");
}

#[test]
fn a_quotient_is_rounded_and_nothing_is_divided_by_zero() {
    let sum: Decimal<2> = "10.00".parse().unwrap();
    let mean = |count| sum.checked_div::<0, 2>(Decimal::trusted(count));
    assert_eq!(mean(3).unwrap().to_string(), "3.33");
    assert_eq!(mean(-16).unwrap().to_string(), "-0.62");
    assert_eq!(mean(0), None);
    let tiny = any("0.000000000000000001");
    assert_eq!(any("1").checked_div(tiny, 0), None);
    assert_eq!(
        tiny.checked_div(any("999999999999999999"), 18),
        any("0").rescale(18)
    );
}

#[test]
fn different_scales_meet_at_the_larger() {
    assert_eq!(
        any("1.5").checked_add(any("0.25")).unwrap().to_string(),
        "1.75"
    );
    assert_eq!(
        any("1").checked_sub(any("0.001")).unwrap().to_string(),
        "0.999"
    );
    assert_eq!(any("999999999999999999").checked_add(any("0.1")), None);
    assert_eq!(any("1.25").to_decimal::<1>().unwrap().to_string(), "1.2");
    assert_eq!(AnyDecimal::new(1, 19), None);
    assert_eq!(any("1").rescale(19), None);
}

#[test]
fn a_decimal_is_padded_as_numbers_are() {
    let decimal: Decimal<2> = "-1.5".parse().unwrap();
    assert_eq!(format!("{decimal:>8}|{decimal:08}"), "   -1.50|-0001.50");
    assert_eq!(format!("{decimal:?}"), "Decimal<2>(-1.50)");
}

#[test]
fn a_config_has_decimals_as_strings_or_numbers_without_loss() {
    let read = serde_json::from_str::<Vec<AnyDecimal>>;
    let decimals = read(r#"["1.08", 0.10000000000000001, -5, 6.5e-3]"#).unwrap();
    let shown: Vec<_> = decimals.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["1.08", "0.10000000000000001", "-5", "0.0065"]);
    assert_eq!(
        serde_json::to_string(&decimals[..1]).unwrap(),
        r#"["1.08"]"#
    );
    let refusal = |json: &str| {
        serde_json::from_str::<Decimal<2>>(json)
            .unwrap_err()
            .to_string()
    };
    assert!(refusal("true").starts_with("a decimal is a string or a number, not true"));
    assert!(refusal("0.125").starts_with("`0.125` has more than 2 digits after the point"));
    assert!(refusal(r#""cheap""#).starts_with("`cheap` is no decimal number"));
}

/// The same by digits of text, one at a time, as one learns it at school.
mod by_hand {
    /// `a × b` of decimal digits, most significant first.
    pub(super) fn multiply(a: &[u8], b: &[u8]) -> Vec<u8> {
        let mut product = vec![0_u32; a.len() + b.len()];
        for (i, x) in a.iter().rev().enumerate() {
            for (j, y) in b.iter().rev().enumerate() {
                product[i + j] += u32::from(*x) * u32::from(*y);
            }
        }
        for i in 0..product.len() - 1 {
            product[i + 1] += product[i] / 10;
            product[i] %= 10;
        }
        product.iter().rev().map(|&digit| digit as u8).collect()
    }

    /// Cuts off the last `count` digits, rounding half to even; puts zeros behind where it is negative.
    pub(super) fn cut(digits: &[u8], count: i32) -> Vec<u8> {
        let Ok(count) = usize::try_from(count) else {
            return [digits.to_vec(), vec![0; count.unsigned_abs() as usize]].concat();
        };
        let padded = [vec![0; count + 1], digits.to_vec()].concat();
        let (kept, cut) = padded.split_at(padded.len() - count);
        let mut kept = kept.to_vec();
        let half = [vec![5; count.min(1)], vec![0; count.saturating_sub(1)]].concat();
        let odd = kept[kept.len() - 1] % 2 == 1;
        if count > 0 && (cut > half.as_slice() || (cut == half && odd)) {
            for digit in kept.iter_mut().rev() {
                *digit = (*digit + 1) % 10;
                if *digit != 0 {
                    break;
                }
            }
        }
        kept
    }

    pub(super) fn digits(number: u64) -> Vec<u8> {
        number.to_string().bytes().map(|b| b - b'0').collect()
    }

    /// `None` of more than 18 digits.
    pub(super) fn number(digits: &[u8], negative: bool) -> Option<i64> {
        let text: String = digits.iter().map(|&d| char::from(b'0' + d)).collect();
        let text = text.trim_start_matches('0');
        if text.len() > 18 {
            return None;
        }
        let number: i64 = format!("0{text}").parse().unwrap();
        Some(if negative { -number } else { number })
    }
}

fn multiply_by_hand(a: AnyDecimal, b: AnyDecimal, scale: u8) -> Option<i64> {
    let digits = |decimal: AnyDecimal| by_hand::digits(decimal.unscaled().unsigned_abs());
    let product = by_hand::multiply(&digits(a), &digits(b));
    let cut = i32::from(a.scale()) + i32::from(b.scale()) - i32::from(scale);
    let negative = (a.unscaled() < 0) != (b.unscaled() < 0);
    by_hand::number(&by_hand::cut(&product, cut), negative)
}

/// Numbers of every length up to 18 digits, equally likely, of every scale.
fn decimal() -> impl Strategy<Value = AnyDecimal> {
    let magnitude = (0_u32..=18).prop_flat_map(|digits| 0..10_i64.pow(digits));
    (magnitude, arbitrary::<bool>(), 0..=SCALE_MAX).prop_map(|(magnitude, negative, scale)| {
        AnyDecimal::trusted(if negative { -magnitude } else { magnitude }, scale)
    })
}

use proptest::arbitrary::any as arbitrary;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_product_is_what_one_computes_by_hand(a in decimal(), b in decimal(), scale in 0..=SCALE_MAX) {
        let product = a.checked_mul(b, scale);
        prop_assert_eq!(product.map(AnyDecimal::unscaled), multiply_by_hand(a, b, scale));
        prop_assert!(product.is_none_or(|product| product.scale() == scale));
    }

    #[test]
    fn ties_are_what_one_computes_by_hand(number in 0_i64..1_000_000, scale in 1..=12_u8, odd in 0_i64..500) {
        let tie = AnyDecimal::trusted(number * 10_i64.pow(scale.into()) + 10_i64.pow(scale.into()) / 2, scale);
        let odd = AnyDecimal::trusted(odd * 2 + 1, 0);
        prop_assert_eq!(tie.checked_mul(odd, 0).map(AnyDecimal::unscaled), multiply_by_hand(tie, odd, 0));
    }

    #[test]
    fn another_scale_is_what_one_computes_by_hand(decimal in decimal(), scale in 0..=SCALE_MAX) {
        let digits = by_hand::digits(decimal.unscaled().unsigned_abs());
        let cut = by_hand::cut(&digits, i32::from(decimal.scale()) - i32::from(scale));
        let expected = by_hand::number(&cut, decimal.unscaled() < 0);
        prop_assert_eq!(decimal.rescale(scale).map(AnyDecimal::unscaled), expected);
    }

    #[test]
    fn a_quotient_is_the_nearest_number(a in decimal(), b in decimal(), scale in 0..=SCALE_MAX) {
        prop_assume!(b.unscaled() != 0);
        // Small enough that everything below fits into 128 bits.
        let (a, b) = (AnyDecimal::trusted(a.unscaled() % 1_000_000, a.scale()), AnyDecimal::trusted(b.unscaled() % 1_000 + 1_001, b.scale() % 4));
        if let Some(quotient) = a.checked_div(b, scale) {
            // |a / b - q| ≤ 1/2 of the last digit, all × 2 × b × 10^(scales).
            let power = |exponent: u8| 10_i128.pow(exponent.into());
            let exact = i128::from(a.unscaled()) * power(b.scale()) * power(scale);
            let rounded = i128::from(quotient.unscaled()) * i128::from(b.unscaled()) * power(a.scale());
            let unit = i128::from(b.unscaled()) * power(a.scale());
            prop_assert!((exact - rounded).abs() * 2 <= unit.abs());
        }
    }

    #[test]
    fn a_decimal_reads_back_from_its_own_text(decimal in decimal()) {
        let read: AnyDecimal = decimal.to_string().parse().unwrap();
        prop_assert_eq!(read.rescale(decimal.scale()), Some(decimal));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,40}", digits in "[0-9.eE+-]{0,40}") {
        let _ = text.parse::<AnyDecimal>();
        let _ = digits.parse::<Decimal<7>>();
    }
}
