//! The same pipeline with nothing installed: generated sales in Kafka's place, a SQLite file in
//! PostgreSQL's, folders for checkpoints and dead letters, and no Elasticsearch.
//!
//! Everything else stays as it is in the file, so what was tried so is what runs later.
//!
//! # Invariants
//!
//! The same pipeline and [`Embedding`] come to the same run, on any machine: so a second run goes on
//! where the first one stopped.

use std::path::PathBuf;
use std::sync::Arc;

use super::suggest::list;
use super::{
    CheckpointLocation, ColumnFrom, DeadLetters, Diagnostic, Diagnostics, GeneratorSource,
    Pipeline, Places, Sink, SinkKind, SourceKind, Table,
};
use crate::generate::{field_names, field_suits};

/// Records a second where neither a rate nor an end is asked for: so that a run that is forgotten
/// does not fill the disk.
const RATE: f64 = 1_000.0;

/// What an embedded run is told. What is `None` stays as the file has it, or as
/// [`GeneratorSource::DEFAULT`] has it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Embedding {
    /// the folder of the SQLite file, checkpoints and dead letters, created when it is missing
    pub data: PathBuf,
    /// another seed, other records
    pub seed: Option<u64>,
    /// records a second; 0: as fast as they are read. `None` is 1,000, unless `records` bounds them
    pub rate: Option<f64>,
    /// records in all, over all runs
    pub records: Option<u64>,
    /// the share of faulty records, 0 to 1
    pub bad_share: Option<f64>,
}

/// A pipeline that needs nothing installed.
#[derive(Debug, Clone)]
pub struct Embedded {
    /// what to run
    pub pipeline: Pipeline,
    /// a line for everything that is not as the file says, for a person
    pub replaced: Vec<String>,
}

/// Replaces what would have to be installed; `None` when the generated records do not suit the
/// pipeline, and `diagnostics` says why.
pub fn embed(
    mut pipeline: Pipeline,
    embedding: &Embedding,
    diagnostics: &mut Diagnostics,
) -> Option<Embedded> {
    let mut replaced = Vec::new();
    source(&mut pipeline, embedding, &mut replaced, diagnostics)?;
    let database = embedding.data.join(format!("{}.sqlite3", pipeline.name));
    let is_elsewhere = |sink: &Sink| matches!(sink.kind, SinkKind::Postgres { .. });
    let is_database_replaced = pipeline.sinks.iter().any(is_elsewhere);
    let sinks = std::mem::take(&mut pipeline.sinks);
    pipeline.sinks = sinks
        .into_iter()
        .filter_map(|sink| self::sink(sink, &database, &mut replaced))
        .collect();
    checkpoints(
        &mut pipeline,
        is_database_replaced,
        embedding,
        &mut replaced,
    );
    dead_letters(&mut pipeline, embedding, &mut replaced);
    pipeline.written.embedding = Some(Arc::new(embedding.clone()));
    Some(Embedded { pipeline, replaced })
}

/// A topic becomes a file; a table goes along with the journal, to the SQLite file.
fn dead_letters(pipeline: &mut Pipeline, embedding: &Embedding, replaced: &mut Vec<String>) {
    match &mut pipeline.dead_letters {
        DeadLetters::Kafka { .. } => {
            let path = embedding
                .data
                .join(format!("{}.dead.ndjson", pipeline.name));
            replaced.push(format!(
                "dead letters: the file {} in place of a topic",
                path.display()
            ));
            pipeline.dead_letters = DeadLetters::File { path };
        }
        DeadLetters::Table { table } => {
            if let Some((_, plain)) = table.rsplit_once('.') {
                let tables = pipeline.sinks.iter().flat_map(|sink| sink.kind.tables());
                let taken = |other: &Table| other.table.eq_ignore_ascii_case(plain);
                let name = if tables.into_iter().any(taken) {
                    table.replace('.', "_")
                } else {
                    plain.to_owned()
                };
                replaced.push(format!(
                    "dead letters: the table `{table}` is called `{name}`"
                ));
                *table = name;
            }
        }
        DeadLetters::File { .. } => {}
    }
}

/// Puts a generator in Kafka's place, and does what `embedding` says to one that is there already.
/// `None` when a report was made.
fn source(
    pipeline: &mut Pipeline,
    embedding: &Embedding,
    replaced: &mut Vec<String>,
    diagnostics: &mut Diagnostics,
) -> Option<()> {
    let mut generator = match &pipeline.source.kind {
        SourceKind::Kafka(_) => GeneratorSource {
            rate: embedding.records.is_none().then_some(RATE),
            ..GeneratorSource::DEFAULT
        },
        SourceKind::Generator(generator) => generator.clone(),
        SourceKind::File { .. } => {
            if *embedding
                != (Embedding {
                    data: embedding.data.clone(),
                    ..Embedding::default()
                })
            {
                let place = pipeline.places.find(&Places::ROOT, "source.type");
                let message = "the source reads files, so there are no records to generate";
                let help =
                    "leave out what is said of them: seed, rate, records, share of faulty ones";
                diagnostics.push(Diagnostic::error(message).at(&place).help(help));
                return None;
            }
            return Some(());
        }
    };
    let Embedding {
        seed,
        rate,
        records,
        bad_share,
        ..
    } = *embedding;
    generator.seed = seed.unwrap_or(generator.seed);
    generator.bad_share = bad_share.unwrap_or(generator.bad_share);
    generator.records = records.or(generator.records);
    if let Some(rate) = rate {
        generator.rate = (rate > 0.0).then_some(rate);
    }
    let faults = generated_columns(pipeline);
    if !faults.is_empty() {
        for fault in faults {
            diagnostics.push(fault);
        }
        return None;
    }
    if matches!(pipeline.source.kind, SourceKind::Kafka(_)) {
        replaced.push(format!(
            "source: generated sales in place of Kafka, {}",
            extent(&generator)
        ));
    }
    pipeline.source.kind = SourceKind::Generator(generator);
    Some(())
}

fn extent(generator: &GeneratorSource) -> String {
    let rate = match generator.rate {
        Some(rate) => format!("{rate} a second"),
        None => "as fast as possible".to_owned(),
    };
    let end = match generator.records {
        Some(records) => format!("{records} records"),
        None => "without end".to_owned(),
    };
    format!("{end}, {rate}, seed {}", generator.seed)
}

/// The sink that takes this one's place, if any does.
fn sink(sink: Sink, database: &std::path::Path, replaced: &mut Vec<String>) -> Option<Sink> {
    match sink.kind {
        SinkKind::Postgres {
            tables,
            on_new_column,
            ..
        } => {
            replaced.push(format!(
                "sink `{}`: SQLite at {} in place of PostgreSQL",
                sink.name,
                database.display()
            ));
            let kind = SinkKind::Sqlite {
                path: database.to_owned(),
                on_new_column,
                tables: without_schemas(tables, replaced),
            };
            Some(Sink { kind, ..sink })
        }
        SinkKind::Elasticsearch { .. } => {
            replaced.push(format!(
                "sink `{}`: left out, as it needs Elasticsearch",
                sink.name
            ));
            None
        }
        SinkKind::Sqlite { .. } => Some(sink),
    }
}

/// Checkpoints belong to the database, so they go where it goes; and a bucket would have to be there.
fn checkpoints(
    pipeline: &mut Pipeline,
    is_database_replaced: bool,
    embedding: &Embedding,
    replaced: &mut Vec<String>,
) {
    let in_place_of = match &pipeline.checkpoint.location {
        CheckpointLocation::S3(s3) => format!(" in place of the bucket `{}`", s3.bucket),
        CheckpointLocation::File { .. } if is_database_replaced => String::new(),
        CheckpointLocation::File { .. } => return,
    };
    let path = embedding
        .data
        .join(format!("{}.checkpoints", pipeline.name));
    let folder = path.display();
    replaced.push(format!("checkpoints: the folder {folder}{in_place_of}"));
    pipeline.checkpoint.location = CheckpointLocation::File { path };
}

/// SQLite has no schemas: `public.sales` is `sales` there, unless that is another table's name.
fn without_schemas(tables: Vec<Table>, replaced: &mut Vec<String>) -> Vec<Table> {
    let plain = |name: &str| {
        name.rsplit_once('.')
            .map_or(name, |(_, name)| name)
            .to_owned()
    };
    let plain_names: Vec<String> = tables.iter().map(|table| plain(&table.table)).collect();
    let rename = |mut table: Table| {
        let short = plain(&table.table);
        if short != table.table {
            let same = |other: &&String| other.eq_ignore_ascii_case(&short);
            let is_taken = plain_names.iter().filter(same).count() > 1;
            let name = if is_taken {
                table.table.replace('.', "_")
            } else {
                short
            };
            replaced.push(format!("table `{}`: called `{name}`", table.table));
            table.table = name;
        }
        table
    };
    tables.into_iter().map(rename).collect()
}

/// What keeps the declared columns from being those of the generated sales: each would make every
/// record a dead letter.
pub(super) fn generated_columns(pipeline: &Pipeline) -> Vec<Diagnostic> {
    let columns = pipeline.source.columns.iter().enumerate();
    let faults = columns.filter_map(|(index, column)| {
        let ColumnFrom::Json(path) = &column.from else {
            return None;
        };
        let name = path.join(".");
        let suits = field_suits(&name, column.ty);
        let message = match suits {
            Some(true) => return None,
            None if column.nullable => return None,
            Some(false) => format!(
                "column `{}`: the field `{name}` of generated sales is no {}",
                column.name, column.ty
            ),
            None => format!(
                "column `{}`: generated sales have no field `{name}`",
                column.name
            ),
        };
        let key = if suits.is_some() { "type" } else { "from" };
        let entry = pipeline.places.find(&Places::ROOT, &format!("source.columns.{index}"));
        Some(
            Diagnostic::error(message)
                .at(&pipeline.places.find(&entry, key))
                .label_if(super::did_you_mean(&name, field_names()).filter(|_| suits.is_none()))
                .help(format!(
                    "they have {}; a column of something else has to be `nullable`, or comes from a source of yours",
                    list(field_names())
                )),
        )
    });
    faults.collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{load, load_embedded, parse};

    const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../pipeline.toml");

    fn shipped() -> Pipeline {
        let (pipeline, _) = load(SHIPPED.as_ref(), &|_| None).unwrap();
        pipeline
    }

    fn embedding() -> Embedding {
        Embedding {
            data: "data".into(),
            ..Embedding::default()
        }
    }

    fn embedded(pipeline: Pipeline, embedding: &Embedding) -> Embedded {
        let mut diagnostics = Diagnostics::new("pipeline.toml", String::new());
        let embedded = embed(pipeline, embedding, &mut diagnostics);
        embedded.unwrap_or_else(|| panic!("{diagnostics}"))
    }

    fn generator(embedded: &Embedded) -> &GeneratorSource {
        match &embedded.pipeline.source.kind {
            SourceKind::Generator(generator) => generator,
            other => panic!("{other:?}"),
        }
    }

    /// A pipeline of one table, with this source, sink and these dead letters.
    fn parsed(source: &str, sink: &str, dead_letters: &str) -> Pipeline {
        let text = format!(
            "[pipeline]\nname = \"shop\"\n[source]\n{source}\n\
             columns = [{{ name = \"id\", from = \"transactionId\", type = \"utf8\" }}]\n\
             [[sink]]\nname = \"db\"\n{sink}\n[dead_letters]\n{dead_letters}\n"
        );
        match parse(&text, "pipeline.toml", Path::new(""), &|_| None) {
            Ok((pipeline, _)) => pipeline,
            Err(diagnostics) => panic!("{diagnostics}"),
        }
    }

    #[test]
    fn the_shipped_pipeline_needs_nothing_but_its_components() {
        let before = shipped();
        let Embedded { pipeline, replaced } = embedded(before.clone(), &embedding());
        let SinkKind::Sqlite { path, tables, .. } = &pipeline.sinks[0].kind else {
            panic!("{:?}", pipeline.sinks);
        };
        assert_eq!(pipeline.sinks.len(), 1);
        assert_eq!(path, Path::new("data/ecommerce-sales.sqlite3"));
        assert_eq!(tables.len(), before.sinks[0].kind.tables().len());
        let DeadLetters::File { path } = &pipeline.dead_letters else {
            panic!("{:?}", pipeline.dead_letters);
        };
        assert_eq!(path, Path::new("data/ecommerce-sales.dead.ndjson"));
        assert_eq!(pipeline.source.columns, before.source.columns);
        assert_eq!(pipeline.transforms.len(), before.transforms.len());
        assert_eq!(pipeline.aggregates.len(), before.aggregates.len());
        assert_eq!(
            replaced,
            [
                "source: generated sales in place of Kafka, without end, 1000 a second, seed 0",
                "sink `postgres`: SQLite at data/ecommerce-sales.sqlite3 in place of PostgreSQL",
                "sink `search`: left out, as it needs Elasticsearch",
                "checkpoints: the folder data/ecommerce-sales.checkpoints",
                "dead letters: the file data/ecommerce-sales.dead.ndjson in place of a topic",
            ]
        );
    }

    #[test]
    fn what_is_asked_of_the_records_is_done() {
        let of = |change: fn(&mut Embedding)| {
            let mut embedding = embedding();
            change(&mut embedding);
            generator(&embedded(shipped(), &embedding)).clone()
        };
        let default = GeneratorSource::DEFAULT;
        assert_eq!(
            of(|_| {}),
            GeneratorSource {
                rate: Some(RATE),
                ..default.clone()
            }
        );
        let all = of(|e| {
            e.seed = Some(7);
            e.rate = Some(5.5);
            e.records = Some(100);
            e.bad_share = Some(0.1);
        });
        let expected = GeneratorSource {
            seed: 7,
            rate: Some(5.5),
            records: Some(100),
            bad_share: 0.1,
            ..default
        };
        assert_eq!(all, expected);
        assert_eq!(of(|e| e.records = Some(100)).rate, None);
        assert_eq!(of(|e| e.rate = Some(0.0)).rate, None);
    }

    #[test]
    fn what_needs_nothing_installed_stays() {
        let letters = "type = \"file\"\npath = \"dead\"";
        let sink = "type = \"sqlite\"\npath = \"own.sqlite3\"\ntables = [{ from = \"source\", table = \"t\", key = [\"id\"] }]";
        let source = "type = \"generator\"\npartitions = 2\nseed = 3";
        let own = embedded(parsed(source, sink, letters), &embedding());
        assert!(own.replaced.is_empty(), "{:?}", own.replaced);
        assert_eq!((generator(&own).partitions, generator(&own).seed), (2, 3));
        assert_eq!(generator(&own).rate, None);
        assert!(
            matches!(&own.pipeline.sinks[0].kind, SinkKind::Sqlite { path, .. } if path == Path::new("own.sqlite3"))
        );
        assert!(
            matches!(&own.pipeline.dead_letters, DeadLetters::File { path } if path == Path::new("dead"))
        );
        let seeded = Embedding {
            seed: Some(9),
            ..embedding()
        };
        assert_eq!(
            generator(&embedded(parsed(source, sink, letters), &seeded)).seed,
            9
        );

        let files = parsed("type = \"file\"\npaths = [\"a\"]", sink, letters);
        let same = embedded(files.clone(), &embedding());
        assert!(matches!(same.pipeline.source.kind, SourceKind::File { .. }));
        let mut diagnostics = Diagnostics::new("pipeline.toml", String::new());
        assert!(embed(files, &seeded, &mut diagnostics).is_none());
        assert!(diagnostics.has_errors());
    }

    #[test]
    fn checkpoints_go_where_the_database_goes() {
        let letters = "type = \"file\"\npath = \"dead\"";
        let tables = "tables = [{ from = \"source\", table = \"t\", key = [\"id\"] }]";
        let own = format!("type = \"sqlite\"\npath = \"own.sqlite3\"\n{tables}");
        let away = format!("type = \"postgres\"\nurl = \"postgres://x\"\n{tables}");
        let folder = |sink: &str, store: &str| {
            let letters = format!("{letters}\n[checkpoint]\n{store}");
            let pipeline = parsed("type = \"generator\"", sink, &letters);
            let Embedded { pipeline, replaced } = embedded(pipeline, &embedding());
            (pipeline.checkpoint.location.to_string(), replaced)
        };
        let file = "store = \"file:state\"";
        assert_eq!(folder(&own, file), ("state".to_owned(), Vec::new()));
        let ours = "data/shop.checkpoints";
        assert_eq!(folder(&away, file).0, ours);
        let s3 = "store = \"s3://bucket/a\"\nregion = \"r\"";
        assert_eq!(folder(&away, s3).0, ours);
        let (path, replaced) = folder(&own, s3);
        assert_eq!(path, ours);
        let line = "checkpoints: the folder data/shop.checkpoints in place of the bucket `bucket`";
        assert_eq!(replaced, [line]);
    }

    #[test]
    fn a_table_of_dead_letters_goes_along_to_the_file() {
        let kafka = "type = \"kafka\"\nbrokers = \"x:1\"\ntopic = \"t\"";
        let table =
            |name: &str| format!("{{ from = \"source\", table = \"{name}\", key = [\"id\"] }}");
        let embedded_table = |tables: &[&str], letters: &str| {
            let tables: Vec<String> = tables.iter().map(|name| table(name)).collect();
            let tables = tables.join(", ");
            let sink = format!("type = \"postgres\"\nurl = \"postgres://x\"\ntables = [{tables}]");
            let letters = format!("type = \"postgres\"\n{letters}");
            let embedded = embedded(parsed(kafka, &sink, &letters), &embedding());
            match embedded.pipeline.dead_letters {
                DeadLetters::Table { table } => table,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(embedded_table(&["t"], ""), "wasmill_dead_letters");
        assert_eq!(embedded_table(&["t"], "table = \"ops.letters\""), "letters");
        let taken = embedded_table(&["public.letters"], "table = \"ops.letters\"");
        assert_eq!(taken, "ops_letters");
    }

    #[test]
    fn schemas_are_left_out_of_names_that_stay_different() {
        let table = |name| format!("{{ from = \"source\", table = \"{name}\", key = [\"id\"] }}");
        let tables = ["a.t", "b.t", "c.u", "v"].map(table).join(", ");
        let sink = format!("type = \"postgres\"\nurl = \"postgres://x\"\ntables = [{tables}]");
        let pipeline = parsed(
            "type = \"kafka\"\nbrokers = \"x:1\"\ntopic = \"t\"",
            &sink,
            "type = \"kafka\"\ntopic = \"d\"",
        );
        let embedded = embedded(pipeline, &embedding());
        let tables = embedded.pipeline.sinks[0].kind.tables().iter();
        let names: Vec<&str> = tables.map(|table| table.table.as_str()).collect();
        assert_eq!(names, ["a_t", "b_t", "u", "v"]);
        assert!(
            embedded
                .replaced
                .contains(&"table `c.u`: called `u`".to_owned())
        );
    }

    #[test]
    fn variables_of_what_is_replaced_may_be_unset() {
        let text = std::fs::read_to_string(SHIPPED).unwrap();
        let text = text
            .replace("${KAFKA_BROKERS:-localhost:9092}", "${KAFKA_BROKERS}")
            .replace(
                "start = \"earliest\"",
                "start = \"earliest\"\nproperties = { \"sasl.password\" = \"${SECRET}\" }",
            )
            .replace(
                "${DATABASE_URL:-postgres://postgres:postgres@localhost/postgres}",
                "${DATABASE_URL}",
            )
            .replace(
                "${ELASTICSEARCH_URL:-http://localhost:9200}",
                "${ELASTICSEARCH_URL}",
            )
            .replace("\"financial_transactions.dead\"", "\"${DEAD}\"");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipeline.toml");
        std::fs::write(&path, &text).unwrap();
        let errors = load(&path, &|_| None).unwrap_err();
        assert_eq!(errors.entries().len(), 5, "{errors}");
        assert!(load_embedded(&path, &|_| None).is_ok());
        // A value that is set is read like any other.
        let wrong = |name: &str| (name == "DATABASE_URL").then(|| "mysql://x".to_owned());
        assert!(load_embedded(&path, &wrong).is_err());
        // What stays is needed as ever.
        std::fs::write(&path, text.replace("\"USD\"", "\"${BASE}\"")).unwrap();
        let errors = load_embedded(&path, &|_| None).unwrap_err();
        assert_eq!(errors.entries().len(), 1, "{errors}");
    }
}
