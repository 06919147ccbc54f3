//! The validated pipeline: plain values, which every other module takes its settings from.
//!
//! # Invariants
//!
//! 1. What is here has been checked as far as the text alone allows: names, references, bounds.
//! 2. A [`Secret`] shows itself to nobody but the client library that needs it.
//!
//! # Not here
//!
//! How it is made of text, with errors that point into it: [`super::validate`].

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;

use super::{Checkpoint, Places, Sink, Span, Written, units};
use crate::schema::{DataType, Schema};

/// A validated `pipeline.toml`. Names of streams (`source`, transforms, aggregates) are unique, and
/// every `from` names a stream that stands before it.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// `pipeline.name`
    pub name: String,
    /// `pipeline.takeover`: whether a start takes the pipeline from a host that runs it, or waits until
    /// that one has stopped; default true
    pub takeover: bool,
    /// `pipeline.workers`: threads that decode and call guests; default: number of cores
    pub workers: usize,
    /// `[source]`
    pub source: Source,
    /// `[commit]`
    pub commit: Commit,
    /// `[checkpoint]`
    pub checkpoint: Checkpoint,
    /// `[shutdown]`
    pub shutdown: Shutdown,
    /// `[components.*]` by name
    pub components: IndexMap<String, Component>,
    /// `[[transform]]` in order
    pub transforms: Vec<Transform>,
    /// `[[aggregate]]` in order
    pub aggregates: Vec<Aggregate>,
    /// `[[sink]]` in order; exactly one is PostgreSQL or SQLite
    pub sinks: Vec<Sink>,
    /// `[dead_letters]`
    pub dead_letters: DeadLetters,
    /// `[admin]`; without it, nobody can ask
    pub admin: Option<Admin>,
    /// `[reload]`
    pub reload: Reload,
    /// `log.level`: what is logged where neither `--log-level` nor `WASMILL_LOG` says it; default info
    pub log_level: Option<String>,
    /// where everything stands in the file, finer than the `span` of its items
    pub places: Places,
    /// what it was read from
    pub written: Written,
}

/// `[source]`
#[derive(Debug, Clone)]
pub struct Source {
    /// where records are read
    pub kind: SourceKind,
    /// the declared columns, in order
    pub columns: Vec<SourceColumn>,
    /// the same as a schema
    pub schema: Schema,
    /// `[source.deduplicate]`; without it, every record counts
    pub deduplicate: Option<Deduplicate>,
}

/// `[source.deduplicate]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deduplicate {
    /// declared columns, at least one: records with the same values in all of them are one record
    pub key: Vec<String>,
    /// how many keys of each partition are remembered; default 1,000,000
    pub last: u32,
}

/// `source.type` with what belongs to it.
#[derive(Debug, Clone)]
pub enum SourceKind {
    /// `type = "kafka"`
    Kafka(KafkaSource),
    /// `type = "generator"`
    Generator(GeneratorSource),
    /// `type = "file"`: ndjson, one file is one partition, in this order
    File {
        /// absolute, or relative to the working directory
        paths: Vec<PathBuf>,
    },
}

/// `type = "generator"`: synthetic sales, see [`crate::generate`]
#[derive(Debug, Clone, PartialEq)]
pub struct GeneratorSource {
    /// how many partitions there are; default 4
    pub partitions: u32,
    /// another seed, other records; default 0
    pub seed: u64,
    /// the dates of the sales are spread over so many days; default 400
    pub days: u32,
    /// the share of faulty records, 0 to 1; default 0
    pub bad_share: f64,
    /// the share of records that repeat one before them in their partition, 0 to 0.9; default 0
    pub duplicates: f64,
    /// records a second, all partitions together; `None`: as fast as they are read
    pub rate: Option<f64>,
    /// records in all, dealt out to the partitions in turn; `None`: without end
    pub records: Option<u64>,
}

impl GeneratorSource {
    /// What holds where `[source]` says nothing.
    pub const DEFAULT: Self = Self {
        partitions: 4,
        seed: 0,
        days: 400,
        bad_share: 0.0,
        duplicates: 0.0,
        rate: None,
        records: None,
    };
}

/// `type = "kafka"`
#[derive(Clone)]
pub struct KafkaSource {
    /// `host:port`, separated by commas
    pub brokers: String,
    /// the one topic
    pub topic: String,
    /// where to begin when nothing was committed yet
    pub start: Start,
    /// what to do about offsets that were deleted before they were read; default stop
    pub on_lost: OnLost,
    /// librdkafka properties, passed through
    pub properties: IndexMap<String, String>,
}

impl fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSource")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .field("start", &self.start)
            .field("on_lost", &self.on_lost)
            .field("properties", &PropertyNames(&self.properties))
            .finish()
    }
}

/// librdkafka properties without their values, some of which are passwords.
struct PropertyNames<'a>(&'a IndexMap<String, String>);

impl fmt::Debug for PropertyNames<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// `source.start`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// from the oldest record
    Earliest,
    /// from what comes next
    Latest,
}

/// `source.on_lost`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnLost {
    /// stop and say what is gone
    Stop,
    /// go on at the oldest offset that is left, and count
    Skip,
}

/// One of `source.columns`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceColumn {
    /// the column's name
    pub name: String,
    /// where its value is found
    pub from: ColumnFrom,
    /// its type
    pub ty: DataType,
    /// whether it may be missing or null
    pub nullable: bool,
}

/// Where the value of a source column is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnFrom {
    /// a JSON field; more than one name for nested objects (`a.b`)
    Json(Vec<String>),
    /// `@key`: utf8 or binary
    Key,
    /// `@timestamp`: timestamp
    Timestamp,
    /// `@partition`: int64
    Partition,
    /// `@offset`: int64
    Offset,
}

/// `[commit]`
#[derive(Debug, Clone, Copy)]
pub struct Commit {
    /// an epoch ends after so many records; default 10,000
    pub max_rows: usize,
    /// or after this time since its first record; default 1 s
    pub max_wait: Duration,
    /// complete epochs that wait for the ledger or are in its hands at most; default 2, as is 1
    pub in_flight: usize,
}

/// `[components.NAME]`
#[derive(Debug, Clone)]
pub struct Component {
    /// the `.wasm` file
    pub path: PathBuf,
    /// its bounds
    pub limits: Limits,
    /// where it stands in the file
    pub span: Span,
}

/// Bounds of one guest instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// bytes of linear memory and tables; default 64 MiB
    pub memory: u64,
    /// for one call with a full batch; default 1 s
    pub time: Duration,
    /// bytes that one call may hand back; default an eighth of `memory`
    pub output: u64,
}

/// `[[transform]]`
#[derive(Debug, Clone)]
pub struct Transform {
    /// the stream that it makes
    pub name: String,
    /// the stream that it reads
    pub from: String,
    /// name of its component
    pub component: String,
    /// JSON for the guest's `configure`, environment variables expanded
    pub config: serde_json::Value,
    /// where it stands in the file
    pub span: Span,
}

/// `[[aggregate]]`
#[derive(Debug, Clone)]
pub struct Aggregate {
    /// the stream that it makes
    pub name: String,
    /// the stream that it reads
    pub from: String,
    /// name of its component
    pub component: String,
    /// JSON for the guest's `configure`, environment variables expanded
    pub config: serde_json::Value,
    /// columns that groups are made by
    pub key: Vec<String>,
    /// how time is cut
    pub window: Window,
    /// what becomes of the records that came before it, where it is new to a pipeline
    pub backfill: Backfill,
    /// where it stands in the file
    pub span: Span,
}

/// `backfill` of an aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backfill {
    /// `"none"`: it begins with the next record
    None,
    /// `"earliest"`: it gets all that the topic still has
    Earliest,
}

/// `window` of an aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Window {
    /// `kind = "none"`: one state a key for ever
    None,
    /// `kind = "tumbling"`: windows that touch and never overlap, in UTC
    Tumbling {
        /// their length
        every: Every,
        /// the timestamp column that decides
        time: String,
    },
}

/// The length of a tumbling window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {
    /// a fixed span of µs ("24h", "15m"), aligned to 1970-01-01T00:00:00Z
    Micros(i64),
    /// calendar days, aligned to 1970-01-01
    Days(u32),
    /// calendar weeks, aligned to Monday
    Weeks(u32),
    /// calendar months, aligned to January 1970
    Months(u32),
    /// calendar years, aligned to 1970
    Years(u32),
}

impl fmt::Display for Every {
    /// As `pipeline.toml` has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, unit) = match *self {
            Self::Micros(micros) => {
                let length = Duration::from_micros(micros.unsigned_abs());
                return f.write_str(&units::show_duration(length));
            }
            Self::Days(count) => (count, "day"),
            Self::Weeks(count) => (count, "week"),
            Self::Months(count) => (count, "month"),
            Self::Years(count) => (count, "year"),
        };
        let plural = if count == 1 { "" } else { "s" };
        write!(f, "{count} {unit}{plural}")
    }
}

/// A value from which no message, log or API may quote.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// The value itself, for the client library alone.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// `[shutdown]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shutdown {
    /// how long a run may take to commit the epoch in hand and to write a checkpoint, once it was told
    /// to stop
    pub timeout: Duration,
}

impl Shutdown {
    /// What holds where `[shutdown]` says nothing: a second less than what Docker waits for.
    pub const DEFAULT: Self = Self {
        timeout: Duration::from_secs(9),
    };
}

/// `[admin]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// where questions about the running pipeline are answered
    pub listen: SocketAddr,
    /// what whoever changes the running pipeline has to know; without it, only this machine may
    pub token: Option<Secret>,
}

/// `[reload]`
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reload {
    /// whether a change of the pipeline's file or of a component's asks for a reload
    pub watch: bool,
    /// how long a new version is watched, and the one before ready to come back; zero for not at all
    pub probation: Duration,
    /// by how much the share of rejected records may rise in the probation, from 0 to 1
    pub rejected_share: f64,
    /// how many former versions one can go back to, at least 1
    pub keep: usize,
}

impl Reload {
    /// What holds where `[reload]` says nothing.
    pub const DEFAULT: Self = Self {
        watch: true,
        probation: Duration::from_secs(30),
        rejected_share: 0.01,
        keep: 10,
    };
}

/// `[dead_letters]`
#[derive(Clone)]
pub enum DeadLetters {
    /// `type = "kafka"`
    Kafka {
        /// default: the source's
        brokers: String,
        /// created when it is missing
        topic: String,
        /// librdkafka properties, passed through
        properties: IndexMap<String, String>,
    },
    /// `type = "file"`: one JSON object a line
    File {
        /// created when it is missing
        path: PathBuf,
    },
    /// `type = "postgres"` or `"sqlite"`: a table beside those of the sink that keeps the journal,
    /// written in its transactions
    Table {
        /// its name, in PostgreSQL perhaps with a schema; created when it is missing
        table: String,
    },
}

impl DeadLetters {
    /// The table of `type = "postgres"` and `"sqlite"` where nobody names another one.
    pub const TABLE: &'static str = "wasmill_dead_letters";
}

impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kafka {
                brokers,
                topic,
                properties,
            } => f
                .debug_struct("Kafka")
                .field("brokers", brokers)
                .field("topic", topic)
                .field("properties", &PropertyNames(properties))
                .finish(),
            Self::File { path } => f.debug_struct("File").field("path", path).finish(),
            Self::Table { table } => f.debug_struct("Table").field("table", table).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_has_no_passwords() {
        let properties = IndexMap::from([("sasl.password".to_owned(), "hunter2".to_owned())]);
        let source = KafkaSource {
            brokers: "localhost:9092".to_owned(),
            topic: "sales".to_owned(),
            start: Start::Earliest,
            on_lost: OnLost::Stop,
            properties: properties.clone(),
        };
        let letters = DeadLetters::Kafka {
            brokers: "localhost:9092".to_owned(),
            topic: "dead".to_owned(),
            properties,
        };
        let url = Secret::new("postgres://me:hunter2@db/sales".to_owned());
        let admin = Admin {
            listen: ([127, 0, 0, 1], 8080).into(),
            token: Some(Secret::new("hunter2-hunter2-hunter2".to_owned())),
        };
        let shown = format!("{source:?} {letters:?} {url:?} {admin:?}");
        assert!(shown.contains("sasl.password"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn the_length_of_a_window_is_shown_as_it_is_written() {
        for text in [
            "1 day", "2 weeks", "1 month", "3 years", "24h", "15m", "90s",
        ] {
            assert_eq!(units::every(text).unwrap().to_string(), text);
        }
    }
}
