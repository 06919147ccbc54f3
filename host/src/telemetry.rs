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

use clap::{Args, ValueEnum};
use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

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
    #[arg(
        long,
        global = true,
        env = "WASMILL_LOG",
        default_value = "info",
        value_parser = filter_directives
    )]
    pub log_level: String,
}

/// The log cannot be set up.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The filter is none.
    #[error("failed to read the log level")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Something else in this process was first.
    #[error("failed to install the log")]
    Installed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Refuses what is no filter, so that it is wrong usage and not a failure later.
fn filter_directives(text: &str) -> Result<String, String> {
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
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
        let filter = EnvFilter::try_new(&self.log_level)?;
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(diversion::output)
            .with_ansi(io::stderr().is_terminal() && !no_color && !plain);
        let installed = match self.log_format {
            LogFormat::Text => builder.finish().with(diversion::Warnings).try_init(),
            LogFormat::Json => {
                let builder = builder.json().flatten_event(true);
                builder.finish().with(diversion::Warnings).try_init()
            }
        };
        installed.map_err(|error| TelemetryError::Installed(error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_level_or_levels_by_module() {
        assert!(filter_directives("debug").is_ok());
        assert!(filter_directives("info,wasmill=debug").is_ok());
        assert!(filter_directives("wasmill=loud").is_err());
    }
}
