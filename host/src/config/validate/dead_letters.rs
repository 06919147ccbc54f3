//! `[dead_letters]`: where records go that could not be used.

use std::path::Path;

use super::names;
use super::source::properties;
use crate::config::reader::{Section, Text};
use crate::config::{DeadLetters, Diagnostic, KafkaSource, Source, SourceKind};

/// Properties of a producer that the host sets: others would lose letters.
const OWN_PROPERTIES: [(&str, &str); 5] = [
    ("bootstrap.servers", "`brokers` says it"),
    ("metadata.broker.list", "`brokers` says it"),
    ("acks", "a letter is written when every replica has it"),
    (
        "request.required.acks",
        "a letter is written when every replica has it",
    ),
    ("enable.idempotence", "letters are written in order, once"),
];

#[derive(Clone, Copy)]
enum Type {
    Kafka,
    File,
}

/// `source` is `None` when it is faulty itself.
pub(super) fn dead_letters(
    mut section: Section<'_>,
    source: Option<&Source>,
    base: &Path,
) -> Option<DeadLetters> {
    let ty = section.required_choice(
        "type",
        &[
            ("kafka", Some(Type::Kafka)),
            ("file", Some(Type::File)),
            ("postgres", None),
        ],
    );
    match ty? {
        Type::Kafka => {
            let letters = kafka(&mut section, source);
            section.finish_knowing(&[("path", "type = \"file\"")]);
            letters
        }
        Type::File => {
            let path = section.required_text("path");
            let kafka = "type = \"kafka\"";
            let elsewhere = ["brokers", "topic", "properties"].map(|key| (key, kafka));
            section.finish_knowing(&elsewhere);
            Some(DeadLetters::File {
                path: base.join(path?.value),
            })
        }
    }
}

fn kafka(section: &mut Section<'_>, source: Option<&Source>) -> Option<DeadLetters> {
    section.replaced_when_embedded(&[("brokers", "localhost:9092"), ("topic", "replaced.dead")]);
    let from = match source.map(|source| &source.kind) {
        Some(SourceKind::Kafka(kafka)) => Some(kafka),
        _ => None,
    };
    let brokers = section.text("brokers");
    let brokers = match brokers {
        Some(text) => names::brokers(section, "brokers", text).map(|text| text.value),
        None if section.has("brokers") => None,
        None => from.map(|kafka| kafka.brokers.clone()),
    };
    if source.is_some() && brokers.is_none() && !section.has("brokers") {
        let message = "`brokers` is missing in `[dead_letters]`";
        let help =
            "the source is not Kafka, so there are none to take over; or take `type = \"file\"`";
        section
            .reader
            .push(Diagnostic::error(message).at(&section.span).help(help));
    }
    let topic = section.required_text("topic");
    let topic = topic.and_then(|text| names::topic(section, "topic", text));
    if let (Some(topic), Some(brokers), Some(from)) = (&topic, &brokers, from) {
        not_the_source(section, topic, brokers, from);
    }
    let properties = properties(section, &OWN_PROPERTIES);
    Some(DeadLetters::Kafka {
        brokers: brokers?,
        topic: topic?.value,
        properties,
    })
}

/// Letters in the source's own topic would be read, refused and written again for ever.
fn not_the_source(section: &Section<'_>, topic: &Text, brokers: &str, source: &KafkaSource) {
    if topic.value == source.topic && brokers == source.brokers {
        let message = "dead letters cannot go to the topic that the source reads";
        section
            .reader
            .push(Diagnostic::error(message).at(&topic.span));
    }
}
