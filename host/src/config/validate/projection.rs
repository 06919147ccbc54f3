//! `columns` of a table or index: names in the sink, and where their values come from.

use super::names;
use crate::config::reader::{Section, Text};
use crate::config::{Diagnostic, Projection, TableColumn};

/// Makes a projection of the column in its brackets.
type Function = fn(String) -> Projection;

const FUNCTIONS: [(&str, Function); 3] = [
    ("date", Projection::Date),
    ("year", Projection::Year),
    ("month", Projection::Month),
];

const HELP: &str =
    "a value is a column of the stream, or `date(c)`, `year(c)` or `month(c)` of one";

/// The columns, in the order of the file; `Some(None)` where it is absent.
#[expect(
    clippy::option_option,
    reason = "the outer one says whether a report was made, the inner one whether the key is there"
)]
pub(super) fn columns(section: &mut Section<'_>) -> Option<Option<Vec<TableColumn>>> {
    let Some(columns) = section.table("columns", "`columns`") else {
        return (!section.has("columns")).then_some(None);
    };
    let span = columns.span.clone();
    let columns = columns.named_texts();
    if columns.is_empty() {
        let help = "leave it out to take the columns of the stream as they are";
        section
            .reader
            .push(Diagnostic::error("`columns` is empty").at(&span).help(help));
        return None;
    }
    let length = columns.len();
    let columns: Vec<TableColumn> = columns
        .into_iter()
        .filter_map(|(name, value)| {
            let name = names::column(section, "columns", name);
            let value = value.and_then(|value| projection(section, &value));
            Some(TableColumn {
                name: name?.value,
                value: value?,
            })
        })
        .collect();
    (columns.len() == length).then_some(Some(columns))
}

fn projection(section: &Section<'_>, text: &Text) -> Option<Projection> {
    let value = text.value.trim();
    if names::fits_identifier(value) {
        return Some(Projection::Column(value.to_owned()));
    }
    let call = value
        .strip_suffix(')')
        .and_then(|value| value.split_once('('))
        .map(|(function, column)| (function.trim(), column.trim()))
        .filter(|(function, column)| {
            names::fits_identifier(function) && names::fits_identifier(column)
        });
    let Some((function, column)) = call else {
        let message = format!("a column's value cannot be {}", text.shown());
        section
            .reader
            .push(Diagnostic::error(message).at(&text.span).help(HELP));
        return None;
    };
    let found = FUNCTIONS.iter().find(|(name, _)| *name == function);
    if let Some((_, projection)) = found {
        return Some(projection(column.to_owned()));
    }
    let message = format!("there is no such function: {}", text.shown());
    let known = FUNCTIONS.map(|(name, _)| name);
    section.reader.push(
        Diagnostic::error(message)
            .at(&text.span)
            .label_if(text.part(function).did_you_mean(known))
            .help(HELP),
    );
    None
}
