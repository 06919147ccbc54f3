//! What wasmill tells about itself: logs on stderr, and what metrics are called and look like.
//!
//! stdout belongs to the results of a command.
//!
//! # Not here
//!
//! Counting, and the values of metrics: `monitor` in [`crate::pipeline`].

pub mod exposition;
pub mod metrics;
pub(crate) mod process;

mod diversion;

use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use clap::{Args, ValueEnum};
use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::did_you_mean;

pub(crate) use diversion::{Diversion, last_warning};

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// for people
    Text,
    /// one JSON object a line
    Json,
}

/// Options that every subcommand has.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Logging")]
pub struct Telemetry {
    /// How lines of the log look
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// What is logged: error, warn, info, debug, trace; or by module, as in `info,wasmill=debug`
    /// [default: what `[log]` of a pipeline that runs says, or info]
    #[arg(long, global = true, env = "WASMILL_LOG", value_parser = log_filter)]
    pub log_level: Option<String>,
}

/// What is logged where nobody says it.
const LEVEL: &str = "info";

/// Words that are levels wherever they stand alone.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Replaces the filter of the log that was installed.
type SetFilter = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>;

/// How a pipeline changes what is logged; none where the command line has said it.
static SET_FILTER: OnceLock<SetFilter> = OnceLock::new();

/// The log cannot be set up.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The filter is none.
    #[error("failed to read the log level")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The log is no more.
    #[error("failed to change the log level")]
    Changed(#[source] reload::Error),
    /// Something else in this process was first.
    #[error("failed to install the log")]
    Installed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Refuses what is no filter, so that it is wrong usage and not a failure later.
///
/// # Errors
///
/// What is wrong with it, for a person.
pub(crate) fn log_filter(text: &str) -> Result<String, String> {
    for word in text.split(',').map(str::trim) {
        // The parser takes any word for the name of a module, and then nothing else is logged.
        let is_level = LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
        if let Some(question) = did_you_mean(word, LEVELS).filter(|_| !is_level) {
            return Err(format!("`{word}` is no level: {question}"));
        }
    }
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Logs from now on what a pipeline says, or what is usual where it says nothing. What the command
/// line or `WASMILL_LOG` says stays as it is.
///
/// # Errors
///
/// When it is no filter.
pub fn set_level(level: Option<&str>) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(level.unwrap_or(LEVEL))?;
    match SET_FILTER.get() {
        Some(set) => set(filter).map_err(TelemetryError::Changed),
        None => Ok(()),
    }
}

impl Telemetry {
    /// Sends the log of the whole process to stderr. Colours only on a terminal, and not where
    /// `NO_COLOR` is set, nor where `plain`, because the log will go to a file.
    ///
    /// # Errors
    ///
    /// When another log was installed before.
    pub fn install(&self, plain: bool) -> Result<(), TelemetryError> {
        let filter = EnvFilter::try_new(self.log_level.as_deref().unwrap_or(LEVEL))?;
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(diversion::output)
            .with_ansi(io::stderr().is_terminal() && !no_color && !plain);
        let set: SetFilter;
        let installed = match self.log_format {
            LogFormat::Text => {
                let builder = builder.with_filter_reloading();
                let filter = builder.reload_handle();
                set = Box::new(move |new| filter.reload(new));
                builder.finish().with(diversion::Warnings).try_init()
            }
            LogFormat::Json => {
                let builder = builder.json().flatten_event(true).with_filter_reloading();
                let filter = builder.reload_handle();
                set = Box::new(move |new| filter.reload(new));
                builder.finish().with(diversion::Warnings).try_init()
            }
        };
        installed.map_err(|error| TelemetryError::Installed(error.into()))?;
        if self.log_level.is_none() {
            // There is one log in a process, and it was installed just now.
            let _ = SET_FILTER.set(set);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_level_or_levels_by_module() {
        for right in ["debug", "INFO", "off", "info,wasmill=debug", "info,rdkafka"] {
            assert_eq!(log_filter(right).as_deref(), Ok(right));
        }
        assert!(log_filter("wasmill=loud").is_err());
    }

    #[test]
    fn a_misspelt_level_is_not_taken_for_a_module() {
        let refused = log_filter("wasmill=info,debg").unwrap_err();
        assert_eq!(refused, "`debg` is no level: did you mean `debug`?");
    }
}
