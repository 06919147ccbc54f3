//! The keys of a config, from its JSON Schema: enough of that for a table that people read.
//!
//! The schema comes from the component, so it may be anything: what is not understood is shown as
//! it is or left out, and depth, references and texts are bounded. A few lines of references to
//! references would otherwise stand for more types than there is memory for.

use std::cell::Cell;

use serde_json::{Map, Value};

/// Objects within each other whose keys are listed.
const DEPTH_MAX: usize = 3;

/// References that are followed one after the other.
const REFERENCES_MAX: usize = 8;

/// Keys that are listed at most.
const KEYS_MAX: usize = 200;

/// Schemas within the type of one key that are looked at.
const SCHEMAS_MAX: usize = 100;

/// Choices, types and fields that one schema lists at most.
const CHOICES_MAX: usize = 20;

/// Bytes of each text.
const TEXT_BYTES_MAX: usize = 2000;

/// A key of the config.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// with the keys of the objects that it is in: `a.b`
    pub(super) name: String,
    pub(super) ty: String,
    pub(super) default: Option<String>,
    pub(super) required: bool,
    pub(super) about: String,
}

/// The keys of the object that the schema describes.
pub(super) fn of(schema: &Value) -> Vec<Key> {
    let mut keys = Vec::new();
    list(schema, schema, "", 0, &mut keys);
    keys
}

fn list(root: &Value, object: &Value, prefix: &str, depth: usize, keys: &mut Vec<Key>) {
    let object = resolve(root, object);
    let Some(properties) = object["properties"].as_object() else {
        return;
    };
    let required: Vec<&str> = texts(&object["required"]);
    for (name, declared) in properties {
        if keys.len() == KEYS_MAX {
            return;
        }
        let resolved = resolve(root, declared);
        // What stands beside a reference says more than what it refers to.
        let either = |key: &str| match &declared[key] {
            Value::Null => &resolved[key],
            said => said,
        };
        let path = format!("{prefix}{name}");
        keys.push(Key {
            ty: clip(&type_of(root, declared, 0, &Cell::new(SCHEMAS_MAX))),
            default: match either("default") {
                Value::Null => None,
                default => Some(value_text(default)),
            },
            required: required.contains(&name.as_str()),
            about: one_line(&clip(either("description").as_str().unwrap_or_default())),
            name: clip(&path),
        });
        if depth + 1 < DEPTH_MAX {
            list(root, declared, &format!("{path}."), depth + 1, keys);
        }
    }
}

/// The schema that a `$ref` refers to, within the same document.
fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let mut resolved = schema;
    for _ in 0..REFERENCES_MAX {
        let Some(reference) = resolved["$ref"].as_str() else {
            return resolved;
        };
        let target = reference
            .strip_prefix('#')
            .and_then(|path| root.pointer(path));
        let Some(target) = target else {
            return resolved;
        };
        resolved = target;
    }
    resolved
}

/// `left` counts down the schemas that are looked at.
fn type_of(root: &Value, schema: &Value, depth: usize, left: &Cell<usize>) -> String {
    let schema = resolve(root, schema);
    let Some(fields) = schema.as_object() else {
        return "anything".to_owned();
    };
    if depth > DEPTH_MAX || left.get() == 0 {
        return "...".to_owned();
    }
    left.set(left.get() - 1);
    let inner = |schema: &Value| type_of(root, schema, depth + 1, left);
    if let Some(value) = fields.get("const") {
        return value_text(value);
    }
    if let Some(values) = fields.get("enum").and_then(Value::as_array) {
        return some(values.iter().map(value_text)).join(" | ");
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(choices) = fields.get(key).and_then(Value::as_array) {
            return some(choices.iter().map(inner)).join(" | ");
        }
    }
    let allowed = match &fields.get("type") {
        Some(Value::String(name)) => vec![name.as_str()],
        Some(list) => texts(list),
        None => Vec::new(),
    };
    let shown = |name: &&str| match *name {
        "array" => format!(
            "list of {}",
            fields.get("items").map_or("anything".to_owned(), inner)
        ),
        "object" => object_type(fields, inner),
        name => name.to_owned(),
    };
    let types = some(allowed.iter().map(shown));
    if types.is_empty() {
        "anything".to_owned()
    } else {
        types.join(" | ")
    }
}

fn object_type(fields: &Map<String, Value>, inner: impl Fn(&Value) -> String) -> String {
    match fields.get("additionalProperties") {
        Some(values @ Value::Object(_)) => format!("table of {}", inner(values)),
        _ => match fields.get("properties").and_then(Value::as_object) {
            Some(properties) => {
                format!(
                    "{{ {} }}",
                    some(properties.keys().map(|name| clip(name))).join(", ")
                )
            }
            None => "table".to_owned(),
        },
    }
}

fn texts(list: &Value) -> Vec<&str> {
    let values = list.as_array().into_iter().flatten();
    values.filter_map(Value::as_str).collect()
}

/// The first of many.
fn some(mut texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut some: Vec<String> = texts.by_ref().take(CHOICES_MAX).collect();
    if texts.next().is_some() {
        some.push("...".to_owned());
    }
    some
}

/// The beginning of a text that may be anything.
fn clip(text: &str) -> String {
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    let more = if end < text.len() { "…" } else { "" };
    format!("{}{more}", &text[..end])
}

/// The beginning of a value as JSON. What does not fit is not written in the first place.
fn value_text(value: &Value) -> String {
    let mut room = [0; TEXT_BYTES_MAX];
    let mut left = &mut room[..];
    let is_cut = serde_json::to_writer(&mut left, value).is_err();
    let written = TEXT_BYTES_MAX - left.len();
    let text = String::from_utf8_lossy(&room[..written]);
    format!("{text}{}", if is_cut { "…" } else { "" })
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn shown(schema: &Value) -> Vec<String> {
        let show = |key: Key| {
            let default = key.default.unwrap_or_default();
            let required = if key.required { "!" } else { "" };
            format!(
                "{}{required}: {} = {default} ({})",
                key.name, key.ty, key.about
            )
        };
        of(schema).into_iter().map(show).collect()
    }

    #[test]
    fn keys_are_listed_with_what_they_take() {
        let schema = json!({
            "type": "object",
            "required": ["base"],
            "properties": {
                "base": { "description": "The base\n currency.", "$ref": "#/$defs/code" },
                "rates": { "type": "object", "additionalProperties": { "type": ["string", "number"] } },
                "mode": { "enum": ["fast", "exact"], "default": "fast" },
                "columns": { "type": "array", "items": { "type": "string" }, "default": [] },
                "limit": { "anyOf": [{ "type": "integer" }, { "type": "null" }] },
            },
            "$defs": { "code": { "type": "string" } }
        });
        let mut keys = shown(&schema);
        keys.sort();
        assert_eq!(
            keys,
            [
                "base!: string =  (The base currency.)",
                "columns: list of string = [] ()",
                "limit: integer | null =  ()",
                "mode: \"fast\" | \"exact\" = \"fast\" ()",
                "rates: table of string | number =  ()",
            ]
        );
    }

    #[test]
    fn keys_of_an_object_within_follow_it() {
        let schema = json!({
            "properties": { "window": { "$ref": "#/$defs/w" } },
            "$defs": { "w": { "type": "object", "required": ["every"], "properties": { "every": { "type": "string" } } } }
        });
        assert_eq!(
            shown(&schema),
            ["window: { every } =  ()", "window.every!: string =  ()"]
        );
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = json!({
            "$ref": "#/$defs/a",
            "$defs": { "a": { "$ref": "#/$defs/b", "properties": { "x": { "$ref": "#" } } }, "b": { "$ref": "#/$defs/a" } }
        });
        of(&schema);
        let nested = json!({ "properties": { "a": { "$ref": "#" } } });
        assert_eq!(of(&nested).len(), DEPTH_MAX);
        let wide = json!({ "properties": { "a": { "type": "array", "items": { "$ref": "#/properties/a" } } } });
        assert!(shown(&wide)[0].ends_with("... =  ()"), "{:?}", shown(&wide));
    }

    /// Each of them is a few kilobytes that stand for more types than any machine has memory for, or a
    /// megabyte that many keys refer to.
    #[test]
    fn bombs_stay_small() {
        let choices = |to: &str| json!({ "anyOf": vec![json!({ "$ref": to }); 2000] });
        let nested = json!({
            "properties": { "a": choices("#/$defs/b") },
            "$defs": { "b": choices("#/$defs/c"), "c": choices("#/$defs/d"), "d": choices("#/$defs/b") }
        });
        let long = "x".repeat(1 << 20);
        let key = json!({ "anyOf": vec![json!({ "$ref": "#/$defs/long" }); 100], "$ref": "#/$defs/long" });
        let keys: Map<String, Value> = (0..300).map(|i| (i.to_string(), key.clone())).collect();
        let long_values = json!({
            "properties": keys,
            "$defs": { "long": { "const": [long], "default": long, "description": long } }
        });
        let many_types = json!({ "properties": { "a": { "type": vec!["array"; 100_000] } } });
        let names: Map<String, Value> = (0..50_000).map(|i| (i.to_string(), json!({}))).collect();
        let many_fields =
            json!({ "properties": { "a": { "type": "object", "properties": names } } });
        for schema in [nested, long_values, many_types, many_fields] {
            for line in shown(&schema) {
                assert!(
                    line.len() < 4 * (TEXT_BYTES_MAX + 4),
                    "{} bytes",
                    line.len()
                );
            }
        }
    }

    proptest! {
        #[test]
        fn no_schema_is_a_panic(text in "[\\[\\]{}\":,a-z#$/0-9 ]{0,60}") {
            if let Ok(schema) = serde_json::from_str(&text) {
                of(&schema);
            }
        }
    }
}
