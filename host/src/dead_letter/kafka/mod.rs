//! Dead letters in a Kafka topic, at least once.
//!
//! How a letter is a message: [`message`]. The message has the time of its writing, not the record's:
//! a topic's retention goes by it.

mod connection;
mod message;
pub(super) mod read;
pub(super) mod replay;

use std::time::Duration;

use async_trait::async_trait;
use indexmap::IndexMap;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, ProducerContext};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tracing::warn;

use self::connection::{check, unavailable};
use self::message::{Body, Note};
use super::{DeadLetterSink, in_order};
use crate::deployment::Version;
use crate::epoch::ByStage;
use crate::record::DeadLetter;
use crate::sink::SinkError;

/// How long Kafka has to create the topic.
const CREATE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a letter may take to be acknowledged.
const DELIVERY_TIMEOUT_MS: &str = "30000";

/// How often the producer is asked what became of letters, while some are on their way.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Bytes of a letter, for the producer and for a topic that is created here. A record that the
/// source could read has to fit with its headers.
const MESSAGE_BYTES_MAX: &str = "67108864";

/// A topic of dead letters.
pub(super) struct DeadLetterTopic {
    config: ClientConfig,
    brokers: String,
    topic: String,
    source_topic: String,
    /// Absent before the first use and after a failure: a producer that failed once may be beyond
    /// repair (librdkafka's fatal errors), and a new one costs little.
    /// Whoever waits for letters polls it: a thread that does so all the time would cost a hundredth of a
    /// core for what hardly ever happens.
    producer: Option<BaseProducer<Deliveries>>,
}

/// What became of the letter at an index.
type Report = (usize, Option<RDKafkaErrorCode>);

/// Goes with a message and comes back with its delivery report.
struct Ticket {
    index: usize,
    reports: UnboundedSender<Report>,
}

struct Deliveries;

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let failure = result.as_ref().err().map(|(error, _)| {
            error
                .rdkafka_error_code()
                .unwrap_or(RDKafkaErrorCode::Unknown)
        });
        // Nobody listens where the write was dropped meanwhile.
        let _ = ticket.reports.send((ticket.index, failure));
    }
}

impl DeadLetterTopic {
    /// The topic `topic`, for records of `source_topic`. Connects when it is first used.
    ///
    /// # Errors
    ///
    /// [`SinkError::Permanent`] when librdkafka does not take a property; no message quotes a value.
    pub(super) fn new(
        brokers: &str,
        topic: &str,
        properties: &IndexMap<String, String>,
        source_topic: &str,
    ) -> Result<Self, SinkError> {
        let mut config = ClientConfig::new();
        config
            .set("message.timeout.ms", DELIVERY_TIMEOUT_MS)
            .set("message.max.bytes", MESSAGE_BYTES_MAX);
        for (name, value) in properties {
            config.set(name, value);
        }
        config
            .set("bootstrap.servers", brokers)
            .set("enable.idempotence", "true")
            .set("acks", "all");
        check(&config)?;
        Ok(Self {
            config,
            brokers: brokers.to_owned(),
            topic: topic.to_owned(),
            source_topic: source_topic.to_owned(),
            producer: None,
        })
    }

    fn failed(&self, action: &str, code: RDKafkaErrorCode) -> SinkError {
        match code {
            RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::InvalidTopic
            | RDKafkaErrorCode::PolicyViolation
            | RDKafkaErrorCode::InvalidConfig => SinkError::Permanent(format!(
                "Kafka at {} refused to {action} topic `{}` of the dead letters: {code}",
                self.brokers, self.topic
            )),
            other => unavailable(
                &self.brokers,
                &format!("failed to {action} `{}`: {other}", self.topic),
            ),
        }
    }

    /// Creates the topic where it is missing, with the partitions and copies of the broker's choice.
    async fn create_topic(&self) -> Result<(), SinkError> {
        let admin: AdminClient<DefaultClientContext> = self
            .config
            .create()
            .map_err(|error| SinkError::Permanent(format!("dead letters: {error}")))?;
        let topic = NewTopic::new(&self.topic, -1, TopicReplication::Fixed(-1))
            .set("max.message.bytes", MESSAGE_BYTES_MAX);
        let options = AdminOptions::new()
            .request_timeout(Some(CREATE_TIMEOUT))
            .operation_timeout(Some(CREATE_TIMEOUT));
        let results = admin
            .create_topics([&topic], &options)
            .await
            .map_err(|error| unavailable(&self.brokers, &error.to_string()))?;
        for result in results {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                // Whoever may not create topics may still write to one that is there.
                Err((
                    _,
                    RDKafkaErrorCode::TopicAuthorizationFailed
                    | RDKafkaErrorCode::ClusterAuthorizationFailed,
                )) => {
                    warn!(
                        topic = self.topic,
                        "not allowed to create the topic of the dead letters"
                    );
                }
                Err((_, code)) => return Err(self.failed("create", code)),
            }
        }
        Ok(())
    }

    async fn connect(&mut self) -> Result<(), SinkError> {
        if self.producer.is_some() {
            return Ok(());
        }
        self.create_topic().await?;
        let producer = self
            .config
            .create_with_context(Deliveries)
            .map_err(|error| SinkError::Permanent(format!("dead letters: {error}")))?;
        self.producer = Some(producer);
        Ok(())
    }

    async fn write_notes(&mut self, notes: Vec<Note<'_>>) -> Result<Option<u64>, SinkError> {
        if notes.is_empty() {
            if let Some(producer) = &self.producer {
                // What it has to say of its brokers does not pile up.
                producer.poll(Duration::ZERO);
            }
            return Ok(None);
        }
        self.connect().await?;
        let written = self.write_all(&notes).await;
        if written.is_err() {
            self.producer = None;
        }
        written.map(|()| None)
    }

    async fn write_all(&self, notes: &[Note<'_>]) -> Result<(), SinkError> {
        let all: Vec<usize> = (0..notes.len()).collect();
        for index in self.send_all(notes, &all, Body::Whole).await? {
            // Kafka counts what is sent together, so it may have been its neighbours' fault.
            for body in [Body::Whole, Body::LeftOut] {
                if self.send_all(notes, &[index], body).await?.is_empty() {
                    break;
                }
                if body == Body::LeftOut {
                    return Err(self.failed("write to", RDKafkaErrorCode::MessageSizeTooLarge));
                }
            }
        }
        Ok(())
    }

    /// Sends the notes at these indices and waits for all of them: those that are too large for
    /// the topic come back.
    async fn send_all(
        &self,
        notes: &[Note<'_>],
        indices: &[usize],
        body: Body,
    ) -> Result<Vec<usize>, SinkError> {
        let producer = self.producer.as_ref().expect("the caller has connected");
        let (reports, mut inbox) = unbounded_channel();
        for &index in indices {
            let ticket = Box::new(Ticket {
                index,
                reports: reports.clone(),
            });
            self.enqueue(producer, notes[index], ticket, body).await?;
        }
        drop(reports);
        let mut too_large = Vec::new();
        let mut failure = None;
        loop {
            producer.poll(Duration::ZERO);
            match inbox.try_recv() {
                Ok((_, None)) => {}
                Ok((index, Some(RDKafkaErrorCode::MessageSizeTooLarge))) => too_large.push(index),
                Ok((_, Some(code))) => failure = Some(code),
                Err(TryRecvError::Empty) => tokio::time::sleep(POLL_INTERVAL).await,
                Err(TryRecvError::Disconnected) => break,
            }
        }
        match failure {
            None => Ok(too_large),
            Some(code) => Err(self.failed("write to", code)),
        }
    }

    async fn enqueue(
        &self,
        producer: &BaseProducer<Deliveries>,
        note: Note<'_>,
        ticket: Box<Ticket>,
        body: Body,
    ) -> Result<(), SinkError> {
        let key = note.key(&self.source_topic);
        let mut record = BaseRecord::with_opaque_to(&self.topic, ticket)
            .key(&key)
            .headers(note.headers(&self.source_topic, body));
        if let Some(value) = note.value(body) {
            record = record.payload(value);
        }
        loop {
            match producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                    record = again;
                    producer.poll(Duration::ZERO);
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
                Err((KafkaError::MessageProduction(code), record)) => {
                    let ticket = record.delivery_opaque;
                    // Its receiver is in the function that calls this one.
                    let _ = ticket.reports.send((ticket.index, Some(code)));
                    return Ok(());
                }
                Err((error, _)) => return Err(unavailable(&self.brokers, &error.to_string())),
            }
        }
    }
}

#[async_trait]
impl DeadLetterSink for DeadLetterTopic {
    async fn recover(&mut self, _committed: Option<u64>) -> Result<Option<u64>, SinkError> {
        self.connect().await?;
        Ok(None)
    }

    async fn write(&mut self, letters: &[DeadLetter]) -> Result<Option<u64>, SinkError> {
        let letters = in_order(letters).into_iter();
        self.write_notes(letters.map(Note::Letter).collect()).await
    }

    async fn settle(
        &mut self,
        settled: &ByStage,
        version: Version,
    ) -> Result<Option<u64>, SinkError> {
        let notes = settled.iter().flat_map(|(stage, records)| {
            let records = records.iter();
            records.map(move |&record| Note::Settled(record, stage, version))
        });
        self.write_notes(notes.collect()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str, value: &str) -> String {
        let properties = IndexMap::from([(name.to_owned(), value.to_owned())]);
        match DeadLetterTopic::new("localhost:9092", "dead", &properties, "sales") {
            Ok(_) => panic!("`{name}` was accepted"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn an_unknown_property_is_refused_by_name_and_no_value_is_quoted() {
        let message = refusal("sasl.passwort", "geheim");
        assert!(message.contains("`sasl.passwort`"), "{message}");
        assert!(!message.contains("geheim"), "{message}");
    }

    #[test]
    fn letters_cannot_be_written_without_idempotence() {
        let properties = IndexMap::from([
            ("enable.idempotence".to_owned(), "false".to_owned()),
            ("acks".to_owned(), "0".to_owned()),
        ]);
        let topic = DeadLetterTopic::new("localhost:9092", "dead", &properties, "sales").unwrap();
        assert_eq!(topic.config.get("enable.idempotence"), Some("true"));
        assert_eq!(topic.config.get("acks"), Some("all"));
    }
}
