//! The mapping that an index needs, and how one that is there differs from it.
//!
//! Only field types that every Elasticsearch 8 has are used: money is a `double` there (the exact
//! text stays in the document's source), and `scaled_float` is a module that may be missing.
//!
//! The mapping is `strict`: a field that it does not name is refused instead of being guessed (or
//! kept where nobody can search it). The documents that this sink writes have no other fields; so
//! only a mistake is ever refused.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::schema::{DataType, Schema};

/// Lucene takes no longer term, in characters of at most four bytes. A longer text stays in its
/// document and cannot be searched for; without this bound the document would be refused.
const KEYWORD_CHARACTERS_MAX: u32 = 8_191;

/// Above those of Elasticsearch's own templates; a user's with a higher one goes before ours.
const TEMPLATE_PRIORITY: u32 = 400;

/// The name of the template for an index.
pub(super) fn name(index: &str) -> String {
    format!("wasmill-{index}")
}

/// The index template for `index`, whose documents have these fields.
pub(super) fn body(index: &str, schema: &Schema) -> Value {
    json!({
        "index_patterns": [index],
        "priority": TEMPLATE_PRIORITY,
        "template": {
            // One copy where there is a second node to hold it, none where there is not.
            "settings": { "index": { "auto_expand_replicas": "0-1" } },
            "mappings": { "dynamic": "strict", "properties": properties(schema) },
        },
        "_meta": { "description": "written by wasmill at every start: give a template of your own a higher priority instead of changing this one" },
    })
}

fn properties(schema: &Schema) -> Map<String, Value> {
    schema
        .fields()
        .iter()
        .map(|field| {
            let mut mapping = json!({ "type": field_type(field.ty) });
            if field.ty == DataType::Utf8 {
                mapping["ignore_above"] = KEYWORD_CHARACTERS_MAX.into();
            }
            (field.name.clone(), mapping)
        })
        .collect()
}

/// Elasticsearch's type for a column.
fn field_type(ty: DataType) -> &'static str {
    match ty {
        DataType::Boolean => "boolean",
        DataType::Int64 => "long",
        DataType::Float64 | DataType::Decimal(_) => "double",
        DataType::Utf8 => "keyword",
        DataType::Binary => "binary",
        DataType::Timestamp | DataType::Date => "date",
    }
}

#[derive(Deserialize)]
struct IndexMapping {
    mappings: Mappings,
}

#[derive(Deserialize)]
struct Mappings {
    #[serde(default)]
    properties: Map<String, Value>,
}

/// Every field that the index does not have as it is needed, a sentence each. `answer` is that of
/// `GET <index>/_mapping`.
///
/// # Errors
///
/// When it is no such answer.
pub(super) fn differences(
    schema: &Schema,
    answer: &[u8],
) -> Result<Vec<String>, serde_json::Error> {
    let indices: std::collections::BTreeMap<String, IndexMapping> = serde_json::from_slice(answer)?;
    Ok(indices
        .iter()
        .flat_map(|(index, mapping)| differences_of(schema, index, &mapping.mappings.properties))
        .collect())
}

fn differences_of(schema: &Schema, index: &str, there: &Map<String, Value>) -> Vec<String> {
    schema
        .fields()
        .iter()
        .filter_map(|field| {
            let needed = field_type(field.ty);
            let name = &field.name;
            let Some(mapping) = there.get(name) else {
                return Some(format!(
                    "index `{index}` has no field `{name}`, and {needed} is needed"
                ));
            };
            // An object has properties and no type.
            let actual = mapping
                .get("type")
                .and_then(Value::as_str)
                .unwrap_or("object");
            (actual != needed).then(|| {
                format!("index `{index}` has field `{name}` as {actual}, and {needed} is needed")
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Field;

    fn schema() -> Schema {
        let field = |name: &str, ty| Field::new(name, ty, true);
        Schema::new(vec![
            field("id", DataType::Utf8),
            field("price", DataType::Decimal(2)),
            field("at", DataType::Timestamp),
            field("raw", DataType::Binary),
        ])
        .unwrap()
    }

    fn answer(properties: &Value) -> Vec<u8> {
        json!({ "sales-1": { "mappings": { "dynamic": "strict", "properties": properties } } })
            .to_string()
            .into_bytes()
    }

    #[test]
    fn an_index_made_from_the_template_fits() {
        let body = body("sales", &schema());
        let properties = &body["template"]["mappings"]["properties"];
        assert_eq!(properties["price"]["type"], "double");
        let differences = differences(&schema(), &answer(properties)).unwrap();
        assert_eq!(differences, Vec::<String>::new());
    }

    #[test]
    fn every_difference_is_named() {
        let there = json!({
            "id": { "type": "text" },
            "at": { "properties": { "x": { "type": "long" } } },
            "raw": { "type": "binary" },
            "more": { "type": "long" },
        });
        assert_eq!(
            differences(&schema(), &answer(&there)).unwrap(),
            [
                "index `sales-1` has field `id` as text, and keyword is needed",
                "index `sales-1` has no field `price`, and double is needed",
                "index `sales-1` has field `at` as object, and date is needed",
            ]
        );
    }

    #[test]
    fn an_index_without_any_mapping_lacks_every_field() {
        let answer = br#"{"sales":{"mappings":{}}}"#;
        assert_eq!(differences(&schema(), answer).unwrap().len(), 4);
    }
}
