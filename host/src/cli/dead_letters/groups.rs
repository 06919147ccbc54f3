//! Letters counted by stage, column and reason.

use std::collections::HashMap;

use comfy_table::{CellAlignment, Table};
use serde_json::{Value, json};

use super::when;
use crate::cli::terminal::{cell, table};
use crate::dead_letter::StoredLetter;

/// Reasons that are told apart: they may quote their records, of which there is no end.
const GROUPS_MAX: usize = 10_000;

/// What stands for all further reasons of a stage.
const OTHERS: &str = "(other reasons)";

/// How many letters have the same stage, column and reason.
#[derive(Debug, Default)]
pub(super) struct Groups(HashMap<Key, Group>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    stage: String,
    column: Option<String>,
    reason: String,
}

#[derive(Debug, Default, Clone, Copy)]
struct Group {
    count: u64,
    /// when the newest was written
    last_ms: Option<i64>,
}

impl Groups {
    pub(super) fn add(&mut self, letter: &StoredLetter) {
        let key = Key {
            stage: letter.stage.clone(),
            column: letter.column.clone(),
            reason: letter.reason.clone(),
        };
        let group = if self.0.len() < GROUPS_MAX || self.0.contains_key(&key) {
            self.0.entry(key).or_default()
        } else {
            let others = Key {
                column: None,
                reason: OTHERS.to_owned(),
                ..key
            };
            self.0.entry(others).or_default()
        };
        group.count += 1;
        group.last_ms = group.last_ms.max(letter.written_ms);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The most frequent first.
    fn sorted(&self) -> Vec<(&Key, &Group)> {
        let mut groups: Vec<_> = self.0.iter().collect();
        groups.sort_by(|a, b| b.1.count.cmp(&a.1.count).then(a.0.cmp(b.0)));
        groups
    }

    pub(super) fn table(&self) -> Table {
        let mut shown = table();
        shown.set_header(["letters", "stage", "column", "reason", "last"]);
        for (key, group) in self.sorted() {
            let last = group.last_ms.map_or_else(String::new, when::shown);
            shown.add_row([
                group.count.to_string(),
                cell(&key.stage),
                cell(key.column.as_deref().unwrap_or_default()),
                cell(&key.reason),
                last,
            ]);
        }
        if let Some(count) = shown.column_mut(0) {
            count.set_cell_alignment(CellAlignment::Right);
        }
        shown
    }

    pub(super) fn json(&self) -> Value {
        let groups = self.sorted().into_iter().map(|(key, group)| {
            json!({
                "letters": group.count,
                "stage": key.stage,
                "column": key.column,
                "reason": key.reason,
                "last": group.last_ms.map(when::shown),
            })
        });
        groups.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::dead_letters::letter::tests::letter;

    #[test]
    fn the_most_frequent_reason_comes_first_with_its_last_time() {
        let mut groups = Groups::default();
        for (offset, reason) in ["a", "b", "b"].iter().enumerate() {
            groups.add(&StoredLetter {
                reason: (*reason).to_owned(),
                written_ms: Some(offset as i64),
                ..letter()
            });
        }
        let json = groups.json();
        assert_eq!(json[0]["letters"], 2);
        assert_eq!(json[0]["reason"], "b");
        assert_eq!(json[0]["last"], "1970-01-01T00:00:00.002Z");
        assert_eq!(json[1]["reason"], "a");
    }

    #[test]
    fn reasons_without_end_take_no_memory_without_end() {
        let mut groups = Groups::default();
        for number in 0..GROUPS_MAX + 5 {
            groups.add(&StoredLetter {
                reason: number.to_string(),
                ..letter()
            });
        }
        assert_eq!(groups.0.len(), GROUPS_MAX + 1);
        let first = &groups.json()[0];
        assert_eq!(
            (&first["letters"], &first["reason"]),
            (&json!(5), &json!(OTHERS))
        );
    }
}
