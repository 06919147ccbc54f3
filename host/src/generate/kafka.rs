//! Writes records to a Kafka topic, each to the partition and the offset that it was made for.
//!
//! # Invariants
//!
//! 1. Every record is either reported as delivered or counted as lost: nothing is lost in silence.
//! 2. A run goes on at the end of each partition, so runs that follow each other repeat no id, and
//!    the record at an offset is the generator's record of that offset. What another producer, or a
//!    lost record, displaces is counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Message};
use thiserror::Error;

use super::Generator;
use super::plan::{Made, Plan, Stop};

/// How long a question to the brokers may take.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// How long the client may not know a partition that the topic has.
const UNKNOWN_MAX: Duration = Duration::from_secs(30);
/// While a full queue empties, or a partition is found out about.
const QUEUE_WAIT: Duration = Duration::from_millis(1);
/// Between two questions to a partition that has no leader yet.
const LEADER_WAIT: Duration = Duration::from_millis(50);
/// What a partition says, or the client of it, that has no leader yet.
const NO_LEADER_YET: [RDKafkaErrorCode; 4] = [
    RDKafkaErrorCode::NotLeaderForPartition,
    RDKafkaErrorCode::LeaderNotAvailable,
    RDKafkaErrorCode::UnknownPartition,
    RDKafkaErrorCode::UnknownTopicOrPartition,
];
/// Between two looks at whether the last records were delivered.
const FLUSH_WAIT: Duration = Duration::from_millis(200);
/// Partitions of a topic that is created, where nobody says how many.
const PARTITIONS_DEFAULT: u32 = 4;

/// What went wrong with Kafka.
#[derive(Debug, Error)]
pub enum KafkaWriteError {
    /// The settings of the client.
    #[error("failed to set up the Kafka client")]
    Client(#[source] KafkaError),
    /// No broker answers, or it refuses.
    #[error("failed to ask Kafka about {what}")]
    Ask {
        /// topic and brokers
        what: String,
        /// what the client says
        source: KafkaError,
    },
    /// The topic is not there and cannot be created.
    #[error("failed to create topic `{topic}`: {reason}")]
    Create {
        /// as it was given
        topic: String,
        /// what the broker says
        reason: String,
    },
    /// The topic is there, with other partitions.
    #[error(
        "topic `{topic}` has {found} partitions, not {wanted}: leave --partitions out, or choose another topic"
    )]
    Partitions {
        /// as it was given
        topic: String,
        /// how many it has
        found: u32,
        /// how many were asked for
        wanted: u32,
    },
    /// A record that was not even queued.
    #[error("failed to hand a record to the Kafka client")]
    Send(#[source] KafkaError),
    /// Records that no broker took.
    #[error("{lost} of {records} records were not delivered: {reason}")]
    Lost {
        /// how many
        lost: u64,
        /// of how many
        records: u64,
        /// why the first one was lost
        reason: String,
    },
}

/// A topic that can be written to.
pub struct Topic {
    producer: ThreadedProducer<Deliveries>,
    name: String,
    /// the offset that the next record gets, by partition
    ends: Vec<i64>,
}

/// What came of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    /// what was made and delivered
    pub made: Made,
    /// records that stand at another offset than they were made for: somebody else wrote meanwhile
    pub displaced: u64,
}

/// Counts what the brokers say.
#[derive(Clone, Default)]
struct Deliveries(Arc<Counts>);

#[derive(Default)]
struct Counts {
    lost: AtomicU64,
    displaced: AtomicU64,
    first_loss: Mutex<Option<String>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    /// The offset that the record was made for.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, expected: usize) {
        match result {
            Ok(message) if message.offset() == expected as i64 => {}
            Ok(_) => {
                self.0.displaced.fetch_add(1, Ordering::Relaxed);
            }
            Err((error, _)) => {
                self.0.lost.fetch_add(1, Ordering::Relaxed);
                let mut first = self
                    .0
                    .first_loss
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert_with(|| error.to_string());
            }
        }
    }
}

impl Topic {
    /// Opens the topic, which is created if it is missing: with `partitions`, or four.
    ///
    /// # Errors
    ///
    /// [`KafkaWriteError`]; also when it has another number of partitions than `partitions`.
    pub async fn open(
        brokers: &str,
        name: &str,
        partitions: Option<u32>,
    ) -> Result<Self, KafkaWriteError> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", brokers)
            .set("compression.type", "lz4")
            .set("enable.idempotence", "true")
            // Asking for a topic must not make it, with the broker's number of partitions.
            .set("allow.auto.create.topics", "false")
            .set("linger.ms", "20")
            .set("batch.num.messages", "10000")
            .set("queue.buffering.max.kbytes", "65536");
        let ask = |source| KafkaWriteError::Ask {
            what: format!("topic `{name}` at {brokers}"),
            source,
        };
        let producer: ThreadedProducer<Deliveries> = config
            .create_with_context(Deliveries::default())
            .map_err(KafkaWriteError::Client)?;
        let mut found = partition_count(&producer, name).map_err(ask)?;
        if found == 0 {
            found = partitions.unwrap_or(PARTITIONS_DEFAULT);
            create(&config, name, found).await?;
        }
        if let Some(wanted) = partitions.filter(|wanted| *wanted != found) {
            let topic = name.to_owned();
            return Err(KafkaWriteError::Partitions {
                topic,
                found,
                wanted,
            });
        }
        let ends = (0..found)
            .map(|partition| end(&producer, name, partition).map_err(ask))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            producer,
            name: name.to_owned(),
            ends,
        })
    }

    /// The offset that the next record gets in each partition.
    #[must_use]
    pub fn ends(&self) -> &[i64] {
        &self.ends
    }

    /// Writes the planned records and waits until the brokers have them. `progress` is told after
    /// each record how many there are.
    ///
    /// # Errors
    ///
    /// [`KafkaWriteError::Lost`] when some were not delivered, after all others were.
    pub fn write(
        &self,
        generator: &Generator,
        plan: &Plan,
        stop: &Stop,
        mut progress: impl FnMut(u64),
    ) -> Result<Delivered, KafkaWriteError> {
        let mut made = Made::default();
        let mut value = Vec::new();
        for origin in plan.origins(stop) {
            let record = generator.generate(origin);
            value.clear();
            let has_value = record.render(&mut value);
            let key = record.transaction().transaction_id.as_str();
            let mut message = BaseRecord::with_opaque_to(&self.name, origin.offset as usize)
                .partition(origin.partition.0 as i32)
                .key(key);
            if has_value {
                message = message.payload(value.as_slice());
            }
            self.send(message)?;
            made.records += 1;
            made.faulty += u64::from(record.fault().is_some());
            progress(made.records);
        }
        self.conclude(made)
    }

    /// Hands over one record, waiting while the queue is full. It empties at the latest when the
    /// client gives its records up (`delivery.timeout.ms`). The partitions of a topic that was just
    /// created come to the client one by one: for one that it does not know yet this waits, too.
    fn send(&self, mut message: BaseRecord<'_, str, [u8], usize>) -> Result<(), KafkaWriteError> {
        let mut unknown_since = None;
        loop {
            let (error, back) = match self.producer.send(message) {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            };
            match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) => {}
                Some(RDKafkaErrorCode::UnknownPartition)
                    if unknown_since.get_or_insert_with(Instant::now).elapsed() < UNKNOWN_MAX => {}
                _ => return Err(KafkaWriteError::Send(error)),
            }
            message = back;
            thread::sleep(QUEUE_WAIT);
        }
    }

    /// Waits for the deliveries and counts them.
    fn conclude(&self, made: Made) -> Result<Delivered, KafkaWriteError> {
        // Ends because the client gives each record up after its time.
        while self.producer.in_flight_count() > 0 {
            match self.producer.flush(FLUSH_WAIT) {
                Ok(()) | Err(KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut)) => {}
                Err(error) => return Err(KafkaWriteError::Send(error)),
            }
        }
        let counts = &self.producer.context().0;
        let lost = counts.lost.load(Ordering::Relaxed);
        if lost > 0 {
            let first = counts
                .first_loss
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            return Err(KafkaWriteError::Lost {
                lost,
                records: made.records,
                reason: first.clone().unwrap_or_default(),
            });
        }
        Ok(Delivered {
            made,
            displaced: counts.displaced.load(Ordering::Relaxed),
        })
    }
}

/// How many partitions the topic has; 0: there is no such topic.
fn partition_count(
    producer: &ThreadedProducer<Deliveries>,
    topic: &str,
) -> Result<u32, KafkaError> {
    let metadata = producer.client().fetch_metadata(Some(topic), ANSWER_WAIT)?;
    Ok(metadata
        .topics()
        .iter()
        .find(|found| found.name() == topic)
        .map_or(0, |found| found.partitions().len() as u32))
}

/// The offset that the next record of the partition gets.
fn end(
    producer: &ThreadedProducer<Deliveries>,
    topic: &str,
    partition: u32,
) -> Result<i64, KafkaError> {
    let client = producer.client();
    let asked = Instant::now();
    loop {
        match client.fetch_watermarks(topic, partition as i32, ANSWER_WAIT) {
            Ok((_, end)) => return Ok(end),
            // A topic is there before its partitions have leaders that know of it.
            Err(error)
                if asked.elapsed() < UNKNOWN_MAX
                    && error
                        .rdkafka_error_code()
                        .is_some_and(|code| NO_LEADER_YET.contains(&code)) =>
            {
                thread::sleep(LEADER_WAIT);
            }
            Err(error) => return Err(error),
        }
    }
}

async fn create(
    config: &ClientConfig,
    topic: &str,
    partitions: u32,
) -> Result<(), KafkaWriteError> {
    let admin: AdminClient<DefaultClientContext> =
        config.create().map_err(KafkaWriteError::Client)?;
    // -1: as many replicas as the broker's default says.
    let new = NewTopic::new(topic, partitions as i32, TopicReplication::Fixed(-1));
    let options = AdminOptions::new().operation_timeout(Some(ANSWER_WAIT));
    let refused = |reason: String| KafkaWriteError::Create {
        topic: topic.to_owned(),
        reason,
    };
    let results = admin
        .create_topics([&new], &options)
        .await
        .map_err(|error| refused(error.to_string()))?;
    match results.into_iter().next() {
        Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
        Some(Err((_, code))) => Err(refused(code.to_string())),
        None => Err(refused("no answer".to_owned())),
    }
}
