//! How the definition that stored state was made with differs from the one that would go on with it.

use std::fmt;

use serde_json::Value;

/// Characters of a value that a message shows.
const SHOWN_MAX: usize = 200;

/// One place at which two definitions differ.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    path: String,
    stored: Option<Value>,
    new: Option<Value>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, stored, new } = self;
        let path = if path.is_empty() { "it" } else { path };
        match (stored, new) {
            (Some(stored), Some(new)) => {
                write!(f, "{path} was {}, is now {}", Shown(stored), Shown(new))
            }
            (Some(stored), None) => write!(f, "{path} was {}, is now missing", Shown(stored)),
            (None, Some(new)) => write!(f, "{path} was missing, is now {}", Shown(new)),
            (None, None) => write!(f, "{path} is missing"),
        }
    }
}

struct Shown<'a>(&'a Value);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        match text.char_indices().nth(SHOWN_MAX) {
            Some((end, _)) => write!(f, "{}…", &text[..end]),
            None => f.write_str(&text),
        }
    }
}

/// Every place at which `new` differs from `stored`, in order of `stored`.
pub(crate) fn differences(stored: &Value, new: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(String::new(), Some(stored), Some(new), &mut found);
    found
}

fn compare(path: String, stored: Option<&Value>, new: Option<&Value>, found: &mut Vec<Difference>) {
    match (stored, new) {
        (Some(Value::Object(stored)), Some(Value::Object(new))) => {
            let added = new.keys().filter(|key| !stored.contains_key(*key));
            for key in stored.keys().chain(added) {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                compare(path, stored.get(key), new.get(key), found);
            }
        }
        (Some(Value::Array(stored)), Some(Value::Array(new))) => {
            for index in 0..stored.len().max(new.len()) {
                let path = format!("{path}[{index}]");
                compare(path, stored.get(index), new.get(index), found);
            }
        }
        (stored, new) if stored == new => {}
        (stored, new) => found.push(Difference {
            path,
            stored: stored.cloned(),
            new: new.cloned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(stored: &Value, new: &Value) -> Vec<String> {
        differences(stored, new)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn equal_definitions_do_not_differ() {
        let definition = json!({"a": [1, {"b": null}], "c": "x"});
        assert!(differences(&definition, &definition).is_empty());
    }

    #[test]
    fn every_differing_path_is_named_with_both_values() {
        let stored = json!({
            "topic": "sales",
            "aggregates": [{"name": "day", "key": ["a"]}, {"name": "month"}],
            "old": 1
        });
        let new = json!({
            "topic": "purchases",
            "aggregates": [{"name": "day", "key": ["a", "b"]}],
            "new": null
        });
        assert_eq!(
            texts(&stored, &new),
            [
                r#"aggregates[0].key[1] was missing, is now "b""#,
                r#"aggregates[1] was {"name":"month"}, is now missing"#,
                "old was 1, is now missing",
                r#"topic was "sales", is now "purchases""#,
                "new was missing, is now null",
            ]
        );
    }

    #[test]
    fn a_long_value_is_cut_at_a_character() {
        let text = &texts(&json!("é".repeat(1_000)), &json!(1))[0];
        assert!(text.chars().count() < 300, "{text}");
        assert!(text.contains('…'));
    }
}
