//! A component with what it takes to run it outside of a pipeline: what `test`, `inspect` and
//! `bench` have in common.
//!
//! Columns and config are given one by one, or taken from a stage of a pipeline: then the columns
//! are those that the stage reads there, after everything before it.
//!
//! # Not here
//!
//! Running it: each command does that in its own way.

pub(super) mod columns;
pub(super) mod rows;

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use serde_json::Value;

use self::rows::RowsFile;
use super::terminal;
use crate::config::{Limits, Pipeline, SourceColumn, Window, did_you_mean, list};
use crate::guest::{Component, GuestEngine, LoadError};
use crate::record::Rows;
use crate::schema::Schema;

/// What a stage may be called where there is no pipeline.
const LONE_STAGE: &str = "guest";

/// The stream that is read from the source.
const SOURCE: &str = "source";

/// Which component, with which columns and config.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The guest")]
pub(super) struct SubjectArgs {
    /// The component; with --stage that of the stage, unless another one is given
    #[arg(required_unless_present = "stage")]
    component: Option<PathBuf>,

    /// Its config, as JSON
    #[arg(long, value_name = "JSON", value_parser = config_object)]
    config: Option<Value>,

    /// Its config, from a JSON or TOML file
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    config_file: Option<PathBuf>,

    /// The columns that it reads, as in `amount: decimal(2), currency: utf8, note: utf8?` (`?`: may
    /// be missing)
    #[arg(long, value_name = "COLUMNS", conflicts_with = "stage", value_parser = columns::parse)]
    schema: Option<Schema>,

    /// Take component, columns and config from this stage of a pipeline
    #[arg(long, value_name = "NAME")]
    stage: Option<String>,

    /// The pipeline that has the stage
    #[arg(
        long,
        value_name = "FILE",
        requires = "stage",
        default_value = "pipeline.toml"
    )]
    pipeline: PathBuf,
}

/// A component that is loaded, and how it is to be configured.
pub(super) struct Subject {
    pub(super) component: Component,
    /// its file
    pub(super) path: PathBuf,
    /// what messages of the sandbox call it
    pub(super) stage: String,
    /// the columns that it reads, where something says which they are
    pub(super) input: Option<Schema>,
    /// the columns of the records that a stage reads as the source makes them
    pub(super) records: Option<Vec<SourceColumn>>,
    /// where the config was said: in the pipeline, or by an option
    pub(super) config: Value,
    pub(super) limits: Limits,
    /// the key of the stage, if it is an aggregate
    pub(super) key: Vec<String>,
    /// the window of the stage, if it is an aggregate
    pub(super) window: Window,
}

impl SubjectArgs {
    /// Loads the component.
    ///
    /// # Errors
    ///
    /// When it is no component, its config is none, or the pipeline is faulty.
    pub(super) fn open(self) -> anyhow::Result<Subject> {
        let config = match (self.config, &self.config_file) {
            (Some(config), _) => Some(config),
            (None, Some(path)) => Some(read_config(path)?),
            (None, None) => None,
        };
        let engine = GuestEngine::new(super::cache_folder())?;
        match (self.stage, self.component) {
            (Some(stage), path) => {
                of_stage(&engine, &self.pipeline, &stage, path.as_deref(), config)
            }
            (None, Some(path)) => Ok(Subject {
                component: load(&engine, LONE_STAGE, &path)?,
                path,
                stage: LONE_STAGE.to_owned(),
                input: self.schema,
                records: None,
                config: config.unwrap_or_else(|| Value::Object(serde_json::Map::new())),
                limits: Limits::default(),
                key: Vec::new(),
                window: Window::None,
            }),
            (None, None) => bail!("give a component, or a stage with --stage"),
        }
    }
}

impl Subject {
    /// Reads rows for it, inferring its columns from them where nothing else says which they are.
    /// With `records` they are what the source reads, not yet under the names of columns.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or a row of it is none of the columns'.
    pub(super) fn read(
        &mut self,
        file: &RowsFile,
        records: bool,
    ) -> anyhow::Result<(Schema, Rows)> {
        if records {
            let columns = self.records.as_ref().context(
                "--records is for a stage that reads the source: give it with --stage, or leave --records away",
            )?;
            let rows = file.decode(columns)?;
            let input = self.input.clone();
            return Ok((input.context("a stage has columns")?, rows));
        }
        let schema = if let Some(schema) = &self.input {
            schema.clone()
        } else {
            let inferred = columns::infer(file)?;
            terminal::note(&format!(
                "columns inferred from {}: {}",
                file.name(),
                terminal::printable(&columns::show(&inferred))
            ));
            self.input = Some(inferred.clone());
            inferred
        };
        let rows = file.decode(&columns::as_json_fields(&schema))?;
        Ok((schema, rows))
    }
}

/// Loads a component, with a spinner for the time that compiling takes.
pub(super) fn load(engine: &GuestEngine, name: &str, path: &Path) -> anyhow::Result<Component> {
    let what = format!("loading {}", path.display());
    terminal::step(what, || engine.load(name, path)).map_err(|error| match error {
        LoadError::Missing { .. } => {
            anyhow!("{error}: `wasmill build` builds the guests of a folder")
        }
        LoadError::NotWasm { .. } | LoadError::CoreModule { .. } => anyhow!("{error}"),
        error => error.into(),
    })
}

/// What a pipeline says of one of its stages.
struct StageOf<'a> {
    from: &'a str,
    component: &'a str,
    config: &'a Value,
    key: &'a [String],
    window: Window,
}

fn of_stage(
    engine: &GuestEngine,
    file: &Path,
    name: &str,
    path: Option<&Path>,
    config: Option<Value>,
) -> anyhow::Result<Subject> {
    let (pipeline, plan, _) = super::plan(file)?;
    let stage = find(&pipeline, name).ok_or_else(|| no_stage(&pipeline, file, name))?;
    let input = plan.streams().iter().find(|s| *s.name == *stage.from);
    let input = input.context("a pipeline that fits has every stream that its stages read")?;
    let declared = pipeline.components.get(stage.component);
    let declared = declared.context("a pipeline that fits has the components of its stages")?;
    let path = path.unwrap_or(&declared.path);
    Ok(Subject {
        component: load(engine, stage.component, path)?,
        path: path.to_owned(),
        stage: name.to_owned(),
        input: Some(input.schema.clone()),
        records: (stage.from == SOURCE).then(|| pipeline.source.columns.clone()),
        config: config.unwrap_or_else(|| stage.config.clone()),
        limits: declared.limits,
        key: stage.key.to_vec(),
        window: stage.window,
    })
}

fn find<'a>(pipeline: &'a Pipeline, name: &str) -> Option<StageOf<'a>> {
    let transform = pipeline.transforms.iter().find(|stage| stage.name == name);
    let transform = transform.map(|stage| StageOf {
        from: &stage.from,
        component: &stage.component,
        config: &stage.config,
        key: &[],
        window: Window::None,
    });
    transform.or_else(|| {
        let aggregate = pipeline.aggregates.iter().find(|stage| stage.name == name);
        aggregate.map(|stage| StageOf {
            from: &stage.from,
            component: &stage.component,
            config: &stage.config,
            key: &stage.key,
            window: stage.window.clone(),
        })
    })
}

fn no_stage(pipeline: &Pipeline, file: &Path, name: &str) -> anyhow::Error {
    let transforms = pipeline.transforms.iter().map(|stage| &*stage.name);
    let aggregates = pipeline.aggregates.iter().map(|stage| &*stage.name);
    let names: Vec<&str> = transforms.chain(aggregates).collect();
    let guess = did_you_mean(name, names.iter().copied());
    anyhow!(
        "{} has no stage `{name}`: {}",
        file.display(),
        guess.unwrap_or_else(|| format!("it has {}", list(names)))
    )
}

fn config_object(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(config @ Value::Object(_)) => Ok(config),
        Ok(_) => Err("a config is a JSON object, as in {\"column\": \"amount\"}".to_owned()),
        Err(error) => Err(format!("this is not JSON: {error}")),
    }
}

fn read_config(path: &Path) -> anyhow::Result<Value> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("failed to read the config {}", path.display()))?;
    let is_toml = path.extension().is_some_and(|suffix| suffix == "toml");
    let config = if is_toml {
        toml::from_str(&text).map_err(|error| error.to_string())
    } else {
        config_object(&text)
    };
    config.map_err(|error| anyhow!("the config {} is wrong: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_is_an_object() {
        assert!(config_object("{\"a\": [1]}").is_ok());
        assert!(config_object("[1]").unwrap_err().contains("JSON object"));
        assert!(config_object("{a}").unwrap_err().contains("not JSON"));
    }

    #[test]
    fn a_config_file_is_json_or_toml_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let (json, toml) = (folder.path().join("c.json"), folder.path().join("c.toml"));
        std::fs::write(&json, "{\"rates\": {\"EUR\": \"1.08\"}}").unwrap();
        std::fs::write(&toml, "rates = { EUR = \"1.08\" }").unwrap();
        assert_eq!(read_config(&json).unwrap(), read_config(&toml).unwrap());

        std::fs::write(&toml, "rates = ").unwrap();
        let error = read_config(&toml).unwrap_err().to_string();
        assert!(error.contains("c.toml is wrong"), "{error}");
    }
}
