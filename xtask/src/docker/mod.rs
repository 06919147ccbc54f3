//! For people with Docker: what can be known of the image and of the compose file without an engine.
//!
//! - [`check`], a part of `cargo xtask test`: docker-compose takes the compose file, and refuses it
//!   without its secrets; the files agree with each other
//! - [`image`], `cargo xtask image`: executes the Dockerfile and tries what comes out
//!
//! # Not here
//!
//! That an engine builds and starts them: no machine of ours has one.

mod agree;
mod compose;
mod confined;
mod context;
mod dockerfile;
mod image;
mod steps;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::{tools, workspace};

use agree::Files;
use context::Ignore;
use dockerfile::Dockerfile;

pub(crate) use image::{Options, run};

/// Checks the compose file, the Dockerfile, and how they go with the rest. Returns how many facts held.
///
/// # Errors
///
/// Everything that is wrong, a line each.
pub(crate) fn check() -> Result<u64> {
    tools::ensure(&[tools::Tool::DockerCompose])?;
    let root = workspace::root();
    let required = compose::required()?;
    if required.is_empty() {
        bail!(".env.example asks for no secret");
    }
    let all: Vec<_> = required
        .iter()
        .map(|name| (name.as_str(), "filled1n"))
        .collect();
    let mut problems = files(&all)?.problems(root);
    for name in &required {
        let without: Vec<_> = all
            .iter()
            .copied()
            .filter(|(other, _)| other != name)
            .collect();
        match compose::resolve(&without) {
            Ok(_) => problems.push(format!("compose is content without {name}")),
            Err(error) if error.to_string().contains(".env.example") => {}
            Err(error) => problems.push(format!(
                "without {name} compose does not point to .env.example: {error:#}"
            )),
        }
    }
    if !problems.is_empty() {
        bail!(
            "the Docker files do not go together:\n  {}",
            problems.join("\n  ")
        );
    }
    eprintln!(
        "docker-compose takes the file, and refuses it without each of {}",
        required.join(", ")
    );
    Ok(1 + required.len() as u64)
}

/// Everything that has to agree, with the compose file resolved with these variables.
fn files(variables: &[(&str, &str)]) -> Result<Files> {
    let root = workspace::root();
    let (dockerfile, ignore) = image_files(root)?;
    let pipeline_text = read(root, "pipeline.toml")?;
    let toolchain = table(&read(root, "rust-toolchain.toml")?)?;
    let manifest = table(&read(root, "Cargo.toml")?)?;
    let text = |value: &toml::Value| value.as_str().map(str::to_owned);
    Ok(Files {
        dockerfile,
        ignore,
        compose: compose::resolve(variables)?,
        pipeline: table(&pipeline_text)?,
        pipeline_text,
        toolchain: text(&toolchain["toolchain"]["channel"]).context("the channel is no text")?,
        version: text(&manifest["workspace"]["package"]["version"])
            .context("the version is no text")?,
    })
}

fn image_files(root: &Path) -> Result<(Dockerfile, Ignore)> {
    let dockerfile = Dockerfile::parse(&read(root, "Dockerfile")?)?;
    Ok((dockerfile, Ignore::parse(&read(root, ".dockerignore")?)?))
}

/// The shipped pipeline.
fn pipeline(root: &Path) -> Result<toml::Table> {
    table(&read(root, "pipeline.toml")?)
}

fn read(root: &Path, name: &str) -> Result<String> {
    fs::read_to_string(root.join(name)).with_context(|| format!("failed to read {name}"))
}

fn table(text: &str) -> Result<toml::Table> {
    toml::from_str(text).context("failed to read TOML")
}
