//! Reports on faulty pipelines, as snapshots, and what a right one becomes.
//!
//! A test names what is replaced in a right pipeline, and its snapshot shows the reports.

mod admin;
mod checkpoint;
mod reload;
mod right;
mod secrets;
mod servers;
mod sinks;
mod source;
mod stages;
mod syntax;

use std::path::Path;

use proptest::prelude::*;

use super::{Diagnostics, Look, Pipeline, REFUSED_WITHOUT_REASON, parse};

/// A right pipeline with one of everything.
const RIGHT: &str = r#"
[pipeline]
name = "shop"

[source]
type = "kafka"
brokers = "localhost:9092"
topic = "sales"
columns = [
  { name = "id", type = "utf8" },
  { name = "amount", from = "total.amount", type = "decimal(2)" },
  { name = "sold", type = "timestamp" },
]

[commit]
max_rows = 1000

[components.convert]
path = "convert.wasm"
limits = { memory = "32MiB", time = "500ms" }

[components.sum]
path = "sum.wasm"

[[transform]]
name = "converted"
from = "source"
component = "convert"

[[aggregate]]
name = "daily"
from = "converted"
component = "sum"
window = { kind = "tumbling", every = "1 day", time = "sold" }

[[sink]]
name = "db"
type = "postgres"
url = "postgres://me:hunter2@db/shop"
tables = [
  { from = "converted", table = "sales", key = ["id"] },
  { from = "daily", table = "daily", key = ["day"], columns = { day = "date(window_start)", total = "total" } },
]

[[sink]]
name = "search"
type = "elasticsearch"
url = "http://localhost:9200"
indices = [{ from = "converted", index = "sales", id = "id" }]

[dead_letters]
type = "kafka"
topic = "sales.dead"
"#;

fn environment(name: &str) -> Option<String> {
    match name {
        "PASSWORD" => Some("hunter2".to_owned()),
        "TEN" => Some("10".to_owned()),
        _ => None,
    }
}

fn parsed(text: &str) -> Result<(Pipeline, Diagnostics), Diagnostics> {
    parse(text, "pipeline.toml", Path::new("folder"), &environment)
}

/// The right pipeline with replacements, each of which must apply exactly once.
fn with(changes: &[(&str, &str)]) -> String {
    let mut text = RIGHT.to_owned();
    for (old, new) in changes {
        assert_eq!(
            text.matches(old).count(),
            1,
            "`{old}` is to stand there once"
        );
        text = text.replace(old, new);
    }
    text
}

/// The pipeline of a text that has no error.
fn accepted(text: &str) -> Pipeline {
    match parsed(text) {
        Ok((pipeline, _)) => pipeline,
        Err(diagnostics) => panic!("{diagnostics}"),
    }
}

/// The reports on the right pipeline with replacements, which must be refused.
fn refused(changes: &[(&str, &str)]) -> String {
    refused_text(&with(changes))
}

fn refused_text(text: &str) -> String {
    let diagnostics = parsed(text).expect_err("a faulty pipeline is refused");
    assert!(diagnostics.has_errors());
    let rendered = diagnostics.render(Look::Plain);
    assert!(
        !rendered.contains("hunter2"),
        "a secret is shown: {rendered}"
    );
    assert!(
        !rendered.contains('\u{1b}'),
        "a colour is shown: {rendered}"
    );
    rendered
}

/// Every line left out, and every value replaced by one of each other type: whatever it leads to, it is
/// no panic, and no refusal without a reason.
#[test]
fn a_pipeline_with_any_one_change_is_accepted_or_refused() {
    let values = [
        "1",
        "-1.5",
        "true",
        "\"\"",
        "\"x\"",
        "\"${A}\"",
        "[]",
        "[1]",
        "[\"\"]",
        "{}",
        "{ x = 1 }",
        "[{}]",
        "2020-01-01",
    ];
    let lines: Vec<&str> = RIGHT.lines().collect();
    for (i, line) in lines.iter().enumerate() {
        let mut changed = vec![String::new(), format!("{line}\n{line}")];
        if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with(' ')) {
            changed.push(line.replacen(key, "x", 1));
            changed.push(line.replacen(key, &format!("{key}s"), 1));
            changed.extend(values.iter().map(|value| format!("{key} = {value}")));
        }
        for (key, _) in line.match_indices(" = ").filter(|_| line.starts_with(' ')) {
            let (before, after) = line.split_at(key + 3);
            let end = after.find([',', '}']).unwrap_or(after.len());
            changed.extend(
                values
                    .iter()
                    .map(|value| format!("{before}{value}{}", &after[end..])),
            );
        }
        for line in &changed {
            let mut lines = lines.clone();
            lines[i] = line;
            if let Err(diagnostics) = parsed(&lines.join("\n")) {
                let rendered = diagnostics.render(Look::Plain);
                assert!(!rendered.contains(REFUSED_WITHOUT_REASON), "{line}");
            }
        }
    }
}

proptest! {
    #[test]
    fn any_text_is_accepted_or_refused(text in "\\PC{0,200}") {
        let _ = parsed(&text).map_err(|diagnostics| diagnostics.render(Look::Coloured));
    }

    #[test]
    fn text_that_looks_like_toml_is_accepted_or_refused(
        lines in prop::collection::vec(
            "[\\[]{0,2}(pipeline|source|sink|components\\.a|transform|x)[\\]]{0,2}|\
             (name|type|from|columns|url|key|tables|config) ?=? ?(\"\\PC{0,8}\"|[\\[{]{0,2}|-?[0-9]{1,20}|\\$\\{A|'é)[\\]}]{0,2}",
            0..20,
        ),
    ) {
        let text = lines.join("\n");
        let _ = parsed(&text).map_err(|diagnostics| diagnostics.render(Look::Plain));
    }

    #[test]
    fn a_damaged_pipeline_is_accepted_or_refused(
        damages in prop::collection::vec((0..RIGHT.len(), 0..12usize, "\\PC{0,3}|[\"\\[\\]{}=,\n]|\\$\\{X\\}"), 1..4),
    ) {
        let mut text = RIGHT.to_owned();
        for (at, length, replacement) in damages {
            let start = text.floor_char_boundary(at);
            let end = text.floor_char_boundary(start + length);
            text.replace_range(start..end, &replacement);
        }
        let _ = parsed(&text).map_err(|diagnostics| diagnostics.render(Look::Drawn));
    }

    #[test]
    fn one_slip_shows_no_password(
        at in 0..RIGHT.len(),
        length in 0..12usize,
        replacement in "\\PC{0,3}|[\"\\[\\]{}=,\n]|\\$\\{X\\}",
    ) {
        let start = RIGHT.floor_char_boundary(at);
        let end = RIGHT.floor_char_boundary(start + length);
        let mut text = RIGHT.to_owned();
        text.replace_range(start..end, &replacement);
        if let Err(diagnostics) = parsed(&text) {
            prop_assert!(!diagnostics.render(Look::Plain).contains("hunter2"), "{}", diagnostics);
        }
    }
}
