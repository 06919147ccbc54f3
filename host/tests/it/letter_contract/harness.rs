//! The kinds that the contract runs on, each as its pipeline's settings describe it.

use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::json;
use wasmill::config::{self, DeadLetters, Pipeline};
use wasmill::dead_letter::{self, DeadLetterSink, LetterStore};
use wasmill::deployment::Version;
use wasmill::epoch::{ByStage, EpochId, EpochOutput};
use wasmill::record::{DeadLetter, Origin};
use wasmill::sink::postgres::PostgresLedger;
use wasmill::sink::sqlite::SqliteLedger;
use wasmill::sink::{Ledger, SinkError};

use crate::support;
use crate::support::kafka::Topic;
use crate::support::postgres::Database;
use crate::support::rows;

/// A place of its own for the letters of one test, which is not there yet.
#[async_trait]
pub(super) trait LettersHarness: Sync {
    async fn new() -> Self
    where
        Self: Sized;

    /// A host that has started.
    async fn host(&self) -> Box<dyn Host>;

    /// What the command reads.
    fn store(&self) -> Box<dyn LetterStore>;
}

/// Whoever writes letters.
#[async_trait]
pub(super) trait Host: Send {
    /// Writes and commits an epoch with these letters.
    async fn write(&mut self, epoch: u64, letters: &[DeadLetter]);

    /// Writes an epoch again that was committed.
    async fn repeat(&mut self, epoch: u64, letters: &[DeadLetter]);

    /// Tries to, and does not come to the end of it.
    async fn fail(&mut self, epoch: u64, letters: &[DeadLetter]);

    /// Writes and commits an epoch that settles the letters of this stage about these records, and has
    /// `letters` itself.
    async fn settle(&mut self, epoch: u64, settled: (&str, &[Origin]), letters: &[DeadLetter]);

    /// Notes that another sink has the epoch, but for these.
    async fn confirm(&mut self, epoch: u64, refused: &[DeadLetter]);
}

fn pipeline(sink: &str, letters: &str, folder: &Path) -> Pipeline {
    let brokers = support::kafka();
    let text = format!(
        "[pipeline]\nname = \"shop\"\n\
         [source]\ntype = \"kafka\"\nbrokers = \"{brokers}\"\ntopic = \"sales\"\n\
         columns = [{{ name = \"id\", type = \"utf8\" }}]\n\
         [[sink]]\nname = \"db\"\n{sink}\n\
         tables = [{{ from = \"source\", table = \"sales\", key = [\"id\"] }}]\n\
         [dead_letters]\n{letters}\n"
    );
    match config::parse(&text, "pipeline.toml", folder, &|_| None) {
        Ok((pipeline, _)) => pipeline,
        Err(found) => panic!("{found}"),
    }
}

/// The version that settles letters.
pub(super) const SETTLED_BY: Version = Version(3);

fn by_stage((stage, records): (&str, &[Origin])) -> ByStage {
    [(stage.into(), records.iter().copied().collect())].into()
}

const NOWHERE: &str = "type = \"postgres\"\nurl = \"postgres://nowhere\"";

// ---- a sink of dead letters ----

/// A host with a sink, and what its journal knows of the length of a file.
struct SinkHost {
    sink: Box<dyn DeadLetterSink>,
    committed: Arc<Mutex<Option<u64>>>,
}

impl SinkHost {
    async fn start(pipeline: &Pipeline, committed: &Arc<Mutex<Option<u64>>>) -> Box<dyn Host> {
        let mut sink = dead_letter::open(&pipeline.dead_letters, "sales").unwrap();
        let known = *committed.lock().unwrap();
        let bytes = sink.recover(known).await.unwrap();
        *committed.lock().unwrap() = bytes;
        Box::new(Self {
            sink,
            committed: Arc::clone(committed),
        })
    }
}

#[async_trait]
impl Host for SinkHost {
    async fn write(&mut self, _epoch: u64, letters: &[DeadLetter]) {
        let bytes = self.sink.write(letters).await.unwrap();
        *self.committed.lock().unwrap() = bytes;
    }

    async fn repeat(&mut self, epoch: u64, letters: &[DeadLetter]) {
        self.write(epoch, letters).await;
    }

    async fn fail(&mut self, _epoch: u64, letters: &[DeadLetter]) {
        self.sink.write(letters).await.unwrap();
    }

    async fn settle(&mut self, epoch: u64, settled: (&str, &[Origin]), letters: &[DeadLetter]) {
        self.sink
            .settle(&by_stage(settled), SETTLED_BY)
            .await
            .unwrap();
        self.write(epoch, letters).await;
    }

    async fn confirm(&mut self, epoch: u64, refused: &[DeadLetter]) {
        self.write(epoch, refused).await;
    }
}

pub(super) struct LetterFile {
    pipeline: Pipeline,
    committed: Arc<Mutex<Option<u64>>>,
    _folder: tempfile::TempDir,
}

#[async_trait]
impl LettersHarness for LetterFile {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let letters = "type = \"file\"\npath = \"dead.ndjson\"";
        Self {
            pipeline: pipeline(NOWHERE, letters, folder.path()),
            committed: Arc::default(),
            _folder: folder,
        }
    }

    async fn host(&self) -> Box<dyn Host> {
        SinkHost::start(&self.pipeline, &self.committed).await
    }

    fn store(&self) -> Box<dyn LetterStore> {
        dead_letter::open_store(&self.pipeline).unwrap()
    }
}

pub(super) struct LetterTopic {
    pipeline: Pipeline,
    topic: String,
}

#[async_trait]
impl LettersHarness for LetterTopic {
    async fn new() -> Self {
        let topic = support::unique("letters");
        let letters = format!("type = \"kafka\"\ntopic = \"{topic}\"");
        Self {
            pipeline: pipeline(NOWHERE, &letters, Path::new("")),
            topic,
        }
    }

    async fn host(&self) -> Box<dyn Host> {
        SinkHost::start(&self.pipeline, &Arc::default()).await
    }

    fn store(&self) -> Box<dyn LetterStore> {
        dead_letter::open_store(&self.pipeline).unwrap()
    }
}

impl Drop for LetterTopic {
    fn drop(&mut self) {
        let topic = self.topic.clone();
        // On a thread of its own: a test's runtime does not wait inside itself.
        let _ = std::thread::spawn(move || drop(Topic::named(topic))).join();
    }
}

// ---- a ledger that keeps them ----

type MakeLedger = Arc<dyn Fn() -> Box<dyn Ledger> + Send + Sync>;

/// A host with a ledger, and what makes another one of the same pipeline.
struct LedgerHost {
    ledger: Box<dyn Ledger>,
    make: MakeLedger,
}

fn output(epoch: u64, letters: &[DeadLetter]) -> EpochOutput {
    EpochOutput {
        dead_letters: letters.to_vec(),
        ..rows::epoch(epoch, Vec::new())
    }
}

impl LedgerHost {
    async fn start(make: MakeLedger) -> Self {
        let mut ledger = make();
        ledger.prepare().await.unwrap();
        ledger.claim(&json!({}), &["search".into()]).await.unwrap();
        Self { ledger, make }
    }
}

#[async_trait]
impl Host for LedgerHost {
    async fn write(&mut self, epoch: u64, letters: &[DeadLetter]) {
        let written = self.ledger.write(&output(epoch, letters)).await;
        assert!(written.unwrap().refused.is_empty());
    }

    async fn repeat(&mut self, epoch: u64, letters: &[DeadLetter]) {
        self.write(epoch, letters).await;
    }

    async fn fail(&mut self, epoch: u64, letters: &[DeadLetter]) {
        // Somebody else takes over just before.
        drop(Self::start(Arc::clone(&self.make)).await);
        let written = self.ledger.write(&output(epoch, letters)).await;
        assert!(
            matches!(written, Err(SinkError::Fenced { .. })),
            "{written:?}"
        );
        let epoch = EpochId(epoch);
        let confirmed = self.ledger.confirm("search", epoch, letters, None).await;
        assert!(
            matches!(confirmed, Err(SinkError::Fenced { .. })),
            "{confirmed:?}"
        );
    }

    async fn settle(&mut self, epoch: u64, settled: (&str, &[Origin]), letters: &[DeadLetter]) {
        let output = EpochOutput {
            version: SETTLED_BY,
            settled: by_stage(settled),
            ..output(epoch, letters)
        };
        let written = self.ledger.write(&output).await;
        assert!(written.unwrap().refused.is_empty());
    }

    async fn confirm(&mut self, epoch: u64, refused: &[DeadLetter]) {
        let epoch = EpochId(epoch);
        let confirmed = self.ledger.confirm("search", epoch, refused, None).await;
        confirmed.unwrap();
    }
}

pub(super) struct PostgresTable(Database);

#[async_trait]
impl LettersHarness for PostgresTable {
    async fn new() -> Self {
        Self(Database::fresh().await)
    }

    async fn host(&self) -> Box<dyn Host> {
        let url = self.0.secret();
        let make = move || -> Box<dyn Ledger> {
            let ledger = PostgresLedger::new("db", "shop", &url, Vec::new()).unwrap();
            Box::new(ledger.keeping_letters("letters", "sales").unwrap())
        };
        Box::new(LedgerHost::start(Arc::new(make)).await)
    }

    fn store(&self) -> Box<dyn LetterStore> {
        let sink = format!(
            "type = \"postgres\"\nurl = \"{}\"",
            self.0.secret().reveal()
        );
        let letters = "type = \"postgres\"\ntable = \"letters\"";
        dead_letter::open_store(&pipeline(&sink, letters, Path::new(""))).unwrap()
    }
}

pub(super) struct SqliteTable(tempfile::TempDir);

#[async_trait]
impl LettersHarness for SqliteTable {
    async fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    async fn host(&self) -> Box<dyn Host> {
        let path = self.0.path().join("shop.sqlite3");
        let make = move || -> Box<dyn Ledger> {
            let ledger = SqliteLedger::new("db", "shop", &path, Vec::new()).unwrap();
            Box::new(ledger.keeping_letters(DeadLetters::TABLE, "sales").unwrap())
        };
        Box::new(LedgerHost::start(Arc::new(make)).await)
    }

    fn store(&self) -> Box<dyn LetterStore> {
        let sink = "type = \"sqlite\"\npath = \"shop.sqlite3\"";
        let pipeline = pipeline(sink, "type = \"sqlite\"", self.0.path());
        dead_letter::open_store(&pipeline).unwrap()
    }
}
