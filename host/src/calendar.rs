//! Days and dates of the proleptic Gregorian calendar in UTC, by integer arithmetic.
//!
//! Times are µs and days are numbers, both counted from 1970-01-01 and negative before. Nothing here
//! knows leap seconds, time zones or a clock.
//!
//! Source of the two conversions: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms",
//! `days_from_civil` and `civil_from_days`. Years are counted from March, so that the leap day ends
//! one; 400 of them, an era, have a fixed number of days. Within an era 32 bits are enough, which
//! divide faster than 64.

use std::ops::Range;

/// µs of a day.
pub(crate) const DAY_MICROS: i64 = 86_400_000_000;

/// The instants of the years 1 to 9999: those that every sink can store and print.
pub(crate) const PRINTABLE: Range<i64> =
    days_from_civil(1, 1, 1) * DAY_MICROS..days_from_civil(10_000, 1, 1) * DAY_MICROS;

const DAYS_OF_ERA: i64 = 146_097;

/// Days from 0000-03-01, the first of an era, to 1970-01-01.
const EPOCH: i64 = 719_468;

/// The day that an instant lies in.
#[inline]
pub(crate) const fn day_of(micros: i64) -> i64 {
    micros.div_euclid(DAY_MICROS)
}

/// The day of a date: `month` is 1 to 12; a `day` from 1 on, which may run over the month's end.
#[inline]
pub(crate) const fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let (year, months_since_march) = if month <= 2 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let year_of_era = year.rem_euclid(400) as u32;
    let day_of_year = (153 * months_since_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    year.div_euclid(400) * DAYS_OF_ERA + day_of_era as i64 - EPOCH
}

/// Year, month (1 to 12) and day (1 to 31) of a day that some instant in an `i64` lies in.
#[inline]
pub(crate) const fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let days = days + EPOCH;
    let day_of_era = days.rem_euclid(DAYS_OF_ERA) as u32;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months_since_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months_since_march + 2) / 5 + 1;
    let (month, years) = if months_since_march < 10 {
        (months_since_march + 3, year_of_era)
    } else {
        (months_since_march - 9, year_of_era + 1)
    };
    let year = days.div_euclid(DAYS_OF_ERA) * 400 + years as i64;
    (year, month, day)
}

/// How many days a month (1 to 12) has.
#[inline]
pub(crate) const fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Datelike, NaiveDate};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn printable_instants_begin_with_the_year_1_and_end_with_9999() {
        let text = |micros| DateTime::from_timestamp_micros(micros).map(|time| time.to_string());
        assert_eq!(
            text(PRINTABLE.start).as_deref(),
            Some("0001-01-01 00:00:00 UTC")
        );
        assert_eq!(
            text(PRINTABLE.end - 1).as_deref(),
            Some("9999-12-31 23:59:59.999999 UTC")
        );
    }

    #[test]
    fn a_day_beyond_the_months_end_is_one_of_the_next() {
        assert_eq!(days_from_civil(2025, 2, 29), days_from_civil(2025, 3, 1));
        assert_eq!(days_from_civil(2025, 12, 32), days_from_civil(2026, 1, 1));
    }

    #[test]
    fn the_first_and_the_last_instant_have_dates() {
        for micros in [i64::MIN, i64::MAX] {
            let (year, month, day) = civil_from_days(day_of(micros));
            assert_eq!(days_from_civil(year, month, day), day_of(micros));
        }
        let (year, month, day) = civil_from_days(i64::from(i32::MIN));
        assert_eq!(days_from_civil(year, month, day), i64::from(i32::MIN));
    }

    proptest! {
        #[test]
        fn dates_are_those_of_chrono(days in -95_000_000i32..95_000_000) {
            let date = NaiveDate::from_epoch_days(days).expect("in chrono's range");
            let civil = civil_from_days(i64::from(days));
            prop_assert_eq!(civil, (i64::from(date.year()), date.month(), date.day()));
            prop_assert_eq!(days_from_civil(civil.0, civil.1, civil.2), i64::from(days));
        }

        #[test]
        fn the_day_of_an_instant_is_chronos(micros in any::<i64>()) {
            if let Some(time) = DateTime::from_timestamp_micros(micros) {
                prop_assert_eq!(day_of(micros), i64::from(time.date_naive().to_epoch_days()));
            }
        }

        #[test]
        fn months_are_as_long_as_chronos(year in -9_999i32..=9_999, month in 1u32..=12) {
            let first = NaiveDate::from_ymd_opt(year, month, 1).expect("in chrono's range");
            let days = u32::from(first.num_days_in_month());
            prop_assert_eq!(days_in_month(i64::from(year), month), days);
        }
    }
}
