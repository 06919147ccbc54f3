//! A summary as bytes, in the state column `entries`.
//!
//! Byte 0 is the layout's version, 1. Then, for each value in ascending order: its length in two bytes,
//! its weight in eight (unscaled, greater than 0), and the value; all little-endian. An `int64` value
//! is eight bytes.

use crate::summary::Entry;

const LAYOUT_VERSION: u8 = 1;

/// Bytes that a value has at most: together with the capacity, they bound a state.
pub(crate) const VALUE_BYTES_MAX: usize = 1_024;

/// Appends a summary. `None` when a weight has no place in `weight_max`.
pub(crate) fn write(entries: &[Entry<'_>], weight_max: i64, out: &mut Vec<u8>) -> Option<()> {
    out.push(LAYOUT_VERSION);
    for entry in entries {
        let weight = i64::try_from(entry.weight)
            .ok()
            .filter(|weight| *weight <= weight_max)?;
        // Longer values were rejected before.
        out.extend((entry.value.len() as u16).to_le_bytes());
        out.extend(weight.to_le_bytes());
        out.extend(entry.value);
    }
    Some(())
}

/// Reads a summary, checked, and adds its entries to the others.
///
/// # Errors
///
/// When it is none.
pub(crate) fn read<'a>(bytes: &'a [u8], entries: &mut Vec<Entry<'a>>) -> Result<(), String> {
    let damaged = || "a stored state is damaged".to_owned();
    let (&version, mut rest) = bytes.split_first().ok_or_else(damaged)?;
    if version != LAYOUT_VERSION {
        return Err(format!(
            "a stored state has layout {version}: this build reads layout {LAYOUT_VERSION}"
        ));
    }
    let mut before: Option<&[u8]> = None;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk().ok_or_else(damaged)?;
        let (weight, after) = after.split_first_chunk().ok_or_else(damaged)?;
        let length = usize::from(u16::from_le_bytes(*length));
        let (value, after) = after.split_at_checked(length).ok_or_else(damaged)?;
        let weight = i64::from_le_bytes(*weight);
        if weight <= 0 || length > VALUE_BYTES_MAX || before.is_some_and(|before| before >= value) {
            return Err(damaged());
        }
        entries.push(Entry {
            value,
            weight: weight.into(),
        });
        (before, rest) = (Some(value), after);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn entry(value: &[u8], weight: i128) -> Entry<'_> {
        Entry { value, weight }
    }

    fn read_all(bytes: &[u8]) -> Result<Vec<Entry<'_>>, String> {
        let mut entries = Vec::new();
        read(bytes, &mut entries).map(|()| entries)
    }

    #[test]
    fn a_summary_has_the_layout_that_is_written_down() {
        let mut bytes = Vec::new();
        write(&[entry(b"", 1), entry(b"EU", 258)], i64::MAX, &mut bytes).unwrap();
        let expected = [
            &[1][..],
            &[0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
            &[2, 0, 2, 1, 0, 0, 0, 0, 0, 0, b'E', b'U'],
        ];
        assert_eq!(bytes, expected.concat());
        assert_eq!(
            read_all(&bytes).unwrap(),
            [entry(b"", 1), entry(b"EU", 258)]
        );
    }

    #[test]
    fn a_weight_that_has_no_place_is_none() {
        assert_eq!(write(&[entry(b"a", 1_001)], 1_000, &mut Vec::new()), None);
        assert_eq!(
            write(&[entry(b"a", i128::MAX)], i64::MAX, &mut Vec::new()),
            None
        );
    }

    #[test]
    fn bytes_that_are_no_summary_are_refused() {
        let mut good = Vec::new();
        write(&[entry(b"a", 1), entry(b"b", 2)], i64::MAX, &mut good).unwrap();
        assert!(read_all(&good[..good.len() - 1]).is_err(), "cut off");
        assert!(read_all(&[]).is_err(), "empty");
        let error = read_all(&[&[2], &good[1..]].concat()).unwrap_err();
        assert_eq!(
            error,
            "a stored state has layout 2: this build reads layout 1"
        );
        let swapped = [&good[..1], &good[12..], &good[1..12]].concat();
        assert!(read_all(&swapped).is_err(), "out of order");
        let twice = [&good[..12], &good[1..12]].concat();
        assert!(read_all(&twice).is_err(), "twice");
        let mut weightless = good.clone();
        weightless[3] = 0;
        assert!(read_all(&weightless).is_err(), "without weight");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = read_all(&bytes);
            let _ = read_all(&[&[1], bytes.as_slice()].concat());
        }
    }
}
