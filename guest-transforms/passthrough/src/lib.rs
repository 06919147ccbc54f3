//! Guest `passthrough`: changes nothing.
//!
//! Without config no column crosses the border, which measures a call. The columns named in `columns`
//! go in and come back as they are, which measures the border.

#[expect(clippy::same_length_and_capacity, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "transform-guest" });
}

use serde::Deserialize;

use bindings::exports::wasmill::guest::transform::{Changes, Contract, Guest};
use bindings::wasmill::guest::data::{Batch, Description, Field};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    columns: Vec<String>,
}

struct Passthrough;

#[cfg(target_family = "wasm")]
bindings::export!(Passthrough with_types_in bindings);

impl Guest for Passthrough {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            about: env!("CARGO_PKG_DESCRIPTION").to_owned(),
            config_schema: Some(include_str!("config.schema.json").to_owned()),
        }
    }

    fn configure(input: Vec<Field>, config: String) -> Result<Contract, String> {
        let Config { columns } = serde_json::from_str(&config)
            .map_err(|error| format!("the config is wrong: {error}"))?;
        let returns = columns
            .iter()
            .map(|name| {
                let field = input.iter().find(|field| field.name == *name);
                field
                    .cloned()
                    .ok_or_else(|| format!("there is no column `{name}`"))
            })
            .collect::<Result<_, _>>()?;
        Ok(Contract {
            needs: columns,
            returns,
            drops: Vec::new(),
            selects: false,
        })
    }

    fn apply(input: Batch) -> Result<Changes, String> {
        Ok(Changes {
            selection: None,
            columns: input.columns,
            rejections: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use bindings::wasmill::guest::data::{Column, DataType, Values};

    fn input() -> Vec<Field> {
        vec![Field {
            name: "a".to_owned(),
            ty: DataType::Int64,
            nullable: true,
        }]
    }

    #[test]
    fn nothing_crosses_without_config() {
        let contract = Passthrough::configure(input(), "{}".to_owned()).unwrap();
        assert!(contract.needs.is_empty() && contract.returns.is_empty());
    }

    #[test]
    fn a_column_comes_back_with_its_own_type() {
        let config = r#"{"columns": ["a"]}"#.to_owned();
        let contract = Passthrough::configure(input(), config).unwrap();
        assert_eq!(contract.needs, ["a"]);
        let [
            Field {
                name,
                ty: DataType::Int64,
                nullable: true,
            },
        ] = contract.returns.as_slice()
        else {
            panic!("{:?}", contract.returns);
        };
        assert_eq!(name, "a");
    }

    #[test]
    fn a_column_that_is_not_there_is_named() {
        let config = r#"{"columns": ["b"]}"#.to_owned();
        let error = Passthrough::configure(input(), config).unwrap_err();
        assert_eq!(error, "there is no column `b`");
    }

    #[test]
    fn values_and_missing_values_come_back_unchanged() {
        let column = Column {
            values: Values::I64s(vec![1, 2]),
            validity: Some(vec![1, 0]),
        };
        let batch = Batch {
            rows: 2,
            columns: vec![column],
        };
        let changes = Passthrough::apply(batch).unwrap();
        let [
            Column {
                values: Values::I64s(values),
                validity,
            },
        ] = changes.columns.as_slice()
        else {
            panic!("{:?}", changes.columns);
        };
        assert_eq!(values, &[1, 2]);
        assert_eq!(validity.as_deref(), Some(&[1, 0][..]));
        assert!(changes.selection.is_none() && changes.rejections.is_empty());
    }
}
