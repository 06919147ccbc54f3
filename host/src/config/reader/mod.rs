//! Typed access to the tables of `pipeline.toml`, which reports what is wrong and goes on.
//!
//! A [`Section`] is asked for its keys one by one. What is absent or faulty is `None`, and what is
//! faulty has been reported by then, so whoever reads only decides what absence means. The keys that
//! were asked for are the ones that exist: [`Section::finish`] reports all others.
//!
//! This takes the place of a serde mirror: serde stops at the first error, and its tagged enums lose
//! the place of it.

mod values;

use std::cell::RefCell;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::expand::{self, ExpandError};
use super::suggest::{closest, did_you_mean, list};
use super::{Diagnostic, Diagnostics, Environment, Span, mask};

/// What all sections of one file share.
pub(super) struct Reader<'a> {
    text: &'a str,
    environment: &'a Environment<'a>,
    /// whether what an embedded run replaces may lack its variables
    embedded: bool,
    diagnostics: RefCell<Diagnostics>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        text: &'a str,
        environment: &'a Environment<'a>,
        embedded: bool,
        diagnostics: Diagnostics,
    ) -> Self {
        Self {
            text,
            environment,
            embedded,
            diagnostics: RefCell::new(diagnostics),
        }
    }

    pub(super) fn push(&self, diagnostic: Diagnostic) {
        self.diagnostics.borrow_mut().push(diagnostic);
    }

    pub(super) fn has_errors(&self) -> bool {
        self.diagnostics.borrow().has_errors()
    }

    /// Whether the pipeline is to run [embedded](crate::config::embed).
    pub(super) fn is_embedded(&self) -> bool {
        self.embedded
    }

    /// What an environment variable holds, unless that is nothing.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.environment)(name).filter(|value| !value.is_empty())
    }

    pub(super) fn into_diagnostics(self) -> Diagnostics {
        self.diagnostics.into_inner()
    }

    /// The same, but in an embedded run `stand_in` for a string whose variables are not set.
    fn expand_or(&self, raw: &str, span: Span, stand_in: &str) -> Option<Text> {
        let expanded = expand::expand(raw, self.environment);
        if self.embedded && matches!(expanded, Err(ExpandError::Unset { .. })) {
            return Some(Text {
                value: stand_in.to_owned(),
                span,
                hidden: false,
                had_variables: true,
            });
        }
        self.expand(raw, span)
    }

    /// The string with its variables replaced, or a report.
    fn expand(&self, raw: &str, span: Span) -> Option<Text> {
        let diagnostic = match expand::expand(raw, self.environment) {
            Ok(expanded) => {
                return Some(Text {
                    value: expanded.value,
                    span,
                    hidden: expanded.from_environment,
                    had_variables: expanded.had_variables,
                });
            }
            Err(ExpandError::Unset { name }) => {
                let span = self.variable_at(&name, span);
                Diagnostic::error(format!("the environment variable `{name}` is not set"))
                    .at(&span)
                    .help(format!(
                        "set it, or write `${{{name}:-...}}` with a default in place of the dots"
                    ))
            }
            Err(ExpandError::Unclosed) => Diagnostic::error("`${` without its `}`")
                .at(&span)
                .help("`$${` stands for `${` itself"),
            Err(ExpandError::Name) => {
                Diagnostic::error("between `${` and `}` stands no name of a variable")
                    .at(&span)
                    .help("write `${NAME}` or `${NAME:-default}`; `$${` stands for `${` itself")
            }
        };
        self.push(diagnostic);
        None
    }

    /// Where `${name}` stands within the string at `span`.
    fn variable_at(&self, name: &str, span: Span) -> Span {
        let variable = format!("${{{name}}}");
        match self
            .text
            .get(span.clone())
            .and_then(|raw| raw.find(&variable))
        {
            Some(at) => span.start + at..span.start + at + variable.len(),
            None => span,
        }
    }
}

/// A string of the file, its variables replaced.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub(super) value: String,
    pub(super) span: Span,
    /// some of it came from the environment
    hidden: bool,
    had_variables: bool,
}

impl Text {
    /// A key, which is never expanded.
    fn key(key: &Spanned<toml::de::DeString<'_>>) -> Self {
        Self {
            value: key.get_ref().clone().into_owned(),
            span: key.span(),
            hidden: false,
            had_variables: false,
        }
    }

    /// A part of its value, in the same place and as secret.
    pub(super) fn part(&self, value: &str) -> Self {
        Self {
            value: value.to_owned(),
            ..self.clone()
        }
    }

    /// The value for a message: not what came from the environment or looks like a secret.
    pub(super) fn shown(&self) -> String {
        if self.hidden {
            "[the value from the environment]".to_owned()
        } else if mask::has_userinfo(&self.value) {
            "[a URL with a user in it]".to_owned()
        } else {
            format!("`{}`", self.value.escape_debug())
        }
    }

    /// Asks whether the closest of `known` was meant, unless that would tell what is hidden.
    pub(super) fn did_you_mean<'k>(
        &self,
        known: impl IntoIterator<Item = &'k str>,
    ) -> Option<String> {
        if self.hidden {
            return None;
        }
        did_you_mean(&self.value, known)
    }
}

/// A table of the file.
pub(super) struct Section<'a> {
    pub(super) reader: &'a Reader<'a>,
    /// where it stands
    pub(super) span: Span,
    /// what to call it in a message, as `[source]`
    title: String,
    table: &'a DeTable<'a>,
    asked: Vec<&'static str>,
    /// keys that nobody asks for and that were reported already
    reported: Vec<&'a str>,
    /// keys that an embedded run replaces, with what stands in for them
    stand_ins: &'static [(&'static str, &'static str)],
}

impl<'a> Section<'a> {
    pub(super) fn new(
        reader: &'a Reader<'a>,
        title: &str,
        span: Span,
        table: &'a DeTable<'a>,
    ) -> Self {
        Self {
            reader,
            span,
            title: title.to_owned(),
            table,
            asked: Vec::new(),
            reported: Vec::new(),
            stand_ins: &[],
        }
    }

    /// Says which strings an embedded run replaces, by key (`*` for all), and what stands in for them
    /// there when their variables are not set: something that passes the checks.
    pub(super) fn replaced_when_embedded(
        &mut self,
        stand_ins: &'static [(&'static str, &'static str)],
    ) {
        self.stand_ins = stand_ins;
    }

    /// The value of a key that may be absent.
    fn get(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.push(key);
        self.table.get(key)
    }

    /// The value of a key; reports its absence.
    fn require(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        let value = self.get(key);
        if value.is_none() && !self.report_misspelt(key) {
            self.report_missing(&format!("`{key}` is missing in {}", self.title));
        }
        value
    }

    fn report_missing(&self, message: &str) {
        let mut diagnostic = Diagnostic::error(message);
        // The file as a whole has no place of its own to point at.
        if !self.span.is_empty() {
            diagnostic = diagnostic.at(&self.span);
        }
        self.reader.push(diagnostic);
    }

    /// Reports a key that looks like this one, which is absent; `false` when there is none.
    fn report_misspelt(&mut self, absent: &str) -> bool {
        let table = self.table;
        let unknown = table
            .keys()
            .filter(|key| !self.asked.contains(&key.get_ref().as_ref()));
        let meant = closest(absent, unknown.map(|key| key.get_ref().as_ref()));
        let Some((found, _)) = meant.and_then(|meant| table.get_key_value(meant)) else {
            return false;
        };
        let key = Text::key(found);
        let message = format!("unknown key {} in {}", key.shown(), self.title);
        self.reader.push(
            Diagnostic::error(message)
                .at(&key.span)
                .label(format!("did you mean `{absent}`?")),
        );
        self.reported.push(found.get_ref());
        true
    }

    /// The table at `key`, which messages call `title`.
    pub(super) fn table(&mut self, key: &'static str, title: &str) -> Option<Self> {
        let value = self.get(key)?;
        self.as_table(key, title, value)
    }

    /// The same; reports its absence.
    pub(super) fn required_table(&mut self, key: &'static str, title: &str) -> Option<Self> {
        let value = self.get(key);
        if value.is_none() && !self.report_misspelt(key) {
            self.report_missing(&format!("{title} is missing"));
        }
        self.as_table(key, title, value?)
    }

    fn as_table(&self, key: &str, title: &str, value: &'a Spanned<DeValue<'a>>) -> Option<Self> {
        match value.get_ref() {
            DeValue::Table(table) => Some(Self::new(self.reader, title, value.span(), table)),
            other => {
                let mut diagnostic = wrong_type(key, "a table", value);
                if matches!(other, DeValue::Array(_)) {
                    diagnostic = diagnostic.help("there is one of it: write single brackets");
                }
                self.reader.push(diagnostic);
                None
            }
        }
    }

    /// The tables in the list at `key`, each of which messages call `title`. None when it is absent.
    pub(super) fn tables(&mut self, key: &'static str, title: &str) -> Vec<Self> {
        let Some(value) = self.get(key) else {
            return Vec::new();
        };
        match value.get_ref() {
            DeValue::Array(values) => values
                .iter()
                .filter_map(|value| self.as_table(key, title, value))
                .collect(),
            other => {
                let diagnostic = wrong_type(key, "a list of tables", value);
                let DeValue::Table(table) = other else {
                    self.reader.push(diagnostic);
                    return Vec::new();
                };
                let help = "there may be several of it: write double brackets, or a list";
                self.reader.push(diagnostic.help(help));
                // What is in it can be checked all the same.
                vec![Self::new(self.reader, title, value.span(), table)]
            }
        }
    }

    /// The tables in this one, whose keys are names that the user gave; messages call each
    /// `[title.NAME]`.
    pub(super) fn named_tables(self, title: &str) -> Vec<(Text, Option<Self>)> {
        self.table
            .iter()
            .map(|(key, value)| {
                let name = Text::key(key);
                let title = format!("`[{title}.{}]`", name.value.escape_debug());
                let section = self.as_table(&name.value, &title, value);
                (name, section)
            })
            .collect()
    }

    /// The strings in this table, whose keys are names that the user gave.
    pub(super) fn named_texts(self) -> Vec<(Text, Option<Text>)> {
        self.table
            .iter()
            .map(|(key, value)| {
                let name = Text::key(key);
                let text = self.as_text(&name.value, value);
                (name, text)
            })
            .collect()
    }

    /// Where the value of a key stands, or else the table. Does not count as asking for it.
    pub(super) fn span_of(&self, key: &str) -> Span {
        let value = self.table.get(key);
        value.map_or_else(|| self.span.clone(), Spanned::span)
    }

    /// Whether there is such a key. Does not count as asking for it.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self) {
        self.finish_knowing(&[]);
    }

    /// Reports the keys that nobody asked for. `elsewhere` has keys that belong to another `type` or
    /// `kind`, with which.
    pub(super) fn finish_knowing(self, elsewhere: &[(&str, &str)]) {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if self.asked.contains(&name) || self.reported.contains(&name) {
                continue;
            }
            let owner = elsewhere.iter().find(|(key, _)| *key == name);
            self.reader.push(match owner {
                Some((_, owner)) => {
                    let message = format!("`{name}` goes with `{owner}`");
                    Diagnostic::error(message).at(&key.span())
                }
                None => self.unknown(&Text::key(key)),
            });
        }
    }

    fn unknown(&self, key: &Text) -> Diagnostic {
        let message = format!("unknown key {} in {}", key.shown(), self.title);
        let known = || self.asked.iter().copied();
        Diagnostic::error(message)
            .at(&key.span)
            .label_if(key.did_you_mean(known()))
            .help(format!("known are {}", list(known())))
    }
}

fn wrong_type(key: &str, wanted: &str, value: &Spanned<DeValue<'_>>) -> Diagnostic {
    let found = match value.get_ref() {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    let message = format!("`{}` must be {wanted}, not {found}", key.escape_debug());
    Diagnostic::error(message).at(&value.span())
}
