//! Durations, byte sizes and window lengths, as people write them.
//!
//! The errors say what would be right and never quote what was there: it may have come from the
//! environment.

use std::time::Duration;

use thiserror::Error;

use super::Every;
use crate::calendar::DAY_MICROS;

/// Text that is no duration, size or window length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum UnitError {
    /// not a number with a unit of time
    #[error("a duration is a whole number and a unit: `500ms`, `1s`, `2m` or `1h`")]
    Duration,
    /// not a number of bytes
    #[error("a size is a whole number of bytes, or one with a unit: `512KiB`, `64MiB` or `1GiB`")]
    Size,
    /// not a window length
    #[error(
        "a window length is a calendar unit (`1 day`, `2 weeks`, `1 month`, `1 year`) or a fixed time (`30s`, `15m`, `24h`)"
    )]
    Every,
    /// a number that no machine word holds, or a window over a century
    #[error("the number is too large")]
    TooLarge,
    /// a length of nothing
    #[error("the number must be at least 1")]
    Zero,
}

/// A century, the longest window, in days.
const WINDOW_DAYS_MAX: u32 = 36_500;

/// Reads `500ms`, `1s`, `2m`, `1h`; the unit may be written out and set apart (`30 seconds`).
pub(super) fn duration(text: &str) -> Result<Duration, UnitError> {
    let (number, unit) = split(text).ok_or(UnitError::Duration)?;
    let millis_per_unit = match unit {
        "ms" | "millisecond" | "milliseconds" => 1,
        "s" | "second" | "seconds" => 1_000,
        "m" | "minute" | "minutes" => 60_000,
        "h" | "hour" | "hours" => 3_600_000,
        _ => return Err(UnitError::Duration),
    };
    let millis = number?
        .checked_mul(millis_per_unit)
        .ok_or(UnitError::TooLarge)?;
    Ok(Duration::from_millis(millis))
}

/// Reads `1000000`, `512KiB`, `64MiB`, `1GiB`: a number of bytes.
pub(super) fn size(text: &str) -> Result<u64, UnitError> {
    let (number, unit) = split(text).ok_or(UnitError::Size)?;
    let bytes_per_unit = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(UnitError::Size),
    };
    number?
        .checked_mul(bytes_per_unit)
        .ok_or(UnitError::TooLarge)
}

/// Reads the length of a tumbling window: `1 day`, `2 weeks`, `1 month`, `1 year` of the calendar, or
/// a fixed `30s`, `15m`, `24h`. At least 1 ms, at most a century.
pub(super) fn every(text: &str) -> Result<Every, UnitError> {
    let (number, unit) = split(text).ok_or(UnitError::Every)?;
    let (calendar, days): (fn(u32) -> Every, u32) = match unit {
        "day" | "days" => (Every::Days, 1),
        "week" | "weeks" => (Every::Weeks, 7),
        "month" | "months" => (Every::Months, 31),
        "year" | "years" => (Every::Years, 366),
        _ => return fixed(text),
    };
    let count = u32::try_from(number?)
        .ok()
        .filter(|count| *count <= WINDOW_DAYS_MAX / days)
        .ok_or(UnitError::TooLarge)?;
    if count == 0 {
        return Err(UnitError::Zero);
    }
    Ok(calendar(count))
}

fn fixed(text: &str) -> Result<Every, UnitError> {
    let length = duration(text).map_err(|error| match error {
        UnitError::Duration => UnitError::Every,
        other => other,
    })?;
    let micros = i64::try_from(length.as_micros())
        .ok()
        .filter(|micros| *micros <= i64::from(WINDOW_DAYS_MAX) * DAY_MICROS)
        .ok_or(UnitError::TooLarge)?;
    if micros == 0 {
        return Err(UnitError::Zero);
    }
    Ok(Every::Micros(micros))
}

/// A number and what follows it. `None` when it does not begin with a digit.
fn split(text: &str) -> Option<(Result<u64, UnitError>, &str)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    if digits.is_empty() {
        return None;
    }
    // Only digits are left, so nothing but its length can be wrong with the number.
    let number = digits.parse().map_err(|_| UnitError::TooLarge);
    Some((number, unit.trim_start()))
}

/// A duration as [`duration`] reads it, in its largest whole unit.
pub(super) fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let (count, unit) = match millis {
        0 => (0, "s"),
        _ if millis.is_multiple_of(3_600_000) => (millis / 3_600_000, "h"),
        _ if millis.is_multiple_of(60_000) => (millis / 60_000, "m"),
        _ if millis.is_multiple_of(1_000) => (millis / 1_000, "s"),
        _ => (millis, "ms"),
    };
    format!("{count}{unit}")
}

/// A number of bytes as [`size`] reads it, in its largest whole unit.
pub(super) fn show_size(bytes: u64) -> String {
    let (count, unit) = match bytes {
        0 => (0, ""),
        _ if bytes.is_multiple_of(1 << 30) => (bytes >> 30, "GiB"),
        _ if bytes.is_multiple_of(1 << 20) => (bytes >> 20, "MiB"),
        _ if bytes.is_multiple_of(1 << 10) => (bytes >> 10, "KiB"),
        _ => (bytes, ""),
    };
    format!("{count}{unit}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("30 s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration(" 2m "), Ok(Duration::from_mins(2)));
        assert_eq!(duration("1h"), Ok(Duration::from_hours(1)));
        for wrong in ["", "1", "s", "1.5s", "-1s", "1 parsec", "1s 2s", "٣s"] {
            assert_eq!(duration(wrong), Err(UnitError::Duration), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_powers_of_two() {
        assert_eq!(size("64MiB"), Ok(64 << 20));
        assert_eq!(size("1 GiB"), Ok(1 << 30));
        assert_eq!(size("512KiB"), Ok(512 << 10));
        assert_eq!(size("1000000"), Ok(1_000_000));
        for wrong in ["", "MiB", "64MB", "1.5GiB", "64 mib"] {
            assert_eq!(size(wrong), Err(UnitError::Size), "{wrong}");
        }
    }

    #[test]
    fn days_are_of_the_calendar_and_hours_are_not() {
        assert_eq!(every("1 day"), Ok(Every::Days(1)));
        assert_eq!(every("2 weeks"), Ok(Every::Weeks(2)));
        assert_eq!(every("1 month"), Ok(Every::Months(1)));
        assert_eq!(every("1 year"), Ok(Every::Years(1)));
        assert_eq!(every("24h"), Ok(Every::Micros(DAY_MICROS)));
        assert_eq!(every("15m"), Ok(Every::Micros(900_000_000)));
        assert_eq!(every("30s"), Ok(Every::Micros(30_000_000)));
        assert_eq!(every("1 hour"), Ok(Every::Micros(3_600_000_000)));
        for wrong in ["", "day", "1d", "daily", "1.5 days", "-1 day"] {
            assert_eq!(every(wrong), Err(UnitError::Every), "{wrong}");
        }
    }

    #[test]
    fn a_number_is_not_too_large_and_a_window_not_nothing() {
        let huge = "99999999999999999999";
        assert_eq!(duration(&format!("{huge}s")), Err(UnitError::TooLarge));
        assert_eq!(
            duration(&format!("{}h", u64::MAX)),
            Err(UnitError::TooLarge)
        );
        assert_eq!(size(&format!("{huge}KiB")), Err(UnitError::TooLarge));
        assert_eq!(every("101 years"), Err(UnitError::TooLarge));
        assert_eq!(every("4294967297 days"), Err(UnitError::TooLarge));
        assert_eq!(every("876001h"), Err(UnitError::TooLarge));
        assert_eq!(every("0 days"), Err(UnitError::Zero));
        assert_eq!(every("0s"), Err(UnitError::Zero));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*|[0-9]{0,25} ?[a-zA-Zµ]{0,7}") {
            let _ = duration(&text);
            let _ = size(&text);
            let _ = every(&text);
        }

        #[test]
        fn what_is_shown_reads_back(millis in 0..u64::MAX / 2, bytes: u64) {
            let length = Duration::from_millis(millis);
            prop_assert_eq!(duration(&show_duration(length)), Ok(length));
            prop_assert_eq!(size(&show_size(bytes)), Ok(bytes));
        }
    }
}
