//! What writes to each kind of source.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use indexmap::IndexMap;
use tempfile::TempDir;
use wasmill::config;
use wasmill::record::Partition;
use wasmill::source::{FileSource, KafkaSource, MemoryPartitions, MemoryRecord, Source};

use crate::support;
use crate::support::kafka::{Record, Topic};

/// Partitions that can be written to and read.
pub(super) trait Bench {
    /// Makes so many empty partitions.
    fn create(partitions: u32) -> Self;
    /// Appends records that have nothing but a payload.
    fn append(&self, partition: u32, values: &[&[u8]]);
    /// A source that reads them; it stands nowhere yet.
    fn source(&self) -> Box<dyn Source>;
}

/// A bench whose records have keys, timestamps, any payload or none.
pub(super) trait FullRecords: Bench {
    fn append_record(&self, partition: u32, record: &MemoryRecord);
}

/// A bench that loses old records.
pub(super) trait Retention: Bench {
    fn delete_before(&self, partition: u32, offset: i64);
}

impl Bench for MemoryPartitions {
    fn create(partitions: u32) -> Self {
        Self::new(partitions)
    }

    fn append(&self, partition: u32, values: &[&[u8]]) {
        for value in values {
            self.append_record(partition, &MemoryRecord::of(value.to_vec()));
        }
    }

    fn source(&self) -> Box<dyn Source> {
        Box::new(MemoryPartitions::source(self))
    }
}

impl FullRecords for MemoryPartitions {
    fn append_record(&self, partition: u32, record: &MemoryRecord) {
        MemoryPartitions::append(self, Partition(partition), record.clone());
    }
}

impl Retention for MemoryPartitions {
    fn delete_before(&self, partition: u32, offset: i64) {
        MemoryPartitions::delete_before(self, Partition(partition), offset);
    }
}

/// Files in a folder of their own.
pub(super) struct Files {
    _folder: TempDir,
    paths: Vec<PathBuf>,
}

impl Bench for Files {
    fn create(partitions: u32) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let paths: Vec<_> = (0..partitions)
            .map(|partition| folder.path().join(format!("{partition}.ndjson")))
            .collect();
        for path in &paths {
            fs::write(path, b"").expect("written");
        }
        Self {
            _folder: folder,
            paths,
        }
    }

    fn append(&self, partition: u32, values: &[&[u8]]) {
        let mut lines = values.join(&b'\n');
        lines.push(b'\n');
        OpenOptions::new()
            .append(true)
            .open(&self.paths[partition as usize])
            .and_then(|mut file| file.write_all(&lines))
            .expect("written");
    }

    fn source(&self) -> Box<dyn Source> {
        Box::new(FileSource::new(self.paths.clone()))
    }
}

impl Bench for Topic {
    fn create(partitions: u32) -> Self {
        Topic::create("source_contract", partitions)
    }

    fn append(&self, partition: u32, values: &[&[u8]]) {
        self.write(values.iter().map(|&value| Record {
            partition,
            value: Some(value),
            ..Record::default()
        }));
    }

    fn source(&self) -> Box<dyn Source> {
        kafka_source(&support::kafka(), self.name(), &[]).expect("allowed")
    }
}

impl FullRecords for Topic {
    fn append_record(&self, partition: u32, record: &MemoryRecord) {
        self.write([Record {
            partition,
            timestamp_ms: record.timestamp_ms,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
        }]);
    }
}

impl Retention for Topic {
    fn delete_before(&self, partition: u32, offset: i64) {
        Topic::delete_before(self, partition, offset);
    }
}

/// A Kafka source with properties.
pub(super) fn kafka_source(
    brokers: &str,
    topic: &str,
    properties: &[(&str, &str)],
) -> Result<Box<dyn Source>, wasmill::source::SourceError> {
    let config = config::KafkaSource {
        brokers: brokers.to_owned(),
        topic: topic.to_owned(),
        start: config::Start::Earliest,
        properties: properties
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned()))
            .collect::<IndexMap<_, _>>(),
    };
    Ok(Box::new(KafkaSource::new(&config, "source-contract")?))
}
