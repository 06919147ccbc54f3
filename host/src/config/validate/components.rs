//! `[components.*]`: where the guests are, and their bounds.

use std::path::Path;
use std::time::Duration;

use indexmap::IndexMap;

use super::names;
use crate::config::reader::{Section, Text};
use crate::config::{Component, Limits};

const MIB: u64 = 1 << 20;
const MEMORY_DEFAULT: u64 = 64 * MIB;
/// What 32-bit addresses reach.
const MEMORY_MAX: u64 = 4 << 30;
const OUTPUT_MIN: u64 = 1 << 10;
const TIME_DEFAULT: Duration = Duration::from_secs(1);
const TIME_MAX: Duration = Duration::from_mins(1);

/// What `output` is of `memory` where it is not said.
const OUTPUT_SHARE: u64 = 8;

/// The components of a pipeline.
#[derive(Default)]
pub(super) struct Components {
    /// all that are named, faulty ones too, so that no stage is blamed for them
    pub(super) names: Vec<String>,
    /// those without fault
    pub(super) valid: IndexMap<String, Component>,
}

impl Components {
    pub(super) fn read(section: Section<'_>, base: &Path) -> Self {
        let mut components = Self::default();
        for (name, section) in section.named_tables("components") {
            components.names.push(name.value.clone());
            if let Some((name, component)) =
                section.and_then(|section| component(section, name, base))
            {
                components.valid.insert(name, component);
            }
        }
        components
    }
}

fn component(mut section: Section<'_>, name: Text, base: &Path) -> Option<(String, Component)> {
    let name = names::name(&section, "components", name);
    let path = section.required_text("path");
    let limits = match section.table("limits", "`limits`") {
        Some(section) => limits(section),
        None => Limits::default(),
    };
    let span = section.span.clone();
    section.finish();
    let component = Component {
        path: base.join(path?.value),
        limits,
        span,
    };
    Some((name?.value, component))
}

fn limits(mut section: Section<'_>) -> Limits {
    let memory = section.size("memory", MIB..=MEMORY_MAX);
    let time = section.duration("time", Duration::from_millis(1)..=TIME_MAX);
    let output_max = memory.unwrap_or(MEMORY_DEFAULT);
    let output = section.size("output", OUTPUT_MIN..=output_max);
    section.finish();
    limits_of(memory, time, output)
}

impl Default for Limits {
    fn default() -> Self {
        limits_of(None, None, None)
    }
}

fn limits_of(memory: Option<u64>, time: Option<Duration>, output: Option<u64>) -> Limits {
    let memory = memory.unwrap_or(MEMORY_DEFAULT);
    Limits {
        memory,
        time: time.unwrap_or(TIME_DEFAULT),
        output: output.unwrap_or(memory / OUTPUT_SHARE),
    }
}
