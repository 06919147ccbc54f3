//! Elasticsearch: Elastic's own build for integration tests, single node, without security.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::account::Account;
use super::download::Download;
use super::server::{Facts, Home, Server};
use crate::signal::Signal;
use crate::{http, tools};

/// Everything of the distribution's own file that matters here, without its logs of the collector.
const JVM_OPTIONS: &str = "-Xms512m
-Xmx512m
-XX:+UseG1GC
-XX:TieredStopAtLevel=1
-Djava.io.tmpdir=${ES_TMPDIR}
";

const LOGGING: &str = "appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %p [%c{1.}] %m%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
";

static FACTS: Facts = Facts {
    name: "elasticsearch",
    variable: "WASMILL_TEST_ELASTICSEARCH",
    pipeline_variable: Some("ELASTICSEARCH_URL"),
    ports: 2,
    needs: &[tools::Tool::Java],
    download: Some(Download {
        folder: "elasticsearch-8.11.1",
        megabytes: 81,
        goal: "unpack",
        arguments: &[
            "-Dartifact=org.elasticsearch.distribution.integ-test-zip:elasticsearch:8.11.1:zip",
        ],
        dependencies: &[],
    }),
    stop_signal: Signal::Terminate,
    crash_signal: Signal::Kill,
    stop_deadline: Duration::from_secs(30),
};

/// The Elasticsearch server.
pub(super) struct Elasticsearch;

impl Server for Elasticsearch {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn prepare(&self, home: &Home, account: &Account, ports: &[u16]) -> Result<Command> {
        for folder in ["config", "data", "tmp"] {
            let path = home.path.join(folder);
            fs::create_dir_all(&path)
                .with_context(|| format!("failed to create {}", path.display()))?;
        }
        home.write("config/elasticsearch.yml", &settings(ports, &home.path))?;
        home.write("config/jvm.options", JVM_OPTIONS)?;
        home.write("config/log4j2.properties", LOGGING)?;
        // The archive has its own folder inside.
        let binary = home.dist.join("elasticsearch-8.11.1/bin/elasticsearch");
        let mut command = account.command(binary);
        command
            .env("ES_JAVA_HOME", tools::java_home()?)
            .env("ES_PATH_CONF", home.path.join("config"))
            .env("ES_TMPDIR", home.path.join("tmp"))
            .env_remove("ES_JAVA_OPTS")
            .current_dir(&home.path);
        Ok(command)
    }

    fn address(&self, ports: &[u16]) -> String {
        format!("http://127.0.0.1:{}", ports[0])
    }

    fn probe(&self, address: &str) -> Result<()> {
        let authority = http::authority(address).context("not an http address")?;
        let response = http::request("GET", &authority, "/_cluster/health")?;
        ensure!(response.status == 200, "it answers {}", response.status);
        let health: serde_json::Value = serde_json::from_str(&response.body)?;
        let status = health["status"].as_str().unwrap_or("unknown");
        ensure!(
            matches!(status, "green" | "yellow"),
            "its health is {status}"
        );
        Ok(())
    }
}

/// `elasticsearch.yml`.
fn settings(ports: &[u16], home: &Path) -> String {
    let (http, transport) = (ports[0], ports[1]);
    // Single quotes: YAML then takes every character of a path for itself.
    let path = |folder| {
        format!(
            "'{}'",
            home.join(folder).display().to_string().replace('\'', "''")
        )
    };
    format!(
        "cluster.name: wasmill
node.name: wasmill
path.data: {data}
path.logs: {logs}
network.host: 127.0.0.1
http.port: {http}
transport.port: {transport}
discovery.type: single-node
xpack.security.enabled: false
# A disk that is nearly full must not make indices read-only in the middle of a test.
cluster.routing.allocation.disk.threshold_enabled: false
",
        data = path("data"),
        logs = path("tmp"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_name_the_ports_and_quote_the_paths() {
        let text = settings(&[20_003, 20_004], Path::new("/it's here"));
        assert!(text.contains("\nhttp.port: 20003\n"));
        assert!(text.contains("\ntransport.port: 20004\n"));
        assert!(text.contains("\npath.data: '/it''s here/data'\n"));
    }
}
