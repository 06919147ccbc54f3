//! As much of JSON Schema as `openapi.json` uses. A keyword that is not known fails the test, so nothing
//! in the description goes unchecked.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Keywords that are for people.
const ANNOTATIONS: [&str; 2] = ["description", "format"];

/// A description, and which properties of its schemas were seen in a value.
pub(super) struct Schemas {
    document: Value,
    seen: BTreeSet<String>,
}

impl Schemas {
    pub(super) fn new(document: Value) -> Self {
        Self {
            document,
            seen: BTreeSet::new(),
        }
    }

    pub(super) fn document(&self) -> &Value {
        &self.document
    }

    /// Holds a value against the schema at this pointer.
    pub(super) fn check(&mut self, pointer: &str, value: &Value) {
        let document = self.document.clone();
        let mut checker = Checker {
            document: &document,
            seen: &mut self.seen,
        };
        if let Err(fault) = checker.check(pointer, value) {
            panic!("{fault}\nin {value:#}");
        }
    }

    /// Properties that no value had so far, of all schemas that the description names.
    pub(super) fn unseen(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        let schemas = &self.document["components"]["schemas"];
        properties("/components/schemas", schemas, &mut all);
        all.difference(&self.seen).cloned().collect()
    }
}

fn properties(pointer: &str, value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let pointer = format!("{pointer}/{key}");
                if key == "properties" {
                    let names = value.as_object().unwrap().keys();
                    into.extend(names.map(|name| format!("{pointer}/{name}")));
                }
                properties(&pointer, value, into);
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                properties(&format!("{pointer}/{index}"), value, into);
            }
        }
        _ => {}
    }
}

struct Checker<'a> {
    document: &'a Value,
    seen: &'a mut BTreeSet<String>,
}

type Checked = Result<(), String>;

impl Checker<'_> {
    fn check(&mut self, pointer: &str, value: &Value) -> Checked {
        let document = self.document;
        let schema = document.pointer(pointer);
        let schema = schema.and_then(Value::as_object);
        let schema = schema.unwrap_or_else(|| panic!("there is no schema at {pointer}"));
        for (keyword, argument) in schema {
            let at = format!("{pointer}/{keyword}");
            let fits = match keyword.as_str() {
                "$ref" => {
                    let target = argument
                        .as_str()
                        .and_then(|target| target.strip_prefix('#'));
                    self.check(target.expect("a reference into this file"), value)?;
                    true
                }
                "type" => has_type(value, argument),
                "const" => value == argument,
                "enum" => argument.as_array().unwrap().contains(value),
                "minimum" => value
                    .as_f64()
                    .is_none_or(|n| n >= argument.as_f64().unwrap()),
                "maximum" => value
                    .as_f64()
                    .is_none_or(|n| n <= argument.as_f64().unwrap()),
                "properties" => self.properties(&at, argument, value)?,
                "required" => is_complete(argument, value),
                "additionalProperties" => self.additional(pointer, schema, value)?,
                "items" => self.items(&at, value)?,
                "oneOf" => self.matching(&at, argument, value) == 1,
                "anyOf" => self.matching(&at, argument, value) >= 1,
                other if ANNOTATIONS.contains(&other) => true,
                other => panic!("the keyword {other} at {pointer} is not checked by this test"),
            };
            if !fits {
                return Err(format!("{value} does not fit {argument} at {at}"));
            }
        }
        Ok(())
    }

    fn properties(&mut self, at: &str, argument: &Value, value: &Value) -> Result<bool, String> {
        let Some(object) = value.as_object() else {
            return Ok(true);
        };
        for name in argument.as_object().unwrap().keys() {
            if let Some(value) = object.get(name) {
                let pointer = format!("{at}/{name}");
                self.check(&pointer, value)?;
                self.seen.insert(pointer);
            }
        }
        Ok(true)
    }

    fn additional(
        &mut self,
        pointer: &str,
        schema: &Map<String, Value>,
        value: &Value,
    ) -> Result<bool, String> {
        let none = Map::new();
        let known = schema.get("properties").and_then(Value::as_object);
        let known = known.unwrap_or(&none);
        let entries = value.as_object().into_iter().flatten();
        for (name, value) in entries.filter(|(name, _)| !known.contains_key(*name)) {
            match &schema["additionalProperties"] {
                Value::Bool(true) => {}
                Value::Bool(false) => return Err(format!("{pointer} does not know `{name}`")),
                _ => self.check(&format!("{pointer}/additionalProperties"), value)?,
            }
        }
        Ok(true)
    }

    fn items(&mut self, at: &str, value: &Value) -> Result<bool, String> {
        for value in value.as_array().into_iter().flatten() {
            self.check(at, value)?;
        }
        Ok(true)
    }

    /// How many of the alternatives fit.
    fn matching(&mut self, at: &str, argument: &Value, value: &Value) -> usize {
        let alternatives = 0..argument.as_array().unwrap().len();
        alternatives
            .filter(|index| {
                // What a wrong alternative has seen does not count.
                let before = self.seen.clone();
                let fits = self.check(&format!("{at}/{index}"), value).is_ok();
                if !fits {
                    *self.seen = before;
                }
                fits
            })
            .count()
    }
}

fn is_complete(required: &Value, value: &Value) -> bool {
    let mut required = required.as_array().unwrap().iter();
    let has = |object: &Map<String, Value>| {
        required.all(|name| object.contains_key(name.as_str().unwrap()))
    };
    value.as_object().is_none_or(has)
}

fn has_type(value: &Value, argument: &Value) -> bool {
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no type is called {other}"),
    };
    match argument {
        Value::Array(names) => names.iter().any(|name| is(name.as_str().unwrap())),
        name => is(name.as_str().unwrap()),
    }
}

#[test]
fn a_value_that_does_not_fit_is_found() {
    let schema = serde_json::json!({
        "components": { "schemas": { "A": {
            "type": "object",
            "properties": { "n": { "type": ["integer", "null"], "minimum": 1 }, "more": { "type": "array", "items": { "$ref": "#/components/schemas/A" } } },
            "required": ["n"],
            "additionalProperties": false,
        } } }
    });
    let mut schemas = Schemas::new(schema);
    let pointer = "/components/schemas/A";
    let fits = |text: &str| {
        let value = serde_json::from_str(text).unwrap();
        let mut seen = BTreeSet::new();
        let document = schemas.document.clone();
        let mut checker = Checker {
            document: &document,
            seen: &mut seen,
        };
        checker.check(pointer, &value).is_ok()
    };
    for right in [r#"{"n":1}"#, r#"{"n":null,"more":[{"n":2}]}"#] {
        assert!(fits(right), "{right}");
    }
    for wrong in [
        "1",
        "{}",
        r#"{"n":0}"#,
        r#"{"n":"1"}"#,
        r#"{"n":1.5}"#,
        r#"{"n":1,"m":1}"#,
        r#"{"n":1,"more":[{}]}"#,
    ] {
        assert!(!fits(wrong), "{wrong}");
    }
    schemas.check(pointer, &serde_json::json!({ "n": 1 }));
    let unseen = schemas.unseen();
    assert_eq!(unseen, [format!("{pointer}/properties/more")].into());
}
