//! `cargo xtask bench`: what the sales job costs, against the limits of what it stands on, and against the marks.
//!
//! Groups of rows, one module each, share what is below: inputs, variants of the pipeline, runs of
//! `wasmill-bench` (`bench/`) in processes of their own, and the results. `bench/README.md` says how to read them.
//!
//! # Invariants
//!
//! 1. Everything in one table was measured in one invocation, on the same records.
//! 2. What is compared was run in turns (`turns`): the ratio is the median of the ratios of each turn.
//! 3. Nothing is asserted: machines differ, and a mark that is not met is a line in the results.

mod chart;
mod job;
mod machine;
mod marks;
mod pipeline;
mod results;
mod servers;
mod topic;
mod turns;

mod border;
mod flink;
mod footprint;
mod growth;
pub(crate) mod instructions;
mod latency;
mod limits;
mod sandbox;
mod stages;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;

use self::machine::Machine;
use self::pipeline::Sales;
use self::results::Results;
use self::servers::Servers;
use self::topic::Topic;
use crate::database::Database;
use crate::services::Session;
use crate::workspace::{self, Metadata, cargo};
use crate::{group, guests, tools};

/// A share of the records that `--quick` takes.
const QUICK_SHARE: u64 = 10;

/// Measures some rows, and adds each to the results as soon as it is there.
type Measure = fn(&Bench<'_>, &mut Results) -> Result<()>;

/// The groups of rows, in the order of the table.
const GROUPS: [(&str, Measure); 9] = [
    (limits::GROUP, limits::measure),
    (stages::GROUP, stages::measure),
    (sandbox::GROUP, sandbox::measure),
    (border::GROUP, border::measure),
    (footprint::GROUP, footprint::measure),
    (growth::GROUP, growth::measure),
    (latency::GROUP, latency::measure),
    (flink::GROUP, flink::measure),
    (instructions::GROUP, instructions::measure),
];

/// `cargo xtask bench …`
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask bench --quick\n  \
    cargo xtask bench --only sandbox\n  \
    cargo xtask bench --flink\n\n\
    bench/README.md says what the rows mean.")]
pub(crate) struct Options {
    /// Records in the topic
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(10_000..))]
    records: u64,

    /// How often each row is run, and how many turns of what is compared; the median counts
    #[arg(long, default_value_t = 5)]
    runs: usize,

    /// A tenth of the records, once
    #[arg(long)]
    quick: bool,

    /// The Flink job of `bench/flink` too (Maven, Java)
    #[arg(long)]
    flink: bool,

    /// Only rows whose "group/name" has this in it
    #[arg(long, value_name = "PART")]
    only: Option<String>,

    /// Counts instructions and records them in bench/instructions.toml; measures nothing else
    #[arg(long)]
    update: bool,
}

/// Measures, and prints the table.
pub(crate) fn run(options: &Options, services_dir: &Path) -> Result<ExitCode> {
    if options.update {
        instructions::update()?;
        return Ok(ExitCode::SUCCESS);
    }
    tools::ensure(&[tools::Tool::Postgres])?;
    eprintln!("building in release mode (the first time this takes 5 to 15 minutes)");
    let packages = ["build", "--release", "-p", "wasmill", "-p", "wasmill-bench"];
    group::run(&mut cargo(packages))?;
    guests::build()?;
    let session = Session::open(services_dir)?;
    let measured = Bench::new(options, &session).and_then(|bench| {
        let measured = bench.run();
        bench.clean_up().and(measured)
    });
    session.close()?;
    measured?;
    Ok(ExitCode::SUCCESS)
}

/// What every group of rows needs.
struct Bench<'a> {
    session: &'a Session,
    servers: Servers,
    /// made anew for each run that writes to it
    database: Database,
    /// where `wasmill` and `wasmill-bench` are
    programs: PathBuf,
    /// results, pipelines, files of records, compiled code
    folder: PathBuf,
    topic: Topic,
    /// of the topic
    records: u64,
    /// of each row, or turns of what is compared
    runs: usize,
    is_quick: bool,
    flink: bool,
    only: &'a str,
}

impl<'a> Bench<'a> {
    fn new(options: &'a Options, session: &'a Session) -> Result<Self> {
        let (share, runs) = if options.quick {
            (QUICK_SHARE, 1)
        } else {
            (1, options.runs)
        };
        let folder = workspace::root().join("target/bench");
        fs::create_dir_all(&folder)
            .with_context(|| format!("failed to create {}", folder.display()))?;
        // Other invocations may use the same servers.
        let name = format!("wasmill_bench_{}", std::process::id());
        Ok(Self {
            session,
            servers: Servers::find(session),
            database: Database::new(session.postgres(), &name)?,
            programs: Metadata::load()?.target_directory()?.join("release"),
            topic: Topic::new(&name, options.records / share, &folder),
            folder,
            records: options.records / share,
            runs: runs.max(1),
            is_quick: options.quick,
            flink: options.flink,
            only: options.only.as_deref().unwrap_or_default(),
        })
    }

    fn run(&self) -> Result<()> {
        let machine = Machine::look(&self.programs, self.session)?;
        let mut results = Results::new(&self.folder, machine, (self.records, self.runs));
        for (name, measure) in GROUPS {
            measure(self, &mut results).with_context(|| format!("failed to measure {name}"))?;
        }
        results.finish()
    }

    /// Whether the row was asked for.
    fn wants(&self, group: &str, row: &str) -> bool {
        format!("{group}/{row}").contains(self.only)
    }

    /// The sales job on the topic, which is filled by the first call.
    fn sales(&self) -> Result<Sales> {
        self.topic.fill(self)?;
        Sales::load(self)
    }

    /// Leaves the results, and the pipelines that they are of.
    fn clean_up(&self) -> Result<()> {
        let written = self.folder.join(limits::FOLDER);
        if written.exists() {
            fs::remove_dir_all(written)?;
        }
        self.database.drop()?;
        self.forget_index()?;
        self.topic.delete(self.session)
    }
}
