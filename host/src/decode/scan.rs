//! Sixteen bytes of a text at a time: where it stops being plain, where digits end, whether a name
//! stands there.
//!
//! SSE2, which every `x86_64` has, does each of these in a handful of instructions and without a branch
//! that depends on how long a value is. Elsewhere the same is written out.

/// Bytes that are looked at together.
pub(super) type Chunk = [u8; 16];

/// The bytes from `at` on, if there are as many.
#[inline]
pub(super) fn chunk(text: &[u8], at: usize) -> Option<&Chunk> {
    text.get(at..)?.first_chunk()
}

/// How many bytes come before the first that is a quote, a backslash or a control character.
#[inline]
pub(super) fn plain(chunk: &Chunk) -> usize {
    // Bit 16 for a chunk that has none.
    (special_bits(chunk) | 1 << 16).trailing_zeros() as usize
}

/// How many bytes of a text come before the first such byte from `at` on.
#[inline]
pub(super) fn plain_length(text: &[u8], at: usize) -> usize {
    let mut end = at;
    while let Some(chunk) = chunk(text, end) {
        let length = plain(chunk);
        end += length;
        if length < chunk.len() {
            return end - at;
        }
    }
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..b' ');
    let rest = text.get(end..).unwrap_or_default();
    end - at + rest.iter().position(special).unwrap_or(rest.len())
}

/// The bytes that are no digits, as bits, the first one lowest; bit 16 is set too.
#[inline]
pub(super) fn non_digits(chunk: &Chunk) -> u32 {
    !digit_bits(chunk) & 0xffff | 1 << 16
}

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128,
        _mm_set1_epi8, _mm_sub_epi8,
    };

    use super::Chunk;

    #[inline]
    pub(super) fn special_bits(chunk: &Chunk) -> u32 {
        // SAFETY: every x86_64 has SSE2; the load reads the 16 bytes of `chunk`, at any alignment.
        unsafe {
            let bytes = _mm_loadu_si128(chunk.as_ptr().cast());
            let quotes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"'.cast_signed()));
            let backslashes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\'.cast_signed()));
            let controls = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
            let found = _mm_or_si128(_mm_or_si128(quotes, backslashes), controls);
            _mm_movemask_epi8(found).cast_unsigned()
        }
    }

    #[inline]
    pub(super) fn digit_bits(chunk: &Chunk) -> u32 {
        // SAFETY: as above.
        unsafe {
            let bytes = _mm_loadu_si128(chunk.as_ptr().cast());
            let values = _mm_sub_epi8(bytes, _mm_set1_epi8(b'0'.cast_signed()));
            let digits = _mm_cmpeq_epi8(_mm_min_epu8(values, _mm_set1_epi8(9)), values);
            _mm_movemask_epi8(digits).cast_unsigned()
        }
    }

    #[inline]
    pub(super) fn equal_bits(chunk: &Chunk, other: &Chunk) -> u32 {
        // SAFETY: as above, for both.
        unsafe {
            let bytes = _mm_loadu_si128(chunk.as_ptr().cast());
            let others = _mm_loadu_si128(other.as_ptr().cast());
            _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, others)).cast_unsigned()
        }
    }
}

#[cfg(target_arch = "x86_64")]
use sse2::{digit_bits, equal_bits, special_bits};

#[cfg(not(target_arch = "x86_64"))]
use portable::{digit_bits, equal_bits, special_bits};

#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable {
    use super::Chunk;

    #[inline]
    pub(super) fn special_bits(chunk: &Chunk) -> u32 {
        bits(chunk.map(|byte| matches!(byte, b'"' | b'\\' | 0..b' ')))
    }

    #[inline]
    pub(super) fn digit_bits(chunk: &Chunk) -> u32 {
        bits(chunk.map(|byte| byte.is_ascii_digit()))
    }

    #[inline]
    pub(super) fn equal_bits(chunk: &Chunk, other: &Chunk) -> u32 {
        bits(std::array::from_fn(|at| chunk[at] == other[at]))
    }

    #[inline]
    fn bits(ones: [bool; 16]) -> u32 {
        let ones = (0..).zip(ones);
        ones.fold(0, |bits, (at, one)| bits | u32::from(one) << at)
    }
}

/// A text of at most 32 bytes that is looked for at one place.
#[derive(Debug)]
pub(super) struct Pattern {
    length: usize,
    /// its first 16 bytes, then the others
    parts: [Part; 2],
}

#[derive(Debug)]
struct Part {
    bytes: Chunk,
    /// which of them there are, as bits
    present: u32,
}

impl Pattern {
    /// `None` for a text that is longer.
    pub(super) fn new(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; 32];
        bytes.get_mut(..text.len())?.copy_from_slice(text);
        let (parts, _) = bytes.as_chunks::<16>();
        let part = |part: usize| {
            let length = text.len().saturating_sub(16 * part).min(16);
            Part {
                bytes: parts[part],
                present: (1 << length) - 1,
            }
        };
        Some(Self {
            length: text.len(),
            parts: [part(0), part(1)],
        })
    }

    /// Where a text goes on behind it, if it stands at this place, 32 bytes before the text's end.
    #[inline]
    pub(super) fn behind(&self, text: &[u8], at: usize) -> Option<usize> {
        let [head, tail] = &self.parts;
        let is_there = |part: &Part, at| {
            Some(equal_bits(chunk(text, at)?, &part.bytes) & part.present == part.present)
        };
        let found = is_there(head, at)? && (self.length <= 16 || is_there(tail, at + 16)?);
        found.then_some(at + self.length)
    }
}

/// The number that the first `length` bytes are, all of them digits; the others do not matter.
#[inline]
pub(super) fn number(bytes: [u8; 8], length: usize) -> u64 {
    let digits = u64::from_le_bytes(bytes).unbounded_shl(64 - 8 * length as u32);
    // Neighbours are added up: single digits, then pairs, then fours.
    let digits = (digits & 0x0f0f_0f0f_0f0f_0f0f).wrapping_mul(10 << 8 | 1) >> 8;
    let pairs = (digits & 0x00ff_00ff_00ff_00ff).wrapping_mul(100 << 16 | 1) >> 16;
    (pairs & 0x0000_ffff_0000_ffff).wrapping_mul(10_000 << 32 | 1) >> 32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_text_is_plain_up_to_its_first_special_byte(text in "[ -~é漢]{0,40}[\"\\\\\u{0}-\u{1f}]?\\PC{0,10}", at in 0_usize..9) {
            let at = at.min(text.len());
            let expected = text.bytes().skip(at).position(|byte| byte == b'"' || byte == b'\\' || byte < 0x20);
            prop_assert_eq!(plain_length(text.as_bytes(), at), expected.unwrap_or(text.len() - at));
        }

        #[test]
        fn every_processor_finds_the_same(chunk: Chunk, other: Chunk) {
            prop_assert_eq!(special_bits(&chunk), portable::special_bits(&chunk));
            prop_assert_eq!(digit_bits(&chunk), portable::digit_bits(&chunk));
            prop_assert_eq!(equal_bits(&chunk, &other), portable::equal_bits(&chunk, &other));
        }

        #[test]
        fn a_pattern_is_found_where_it_stands_and_nowhere_else(name in "[ab]{0,32}", before in "[ab]{0,3}", after in "[ab]{32}") {
            let text = format!("{before}{name}{after}");
            let pattern = Pattern::new(name.as_bytes()).expect("short enough");
            for at in 0..=before.len() + name.len() {
                let expected = text[at..].starts_with(&name).then_some(at + name.len());
                prop_assert_eq!(pattern.behind(text.as_bytes(), at), expected);
            }
        }

        #[test]
        fn digits_are_a_number(digits in "[0-9]{0,8}", other: u8) {
            let mut bytes = [other; 8];
            bytes[..digits.len()].copy_from_slice(digits.as_bytes());
            prop_assert_eq!(number(bytes, digits.len()), digits.parse().unwrap_or(0));
        }
    }
}
