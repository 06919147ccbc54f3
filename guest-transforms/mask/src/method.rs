//! The methods, value by value.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// Hexadecimal digits of a SHA-256.
pub(crate) const HASH_DIGITS: u8 = 64;

/// Makes hashes of values: HMAC-SHA-256 (RFC 2104) under a secret, or SHA-256 without one.
#[derive(Clone)]
pub(crate) struct Hasher {
    /// with the key already in it, so that a value costs no more than its own blocks
    keyed: Option<Hmac<Sha256>>,
    /// hexadecimal digits that are kept
    digits: u8,
}

impl std::fmt::Debug for Hasher {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hasher")
            .field("digits", &self.digits)
            .finish_non_exhaustive()
    }
}

impl Hasher {
    pub(crate) fn new(key: Option<&str>, digits: u8) -> Self {
        let keyed =
            key.map(|key| Hmac::new_from_slice(key.as_bytes()).expect("a key may have any length"));
        Self { keyed, digits }
    }

    /// Appends the first digits of the value's hash, in lower case.
    pub(crate) fn hash(&self, value: &[u8], out: &mut Vec<u8>) {
        let hash: [u8; 32] = match &self.keyed {
            None => Sha256::digest(value).into(),
            Some(keyed) => {
                let mut keyed = keyed.clone();
                keyed.update(value);
                keyed.finalize().into_bytes().into()
            }
        };
        let digits = hash.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        out.extend(
            digits
                .take(self.digits.into())
                .map(|digit| b"0123456789abcdef"[usize::from(digit)]),
        );
    }
}

/// Appends the first and last characters of a text, with `with` for what stands between. A text that
/// is no longer than both together is hidden whole.
pub(crate) fn ends(text: &str, first: usize, last: usize, with: &str, out: &mut Vec<u8>) {
    let begin = text.char_indices().nth(first).map(|(at, _)| at);
    let end = match last {
        0 => Some(text.len()),
        _ => text.char_indices().nth_back(last - 1).map(|(at, _)| at),
    };
    match (begin, end) {
        (Some(begin), Some(end)) if begin < end => {
            out.extend_from_slice(&text.as_bytes()[..begin]);
            out.extend_from_slice(with.as_bytes());
            out.extend_from_slice(&text.as_bytes()[end..]);
        }
        _ => out.extend_from_slice(with.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn hash(key: Option<&str>, digits: u8, value: &str) -> String {
        let mut out = Vec::new();
        Hasher::new(key, digits).hash(value.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn without_a_key_it_is_sha_256() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(
            hash(None, 64, "abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(hash(None, 7, "abc"), "ba7816b");
    }

    #[test]
    fn with_a_key_it_is_hmac_sha_256() {
        // RFC 4231, test case 2.
        assert_eq!(
            hash(Some("Jefe"), 64, "what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    fn shortened(text: &str, first: usize, last: usize) -> String {
        let mut out = Vec::new();
        ends(text, first, last, "…", &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_ends_of_a_text_are_kept() {
        assert_eq!(shortened("4111111111111234", 0, 4), "…1234");
        assert_eq!(shortened("CUST-00042", 4, 0), "CUST…");
        assert_eq!(shortened("Zoë🦀é", 1, 2), "Z…🦀é");
    }

    #[test]
    fn a_text_that_would_be_kept_whole_is_hidden_whole() {
        for text in ["", "1", "1234", "Zoë🦀"] {
            assert_eq!(shortened(text, 2, 2), "…");
        }
        assert_eq!(shortened("1234", 4, 0), "…");
        assert_eq!(shortened("abc", 0, 0), "…");
    }

    proptest! {
        #[test]
        fn no_more_characters_are_kept_than_asked_for(text in ".{0,12}", first in 0_usize..6, last in 0_usize..6) {
            let chars: Vec<_> = text.chars().collect();
            let expected = if chars.len() > first + last {
                let (head, tail) = (&chars[..first], &chars[chars.len() - last..]);
                head.iter().chain(&['…']).chain(tail).collect()
            } else {
                "…".to_owned()
            };
            prop_assert_eq!(shortened(&text, first, last), expected);
        }
    }
}
