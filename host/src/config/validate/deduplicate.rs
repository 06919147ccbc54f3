//! `[source.deduplicate]`: which records are one and the same.

use std::ops::RangeInclusive;

use super::twice;
use crate::config::reader::{Reader, Section, Text};
use crate::config::suggest::list;
use crate::config::{ColumnFrom, Deduplicate, Diagnostic, SourceColumn};

/// How many keys of a partition may be remembered: at 24 bytes each, a partition takes 2.4 GB then.
const LAST: RangeInclusive<u64> = 1..=100_000_000;
const LAST_DEFAULT: u32 = 1_000_000;

/// `[source.deduplicate]`. `columns` are the declared ones, unless there was a report about them.
pub(super) fn deduplicate(
    mut section: Section<'_>,
    columns: Option<&[SourceColumn]>,
) -> Option<Deduplicate> {
    let key = section.required_texts("key");
    let last = section.integer("last", LAST);
    let (reader, span) = (section.reader, section.span.clone());
    section.finish();
    let key = key?;
    if key.is_empty() {
        let message = "`key` is empty: nothing would tell one record from another";
        let help = "name the columns that are the same when a record comes twice, and only then";
        reader.push(Diagnostic::error(message).at(&span).help(help));
        return None;
    }
    for (i, name) in key.iter().enumerate() {
        if let Some(first) = key[..i].iter().find(|other| other.value == name.value) {
            let shown = format!("the column {}", name.shown());
            reader.push(twice(&shown, &name.span, &first.span));
        }
        if let Some(columns) = columns {
            key_column(reader, name, columns);
        }
    }
    Some(Deduplicate {
        key: key.into_iter().map(|name| name.value).collect(),
        last: last.map_or(LAST_DEFAULT, |last| last as u32),
    })
}

/// Reports a key column that is not declared, or that no two records share.
fn key_column(reader: &Reader<'_>, name: &Text, columns: &[SourceColumn]) {
    let Some(column) = columns.iter().find(|column| column.name == name.value) else {
        let names = || columns.iter().map(|column| column.name.as_str());
        let message = format!("`source.columns` has no {}", name.shown());
        reader.push(
            Diagnostic::error(message)
                .at(&name.span)
                .label_if(name.did_you_mean(names()))
                .help(format!("there are {}", list(names()))),
        );
        return;
    };
    if column.from == ColumnFrom::Offset {
        let message = "no two records have the same `@offset`, so none would be a duplicate";
        let help = "leave the column out of `key`";
        reader.push(Diagnostic::error(message).at(&name.span).help(help));
    }
}
