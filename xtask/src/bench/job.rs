//! One run of `wasmill-bench` in a process of its own, so that CPU time and memory are its own.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::results::Figure;
use super::servers::Server;
use super::{Bench, turns};
use crate::{group, http};

/// What to run.
#[derive(Debug, Clone)]
pub(super) struct Job {
    stage: &'static str,
    pipeline: PathBuf,
    arguments: Vec<String>,
    servers: Vec<Server>,
    /// whether what it writes to is emptied before
    empties: bool,
    /// other than those of the topic of this invocation
    records: Option<u64>,
}

/// What a run took.
#[derive(Debug, Clone, Default)]
pub(super) struct Run {
    pub(super) records: f64,
    /// from the first poll to the last commit, s
    pub(super) wall: f64,
    /// of the process, once it was ready, s
    pub(super) cpu: f64,
    /// from the start of the process until it was ready, s
    pub(super) start: f64,
    /// of the process until then, s
    pub(super) start_cpu: f64,
    /// bytes
    pub(super) memory_peak: f64,
    /// of the servers that take part, s; those that are seen
    pub(super) servers: BTreeMap<Server, f64>,
    /// time in stages, s
    pub(super) stages: BTreeMap<String, f64>,
    /// CPU time inside of calls of the chain, where a clock was put around them, s
    pub(super) calls: Option<f64>,
}

impl Job {
    /// A stage of `wasmill-bench` on a pipeline.
    pub(super) fn new(stage: &'static str, pipeline: &Path) -> Self {
        Self {
            stage,
            pipeline: pipeline.to_owned(),
            arguments: Vec::new(),
            servers: Vec::new(),
            empties: false,
            records: None,
        }
    }

    /// With one more argument.
    pub(super) fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// With servers whose CPU time is told; what it writes to is emptied before.
    pub(super) fn on(mut self, servers: &[Server]) -> Self {
        self.empties = true;
        self.and_uses(servers)
    }

    /// With servers whose CPU time is told, and which are left as they are.
    pub(super) fn and_uses(mut self, servers: &[Server]) -> Self {
        self.servers = servers.to_vec();
        self
    }

    /// With so many records to read.
    pub(super) fn of_records(mut self, records: u64) -> Self {
        self.records = Some(records);
        self
    }

    /// Runs it once, and makes sure that it read all records.
    pub(super) fn run(&self, bench: &Bench<'_>) -> Result<Run> {
        if self.empties && self.servers.contains(&Server::Postgres) {
            bench.database.drop()?;
            bench.database.create()?;
        }
        if self.empties && self.servers.contains(&Server::Elasticsearch) {
            bench.delete_index()?;
        }
        let due = self.records.unwrap_or(bench.records);
        observed(bench, &self.servers, (self.stage, due), || {
            let arguments = [OsStr::new(self.stage), self.pipeline.as_os_str()].into_iter();
            let arguments = arguments.chain(self.arguments.iter().map(OsStr::new));
            bench.program(arguments)
        })
    }

    /// Runs it as often as a row is.
    pub(super) fn runs(&self, bench: &Bench<'_>) -> Result<Vec<Run>> {
        let [runs] = turns::take(bench.runs, [&|| self.run(bench)])?;
        Ok(runs)
    }
}

impl Run {
    fn parse(printed: &Value) -> Result<Self> {
        let figure = |name: &str| {
            let figure = printed[name].as_f64();
            figure.with_context(|| format!("the stage did not print `{name}`"))
        };
        let stages = printed["stages"].as_object().into_iter().flatten();
        Ok(Self {
            records: figure("records")?,
            wall: figure("wall")?,
            cpu: figure("cpu")?,
            start: figure("start")?,
            start_cpu: figure("start_cpu")?,
            memory_peak: figure("memory_peak")?,
            servers: BTreeMap::new(),
            stages: stages
                .filter_map(|(name, time)| Some((name.clone(), time.as_f64()?)))
                .collect(),
            calls: printed["calls"].as_f64(),
        })
    }
}

/// Has `program` run and print what it took, and makes sure that it read all records that were due. The servers' CPU
/// time is told too.
pub(super) fn observed(
    bench: &Bench<'_>,
    servers: &[Server],
    (what, due): (&str, u64),
    program: impl FnOnce() -> Result<Value>,
) -> Result<Run> {
    let cpu = |server: &Server| Some((*server, bench.servers.cpu(*server)?));
    let before: Vec<_> = servers.iter().filter_map(cpu).collect();
    let mut run = Run::parse(&program()?)?;
    for (server, before) in before {
        let after = bench.servers.cpu(server).context("the server is gone")?;
        run.servers.insert(server, after - before);
    }
    ensure!(
        run.records as u64 == due,
        "{what} read {} records of {due}",
        run.records
    );
    Ok(run)
}

/// What every row of runs tells. CPU time is in seconds a million records, which is µs a record.
pub(super) fn figures(runs: &[Run]) -> Vec<Figure> {
    let of = |value: &dyn Fn(&Run) -> f64| runs.iter().map(value).collect::<Vec<_>>();
    let mut figures = vec![Figure::new(
        "rate",
        "records/s",
        of(&|run| run.records / run.wall),
    )];
    // `psql` is no process of ours.
    if runs.iter().all(|run| run.cpu > 0.0) {
        figures.extend([
            Figure::new("CPU", "s/million", of(&|run| run.cpu / run.records * 1e6)),
            Figure::new("a CPU-second", "records", of(&|run| run.records / run.cpu)),
            Figure::new("peak memory", "MB", of(&|run| run.memory_peak / 1e6)),
            Figure::new("start", "s", of(&|run| run.start)),
            Figure::new("start, CPU", "s", of(&|run| run.start_cpu)),
        ]);
    }
    let first = runs.first().into_iter();
    for server in first.flat_map(|run| run.servers.keys()) {
        let cpu = |run: &Run| run.servers[server] / run.records * 1e6;
        let what = format!("{} CPU", server.name());
        figures.push(Figure::new(what, "s/million", of(&cpu)));
    }
    figures
}

impl Bench<'_> {
    /// Runs `wasmill-bench`, and returns the JSON of its last line.
    pub(super) fn program<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Value> {
        let printed = group::output(
            Command::new(self.programs.join("wasmill-bench"))
                .args(arguments)
                .env("WASMILL_CACHE", self.folder.join("cache"))
                .env("DATABASE_URL", self.database.url())
                .env("ELASTICSEARCH_URL", self.session.elasticsearch()),
        )?;
        let last = printed.lines().last();
        let last = last.context("wasmill-bench printed nothing")?;
        serde_json::from_str(last).context("wasmill-bench printed no JSON")
    }

    /// Deletes the index of the sales job, if it is there.
    pub(super) fn delete_index(&self) -> Result<()> {
        let path = format!("/{}?ignore_unavailable=true", self.topic.name);
        let answer = self.ask_elasticsearch("DELETE", &path)?;
        ensure!(
            answer.status == 200,
            "failed to delete the index: {}",
            answer.body
        );
        Ok(())
    }

    /// Deletes the index and its template, which the job has made.
    pub(super) fn forget_index(&self) -> Result<()> {
        self.delete_index()?;
        let path = format!("/_index_template/wasmill-{}", self.topic.name);
        // There is none where no row wrote to the index.
        self.ask_elasticsearch("DELETE", &path).map(|_| ())
    }

    /// Sends Elasticsearch a request without a body.
    pub(super) fn ask_elasticsearch(&self, method: &str, path: &str) -> Result<http::Response> {
        let authority = http::authority(self.session.elasticsearch());
        let authority = authority.context("Elasticsearch has no http:// URL")?;
        http::request(method, &authority, path)
    }
}
