//! Walks over a JSON text once, strictly by its grammar (RFC 8259), without building anything.
//!
//! Why not a library: a number's own text and strictness in what is skipped are needed, without an
//! allocation and without recursion. `sonic-rs`, tried first, gives the text only through its lazy
//! values, skips by recursion and past malformed `\u`; guarded against both it took twice as long.
//!
//! # Invariants
//!
//! 1. What is skipped is checked as strictly as what is read.
//! 2. Nothing calls itself: any text can be walked over on any stack.
//!
//! # Not here
//!
//! What the values mean: [`super::fields`], [`super::column`].

use std::fmt;

use thiserror::Error;

use super::number::Number;
use super::scan::plain_length;

/// Objects and arrays within each other at most.
pub(super) const NESTING_MAX: u32 = 128;

/// Where a text is not JSON, or not one that is read here. Small, because every step may return it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum JsonError {
    /// Another byte stands where the grammar wants this, or the text ends there.
    #[error("not JSON: expected {0} at byte {1}")]
    Syntax(Expected, u32),
    /// More than [`NESTING_MAX`] levels.
    #[error("more than {NESTING_MAX} objects and arrays within each other")]
    Nesting,
}

/// What could go on where a text is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    Value,
    Number,
    Name,
    Colon,
    CommaOrBrace,
    CommaOrBracket,
    EndOfString,
    Escape,
    EscapedControl,
    End,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Value => "a value",
            Self::Number => "a number",
            Self::Name => "a name",
            Self::Colon => "`:`",
            Self::CommaOrBrace => "`,` or `}`",
            Self::CommaOrBracket => "`,` or `]`",
            Self::EndOfString => "the end of a string",
            Self::Escape => "an escape that exists",
            Self::EscapedControl => "a control character to be escaped",
            Self::End => "the end",
        })
    }
}

/// A string as it stands between its quotes.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawString<'t> {
    /// the text, with its escapes
    pub(super) text: &'t [u8],
    /// whether it has any
    pub(super) escaped: bool,
}

/// A place in a JSON text.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'t> {
    text: &'t [u8],
    /// the text, and what follows it in memory
    beyond: &'t [u8],
    at: usize,
}

impl<'t> Cursor<'t> {
    /// At the first byte of a text, which is UTF-8. `beyond` begins with the text; what follows it means nothing, but to
    /// have it lets the last values of the text be read like others.
    pub(super) fn new(text: &'t [u8], beyond: &'t [u8]) -> Self {
        debug_assert!(beyond.starts_with(text), "it begins with the text");
        let at = 0;
        Self { text, beyond, at }
    }

    /// The text and what follows it in memory, where in it the cursor is, and where the text ends.
    #[inline]
    pub(super) fn open(&self) -> (&'t [u8], usize, usize) {
        (self.beyond, self.at, self.text.len())
    }

    /// Goes to a place further on, at most the end of the text.
    #[inline]
    pub(super) fn go_on_at(&mut self, at: usize) {
        self.at = at;
    }

    /// The next byte that is no space, which stays. A text that is at its end has a 0, which is
    /// nowhere allowed.
    #[inline]
    pub(super) fn peek(&mut self) -> u8 {
        // Mostly there is one space, or none.
        self.at += usize::from(self.byte() == b' ');
        match self.byte() {
            b' ' | b'\n' | b'\r' | b'\t' => self.peek_beyond_spaces(),
            byte => byte,
        }
    }

    #[cold]
    fn peek_beyond_spaces(&mut self) -> u8 {
        while let b' ' | b'\n' | b'\r' | b'\t' = self.byte() {
            self.at += 1;
        }
        self.byte()
    }

    #[inline]
    fn byte(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    /// Steps over the byte that [`peek`](Self::peek) returned.
    #[inline]
    pub(super) fn step(&mut self) {
        self.at += 1;
    }

    /// Steps over exactly this text, if it stands here.
    #[inline]
    pub(super) fn eat(&mut self, text: &[u8]) -> bool {
        let found = self.text[self.at..].starts_with(text);
        self.at += if found { text.len() } else { 0 };
        found
    }

    /// Steps over the colon after a name.
    #[inline]
    pub(super) fn colon(&mut self) -> Result<(), JsonError> {
        if self.peek() != b':' {
            return Err(self.error(Expected::Colon));
        }
        self.step();
        Ok(())
    }

    /// That there is nothing but spaces left.
    pub(super) fn end(&mut self) -> Result<(), JsonError> {
        if self.peek() != 0 || self.at < self.text.len() {
            return Err(self.error(Expected::End));
        }
        Ok(())
    }

    /// The error that something else stands here.
    #[cold]
    pub(super) fn error(&self, expected: Expected) -> JsonError {
        // A batch holds less than 4 GiB, and so does a record.
        JsonError::Syntax(expected, self.at as u32)
    }

    /// Reads the string whose opening quote stands here. Its escapes are well formed, but may be
    /// halves of surrogate pairs.
    #[inline]
    pub(super) fn string(&mut self) -> Result<RawString<'t>, JsonError> {
        let start = self.at + 1;
        let end = start + plain_length(self.text, start);
        self.at = end;
        if self.text.get(end) == Some(&b'"') {
            self.at = end + 1;
            let text = &self.text[start..end];
            return Ok(RawString {
                text,
                escaped: false,
            });
        }
        self.string_with_escapes(start)
    }

    /// Reads on from the first byte of a string that does not stand for itself.
    fn string_with_escapes(&mut self, start: usize) -> Result<RawString<'t>, JsonError> {
        loop {
            match self.text.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => self.skip_escape()?,
                Some(_) => return Err(self.error(Expected::EscapedControl)),
                None => return Err(self.error(Expected::EndOfString)),
            }
            self.at += plain_length(self.text, self.at);
        }
        let text = &self.text[start..self.at];
        self.at += 1;
        Ok(RawString {
            text,
            escaped: true,
        })
    }

    fn skip_escape(&mut self) -> Result<(), JsonError> {
        let length = match &self.text[self.at + 1..] {
            [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
            [b'u', a, b, c, d, ..]
                if [a, b, c, d].iter().all(|digit| digit.is_ascii_hexdigit()) =>
            {
                6
            }
            _ => return Err(self.error(Expected::Escape)),
        };
        self.at += length;
        Ok(())
    }

    /// Reads the number that begins here.
    #[inline]
    pub(super) fn number(&mut self) -> Result<Number<'t>, JsonError> {
        let number = Number::at_start(&self.text[self.at..]);
        let number = number.ok_or_else(|| self.error(Expected::Number))?;
        self.at += number.text.len();
        Ok(number)
    }

    /// Reads `true`, `false` (as that) or `null` (as none).
    pub(super) fn word(&mut self) -> Result<Option<bool>, JsonError> {
        if self.eat(b"true") {
            Ok(Some(true))
        } else if self.eat(b"false") {
            Ok(Some(false))
        } else if self.eat(b"null") {
            Ok(None)
        } else {
            Err(self.error(Expected::Value))
        }
    }

    /// Skips a field's name and the colon.
    fn skip_name(&mut self) -> Result<(), JsonError> {
        if self.peek() != b'"' {
            return Err(self.error(Expected::Name));
        }
        self.string()?;
        self.colon()
    }

    /// Skips the value that begins here, `depth` levels down.
    pub(super) fn skip_value(&mut self, depth: u32) -> Result<(), JsonError> {
        // One bit for each level that is open here, the innermost lowest: whether it is an object.
        let mut levels = 0_u128;
        let mut open = 0;
        loop {
            match self.peek() {
                bracket @ (b'{' | b'[') => {
                    self.step();
                    let object = bracket == b'{';
                    if depth + open >= NESTING_MAX {
                        return Err(JsonError::Nesting);
                    }
                    // The closing one is two further in ASCII.
                    if self.peek() == bracket + 2 {
                        self.step();
                    } else {
                        levels = levels << 1 | u128::from(object);
                        open += 1;
                        if object {
                            self.skip_name()?;
                        }
                        continue;
                    }
                }
                b'"' => {
                    self.string()?;
                }
                b'-' | b'0'..=b'9' => {
                    self.number()?;
                }
                _ => {
                    self.word()?;
                }
            }
            if self.close(&mut levels, &mut open)? {
                return Ok(());
            }
        }
    }

    /// After a value: closes the levels that end here, and tells whether none is left. Otherwise
    /// steps to where the next value begins.
    fn close(&mut self, levels: &mut u128, open: &mut u32) -> Result<bool, JsonError> {
        while *open > 0 {
            let object = *levels & 1 == 1;
            match (self.peek(), object) {
                (b',', true) => {
                    self.step();
                    self.skip_name()?;
                    return Ok(false);
                }
                (b',', false) => {
                    self.step();
                    return Ok(false);
                }
                (b'}', true) | (b']', false) => {
                    self.step();
                    *levels >>= 1;
                    *open -= 1;
                }
                (_, true) => return Err(self.error(Expected::CommaOrBrace)),
                (_, false) => return Err(self.error(Expected::CommaOrBracket)),
            }
        }
        Ok(true)
    }
}

impl RawString<'_> {
    /// Writes the text that this stands for into `into`, which is empty before.
    ///
    /// # Errors
    ///
    /// Where it has half of a surrogate pair, which is no character.
    pub(super) fn unescape(self, into: &mut Vec<u8>) -> Result<(), &'static str> {
        let mut rest = self.text;
        while let Some(at) = memchr::memchr(b'\\', rest) {
            into.extend_from_slice(&rest[..at]);
            let (character, length) = match rest[at + 1] {
                b'u' => unicode(&rest[at..]).ok_or("the string has half of a surrogate pair")?,
                b'b' => ('\u{8}', 2),
                b'f' => ('\u{c}', 2),
                b'n' => ('\n', 2),
                b'r' => ('\r', 2),
                b't' => ('\t', 2),
                itself => (char::from(itself), 2),
            };
            into.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            rest = &rest[at + length..];
        }
        into.extend_from_slice(rest);
        Ok(())
    }
}

/// The character of the `\uXXXX` or `\uXXXX\uXXXX` that a text begins with, and its length.
fn unicode(text: &[u8]) -> Option<(char, usize)> {
    let unit = |at: usize| {
        let digits = str::from_utf8(text.get(at + 2..at + 6)?).ok()?;
        u32::from_str_radix(digits, 16).ok()
    };
    match unit(0)? {
        high @ 0xd800..0xdc00 if text[6..].starts_with(b"\\u") => match unit(6)? {
            low @ 0xdc00..0xe000 => {
                let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                Some((char::from_u32(code)?, 12))
            }
            _ => None,
        },
        code => Some((char::from_u32(code)?, 6)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn skip(text: &str) -> Result<(), JsonError> {
        let mut cursor = Cursor::new(text.as_bytes(), text.as_bytes());
        cursor.skip_value(0)?;
        cursor.end()
    }

    #[test]
    fn nesting_is_refused_beyond_its_limit() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let most = NESTING_MAX as usize;
        assert_eq!(skip(&nested(most)), Ok(()));
        assert_eq!(skip(&nested(most + 1)), Err(JsonError::Nesting));
        assert_eq!(skip(&"[".repeat(10_000_000)), Err(JsonError::Nesting));
        assert_eq!(skip(&"{\"a\":".repeat(10_000_000)), Err(JsonError::Nesting));
        let inner = format!("[{}]", vec![nested(most - 1); 3].join(","));
        assert_eq!(skip(&inner), Ok(()));
    }

    #[test]
    fn objects_and_arrays_are_told_apart_at_every_level() {
        assert_eq!(skip(r#"[{"a":[{"b":[]}, {}]}, [[{}]]]"#), Ok(()));
        for text in [
            r#"[{"a":1]]"#,
            r#"{"a":[1}}"#,
            r#"[{"a":[1]},"b":2]"#,
            r#"{"a":[1,"b":2]}"#,
            "{1}",
            "[}",
            "{]",
        ] {
            assert!(skip(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_place_of_the_mistake_is_named() {
        let error = skip(r#"{"a": 1 "b": 2}"#).unwrap_err();
        assert_eq!(error.to_string(), "not JSON: expected `,` or `}` at byte 8");
    }

    #[test]
    fn a_zero_byte_is_not_the_end() {
        assert!(skip("[1]\0").is_err());
        assert!(skip("\0").is_err());
    }

    proptest! {
        #[test]
        fn a_text_is_json_exactly_if_serde_json_can_skip_it(text in "[\\[\\]{},:\" a0-]{0,12}|\\[(null|true|-0|1e5|\"\\\\[nu\"/x]0?0?e?9?\"|[,\\[\\]]){0,6}\\]") {
            let expected = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            prop_assert_eq!(skip(&text).is_ok(), expected, "{}", text);
        }
    }
}
