//! Days and civil dates of the proleptic Gregorian calendar, by integer arithmetic.
//!
//! Source of both algorithms: Howard Hinnant, "chrono-compatible low-level date algorithms"
//! (`days_from_civil`, `civil_from_days`): years are counted from March, in eras of 400 years.

/// µs of a day.
pub(crate) const DAY_MICROS: i64 = 86_400_000_000;

/// Days since 1970-01-01 of a date. `month` is 1 to 12; a `day` beyond the month's end runs over.
pub(crate) fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = i64::from((month + 9) % 12);
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month (1 to 12) and day (1 to 31) of a day counted from 1970-01-01.
pub(crate) fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month = if month_from_march < 10 {
        month_from_march as u32 + 3
    } else {
        month_from_march as u32 - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use chrono::{Datelike, NaiveDate};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn dates_are_those_of_chrono(days in -5_000_000i32..5_000_000) {
            let date = NaiveDate::from_epoch_days(days).expect("in chrono's range");
            let civil = civil_from_days(i64::from(days));
            prop_assert_eq!(civil, (i64::from(date.year()), date.month(), date.day()));
            prop_assert_eq!(days_from_civil(civil.0, civil.1, civil.2), i64::from(days));
        }
    }
}
