//! What is checked of a record's bytes before the JSON parser sees them.
//!
//! The parser skips a value by calling itself once a level, and does not look at the digits of
//! `\u` in what it skips. So both are checked here, and it needs no trust for either.

use std::str;

use memchr::memchr_iter;

/// Objects and arrays within each other at most.
pub(super) const NESTING_MAX: usize = 128;

/// The bytes as text that the parser can take.
///
/// # Errors
///
/// The reason why no record can be made of them, for a person.
pub(super) fn screen(value: &[u8]) -> Result<&str, String> {
    let text = str::from_utf8(value)
        .map_err(|error| format!("invalid UTF-8 after byte {}", error.valid_up_to()))?;
    if value.iter().all(u8::is_ascii_whitespace) {
        return Err("the record is empty".to_owned());
    }
    // Most records have so few brackets that they cannot be nested too deeply.
    if opening_brackets(value) > NESTING_MAX && nesting(value) > NESTING_MAX {
        return Err(format!(
            "more than {NESTING_MAX} objects and arrays within each other"
        ));
    }
    match bad_unicode_escape(value) {
        Some(at) => Err(format!(
            "not JSON: \\u without four hexadecimal digits at byte {at}"
        )),
        None => Ok(text),
    }
}

/// How many `{` and `[`, wherever they stand.
fn opening_brackets(value: &[u8]) -> usize {
    // The two differ in the bit 0x20 alone. A chunk's count fits a byte: that is what makes it fast.
    let in_chunk = |chunk: &[u8]| {
        let count: u8 = chunk.iter().map(|byte| u8::from(byte | 0x20 == b'{')).sum();
        usize::from(count)
    };
    value.chunks(255).map(in_chunk).sum()
}

/// How many objects and arrays are open at once at most, those in strings left out.
fn nesting(value: &[u8]) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    let mut in_string = false;
    let mut bytes = value.iter();
    while let Some(byte) = bytes.next() {
        match (in_string, byte) {
            (true, b'\\') => {
                bytes.next();
            }
            (_, b'"') => in_string = !in_string,
            (false, b'{' | b'[') => {
                open += 1;
                most = most.max(open);
            }
            (false, b'}' | b']') => open = open.saturating_sub(1),
            _ => {}
        }
    }
    most
}

/// Where a `\u` stands that four hexadecimal digits do not follow. In JSON a backslash stands in
/// strings only, so it need not be known where these begin and end.
fn bad_unicode_escape(value: &[u8]) -> Option<usize> {
    let mut escaped = None;
    for at in memchr_iter(b'\\', value) {
        if escaped == Some(at) {
            continue;
        }
        escaped = Some(at + 1);
        if value.get(at + 1) == Some(&b'u') {
            let digits = value.get(at + 2..at + 6);
            if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                return Some(at);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize) -> Vec<u8> {
        [vec![b'['; depth], vec![b']'; depth]].concat()
    }

    #[test]
    fn nesting_is_refused_beyond_its_limit() {
        assert!(screen(&nested(NESTING_MAX)).is_ok());
        assert!(screen(&nested(NESTING_MAX + 1)).is_err());
        assert!(screen(&vec![b'['; 10_000_000]).is_err());
    }

    #[test]
    fn many_brackets_beside_each_other_or_in_strings_are_fine() {
        let flat = format!("[{}]", vec!["{}"; 10_000].join(","));
        assert!(screen(flat.as_bytes()).is_ok());
        let text = format!("{{\"a\\\\\":\"\\\"{}\"}}", "[".repeat(10_000));
        assert!(screen(text.as_bytes()).is_ok());
        assert_eq!(nesting(text.as_bytes()), 1);
    }

    #[test]
    fn a_unicode_escape_has_four_digits() {
        assert_eq!(bad_unicode_escape(br#""\u00e9 \\u \" \uD83D\uDE00""#), None);
        assert_eq!(bad_unicode_escape(br#""\u00g9""#), Some(1));
        assert_eq!(bad_unicode_escape(br#""\\\u12""#), Some(3));
        assert_eq!(bad_unicode_escape(br"\u"), Some(0));
        assert_eq!(bad_unicode_escape(br"\"), None);
    }

    #[test]
    fn the_first_byte_that_is_no_text_is_named() {
        assert_eq!(
            screen(b"{\"a\":\"\xff\"}"),
            Err("invalid UTF-8 after byte 6".to_owned())
        );
    }
}
