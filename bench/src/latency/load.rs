//! Records at a rate, and when each of them was made.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use wasmill::generate::{Generator, Settings};
use wasmill::record::{Origin, Partition};

/// For answers of the brokers.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Sleeps are no shorter: records whose time has come meanwhile are written together.
const NAP: Duration = Duration::from_millis(1);
/// Records between two looks at the clock where no rate bounds them.
const STRIDE: u64 = 64;

/// A producer that is the only one of its topic.
pub(super) struct Load {
    producer: ThreadedProducer<DefaultProducerContext>,
    topic: String,
    generator: Generator,
    partitions: Vec<Made>,
}

/// What was written to a partition.
struct Made {
    /// the offset of the first record
    first: i64,
    /// when each was made, in order of offset
    moments: Vec<Instant>,
}

impl Load {
    pub(super) fn open(brokers: &str, topic: &str) -> anyhow::Result<Self> {
        let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("compression.type", "lz4")
            // Keeps the records of a partition in order, so that the nth one has the nth offset.
            .set("enable.idempotence", "true")
            .set("linger.ms", "2")
            .set("queue.buffering.max.kbytes", "65536")
            .create()?;
        let metadata = producer.client().fetch_metadata(Some(topic), TIMEOUT)?;
        let found = metadata.topics().first().context("there is no topic")?;
        let ends = found.partitions().iter().map(|partition| {
            let (_, first) = producer
                .client()
                .fetch_watermarks(topic, partition.id(), TIMEOUT)?;
            let moments = Vec::new();
            Ok(Made { first, moments })
        });
        Ok(Self {
            partitions: ends.collect::<Result<_, KafkaError>>()?,
            producer,
            topic: topic.to_owned(),
            generator: Generator::new(Settings::default()),
        })
    }

    /// Writes so many records a second for so long, at least one.
    pub(super) fn write(&mut self, rate: f64, length: Duration) -> anyhow::Result<()> {
        let began = Instant::now();
        let due = (rate * length.as_secs_f64()).max(1.0) as u64;
        let mut written = 0;
        while written < due {
            let elapsed = began.elapsed();
            if rate.is_finite() {
                let now = (rate * elapsed.as_secs_f64()) as u64 + 1;
                for index in written..now.min(due) {
                    self.write_one(index)?;
                }
                written = now.min(due);
                thread::sleep(NAP);
            } else if elapsed < length {
                for index in written..written + STRIDE {
                    self.write_one(index)?;
                }
                written += STRIDE;
            } else {
                break;
            }
        }
        Ok(())
    }

    fn write_one(&mut self, index: u64) -> anyhow::Result<()> {
        let number = (index % self.partitions.len() as u64) as usize;
        let partition = &mut self.partitions[number];
        let origin = Origin {
            partition: Partition(number as u32),
            offset: partition.end(),
        };
        let record = self.generator.generate(origin);
        let mut value = Vec::with_capacity(512);
        record.render(&mut value);
        let mut message = BaseRecord::<str, [u8]>::to(&self.topic)
            .partition(number as i32)
            .payload(&value);
        let mut made = Instant::now();
        loop {
            match self.producer.send(message) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    message = back;
                    thread::sleep(NAP);
                    // It waits for no pipeline yet.
                    made = Instant::now();
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
        partition.moments.push(made);
        Ok(())
    }

    /// Waits until the brokers have everything.
    pub(super) fn flush(&self) -> anyhow::Result<()> {
        Ok(self.producer.flush(TIMEOUT)?)
    }

    /// The next offset of each partition.
    pub(super) fn ends(&self) -> Vec<i64> {
        self.partitions.iter().map(Made::end).collect()
    }

    /// When a record was made; `None` where it was there before.
    pub(super) fn moment(&self, partition: usize, offset: i64) -> Option<Instant> {
        let made = self.partitions.get(partition)?;
        let index = usize::try_from(offset - made.first).ok()?;
        made.moments.get(index).copied()
    }
}

impl Made {
    fn end(&self) -> i64 {
        self.first + self.moments.len() as i64
    }
}
