//! What it was measured on: figures of one machine say nothing about another.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::Session;
use crate::{http, tools, workspace};

/// What is known of it, each under a name.
pub(super) struct Machine(Vec<(&'static str, String)>);

impl Machine {
    /// Looks at this machine, the servers and the code. What cannot be told is left out.
    pub(super) fn look(programs: &Path, session: &Session) -> Result<Self> {
        let root = workspace::root();
        let cores = std::thread::available_parallelism()?;
        let binary = programs.join("wasmill");
        let size = fs::metadata(&binary)
            .with_context(|| format!("failed to find {}", binary.display()))?
            .len();
        let facts = [
            ("processor", line_of("/proc/cpuinfo", "model name")),
            ("cores", Some(cores.to_string())),
            ("memory", line_of("/proc/meminfo", "MemTotal")),
            ("kernel", printed(Command::new("uname").arg("-sr"))),
            (
                "rustc",
                printed(Command::new("rustc").arg("--version").current_dir(root)),
            ),
            (
                "commit",
                printed(
                    Command::new("git")
                        .args(["describe", "--always", "--dirty", "--abbrev=12"])
                        .current_dir(root),
                ),
            ),
            ("wasmill", Some(format!("{size} bytes, not stripped"))),
            ("PostgreSQL", postgres(session)),
            ("Elasticsearch", elasticsearch(session)),
            ("Kafka", kafka(session)),
        ];
        let known = facts.into_iter();
        Ok(Self(
            known
                .filter_map(|(name, fact)| Some((name, fact?)))
                .collect(),
        ))
    }

    pub(super) fn json(&self) -> Value {
        let facts = self.0.iter();
        let facts = facts.map(|(name, fact)| ((*name).to_owned(), json!(fact)));
        Value::Object(facts.collect::<Map<_, _>>())
    }

    pub(super) fn text(&self) -> String {
        let facts = self.0.iter().map(|(name, fact)| format!("{name}: {fact}"));
        facts.collect::<Vec<_>>().join("\n")
    }
}

/// What stands behind the colon of the first line that begins with `key`.
fn line_of(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn printed(command: &mut Command) -> Option<String> {
    let output = command
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned())
}

fn postgres(session: &Session) -> Option<String> {
    let psql = tools::postgres("psql").ok()?;
    let ask = ["-XAtc", "SHOW server_version", session.postgres()];
    printed(Command::new(psql).args(ask))
}

fn elasticsearch(session: &Session) -> Option<String> {
    let authority = http::authority(session.elasticsearch())?;
    let path = "/_nodes/_local?filter_path=nodes.*.version";
    let answer = http::request("GET", &authority, path).ok()?;
    let answer: Value = serde_json::from_str(&answer.body).ok()?;
    let nodes = answer["nodes"].as_object()?;
    Some(nodes.values().next()?["version"].as_str()?.to_owned())
}

/// A broker tells its version nowhere; ours have it in the name of their folder.
fn kafka(session: &Session) -> Option<String> {
    let mut programs = session.programs().iter();
    let (_, path) = programs.find(|(name, _)| *name == "WASMILL_TEST_KAFKA_CLASSPATH")?;
    let folder = Path::new(path).components().find_map(|part| {
        let name = part.as_os_str().to_str()?;
        name.strip_prefix("kafka-")
    });
    folder.map(str::to_owned)
}
