//! What `wasmill reload` and `wasmill rollback` have in common: they ask the running pipeline for another
//! version, wait for what comes of it, and show it.

mod show;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{anyhow, bail};
use serde::Deserialize;
use serde_json::Value;

use super::ask::{self, Answer};
use super::target::Target;
use super::terminal::{self, print};
use crate::config::{self, Secret};
use crate::reload::Report;

/// What both are told.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,

    /// Where to ask, without reading the pipeline
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,

    /// `token` of `[admin]`; by default the one in the pipeline
    #[arg(
        long,
        value_name = "TOKEN",
        env = "WASMILL_TOKEN",
        hide_env_values = true,
        value_parser = secret
    )]
    token: Option<Secret>,

    /// Wait so long for an answer; what was asked for goes on without it
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..))]
    timeout: u32,

    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

#[expect(clippy::unnecessary_wraps, reason = "it is what clap takes")]
fn secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text.to_owned()))
}

/// What a server answers that refuses.
#[derive(Debug, Deserialize)]
struct Refused {
    error: String,
    kind: String,
}

/// Asks at `path` with these values beside `dry_run`, and prints the answer.
///
/// # Errors
///
/// When the running version stays, with the reason; when nobody answers, or somebody else.
pub(super) fn ask_for(
    pipeline: &Path,
    options: &Options,
    path: &str,
    mut body: serde_json::Map<String, Value>,
) -> anyhow::Result<()> {
    let target = Target::find(pipeline, options.admin)?;
    target.is_right(&ask::status(target.address)?)?;
    let given = options
        .token
        .as_ref()
        .filter(|token| !token.reveal().is_empty());
    let token = given.or(target.token.as_ref());
    if !token.is_none_or(|token| config::is_token(token.reveal())) {
        bail!("--token, or WASMILL_TOKEN, is no token: it has 16 to 512 characters and no spaces");
    }
    if options.dry_run {
        body.insert("dry_run".to_owned(), true.into());
    }
    let body = Value::Object(body).to_string();
    let patience = Duration::from_secs(options.timeout.into());
    let answer = terminal::step("waiting for the running pipeline", || {
        ask::change(target.address, path, token, &body, patience)
    });
    told(&answer?, token.is_some(), options)
}

fn told(answer: &Answer, had_token: bool, options: &Options) -> anyhow::Result<()> {
    if options.json {
        let value = serde_json::from_str::<Value>(&answer.body);
        let value = value.map_err(|error| no_answer(&error.to_string()))?;
        print(&format!("{value:#}\n"))?;
    }
    if answer.status == 200 {
        let report: Report =
            serde_json::from_str(&answer.body).map_err(|error| no_answer(&error.to_string()))?;
        if options.json {
            return Ok(());
        }
        return print(&show::text(&report, options.dry_run));
    }
    let refused: Refused = serde_json::from_str(&answer.body)
        .map_err(|_| no_answer(&format!("HTTP {}", answer.status)))?;
    Err(anyhow!(show::refusal(
        &refused.kind,
        &refused.error,
        had_token
    )))
}

fn no_answer(reason: &str) -> anyhow::Error {
    anyhow!("the answer is none of wasmill's ({reason}): is it another version of wasmill?")
}
