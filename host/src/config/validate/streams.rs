//! The names of streams, and which stage may read which.
//!
//! Names are collected before the stages themselves are read, so that a faulty stage is no reason to
//! blame those that read it.

use super::{names, twice};
use crate::config::Diagnostic;
use crate::config::reader::{Section, Text};
use crate::config::suggest::list;

/// The stream that the source makes.
const SOURCE: &str = "source";

/// What names a stage in the dead letters that are not a guest's.
const DECODE: &str = "decode";

/// What makes a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Maker {
    Source,
    Transform(usize),
    Aggregate,
}

/// Who reads a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// the transform of this index
    Transform(usize),
    Aggregate,
    Sink,
}

/// A stage whose name was read, and reported where it was faulty.
pub(super) struct Stage<'a> {
    pub(super) name: Option<String>,
    pub(super) section: Section<'a>,
}

/// All streams of a pipeline, in order: the source, transforms, aggregates.
pub(super) struct Streams {
    streams: Vec<(String, Maker)>,
    /// where the names of the stages stand
    names: Vec<Text>,
}

impl Streams {
    /// The stream of the source alone.
    pub(super) fn of_source() -> Self {
        Self {
            streams: vec![(SOURCE.to_owned(), Maker::Source)],
            names: Vec::new(),
        }
    }

    /// Reads the names of all transforms; reports those that are missing, unfit or taken.
    pub(super) fn transforms<'a>(&mut self, sections: Vec<Section<'a>>) -> Vec<Stage<'a>> {
        sections
            .into_iter()
            .enumerate()
            .map(|(i, section)| self.declare(section, Maker::Transform(i)))
            .collect()
    }

    /// The same for all aggregates.
    pub(super) fn aggregates<'a>(&mut self, sections: Vec<Section<'a>>) -> Vec<Stage<'a>> {
        sections
            .into_iter()
            .map(|section| self.declare(section, Maker::Aggregate))
            .collect()
    }

    fn declare<'a>(&mut self, mut section: Section<'a>, maker: Maker) -> Stage<'a> {
        let name = section.required_text("name");
        let name = name.and_then(|text| names::name(&section, "name", text));
        let name = name.and_then(|text| self.add(&section, text, maker));
        Stage { name, section }
    }

    fn add(&mut self, section: &Section<'_>, name: Text, maker: Maker) -> Option<String> {
        if [SOURCE, DECODE].contains(&name.value.as_str()) {
            let message = format!("`{}` names a stage of the host", name.value);
            let help = "choose another name";
            section
                .reader
                .push(Diagnostic::error(message).at(&name.span).help(help));
            return None;
        }
        if let Some(first) = self.names.iter().find(|first| first.value == name.value) {
            let shown = format!("the stream {}", name.shown());
            section.reader.push(twice(&shown, &name.span, &first.span));
            return None;
        }
        let value = name.value.clone();
        self.streams.push((value.clone(), maker));
        self.names.push(name);
        Some(value)
    }

    /// The stream that a section reads, if it may.
    pub(super) fn from(&self, section: &mut Section<'_>, by: By) -> Option<String> {
        let text = section.required_text("from")?;
        let found = self.streams.iter().find(|(name, _)| *name == text.value);
        let diagnostic = match (found, by) {
            (None, _) => self.unknown(&text, by),
            (Some((_, Maker::Aggregate)), By::Transform(_) | By::Aggregate) => {
                let message = format!(
                    "{} is an aggregate, whose rows change as records arrive: only sinks can read it",
                    text.shown()
                );
                Diagnostic::error(message).at(&text.span)
            }
            (Some((_, Maker::Transform(made))), By::Transform(reads)) if *made >= reads => {
                let (message, help) = if *made == reads {
                    (
                        format!("{} cannot read itself", text.shown()),
                        self.readable(by),
                    )
                } else {
                    (
                        format!("{} is defined later", text.shown()),
                        "move this stage behind the one that it reads".to_owned(),
                    )
                };
                Diagnostic::error(message).at(&text.span).help(help)
            }
            (Some(_), _) => return Some(text.value),
        };
        section.reader.push(diagnostic);
        None
    }

    fn unknown(&self, text: &Text, by: By) -> Diagnostic {
        let message = format!("no stream is called {}", text.shown());
        Diagnostic::error(message)
            .at(&text.span)
            .label_if(text.did_you_mean(self.readable_names(by)))
            .help(self.readable(by))
    }

    fn readable(&self, by: By) -> String {
        format!("it can read {}", list(self.readable_names(by)))
    }

    /// The streams that a stage can read.
    fn readable_names(&self, by: By) -> impl Iterator<Item = &str> {
        self.streams
            .iter()
            .filter(move |(_, maker)| match (maker, by) {
                (_, By::Sink) | (Maker::Source, _) | (Maker::Transform(_), By::Aggregate) => true,
                (Maker::Transform(made), By::Transform(reads)) => *made < reads,
                (Maker::Aggregate, _) => false,
            })
            .map(|(name, _)| name.as_str())
    }
}
