//! One letter, for a person and for a program.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::when;
use crate::cli::terminal::printable;
use crate::dead_letter::{StoredLetter, text_or_base64};
use crate::record::RecordHeader;

/// Partition and offset, or that there is no record.
pub(super) fn place(letter: &StoredLetter) -> (String, String) {
    if letter.origin.is_record() {
        let origin = letter.origin;
        return (origin.partition.to_string(), origin.offset.to_string());
    }
    ("-".to_owned(), "-".to_owned())
}

/// The reason, with the document that it is about.
pub(super) fn reason(letter: &StoredLetter) -> Cow<'_, str> {
    match &letter.document {
        Some(document) => format!("document {document}: {}", letter.reason).into(),
        None => letter.reason.as_str().into(),
    }
}

/// All that is known, as an object. What is text is text, other bytes are base64 under another name.
pub(super) fn json(letter: &StoredLetter) -> Value {
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            object.insert(name.to_owned(), value);
        }
    };
    if letter.origin.is_record() {
        put("topic", json!(letter.topic));
        put("partition", json!(letter.origin.partition.0));
        put("offset", json!(letter.origin.offset));
    }
    put("document", json!(letter.document));
    put("stage", json!(letter.stage));
    put("component", json!(letter.component));
    put("column", json!(letter.column));
    put("reason", json!(letter.reason));
    put("written_at", json!(letter.written_ms.map(when::shown)));
    put("epoch", json!(letter.epoch));
    if let Some(settled) = &letter.settled {
        put("settled_by", json!(settled.version));
        put("settled_at", json!(settled.at_ms.map(when::shown)));
    }
    put("timestamp", json!(letter.timestamp_ms));
    let (key, key_base64) = text_or_base64(letter.key.as_deref());
    put("key", json!(key));
    put("key_base64", json!(key_base64));
    if !letter.headers.is_empty() {
        put("headers", letter.headers.iter().map(header_json).collect());
    }
    put("value_bytes_left_out", json!(letter.left_out_bytes));
    let (value, value_base64) = text_or_base64(letter.value.as_deref());
    put("value", json!(value));
    put("value_base64", json!(value_base64));
    Value::Object(object)
}

fn header_json(header: &RecordHeader) -> Value {
    let (text, base64) = text_or_base64(header.value.as_deref());
    match base64 {
        Some(base64) => json!({ "name": header.name, "value_base64": base64 }),
        None => json!({ "name": header.name, "value": text }),
    }
}

/// All that is known, a line for each thing, the value last.
pub(super) fn text(letter: &StoredLetter) -> String {
    let mut lines: Vec<(&str, String)> = Vec::new();
    let (partition, offset) = place(letter);
    lines.push(match (letter.origin.is_record(), letter.topic.as_str()) {
        (false, _) => ("record", "none: the row of an aggregate".to_owned()),
        (true, "") => ("record", format!("{partition}:{offset}")),
        (true, topic) => ("record", format!("{partition}:{offset} of topic {topic}")),
    });
    let stage = match &letter.component {
        Some(component) => format!("{} (component {component})", letter.stage),
        None => letter.stage.clone(),
    };
    lines.push(("stage", stage));
    lines.extend(
        letter
            .document
            .clone()
            .map(|document| ("document", document)),
    );
    lines.extend(letter.column.clone().map(|column| ("column", column)));
    lines.push(("reason", letter.reason.clone()));
    if let Some(written) = letter.written_ms {
        let mut written = when::shown(written);
        if let Some(epoch) = letter.epoch {
            let _ = write!(written, ", in epoch {epoch}");
        }
        lines.push(("written", written));
    }
    if let Some(settled) = &letter.settled {
        let at = settled.at_ms.map_or_else(String::new, when::shown);
        let version = settled.version;
        lines.push((
            "settled",
            format!("{at}: version {version} has processed the record again"),
        ));
    }
    lines.extend(letter.timestamp_ms.map(|ms| ("timestamp", when::shown(ms))));
    let bytes = |bytes: &Vec<u8>| shown_bytes(bytes);
    lines.extend(letter.key.as_ref().map(|key| ("key", bytes(key))));
    for header in &letter.headers {
        let value = header.value.as_ref().map_or("(null)".to_owned(), bytes);
        lines.push(("header", format!("{}: {value}", header.name)));
    }
    let (value, body) = match (&letter.value, letter.left_out_bytes) {
        (_, Some(bytes)) => (
            format!("left out: its {bytes} bytes are too large for the topic of the dead letters"),
            None,
        ),
        (None, None) => ("none (a tombstone)".to_owned(), None),
        (Some(value), None) => (format!("{} bytes", value.len()), Some(value)),
    };
    lines.push(("value", value));
    let mut text = String::new();
    for (name, value) in lines {
        let _ = writeln!(text, "{name:>9}  {}", printable(&value));
    }
    if let Some(value) = body {
        text.push_str(&pretty(value).unwrap_or_else(|| shown_bytes(value)));
        text.push('\n');
    }
    text
}

/// Bytes for a terminal: text as text, other bytes and control characters escaped.
fn shown_bytes(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        shown.push_str(&printable(chunk.valid()));
        for byte in chunk.invalid() {
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    shown
}

/// JSON with line breaks and indents; `None` when it is none. Everything else is as it was: the order
/// of keys, each digit of a number, escapes.
fn pretty(bytes: &[u8]) -> Option<String> {
    serde_json::from_slice::<IgnoredAny>(bytes).ok()?;
    let text = std::str::from_utf8(bytes).ok()?;
    let mut out = String::with_capacity(text.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let break_line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    let mut chars = text.chars().filter(|c| *c != '\r').peekable();
    while let Some(c) = chars.next() {
        if in_string {
            if c.is_control() {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            } else {
                out.push(c);
            }
            in_string = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            continue;
        }
        match c {
            '"' => {
                in_string = true;
                out.push(c);
            }
            '{' | '[' => {
                out.push(c);
                while chars.next_if(char::is_ascii_whitespace).is_some() {}
                // What is empty stays on its line.
                if let Some(end) = chars.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    break_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                break_line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                break_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => out.push(c),
        }
    }
    Some(out)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::{Origin, Partition};

    pub(in crate::cli::dead_letters) fn letter() -> StoredLetter {
        StoredLetter {
            topic: "sales".into(),
            origin: Origin {
                partition: Partition(3),
                offset: 4711,
            },
            document: None,
            stage: "sales".into(),
            component: Some("currency".into()),
            column: Some("currency".into()),
            reason: "no rate for\n`XYZ`".into(),
            timestamp_ms: Some(1_769_839_200_000),
            key: Some(b"a\xffb".to_vec()),
            headers: vec![
                RecordHeader {
                    name: "trace".into(),
                    value: Some(b"7\x1b[2J".to_vec()),
                },
                RecordHeader {
                    name: "empty".into(),
                    value: None,
                },
            ],
            value: Some(br#"{"amount":1.50,"tags":[],"of":{"a":[1,"x, y"]}}"#.to_vec()),
            left_out_bytes: None,
            epoch: Some(12),
            written_ms: Some(1_769_839_201_000),
            settled: None,
        }
    }

    #[test]
    fn a_person_sees_everything_and_no_control_character() {
        insta::assert_snapshot!(text(&letter()));
        let strange = StoredLetter {
            value: Some(b"\x00not \xffJSON\n".to_vec()),
            ..letter()
        };
        assert!(text(&strange).ends_with("\\u{0}not \\xffJSON\\n\n"));
    }

    #[test]
    fn a_program_sees_everything() {
        insta::assert_snapshot!(format!("{:#}", json(&letter())));
    }

    #[test]
    fn the_row_of_an_aggregate_has_no_place() {
        let row = StoredLetter {
            origin: Origin::NO_RECORD,
            document: Some("days/2026-01-31".into()),
            ..letter()
        };
        assert_eq!(place(&row).1, "-");
        assert!(reason(&row).starts_with("document days/2026-01-31: no rate"));
        assert!(text(&row).contains("none: the row of an aggregate"));
        assert_eq!(json(&row)["offset"], Value::Null);
    }

    #[test]
    fn a_value_that_was_left_out_is_told_from_a_tombstone() {
        let left_out = StoredLetter {
            value: None,
            left_out_bytes: Some(5_000),
            ..letter()
        };
        assert!(text(&left_out).contains("left out: its 5000 bytes"));
        let tombstone = StoredLetter {
            value: None,
            ..letter()
        };
        assert!(text(&tombstone).contains("a tombstone"));
    }

    proptest! {
        #[test]
        fn pretty_json_means_the_same(depth in 0_u32..4, seed in ".{0,12}", number in any::<i64>()) {
            let mut value = json!({ "s": seed, "n": number, "e": [], "o": {} });
            for _ in 0..depth {
                value = json!([value, { "again": value }]);
            }
            let shown = pretty(value.to_string().as_bytes()).unwrap();
            prop_assert_eq!(serde_json::from_str::<Value>(&shown).ok(), Some(value));
        }
    }
}
