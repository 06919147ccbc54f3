//! The same pipeline with nothing installed: generated sales in Kafka's place, a SQLite file in
//! PostgreSQL's, a file for dead letters, and no Elasticsearch.
//!
//! Everything else stays as it is in the file, so what was tried so is what runs later.
//!
//! # Invariants
//!
//! The same pipeline and [`Embedding`] come to the same run, on any machine: so a second run goes on
//! where the first one stopped.

use std::path::PathBuf;

use super::suggest::list;
use super::{
    ColumnFrom, DeadLetters, Diagnostic, Diagnostics, GeneratorSource, Pipeline, Places, Sink,
    SinkKind, SourceKind, Table,
};
use crate::generate::{field_names, field_suits};

/// Records a second where neither a rate nor an end is asked for: so that a run that is forgotten
/// does not fill the disk.
const RATE: f64 = 1_000.0;

/// What an embedded run is told. What is `None` stays as the file has it, or as
/// [`GeneratorSource::DEFAULT`] has it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Embedding {
    /// the folder of the SQLite file and of the dead letters, created when it is missing
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
    replaced.extend(source(&mut pipeline, embedding, diagnostics)?);
    let database = embedding.data.join(format!("{}.sqlite3", pipeline.name));
    let sinks = std::mem::take(&mut pipeline.sinks);
    pipeline.sinks = sinks
        .into_iter()
        .filter_map(|sink| self::sink(sink, &database, &mut replaced))
        .collect();
    if matches!(pipeline.dead_letters, DeadLetters::Kafka { .. }) {
        let path = embedding
            .data
            .join(format!("{}.dead.ndjson", pipeline.name));
        replaced.push(format!(
            "dead letters: the file {} in place of a topic",
            path.display()
        ));
        pipeline.dead_letters = DeadLetters::File { path };
    }
    Some(Embedded { pipeline, replaced })
}

/// Puts a generator in Kafka's place, and does what `embedding` says to one that is there already.
/// The line about it, if there is something to say.
fn source(
    pipeline: &mut Pipeline,
    embedding: &Embedding,
    diagnostics: &mut Diagnostics,
) -> Option<Option<String>> {
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
            return Some(None);
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
        faults.into_iter().for_each(|fault| diagnostics.push(fault));
        return None;
    }
    let line = matches!(pipeline.source.kind, SourceKind::Kafka(_)).then(|| {
        format!(
            "source: generated sales in place of Kafka, {}",
            extent(&generator)
        )
    });
    pipeline.source.kind = SourceKind::Generator(generator);
    Some(line)
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
        SinkKind::Postgres { tables, .. } => {
            replaced.push(format!(
                "sink `{}`: SQLite at {} in place of PostgreSQL",
                sink.name,
                database.display()
            ));
            let kind = SinkKind::Sqlite {
                path: database.to_owned(),
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
