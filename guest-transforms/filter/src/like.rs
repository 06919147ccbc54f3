//! Patterns of `like`: `%` is any text, `_` any one character.

/// A pattern, read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Byte(u8),
    AnyCharacter,
    AnyText,
}

impl Pattern {
    /// Reads a pattern; what follows `escape` stands for itself.
    ///
    /// # Errors
    ///
    /// When the pattern ends with `escape`.
    pub(crate) fn new(pattern: &str, escape: Option<char>) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            let literal = match c {
                c if Some(c) == escape => match chars.next() {
                    Some(next) => next,
                    None => return Err(format!("the pattern `{pattern}` ends with its escape")),
                },
                '%' => {
                    if parts.last() != Some(&Part::AnyText) {
                        parts.push(Part::AnyText);
                    }
                    continue;
                }
                '_' => {
                    parts.push(Part::AnyCharacter);
                    continue;
                }
                c => c,
            };
            let bytes = literal
                .encode_utf8(&mut [0; 4])
                .bytes()
                .map(Part::Byte)
                .collect::<Vec<_>>();
            parts.extend(bytes);
        }
        Ok(Self { parts })
    }

    /// Whether the whole text, which is UTF-8, is of this pattern.
    ///
    /// Where a part does not fit, the last `%` takes one character more: no earlier one can help, so
    /// the time is at most that of text times pattern.
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        let (mut at, mut part) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        loop {
            let fits = match self.parts.get(part) {
                None => at == text.len(),
                Some(Part::AnyText) => {
                    part += 1;
                    retry = Some((at, part));
                    continue;
                }
                Some(Part::Byte(byte)) => text.get(at) == Some(byte),
                Some(Part::AnyCharacter) => at < text.len(),
            };
            if !fits {
                let Some((from, after)) = retry.filter(|&(from, _)| from < text.len()) else {
                    return false;
                };
                at = from + character_len(text[from]);
                part = after;
                retry = Some((at, after));
                continue;
            }
            match self.parts.get(part) {
                None => return true,
                Some(Part::AnyCharacter) => at += character_len(text[at]),
                Some(_) => at += 1,
            }
            part += 1;
        }
    }
}

/// How many bytes the character has that begins with this one.
fn character_len(first: u8) -> usize {
    match first {
        0..0xC0 => 1,
        0xC0..0xE0 => 2,
        0xE0..0xF0 => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::new(pattern, None)
            .unwrap()
            .matches(text.as_bytes())
    }

    #[test]
    fn a_percent_sign_is_any_text() {
        assert!(matches("Acme%", "Acme"));
        assert!(matches("Acme%", "Acme Ltd"));
        assert!(!matches("Acme%", "The Acme"));
        assert!(matches("%me%L_d", "Acme Ltd"));
        assert!(matches("%aab", "aaaaaab"));
        assert!(matches("%", ""));
        assert!(!matches("", "a"));
        assert!(matches("", ""));
    }

    #[test]
    fn an_underscore_is_one_character_of_any_length() {
        assert!(matches("_", "é"));
        assert!(matches("a_c", "a🦀c"));
        assert!(!matches("_", ""));
        assert!(!matches("__", "é"));
        assert!(matches("%_", "🦀"));
    }

    #[test]
    fn what_follows_the_escape_stands_for_itself() {
        let pattern = Pattern::new(r"100\%\\", Some('\\')).unwrap();
        assert!(pattern.matches(br"100%\"));
        assert!(!pattern.matches(br"1000\"));
        let error = Pattern::new("a!", Some('!')).unwrap_err();
        assert_eq!(error, "the pattern `a!` ends with its escape");
        assert!(
            matches(r"\%", r"\n"),
            "there is no escape unless it is named"
        );
    }

    /// By recursion over characters, as the standard says it.
    fn plainly(pattern: &[char], text: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['%', rest @ ..] => (0..=text.len()).any(|from| plainly(rest, &text[from..])),
            ['_', rest @ ..] => !text.is_empty() && plainly(rest, &text[1..]),
            [c, rest @ ..] => text.first() == Some(c) && plainly(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn it_matches_what_the_plain_definition_matches(pattern in "[abé%_]{0,8}", text in "[abé]{0,10}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(matches(&pattern, &text), plainly(&chars(&pattern), &chars(&text)));
        }
    }
}
