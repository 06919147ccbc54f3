//! Kafka brokers of a test's own, which it may stop, kill and have stand still.
//!
//! They are started from the jars that the shared broker runs on. Each has one address for as long as
//! the test lasts, so clients find it again after a restart. The first one is the controller too; the
//! others can be killed without taking the cluster with them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::metadata::MetadataTopic;
use tempfile::TempDir;

use super::job::{send_signal, wait_for_exit};
use super::required;

/// For what takes some ten seconds on a quiet machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// The name of a cluster, in the form in which Kafka takes 16 bytes. Clusters of other tests have other
/// ports.
const CLUSTER_ID: &str = "d2FzbWlsbC1icm9rZXJz";

const LOGGING: &str = "<Configuration>
  <Appenders>
    <Console name=\"console\"><PatternLayout pattern=\"%d %p %m (%c)%n\"/></Console>
  </Appenders>
  <Loggers><Root level=\"warn\"><AppenderRef ref=\"console\"/></Root></Loggers>
</Configuration>
";

/// Some brokers that know each other.
pub(crate) struct Cluster {
    nodes: Vec<Node>,
    folder: TempDir,
}

struct Node {
    port: u16,
    folder: PathBuf,
    /// `None` while it does not run
    process: Option<Child>,
}

impl Cluster {
    /// Starts so many brokers, and waits until all of them serve clients.
    pub(crate) fn start(brokers: usize) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("log4j2.xml"), LOGGING).expect("room for a file");
        let ports = free_ports(brokers + 1);
        let nodes = ports[1..].iter().zip(1..).map(|(&port, id)| Node {
            port,
            folder: folder.path().join(id.to_string()),
            process: None,
        });
        let mut cluster = Self {
            nodes: nodes.collect(),
            folder,
        };
        let formats: Vec<Child> = (0..brokers)
            .map(|index| cluster.format(index, ports[0]))
            .collect();
        for (index, mut format) in formats.into_iter().enumerate() {
            let ended = wait_for_exit(&mut format, PATIENCE);
            assert!(ended.success(), "{ended}: {}", cluster.log(index));
        }
        for index in 0..brokers {
            cluster.run(index);
        }
        cluster.wait_until_all_serve();
        cluster
    }

    /// `host:port` of all of them.
    pub(crate) fn addresses(&self) -> String {
        let addresses = self.nodes.iter().map(Node::address);
        addresses.collect::<Vec<_>>().join(",")
    }

    /// Ends a broker in good order: it hands over what it leads, if there is anybody.
    pub(crate) fn stop(&mut self, index: usize) {
        let mut process = self.take(index);
        send_signal(&process, "TERM");
        wait_for_exit(&mut process, PATIENCE);
    }

    /// Kills a broker.
    pub(crate) fn kill(&mut self, index: usize) {
        let mut process = self.take(index);
        process.kill().expect("a child of ours");
        process.wait().expect("a child of ours");
    }

    /// Has a broker stand still: it keeps its connections and answers nothing.
    pub(crate) fn suspend(&self, index: usize) {
        send_signal(self.process(index), "STOP");
    }

    /// Has it go on.
    pub(crate) fn resume(&self, index: usize) {
        send_signal(self.process(index), "CONT");
    }

    /// Starts a broker again at its address, and waits until all that run serve clients.
    pub(crate) fn restart(&mut self, index: usize) {
        self.run(index);
        self.wait_until_all_serve();
    }

    /// The index of the broker that leads a partition.
    pub(crate) fn leader_of(&self, topic: &str, partition: i32) -> usize {
        let client = self.client();
        let started = Instant::now();
        loop {
            assert!(started.elapsed() < PATIENCE, "nobody leads {topic}");
            let Ok(metadata) = client.fetch_metadata(Some(topic), Duration::from_secs(5)) else {
                continue;
            };
            let partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
            let found = partitions
                .filter(|found| found.id() == partition && found.error().is_none())
                .find_map(|found| usize::try_from(found.leader() - 1).ok());
            if let Some(index) = found {
                return index;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn process(&self, index: usize) -> &Child {
        let process = self.nodes[index].process.as_ref();
        process.expect("the broker runs")
    }

    fn take(&mut self, index: usize) -> Child {
        let process = self.nodes[index].process.take();
        process.expect("the broker runs")
    }

    fn format(&self, index: usize, controller: u16) -> Child {
        let node = &self.nodes[index];
        fs::create_dir_all(&node.folder).expect("room for a folder");
        let settings = properties(node, index, controller, self.nodes.len());
        fs::write(node.settings(), settings).expect("room for a file");
        let mut command = self.java(node);
        command
            .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"])
            .arg(node.settings());
        command.spawn().expect("Java starts")
    }

    fn run(&mut self, index: usize) {
        let node = &self.nodes[index];
        let mut command = self.java(node);
        command
            .args(["-Xmx256m", "kafka.Kafka"])
            .arg(node.settings());
        self.nodes[index].process = Some(command.spawn().expect("Java starts"));
    }

    /// Java with Kafka's classes; the class and its arguments follow.
    fn java(&self, node: &Node) -> Command {
        let log = File::options().create(true).append(true).open(node.log());
        let log = log.expect("room for a log");
        let logging = self.folder.path().join("log4j2.xml");
        let mut command = Command::new(required("WASMILL_TEST_KAFKA_JAVA"));
        command
            .args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"])
            .arg(required("WASMILL_TEST_KAFKA_CLASSPATH"))
            .arg(format!("-Dlog4j2.configurationFile={}", logging.display()))
            .current_dir(&node.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("an open file"))
            .stderr(log);
        command
    }

    fn client(&self) -> BaseConsumer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.addresses());
        // What it says of brokers that are not there yet helps nobody.
        config.set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg);
        config.create().expect("a client")
    }

    /// Waits until each broker that runs says of itself that it does.
    fn wait_until_all_serve(&self) {
        let running = self.nodes.iter().enumerate();
        for (index, _) in running.filter(|(_, node)| node.process.is_some()) {
            self.wait_until_serving(index);
        }
    }

    fn wait_until_serving(&self, index: usize) {
        let started = Instant::now();
        let client = self.client();
        let id = i32::try_from(index + 1).expect("few");
        loop {
            let metadata = client.fetch_metadata(None, Duration::from_secs(1));
            if let Ok(metadata) = metadata
                && metadata.brokers().iter().any(|broker| broker.id() == id)
            {
                return;
            }
            let waited = started.elapsed();
            assert!(waited < PATIENCE, "not ready: {}", self.log(index));
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn log(&self, index: usize) -> String {
        fs::read_to_string(self.nodes[index].log()).unwrap_or_default()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in self
            .nodes
            .iter_mut()
            .filter_map(|node| node.process.as_mut())
        {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Node {
    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn settings(&self) -> PathBuf {
        self.folder.join("server.properties")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }
}

/// `server.properties`. Brokers that are dead are noticed within seconds.
fn properties(node: &Node, index: usize, controller: u16, brokers: usize) -> String {
    let (id, port, data) = (index + 1, node.port, node.folder.join("data"));
    let (roles, listeners) = if index == 0 {
        let both = format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}");
        ("broker,controller", both)
    } else {
        ("broker", format!("PLAINTEXT://127.0.0.1:{port}"))
    };
    format!(
        "process.roles={roles}
node.id={id}
controller.quorum.voters=1@127.0.0.1:{controller}
listeners={listeners}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={}
default.replication.factor={brokers}
offsets.topic.replication.factor={brokers}
offsets.topic.num.partitions=1
transaction.state.log.replication.factor={brokers}
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor={brokers}
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.cleaner.backoff.ms=200
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
log.retention.hours=-1
auto.create.topics.enable=false
",
        Path::display(&data)
    )
}

/// Ports that nobody has, below those that the system gives to outgoing connections: nobody takes one
/// while its broker is down just by connecting somewhere.
fn free_ports(count: usize) -> Vec<u16> {
    static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let start = 20_000 + (std::process::id() % 10_000) as u16;
    let all = (start..32_000).chain(20_000..start);
    let mut ports = Vec::new();
    for port in all {
        if ports.len() == count {
            break;
        }
        let is_free = || TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if !taken.contains(&port) && is_free() {
            taken.insert(port);
            ports.push(port);
        }
    }
    assert_eq!(ports.len(), count, "there are no free ports");
    ports
}
