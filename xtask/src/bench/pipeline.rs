//! The sales job, `bench/sales.toml`, and what is made of it: each variant is a few edits by name, written to a
//! file that `wasmill run` takes too.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use toml::{Table, Value};

use super::Bench;
use super::topic::Topic;
use crate::workspace;

/// A variant of the sales job.
#[derive(Debug, Clone)]
pub(super) struct Sales {
    table: Table,
    folder: PathBuf,
}

impl Sales {
    /// The whole job, on the topic of this invocation.
    pub(super) fn load(bench: &Bench<'_>) -> Result<Self> {
        let mut sales = Self::parse(bench.folder.join("pipelines"))?
            .with("source.brokers", bench.session.kafka())
            .reading(&bench.topic)
            .with("dead_letters.topic", bench.topic.dead_letters());
        for index in sales.targets("indices") {
            index.insert("index".to_owned(), bench.topic.name.clone().into());
        }
        Ok(sales)
    }

    fn parse(folder: PathBuf) -> Result<Self> {
        let path = workspace::root().join("bench/sales.toml");
        let text = fs::read_to_string(&path)
            .with_context(|| format!("failed to read {}", path.display()))?;
        let table = text.parse().context("bench/sales.toml is no TOML")?;
        Ok(Self { table, folder })
    }

    /// With another value at `key`, whose parts have dots between them; tables that lack are made.
    pub(super) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        let mut table = &mut self.table;
        let (path, last) = key.rsplit_once('.').unwrap_or(("", key));
        for part in path.split('.').filter(|part| !part.is_empty()) {
            let entry = table.entry(part).or_insert_with(|| Table::new().into());
            table = entry.as_table_mut().expect("the key names a table");
        }
        table.insert(last.to_owned(), value.into());
        self
    }

    /// Reads the records of another topic.
    pub(super) fn reading(self, topic: &Topic) -> Self {
        self.with("source.topic", &*topic.name)
    }

    /// Reads the same records from files.
    #[expect(
        clippy::wrong_self_convention,
        reason = "it says where records come from"
    )]
    pub(super) fn from_files(mut self, paths: &[PathBuf]) -> Self {
        let paths = paths.iter().map(|path| path.to_string_lossy().into_owned());
        let paths: Vec<String> = paths.collect();
        // Dead letters would need brokers otherwise.
        for place in ["source", "dead_letters"] {
            let table = self.table[place].as_table_mut();
            let table = table.expect("the job has a source and dead letters");
            for key in ["brokers", "topic", "start"] {
                table.remove(key);
            }
        }
        let dead_letters = self
            .folder
            .join("dead-letters")
            .to_string_lossy()
            .into_owned();
        self.with("source.type", "file")
            .with("source.paths", paths)
            .with("dead_letters.type", "file")
            .with("dead_letters.path", dead_letters)
    }

    /// Without any stage: what the source makes goes to Elasticsearch.
    pub(super) fn without_stages(mut self) -> Self {
        self.table.remove("transform");
        for index in self.targets("indices") {
            index.insert("from".to_owned(), "source".into());
        }
        self.rows_only()
    }

    /// With a transform that hands back two columns as they are, in place of the chain.
    pub(super) fn passthrough(mut self) -> Self {
        let transform = r#"
            name = "sales"
            from = "source"
            component = "passthrough"
            config = { columns = ["currency", "total_amount"] }
        "#;
        let transform: Table = transform.parse().expect("it is TOML");
        let transforms = vec![Value::Table(transform)];
        self.table.insert("transform".to_owned(), transforms.into());
        self.rows_only()
    }

    /// Without aggregates and tables: rows go to Elasticsearch alone, as some sink has to take something.
    pub(super) fn rows_only(mut self) -> Self {
        self.table.remove("aggregate");
        self.keep_tables(|_| false)
    }

    /// Without the table of the raw rows, and without Elasticsearch.
    pub(super) fn totals_only(self) -> Self {
        self.keep_tables(|from| from != "sales").without_search()
    }

    /// Without Elasticsearch.
    pub(super) fn without_search(mut self) -> Self {
        let sinks = self.table.get_mut("sink").and_then(Value::as_array_mut);
        let sinks = sinks.expect("the job has sinks");
        sinks.retain(|sink| sink["type"].as_str() == Some("postgres"));
        self
    }

    fn keep_tables(mut self, keeps: impl Fn(&str) -> bool) -> Self {
        let sinks = self.table.get_mut("sink").and_then(Value::as_array_mut);
        for sink in sinks.into_iter().flatten() {
            if let Some(tables) = sink.get_mut("tables").and_then(Value::as_array_mut) {
                tables.retain(|table| table["from"].as_str().is_some_and(&keeps));
            }
        }
        self
    }

    /// The tables or indices of all sinks.
    fn targets(&mut self, kind: &'static str) -> impl Iterator<Item = &mut Table> {
        let sinks = self.table.get_mut("sink").and_then(Value::as_array_mut);
        let sinks = sinks.into_iter().flatten();
        let targets = sinks.filter_map(move |sink| sink.get_mut(kind)?.as_array_mut());
        targets.flatten().filter_map(Value::as_table_mut)
    }

    /// The components that its stages run, with absolute paths: those in the file begin elsewhere.
    fn components(&self) -> Table {
        let stages = ["transform", "aggregate"].into_iter();
        let stages = stages.filter_map(|kind| self.table.get(kind)?.as_array());
        let names = stages
            .flatten()
            .filter_map(|stage| stage["component"].as_str());
        let component = |name: &str| {
            let path = workspace::root().join(format!("target/guests/{name}.wasm"));
            let path = path.to_string_lossy().into_owned();
            (
                name.to_owned(),
                Table::from_iter([("path".to_owned(), path.into())]).into(),
            )
        };
        names.map(component).collect()
    }

    /// Writes it to a file of this name, and returns where.
    pub(super) fn write(&self, name: &str) -> Result<PathBuf> {
        fs::create_dir_all(&self.folder)?;
        let path = self.folder.join(format!("{name}.toml"));
        let sales = self.clone().with("components", self.components());
        fs::write(&path, sales.table.to_string())
            .with_context(|| format!("failed to write {}", path.display()))?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sales() -> Sales {
        Sales::parse(PathBuf::from("folder")).unwrap()
    }

    fn count(mut sales: Sales) -> [usize; 5] {
        let list = |sales: &Sales, kind: &str| {
            sales
                .table
                .get(kind)
                .map_or(0, |list| list.as_array().unwrap().len())
        };
        [
            list(&sales, "transform"),
            list(&sales, "aggregate"),
            sales.components().len(),
            sales.targets("tables").count(),
            sales.targets("indices").count(),
        ]
    }

    #[test]
    fn a_variant_lacks_what_its_name_says() {
        assert_eq!(count(sales()), [1, 4, 2, 5, 1]);
        assert_eq!(count(sales().without_search()), [1, 4, 2, 5, 0]);
        assert_eq!(count(sales().totals_only()), [1, 4, 2, 4, 0]);
        assert_eq!(count(sales().rows_only()), [1, 0, 1, 0, 1]);
        assert_eq!(count(sales().passthrough()), [1, 0, 1, 0, 1]);
        assert_eq!(count(sales().without_stages()), [0, 0, 0, 0, 1]);
    }

    #[test]
    fn a_value_is_set_where_its_key_says() {
        let sales = sales()
            .with("pipeline.workers", 1)
            .with("new.deep.key", "x");
        assert_eq!(sales.table["pipeline"]["workers"].as_integer(), Some(1));
        assert_eq!(sales.table["pipeline"]["name"].as_str(), Some("bench"));
        assert_eq!(sales.table["new"]["deep"]["key"].as_str(), Some("x"));
    }

    #[test]
    fn files_take_the_place_of_the_topic() {
        let sales = sales().from_files(&[PathBuf::from("a"), PathBuf::from("b")]);
        let source = sales.table["source"].as_table().unwrap();
        assert!(!source.contains_key("topic") && source.contains_key("columns"));
        assert_eq!(source["paths"].as_array().unwrap().len(), 2);
    }
}
