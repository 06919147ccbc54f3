//! An embedded run as a process of its own, and what it leaves behind.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use chrono::DateTime;
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

use crate::support::truth::{self, Outcome, Total, money};
use crate::support::{binary, outcome};

/// One job in a folder of its own.
pub(super) struct Job {
    pub(super) folder: TempDir,
}

impl Job {
    /// The shipped pipeline, its text changed by `edit`.
    pub(super) fn new(edit: impl FnOnce(String) -> String) -> Self {
        let repository = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
        let shipped = std::fs::read_to_string(repository.join("pipeline.toml")).unwrap();
        let guests = std::fs::canonicalize(repository.join("target/guests"))
            .expect("`cargo xtask guests` has built the components");
        let text = shipped.replace("target/guests", guests.to_str().unwrap());
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pipeline.toml"), edit(text)).unwrap();
        Self { folder }
    }

    pub(super) fn wasmill(&self, args: &[&str]) -> Command {
        let mut command = binary::wasmill(&["run", "pipeline.toml", "--embedded"]);
        command
            .args(args)
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// Starts a run that goes on until it is told to stop.
    pub(super) fn start(&self, args: &[&str]) -> Child {
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

    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("wasmill.log")).unwrap_or_default()
    }

    pub(super) fn database(&self) -> PathBuf {
        self.folder.path().join("data/ecommerce-sales.sqlite3")
    }

    fn dead_letters(&self) -> PathBuf {
        self.folder.path().join("data/ecommerce-sales.dead.ndjson")
    }

    /// The last committed epoch, 0 while there is none.
    pub(super) fn epoch(&self) -> u64 {
        let Some(file) = look_into(&self.database()) else {
            return 0;
        };
        let sql = "SELECT max(epoch) FROM wasmill_epochs";
        let epoch = file.query_row(sql, [], |row| row.get::<_, Option<i64>>(0));
        epoch.ok().flatten().map_or(0, i64::unsigned_abs)
    }

    /// What the tables and the dead letters hold.
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
        for (table, key) in outcome::TOTALS {
            outcome.totals.insert(table, totals(&file, table, key));
        }
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
    pub(super) fn compare(&self, expected: &Outcome) {
        let found = self.outcome();
        assert_eq!(found.dead, expected.dead, "the dead letters");
        for (table, totals) in &expected.totals {
            assert_eq!(&found.totals[table], totals, "{table}");
        }
        assert_eq!(found.transactions.len(), expected.transactions.len());
        for (id, row) in &expected.transactions {
            assert_eq!(found.transactions.get(id), Some(row), "transaction {id}");
        }
    }
}

/// The rows of a table of totals, the view compared with what is below it.
fn totals(file: &Connection, table: &str, key: &[&str]) -> BTreeMap<Vec<String>, Total> {
    let keys = key.join(", ");
    let texts: Vec<_> = key
        .iter()
        .map(|key| format!("cast({key} AS TEXT)"))
        .collect();
    let sql = format!(
        "SELECT {}, v.total_sales, transactions, b.total_sales
         FROM {table} v JOIN {table}_minor b USING ({keys}, transactions)",
        texts.join(", ")
    );
    let mut statement = file.prepare(&sql).unwrap();
    let at = key.len();
    let mut rows = statement.query([]).unwrap();
    let mut found = BTreeMap::new();
    while let Some(row) = rows.next().unwrap() {
        let shown: String = row.get(at).unwrap();
        let cents: i64 = row.get(at + 2).unwrap();
        assert_eq!(shown, money(cents.into()), "{table}");
        let key = (0..at).map(|i| row.get(i).unwrap()).collect();
        found.insert(key, (i128::from(cents), row.get(at + 1).unwrap()));
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
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    looks: JoinHandle<u64>,
}

impl Watch {
    pub(super) fn start(job: &Job) -> Self {
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

    pub(super) fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.looks.join().expect("the totals were always equal")
    }
}

/// Compares the totals in one statement; false while the tables are not all there.
pub(super) fn look(path: &Path) -> bool {
    let totals =
        outcome::TOTALS.map(|(table, _)| format!("(SELECT sum(total_sales) FROM {table}_minor)"));
    let sql = format!(
        "SELECT (SELECT count(*) FROM transactions), (SELECT sum(transactions) FROM sales_per_day), \
         (SELECT sum(total_amount_base) FROM transactions_minor), {}",
        totals.join(", ")
    );
    let Some(file) = look_into(path) else {
        return false;
    };
    let looked = file.query_row(&sql, [], |row| {
        let counts: (i64, Option<i64>) = (row.get(0)?, row.get(1)?);
        let sums: Vec<Option<i64>> = (2..outcome::TOTALS.len() + 3)
            .map(|i| row.get(i))
            .collect::<Result<_, _>>()?;
        Ok((sums, counts))
    });
    match looked {
        Ok((sums, (rows, counted))) => {
            assert!(sums.iter().all(|sum| *sum == sums[0]), "{sums:?}");
            assert_eq!(counted.unwrap_or(0), rows);
            sums[0].is_some()
        }
        Err(error) => {
            // All tables come to be in one transaction.
            assert!(error.to_string().contains("no such table"), "{error}");
            false
        }
    }
}
