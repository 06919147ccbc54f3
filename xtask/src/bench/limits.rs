//! Rows "limits": what the client library and the servers can do at most with the same records, without wasmill,
//! and how close the job comes to it, in turns.
//!
//! The rows and documents are those that a first run of the job has written.

use std::cell::OnceCell;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::Bench;
use super::job::{self, Job, Run};
use super::results::{Figure, Results, Row};
use super::servers::Server::{Elasticsearch, Kafka, Postgres};
use super::turns;

pub(super) const GROUP: &str = "limits";
pub(super) const POSTGRES_SHARE: &str = "full job into PostgreSQL ÷ its limit";
pub(super) const BOTH_SHARE: &str = "full job into both ÷ the slower one's limit";
const LIBRDKAFKA: &str = "librdkafka, batches into nothing";
const COPY: &str = "PostgreSQL: \\copy";
const UPSERT: &str = "PostgreSQL: temporary table + ON CONFLICT";
const BULKS: &str = "Elasticsearch: rendered bulks, two connections";

/// Where rows and documents are kept while it runs.
pub(super) const FOLDER: &str = "written";
/// Rows of a transaction, as in the pipeline.
const EPOCH_ROWS: usize = 10_000;

pub(super) fn measure(bench: &Bench<'_>, results: &mut Results) -> Result<()> {
    if bench.wants(GROUP, LIBRDKAFKA) {
        let pipeline = bench.sales()?.without_stages().write("librdkafka")?;
        let runs = Job::new("librdkafka", &pipeline).on(&[Kafka]).runs(bench)?;
        results.add(Row::new(GROUP, LIBRDKAFKA, job::figures(&runs)))?;
    }
    let written = OnceCell::new();
    let written = || {
        if written.get().is_none() {
            let _ = written.set(Written::by_a_run(bench)?);
        }
        written.get().context("it was just set")
    };
    if bench.wants(GROUP, COPY) {
        let written = written()?;
        let [runs] = turns::take(bench.runs, [&|| written.copy(bench)])?;
        results.add(Row::new(GROUP, COPY, job::figures(&runs)))?;
    }
    if bench.wants(GROUP, POSTGRES_SHARE) || bench.wants(GROUP, UPSERT) {
        postgres(bench, written()?, results)?;
    }
    if bench.wants(GROUP, BOTH_SHARE) || bench.wants(GROUP, BULKS) {
        both(bench, written()?, results)?;
    }
    Ok(())
}

/// The job into PostgreSQL, against `psql`.
fn postgres(bench: &Bench<'_>, written: &Written, results: &mut Results) -> Result<()> {
    let pipeline = bench.sales()?.without_search().write("into-postgres")?;
    let job = Job::new("run", &pipeline).on(&[Kafka, Postgres]);
    let variants: [&dyn Fn() -> Result<Run>; 2] = [&|| written.upsert(bench), &|| job.run(bench)];
    let [limit, job] = turns::take(bench.runs, variants)?;
    results.add(Row::new(GROUP, UPSERT, job::figures(&limit)))?;
    let mut figures = vec![
        Figure::new("rate", "", turns::ratios(&job, &limit, rate)),
        Figure::new("own CPU", "µs/record", job.iter().map(own_cpu).collect()),
    ];
    let cpu = |run: &Run| run.servers.get(&Postgres).copied().unwrap_or(f64::NAN);
    if job.iter().chain(&limit).all(|run| !cpu(run).is_nan()) {
        let ratios = turns::ratios(&job, &limit, cpu);
        figures.insert(1, Figure::new("PostgreSQL CPU", "", ratios));
    }
    results.add(Row::new(GROUP, POSTGRES_SHARE, figures))
}

/// The job into both, against whichever is slower alone.
fn both(bench: &Bench<'_>, written: &Written, results: &mut Results) -> Result<()> {
    let pipeline = bench.sales()?.write("into-both")?;
    let job = Job::new("run", &pipeline).on(&[Kafka, Postgres, Elasticsearch]);
    let variants: [&dyn Fn() -> Result<Run>; 3] =
        [&|| written.upsert(bench), &|| written.bulks(bench), &|| {
            job.run(bench)
        }];
    let [upsert, bulks, job] = turns::take(bench.runs, variants)?;
    results.add(Row::new(GROUP, BULKS, job::figures(&bulks)))?;
    let limits = upsert.iter().zip(&bulks);
    let limits = limits.map(|(upsert, bulks)| rate(upsert).min(rate(bulks)));
    let shares = job.iter().zip(limits).map(|(job, limit)| rate(job) / limit);
    let figures = vec![
        Figure::new("rate", "", shares.collect()),
        Figure::new("own CPU", "µs/record", job.iter().map(own_cpu).collect()),
    ];
    results.add(Row::new(GROUP, BOTH_SHARE, figures))
}

fn rate(run: &Run) -> f64 {
    run.records / run.wall
}

/// Of the process itself, µs a record.
fn own_cpu(run: &Run) -> f64 {
    run.cpu / run.records * 1e6
}

/// What the job has written, in files.
struct Written {
    /// rows of the table `transactions`, as COPY writes them
    rows: PathBuf,
    /// what makes such a table, without rows
    table: String,
    /// `psql` runs it: transactions of so many rows each
    upserts: PathBuf,
    /// bodies of bulks
    documents: PathBuf,
}

impl Written {
    /// Runs the job, and saves what it has written.
    fn by_a_run(bench: &Bench<'_>) -> Result<Self> {
        eprintln!("running the job once, for its rows and documents");
        let pipeline = bench.sales()?.write("into-both")?;
        Job::new("run", &pipeline)
            .on(&[Postgres, Elasticsearch])
            .run(bench)?;
        let folder = bench.folder.join(FOLDER);
        fs::create_dir_all(&folder)?;
        let written = Self {
            rows: folder.join("transactions.copy"),
            table: table(bench)?,
            upserts: folder.join("upserts.sql"),
            documents: folder.join("documents.ndjson"),
        };
        let copy = format!("\\copy transactions to '{}'", written.rows.display());
        bench.database.query(&copy)?;
        written.write_upserts(bench)?;
        let documents = written.documents.to_string_lossy();
        let saved = bench.program(["save-bulks", &documents, &bench.topic.name])?;
        ensure!(
            saved.as_u64() == Some(bench.records),
            "Elasticsearch has {saved} documents of {}",
            bench.records
        );
        Ok(written)
    }

    /// Writes the script of the limit.
    fn write_upserts(&self, bench: &Bench<'_>) -> Result<()> {
        let columns = columns(bench)?;
        let set = columns
            .iter()
            .map(|name| format!("{name} = EXCLUDED.{name}"));
        let upsert = format!(
            "INSERT INTO transactions SELECT * FROM stage ON CONFLICT (transaction_id) DO UPDATE SET {};",
            set.collect::<Vec<_>>().join(", ")
        );
        let mut script = BufWriter::new(File::create(&self.upserts)?);
        writeln!(
            script,
            "CREATE TEMPORARY TABLE stage (LIKE transactions) ON COMMIT DELETE ROWS;"
        )?;
        let mut rows = BufReader::new(File::open(&self.rows)?);
        let mut row = Vec::new();
        loop {
            let mut count = 0;
            while count < EPOCH_ROWS && rows.read_until(b'\n', &mut row)? > 0 {
                if count == 0 {
                    writeln!(script, "BEGIN;\nCOPY stage FROM STDIN;")?;
                }
                script.write_all(&row)?;
                row.clear();
                count += 1;
            }
            if count == 0 {
                return Ok(script.flush()?);
            }
            writeln!(script, "\\.\n{upsert}\nCOMMIT;")?;
        }
    }

    /// One COPY of all rows.
    fn copy(&self, bench: &Bench<'_>) -> Result<Run> {
        let copy = format!("\\copy transactions from '{}'", self.rows.display());
        self.psql(bench, || bench.database.query(&copy).map(|_| ()))
    }

    /// Epoch by epoch.
    fn upsert(&self, bench: &Bench<'_>) -> Result<Run> {
        self.psql(bench, || bench.database.run_file(&self.upserts))
    }

    /// What `psql` does, on an empty table.
    fn psql(&self, bench: &Bench<'_>, work: impl FnOnce() -> Result<()>) -> Result<Run> {
        bench.database.drop()?;
        bench.database.create()?;
        bench.database.query(&self.table)?;
        let before = bench.servers.cpu(Postgres);
        let began = Instant::now();
        work()?;
        let wall = began.elapsed().as_secs_f64();
        let used = bench.servers.cpu(Postgres).zip(before);
        Ok(Run {
            records: bench.records as f64,
            wall,
            servers: used
                .map(|(after, before)| (Postgres, after - before))
                .into_iter()
                .collect(),
            ..Run::default()
        })
    }

    /// Stores the documents in an empty index, which has the job's own template.
    fn bulks(&self, bench: &Bench<'_>) -> Result<Run> {
        bench.delete_index()?;
        let made = bench.ask_elasticsearch("PUT", &format!("/{}", bench.topic.name))?;
        ensure!(
            made.status == 200,
            "failed to make the index: {}",
            made.body
        );
        Job::new("bulks", Path::new(&self.documents))
            .argument(&bench.topic.name)
            .and_uses(&[Elasticsearch])
            .run(bench)
    }
}

/// The statement that makes the table `transactions`.
fn table(bench: &Bench<'_>) -> Result<String> {
    let columns = "SELECT string_agg(format('%I %s%s', attname, format_type(atttypid, atttypmod), \
        CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END), ', ' ORDER BY attnum) \
        FROM pg_attribute WHERE attrelid = 'transactions'::regclass AND attnum > 0";
    let key = "SELECT pg_get_constraintdef(oid) FROM pg_constraint \
        WHERE conrelid = 'transactions'::regclass AND contype = 'p'";
    let ask = |statement| -> Result<String> {
        let answer = bench.database.query(statement)?;
        Ok(answer.context("the job made no table")?.trim().to_owned())
    };
    Ok(format!(
        "CREATE TABLE transactions ({}, {})",
        ask(columns)?,
        ask(key)?
    ))
}

/// Its columns, quoted, without the key.
fn columns(bench: &Bench<'_>) -> Result<Vec<String>> {
    let ask = "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = 'transactions'::regclass \
        AND attnum > 0 AND attname <> 'transaction_id' ORDER BY attnum";
    let columns = bench.database.query(ask)?;
    let columns = columns.context("the job made no table")?;
    Ok(columns.lines().map(str::to_owned).collect())
}
