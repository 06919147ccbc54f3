//! Timestamps and dates from text, without allocation.
//!
//! A timestamp is `YYYY-MM-DD`, then perhaps `T` or a space and `HH:MM`, `HH:MM:SS` or
//! `HH:MM:SS.f` with one to nine digits, then perhaps `Z`, `±HH:MM`, `±HHMM` or `±HH`. Without a
//! time of day it is midnight, without a zone it is UTC. Digits beyond the microsecond are cut off.
//!
//! # Invariants
//!
//! 1. Every value lies within the years 1 to 9999 in UTC: what each sink can store and print.
//! 2. The calendar is the Gregorian one, also before 1582. There are no leap seconds.

use thiserror::Error;

use super::scan;
use crate::calendar::{DAY_MICROS, PRINTABLE, days_from_civil, days_in_month};

/// Why a text is no timestamp or no date. Reads on after the text itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum TimeError {
    /// It does not look like one.
    #[error("is not of the form 2026-01-31T23:59:59.999999, with Z, an offset or neither")]
    TimestampForm,
    /// It does not look like one.
    #[error("is not of the form 2026-01-31")]
    DateForm,
    /// 30 February.
    #[error("names a day that does not exist")]
    Day,
    /// 24:00, or a 61st second.
    #[error("names a time of day that does not exist")]
    TimeOfDay,
    /// An offset of a day or more.
    #[error("has an offset from UTC that does not exist")]
    Offset,
    /// A year that sinks cannot store.
    #[error("lies outside the years 1 to 9999")]
    OutOfRange,
}

/// µs since 1970-01-01T00:00:00Z of an ISO 8601 text.
pub(super) fn timestamp(text: &[u8]) -> Result<i64, TimeError> {
    if let Some(micros) = whole_seconds(text)
        && let Some(fraction) = common_fraction(&text[19..])
    {
        return in_range(micros + fraction);
    }
    any_timestamp(text)
}

/// µs of the text's first 19 bytes, if these are `YYYY-MM-DDTHH:MM:SS` of a day and a time that exist.
#[inline]
fn whole_seconds(text: &[u8]) -> Option<i64> {
    let (head, rest) = text.split_first_chunk::<16>()?;
    let &[b':', s1, s2, ..] = rest else {
        return None;
    };
    // Digits become their values, and what stands between them 0.
    let digits = u128::from_le_bytes(*head) ^ u128::from_le_bytes(*b"0000-00-00T00:00");
    let (low, high) = (digits as u64, (digits >> 64) as u64);
    let wrong = |values: u64, between: u64| values & between | exceeds_nine(values);
    if wrong(low, 0xff00_00ff_0000_0000) | wrong(high, 0x0000_ff00_00ff_0000) != 0 {
        return None;
    }
    let seconds = [s1, s2].map(|digit| digit.wrapping_sub(b'0'));
    if seconds[0] > 5 || seconds[1] > 9 {
        return None;
    }
    // In each byte the number that it makes with the next one.
    let pairs = |values: u64| (10 * values + (values >> 8)).to_le_bytes().map(u32::from);
    let [century, _, year, _, _, month, ..] = pairs(low);
    let [day, _, _, hour, _, _, minute, _] = pairs(high);
    let year = i64::from(century * 100 + year);
    let exists = year > 0
        && (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60;
    let second = u32::from(10 * seconds[0] + seconds[1]);
    let time = i64::from((hour * 60 + minute) * 60 + second) * 1_000_000;
    exists.then(|| days_from_civil(year, month, day) * DAY_MICROS + time)
}

/// Not 0 where one of eight values is greater than 9.
#[inline]
fn exceeds_nine(values: u64) -> u64 {
    let each = u64::from_ne_bytes([1; 8]);
    // The highest bit of each byte, from the value itself or from what carries into it.
    (((values & (each * 0x7f)) + each * (0x7f - 9)) | values) & (each * 0x80)
}

/// µs of a fraction of six digits, or of none, in UTC.
#[inline]
fn common_fraction(text: &[u8]) -> Option<i64> {
    match *text {
        [] | [b'Z'] => Some(0),
        [b'.', d1, d2, d3, d4, d5, d6] | [b'.', d1, d2, d3, d4, d5, d6, b'Z'] => {
            let digits = u64::from_le_bytes([d1, d2, d3, d4, d5, d6, b'0', b'0']);
            let values = digits ^ u64::from_le_bytes([b'0'; 8]);
            (exceeds_nine(values) == 0).then(|| scan::number(digits.to_le_bytes(), 6) as i64)
        }
        _ => None,
    }
}

/// The same for every form that there is.
fn any_timestamp(text: &[u8]) -> Result<i64, TimeError> {
    let (date, rest) = text.split_at_checked(10).ok_or(TimeError::TimestampForm)?;
    let day = day_number(date, TimeError::TimestampForm)?;
    let (time, offset) = match rest {
        [] => (0, 0),
        [b'T' | b't' | b' ', rest @ ..] => time_of_day(rest)?,
        _ => return Err(TimeError::TimestampForm),
    };
    // At most 9999 years of µs and a day: far from the ends of an i64.
    in_range(day * DAY_MICROS + time - offset)
}

/// Days since 1970-01-01 of `YYYY-MM-DD`.
pub(super) fn date(text: &[u8]) -> Result<i32, TimeError> {
    // Four digits of a year are at most 2,932,896 days.
    day_number(text, TimeError::DateForm).map(|day| day as i32)
}

/// µs since 1970-01-01T00:00:00Z of milliseconds since then.
pub(super) fn from_millis(millis: i64) -> Result<i64, TimeError> {
    let micros = millis.checked_mul(1_000).ok_or(TimeError::OutOfRange)?;
    in_range(micros)
}

fn in_range(micros: i64) -> Result<i64, TimeError> {
    if PRINTABLE.contains(&micros) {
        Ok(micros)
    } else {
        Err(TimeError::OutOfRange)
    }
}

/// Days since 1970-01-01 of exactly `YYYY-MM-DD`.
fn day_number(text: &[u8], form: TimeError) -> Result<i64, TimeError> {
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text else {
        return Err(form);
    };
    let year = i64::from(number(&[y1, y2, y3, y4]).ok_or(form)?);
    let month = number(&[m1, m2]).ok_or(form)?;
    let day = number(&[d1, d2]).ok_or(form)?;
    if year == 0 {
        return Err(TimeError::OutOfRange);
    }
    if !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
        return Err(TimeError::Day);
    }
    Ok(days_from_civil(year, month, day))
}

/// Time of day in µs and offset from UTC in µs, of all that follows the `T`.
fn time_of_day(text: &[u8]) -> Result<(i64, i64), TimeError> {
    let form = TimeError::TimestampForm;
    let &[h1, h2, b':', m1, m2, ref rest @ ..] = text else {
        return Err(form);
    };
    let hour = number(&[h1, h2]).ok_or(form)?;
    let minute = number(&[m1, m2]).ok_or(form)?;
    let (second, rest) = match rest {
        &[b':', s1, s2, ref rest @ ..] => (number(&[s1, s2]).ok_or(form)?, rest),
        _ => (0, rest),
    };
    if hour > 23 || minute > 59 || second > 59 {
        return Err(TimeError::TimeOfDay);
    }
    // A fraction only after seconds, which take `:SS`.
    let (micros, zone) = match rest {
        [b'.', fraction @ ..] if text.len() - rest.len() == 8 => fraction_of_second(fraction)?,
        _ => (0, rest),
    };
    let seconds = i64::from((hour * 60 + minute) * 60 + second);
    Ok((seconds * 1_000_000 + micros, offset_from_utc(zone)?))
}

/// µs, and what follows the digits.
fn fraction_of_second(text: &[u8]) -> Result<(i64, &[u8]), TimeError> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || digits > 9 {
        return Err(TimeError::TimestampForm);
    }
    let micros = (0..6).fold(0, |micros, place| {
        let digit = text[..digits].get(place).map_or(0, |byte| byte - b'0');
        micros * 10 + i64::from(digit)
    });
    Ok((micros, &text[digits..]))
}

/// µs that local time is ahead of UTC.
fn offset_from_utc(zone: &[u8]) -> Result<i64, TimeError> {
    let (sign, h1, h2, m1, m2) = match *zone {
        [] | [b'Z' | b'z'] => return Ok(0),
        [sign, h1, h2] => (sign, h1, h2, b'0', b'0'),
        [sign, h1, h2, m1, m2] | [sign, h1, h2, b':', m1, m2] => (sign, h1, h2, m1, m2),
        _ => return Err(TimeError::TimestampForm),
    };
    let hours = number(&[h1, h2]).ok_or(TimeError::TimestampForm)?;
    let minutes = number(&[m1, m2]).ok_or(TimeError::TimestampForm)?;
    if hours > 23 || minutes > 59 {
        return Err(TimeError::Offset);
    }
    let micros = i64::from(hours * 60 + minutes) * 60_000_000;
    match sign {
        b'+' => Ok(micros),
        b'-' => Ok(-micros),
        _ => Err(TimeError::TimestampForm),
    }
}

fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, byte| {
        byte.is_ascii_digit()
            .then(|| number * 10 + u32::from(byte - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, TimeZone};
    use proptest::prelude::*;

    use super::*;

    fn timestamp(text: &str) -> Result<i64, TimeError> {
        super::timestamp(text.as_bytes())
    }

    fn date(text: &str) -> Result<i32, TimeError> {
        super::date(text.as_bytes())
    }

    fn utc(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text)
            .unwrap()
            .timestamp_micros()
    }

    #[test]
    fn every_form_of_a_moment_is_the_same_moment() {
        let moment = utc("2026-01-31T22:03:00Z");
        for text in [
            "2026-01-31T22:03:00Z",
            "2026-01-31T22:03:00",
            "2026-01-31 22:03:00",
            "2026-01-31t22:03z",
            "2026-01-31T22:03",
            "2026-01-31T22:03:00.000000000Z",
            "2026-02-01T00:03:00+02:00",
            "2026-02-01T00:03+0200",
            "2026-02-01 00:03:00.0+02",
            "2026-01-31T16:33:00-05:30",
        ] {
            assert_eq!(timestamp(text), Ok(moment), "{text}");
        }
    }

    #[test]
    fn a_date_alone_is_its_midnight() {
        assert_eq!(timestamp("2024-02-29"), Ok(utc("2024-02-29T00:00:00Z")));
    }

    #[test]
    fn digits_beyond_the_microsecond_are_cut_off_also_before_1970() {
        let cut = utc("1969-12-31T23:59:59.123456Z");
        assert_eq!(timestamp("1969-12-31T23:59:59.123456999"), Ok(cut));
    }

    #[test]
    fn days_and_times_that_do_not_exist_are_refused() {
        for (text, error) in [
            ("2025-02-29T00:00:00", TimeError::Day),
            ("1900-02-29T00:00:00", TimeError::Day),
            ("2025-04-31", TimeError::Day),
            ("2025-13-01", TimeError::Day),
            ("2025-00-01", TimeError::Day),
            ("2025-01-00", TimeError::Day),
            ("2025-01-01T24:00:00", TimeError::TimeOfDay),
            ("2025-01-01T23:60", TimeError::TimeOfDay),
            ("2016-12-31T23:59:60Z", TimeError::TimeOfDay),
            ("2025-01-01T00:00+24:00", TimeError::Offset),
            ("2025-01-01T00:00+01:60", TimeError::Offset),
            ("0000-01-01", TimeError::OutOfRange),
            ("0001-01-01T00:00+00:01", TimeError::OutOfRange),
            ("9999-12-31T23:59:59-00:01", TimeError::OutOfRange),
        ] {
            assert_eq!(timestamp(text), Err(error), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "2025",
            "2025-1-1",
            "2025-01-01T",
            "2025-01-01T1:00",
            "2025-01-01T10",
            "2025-01-01T10:00:",
            "2025-01-01T10:00.5",
            "2025-01-01T10:00:00.",
            "2025-01-01T10:00:00.1234567890",
            "2025-01-01T10:00:00,5",
            "2025-01-01T10:00:00 Z",
            "2025-01-01T10:00:00+2",
            "2025-01-01T10:00:00*02",
            "2025-01-01T10:00:00ZZ",
            "2025-01-01 10:00:00 UTC",
            "01.02.2025 10:00:00",
            "２０２５-01-01",
            "+2025-01-01",
        ] {
            assert_eq!(timestamp(text), Err(TimeError::TimestampForm), "{text}");
        }
    }

    #[test]
    fn a_date_has_no_time_of_day() {
        assert_eq!(date("1970-01-02"), Ok(1));
        assert_eq!(date("1970-01-02T00:00"), Err(TimeError::DateForm));
        assert_eq!(date("1969-02-29"), Err(TimeError::Day));
    }

    #[test]
    fn milliseconds_beyond_the_year_9999_are_refused() {
        let last = utc("9999-12-31T23:59:59.999Z");
        assert_eq!(from_millis(last / 1_000), Ok(last));
        assert_eq!(from_millis(last / 1_000 + 1), Err(TimeError::OutOfRange));
        assert_eq!(from_millis(i64::MAX), Err(TimeError::OutOfRange));
        assert_eq!(from_millis(i64::MIN), Err(TimeError::OutOfRange));
    }

    #[test]
    fn every_day_from_1_to_9999_has_chronos_number_and_no_other_day_exists() {
        let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
        for year in 1..=9999 {
            for (month, day) in (1..=12).flat_map(|m| (28..=31).map(move |d| (m, d))) {
                let text = format!("{year:04}-{month:02}-{day:02}");
                let expected = NaiveDate::from_ymd_opt(year, month, day)
                    .map(|day| i32::try_from((day - epoch).num_days()).unwrap());
                assert_eq!(date(&text).ok(), expected, "{text}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_moment_reads_back_from_chronos_text(
            micros in PRINTABLE.start + DAY_MICROS..PRINTABLE.end - DAY_MICROS,
            offset in -86_399 / 60..86_399 / 60,
            form in 0..4,
        ) {
            let utc = DateTime::from_timestamp_micros(micros).unwrap();
            let local = FixedOffset::east_opt(offset * 60).unwrap().from_utc_datetime(&utc.naive_utc());
            let text = local.format(match form {
                0 => "%Y-%m-%dT%H:%M:%S%.6f%:z",
                1 => "%Y-%m-%d %H:%M:%S%.9f%z",
                2 => "%Y-%m-%dT%H:%M:%S%.f%:z",
                _ => "%+",
            }).to_string();
            prop_assert_eq!(timestamp(&text), Ok(micros), "{}", text);
        }

        #[test]
        fn whatever_parses_parses_alike_in_chrono(text in "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]\\.[0-9]{1,6}") {
            let expected = NaiveDateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S%.f")
                .ok()
                // chrono knows leap seconds and the year 0
                .filter(|_| !text[17..].starts_with("60") && !text.starts_with("0000"))
                .map(|moment| moment.and_utc().timestamp_micros());
            prop_assert_eq!(timestamp(&text).ok(), expected, "{}", text);
        }

        #[test]
        fn the_common_form_is_read_like_all_others(
            text in "[0-9]{3}[0-9/:]-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-6][0-9]:[0-6][0-9:](\\.[0-9]{5,7})?Z?",
            damage in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        ) {
            let mut text = text.into_bytes();
            if let Some((at, byte)) = damage {
                *at.get_mut(&mut text) = byte;
            }
            prop_assert_eq!(super::timestamp(&text), any_timestamp(&text), "{}", String::from_utf8_lossy(&text));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}|[0-9TZ:.+ -]{0,40}") {
            let _ = timestamp(&text);
            let _ = date(&text);
        }
    }
}
