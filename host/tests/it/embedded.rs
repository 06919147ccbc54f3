//! The shipped sales job as an embedded run: no server, and the same totals as anywhere.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chrono::DateTime;
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use tempfile::TempDir;
use wasmill::generate::Settings;

use super::support::binary;
use super::support::job::{send_signal, succeed, wait_for_exit};
use super::support::truth::{self, Outcome, money};

/// What an embedded run of a Kafka pipeline has.
const PARTITIONS: u32 = 4;

/// One job in a folder of its own.
struct Job {
    folder: TempDir,
}

impl Job {
    /// The shipped pipeline, its text changed by `edit`.
    fn new(edit: impl FnOnce(String) -> String) -> Self {
        let repository = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
        let shipped = std::fs::read_to_string(repository.join("pipeline.toml")).unwrap();
        let guests = std::fs::canonicalize(repository.join("target/guests"))
            .expect("`cargo xtask guests` has built the components");
        let text = shipped.replace("target/guests", guests.to_str().unwrap());
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pipeline.toml"), edit(text)).unwrap();
        Self { folder }
    }

    fn wasmill(&self, args: &[&str]) -> Command {
        let mut command = binary::wasmill(&["run", "pipeline.toml", "--embedded"]);
        command
            .args(args)
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// Starts a run that goes on until it is told to stop.
    fn start(&self, args: &[&str]) -> Child {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.path().join("wasmill.log"))
            .unwrap();
        self.wasmill(args)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary was built with the tests")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("wasmill.log")).unwrap_or_default()
    }

    fn database(&self) -> PathBuf {
        self.folder.path().join("data/ecommerce-sales.sqlite3")
    }

    fn dead_letters(&self) -> PathBuf {
        self.folder.path().join("data/ecommerce-sales.dead.ndjson")
    }

    /// The last committed epoch, 0 while there is none.
    fn epoch(&self) -> u64 {
        let Some(file) = look_into(&self.database()) else {
            return 0;
        };
        let sql = "SELECT max(epoch) FROM wasmill_epochs";
        let epoch = file.query_row(sql, [], |row| row.get::<_, Option<i64>>(0));
        epoch.ok().flatten().map_or(0, i64::unsigned_abs)
    }

    /// What the four tables and the dead letters hold.
    fn outcome(&self) -> Outcome {
        let file = Connection::open(self.database()).unwrap();
        let mut outcome = Outcome::default();
        let columns = "product_id, product_name, product_category, product_price, \
            cast(product_quantity AS TEXT), product_brand, currency, customer_id, \
            transaction_date, payment_method, total_amount, total_amount_base";
        let mut statement = file
            .prepare(&format!(
                "SELECT transaction_id, {columns} FROM transactions"
            ))
            .unwrap();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let mut texts: Vec<String> = (1..13).map(|i| row.get(i).unwrap()).collect();
            let moment = DateTime::parse_from_rfc3339(&texts[8]).unwrap();
            texts[8] = moment.timestamp_micros().to_string();
            outcome.transactions.insert(row.get(0).unwrap(), texts);
        }
        outcome.per_day = totals(&file, "transaction_date", "sales_per_day", |row| {
            row.get(0).unwrap()
        });
        outcome.per_month = totals(&file, "year, month", "sales_per_month", |row| {
            (row.get(0).unwrap(), row.get(1).unwrap())
        });
        let keys = "transaction_date, category";
        outcome.per_category = totals(&file, keys, "sales_per_category", |row| {
            (row.get(0).unwrap(), row.get(1).unwrap())
        });
        outcome.dead = self.letters();
        outcome
    }

    /// The records in the dead letters, each of which is there once.
    fn letters(&self) -> BTreeSet<truth::Place> {
        let mut places = BTreeSet::new();
        let Ok(file) = std::fs::File::open(self.dead_letters()) else {
            return places;
        };
        for line in BufReader::new(file).lines() {
            let letter: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            let place = (
                u32::try_from(letter["partition"].as_u64().unwrap()).unwrap(),
                letter["offset"].as_i64().unwrap(),
            );
            assert!(places.insert(place), "{place:?} is there twice");
        }
        places
    }

    #[track_caller]
    fn compare(&self, expected: &Outcome) {
        let found = self.outcome();
        assert_eq!(found.dead, expected.dead, "the dead letters");
        assert_eq!(found.per_day, expected.per_day);
        assert_eq!(found.per_month, expected.per_month);
        assert_eq!(found.per_category, expected.per_category);
        assert_eq!(found.transactions.len(), expected.transactions.len());
        for (id, row) in &expected.transactions {
            assert_eq!(found.transactions.get(id), Some(row), "transaction {id}");
        }
    }
}

/// The rows of a table of totals, the view compared with what is below it.
fn totals<K: Ord>(
    file: &Connection,
    keys: &str,
    table: &str,
    key: impl Fn(&rusqlite::Row<'_>) -> K,
) -> std::collections::BTreeMap<K, (i128, i64)> {
    let sql = format!(
        "SELECT {keys}, v.total_sales, transactions, b.total_sales
         FROM {table} v JOIN {table}_minor b USING ({keys}, transactions)"
    );
    let mut statement = file.prepare(&sql).unwrap();
    let at = keys.split(',').count();
    let mut rows = statement.query([]).unwrap();
    let mut found = std::collections::BTreeMap::new();
    while let Some(row) = rows.next().unwrap() {
        let shown: String = row.get(at).unwrap();
        let cents: i64 = row.get(at + 2).unwrap();
        assert_eq!(shown, money(cents.into()), "{table}");
        found.insert(key(row), (i128::from(cents), row.get(at + 1).unwrap()));
    }
    found
}

/// A connection of somebody who looks on; `None` while the file is not there.
fn look_into(path: &Path) -> Option<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let file = Connection::open_with_flags(path, flags).ok()?;
    file.busy_timeout(Duration::from_secs(10)).unwrap();
    Some(file)
}

/// Somebody who compares the totals all the time.
struct Watch {
    stop: Arc<AtomicBool>,
    looks: JoinHandle<u64>,
}

impl Watch {
    fn start(job: &Job) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, path) = (Arc::clone(&stop), job.database());
        let looks = std::thread::spawn(move || {
            let mut looks = 0;
            while !stopped.load(Ordering::Relaxed) {
                looks += u64::from(look(&path));
                std::thread::sleep(Duration::from_millis(5));
            }
            looks
        });
        Self { stop, looks }
    }

    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.looks.join().expect("the totals were always equal")
    }
}

/// Compares the totals in one statement; false while the tables are not all there.
fn look(path: &Path) -> bool {
    let sql = "SELECT (SELECT sum(total_amount_base) FROM transactions_minor), \
               (SELECT sum(total_sales) FROM sales_per_day_minor), \
               (SELECT sum(total_sales) FROM sales_per_month_minor), \
               (SELECT sum(total_sales) FROM sales_per_category_minor), \
               (SELECT count(*) FROM transactions), \
               (SELECT sum(transactions) FROM sales_per_day)";
    let Some(file) = look_into(path) else {
        return false;
    };
    let looked = file.query_row(sql, [], |row| {
        let sums: Vec<Option<i64>> = (0..4).map(|i| row.get(i)).collect::<Result<_, _>>()?;
        let counts: (i64, Option<i64>) = (row.get(4)?, row.get(5)?);
        Ok((sums, counts))
    });
    match looked.optional() {
        Ok(Some((sums, (rows, counted)))) => {
            assert!(sums.iter().all(|sum| *sum == sums[0]), "{sums:?}");
            assert_eq!(counted.unwrap_or(0), rows);
            sums[0].is_some()
        }
        Ok(None) => false,
        Err(error) => {
            // All tables come to be in one transaction.
            assert!(error.to_string().contains("no such table"), "{error}");
            false
        }
    }
}

fn settings(seed: u64, bad_share: f64) -> Settings {
    Settings {
        seed,
        bad_share,
        ..Settings::default()
    }
}

#[test]
fn the_sales_job_leaves_what_its_records_come_to_with_nothing_installed() {
    const RECORDS: u64 = 50_000;
    let job = Job::new(|text| text);
    let watch = Watch::start(&job);
    let args = [
        "--once",
        "--records",
        "50000",
        "--seed",
        "20260",
        "--bad-share",
        "0.01",
    ];
    let output = job.wasmill(&args).output().unwrap();
    assert!(watch.end() > 0, "nobody looked while the job ran");
    let (printed, said) = (binary::stdout(&output), binary::stderr(&output));
    assert!(output.status.success(), "{said}");
    assert!(
        printed.contains("50,000 records") || printed.contains("50000 records"),
        "{printed}"
    );
    for line in [
        "source: generated sales in place of Kafka, 50000 records, as fast as possible, seed 20260",
        "sink `postgres`: SQLite at data/ecommerce-sales.sqlite3 in place of PostgreSQL",
        "sink `search`: left out, as it needs Elasticsearch",
        "dead letters: the file data/ecommerce-sales.dead.ndjson in place of a topic",
    ] {
        assert_eq!(said.matches(line).count(), 1, "`{line}` in {said}");
    }
    let expected = truth::expected(&settings(20_260, 0.01), PARTITIONS, RECORDS);
    assert!(!expected.dead.is_empty());
    job.compare(&expected);

    let again = succeed(job.wasmill(&args));
    assert!(again.contains("0 records"), "{again}");
    job.compare(&expected);
}

#[test]
fn a_second_run_goes_on_where_the_first_stopped() {
    let job = Job::new(|text| text);
    for records in ["7000", "20001"] {
        let args = ["--once", "--records", records, "--bad-share", "0.05"];
        succeed(job.wasmill(&args));
        let count = records.parse().unwrap();
        job.compare(&truth::expected(&settings(0, 0.05), PARTITIONS, count));
    }
    let output = job
        .wasmill(&["--once", "--records", "20001", "--seed", "1"])
        .output()
        .unwrap();
    let said = binary::stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("source.generator.seed was 0, is now 1"),
        "{said}"
    );
    assert!(said.contains("delete the file"), "{said}");
}

#[test]
fn any_number_of_workers_comes_to_the_same() {
    for workers in [1, 2, 5] {
        let job = Job::new(|text| {
            let name = "name = \"ecommerce-sales\"";
            text.replacen(name, &format!("workers = {workers}\n{name}"), 1)
        });
        succeed(job.wasmill(&["--once", "--records", "10000", "--bad-share", "0.02"]));
        job.compare(&truth::expected(&settings(0, 0.02), PARTITIONS, 10_000));
    }
}

#[test]
fn nothing_is_lost_or_doubled_by_sigterm() {
    interrupt("TERM");
}

#[test]
fn nothing_is_lost_or_doubled_by_sigkill() {
    interrupt("KILL");
}

fn interrupt(signal: &str) {
    const RECORDS: u64 = 60_000;
    const TIMES: usize = 6;
    // Small epochs, so that there are many moments to be interrupted at; paced, so that not all is
    // done before the last of them.
    let job = Job::new(|text| text.replace("max_rows = 10_000", "max_rows = 500"));
    let same = ["--records", "60000", "--seed", "99", "--bad-share", "0.005"];
    let watch = Watch::start(&job);
    let mut committed = 0;
    for _ in 0..TIMES {
        let mut child = job.start(&[&same[..], &["--rate", "8000"]].concat());
        let started = Instant::now();
        while job.epoch() < committed + 3 {
            assert!(
                started.elapsed() < Duration::from_mins(1),
                "no progress: {}",
                job.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        send_signal(&child, signal);
        let status = wait_for_exit(&mut child, Duration::from_secs(15));
        if signal == "TERM" {
            assert!(status.success(), "{status}: {}", job.log());
        }
        committed = job.epoch();
    }
    assert!(
        committed < RECORDS / 500,
        "all was done before the last interruption"
    );
    succeed(job.wasmill(&[&same[..], &["--once", "--rate", "0"]].concat()));
    assert!(watch.end() > 0, "nobody looked while the job ran");
    job.compare(&truth::expected(&settings(99, 0.005), PARTITIONS, RECORDS));
}

#[test]
fn a_host_that_is_started_twice_is_fenced_off_by_its_successor() {
    let job = Job::new(|text| text.replace("max_rows = 10_000", "max_rows = 100"));
    let mut first = job.start(&["--rate", "2000", "--records", "100000"]);
    let started = Instant::now();
    while job.epoch() < 3 {
        assert!(started.elapsed() < Duration::from_mins(1), "{}", job.log());
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut second = job.start(&["--rate", "2000", "--records", "100000"]);
    let status = wait_for_exit(&mut first, Duration::from_secs(30));
    assert_eq!(status.code(), Some(1), "{}", job.log());
    assert!(
        job.log().contains("another host has taken over"),
        "{}",
        job.log()
    );
    send_signal(&second, "TERM");
    assert!(wait_for_exit(&mut second, Duration::from_secs(15)).success());
    assert!(look(&job.database()));
}

#[test]
fn variables_of_what_is_replaced_need_not_be_set_and_others_must() {
    let edit = |text: String| {
        text.replace("${KAFKA_BROKERS:-localhost:9092}", "${KAFKA_BROKERS}")
            .replace(
                "topic = \"financial_transactions",
                "topic = \"${WASMILL_TEST_TOPIC}",
            )
            .replace(
                "${ELASTICSEARCH_URL:-http://localhost:9200}",
                "${ELASTICSEARCH_URL}",
            )
            .replace(
                "${DATABASE_URL:-postgres://postgres:postgres@localhost/postgres}",
                "${DATABASE_URL}",
            )
    };
    let args = ["--once", "--records", "100"];
    succeed(Job::new(edit).wasmill(&args));
    let job =
        Job::new(|text| edit(text).replace("base = \"USD\"", "base = \"${WASMILL_TEST_BASE}\""));
    let output = job.wasmill(&args).output().unwrap();
    let said = binary::stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("`WASMILL_TEST_BASE` is not set"), "{said}");
    assert_eq!(said.matches("is not set").count(), 1, "{said}");
}

#[test]
fn columns_that_generated_sales_do_not_have_are_named() {
    let job = Job::new(|text| {
        text.replace("from = \"productBrand\"", "from = \"productBrnd\"")
            .replace(
                "from = \"currency\",        type = \"utf8\"",
                "from = \"currency\", type = \"int64\"",
            )
    });
    let output = job
        .wasmill(&["--once", "--records", "100"])
        .output()
        .unwrap();
    let said = binary::stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for wanted in [
        "column `product_brand`: generated sales have no field `productBrnd`",
        "did you mean `productBrand`?",
        "column `currency`: the field `currency` of generated sales is no int64",
    ] {
        assert!(said.contains(wanted), "`{wanted}` in {said}");
    }
    assert!(!job.database().exists());
}

#[test]
fn a_run_to_the_end_needs_one() {
    let job = Job::new(|text| text);
    let output = job.wasmill(&["--once"]).output().unwrap();
    let said = binary::stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("`--records N`"), "{said}");
    let output = binary::output(&["run", "--rate", "5"]);
    assert_eq!(output.status.code(), Some(2), "{}", binary::stderr(&output));
}

#[test]
fn the_data_may_lie_elsewhere() {
    let job = Job::new(|text| text);
    succeed(job.wasmill(&["--once", "--records", "100", "--data", "there/deep"]));
    assert!(
        job.folder
            .path()
            .join("there/deep/ecommerce-sales.sqlite3")
            .exists()
    );
    assert!(!job.folder.path().join("data").exists());
}

/// What an embedded run puts in may as well stand in the file.
#[test]
fn a_pipeline_may_name_a_generator_and_a_file_itself() {
    let job = Job::new(|text| {
        let source = "type = \"generator\"\npartitions = 3\nseed = 5\nrecords = 3000\n#";
        let text = text
            .replacen("type = \"kafka\"\nbrokers", &format!("{source} brokers"), 1)
            .replace("topic = \"financial_transactions\"\nstart", "#");
        let (before, search) = text.split_once("[[sink]]\nname = \"search\"").unwrap();
        let (_, after) = search.split_once("# -----").unwrap();
        let (letters, _) = after.split_once("[dead_letters]").unwrap();
        let before = before
            .replace("type = \"postgres\"", "type = \"sqlite\"")
            .replace(
                "url = \"${DATABASE_URL",
                "path = \"data/ecommerce-sales.sqlite3\" # ",
            );
        format!(
            "{before}# {letters}[dead_letters]\ntype = \"file\"\npath = \"data/ecommerce-sales.dead.ndjson\"\n"
        )
    });
    let wasmill = |args: &[&str]| {
        let mut command = binary::wasmill(args);
        command.current_dir(job.folder.path());
        command
    };
    let checked = succeed(wasmill(&["check", "pipeline.toml", "--connect"]));
    assert!(
        checked.contains("source: reached, 3 partitions"),
        "{checked}"
    );
    assert!(
        checked.contains("tables fit or will be created"),
        "{checked}"
    );
    assert!(!job.database().exists(), "a check creates nothing");
    succeed(wasmill(&["run", "pipeline.toml", "--once"]));
    job.compare(&truth::expected(&settings(5, 0.0), 3, 3_000));
    succeed(wasmill(&["check", "pipeline.toml", "--connect"]));
}
