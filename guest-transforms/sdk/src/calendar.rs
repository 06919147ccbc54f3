//! Points in time and calendar days, as columns have them: proleptic Gregorian, UTC.
//!
//! # Not here
//!
//! Time zones and clocks: the host assigns windows, and a guest has no clock.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// A point in time: µs since 1970-01-01T00:00:00Z.
///
/// Shown as `2025-03-01T12:30:00Z`, with µs where there are any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From µs since 1970-01-01T00:00:00Z.
    #[must_use]
    #[inline]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// µs since 1970-01-01T00:00:00Z.
    #[must_use]
    #[inline]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// The day that it is in, in UTC.
    #[must_use]
    pub const fn date(self) -> Date {
        // 2^63 µs are 107 million days.
        Date(self.0.div_euclid(MICROS_PER_DAY) as i32)
    }

    /// µs since midnight, in UTC.
    #[must_use]
    pub const fn micros_of_day(self) -> i64 {
        self.0.rem_euclid(MICROS_PER_DAY)
    }
}

/// A calendar day: days since 1970-01-01. Shown as `2025-03-01`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Date(i32);

impl Date {
    /// From days since 1970-01-01.
    #[must_use]
    #[inline]
    pub const fn from_days(days: i32) -> Self {
        Self(days)
    }

    /// Days since 1970-01-01.
    #[must_use]
    #[inline]
    pub const fn days(self) -> i32 {
        self.0
    }

    /// From year, month (1 to 12) and day of the month; `None` where the calendar has no such day, or
    /// the year is not one of four digits.
    #[must_use]
    pub fn from_ymd(year: i32, month: u32, day: u32) -> Option<Self> {
        if !(0..=9999).contains(&year) || !(1..=12).contains(&month) || day == 0 {
            return None;
        }
        let date = Self(days_from_civil(year, month, day));
        (date.ymd() == (year, month, day)).then_some(date)
    }

    /// Year, month (1 to 12) and day of the month.
    ///
    /// By Howard Hinnant's `civil_from_days`: years begin in March, so that the leap day is the last.
    #[must_use]
    pub fn ymd(self) -> (i32, u32, u32) {
        let days = i64::from(self.0) + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 {
            shifted_month + 3
        } else {
            shifted_month - 9
        };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        (year as i32, month as u32, day as u32)
    }
}

fn days_from_civil(year: i32, month: u32, day: u32) -> i32 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = (month as i32 + 9) % 12;
    let day_of_year = (153 * shifted_month + 2) / 5 + day as i32 - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.ymd();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.micros_of_day();
        let (seconds, rest) = (micros / 1_000_000, micros % 1_000_000);
        let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        write!(f, "{}T{hour:02}:{minute:02}:{second:02}", self.date())?;
        if rest > 0 {
            write!(f, ".{rest:06}")?;
        }
        f.write_str("Z")
    }
}

/// A text that is no date or time as [`Date`] and [`Timestamp`] are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseTimeError {
    text: String,
    expected: &'static str,
}

impl fmt::Display for ParseTimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no {}", self.text, self.expected)
    }
}

impl Error for ParseTimeError {}

impl FromStr for Date {
    type Err = ParseTimeError;

    /// Reads `YYYY-MM-DD`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_date(text).ok_or_else(|| ParseTimeError {
            text: text.to_owned(),
            expected: "date: it is written 2025-03-01",
        })
    }
}

impl FromStr for Timestamp {
    type Err = ParseTimeError;

    /// Reads `YYYY-MM-DDThh:mm:ss[.ffffff][Z]`, in UTC.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_timestamp(text).ok_or_else(|| ParseTimeError {
            text: text.to_owned(),
            expected: "time: it is written 2025-03-01T12:30:00Z",
        })
    }
}

fn parse_date(text: &str) -> Option<Date> {
    let mut parts = text.split('-');
    let date = Date::from_ymd(
        digits(parts.next()?, 4)?,
        digits(parts.next()?, 2)? as u32,
        digits(parts.next()?, 2)? as u32,
    )?;
    parts.next().is_none().then_some(date)
}

fn parse_timestamp(text: &str) -> Option<Timestamp> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, time) = text.split_once('T')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut parts = time.split(':');
    let mut part = |limit: i32| digits(parts.next()?, 2).filter(|&number| number < limit);
    let seconds = part(24)? * 3_600 + part(60)? * 60 + part(60)?;
    if parts.next().is_some() || fraction.len() > 6 {
        return None;
    }
    let micros = digits(fraction, fraction.len())? * 10_i32.pow(6 - fraction.len() as u32);
    let days = i64::from(parse_date(date)?.days());
    Some(Timestamp(
        days * MICROS_PER_DAY + i64::from(seconds) * 1_000_000 + i64::from(micros),
    ))
}

/// A number of exactly so many digits, at least one.
fn digits(text: &str, count: usize) -> Option<i32> {
    let is_number = text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    #[test]
    fn a_time_is_shown_and_read_in_utc() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (1_740_832_200_000_000, "2025-03-01T12:30:00Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00Z"),
        ] {
            let time = Timestamp::from_micros(micros);
            assert_eq!(time.to_string(), text);
            assert_eq!(text.parse(), Ok(time));
        }
        assert_eq!(
            "1970-01-01T00:00:01.5".parse(),
            Ok(Timestamp::from_micros(1_500_000))
        );
    }

    #[test]
    fn a_day_that_the_calendar_does_not_have_is_none() {
        assert_eq!(Date::from_ymd(2025, 2, 29), None);
        assert_eq!(Date::from_ymd(1900, 2, 29), None);
        assert_eq!(Date::from_ymd(2025, 13, 1), None);
        assert_eq!(Date::from_ymd(2024, 2, 29).map(Date::days), Some(19_782));
    }

    #[test]
    fn what_is_no_time_is_refused_with_an_example() {
        for text in [
            "",
            "2025-03-01",
            "2025-03-01T24:00:00Z",
            "2025-03-01T12:30Z",
            "2025-03-01T12:30:00.Z",
            "2025-03-01T12:30:00.1234567Z",
            "2025-3-1T12:30:00Z",
            "2025-03-01T12:30:00+01:00",
        ] {
            let error = text.parse::<Timestamp>().unwrap_err();
            assert!(error.to_string().contains("2025-03-01T12:30:00Z"), "{text}");
        }
        let error = "1.3.2025".parse::<Date>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`1.3.2025` is no date: it is written 2025-03-01"
        );
    }

    proptest! {
        #[test]
        fn a_time_reads_back_from_its_own_text(micros in -62_167_219_200_000_000_i64..253_402_300_800_000_000) {
            let time = Timestamp::from_micros(micros);
            prop_assert_eq!(time.to_string().parse(), Ok(time));
        }

        #[test]
        fn days_follow_each_other(days in -719_528_i32..2_932_896) {
            let (date, next) = (Date::from_days(days), Date::from_days(days + 1));
            let (year, month, day) = date.ymd();
            prop_assert_eq!(Date::from_ymd(year, month, day), Some(date));
            let following = [(year, month, day + 1), (year, month + 1, 1), (year + 1, 1, 1)];
            prop_assert!(following.contains(&next.ymd()));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[0-9TZ:.-]{0,30}") {
            let _ = text.parse::<Timestamp>();
            let _ = text.parse::<Date>();
        }
    }
}
