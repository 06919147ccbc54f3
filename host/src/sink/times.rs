//! Times as ISO 8601 text in UTC: of fixed width for the years 0 to 9999, so that text sorts as time.

use crate::calendar::{DAY_MICROS, civil_from_days, day_of};

const MICROS_PER_SECOND: u64 = 1_000_000;

/// Appends `YYYY-MM-DDThh:mm:ss.ffffffZ`.
pub(super) fn write_timestamp(micros: i64, out: &mut Vec<u8>) {
    let micros_of_day = micros.rem_euclid(DAY_MICROS).unsigned_abs();
    let (second_of_day, fraction) = (
        micros_of_day / MICROS_PER_SECOND,
        micros_of_day % MICROS_PER_SECOND,
    );
    write_day(day_of(micros), out);
    out.push(b'T');
    write_digits(second_of_day / 3_600, 2, out);
    out.push(b':');
    write_digits(second_of_day / 60 % 60, 2, out);
    out.push(b':');
    write_digits(second_of_day % 60, 2, out);
    out.push(b'.');
    write_digits(fraction, 6, out);
    out.push(b'Z');
}

/// Appends `YYYY-MM-DD`; years outside 0 to 9999 with a sign, as ISO 8601 has it.
pub(super) fn write_day(days_since_1970: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil_from_days(days_since_1970);
    match year {
        0..=9_999 => {}
        ..0 => out.push(b'-'),
        _ => out.push(b'+'),
    }
    write_digits(year.unsigned_abs(), 4, out);
    out.push(b'-');
    write_digits(month.into(), 2, out);
    out.push(b'-');
    write_digits(day.into(), 2, out);
}

/// Appends a number in decimal, with zeros before it up to `width` digits.
pub(super) fn write_digits(mut value: u64, width: usize, out: &mut Vec<u8>) {
    const DIGITS_MAX: usize = 20;
    let mut digits = [b'0'; DIGITS_MAX];
    let mut first = DIGITS_MAX;
    while value > 0 {
        first -= 1;
        digits[first] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    first = first.min(DIGITS_MAX - width);
    out.extend_from_slice(&digits[first..]);
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, NaiveDate};
    use proptest::prelude::*;

    use super::*;

    fn text_of(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn years_of_more_than_four_digits_have_a_sign() {
        let text = |day| text_of(|out| write_day(day, out));
        assert_eq!(text(2_932_896), "9999-12-31");
        assert_eq!(text(2_932_897), "+10000-01-01");
        assert_eq!(text(-719_528), "0000-01-01");
        assert_eq!(text(-719_529), "-0001-12-31");
    }

    proptest! {
        #[test]
        fn times_are_those_of_chrono(
            micros in -62_167_219_200_000_000_i64..253_402_300_800_000_000,
            day in -719_528_i64..2_932_897,
        ) {
            let time = DateTime::from_timestamp_micros(micros).unwrap();
            prop_assert_eq!(
                text_of(|out| write_timestamp(micros, out)),
                time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
            );
            let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
            let date = epoch + chrono::Duration::days(day);
            prop_assert_eq!(text_of(|out| write_day(day, out)), date.format("%Y-%m-%d").to_string());
        }
    }
}
