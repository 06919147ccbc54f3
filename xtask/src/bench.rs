//! `cargo xtask bench`: what the stages of the sales job cost, as a table.
//!
//! One process a stage (`bench/`), so that CPU and memory are its own; all of them read the same topic.
//! Nothing here is a test: machines differ, and figures are for people to compare on one machine.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::database::Database;
use crate::services::Session;
use crate::workspace::{self, Metadata, cargo};
use crate::{group, guests, interrupt, tools};

const TOPIC: &str = "wasmill_bench";
/// Created by the runs, empty.
const DEAD_LETTER_TOPIC: &str = "wasmill_bench.dead";
const DATABASE: &str = "wasmill_bench";
const PARTITIONS: &str = "4";

/// What is run: a name, the stage that `wasmill-bench` knows, the pipeline below `bench/`.
const ROWS: [(&str, &str, &str); 6] = [
    ("consume", "consume", "full.toml"),
    ("+ decode", "decode", "full.toml"),
    ("+ transforms", "transforms", "full.toml"),
    ("+ aggregates, no sinks", "aggregates", "aggregates.toml"),
    ("aggregates into PostgreSQL", "run", "aggregates.toml"),
    ("full job into PostgreSQL", "run", "full.toml"),
];

/// `cargo xtask bench …`
#[derive(Args)]
pub(crate) struct Options {
    /// Records in the topic
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,

    /// How often each stage is run; the median counts
    #[arg(long, default_value_t = 3)]
    runs: usize,

    /// A tenth of the records, once
    #[arg(long)]
    quick: bool,

    /// Only rows whose name has this in it
    #[arg(long, value_name = "PART")]
    only: Option<String>,
}

/// Measures and prints the table.
pub(crate) fn run(options: &Options, services_dir: &Path) -> Result<ExitCode> {
    tools::ensure(&[tools::Tool::Postgres])?;
    eprintln!("building in release mode (the first time this takes 5 to 15 minutes)");
    let packages = ["build", "--release", "-p", "wasmill", "-p", "wasmill-bench"];
    group::run(&mut cargo(packages))?;
    guests::build()?;
    let session = Session::open(services_dir)?;
    let result = Bench::new(options, &session).and_then(|bench| bench.run());
    session.close()?;
    result?;
    Ok(ExitCode::SUCCESS)
}

struct Bench<'a> {
    session: &'a Session,
    database: Database,
    programs: PathBuf,
    records: u64,
    runs: usize,
    only: &'a str,
}

/// What one run of a stage took.
#[derive(Debug, Clone, Copy)]
struct Measured {
    records: u64,
    /// s
    wall: f64,
    /// s
    cpu: f64,
    /// bytes
    memory_peak: f64,
}

impl<'a> Bench<'a> {
    fn new(options: &'a Options, session: &'a Session) -> Result<Self> {
        let (share, runs) = if options.quick {
            (10, 1)
        } else {
            (1, options.runs)
        };
        Ok(Self {
            session,
            database: Database::new(session.postgres(), DATABASE)?,
            programs: Metadata::load()?.target_directory()?.join("release"),
            records: options.records / share,
            runs: runs.max(1),
            only: options.only.as_deref().unwrap_or_default(),
        })
    }

    fn run(&self) -> Result<()> {
        self.fill()?;
        let rows: Vec<_> = ROWS
            .iter()
            .filter(|(name, ..)| name.contains(self.only))
            .collect();
        let mut table = vec![format!(
            "{:<28}{:>14}{:>18}{:>12}{:>12}",
            "stage", "records/s", "records/CPU-s", "µs CPU", "peak MB"
        )];
        for (name, stage, pipeline) in rows {
            let mut runs = Vec::with_capacity(self.runs);
            for _ in 0..self.runs {
                interrupt::check()?;
                runs.push(self.measure(stage, pipeline)?);
            }
            runs.sort_by(|a, b| a.cpu.total_cmp(&b.cpu));
            let Measured {
                records,
                wall,
                cpu,
                memory_peak,
            } = runs[runs.len() / 2];
            let records = records as f64;
            table.push(format!(
                "{name:<28}{:>14.0}{:>18.0}{:>12.2}{:>12.0}",
                records / wall,
                records / cpu,
                cpu / records * 1e6,
                memory_peak / 1e6
            ));
            eprintln!("{}", table[table.len() - 1]);
        }
        println!("\n{} records, median of {}", self.records, self.runs);
        println!("{}", table.join("\n"));
        self.database.drop()?;
        self.session.delete_topic(DEAD_LETTER_TOPIC)?;
        self.session.delete_topic(TOPIC).map(|_| ())
    }

    /// Fills the topic anew.
    fn fill(&self) -> Result<()> {
        eprintln!("writing {} records into topic {TOPIC}", self.records);
        self.session.delete_topic(TOPIC)?;
        group::run(
            Command::new(self.programs.join("wasmill"))
                .args(["generate", "--brokers", self.session.kafka()])
                .args(["--topic", TOPIC, "--partitions", PARTITIONS])
                .args(["--count", &self.records.to_string()]),
        )
    }

    /// Runs a stage in a process of its own, on an empty database.
    fn measure(&self, stage: &str, pipeline: &str) -> Result<Measured> {
        self.database.drop()?;
        self.database.create()?;
        let printed = group::output(
            Command::new(self.programs.join("wasmill-bench"))
                .arg(stage)
                .arg(workspace::root().join("bench").join(pipeline))
                .env("KAFKA_BROKERS", self.session.kafka())
                .env("DATABASE_URL", self.database.url()),
        )?;
        let last = printed
            .lines()
            .last()
            .context("the stage printed nothing")?;
        let value: Value = serde_json::from_str(last)?;
        let figure = |name: &str| {
            let figure = value[name].as_f64();
            figure.with_context(|| format!("the stage did not print `{name}`"))
        };
        let measured = Measured {
            records: figure("records")? as u64,
            wall: figure("wall")?,
            cpu: figure("cpu")?,
            memory_peak: figure("memory_peak")?,
        };
        if measured.records != self.records {
            bail!(
                "{stage} read {} records of {}",
                measured.records,
                self.records
            );
        }
        Ok(measured)
    }
}
