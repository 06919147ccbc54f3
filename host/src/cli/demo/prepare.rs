//! Everything that is settled before the run begins: what runs, and where its files are.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};

use super::Args;
use super::choice::Choice;
use super::look::Tables;
use crate::cli;
use crate::config::{self, DeadLetters, Embedding, Pipeline, SinkKind, SourceKind};
use crate::pipeline::Plan;
use crate::sink::table::TableTarget;

/// Records a second in Kafka's place: enough to see something, and two hours fill a few gigabytes.
const RATE: f64 = 5_000.0;
/// The share of these that is faulty, so that one sees dead letters.
const BAD_SHARE: f64 = 0.001;

/// A pipeline that is ready to run with nothing installed.
pub(super) struct Prepared {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) plan: Arc<Plan>,
    /// what kind of run this is, in a few words
    pub(super) kind: String,
    /// what is looked at
    pub(super) tables: Tables,
    /// where the log goes while the view is up
    pub(super) log: PathBuf,
    /// lines that say what is not as the file has it
    replaced: Vec<String>,
    data: PathBuf,
}

impl Prepared {
    /// Reads the pipeline and puts in place of its servers what needs none.
    ///
    /// # Errors
    ///
    /// A faulty pipeline, whose reports are on stderr then; components that are not built.
    pub(super) fn new(args: &Args) -> anyhow::Result<Self> {
        let beside = || {
            args.pipeline
                .parent()
                .unwrap_or(Path::new(""))
                .join("data/demo")
        };
        let data = args.data.clone().unwrap_or_else(beside);
        let mut embedding = Embedding {
            data: data.clone(),
            seed: args.seed,
            rate: args.rate,
            ..Embedding::default()
        };
        // What is wrong with it is reported below.
        if let Ok((pipeline, _)) = config::load_embedded(&args.pipeline, &cli::environment) {
            ensure_built(&pipeline)?;
            if matches!(pipeline.source.kind, SourceKind::Kafka(_)) {
                embedding.rate.get_or_insert(RATE);
                embedding.bad_share = Some(BAD_SHARE);
            }
        }
        let (embedded, plan, diagnostics) = cli::plan_embedded(&args.pipeline, &embedding)?;
        cli::print(&diagnostics);
        let pipeline = embedded.pipeline;
        let Some(file) = pipeline.sinks.iter().find_map(|sink| match &sink.kind {
            SinkKind::Sqlite { path, .. } => Some(path.clone()),
            SinkKind::Postgres { .. } | SinkKind::Elasticsearch { .. } => None,
        }) else {
            bail!("an embedded run writes into SQLite, and this one does not");
        };
        fs::create_dir_all(&data)
            .with_context(|| format!("failed to create the folder {}", data.display()))?;
        let prepared = Self {
            kind: kind(&pipeline),
            tables: Tables {
                choice: Choice::new(&pipeline, plan.tables()),
                file,
            },
            log: data.join(format!("{}.log", pipeline.name)),
            pipeline: Arc::new(pipeline),
            plan: Arc::new(plan),
            replaced: embedded.replaced,
            data,
        };
        if args.fresh {
            prepared.forget()?;
        }
        Ok(prepared)
    }

    /// Deletes what earlier runs of this pipeline left in the data folder, and nothing else.
    fn forget(&self) -> anyhow::Result<()> {
        let database = &self.tables.file;
        let beside = |end: &str| {
            let mut path = database.clone().into_os_string();
            path.push(end);
            PathBuf::from(path)
        };
        let mut files = vec![database.clone(), beside("-wal"), beside("-shm")];
        if let DeadLetters::File { path } = &self.pipeline.dead_letters {
            files.push(path.clone());
        }
        for file in files {
            if !file.starts_with(&self.data) {
                bail!(
                    "--fresh deletes what is in {}, and {} is somewhere else: delete it yourself",
                    self.data.display(),
                    file.display()
                );
            }
            match fs::remove_file(&file) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error)
                        .with_context(|| format!("failed to delete {}", file.display()));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Says on stderr what runs.
    pub(super) fn announce(&self) {
        for line in &self.replaced {
            eprintln!("{line}");
        }
        let charts = self.tables.choice.charts.iter();
        for chart in charts {
            let amount = &chart.amount;
            eprintln!("shown: {}.{} by {}", amount.table, amount.column, chart.by);
        }
        for check in &self.tables.choice.checks {
            let names = check.iter().map(|c| format!("{}.{}", c.table, c.column));
            let names: Vec<_> = names.collect();
            eprintln!("compared: the sums of {}", names.join(", "));
        }
    }

    /// The file of the log, which goes on where the last run's ended.
    pub(super) fn open_log(&self) -> io::Result<File> {
        File::options().create(true).append(true).open(&self.log)
    }

    /// Where everything is, and how to go on.
    pub(super) fn farewell(&self) -> String {
        let file = self.tables.file.display();
        let table = self.tables.choice.charts.first();
        let table = table.map(|chart| chart.amount.table.as_str());
        let table = table.or_else(|| self.plan.tables().first().map(TableTarget::name));
        format!(
            "everything is in {file}; look at it with any SQLite client, for example\n  \
             sqlite3 -box {file} 'SELECT * FROM {} LIMIT 10'\n\
             a second run goes on from here, --fresh starts over",
            table.unwrap_or("sqlite_schema")
        )
    }
}

fn kind(pipeline: &Pipeline) -> String {
    let source = match &pipeline.source.kind {
        SourceKind::Kafka(_) => "Kafka",
        SourceKind::Generator(_) => "generator",
        SourceKind::File { .. } => "files",
    };
    format!("embedded: {source} to SQLite")
}

/// # Errors
///
/// When there are components that nobody has built yet, with the command that builds them.
fn ensure_built(pipeline: &Pipeline) -> anyhow::Result<()> {
    let missing = pipeline
        .components
        .iter()
        .filter(|(_, it)| !it.path.exists());
    let missing: Vec<_> = missing
        .map(|(name, component)| format!("  {name}: {}", component.path.display()))
        .collect();
    if !missing.is_empty() {
        bail!(
            "these components are not built yet:\n{}\n`cargo xtask guests` in wasmill's folder builds its own",
            missing.join("\n")
        );
    }
    Ok(())
}
