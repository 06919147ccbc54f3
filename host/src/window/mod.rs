//! Cutting event time into windows. Pure: reads no clock, does no I/O.
//!
//! # Invariants
//!
//! 1. Windows of one kind touch and never overlap: each instant lies in exactly one.
//! 2. A window is named by its start; its end follows from that.
//!
//! # Not here
//!
//! Which rows share a window and a key: [`crate::aggregate`].

use crate::calendar::{DAY_MICROS, PRINTABLE, civil_from_days, day_of, days_from_civil};
use crate::config::Every;

/// Tumbling windows of one length, in UTC.
///
/// Remembers the last window, because most instants lie in the same one as the instant before.
#[derive(Debug, Clone)]
pub struct Tumbling {
    every: Every,
    last: Option<(i64, i64)>,
}

impl Tumbling {
    /// Windows of this length.
    ///
    /// # Panics
    ///
    /// When the length is zero or negative, which the configuration refuses.
    #[must_use]
    pub fn new(every: Every) -> Self {
        let positive = match every {
            Every::Micros(n) => n > 0,
            Every::Days(n) | Every::Weeks(n) | Every::Months(n) | Every::Years(n) => n > 0,
        };
        assert!(positive, "a window has a length");
        Self { every, last: None }
    }

    /// Their length.
    pub(crate) fn every(&self) -> Every {
        self.every
    }

    /// µs of the units that every window is made of, the first of which begins where it starts: days
    /// where the calendar decides.
    pub(crate) fn unit(&self) -> i64 {
        match self.every {
            Every::Micros(length) => length,
            Every::Days(_) | Every::Weeks(_) | Every::Months(_) | Every::Years(_) => DAY_MICROS,
        }
    }

    /// The start of the window that `instant` lies in, both in µs since 1970 UTC; `None` for
    /// instants outside of the years 1 to 9999.
    pub fn start_of(&mut self, instant: i64) -> Option<i64> {
        if let Some((start, end)) = self.last
            && (start..end).contains(&instant)
        {
            return Some(start);
        }
        if !PRINTABLE.contains(&instant) {
            return None;
        }
        let start = start(self.every, instant);
        self.last = Some((start, self.end_of(start)));
        Some(start)
    }

    /// The exclusive end of the window that starts at `start`, in µs since 1970 UTC.
    #[must_use]
    pub fn end_of(&self, start: i64) -> i64 {
        end(self.every, start)
    }
}

fn start(every: Every, instant: i64) -> i64 {
    let day = day_of(instant);
    match every {
        Every::Micros(length) => instant.div_euclid(length).saturating_mul(length),
        Every::Days(n) => align(day, 0, i64::from(n)) * DAY_MICROS,
        // 1970-01-05 was a Monday.
        Every::Weeks(n) => align(day, 4, i64::from(n) * 7) * DAY_MICROS,
        Every::Months(n) => month_start(align(month_of(day), 0, i64::from(n))),
        Every::Years(n) => month_start(align(month_of(day), 0, i64::from(n) * 12)),
    }
}

fn end(every: Every, start: i64) -> i64 {
    let day = day_of(start);
    match every {
        Every::Micros(length) => start.saturating_add(length),
        Every::Days(n) => start.saturating_add(i64::from(n) * DAY_MICROS),
        Every::Weeks(n) => start.saturating_add(i64::from(n) * 7 * DAY_MICROS),
        Every::Months(n) => month_start(month_of(day) + i64::from(n)),
        Every::Years(n) => month_start(month_of(day) + i64::from(n) * 12),
    }
}

/// The greatest `origin + k · length` that is not above `value`.
fn align(value: i64, origin: i64, length: i64) -> i64 {
    origin + (value - origin).div_euclid(length) * length
}

/// Months since January 1970 of a day.
fn month_of(day: i64) -> i64 {
    let (year, month, _) = civil_from_days(day);
    (year - 1970) * 12 + i64::from(month) - 1
}

/// The first µs of a month that is counted from January 1970.
fn month_start(month: i64) -> i64 {
    let year = 1970 + month.div_euclid(12);
    let in_year = month.rem_euclid(12) as u32 + 1;
    days_from_civil(year, in_year, 1).saturating_mul(DAY_MICROS)
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Datelike, NaiveDate, TimeZone, Utc};
    use proptest::prelude::*;

    use super::*;

    fn micros(text: &str) -> i64 {
        text.parse::<DateTime<Utc>>()
            .expect("a literal of the test")
            .timestamp_micros()
    }

    fn window(every: Every, instant: &str) -> (i64, i64) {
        let mut windows = Tumbling::new(every);
        let start = windows.start_of(micros(instant)).expect("in range");
        (start, windows.end_of(start))
    }

    #[test]
    fn the_last_microsecond_of_a_year_is_in_its_december() {
        assert_eq!(
            window(Every::Months(1), "2025-12-31T23:59:59.999999Z"),
            (
                micros("2025-12-01T00:00:00Z"),
                micros("2026-01-01T00:00:00Z")
            )
        );
    }

    #[test]
    fn a_leap_day_is_a_day_of_its_own() {
        assert_eq!(
            window(Every::Days(1), "2024-02-29T12:00:00Z"),
            (
                micros("2024-02-29T00:00:00Z"),
                micros("2024-03-01T00:00:00Z")
            )
        );
    }

    #[test]
    fn weeks_begin_on_monday_across_a_year_end() {
        assert_eq!(
            window(Every::Weeks(1), "2026-01-01T00:00:00Z"),
            (
                micros("2025-12-29T00:00:00Z"),
                micros("2026-01-05T00:00:00Z")
            )
        );
    }

    #[test]
    fn instants_beyond_the_calendar_have_no_window() {
        let mut days = Tumbling::new(Every::Days(1));
        assert_eq!(days.start_of(i64::MIN), None);
        assert_eq!(days.start_of(i64::MAX), None);
        assert_eq!(
            days.start_of(micros("0001-01-01T00:00:00Z")),
            Some(PRINTABLE.start)
        );
        assert_eq!(days.start_of(PRINTABLE.end), None);
        assert_eq!(
            days.start_of(PRINTABLE.end - 1),
            Some(PRINTABLE.end - DAY_MICROS)
        );
    }

    fn lengths() -> impl Strategy<Value = Every> {
        prop_oneof![
            (1i64..10_000_000_000_000).prop_map(Every::Micros),
            (1u32..500).prop_map(Every::Days),
            (1u32..60).prop_map(Every::Weeks),
            (1u32..40).prop_map(Every::Months),
            (1u32..30).prop_map(Every::Years),
        ]
    }

    proptest! {
        #[test]
        fn an_instant_lies_in_its_window_and_windows_touch(every in lengths(), instant in PRINTABLE) {
            let mut windows = Tumbling::new(every);
            let start = windows.start_of(instant).expect("in range");
            let end = windows.end_of(start);
            prop_assert!(start <= instant && instant < end);
            if end < PRINTABLE.end {
                prop_assert_eq!(windows.start_of(end), Some(end));
            }
        }

        #[test]
        fn what_is_remembered_does_not_change_the_answer(every in lengths(), instants in prop::collection::vec(PRINTABLE, 1..20)) {
            let mut remembering = Tumbling::new(every);
            for instant in instants {
                prop_assert_eq!(remembering.start_of(instant), Tumbling::new(every).start_of(instant));
            }
        }

        #[test]
        fn calendar_windows_begin_where_chrono_says(instant in PRINTABLE) {
            let date = Utc.timestamp_micros(instant).single().expect("in range").date_naive();
            let midnight = |date: NaiveDate| date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros();
            let start = |every| Tumbling::new(every).start_of(instant);
            prop_assert_eq!(start(Every::Days(1)), Some(midnight(date)));
            prop_assert_eq!(start(Every::Months(1)), Some(midnight(date.with_day(1).expect("every month has one"))));
            prop_assert_eq!(start(Every::Years(1)), Some(midnight(date.with_ordinal(1).expect("every year has one"))));
        }
    }
}
