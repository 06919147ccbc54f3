//! Where everything stands in `pipeline.toml`, for reports that point at a single key of an item.

use std::collections::HashMap;

use toml::de::{DeTable, DeValue};

use super::Span;

/// The span of every value in the file, by the item that it belongs to and the path below it.
///
/// An item (`Transform`, `Table`, …) carries only its own span; what checks it later asks for the
/// parts: `places.find(&transform.span, "component")`.
#[derive(Debug, Clone, Default)]
pub struct Places {
    below: HashMap<(Span, String), Span>,
}

impl Places {
    /// The item that is the whole file.
    pub const ROOT: Span = 0..0;

    pub(super) fn of(root: &DeTable<'_>) -> Self {
        let mut places = Self::default();
        places.note_table(root, &mut vec![(Self::ROOT, String::new())]);
        places
    }

    /// Where the value at `path` below `item` stands; keys and places in lists are set apart by dots:
    /// `component`, `key.0`, `columns.total_sales`. The item itself where there is no such value.
    #[must_use]
    pub fn find(&self, item: &Span, path: &str) -> Span {
        self.below
            .get(&(item.clone(), path.to_owned()))
            .unwrap_or(item)
            .clone()
    }

    fn note_table(&mut self, table: &DeTable<'_>, above: &mut Vec<(Span, String)>) {
        for (key, value) in table {
            self.note(key.get_ref(), value.span(), value.get_ref(), above);
        }
    }

    /// Notes a value under every item above it; `above` has their spans and the paths so far.
    fn note(
        &mut self,
        key: &str,
        span: Span,
        value: &DeValue<'_>,
        above: &mut Vec<(Span, String)>,
    ) {
        let lengths: Vec<usize> = above.iter().map(|(_, path)| path.len()).collect();
        for (item, path) in above.iter_mut() {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(key);
            self.below
                .insert((item.clone(), path.clone()), span.clone());
        }
        match value {
            DeValue::Table(table) => {
                above.push((span, String::new()));
                self.note_table(table, above);
                above.pop();
            }
            DeValue::Array(values) => {
                for (i, value) in values.iter().enumerate() {
                    self.note(&i.to_string(), value.span(), value.get_ref(), above);
                }
            }
            _ => {}
        }
        for ((_, path), length) in above.iter_mut().zip(lengths) {
            path.truncate(length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
[source]
columns = [{ name = "a" }, { name = "b" }]

[[sink]]
tables = [{ table = "t", columns = { total = "x" } }]

[[sink]]
tables = [{ table = "u", key = ["k", "l"] }]
"#;

    #[test]
    fn parts_are_found_below_their_item() {
        let root = DeTable::parse(TEXT).unwrap();
        let places = Places::of(root.get_ref());
        let text_at = |item: &Span, path| &TEXT[places.find(item, path)];

        let second = places.find(&Places::ROOT, "source.columns.1");
        assert_eq!(text_at(&second, "name"), r#""b""#);
        let first_table = places.find(&Places::ROOT, "sink.0.tables.0");
        assert_eq!(text_at(&first_table, "columns.total"), r#""x""#);
        let second_table = places.find(&Places::ROOT, "sink.1.tables.0");
        assert_eq!(text_at(&second_table, "key.1"), r#""l""#);
        assert_eq!(
            text_at(&second_table, "columns.total"),
            &TEXT[second_table.clone()]
        );
    }
}
