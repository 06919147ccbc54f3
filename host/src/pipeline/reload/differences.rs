//! What differs between two versions of a pipeline: for a person, and to know what a reload can do.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::config::{DeadLetters, KafkaSource, Pipeline, Secret, SinkKind, SourceKind};
use crate::pipeline::Plan;
use crate::sink::differences;

/// All that differs.
#[derive(Debug, Default)]
pub(super) struct Differences {
    /// of the logic: rows and states depend on it
    pub(super) logic: Vec<String>,
    /// of what else takes effect at once
    pub(super) settings: Vec<String>,
    /// of what a run keeps from its start to its end
    pub(super) fixed: Vec<String>,
}

impl Differences {
    /// Between the logic that runs, with the settings that hold beside it, and what is wanted.
    pub(super) fn between((running, holds): (&Plan, &Pipeline), wanted: &Plan) -> Self {
        let (before, after) = (holds, wanted.pipeline());
        Self {
            logic: texts(running.logic(), wanted.logic()),
            settings: texts(&settings(before), &settings(after)),
            fixed: texts(&fixed(before), &fixed(after)),
        }
    }

    /// What takes effect.
    pub(super) fn live(&self) -> Vec<String> {
        self.logic.iter().chain(&self.settings).cloned().collect()
    }
}

fn texts(before: &Value, after: &Value) -> Vec<String> {
    let differences = differences(before, after);
    differences.iter().map(ToString::to_string).collect()
}

fn settings(pipeline: &Pipeline) -> Value {
    json!({
        "commit": {
            "max_rows": pipeline.commit.max_rows,
            "max_wait": format!("{:?}", pipeline.commit.max_wait),
        },
        "checkpoint": {
            "interval": format!("{:?}", pipeline.checkpoint.interval),
            "keep": pipeline.checkpoint.keep,
        },
        "shutdown": { "timeout": format!("{:?}", pipeline.shutdown.timeout) },
        "reload": {
            "watch": pipeline.reload.watch,
            "probation": format!("{:?}", pipeline.reload.probation),
            "rejected_share": pipeline.reload.rejected_share,
            "keep": pipeline.reload.keep,
        },
        "log": { "level": pipeline.log_level },
        "admin": pipeline.admin.as_ref().map(|admin| {
            let token = admin.token.as_ref();
            json!({
                "listen": admin.listen.to_string(),
                "token": token.map(|token| hidden(token.reveal())),
            })
        }),
    })
}

fn fixed(pipeline: &Pipeline) -> Value {
    let sinks = pipeline
        .sinks
        .iter()
        .map(|sink| (sink.name.clone(), server(&sink.kind)));
    json!({
        "pipeline": {
            "name": pipeline.name,
            "takeover": pipeline.takeover,
            "workers": pipeline.workers,
        },
        "source": source(&pipeline.source.kind),
        "source.deduplicate": pipeline.source.deduplicate.as_ref().map(|d| json!([d.key, d.last])),
        "commit": { "in_flight": pipeline.commit.in_flight },
        "checkpoint": { "store": pipeline.checkpoint.location.to_string() },
        "sink": Value::Object(sinks.collect()),
        "dead_letters": letters(&pipeline.dead_letters),
    })
}

fn source(kind: &SourceKind) -> Value {
    match kind {
        SourceKind::Kafka(KafkaSource {
            brokers,
            topic,
            start,
            on_lost,
            properties,
        }) => {
            let secret = |(key, value): (&String, &String)| (key.clone(), hidden(value));
            json!({
                "type": "kafka",
                "brokers": brokers,
                "topic": topic,
                "start": format!("{start:?}"),
                "on_lost": format!("{on_lost:?}"),
                "properties": Value::Object(properties.iter().map(secret).collect()),
            })
        }
        SourceKind::Generator(generator) => json!({
            "type": "generator",
            "settings": format!("{generator:?}"),
        }),
        SourceKind::File { paths } => json!({ "type": "file", "paths": paths }),
    }
}

fn server(kind: &SinkKind) -> Value {
    let url = |url: &Secret| hidden(url.reveal());
    match kind {
        SinkKind::Postgres {
            url: at, timeout, ..
        } => json!({ "type": "postgres", "url": url(at), "timeout": format!("{timeout:?}") }),
        SinkKind::Sqlite { path, .. } => json!({ "type": "sqlite", "path": path }),
        SinkKind::Elasticsearch {
            url: at,
            timeout,
            on_unavailable,
            ..
        } => json!({
            "type": "elasticsearch",
            "url": url(at),
            "timeout": format!("{timeout:?}"),
            "on_unavailable": format!("{on_unavailable:?}"),
        }),
    }
}

fn letters(letters: &DeadLetters) -> Value {
    match letters {
        DeadLetters::Kafka {
            brokers,
            topic,
            properties,
        } => {
            let secret = |(key, value): (&String, &String)| (key.clone(), hidden(value));
            let properties: Map<String, Value> = properties.iter().map(secret).collect();
            json!({ "type": "kafka", "brokers": brokers, "topic": topic, "properties": properties })
        }
        DeadLetters::File { path } => json!({ "type": "file", "path": path }),
        DeadLetters::Table { table } => json!({ "type": "table", "table": table }),
    }
}

/// Something that is not to be shown, by which one sees whether it has changed.
fn hidden(secret: &str) -> Value {
    let digest = Sha256::digest(secret);
    Value::String(format!(
        "(not shown, {:02x}{:02x}{:02x})",
        digest[0], digest[1], digest[2]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipeline(admin: &str) -> Pipeline {
        let text = format!(
            r#"
[pipeline]
name = "shop"

[source]
type = "generator"
columns = [{{ name = "id", from = "transactionId", type = "utf8" }}]

[[sink]]
name = "db"
type = "sqlite"
path = "shop.sqlite3"
tables = [{{ from = "source", table = "sales", key = ["id"] }}]

[dead_letters]
type = "sqlite"
{admin}"#
        );
        let base = std::path::Path::new("shop");
        let parsed = crate::config::parse(&text, "pipeline.toml", base, &|_| None);
        parsed.unwrap().0
    }

    #[test]
    fn admin_is_a_setting_whose_token_is_not_shown() {
        let listen = "[admin]\nlisten = \"127.0.0.1:8080\"\n";
        let before = pipeline(&format!("{listen}token = \"0123456789abcdef\""));
        let after = pipeline(&format!("{listen}token = \"fedcba9876543210\""));
        let changes = texts(&settings(&before), &settings(&after));
        let [change] = &changes[..] else {
            panic!("{changes:?}");
        };
        assert!(
            change.starts_with("admin.token was \"(not shown, "),
            "{change}"
        );
        for secret in ["0123456789abcdef", "fedcba9876543210"] {
            assert!(!change.contains(secret), "{change}");
        }
        assert_eq!(texts(&settings(&before), &settings(&before)), [""; 0]);

        let without = pipeline("");
        let changes = texts(&settings(&without), &settings(&before));
        assert!(
            changes[0].starts_with("admin was null, is now "),
            "{changes:?}"
        );
        assert!(!changes[0].contains("0123456789abcdef"), "{changes:?}");
        assert_eq!(texts(&fixed(&without), &fixed(&before)), [""; 0]);
    }
}
