//! `cargo demo --services`: the whole job on real servers, with its totals in the terminal.
//!
//! What an earlier run committed stays: the job goes on where it stopped, with other sales (each run has a seed
//! of its own, and so ids of its own).

use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use super::Options;
use super::totals::{self, Totals};
use crate::database::Database;
use crate::group::{self, Group};
use crate::services::Session;
use crate::signal::Signal;
use crate::workspace;
use crate::{http, interrupt, tools};

/// Names in the shipped `pipeline.toml`.
const TOPIC: &str = "financial_transactions";
const DEAD_LETTER_TOPIC: &str = "financial_transactions.dead";
const DATABASE: &str = "wasmill_demo";
const INDEX: &str = "transactions";

/// Sales generated a second where nothing is said.
const RATE: u64 = 500;

/// Seconds between two looks at the totals where nothing is said.
const EVERY: u64 = 3;

/// Sales that are in the topic before the job starts.
const FIRST_SALES: u64 = 20_000;

/// What wasmill needs to finish its epoch is 10 s at most.
const STOP_DEADLINE: Duration = Duration::from_secs(20);

const SECONDS_PER_DAY: u64 = 86_400;

/// Runs the demo.
pub(super) fn run(options: &Options, wasmill: PathBuf, services_dir: &Path) -> Result<ExitCode> {
    tools::ensure(&[tools::Tool::Postgres])?;
    let session = Session::open(services_dir)?;
    let demo = Demo::new(wasmill, session)?;
    let result = demo.run(options);
    let closed = demo.session.close();
    let is_fine = result?;
    closed?;
    Ok(if is_fine {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

struct Demo {
    wasmill: PathBuf,
    session: Session,
    database: Database,
    logs: PathBuf,
}

impl Demo {
    fn new(wasmill: PathBuf, session: Session) -> Result<Self> {
        let database = Database::new(session.postgres(), DATABASE)?;
        let logs = workspace::root().join("target/demo");
        fs::create_dir_all(&logs)
            .with_context(|| format!("failed to create {}", logs.display()))?;
        Ok(Self {
            wasmill,
            session,
            database,
            logs,
        })
    }

    /// Runs the job until the time is over, and returns whether all was as it should be.
    fn run(&self, options: &Options) -> Result<bool> {
        if options.fresh {
            self.forget()?;
        }
        if !self.database.create()? {
            eprintln!("going on where an earlier run stopped (--fresh starts over)");
        }
        let seed = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        eprintln!("writing {FIRST_SALES} sales into topic {TOPIC}");
        let mut first = self.generate(seed);
        first.args(["--count", &FIRST_SALES.to_string()]);
        group::run_logged(&mut first, &self.logs.join("generate-first.log"))?;

        let mut job = Job::start("wasmill", self.wasmill_run(), &self.logs)?;
        let mut more = self.generate(seed + 1);
        let rate = options.rate.unwrap_or(RATE);
        more.args(["--rate", &rate.to_string()]);
        more.args(["--count", &rate.saturating_mul(SECONDS_PER_DAY).to_string()]);
        let mut generator = Job::start("generate", more, &self.logs)?;
        eprintln!(
            "wasmill runs; its log is {}; Ctrl-C stops it\n",
            job.log.display()
        );

        let watched = self.watch(options, &mut job, &mut generator);
        generator.group.stop(Signal::Terminate, STOP_DEADLINE)?;
        let always_equal = watched?;
        self.finish(job, always_equal)
    }

    /// Shows the totals until the time is over. Returns whether they were equal each time.
    fn watch(&self, options: &Options, job: &mut Job, generator: &mut Job) -> Result<bool> {
        let begin = Instant::now();
        let end = options
            .seconds
            .map(|seconds| begin + Duration::from_secs(seconds));
        let mut screen = Screen::default();
        let mut last: Option<(Instant, Totals)> = None;
        let mut always_equal = true;
        while !interrupt::requested() && end.is_none_or(|end| Instant::now() < end) {
            job.ensure_running()?;
            generator.ensure_running()?;
            let now = Instant::now();
            match self.totals() {
                Ok(Some(totals)) => {
                    always_equal &= totals.are_equal();
                    let rate = last
                        .as_ref()
                        .map(|(then, before)| totals.rate_since(before, now.duration_since(*then)));
                    screen.show(&totals.render(rate, self.indexed()));
                    last = Some((now, totals));
                }
                Ok(None) => screen.show("waiting for the first commit\n"),
                // Ctrl-C reaches psql as well.
                Err(_) if interrupt::requested() => break,
                Err(error) => return Err(error),
            }
            interrupt::sleep(Duration::from_secs(options.every.unwrap_or(EVERY)));
        }
        Ok(always_equal)
    }

    /// Stops wasmill in good order and says how it went.
    fn finish(&self, mut job: Job, always_equal: bool) -> Result<bool> {
        eprintln!("\nstopping wasmill");
        let begin = Instant::now();
        let status = job.group.stop(Signal::Terminate, STOP_DEADLINE)?;
        let seconds = begin.elapsed().as_secs_f64();
        let totals = self.totals()?;
        let ends_equal = totals.as_ref().is_none_or(Totals::are_equal);
        if let Some(totals) = totals {
            println!("{}", totals.render(None, self.indexed()));
        }
        println!(
            "wasmill ended after {seconds:.1} s ({status}); its log is {}",
            job.log.display()
        );
        if !(always_equal && ends_equal) {
            println!("the totals were NOT equal at every look: this is a mistake in wasmill");
        }
        Ok(status.success() && always_equal && ends_equal)
    }

    /// Deletes what earlier runs left, on our own servers only.
    fn forget(&self) -> Result<()> {
        if let Some(foreign) = self.session.addresses().iter().find(|it| it.is_foreign) {
            bail!(
                "--fresh deletes a topic, an index and a database, and {} names a server that is not ours",
                foreign.variable
            );
        }
        self.database.drop()?;
        for topic in [TOPIC, DEAD_LETTER_TOPIC] {
            self.session.delete_topic(topic)?;
        }
        let response = self.search("DELETE", &format!("/{INDEX}"))?;
        if !matches!(response.status, 200 | 404) {
            bail!("failed to delete index {INDEX}: {}", response.body);
        }
        Ok(())
    }

    /// The totals, none while the job has not created its tables.
    fn totals(&self) -> Result<Option<Totals>> {
        let rows = self.database.query(totals::QUERY)?;
        rows.map(|rows| totals::parse(&rows)).transpose()
    }

    fn generate(&self, seed: u64) -> Command {
        let mut command = Command::new(&self.wasmill);
        command
            .current_dir(workspace::root())
            .args(["generate", "--brokers", self.session.kafka()])
            .args(["--topic", TOPIC, "--partitions", "4"])
            .args(["--seed", &seed.to_string()])
            .args(["--days", "400", "--bad", "0.001"]);
        command
    }

    fn wasmill_run(&self) -> Command {
        let mut command = Command::new(&self.wasmill);
        command
            .current_dir(workspace::root())
            .args(["run", "pipeline.toml"])
            .env("KAFKA_BROKERS", self.session.kafka())
            .env("DATABASE_URL", self.database.url())
            .env("ELASTICSEARCH_URL", self.session.elasticsearch());
        command
    }

    /// How many documents the index has; none while there is no index.
    fn indexed(&self) -> Option<u64> {
        let response = self.search("GET", &format!("/{INDEX}/_count")).ok()?;
        let answer: serde_json::Value = serde_json::from_str(&response.body).ok()?;
        answer["count"].as_u64()
    }

    fn search(&self, method: &str, path: &str) -> Result<http::Response> {
        let url = self.session.elasticsearch();
        let authority = http::authority(url).with_context(|| format!("{url} is no URL"))?;
        http::request(method, &authority, path)
    }
}

/// A process in the background, and what it says.
struct Job {
    name: &'static str,
    group: Group,
    log: PathBuf,
}

impl Job {
    fn start(name: &'static str, mut command: Command, logs: &Path) -> Result<Self> {
        let log = logs.join(name).with_extension("log");
        let group = Group::spawn_logged(&mut command, &log)?;
        Ok(Self { name, group, log })
    }

    /// # Errors
    ///
    /// When it has ended, with the end of its log.
    fn ensure_running(&mut self) -> Result<()> {
        if let Some(status) = self.group.finished()? {
            bail!(
                "{} ended ({status}); the last lines of {}:\n{}",
                self.name,
                self.log.display(),
                group::tail(&self.log)
            );
        }
        Ok(())
    }
}

/// Text that replaces itself on a terminal, and follows itself elsewhere.
#[derive(Default)]
struct Screen {
    lines_shown: usize,
}

impl Screen {
    fn show(&mut self, text: &str) {
        if std::io::stdout().is_terminal() && self.lines_shown > 0 {
            // Up to the first line, and clear from there on.
            print!("\x1b[{}A\x1b[J", self.lines_shown);
        }
        println!("{text}");
        self.lines_shown = text.lines().count() + usize::from(text.ends_with('\n'));
    }
}
