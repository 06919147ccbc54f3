//! Kafka: one node that is broker and controller (`KRaft` mode).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::account::Account;
use super::download::{Artifact, Download};
use super::kafka_protocol;
use super::server::{Facts, Home, Server};
use crate::signal::Signal;
use crate::{group, tools};

/// "wasmill-services", in the form in which Kafka takes 16 bytes. One node is a cluster of its own,
/// so the id need not be unique.
const CLUSTER_ID: &str = "d2FzbWlsbC1zZXJ2aWNlcw";

const LOGGING: &str = "<Configuration>
  <Appenders>
    <Console name=\"console\"><PatternLayout pattern=\"%d %p %m (%c)%n\"/></Console>
  </Appenders>
  <Loggers><Root level=\"warn\"><AppenderRef ref=\"console\"/></Root></Loggers>
</Configuration>
";

static FACTS: Facts = Facts {
    name: "kafka",
    variable: "WASMILL_TEST_KAFKA",
    pipeline_variable: Some("KAFKA_BROKERS"),
    ports: 2,
    needs: &[tools::Tool::Java],
    download: Some(Download {
        folder: "kafka-4.1.0",
        megabytes: 43,
        goal: "copy-dependencies",
        arguments: &["-DincludeScope=runtime"],
        dependencies: &[
            Artifact {
                group: "org.apache.kafka",
                name: "kafka_2.13",
                version: "4.1.0",
            },
            Artifact {
                group: "org.apache.logging.log4j",
                name: "log4j-slf4j-impl",
                version: "2.24.3",
            },
        ],
    }),
    stop_signal: Signal::Terminate,
    crash_signal: Signal::Kill,
    stop_deadline: Duration::from_secs(20),
};

/// The Kafka server.
pub(super) struct Kafka;

impl Server for Kafka {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn prepare(&self, home: &Home, account: &Account, ports: &[u16]) -> Result<Command> {
        home.write("log4j2.xml", LOGGING)?;
        let data = home.path.join("data");
        if !data.exists() {
            format_storage(home, account, ports, &data)?;
        }
        let settings = home.write("server.properties", &properties(ports, &data))?;
        let mut command = java(home, account)?;
        command.args(["-Xmx512m", "kafka.Kafka"]).arg(settings);
        Ok(command)
    }

    fn address(&self, ports: &[u16]) -> String {
        format!("127.0.0.1:{}", ports[0])
    }

    fn probe(&self, address: &str) -> Result<()> {
        let brokers = kafka_protocol::brokers(address)?;
        ensure!(brokers > 0, "the broker has not joined its cluster yet");
        Ok(())
    }
}

/// Formats the storage under another name first, so that an interrupted run leaves nothing that looks done.
fn format_storage(home: &Home, account: &Account, ports: &[u16], data: &Path) -> Result<()> {
    let part = home.path.join("data.part");
    if part.exists() {
        fs::remove_dir_all(&part)
            .with_context(|| format!("failed to remove {}", part.display()))?;
    }
    let settings = home.write("format.properties", &properties(ports, &part))?;
    account.own(&home.path)?;
    let mut command = java(home, account)?;
    command
        .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"])
        .arg(settings);
    group::run_logged(&mut command, &home.path.join("format.log"))?;
    fs::rename(&part, data).with_context(|| format!("failed to put {} in place", data.display()))
}

/// `java` with Kafka's classes; the JVM's options and the class follow.
fn java(home: &Home, account: &Account) -> Result<Command> {
    let java: PathBuf = tools::java_home()?.join("bin/java");
    let mut command = account.command(java);
    command
        .arg("-cp")
        .arg(home.dist.join("*"))
        .arg(format!(
            "-Dlog4j2.configurationFile={}",
            home.path.join("log4j2.xml").display()
        ))
        .current_dir(&home.path);
    Ok(command)
}

/// `server.properties`.
fn properties(ports: &[u16], data: &Path) -> String {
    let (broker, controller) = (ports[0], ports[1]);
    let data = data.display();
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
# There is nobody to replicate to.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
# Retention goes by the records' own time stamps and would delete records from the past.
log.retention.hours=-1
auto.create.topics.enable=false
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_name_the_ports_and_the_data() {
        let text = properties(&[20_001, 20_002], Path::new("/data/kafka"));
        let value = |key: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once('='));
            lines.find(|(name, _)| *name == key).map(|(_, value)| value)
        };
        assert_eq!(
            value("listeners"),
            Some("PLAINTEXT://127.0.0.1:20001,CONTROLLER://127.0.0.1:20002")
        );
        assert_eq!(
            value("advertised.listeners"),
            Some("PLAINTEXT://127.0.0.1:20001")
        );
        assert_eq!(value("controller.quorum.voters"), Some("1@127.0.0.1:20002"));
        assert_eq!(value("log.dirs"), Some("/data/kafka"));
    }

    #[test]
    fn no_internal_topic_waits_for_a_second_broker() {
        let text = properties(&[1, 2], Path::new("/data"));
        let factors: Vec<_> = text
            .lines()
            .filter(|line| line.contains("replication.factor") || line.contains("min.isr"))
            .collect();
        assert_eq!(factors.len(), 5);
        assert!(
            factors.iter().all(|line| line.ends_with("=1")),
            "{factors:?}"
        );
    }
}
