//! Times in the forms in which records have them.

use wasmill_guest::{Date, Timestamp};

const MINUTE_MICROS: i64 = 60_000_000;
const DAY_MICROS: i64 = 24 * 60 * MINUTE_MICROS;

/// µs since 1970 of `2025-03-01T12:30:00.5`, with `Z`, an offset such as `+01:00` or neither (UTC),
/// and perhaps a space instead of the `T`; or of `2025-03-01`, which is midnight in UTC.
pub(crate) fn timestamp(text: &str) -> Option<i64> {
    if let Ok(date) = text.parse::<Date>() {
        return i64::from(date.days()).checked_mul(DAY_MICROS);
    }
    let (date, time) = text.split_at_checked(10)?;
    let time = time.strip_prefix(['T', ' '])?;
    let (time, offset) = match time.rfind(['+', '-']) {
        Some(at) if !time[..at].ends_with('Z') => (&time[..at], offset(&time[at..])?),
        Some(_) => return None,
        None => (time.strip_suffix('Z').unwrap_or(time), 0),
    };
    let mut buffer = [0; 32];
    let local: Timestamp = joined(&mut buffer, [date, "T", time])?.parse().ok()?;
    local.micros().checked_sub(offset)
}

/// µs of `+01:00`.
fn offset(text: &str) -> Option<i64> {
    let &[sign, h1, h2, b':', m1, m2] = text.as_bytes() else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(10).map(i64::from);
    let hours = digit(h1)? * 10 + digit(h2)?;
    let minutes = digit(m1)? * 10 + digit(m2)?;
    let micros = (hours * 60 + minutes) * MINUTE_MICROS;
    let exists = hours < 24 && minutes < 60;
    exists.then_some(if sign == b'-' { -micros } else { micros })
}

/// The parts in a row, without allocating. `None` if they are too long.
fn joined<'a>(buffer: &'a mut [u8; 32], parts: [&str; 3]) -> Option<&'a str> {
    let mut end = 0;
    for part in parts {
        let place = buffer.get_mut(end..end + part.len())?;
        place.copy_from_slice(part.as_bytes());
        end += part.len();
    }
    std::str::from_utf8(&buffer[..end]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    #[test]
    fn a_time_is_read_in_the_forms_of_records() {
        let noon = 1_740_830_400_000_000;
        for text in [
            "2025-03-01T12:00:00Z",
            "2025-03-01T12:00:00",
            "2025-03-01 12:00:00",
            "2025-03-01T13:00:00+01:00",
            "2025-03-01T06:30:00.000-05:30",
        ] {
            assert_eq!(timestamp(text), Some(noon), "{text}");
        }
        assert_eq!(timestamp("2025-03-01"), Some(noon - DAY_MICROS / 2));
        assert_eq!(timestamp("2025-03-01T12:00:00.000001Z"), Some(noon + 1));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "noon",
            "2025-02-29",
            "2025-03-01T",
            "2025-03-01T25:00:00Z",
            "2025-03-01T12:00:00+1:00",
            "2025-03-01T12:00:00+24:00",
            "2025-03-01T12:00:00Z+01:00",
            "2025-03-01T12:00:00.0000000000000000000000000000Z",
            "2025-03-0éT12:00:00Z",
        ] {
            assert_eq!(timestamp(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[0-9TZ:+. é-]{0,40}") {
            let _ = timestamp(&text);
        }
    }
}
