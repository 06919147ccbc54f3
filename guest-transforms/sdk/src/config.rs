//! A stage's `config`: JSON into a typed value, and the schema that people are shown.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The config of a guest that takes none: `{}`, or nothing at all in `pipeline.toml`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct NoConfig {}

/// Reads the JSON that `configure` was given.
pub(crate) fn read<C: DeserializeOwned>(json: &str) -> Result<C, String> {
    serde_json::from_str(json).map_err(|error| format!("the config is wrong: {error}"))
}

/// The JSON Schema (draft 2020-12) of a config.
pub(crate) fn schema<C: JsonSchema>() -> String {
    schemars::schema_for!(C).to_value().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_that_it_is_the_config_and_what_is_wrong() {
        let error = read::<NoConfig>(r#"{"a": 1}"#).unwrap_err();
        assert!(
            error.starts_with("the config is wrong: unknown field `a`"),
            "{error}"
        );
        assert_eq!(read::<NoConfig>("{}"), Ok(NoConfig {}));
    }

    #[test]
    fn a_schema_is_json_of_the_draft_that_the_contract_names() {
        let schema: serde_json::Value = serde_json::from_str(&schema::<NoConfig>()).unwrap();
        assert_eq!(
            schema["$schema"],
            "https://json-schema.org/draft/2020-12/schema"
        );
        assert_eq!(schema["type"], "object");
        assert_eq!(schema["additionalProperties"], false);
    }
}
