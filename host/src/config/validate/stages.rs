//! `[[transform]]` and `[[aggregate]]`.

use super::components::Components;
use super::streams::{By, Stage, Streams};
use super::{names, twice};
use crate::config::reader::{Section, Text};
use crate::config::suggest::list;
use crate::config::{Aggregate, Backfill, Diagnostic, Transform, Window, units};

/// The columns that a window adds to what its aggregate hands on.
const WINDOW_COLUMNS: [&str; 2] = ["window_start", "window_end"];

/// The stages without fault.
pub(super) struct Chain {
    pub(super) transforms: Vec<Transform>,
    pub(super) aggregates: Vec<Aggregate>,
}

pub(super) fn chain(
    transforms: Vec<Stage<'_>>,
    aggregates: Vec<Stage<'_>>,
    streams: &Streams,
    components: &Components,
) -> Chain {
    Chain {
        transforms: transforms
            .into_iter()
            .enumerate()
            .filter_map(|(i, stage)| transform(stage, i, streams, components))
            .collect(),
        aggregates: aggregates
            .into_iter()
            .filter_map(|stage| aggregate(stage, streams, components))
            .collect(),
    }
}

fn transform(
    stage: Stage<'_>,
    index: usize,
    streams: &Streams,
    components: &Components,
) -> Option<Transform> {
    let Stage { name, mut section } = stage;
    let from = streams.from(&mut section, By::Transform(index));
    let component = component(&mut section, components);
    let config = section.json("config");
    let span = section.span.clone();
    section.finish();
    Some(Transform {
        name: name?,
        from: from?,
        component: component?,
        config: config?,
        span,
    })
}

fn aggregate(stage: Stage<'_>, streams: &Streams, components: &Components) -> Option<Aggregate> {
    let Stage { name, mut section } = stage;
    let from = streams.from(&mut section, By::Aggregate);
    let component = component(&mut section, components);
    let config = section.json("config");
    let key = key(&mut section);
    let window = match section.table("window", "`window`") {
        Some(section) => window(section),
        None if section.has("window") => None,
        None => Some(Window::None),
    };
    let backfill = section.choice(
        "backfill",
        &[
            ("none", Some(Backfill::None)),
            ("earliest", Some(Backfill::Earliest)),
        ],
    );
    section.choice("emit", &[("changes", Some(())), ("final", None)]);
    let span = section.span.clone();
    let reader = section.reader;
    section.finish();

    let (key, window) = (key?, window?);
    if window != Window::None
        && let Some(taken) = key
            .iter()
            .find(|column| WINDOW_COLUMNS.contains(&column.value.as_str()))
    {
        let message = format!("a window adds a column {} of its own", taken.shown());
        reader.push(Diagnostic::error(message).at(&taken.span));
    }
    Some(Aggregate {
        name: name?,
        from: from?,
        component: component?,
        config: config?,
        key: key.into_iter().map(|column| column.value).collect(),
        window,
        backfill: backfill.unwrap_or(Backfill::None),
        span,
    })
}

fn component(section: &mut Section<'_>, components: &Components) -> Option<String> {
    let text = section.required_text("component")?;
    if components.names.contains(&text.value) {
        return Some(text.value);
    }
    let known = || components.names.iter().map(String::as_str);
    let message = format!("no component is called {}", text.shown());
    let help = if components.names.is_empty() {
        "name its file: `[components.NAME]` with `path = \"NAME.wasm\"`".to_owned()
    } else {
        format!("there is {}", list(known()))
    };
    section.reader.push(
        Diagnostic::error(message)
            .at(&text.span)
            .label_if(text.did_you_mean(known()))
            .help(help),
    );
    None
}

/// The columns that groups are made by: none where it is absent.
fn key(section: &mut Section<'_>) -> Option<Vec<Text>> {
    if !section.has("key") {
        return section.texts("key").or(Some(Vec::new()));
    }
    let key = section.texts("key")?;
    distinct_columns(section, "key", key)
}

/// Names of columns, each once.
pub(super) fn distinct_columns(
    section: &Section<'_>,
    key: &'static str,
    texts: Vec<Text>,
) -> Option<Vec<Text>> {
    for (i, text) in texts.iter().enumerate() {
        if let Some(first) = texts[..i].iter().find(|other| other.value == text.value) {
            let shown = format!("in `{key}`, {}", text.shown());
            section.reader.push(twice(&shown, &text.span, &first.span));
        }
    }
    let length = texts.len();
    let texts: Vec<Text> = texts
        .into_iter()
        .filter_map(|text| names::column(section, key, text))
        .collect();
    (texts.len() == length).then_some(texts)
}

#[derive(Clone, Copy)]
enum Kind {
    None,
    Tumbling,
}

fn window(mut section: Section<'_>) -> Option<Window> {
    let kind = section.required_choice(
        "kind",
        &[
            ("tumbling", Some(Kind::Tumbling)),
            ("none", Some(Kind::None)),
            ("sliding", None),
            ("session", None),
        ],
    );
    match kind? {
        Kind::None => {
            let tumbling = "kind = \"tumbling\"";
            section.finish_knowing(&[("every", tumbling), ("time", tumbling)]);
            Some(Window::None)
        }
        Kind::Tumbling => {
            let every = section.required_text("every");
            let every = every.and_then(|text| section.parsed("every", &text, units::every));
            let time = section.required_text("time");
            let time = time.and_then(|text| names::column(&section, "time", text));
            section.finish();
            Some(Window::Tumbling {
                every: every?,
                time: time?.value,
            })
        }
    }
}
