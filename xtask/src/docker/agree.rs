//! What Dockerfile, compose file, `pipeline.toml` and the workspace say of each other.
//!
//! Each function looks at one matter and returns what is wrong, in words for whoever changed a file.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use toml::Table;

use super::context::Ignore;
use super::dockerfile::{Dockerfile, Stage, Step};

/// The servers of the system that this one replaces, and those that the tests run with.
const SERVERS: [(&str, &str); 6] = [
    ("kafka", "confluentinc/cp-kafka:7.4.0"),
    ("topics", "confluentinc/cp-kafka:7.4.0"),
    ("postgres", "postgres:15"),
    (
        "elasticsearch",
        "docker.elastic.co/elasticsearch/elasticsearch:8.11.1",
    ),
    (
        "kibana-password",
        "docker.elastic.co/elasticsearch/elasticsearch:8.11.1",
    ),
    ("kibana", "docker.elastic.co/kibana/kibana:8.11.1"),
];

/// Services that run wasmill.
const OURS: [&str; 2] = ["wasmill", "generator"];

/// Services that do one thing and end.
const ONE_SHOT: [&str; 2] = ["topics", "kibana-password"];

/// Everything that has to agree.
pub(super) struct Files {
    pub(super) dockerfile: Dockerfile,
    pub(super) ignore: Ignore,
    /// the compose file as `docker-compose config` resolves it
    pub(super) compose: Value,
    pub(super) pipeline: Table,
    /// its text: variables may stand anywhere in it
    pub(super) pipeline_text: String,
    /// `channel` of `rust-toolchain.toml`
    pub(super) toolchain: String,
    /// of the workspace
    pub(super) version: String,
}

impl Files {
    /// Everything that does not agree. `root` is the repository.
    pub(super) fn problems(&self, root: &Path) -> Vec<String> {
        let [builder, runtime] = &self.dockerfile.stages[..] else {
            return vec!["the Dockerfile has two stages: a builder, and what runs".to_owned()];
        };
        [
            self.versions(builder, runtime),
            self.context(root),
            self.paths(runtime),
            self.confinement(runtime),
            self.variables(),
            self.topics(),
            self.health(runtime),
            self.services(),
        ]
        .concat()
    }

    fn versions(&self, builder: &Stage, runtime: &Stage) -> Vec<String> {
        let rust = &self.toolchain;
        let mut found = vec![
            said(
                "the builder's FROM",
                &builder.image,
                &format!("rust:{rust}-bookworm"),
            ),
            said(
                "RUSTUP_TOOLCHAIN",
                builder.env("RUSTUP_TOOLCHAIN").unwrap_or("unset"),
                rust,
            ),
            // The same Debian, and so the same C library.
            said("the second FROM", &runtime.image, "debian:bookworm-slim"),
        ];
        let ours = format!("wasmill:{}", self.version);
        let expected = SERVERS
            .into_iter()
            .chain(OURS.map(|name| (name, ours.as_str())));
        for (name, image) in expected {
            let what = format!("the image of {name}");
            found.push(said(&what, text(&self.service(name)["image"]), image));
        }
        found.into_iter().flatten().collect()
    }

    /// Sources of COPY are there, and what must not get into an image is left out.
    fn context(&self, root: &Path) -> Vec<String> {
        let mut problems = Vec::new();
        for (stage, from, source, _) in self.copies() {
            match from {
                Some(name) if stage.0 == 0 || self.stage(name).is_none() => {
                    problems.push(format!(
                        "COPY --from={name}: there is no such stage before it"
                    ));
                }
                Some(name) => {
                    let workdir = self.stage(name).map_or("/", Stage::workdir);
                    if !Path::new(source).starts_with(workdir) {
                        problems.push(format!(
                            "COPY --from={name} {source}: not below its WORKDIR {workdir}"
                        ));
                    }
                }
                None if self.ignore.covers(Path::new(source)) => {
                    problems.push(format!("COPY {source}: .dockerignore leaves it out"));
                }
                None if !root.join(source).exists() => {
                    problems.push(format!("COPY {source}: it is not in the repository"));
                }
                None => {}
            }
        }
        for path in [".env", ".git", "target"] {
            if !self.ignore.covers(Path::new(path)) {
                problems.push(format!(".dockerignore has to leave out {path}"));
            }
        }
        problems
    }

    /// The image has `pipeline.toml`, and the components where that looks for them.
    fn paths(&self, runtime: &Stage) -> Vec<String> {
        let workdir = Path::new(runtime.workdir());
        let targets: Vec<_> = self
            .copies()
            .filter(|(stage, ..)| stage.1 == runtime)
            .map(|(.., target)| workdir.join(target))
            .collect();
        let mut problems = Vec::new();
        for (name, component) in self
            .setting(&["components"])
            .and_then(toml::Value::as_table)
            .into_iter()
            .flatten()
        {
            let path = component.get("path").and_then(toml::Value::as_str);
            let path = workdir.join(path.unwrap_or_default());
            if !targets
                .iter()
                .any(|target| *target != workdir && path.starts_with(target))
            {
                problems.push(format!(
                    "no COPY brings component {name} to {}",
                    path.display()
                ));
            }
        }
        let inside = workdir.join("pipeline.toml");
        let mounted = list(&self.service("wasmill")["volumes"])
            .any(|volume| volume.ends_with(&format!("/pipeline.toml:{}:ro", inside.display())));
        if !mounted {
            problems.push(format!(
                "compose has to mount pipeline.toml at {}:ro",
                inside.display()
            ));
        }
        problems
    }

    /// No root, nothing to write to but the cache and the checkpoints.
    fn confinement(&self, runtime: &Stage) -> Vec<String> {
        let mut problems = Vec::new();
        // By number, so that Kubernetes can see that it is not root.
        if !runtime.user().is_some_and(is_no_root) {
            problems.push(
                "the image has to end with a USER by number, as 10001:10001, other than 0"
                    .to_owned(),
            );
        }
        for name in OURS {
            let service = self.service(name);
            if service["read_only"] != true || !list(&service["cap_drop"]).any(|c| c == "ALL") {
                problems.push(format!(
                    "{name} has to be read_only and to drop ALL capabilities"
                ));
            }
        }
        let cache = runtime.env("WASMILL_CACHE").unwrap_or("unset");
        let mut volumes = list(&self.service("wasmill")["volumes"]);
        if !volumes.any(|volume| volume == format!("wasmill-cache:{cache}:rw")) {
            problems.push(format!(
                "compose has to mount the volume wasmill-cache at WASMILL_CACHE ({cache})"
            ));
        }
        let Some(checkpoints) = checkpoints(&self.pipeline, runtime) else {
            return problems;
        };
        let mut volumes = list(&self.service("wasmill")["volumes"]);
        if !volumes.any(|volume| volume == format!("wasmill-checkpoints:{checkpoints}:rw")) {
            problems.push(format!(
                "compose has to mount the volume wasmill-checkpoints at `store` of `[checkpoint]` ({checkpoints})"
            ));
        }
        // A new volume takes on the owner of what the image has there.
        let mut steps = runtime.steps.iter();
        let is_made = |step: &Step| match step {
            Step::Run { command, .. } => command.split_whitespace().any(|word| word == checkpoints),
            _ => false,
        };
        if !steps.any(is_made) {
            problems.push(format!(
                "the image has to make {checkpoints} for its user: `store` of `[checkpoint]`"
            ));
        }
        problems
    }

    /// What `pipeline.toml` takes from the environment is what compose sets.
    fn variables(&self) -> Vec<String> {
        let set = &self.service("wasmill")["environment"];
        let set: BTreeSet<_> = set
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str())
            .collect();
        let read = variables(&self.pipeline_text);
        let mut problems = Vec::new();
        for name in read.difference(&set) {
            problems.push(format!(
                "pipeline.toml reads ${{{name}}}, and compose does not set it for wasmill"
            ));
        }
        for name in set
            .difference(&read)
            .filter(|name| !name.starts_with("WASMILL_"))
        {
            problems.push(format!(
                "compose sets {name} for wasmill, and pipeline.toml does not read it"
            ));
        }
        problems
    }

    /// The topics are made before wasmill starts, and the generator writes to the right one.
    fn topics(&self) -> Vec<String> {
        let topic = self
            .setting(&["source", "topic"])
            .and_then(toml::Value::as_str);
        let topic = topic.unwrap_or("nothing");
        let dead = self
            .setting(&["dead_letters", "topic"])
            .and_then(toml::Value::as_str);
        let script = list(&self.service("topics")["command"])
            .collect::<Vec<_>>()
            .join(" ");
        let words: Vec<_> = script.split([' ', ';', '\n']).collect();
        let mut problems = Vec::new();
        for topic in [Some(topic), dead].into_iter().flatten() {
            if !words.contains(&topic) {
                problems.push(format!("the service `topics` does not make {topic}"));
            }
        }
        if !words.windows(2).any(|pair| pair == ["--partitions", "4"]) {
            problems.push("the service `topics` has to make 4 partitions".to_owned());
        }
        let generate: Vec<_> = list(&self.service("generator")["command"]).collect();
        if !generate.windows(2).any(|pair| pair == ["--topic", topic]) {
            problems.push(format!("the generator has to write to {topic}"));
        }
        problems
    }

    /// The health check asks an address that only the container itself reaches.
    fn health(&self, runtime: &Stage) -> Vec<String> {
        let command = ["wasmill", "status", "pipeline.toml"];
        let mut problems = Vec::new();
        let inside = runtime
            .steps
            .iter()
            .any(|step| matches!(step, Step::Healthcheck(found) if *found == command));
        let test: Vec<_> = list(&self.service("wasmill")["healthcheck"]["test"]).collect();
        if !inside || test.split_first() != Some((&"CMD", &command[..])) {
            problems.push(format!(
                "the health check of image and compose has to be {command:?}"
            ));
        }
        let admin = self.setting(&["admin", "listen"]);
        let admin = admin.and_then(toml::Value::as_str).unwrap_or("nothing");
        let admin = expanded(admin, &self.service("wasmill")["environment"]);
        if !admin.starts_with("127.0.0.1:") {
            problems.push(format!(
                "the admin address of wasmill is {admin}; the health check needs 127.0.0.1"
            ));
        }
        problems
    }

    /// What every service has to have.
    fn services(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let services = self.compose["services"].as_object();
        for (name, service) in services.into_iter().flatten() {
            for key in ["mem_limit", "cpus", "restart", "security_opt"] {
                if service[key].is_null() {
                    problems.push(format!("{name} has no {key}"));
                }
            }
            if !ONE_SHOT.contains(&name.as_str()) && service["healthcheck"].is_null() {
                problems.push(format!("{name} has no healthcheck"));
            }
            for port in list(&service["ports"]).filter(|port| !port.starts_with("127.0.0.1:")) {
                problems.push(format!("{name} publishes {port} on more than 127.0.0.1"));
            }
            for (before, on) in service["depends_on"].as_object().into_iter().flatten() {
                let ends = ONE_SHOT.contains(&before.as_str());
                let condition = if ends {
                    "service_completed_successfully"
                } else {
                    "service_healthy"
                };
                if on["condition"] != condition {
                    problems.push(format!("{name} has to wait for {before} with {condition}"));
                }
            }
        }
        problems
    }

    /// A value of `pipeline.toml`.
    fn setting(&self, keys: &[&str]) -> Option<&toml::Value> {
        let (first, rest) = keys.split_first()?;
        let first = self.pipeline.get(*first)?;
        rest.iter().try_fold(first, |value, key| value.get(key))
    }

    fn service(&self, name: &str) -> &Value {
        &self.compose["services"][name]
    }

    fn stage(&self, name: &str) -> Option<&Stage> {
        let mut stages = self.dockerfile.stages.iter();
        stages.find(|stage| stage.name.as_deref() == Some(name))
    }

    /// Every COPY: its stage with its number, the stage it copies from, source and target.
    fn copies(&self) -> impl Iterator<Item = ((usize, &Stage), Option<&str>, &str, &str)> {
        let stages = self.dockerfile.stages.iter().enumerate();
        stages.flat_map(|stage| {
            stage.1.steps.iter().filter_map(move |step| match step {
                Step::Copy {
                    from,
                    source,
                    target,
                } => Some((stage, from.as_deref(), source.as_str(), target.as_str())),
                _ => None,
            })
        })
    }
}

/// The folder in the image that the pipeline's checkpoints are in, unless they are in a bucket.
pub(super) fn checkpoints(pipeline: &Table, runtime: &Stage) -> Option<String> {
    let store = pipeline.get("checkpoint").and_then(|it| it.get("store"));
    let store = store.and_then(toml::Value::as_str);
    let folder = store.map_or(Some("data/checkpoints"), |store| {
        store.strip_prefix("file:")
    })?;
    let path = Path::new(runtime.workdir()).join(folder);
    Some(path.display().to_string())
}

/// Whether this is a user and a group by number, neither of them 0.
pub(super) fn is_no_root(user: &str) -> bool {
    let ids: Vec<Result<u32, _>> = user.split(':').map(str::parse).collect();
    ids.len() == 2 && ids.iter().all(|id| matches!(id, Ok(1..)))
}

/// A problem, unless `found` is as `expected`.
fn said(what: &str, found: &str, expected: &str) -> Option<String> {
    (found != expected).then(|| format!("{what} is {found}, and has to be {expected}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("missing")
}

fn list(value: &Value) -> impl Iterator<Item = &str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

/// Names in `${NAME}` and `${NAME:-default}`, outside of comments; `$${` is no variable.
fn variables(pipeline: &str) -> BTreeSet<&str> {
    let lines = pipeline
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    lines
        .flat_map(|line| {
            line.match_indices("${")
                .map(move |(at, _)| line.split_at(at))
        })
        .filter(|(before, _)| !before.ends_with('$'))
        .map(|(_, found)| {
            let name = &found[2..];
            let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            &name[..end.unwrap_or(name.len())]
        })
        .collect()
}

/// `${NAME:-default}`, if that is the whole of a text, as it is with these variables.
fn expanded(text: &str, environment: &Value) -> String {
    let inside = text
        .strip_prefix("${")
        .and_then(|text| text.strip_suffix('}'));
    let Some(inside) = inside else {
        return text.to_owned();
    };
    let (name, default) = inside.split_once(":-").unwrap_or((inside, ""));
    environment[name].as_str().unwrap_or(default).to_owned()
}

#[cfg(test)]
mod tests;
