//! The text of `pipeline.toml` as reports may quote it: with passwords and URLs starred out.
//!
//! A report shows the lines around a mistake, and a password may stand in one of them. Masking keeps
//! every byte offset, so spans of the original fit.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// Parts of keys whose values are not for showing.
const SECRET_WORDS: [&str; 6] = [
    "password",
    "passwd",
    "secret",
    "token",
    "credential",
    "sasl.jaas",
];

/// `text` with every secret value starred out, byte for byte. `root` is what was parsed of it;
/// `damaged` says that this may not be all of it.
pub(super) fn secrets(text: &str, root: &DeTable<'_>, damaged: bool) -> String {
    let mut spans = Vec::new();
    in_table(root, &mut spans);
    in_lines(text, damaged, &mut spans);
    let mut bytes = text.as_bytes().to_vec();
    for span in spans {
        star_out(text, span, &mut bytes);
    }
    String::from_utf8(bytes).expect("stars replace whole characters")
}

fn in_table(table: &DeTable<'_>, spans: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        // Below `columns` the keys are names of columns, and the values not secret.
        if key.get_ref() != "columns" {
            in_value(is_secret(key.get_ref()), value, spans);
        }
    }
}

fn in_value(secret: bool, value: &toml::Spanned<DeValue<'_>>, spans: &mut Vec<Range<usize>>) {
    match value.get_ref() {
        DeValue::String(text) if secret || has_userinfo(text) => spans.push(value.span()),
        DeValue::Array(values) => {
            for value in values {
                in_value(secret, value, spans);
            }
        }
        DeValue::Table(table) => in_table(table, spans),
        _ => {}
    }
}

/// What comments may hold, and all lines of a damaged file: whatever follows a secret key, any URL, and
/// what looks like the rest of one with a user.
fn in_lines(text: &str, damaged: bool, spans: &mut Vec<Range<usize>>) {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let end = start + line.len();
        if !damaged && !line.trim_start().starts_with('#') {
            start = end;
            continue;
        }
        let secret = match line.split_once('=') {
            Some((key, _)) => {
                is_secret(key) || SECRET_WORDS.iter().any(|word| contains(line, word))
            }
            None => false,
        };
        if secret || line.contains("://") || has_user(line) {
            let value = line.find('=').map_or(0, |equals| equals + 1);
            spans.push(start + value..end);
        }
        start = end;
    }
}

fn is_secret(key: &str) -> bool {
    let key = key.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '#'));
    key.eq_ignore_ascii_case("url") || SECRET_WORDS.iter().any(|word| contains(key, word))
}

fn contains(text: &str, word: &str) -> bool {
    text.to_ascii_lowercase().contains(word)
}

/// Whether this holds something like `scheme://user:password@host`.
pub(super) fn has_userinfo(text: &str) -> bool {
    text.split_once("://")
        .is_some_and(|(_, rest)| rest.contains('@'))
}

/// Whether an `@` follows a word, as in `password@host` and not in `"@key"`.
fn has_user(line: &str) -> bool {
    line.match_indices('@')
        .any(|(at, _)| line[..at].ends_with(|c: char| !c.is_whitespace() && c != '"' && c != '\''))
}

/// Stars out `span`, but for quotes, white space, and `${NAME:-` and `}`, which help to find the mistake.
fn star_out(text: &str, span: Range<usize>, bytes: &mut [u8]) {
    let mut kept_until = span.start;
    for (at, c) in text[span.clone()].char_indices() {
        let at = span.start + at;
        if at < kept_until || c.is_ascii_whitespace() || matches!(c, '"' | '\'' | '}') {
            continue;
        }
        let variable = variable_length(&text[at..span.end]);
        if variable > 0 {
            kept_until = at + variable;
            continue;
        }
        bytes[at..at + c.len_utf8()].fill(b'*');
    }
}

/// Bytes of `${NAME` or `${NAME:-` at the start of `text`; 0 when there is none.
fn variable_length(text: &str) -> usize {
    let Some(rest) = text.strip_prefix("${") else {
        return 0;
    };
    let name = rest
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(rest.len());
    match &rest[name..] {
        behind if behind.starts_with('}') => "${".len() + name,
        behind if behind.starts_with(":-") => "${:-".len() + name,
        // Without its end this may be anything, a password with a dollar in it too.
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masked(text: &str) -> String {
        let (root, errors) = DeTable::parse_recoverable(text);
        secrets(text, root.get_ref(), !errors.is_empty())
    }

    #[test]
    fn urls_and_passwords_are_starred_out() {
        assert_eq!(masked(r#"url = "abc""#), r#"url = "***""#);
        assert_eq!(
            masked(r#"properties = { "sasl.password" = "hé", "fetch" = "1" }"#),
            r#"properties = { "sasl.password" = "***", "fetch" = "1" }"#
        );
        assert_eq!(masked(r#"ulr = "a://b:c@d""#), r#"ulr = "*********""#);
    }

    #[test]
    fn names_of_variables_stay() {
        assert_eq!(masked(r#"url = "${DB}""#), r#"url = "${DB}""#);
        assert_eq!(masked(r#"url = "a${DB:-bc}d""#), r#"url = "*${DB:-**}*""#);
        assert_eq!(masked(r#"url = "p${w""#), r#"url = "****""#);
    }

    #[test]
    fn other_text_stays() {
        let text = "topic = \"a\" # url\n[sink]\ncolumns = { url = \"url\", token = \"x\" }";
        assert_eq!(masked(text), text);
    }

    #[test]
    fn an_old_password_in_a_comment_is_starred_out() {
        let text =
            "topic = \"a\"\n  # url = \"postgres://me:hunter2@db\"\n#password = \"hunter2\"\n";
        let masked = masked(text);
        assert!(!masked.contains("hunter2"), "{masked}");
        assert!(
            masked.starts_with("topic = \"a\"\n  # url = \"***"),
            "{masked}"
        );
    }

    #[test]
    fn a_damaged_file_shows_no_secret_either() {
        let text = "[[sink]]\nurl = \"postgres://me:hunter2@db\npassword = hunter2\nx = {p=\"a://hunter2@b\n";
        let masked = masked(text);
        assert!(!masked.contains("hunter2"), "{masked}");
        assert!(masked.starts_with("[[sink]]\nurl = "), "{masked}");
    }

    proptest! {
        #[test]
        fn masking_keeps_every_offset(text in "(url|password|\\PC|[\"'=${}\n]|://|@){0,40}") {
            let masked = masked(&text);
            prop_assert_eq!(masked.len(), text.len());
            let ends = |text: &str| text.match_indices('\n').map(|(at, _)| at).collect::<Vec<_>>();
            prop_assert_eq!(ends(&masked), ends(&text));
        }
    }
}
