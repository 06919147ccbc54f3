//! Produces the records of letters to their topic again, as they were: value, key, headers, time.
//!
//! # Invariants
//!
//! 1. What is counted as delivered is at every replica that is in step (`acks = all`), once.
//! 2. After the first record that was not delivered none is handed over any more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};
use thiserror::Error;

use super::connection::client_config;
use super::message::{OURS, REPLAYED_FROM};
use crate::config::KafkaSource;
use crate::dead_letter::StoredLetter;
use crate::record::Origin;

/// How long a question to the brokers may take.
const ANSWER_WAIT: Duration = Duration::from_secs(15);

/// How long a record may take to be acknowledged.
const DELIVERY_TIMEOUT_MS: &str = "60000";

/// While a full queue empties.
const QUEUE_WAIT: Duration = Duration::from_millis(2);

/// Between two looks at whether the last records were delivered.
const FLUSH_WAIT: Duration = Duration::from_millis(200);

/// To which partition of the topic a record goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionChoice {
    /// The one that it was read from: there its producer has put its key, by whatever rule, and there
    /// the records of this key are deduplicated.
    Same,
    /// The one of its key as Java's clients choose (murmur2).
    Java,
    /// The one of its key as librdkafka chooses (CRC-32).
    Librdkafka,
}

/// What went wrong with a replay.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The settings of the client.
    #[error("failed to set up the Kafka client: {0}")]
    Client(String),
    /// No broker answers, or it refuses.
    #[error("failed to ask Kafka at {brokers} about topic `{topic}`: {reason}")]
    Ask {
        /// of the source
        brokers: String,
        /// of the source
        topic: String,
        /// what the client says
        reason: String,
    },
    /// The topic has lost partitions.
    #[error(
        "record {partition}:{offset} was in a partition that topic `{topic}` does not have, it has {partitions}: let its key choose one with --by-key"
    )]
    NoPartition {
        /// of the record
        partition: u32,
        /// of the record
        offset: i64,
        /// of the source
        topic: String,
        /// how many it has
        partitions: usize,
    },
    /// The client did not even queue a record.
    #[error("failed to hand record {partition}:{offset} to the Kafka client: {reason}")]
    Send {
        /// of the record
        partition: u32,
        /// of the record
        offset: i64,
        /// what the client says
        reason: String,
    },
}

/// What came of a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// records that the topic has
    pub records: u64,
    /// records that it does not have, or of which nobody knows
    pub lost: u64,
    /// the record that was lost first, and why
    pub first_loss: Option<(Origin, String)>,
}

/// A source's topic that records are produced to.
pub struct ReplayTopic {
    producer: ThreadedProducer<Deliveries>,
    topic: String,
    partitions: usize,
    choice: PartitionChoice,
}

/// Counts what the brokers say.
#[derive(Clone, Default)]
struct Deliveries(Arc<Counts>);

#[derive(Default)]
struct Counts {
    delivered: AtomicU64,
    lost: AtomicU64,
    first_loss: Mutex<Option<(Origin, String)>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Origin>;

    fn delivery(&self, result: &DeliveryResult<'_>, origin: Box<Origin>) {
        match result {
            Ok(_) => {
                self.0.delivered.fetch_add(1, Ordering::Relaxed);
            }
            Err((error, _)) => {
                self.0.note_loss(*origin, explain(error));
            }
        }
    }
}

impl Counts {
    fn note_loss(&self, origin: Origin, reason: String) {
        let mut first = self
            .first_loss
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert((origin, reason));
        self.lost.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a person can do, where the client's words do not say it.
fn explain(error: &KafkaError) -> String {
    match error.rdkafka_error_code() {
        Some(code @ RDKafkaErrorCode::InvalidTimestamp) => format!(
            "{code}: the topic takes no record of that time (its settings `message.timestamp.before.max.ms` and `message.timestamp.after.max.ms`)"
        ),
        Some(code @ RDKafkaErrorCode::TopicAuthorizationFailed) => {
            format!("{code}: the user of the source's properties may not write to the topic")
        }
        Some(code) => code.to_string(),
        None => error.to_string(),
    }
}

impl ReplayTopic {
    /// The topic of this source. Asks the brokers about it.
    ///
    /// # Errors
    ///
    /// [`ReplayError`]
    pub fn open(source: &KafkaSource, choice: PartitionChoice) -> Result<Self, ReplayError> {
        let mut config = client_config(&source.brokers, &source.properties);
        configure(&mut config, choice);
        let producer: ThreadedProducer<Deliveries> = config
            .create_with_context(Deliveries::default())
            .map_err(|error| {
                ReplayError::Client(match error {
                    KafkaError::ClientConfig(_, reason, name, _) => {
                        format!("source.properties, `{name}`: {reason}")
                    }
                    other => other.to_string(),
                })
            })?;
        let ask = |reason: String| ReplayError::Ask {
            brokers: source.brokers.clone(),
            topic: source.topic.clone(),
            reason,
        };
        let metadata = producer
            .client()
            .fetch_metadata(Some(&source.topic), ANSWER_WAIT)
            .map_err(|error| ask(error.to_string()))?;
        let found = metadata.topics().iter().find(|t| t.name() == source.topic);
        let partitions = found.map_or(0, |topic| topic.partitions().len());
        if partitions == 0 {
            return Err(ask("there is no such topic".to_owned()));
        }
        Ok(Self {
            producer,
            topic: source.topic.clone(),
            partitions,
            choice,
        })
    }

    /// Hands the record of a letter over, waiting while the queue is full. `false`: one before it was
    /// not delivered, so it was not taken.
    ///
    /// # Errors
    ///
    /// [`ReplayError`]
    pub fn send(&self, letter: &StoredLetter) -> Result<bool, ReplayError> {
        let counts = &self.producer.context().0;
        let origin = letter.origin;
        let (partition, offset) = (origin.partition.0, origin.offset);
        let mut record: BaseRecord<'_, [u8], [u8], Box<Origin>> =
            BaseRecord::with_opaque_to(&self.topic, Box::new(origin)).headers(headers(letter));
        record.key = letter.key.as_deref();
        record.payload = letter.value.as_deref();
        record.timestamp = letter.timestamp_ms;
        if self.choice == PartitionChoice::Same {
            if partition as usize >= self.partitions {
                return Err(ReplayError::NoPartition {
                    partition,
                    offset,
                    topic: self.topic.clone(),
                    partitions: self.partitions,
                });
            }
            record.partition = Some(partition as i32);
        }
        loop {
            if counts.lost.load(Ordering::Relaxed) > 0 {
                return Ok(false);
            }
            match self.producer.send(record) {
                Ok(()) => return Ok(true),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    thread::sleep(QUEUE_WAIT);
                }
                Err((error, _)) => {
                    return Err(ReplayError::Send {
                        partition,
                        offset,
                        reason: explain(&error),
                    });
                }
            }
        }
    }

    /// Records that the topic has so far.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.producer.context().0.delivered.load(Ordering::Relaxed)
    }

    /// Waits for every record that was handed over.
    #[must_use]
    pub fn finish(self) -> Delivered {
        // Ends because the client gives each record up after its time.
        while self.producer.in_flight_count() > 0 {
            let _ = self.producer.flush(FLUSH_WAIT);
        }
        let counts = &self.producer.context().0;
        let first = counts
            .first_loss
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Delivered {
            records: counts.delivered.load(Ordering::Relaxed),
            lost: counts.lost.load(Ordering::Relaxed),
            first_loss: first.clone(),
        }
    }
}

fn configure(config: &mut ClientConfig, choice: PartitionChoice) {
    config
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", DELIVERY_TIMEOUT_MS)
        .set("message.max.bytes", super::MESSAGE_BYTES_MAX)
        .set("queue.buffering.max.kbytes", "65536")
        .set("compression.type", "lz4");
    match choice {
        PartitionChoice::Same => {}
        PartitionChoice::Java => {
            config.set("partitioner", "murmur2_random");
        }
        PartitionChoice::Librdkafka => {
            config.set("partitioner", "consistent_random");
        }
    }
}

/// The record's own, and where it is from.
fn headers(letter: &StoredLetter) -> OwnedHeaders {
    let Origin { partition, offset } = letter.origin;
    let from = format!("{}/{partition}/{offset}", letter.topic);
    let own = letter.headers.iter();
    let own = own.filter(|header| !header.name.starts_with(OURS));
    own.map(|header| (header.name.as_str(), header.value.as_deref()))
        .chain([(REPLAYED_FROM, Some(from.as_bytes()))])
        .fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value })
        })
}
