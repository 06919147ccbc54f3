//! The hash of a value: 64 bits that are the same in every build, on every machine, for ever.
//!
//! States outlive the build that wrote them, so this is part of their format: XXH3-64 with seed 0 (the
//! xxHash specification, version 0.2.0) of the value's bytes, which are
//!
//! | type | bytes |
//! |---|---|
//! | `utf8`, `binary` | the value |
//! | `int64`, `decimal`, `timestamp` | the stored integer, 8 bytes, little-endian |
//! | `date` | the days since 1970, 4 bytes, little-endian |
//! | `boolean` | one byte, 0 or 1 |
//! | `float64` | its IEEE 754 bits, 8 bytes, little-endian; -0.0 as 0.0, every NaN as `0x7FF8000000000000` |

use wasmill_guest::Values;
use xxhash_rust::xxh3::xxh3_64;

/// Hashes the values that are there, each with its row.
pub(crate) fn each(values: &Values, validity: Option<&[u8]>, mut see: impl FnMut(usize, u64)) {
    let is_present = |row: usize| validity.is_none_or(|validity| validity[row] != 0);
    let mut hash = |row: usize, bytes: &[u8]| {
        if is_present(row) {
            see(row, xxh3_64(bytes));
        }
    };
    match values {
        Values::Bools(flags) => {
            for (row, &flag) in flags.iter().enumerate() {
                hash(row, &[flag]);
            }
        }
        Values::I32s(days) => {
            for (row, day) in days.iter().enumerate() {
                hash(row, &day.to_le_bytes());
            }
        }
        Values::I64s(integers) => {
            for (row, integer) in integers.iter().enumerate() {
                hash(row, &integer.to_le_bytes());
            }
        }
        Values::F64s(doubles) => {
            for (row, &double) in doubles.iter().enumerate() {
                hash(row, &canonical(double).to_le_bytes());
            }
        }
        Values::Bytes(values) => {
            for row in 0..values.len() {
                hash(row, values.get(row));
            }
        }
    }
}

/// The bits of a double, the same for those that are equal.
fn canonical(double: f64) -> u64 {
    if double.is_nan() {
        0x7FF8_0000_0000_0000
    } else {
        // -0.0 + 0.0 is 0.0.
        (double + 0.0).to_bits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(values: &Values) -> Vec<u64> {
        let mut hashes = Vec::new();
        each(values, None, |_, hash| hashes.push(hash));
        hashes
    }

    /// If this fails, the hash is another and stored states cannot be read any more.
    #[test]
    fn the_hash_is_the_one_that_states_were_written_with() {
        let texts = Values::Bytes(["", "a", "transaction"].into_iter().collect());
        assert_eq!(
            hashes(&texts),
            // The first is XXH3-64 of nothing in the specification's test vectors.
            [
                0x2D06_8005_38D3_94C2,
                0xE6C6_32B6_1E96_4E1F,
                0xC9DC_D814_52AF_5A38
            ]
        );
        assert_eq!(hashes(&Values::I64s(vec![1])), [0x2FBC_5935_64DB_792E]);
    }

    #[test]
    fn doubles_that_are_equal_have_one_hash() {
        let [positive, negative, nan, other] =
            hashes(&Values::F64s(vec![0.0, -0.0, f64::NAN, -f64::NAN]))
                .try_into()
                .unwrap();
        assert_eq!((positive, nan), (negative, other));
        assert_ne!(positive, nan);
    }

    #[test]
    fn missing_values_are_not_seen() {
        let mut rows = Vec::new();
        each(&Values::I32s(vec![1, 2, 3]), Some(&[1, 0, 1]), |row, _| {
            rows.push(row);
        });
        assert_eq!(rows, [0, 2]);
    }
}
