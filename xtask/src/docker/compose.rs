//! The compose file, as `docker-compose config` resolves it.

use std::process::Command;

use anyhow::{Context, Result, bail};
use saphyr::{LoadableYamlNode, ScalarOwned, YamlOwned};
use serde_json::{Map, Value};

use crate::{tools, workspace};

/// The settings to begin with.
const EXAMPLE: &str = ".env.example";

/// `docker-compose config` with these variables, on top of those of `.env.example`.
///
/// # Errors
///
/// What docker-compose said, when it refuses the file.
pub(super) fn resolve(variables: &[(&str, &str)]) -> Result<Value> {
    let mut command = Command::new(tools::docker_compose()?);
    command
        .current_dir(workspace::root())
        // Not the user's own `.env`, nor their variables.
        .args(["--env-file", EXAMPLE, "config"])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(variables.iter().copied());
    let output = command.output().context("failed to start docker-compose")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    read(&String::from_utf8(output.stdout)?)
}

/// Names that `.env.example` has to be filled in for: those without a value.
pub(super) fn required() -> Result<Vec<String>> {
    let text = std::fs::read_to_string(workspace::root().join(EXAMPLE))
        .with_context(|| format!("failed to read {EXAMPLE}"))?;
    let names = text.lines().filter_map(|line| line.strip_suffix('='));
    Ok(names.map(str::to_owned).collect())
}

/// YAML as the values that JSON has.
pub(super) fn read(yaml: &str) -> Result<Value> {
    let documents = YamlOwned::load_from_str(yaml).context("failed to read YAML")?;
    let [document] = &documents[..] else {
        bail!(
            "there has to be one document, and there are {}",
            documents.len()
        );
    };
    value(document)
}

fn value(yaml: &YamlOwned) -> Result<Value> {
    Ok(match yaml {
        YamlOwned::Mapping(entries) => {
            let entries = entries.iter().map(|(key, item)| {
                let key = key.as_str().context("a key is no text")?;
                Ok((key.to_owned(), value(item)?))
            });
            Value::Object(entries.collect::<Result<Map<_, _>>>()?)
        }
        YamlOwned::Sequence(items) => Value::Array(items.iter().map(value).collect::<Result<_>>()?),
        YamlOwned::Value(scalar) => match scalar {
            ScalarOwned::Null => Value::Null,
            ScalarOwned::Boolean(is) => Value::Bool(*is),
            ScalarOwned::Integer(number) => (*number).into(),
            ScalarOwned::FloatingPoint(number) => number.into_inner().into(),
            ScalarOwned::String(text) => text.as_str().into(),
        },
        other => bail!("{other:?} is more than docker-compose writes"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_becomes_json() {
        let read = read("a: {b: [1, 1.5, 'x', true, null]}\nc: 1m\n").unwrap();
        let json = serde_json::json!({ "a": { "b": [1, 1.5, "x", true, null] }, "c": "1m" });
        assert_eq!(read, json);
    }
}
