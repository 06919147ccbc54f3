//! XXH3 with 128 bits: finds every damage that is not made on purpose, at the speed of memory.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use xxhash_rust::xxh3::xxh3_128;

/// The checksum of some bytes; as text 32 small hexadecimal digits, as `xxhsum -H2` prints them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Checksum(u128);

impl Checksum {
    /// Digits of its text.
    pub(super) const DIGITS: usize = 32;

    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(xxh3_128(bytes))
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is no checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a checksum has 32 small hexadecimal digits")]
pub struct NoChecksum;

impl FromStr for Checksum {
    type Err = NoChecksum;

    fn from_str(text: &str) -> Result<Self, NoChecksum> {
        let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != Self::DIGITS || !text.bytes().all(is_digit) {
            return Err(NoChecksum);
        }
        u128::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| NoChecksum)
    }
}

impl Serialize for Checksum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Checksum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_that_of_other_tools() {
        // `printf '' | xxhsum -H2`
        let empty = "99aa06d3014798d86001c324468d497f";
        assert_eq!(Checksum::of(b"").to_string(), empty);
        assert_eq!(empty.parse(), Ok(Checksum::of(b"")));
    }

    #[test]
    fn only_its_own_text_is_read() {
        for wrong in [
            "",
            "99AA06D3014798D86001C324468D497F",
            "+9aa06d3014798d86001c324468d497f",
            "9",
        ] {
            assert_eq!(wrong.parse::<Checksum>(), Err(NoChecksum), "{wrong}");
        }
    }
}
