//! The shipped pipeline as a process of its own, on a topic, a database and an index that no other
//! test uses.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio_postgres::NoTls;
use wasmill::generate::Settings;

use super::binary::program;
use super::elastic::Elastic;
use super::kafka::Topic;
use super::{elasticsearch, kafka, postgres, unique};

/// What the runs that [`Job::start`] starts have logged, in the folder of the job.
pub(crate) const LOG: &str = "wasmill.log";

/// One sales job.
pub(crate) struct Job {
    folder: TempDir,
    pub(crate) topic: String,
    pub(crate) index: String,
    pub(crate) database_url: String,
    /// where its admin server listens
    pub(crate) admin: SocketAddr,
}

impl Job {
    /// A job with a database of its own and no topic yet. `edit` changes the shipped pipeline's text.
    pub(crate) async fn new(prefix: &str, edit: impl FnOnce(String) -> String) -> Self {
        let name = unique(prefix);
        let database_url = create_database(&name).await;
        let repository = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
        let shipped = std::fs::read_to_string(repository.join("pipeline.toml"))
            .expect("the repository ships a pipeline");
        let guests = std::fs::canonicalize(repository.join("target/guests"))
            .expect("`cargo xtask guests` has built the components");
        let text = [
            ("target/guests", guests.to_str().expect("a path in UTF-8")),
            ("\"financial_transactions", &format!("\"{name}")),
            ("index = \"transactions\"", &format!("index = \"{name}\"")),
        ]
        .into_iter()
        .fold(shipped, |text, (from, to)| {
            assert!(text.contains(from), "the shipped pipeline has {from}");
            text.replace(from, to)
        });
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("pipeline.toml"), edit(text)).expect("room for a file");
        Self {
            folder,
            topic: name.clone(),
            index: name,
            database_url,
            admin: free_address(),
        }
    }

    /// The topic of its dead letters.
    pub(crate) fn dead_letter_topic(&self) -> String {
        format!("{}.dead", self.topic)
    }

    /// `wasmill` with these arguments, and the servers of the tests in its environment.
    pub(crate) fn wasmill(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(args)
            .current_dir(self.folder.path())
            .env("KAFKA_BROKERS", kafka())
            .env("DATABASE_URL", &self.database_url)
            .env("ELASTICSEARCH_URL", elasticsearch())
            .env("ADMIN_LISTEN", self.admin.to_string())
            .stdin(Stdio::null());
        command
    }

    /// Fills its topic.
    pub(crate) fn generate(&self, settings: &Settings, partitions: u32, count: u64) {
        succeed(self.wasmill(&[
            "generate",
            "--topic",
            &self.topic,
            "--partitions",
            &partitions.to_string(),
            "--count",
            &count.to_string(),
            "--seed",
            &settings.seed.to_string(),
            "--bad",
            &settings.bad_share.to_string(),
            "--duplicates",
            &settings.duplicates.to_string(),
        ]));
    }

    /// A file in its folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Changes its pipeline.
    pub(crate) fn edit(&self, edit: impl FnOnce(String) -> String) {
        let path = self.folder.path().join("pipeline.toml");
        let text = std::fs::read_to_string(&path).expect("the job has a pipeline");
        std::fs::write(path, edit(text)).expect("room for a file");
    }

    /// Runs to the end of the topic; what it printed.
    pub(crate) fn run_once(&self) -> String {
        succeed(self.wasmill(&["run", "pipeline.toml", "--once"]))
    }

    /// Starts a run that goes on until it is told to stop. Its log goes to the file [`LOG`].
    pub(crate) fn start(&self) -> Child {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path(LOG))
            .expect("room for a log");
        self.wasmill(&["run", "pipeline.toml"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary was built with the tests")
    }

    /// What the runs that were started have logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path(LOG)).unwrap_or_default()
    }

    /// The last committed epoch, 0 while there is none.
    pub(crate) async fn last_epoch(&self) -> u64 {
        let sql = "SELECT coalesce(max(epoch), 0)::bigint FROM wasmill_epochs";
        let row = self.database().await.query_one(sql, &[]).await;
        row.map_or(0, |row| row.get::<_, i64>(0).unsigned_abs())
    }

    /// Waits until this epoch is committed.
    ///
    /// # Panics
    ///
    /// After two minutes, with what `log`, a file in the folder, says.
    pub(crate) async fn wait_for_epoch(&self, epoch: u64, log: &str) {
        let started = Instant::now();
        while self.last_epoch().await < epoch {
            let log = || std::fs::read_to_string(self.path(log)).unwrap_or_default();
            let waited = started.elapsed();
            assert!(waited < Duration::from_mins(2), "no progress: {}", log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// `host:port` of its database's server.
    pub(crate) fn database_server(&self) -> String {
        let (_, rest) = self.database_url.split_once("://").expect("a URL");
        let (authority, _) = rest.split_once('/').expect("the name of a database");
        let server = authority.rsplit_once('@').map_or(authority, |(_, s)| s);
        let port = if server.contains(':') { "" } else { ":5432" };
        format!("{server}{port}")
    }

    /// A connection to its database.
    pub(crate) async fn database(&self) -> tokio_postgres::Client {
        connect(&self.database_url).await
    }
}

impl Drop for Job {
    /// Leaves nothing on the servers. What fails here fails no test: it has its result already.
    fn drop(&mut self) {
        let (database, index) = (self.topic.clone(), self.index.clone());
        let topics = [self.topic.clone(), self.dead_letter_topic()];
        // On a thread of its own: a test's runtime does not wait inside itself.
        let cleaning = std::thread::spawn(move || {
            drop(topics.map(Topic::named));
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let server = connect(&postgres()).await;
                let drop = format!("DROP DATABASE \"{database}\" WITH (FORCE)");
                let _ = server.batch_execute(&drop).await;
                Elastic::new(&elasticsearch()).remove(&index).await;
            });
        });
        let _ = cleaning.join();
    }
}

/// An address of this machine that nobody has now.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the system has free ports");
    listener.local_addr().expect("it is bound")
}

/// Runs a command that has to work; its standard output.
pub(crate) fn succeed(mut command: Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .output()
        .expect("the binary was built with the tests");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr),
    );
    assert!(status.success(), "{status}\n{stdout}\n{stderr}");
    stdout.into_owned()
}

/// Waits for a process to end by itself.
pub(crate) fn wait_for_exit(child: &mut Child, limit: Duration) -> std::process::ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child of ours") {
            return status;
        }
        if started.elapsed() > limit {
            child.kill().expect("a child of ours");
            panic!("the process still ran after {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends a signal to a child: "TERM", "KILL", "INT".
pub(crate) fn send_signal(child: &Child, signal: &str) {
    let status = Command::new("kill")
        .args([&format!("-{signal}"), &child.id().to_string()])
        .status()
        .expect("every system has kill");
    assert!(status.success(), "kill -{signal} {}", child.id());
}

async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .expect("the tests' PostgreSQL runs");
    tokio::spawn(connection);
    client
}

async fn create_database(name: &str) -> String {
    let server = postgres();
    connect(&server)
        .await
        .batch_execute(&format!("CREATE DATABASE \"{name}\""))
        .await
        .expect("the tests' user may create databases");
    let (base, _) = server
        .rsplit_once('/')
        .expect("the URL ends in a database's name");
    format!("{base}/{name}")
}
