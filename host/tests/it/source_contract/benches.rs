//! What writes to each kind of source.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;

use indexmap::IndexMap;
use tempfile::TempDir;
use wasmill::config;
use wasmill::generate::{Generator, Settings};
use wasmill::record::{Origin, Partition};
use wasmill::source::{
    FileSource, GeneratorSource, KafkaSource, MemoryPartitions, MemoryRecord, Source,
};

use super::contract::{payloads, slices};
use crate::support;
use crate::support::kafka::{Record, Topic};

/// Partitions that can be filled and read.
pub(super) trait Bench {
    /// Makes so many empty partitions.
    fn create(partitions: u32) -> Self;
    /// Adds so many records to a partition; their payloads.
    fn fill(&self, partition: u32, name: &str, count: usize) -> Vec<Vec<u8>>;
    /// A source that reads them; it stands nowhere yet.
    fn source(&self) -> Box<dyn Source>;
}

/// A bench that takes any records, also while a source reads them.
pub(super) trait Append: Bench {
    /// Appends records that have nothing but a payload.
    fn append(&self, partition: u32, values: &[&[u8]]);
}

/// Appends so many records with different payloads of uneven length.
fn append_payloads(bench: &impl Append, partition: u32, name: &str, count: usize) -> Vec<Vec<u8>> {
    let payloads = payloads(name, count);
    bench.append(partition, &slices(&payloads));
    payloads
}

/// A bench whose records have keys, timestamps, any payload or none.
pub(super) trait FullRecords: Append {
    fn append_record(&self, partition: u32, record: &MemoryRecord);
}

/// A bench that loses old records.
pub(super) trait Retention: Append {
    fn delete_before(&self, partition: u32, offset: i64);
}

impl Bench for MemoryPartitions {
    fn create(partitions: u32) -> Self {
        Self::new(partitions)
    }

    fn fill(&self, partition: u32, name: &str, count: usize) -> Vec<Vec<u8>> {
        append_payloads(self, partition, name, count)
    }

    fn source(&self) -> Box<dyn Source> {
        Box::new(MemoryPartitions::source(self))
    }
}

impl Append for MemoryPartitions {
    fn append(&self, partition: u32, values: &[&[u8]]) {
        for value in values {
            self.append_record(partition, &MemoryRecord::of(value.to_vec()));
        }
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

    fn fill(&self, partition: u32, name: &str, count: usize) -> Vec<Vec<u8>> {
        append_payloads(self, partition, name, count)
    }

    fn source(&self) -> Box<dyn Source> {
        Box::new(FileSource::new(self.paths.clone()))
    }
}

impl Append for Files {
    fn append(&self, partition: u32, values: &[&[u8]]) {
        let mut lines = values.join(&b'\n');
        lines.push(b'\n');
        OpenOptions::new()
            .append(true)
            .open(&self.paths[partition as usize])
            .and_then(|mut file| file.write_all(&lines))
            .expect("written");
    }
}

/// Generated sales: partitions of the lengths that they were filled to.
pub(super) struct Generated(Mutex<Vec<u32>>);

impl Generated {
    const CONFIG: config::GeneratorSource = config::GeneratorSource {
        seed: 7,
        ..config::GeneratorSource::DEFAULT
    };
}

impl Bench for Generated {
    fn create(partitions: u32) -> Self {
        Self(Mutex::new(vec![0; partitions as usize]))
    }

    fn fill(&self, partition: u32, _: &str, count: usize) -> Vec<Vec<u8>> {
        let mut lengths = self.0.lock().expect("no test of it panics");
        let length = &mut lengths[partition as usize];
        let generator = Generator::new(Settings {
            seed: Self::CONFIG.seed,
            ..Settings::default()
        });
        let offsets = i64::from(*length)..;
        *length += u32::try_from(count).expect("a small number");
        let payload = |offset| {
            let mut payload = Vec::new();
            let origin = Origin {
                partition: Partition(partition),
                offset,
            };
            assert!(generator.generate(origin).render(&mut payload));
            payload
        };
        offsets.take(count).map(payload).collect()
    }

    fn source(&self) -> Box<dyn Source> {
        let lengths = self.0.lock().expect("no test of it panics");
        Box::new(GeneratorSource::with_lengths(&Self::CONFIG, &lengths))
    }
}

impl Bench for Topic {
    fn create(partitions: u32) -> Self {
        Topic::create("source_contract", partitions)
    }

    fn fill(&self, partition: u32, name: &str, count: usize) -> Vec<Vec<u8>> {
        append_payloads(self, partition, name, count)
    }

    fn source(&self) -> Box<dyn Source> {
        kafka_source(&support::kafka(), self.name(), &[]).expect("allowed")
    }
}

impl Append for Topic {
    fn append(&self, partition: u32, values: &[&[u8]]) {
        self.write(values.iter().map(|&value| Record {
            partition,
            value: Some(value),
            ..Record::default()
        }));
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
        on_lost: config::OnLost::Stop,
        properties: properties
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned()))
            .collect::<IndexMap<_, _>>(),
    };
    Ok(Box::new(KafkaSource::new(&config, "source-contract")?))
}
