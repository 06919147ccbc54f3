//! Rows "Flink": the sales job as a Flink job (`bench/flink`), in turns with wasmill, on the same topic into the same
//! tables; and what it costs to change the code of either.
//!
//! # Invariants
//!
//! Both leave the same totals, or the comparison fails: it would be one of different jobs.
//!
//! # Not here
//!
//! How the Flink job is tuned: see the classes of `bench/flink`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::job::{self, Job, Run};
use super::pipeline::Sales;
use super::results::{Figure, Results, Row};
use super::servers::Server::{Kafka, Postgres};
use super::{Bench, topic, turns};
use crate::database::Database;
use crate::group::{self, Group};
use crate::signal::Signal;
use crate::tools::{self, Tool};
use crate::{interrupt, workspace};

pub(super) const GROUP: &str = "Flink";
pub(super) const CHANGE: &str = "change of the code";
pub(super) const TOTALS_RATIO: &str = "wasmill ÷ Flink, aggregates only";
pub(super) const FULL_RATIO: &str = "wasmill ÷ Flink, full job";

/// Enough for its heap at this rate, and less than it takes by itself.
const HEAP: &str = "-Xmx1g";
/// Of those that Java has, the one that takes the least of the processors here.
const COLLECTOR: &str = "-XX:+UseParallelGC";
/// Records a second while the code is changed.
const CHANGE_RATE: &str = "5000";
/// How long an epoch and a batch of rows wait for more then, ms: both would hide what the change costs.
const CHANGE_WAIT_MS: &str = "100";
/// How long wasmill runs before its code is changed; the Flink job waits as long.
const SETTLE: Duration = Duration::from_secs(5);
/// How long what is running may take to stop.
const STOP_DEADLINE: Duration = Duration::from_secs(20);
/// How long its first row may take.
const FIRST_ROW_MAX: Duration = Duration::from_mins(1);
/// Between two looks for that row.
const LOOK: Duration = Duration::from_millis(100);
/// Comes back once rows of the second version are committed; fails after a minute.
const ROWS_OF_IT: &str = "DO $$ BEGIN \
    FOR turn IN 1..30000 LOOP \
        IF EXISTS (SELECT FROM wasmill_epochs e JOIN wasmill_deployments d ON d.version = e.deployment \
            WHERE d.version = 2 AND e.epoch > d.epoch) THEN RETURN; END IF; \
        PERFORM pg_sleep(0.002); \
    END LOOP; \
    RAISE EXCEPTION 'it did not happen'; \
    END $$";
/// What totals come to: the same whoever made them.
const TOTALS: &str = "SELECT (SELECT ROW(count(*), sum(total_sales), sum(transactions)) FROM sales_per_day), \
    (SELECT ROW(count(*), sum(total_sales), sum(transactions)) FROM sales_per_month), \
    (SELECT ROW(count(*), sum(total_sales), sum(transactions)) FROM sales_per_category), \
    (SELECT ROW(count(*), sum(total_sales), sum(transactions)) FROM sales_per_currency)";

/// One of the jobs that are compared.
struct Pair {
    name: &'static str,
    ratio: &'static str,
    variant: fn(Sales) -> Sales,
    /// whether the sales themselves go into a table
    with_sales: bool,
}

const PAIRS: [Pair; 2] = [
    Pair {
        name: "aggregates only",
        ratio: TOTALS_RATIO,
        variant: Sales::totals_only,
        with_sales: false,
    },
    Pair {
        name: "full job",
        ratio: FULL_RATIO,
        variant: Sales::without_search,
        with_sales: true,
    },
];

/// Nothing, unless it was asked for.
pub(super) fn measure(bench: &Bench<'_>, results: &mut Results) -> Result<()> {
    let wanted = |name: &str| bench.wants(GROUP, name);
    let is_any = PAIRS.iter().any(|pair| wanted(pair.name)) || wanted(CHANGE);
    if !bench.flink || !is_any {
        return Ok(());
    }
    let flink = Flink::build(bench)?;
    for pair in PAIRS.iter().filter(|pair| wanted(pair.name)) {
        compare(bench, &flink, pair, results)?;
    }
    if wanted(CHANGE) {
        let [wasmill, theirs] = turns::take(
            bench.runs,
            [&|| Ok(vec![("until a row of it", change(bench)?)]), &|| {
                flink.change(bench)
            }],
        )?;
        results.add(changes("wasmill, reload", &wasmill))?;
        let note = "in a cluster that runs: no new JVM, no container";
        let row = changes("Flink, savepoint and restart", &theirs);
        results.add(row.note(note))?;
    }
    Ok(())
}

/// wasmill, Flink on one thread a stage, and on two, in turns.
fn compare(bench: &Bench<'_>, flink: &Flink, pair: &Pair, results: &mut Results) -> Result<()> {
    let path = (pair.variant)(bench.sales()?).write(&pair.name.replace(' ', "-"))?;
    let job = Job::new("run", &path).on(&[Kafka, Postgres]);
    let wasmill = || {
        let run = job.run(bench)?;
        Ok((run, totals(bench)?))
    };
    let one = || flink.run(bench, 1, pair.with_sales);
    let two = || flink.run(bench, 2, pair.with_sales);
    let [wasmill, one, two] = turns::take(bench.runs, [&wasmill, &one, &two])?;
    let (_, expected) = &wasmill[0];
    for (_, totals) in wasmill.iter().chain(&one).chain(&two) {
        ensure!(
            totals == expected,
            "wasmill and Flink do not come to the same:\n{expected}{totals}"
        );
    }
    let runs = |of: Vec<(Run, String)>| of.into_iter().map(|(run, _)| run).collect::<Vec<_>>();
    let (wasmill, one, two) = (runs(wasmill), runs(one), runs(two));
    for (who, runs) in [
        ("wasmill", &wasmill),
        ("Flink, parallelism 1", &one),
        ("Flink, parallelism 2", &two),
    ] {
        let name = format!("{}: {who}", pair.name);
        results.add(Row::new(GROUP, &name, job::figures(runs)))?;
    }
    let better = |value: fn(&Run) -> f64| {
        let (one, two) = (
            turns::ratios(&one, &wasmill, value),
            turns::ratios(&two, &wasmill, value),
        );
        // Against the better of the two, turn by turn.
        let pairs = one.into_iter().zip(two);
        pairs.map(|(one, two)| one.min(two)).collect::<Vec<_>>()
    };
    let figures = vec![
        Figure::new("rate", "", better(|run| run.wall / run.records)),
        Figure::new("a CPU-second", "", better(|run| run.cpu)),
        Figure::new("memory", "", better(|run| run.memory_peak)),
    ];
    let note = "as many times better than the better Flink, once both have started";
    results.add(Row::new(GROUP, pair.ratio, figures).note(note))
}

fn totals(bench: &Bench<'_>) -> Result<String> {
    let totals = bench.database.query(TOTALS)?;
    totals.context("there are no totals")
}

fn changes(name: &str, runs: &[Vec<(&'static str, f64)>]) -> Row {
    let parts = runs[0].iter().enumerate();
    let figures = parts.map(|(index, (what, _))| {
        let values = runs.iter().map(|run| run[index].1);
        Figure::new(*what, "s", values.collect())
    });
    Row::new(GROUP, &format!("{CHANGE}: {name}"), figures.collect())
}

/// Another rate for wasmill while records come, from the moment when its file is written until the first rows that
/// were made with it are committed; s.
fn change(bench: &Bench<'_>) -> Result<f64> {
    let producer = Producer::start(bench)?;
    bench.database.drop()?;
    bench.database.create()?;
    let sales = bench.sales()?.totals_only();
    let path = sales
        .with("source.topic", &*producer.topic)
        .with("commit.max_wait", format!("{CHANGE_WAIT_MS}ms"))
        .write("change")?;
    let log = bench.folder.join("change.log");
    let mut wasmill = Group::spawn_logged(
        Command::new(bench.programs.join("wasmill"))
            .arg("run")
            .arg(&path)
            .env("WASMILL_CACHE", bench.folder.join("cache"))
            .env("DATABASE_URL", bench.database.url()),
        &log,
    )?;
    let took = change_file(&bench.database, &path);
    wasmill.stop(Signal::Terminate, STOP_DEADLINE)?;
    producer.stop(bench)?;
    took.with_context(|| format!("see {}", log.display()))
}

fn change_file(database: &Database, path: &Path) -> Result<f64> {
    let deadline = Instant::now() + FIRST_ROW_MAX;
    let first = "SELECT 1 FROM sales_per_day LIMIT 1";
    while database.query(first)?.is_none_or(|row| row.is_empty()) {
        ensure!(Instant::now() < deadline, "no row came");
        interrupt::check()?;
        thread::sleep(LOOK);
    }
    thread::sleep(SETTLE);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let seen = database.query(ROWS_OF_IT);
            seen.map(|_| Instant::now())
        });
        // It looks before there is something to see.
        thread::sleep(Duration::from_millis(200));
        let began = Instant::now();
        let text = fs::read_to_string(path)?.replace("1.08", "1.09");
        replace(path, &text)?;
        let there = waiting.join();
        let there = there.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(there.duration_since(began).as_secs_f64())
    })
}

/// As an editor writes it: never half of it.
fn replace(path: &Path, text: &str) -> Result<()> {
    let part = path.with_extension("part");
    fs::write(&part, text)?;
    fs::rename(&part, path).with_context(|| format!("failed to replace {}", path.display()))
}

/// Writes records into a topic of its own, one after the other.
struct Producer {
    topic: String,
    generate: Group,
}

impl Producer {
    fn start(bench: &Bench<'_>) -> Result<Self> {
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let topic = format!("{}_change_{}", bench.topic.name, since.as_millis());
        let partitions = topic::PARTITIONS.to_string();
        let generate = Group::spawn_logged(
            Command::new(bench.programs.join("wasmill"))
                .args(["generate", "--brokers", bench.session.kafka()])
                .args(["--topic", &topic, "--partitions", &partitions])
                .args(["--rate", CHANGE_RATE]),
            &bench.folder.join("change-producer.log"),
        )?;
        Ok(Self { topic, generate })
    }

    fn stop(mut self, bench: &Bench<'_>) -> Result<()> {
        self.generate.stop(Signal::Interrupt, STOP_DEADLINE)?;
        bench.session.delete_topic(&self.topic).map(|_| ())
    }
}

/// The Flink job.
struct Flink {
    java: PathBuf,
    jar: PathBuf,
    folder: PathBuf,
}

impl Flink {
    fn build(bench: &Bench<'_>) -> Result<Self> {
        tools::ensure(&[Tool::Java, Tool::Maven])?;
        eprintln!("building bench/flink (the first time it fetches 60 MB from Maven Central)");
        let mut maven = Command::new(tools::maven()?);
        maven
            .args(["--batch-mode", "--quiet", "package", "--file"])
            .arg(workspace::root().join("bench/flink/pom.xml"));
        group::run_logged(&mut maven, &bench.folder.join("flink-build.log"))?;
        Ok(Self {
            java: tools::java_home()?.join("bin/java"),
            jar: workspace::root().join("target/flink/bench-flink-1.jar"),
            folder: bench.folder.join("flink"),
        })
    }

    /// Runs it over the topic, into empty tables.
    fn run(&self, bench: &Bench<'_>, parallelism: u32, with_sales: bool) -> Result<(Run, String)> {
        bench.database.drop()?;
        bench.database.create()?;
        let mut command = self.command(bench, "run", &bench.topic.name)?;
        command
            .args(["--parallelism", &parallelism.to_string()])
            .args(["--sales", &with_sales.to_string()]);
        let run = job::observed(bench, &[Kafka, Postgres], ("Flink", bench.records), || {
            ask(&mut command)
        })?;
        Ok((run, totals(bench)?))
    }

    /// Stops it with a savepoint while records come, and starts it from there with another rate.
    fn change(&self, bench: &Bench<'_>) -> Result<Vec<(&'static str, f64)>> {
        let producer = Producer::start(bench)?;
        bench.database.drop()?;
        bench.database.create()?;
        let mut command = self.command(bench, "change", &producer.topic)?;
        let printed = ask(command.args(["--max-wait-ms", CHANGE_WAIT_MS]));
        producer.stop(bench)?;
        let printed = printed?;
        let figure = |name: &str| printed[name].as_f64().context("the Flink job printed less");
        Ok(vec![
            ("until a row of it", figure("change")?),
            ("of which savepoint", figure("stop")?),
            ("of which start", figure("start")?),
        ])
    }

    fn command(&self, bench: &Bench<'_>, mode: &str, topic: &str) -> Result<Command> {
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
        }
        let url = jdbc(bench.database.url()).context("PostgreSQL has no postgres:// URL")?;
        let mut command = Command::new(&self.java);
        command
            .args([HEAP, COLLECTOR, "-jar"])
            .arg(&self.jar)
            .arg(mode)
            .args(["--brokers", bench.session.kafka(), "--topic", topic])
            .args(["--url", &url])
            .arg("--directory")
            .arg(format!("file://{}", self.folder.display()));
        Ok(command)
    }
}

/// Runs the Flink job; the last line of what it prints.
fn ask(command: &mut Command) -> Result<Value> {
    let printed = group::output(command)?;
    let last = printed.lines().last();
    serde_json::from_str(last.unwrap_or_default()).context("the Flink job printed no JSON")
}

/// The URL as Java's driver wants it.
fn jdbc(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let (place, settings) = rest.split_once('?').unwrap_or((rest, ""));
    let (account, place) = place.rsplit_once('@').unwrap_or(("", place));
    let (user, password) = account.split_once(':').unwrap_or((account, ""));
    let named = [("user", user), ("password", password)];
    let named = named.into_iter().filter(|(_, value)| !value.is_empty());
    let mut settings: Vec<_> = std::iter::once(settings.to_owned())
        .filter(|settings| !settings.is_empty())
        .collect();
    settings.extend(named.map(|(name, value)| format!("{name}={value}")));
    Some(format!("jdbc:postgresql://{place}?{}", settings.join("&")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_gets_account_and_settings_behind_the_place() {
        let of = |url| jdbc(url).unwrap();
        assert_eq!(
            of("postgres://me:pw@db:5433/x"),
            "jdbc:postgresql://db:5433/x?user=me&password=pw"
        );
        assert_eq!(
            of("postgres://me@db/x?sslmode=disable"),
            "jdbc:postgresql://db/x?sslmode=disable&user=me"
        );
        assert_eq!(jdbc("host=db"), None);
    }
}
