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

use crate::schema::{DataType, Field, Schema};

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

/// What adds these fields to the mapping of an index.
pub(super) fn additions_body(fields: &[&Field]) -> Value {
    json!({ "properties": fields.iter().map(|field| property(field)).collect::<Map<_, _>>() })
}

fn properties(schema: &Schema) -> Map<String, Value> {
    schema.fields().iter().map(property).collect()
}

fn property(field: &Field) -> (String, Value) {
    let mut mapping = json!({ "type": field_type(field.ty) });
    if field.ty == DataType::Utf8 {
        mapping["ignore_above"] = KEYWORD_CHARACTERS_MAX.into();
    }
    (field.name.clone(), mapping)
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

/// How an index that is there differs from what is needed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Comparison<'a> {
    /// fields that it has otherwise, a sentence each: nothing changes the type of a field
    pub(super) differences: Vec<String>,
    /// fields that it lacks, and can get
    pub(super) missing: Vec<&'a Field>,
}

/// Compares an index with what is needed. `answer` is that of `GET <index>/_mapping`, which may be of
/// several indices behind an alias.
///
/// # Errors
///
/// When it is no such answer.
pub(super) fn compare<'a>(
    schema: &'a Schema,
    answer: &[u8],
) -> Result<Comparison<'a>, serde_json::Error> {
    let indices: std::collections::BTreeMap<String, IndexMapping> = serde_json::from_slice(answer)?;
    let all = || indices.iter().map(|(i, m)| (i, &m.mappings.properties));
    let lacks = |field: &&Field| all().any(|(_, there)| !there.contains_key(&field.name));
    Ok(Comparison {
        differences: all()
            .flat_map(|(index, there)| differences_of(schema, index, there))
            .collect(),
        missing: schema.fields().iter().filter(lacks).collect(),
    })
}

fn differences_of(schema: &Schema, index: &str, there: &Map<String, Value>) -> Vec<String> {
    schema
        .fields()
        .iter()
        .filter_map(|field| {
            let needed = field_type(field.ty);
            let name = &field.name;
            let mapping = there.get(name)?;
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
        let schema = schema();
        let comparison = compare(&schema, &answer(properties)).unwrap();
        assert_eq!(comparison, Comparison::default());
    }

    #[test]
    fn every_difference_is_named() {
        let there = json!({
            "id": { "type": "text" },
            "at": { "properties": { "x": { "type": "long" } } },
            "raw": { "type": "binary" },
            "more": { "type": "long" },
        });
        let schema = schema();
        let comparison = compare(&schema, &answer(&there)).unwrap();
        assert_eq!(
            comparison.differences,
            [
                "index `sales-1` has field `id` as text, and keyword is needed",
                "index `sales-1` has field `at` as object, and date is needed",
            ]
        );
        assert_eq!(comparison.missing, [&schema.fields()[1]]);
        assert_eq!(
            additions_body(&comparison.missing),
            json!({ "properties": { "price": { "type": "double" } } })
        );
    }

    #[test]
    fn an_index_without_any_mapping_lacks_every_field() {
        let answer = br#"{"sales":{"mappings":{}}}"#;
        let schema = schema();
        assert_eq!(compare(&schema, answer).unwrap().missing.len(), 4);
    }
}
