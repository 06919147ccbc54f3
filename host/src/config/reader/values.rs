//! Single values: strings, numbers with bounds, choices, lists, free JSON.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::Value as Json;
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::{Section, Text, wrong_type};
use crate::config::suggest::list;
use crate::config::{Diagnostic, Span, units};

/// The values that a key can have: what is written, and what it means; `None` for what a later version
/// will know.
pub(in crate::config) type Choices<'c, T> = &'c [(&'static str, Option<T>)];

impl Section<'_> {
    /// A string that may be absent.
    pub(in crate::config) fn text(&mut self, key: &'static str) -> Option<Text> {
        let value = self.get(key)?;
        self.as_text(key, value)
    }

    /// A string; reports its absence.
    pub(in crate::config) fn required_text(&mut self, key: &'static str) -> Option<Text> {
        let value = self.require(key)?;
        self.as_text(key, value)
    }

    pub(super) fn as_text(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Text> {
        if let DeValue::String(raw) = value.get_ref() {
            let mut stand_ins = self.stand_ins.iter();
            return match stand_ins.find(|(name, _)| ["*", key].contains(name)) {
                Some((_, stand_in)) => self.reader.expand_or(raw, value.span(), stand_in),
                None => self.reader.expand(raw, value.span()),
            };
        }
        self.reader.push(wrong_type(key, "a string", value));
        None
    }

    /// A list of strings that may be absent.
    pub(in crate::config) fn texts(&mut self, key: &'static str) -> Option<Vec<Text>> {
        let value = self.get(key)?;
        let DeValue::Array(values) = value.get_ref() else {
            self.reader
                .push(wrong_type(key, "a list of strings", value));
            return None;
        };
        let texts: Vec<Text> = values
            .iter()
            .filter_map(|value| self.as_text(key, value))
            .collect();
        (texts.len() == values.len()).then_some(texts)
    }

    /// A list of strings; reports its absence.
    pub(in crate::config) fn required_texts(&mut self, key: &'static str) -> Option<Vec<Text>> {
        self.require(key)?;
        self.texts(key)
    }

    /// A string as it is written in TOML, a number or a boolean: librdkafka takes them all as text.
    pub(in crate::config) fn named_scalars(self) -> Vec<(Text, Option<Text>)> {
        self.table
            .iter()
            .map(|(key, value)| {
                let name = Text::key(key);
                let plain = match value.get_ref() {
                    DeValue::Integer(number) => integer(number).map(|number| number.to_string()),
                    DeValue::Boolean(flag) => Some(flag.to_string()),
                    _ => None,
                };
                let text = match plain {
                    Some(plain) => self.reader.expand(&plain, value.span()),
                    None => self.as_text(&name.value, value),
                };
                (name, text)
            })
            .collect()
    }

    /// `true` or `false`, which may be absent.
    pub(in crate::config) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        let value = self.get(key)?;
        if let DeValue::Boolean(flag) = value.get_ref() {
            return Some(*flag);
        }
        self.reader
            .push(wrong_type(key, "`true` or `false`", value));
        None
    }

    /// A whole number within bounds, which may be absent.
    pub(in crate::config) fn integer(
        &mut self,
        key: &'static str,
        bounds: RangeInclusive<u64>,
    ) -> Option<u64> {
        let value = self.get(key)?;
        let number = match value.get_ref() {
            // A number that i64 cannot hold is out of bounds too.
            DeValue::Integer(number) => integer(number).unwrap_or(i64::MIN),
            // TOML has no other way to take a number from the environment.
            DeValue::String(_) => {
                let text = self.as_text(key, value)?;
                match text.value.trim().parse::<i64>() {
                    Ok(number) if text.had_variables => number,
                    _ => {
                        let mut wrong = wrong_type(key, "a whole number", value);
                        if text.had_variables {
                            let message = format!("`{key}` must be a whole number");
                            wrong = Diagnostic::error(message).at(&value.span());
                        }
                        self.reader.push(wrong);
                        return None;
                    }
                }
            }
            _ => {
                self.reader.push(wrong_type(key, "a whole number", value));
                return None;
            }
        };
        let number = u64::try_from(number).ok();
        self.bounded(key, &value.span(), number, bounds, |number| {
            grouped(*number)
        })
    }

    /// A number within bounds, which may be absent.
    pub(in crate::config) fn number(
        &mut self,
        key: &'static str,
        bounds: RangeInclusive<f64>,
    ) -> Option<f64> {
        let value = self.get(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(number) => integer(number).map(|number| number as f64),
            DeValue::Float(number) => number.as_str().replace('_', "").parse().ok(),
            // TOML has no other way to take a number from the environment.
            DeValue::String(_) => {
                let text = self.as_text(key, value)?;
                match text.value.trim().parse() {
                    Ok(number) if text.had_variables => Some(number),
                    _ => {
                        self.reader.push(wrong_type(key, "a number", value));
                        return None;
                    }
                }
            }
            _ => {
                self.reader.push(wrong_type(key, "a number", value));
                return None;
            }
        };
        // NaN is within no bounds.
        self.bounded(key, &value.span(), number, bounds, ToString::to_string)
    }

    /// A duration within bounds, which may be absent.
    pub(in crate::config) fn duration(
        &mut self,
        key: &'static str,
        bounds: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let text = self.text(key)?;
        let duration = self.parsed(key, &text, units::duration)?;
        self.bounded(key, &text.span, Some(duration), bounds, |duration| {
            units::show_duration(*duration)
        })
    }

    /// A number of bytes within bounds, as a string with a unit or a plain number, which may be absent.
    pub(in crate::config) fn size(
        &mut self,
        key: &'static str,
        bounds: RangeInclusive<u64>,
    ) -> Option<u64> {
        let value = self.get(key)?;
        let bytes = match value.get_ref() {
            DeValue::Integer(number) => integer(number).and_then(|number| number.try_into().ok()),
            DeValue::String(_) => {
                let text = self.as_text(key, value)?;
                Some(self.parsed(key, &text, units::size)?)
            }
            _ => {
                self.reader.push(wrong_type(key, "a size", value));
                return None;
            }
        };
        self.bounded(key, &value.span(), bytes, bounds, |bytes| {
            units::show_size(*bytes)
        })
    }

    /// What `parse` makes of the text; its error becomes the help of a report.
    pub(in crate::config) fn parsed<T, E: Display>(
        &self,
        key: &str,
        text: &Text,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match parse(&text.value) {
            Ok(value) => Some(value),
            Err(error) => {
                let message = format!("`{key}` cannot be {}", text.shown());
                self.reader.push(
                    Diagnostic::error(message)
                        .at(&text.span)
                        .help(error.to_string()),
                );
                None
            }
        }
    }

    /// The value if it lies within bounds. `None` is beyond any.
    fn bounded<T: PartialOrd>(
        &self,
        key: &str,
        span: &Span,
        value: Option<T>,
        bounds: RangeInclusive<T>,
        show: impl Fn(&T) -> String,
    ) -> Option<T> {
        let within = value.filter(|value| bounds.contains(value));
        if within.is_none() {
            let (least, most) = (show(bounds.start()), show(bounds.end()));
            let message = format!("`{key}` must be from {least} to {most}");
            self.reader.push(Diagnostic::error(message).at(span));
        }
        within
    }

    /// One of several words; may be absent.
    pub(in crate::config) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: Choices<'_, T>,
    ) -> Option<T> {
        let text = self.text(key)?;
        self.chosen(key, &text, choices)
    }

    /// One of several words; reports its absence.
    pub(in crate::config) fn required_choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: Choices<'_, T>,
    ) -> Option<T> {
        let text = self.required_text(key)?;
        self.chosen(key, &text, choices)
    }

    fn chosen<T: Copy>(&self, key: &str, text: &Text, choices: Choices<'_, T>) -> Option<T> {
        let found = choices.iter().find(|(word, _)| *word == text.value);
        let known = || {
            choices
                .iter()
                .filter(|(_, meaning)| meaning.is_some())
                .map(|(word, _)| *word)
        };
        let message = match found {
            Some((_, Some(meaning))) => return Some(*meaning),
            Some((word, None)) => format!("`{key} = \"{word}\"` is not available in this version"),
            None => format!("`{key}` cannot be {}", text.shown()),
        };
        self.reader.push(
            Diagnostic::error(message)
                .at(&text.span)
                .label_if(text.did_you_mean(known()))
                .help(format!("there is {}", list(known()))),
        );
        None
    }

    /// A table of anything as JSON, strings expanded; `{}` when it is absent.
    pub(in crate::config) fn json(&mut self, key: &'static str) -> Option<Json> {
        let Some(value) = self.get(key) else {
            return Some(Json::Object(serde_json::Map::new()));
        };
        if let DeValue::Table(table) = value.get_ref() {
            return self.json_object(table);
        }
        self.reader.push(wrong_type(key, "a table", value));
        None
    }

    fn json_object(&self, table: &DeTable<'_>) -> Option<Json> {
        let mut object = serde_json::Map::new();
        let mut complete = true;
        for (key, value) in table {
            match self.json_value(value) {
                Some(value) => {
                    object.insert(key.get_ref().clone().into_owned(), value);
                }
                None => complete = false,
            }
        }
        complete.then_some(Json::Object(object))
    }

    fn json_value(&self, value: &Spanned<DeValue<'_>>) -> Option<Json> {
        let plain = match value.get_ref() {
            DeValue::String(raw) => {
                return Some(self.reader.expand(raw, value.span())?.value.into());
            }
            DeValue::Table(table) => return self.json_object(table),
            DeValue::Array(values) => {
                let json: Vec<Json> = values
                    .iter()
                    .filter_map(|value| self.json_value(value))
                    .collect();
                return (json.len() == values.len()).then_some(Json::Array(json));
            }
            DeValue::Boolean(flag) => Some(Json::Bool(*flag)),
            DeValue::Datetime(moment) => Some(moment.to_string().into()),
            DeValue::Integer(number) => integer(number).map(Json::from),
            DeValue::Float(number) => number
                .as_str()
                .parse()
                .ok()
                .and_then(serde_json::Number::from_f64)
                .map(Json::Number),
        };
        if plain.is_none() {
            let message = "this number has no JSON";
            let help = "write it as a string, if the component takes it so";
            self.reader
                .push(Diagnostic::error(message).at(&value.span()).help(help));
        }
        plain
    }
}

/// `None` when an `i64` cannot hold it.
fn integer(number: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// A number as TOML lets one write it: `1_000_000`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push('_');
        }
        grouped.push(digit);
    }
    grouped
}
