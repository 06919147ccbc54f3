//! Looks at the tables while the pipeline writes them.
//!
//! A look is one transaction that only reads: all of it is as of one commit, whatever is committed
//! meanwhile, and it holds up nobody. Sums of large tables take long, so the pause between two of
//! them grows with what they take; the charts, of small tables, are looked at in between.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags, Transaction};

use super::choice::{ChartChoice, Choice, ColumnChoice, Order};
use crate::live::{Amount, Bar, Chart, Check, Sum, Totals};
use crate::sink::table::quote;

/// Between two looks at least.
const PAUSE: Duration = Duration::from_secs(1);
/// A pause is so many times as long as what went before it, at least: so sums take a tenth of a
/// core's time at most, and charts too.
const PAUSE_FACTOR: u32 = 9;
/// Rows of a chart at most.
const BARS_MAX: usize = 64;

/// What was seen so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// the last look
    pub(super) totals: Totals,
    /// looks that had sums to compare
    pub(super) checks: u64,
    /// of these, the ones in which the sums were not equal
    pub(super) differing: u64,
    /// why the last look failed
    pub(super) error: Option<String>,
}

/// Looks again and again, in a thread of its own.
pub(super) struct Looker {
    seen: Arc<Mutex<Seen>>,
    /// Hanging up ends the thread.
    end: Sender<()>,
    thread: JoinHandle<()>,
    tables: Tables,
}

/// The tables of a file, and what is read of them.
#[derive(Debug, Clone)]
pub(super) struct Tables {
    pub(super) file: PathBuf,
    pub(super) choice: Choice,
}

impl Looker {
    pub(super) fn start(tables: Tables) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (end, ended) = mpsc::channel();
        let shared = Arc::clone(&seen);
        let mine = tables.clone();
        let thread = thread::spawn(move || {
            let mut next_check = Instant::now();
            loop {
                let begun = Instant::now();
                let with_checks = begun >= next_check;
                look(&mine, &shared, with_checks);
                let mut pause = PAUSE;
                if with_checks {
                    next_check = Instant::now() + PAUSE.max(begun.elapsed() * PAUSE_FACTOR);
                } else {
                    pause = pause.max(begun.elapsed() * PAUSE_FACTOR);
                }
                if ended.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        });
        Self {
            seen,
            end,
            thread,
            tables,
        }
    }

    /// What was seen so far.
    pub(super) fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }

    /// Looks once more, at what is there at the end.
    pub(super) fn finish(self) -> Seen {
        drop(self.end);
        // If it has failed, the look that follows says the same.
        let _ = self.thread.join();
        look(&self.tables, &self.seen, true);
        let seen = lock(&self.seen);
        seen.clone()
    }
}

/// Looks at the charts, and if it is time for them at the sums, too.
fn look(tables: &Tables, seen: &Mutex<Seen>, with_checks: bool) {
    let looked = tables.read(with_checks);
    let mut seen = lock(seen);
    match looked {
        Ok(Some(mut totals)) => {
            if with_checks {
                if let Some(agree) = totals.agree() {
                    seen.checks += 1;
                    seen.differing += u64::from(!agree);
                }
            } else {
                totals.checks = std::mem::take(&mut seen.totals.checks);
            }
            seen.totals = totals;
            seen.error = None;
        }
        Ok(None) => {}
        Err(error) => seen.error = Some(format!("failed to look at the tables: {error}")),
    }
}

impl Tables {
    /// What is in the tables now; `None` while they are not there. Without checks, there are none in
    /// it.
    ///
    /// # Errors
    ///
    /// Whatever SQLite says.
    fn read(&self, with_checks: bool) -> rusqlite::Result<Option<Totals>> {
        if !self.file.exists() {
            return Ok(None);
        }
        let mut connection = open(&self.file)?;
        let snapshot = connection.transaction()?;
        let columns = self.choice.checks.iter().flatten();
        let amounts = self.choice.charts.iter().map(|chart| &chart.amount);
        for column in columns.chain(amounts) {
            if !snapshot.table_exists(None, column.base.as_str())? {
                return Ok(None);
            }
        }
        let charts = self.choice.charts.iter();
        let checks = self.choice.checks.iter().filter(|_| with_checks);
        Ok(Some(Totals {
            charts: charts
                .map(|it| chart(&snapshot, it))
                .collect::<Result<_, _>>()?,
            checks: checks
                .map(|it| check(&snapshot, it))
                .collect::<Result<_, _>>()?,
        }))
    }
}

/// For reading alone, and without waiting long for whoever writes.
fn open(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(Duration::from_secs(1))?;
    Ok(connection)
}

fn chart(snapshot: &Transaction<'_>, choice: &ChartChoice) -> rusqlite::Result<Chart> {
    let ChartChoice { amount, by, order } = choice;
    let order = match order {
        Order::NewestFirst => "1 DESC",
        Order::LargestFirst => "2 DESC, 1",
    };
    let sql = format!(
        "SELECT {key}, sum({column}) FROM {table} GROUP BY {key} ORDER BY {order} LIMIT {BARS_MAX}",
        key = quote(by),
        column = quote(&amount.column),
        table = quote(&amount.base),
    );
    let mut statement = snapshot.prepare(&sql)?;
    let bars = statement.query_map([], |row| {
        Ok(Bar {
            label: row.get::<_, Option<String>>(0)?.unwrap_or_default(),
            amount: units(row.get(1)?, amount),
        })
    })?;
    Ok(Chart {
        table: amount.table.clone(),
        column: amount.column.clone(),
        by: by.clone(),
        bars: bars.collect::<Result<_, _>>()?,
    })
}

fn check(snapshot: &Transaction<'_>, columns: &[ColumnChoice]) -> rusqlite::Result<Check> {
    let sums = columns.iter().map(|column| {
        let sql = format!(
            "SELECT sum({}) FROM {}",
            quote(&column.column),
            quote(&column.base)
        );
        let sum = snapshot.query_row(&sql, [], |row| row.get(0))?;
        Ok(Sum {
            table: column.table.clone(),
            column: column.column.clone(),
            amount: units(sum, column),
        })
    });
    Ok(Check {
        sums: sums.collect::<rusqlite::Result<_>>()?,
    })
}

/// The sum of no rows is null.
fn units(sum: Option<i64>, column: &ColumnChoice) -> Amount {
    Amount {
        units: sum.unwrap_or(0),
        scale: column.scale,
    }
}

/// What is behind the lock is whole at any time.
fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(table: &str, column: &str) -> ColumnChoice {
        ColumnChoice {
            table: table.into(),
            base: format!("{table}_minor"),
            column: column.into(),
            scale: 2,
        }
    }

    fn tables(file: PathBuf) -> Tables {
        let days = column("days", "total");
        Tables {
            file,
            choice: Choice {
                charts: vec![
                    ChartChoice {
                        amount: days.clone(),
                        by: "day".into(),
                        order: Order::NewestFirst,
                    },
                    ChartChoice {
                        amount: days.clone(),
                        by: "shop \"1\"".into(),
                        order: Order::LargestFirst,
                    },
                ],
                checks: vec![vec![column("sales", "paid"), days]],
            },
        }
    }

    const SCHEMA: &str = r#"
        CREATE TABLE sales_minor (id TEXT PRIMARY KEY, paid INTEGER);
        CREATE TABLE days_minor (day TEXT, "shop ""1""" TEXT, total INTEGER);
        INSERT INTO sales_minor VALUES ('a', 150), ('b', 250), ('c', 200);
        INSERT INTO days_minor VALUES ('2026-01-01', 'x', 150), ('2026-01-02', 'x', 250),
                                      ('2026-01-02', 'y', 200);
    "#;

    #[test]
    fn before_there_are_tables_there_is_nothing_to_see() {
        let folder = tempfile::tempdir().unwrap();
        let tables = tables(folder.path().join("shop.sqlite"));
        assert_eq!(tables.read(true).unwrap(), None);
        assert!(!tables.file.exists(), "looking makes no file");
        let connection = Connection::open(&tables.file).unwrap();
        connection
            .execute("CREATE TABLE sales_minor (id)", [])
            .unwrap();
        assert_eq!(tables.read(true).unwrap(), None);
    }

    #[test]
    fn charts_are_summed_by_their_key_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let tables = tables(folder.path().join("shop.sqlite"));
        let connection = Connection::open(&tables.file).unwrap();
        connection.execute_batch(SCHEMA).unwrap();
        let totals = tables.read(true).unwrap().unwrap();
        let bars = |chart: &Chart| -> Vec<(String, i64)> {
            let bars = chart.bars.iter();
            bars.map(|bar| (bar.label.clone(), bar.amount.units))
                .collect()
        };
        assert_eq!(
            bars(&totals.charts[0]),
            [
                ("2026-01-02".to_owned(), 450),
                ("2026-01-01".to_owned(), 150)
            ]
        );
        assert_eq!(
            bars(&totals.charts[1]),
            [("x".to_owned(), 400), ("y".to_owned(), 200)]
        );
        assert_eq!(totals.agree(), Some(true));
    }

    #[test]
    fn every_look_counts_and_the_last_one_is_after_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let tables = tables(folder.path().join("shop.sqlite"));
        let connection = Connection::open(&tables.file).unwrap();
        connection.execute_batch(SCHEMA).unwrap();
        let looker = Looker::start(tables);
        while looker.seen().checks == 0 {
            thread::sleep(Duration::from_millis(5));
        }
        connection
            .execute("INSERT INTO sales_minor VALUES ('d', 1)", [])
            .unwrap();
        let seen = looker.finish();
        assert!(seen.checks >= 2 && seen.differing >= 1, "{seen:?}");
        assert_eq!(seen.totals.agree(), Some(false));
    }

    #[test]
    fn a_file_that_is_no_database_is_an_error_to_show() {
        let folder = tempfile::tempdir().unwrap();
        let tables = tables(folder.path().join("shop.sqlite"));
        std::fs::write(&tables.file, "no database".repeat(100)).unwrap();
        let seen = Looker::start(tables).finish();
        assert!(seen.error.is_some_and(|error| error.contains("database")));
    }
}
