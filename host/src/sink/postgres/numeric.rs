//! Decimals in the binary form of `numeric`.
//!
//! Source: `numeric_recv` in PostgreSQL's `numeric.c`.

use bytes::{BufMut, BytesMut};

/// Appends unscaled / 10^scale as `numeric`: digits to the base of 10,000, the weight of the first
/// one, the sign, and how many decimal digits are shown after the point.
pub(super) fn put_numeric(unscaled: i64, scale: u8, out: &mut BytesMut) {
    const POSITIVE: u16 = 0x0000;
    const NEGATIVE: u16 = 0x4000;
    /// 19 decimal digits, cut at any place, fill at most six groups of four.
    const GROUPS_MAX: usize = 6;

    let mut groups = [0_u16; GROUPS_MAX]; // the least significant first
    let mut count = 0;
    let mut rest = unscaled.unsigned_abs();
    // Groups are aligned to the point: the last one may have fewer than four of our digits.
    let cut = u32::from(scale % 4);
    if cut > 0 {
        let unit = 10_u64.pow(cut);
        groups[0] = (rest % unit) as u16 * 10_u16.pow(4 - cut);
        rest /= unit;
        count = 1;
    }
    while rest > 0 {
        groups[count] = (rest % 10_000) as u16;
        rest /= 10_000;
        count += 1;
    }
    let zeros = groups[..count].iter().take_while(|&&group| group == 0);
    let digits = &groups[zeros.count()..count];
    let weight = if digits.is_empty() {
        0
    } else {
        count as i16 - 1 - i16::from(scale.div_ceil(4))
    };

    out.put_i32(8 + 2 * digits.len() as i32);
    out.put_i16(digits.len() as i16);
    out.put_i16(weight);
    out.put_u16(if unscaled < 0 { NEGATIVE } else { POSITIVE });
    out.put_u16(u16::from(scale));
    for &digit in digits.iter().rev() {
        out.put_u16(digit);
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use bytes::Buf;
    use proptest::prelude::*;

    use super::*;

    /// The value of a `numeric` field in text, as the server would print it.
    fn numeric_text(mut field: &[u8]) -> String {
        assert_eq!(field.get_i32() as usize, field.len());
        let (count, weight) = (field.get_i16(), field.get_i16());
        let negative = match field.get_u16() {
            0x0000 => false,
            0x4000 => true,
            other => panic!("sign {other:#x}"),
        };
        let shown = usize::from(field.get_u16());
        let digits: Vec<u16> = (0..count).map(|_| field.get_u16()).collect();
        assert!(field.is_empty());
        assert!(digits.iter().all(|&digit| digit < 10_000));
        assert_ne!(
            digits.first(),
            Some(&0),
            "a leading zero group is not canonical"
        );
        assert_ne!(
            digits.last(),
            Some(&0),
            "a trailing zero group is not canonical"
        );
        let group = |place: i16| {
            usize::try_from(weight - place)
                .ok()
                .and_then(|index| digits.get(index).copied())
                .unwrap_or(0)
        };
        let (mut whole, mut fraction) = (String::new(), String::new());
        for place in (0..=weight.max(0)).rev() {
            write!(whole, "{:04}", group(place)).unwrap();
        }
        for place in 1..=5 {
            write!(fraction, "{:04}", group(-place)).unwrap();
        }
        assert!(fraction[shown..].bytes().all(|b| b == b'0'));
        let whole = whole.trim_start_matches('0');
        let sign = if negative { "-" } else { "" };
        let whole = if whole.is_empty() { "0" } else { whole };
        if shown == 0 {
            format!("{sign}{whole}")
        } else {
            format!("{sign}{whole}.{}", &fraction[..shown])
        }
    }

    fn decimal_text(unscaled: i64, scale: u8) -> String {
        let scale = usize::from(scale);
        let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        let sign = if unscaled < 0 { "-" } else { "" };
        let point = if scale == 0 { "" } else { "." };
        format!("{sign}{whole}{point}{fraction}")
    }

    fn encoded_numeric(unscaled: i64, scale: u8) -> Vec<u8> {
        let mut out = BytesMut::new();
        put_numeric(unscaled, scale, &mut out);
        out.to_vec()
    }

    #[test]
    fn numerics_are_as_the_server_sends_them() {
        // 1234.5 is [1234, 5000] with weight 0; 0.000005 is [500] with weight -2.
        assert_eq!(
            encoded_numeric(12_345, 1),
            [0, 0, 0, 12, 0, 2, 0, 0, 0, 0, 0, 1, 0x04, 0xd2, 0x13, 0x88]
        );
        assert_eq!(
            encoded_numeric(-5, 6),
            [0, 0, 0, 10, 0, 1, 0xff, 0xfe, 0x40, 0, 0, 6, 0x01, 0xf4]
        );
        assert_eq!(encoded_numeric(0, 2), [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 2]);
    }

    proptest! {
        #[test]
        fn a_numeric_decodes_to_the_same_decimal(unscaled in any::<i64>(), scale in 0_u8..=18) {
            prop_assert_eq!(
                numeric_text(&encoded_numeric(unscaled, scale)),
                decimal_text(unscaled, scale)
            );
        }

        #[test]
        fn a_round_numeric_decodes_to_the_same_decimal(
            short in -9999_i64..=9999, zeros in 0_u32..=14, scale in 0_u8..=18,
        ) {
            let unscaled = short * 10_i64.pow(zeros);
            prop_assert_eq!(
                numeric_text(&encoded_numeric(unscaled, scale)),
                decimal_text(unscaled, scale)
            );
        }
    }
}
