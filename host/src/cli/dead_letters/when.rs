//! Times as people say them, and as they are shown.

use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat};

const HELP: &str = "a time is 2026-01-31, 2026-01-31T06:00:00Z, or how long ago: 30s, 90m, 2h, 3d";

/// Reads a time: ms since 1970 UTC. One without a zone is in UTC.
pub(super) fn since(text: &str) -> Result<i64, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |time| {
        i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
    });
    parse(text, now).ok_or_else(|| HELP.to_owned())
}

fn parse(text: &str, now: i64) -> Option<i64> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp_millis());
    }
    for format in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"] {
        if let Ok(time) = NaiveDateTime::parse_from_str(text, format) {
            return Some(time.and_utc().timestamp_millis());
        }
    }
    if let Ok(day) = text.parse::<NaiveDate>() {
        return Some(day.and_hms_opt(0, 0, 0)?.and_utc().timestamp_millis());
    }
    let (end, _) = text.char_indices().next_back()?;
    let (number, unit) = text.split_at(end);
    let unit = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let ago = number.parse::<u32>().ok()?;
    i64::from(ago).checked_mul(unit).map(|ago| now - ago)
}

/// A time for a person and for `--since`.
pub(super) fn shown(ms: i64) -> String {
    match DateTime::from_timestamp_millis(ms) {
        Some(time) => time.to_rfc3339_opts(SecondsFormat::Millis, true),
        None => format!("{ms} ms since 1970"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_moment_a_day_or_how_long_ago() {
        let now = 1_769_839_200_000; // 2026-01-31T06:00:00Z
        let at = |text| parse(text, now);
        assert_eq!(at("2026-01-31T06:00:00Z"), Some(now));
        assert_eq!(at("2026-01-31T07:00:00+01:00"), Some(now));
        assert_eq!(at("2026-01-31T06:00"), Some(now));
        assert_eq!(at("2026-01-31"), Some(now - 6 * 3_600_000));
        assert_eq!(at("6h"), Some(now - 6 * 3_600_000));
        assert_eq!(at("90m"), Some(now - 90 * 60_000));
        assert_eq!(at("3d"), Some(now - 3 * 86_400_000));
        for text in ["", "h", "yesterday", "-1h", "1w", "2026-13-01", "5é"] {
            assert_eq!(at(text), None, "{text}");
        }
        assert_eq!(shown(now), "2026-01-31T06:00:00.000Z");
    }
}
