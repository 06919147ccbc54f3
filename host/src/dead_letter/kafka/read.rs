//! Reads a topic of dead letters, from its beginning to the end that it has then.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use indexmap::IndexMap;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::metadata::MetadataTopic;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tracing::warn;

use super::connection::{check, client_config, unavailable};
use super::message::parse;
use crate::dead_letter::stored::{Entry, Place, Settlements, Sieve};
use crate::dead_letter::{LetterStore, Selection, Visit};
use crate::sink::SinkError;

/// How long the brokers may take for an answer, or without sending anything.
const ANSWER_WAIT: Duration = Duration::from_secs(15);

/// Between two looks at the clock.
const POLL: Duration = Duration::from_millis(100);

/// A topic of dead letters. It is read in the thread of its caller, who has nothing else to do.
pub(in crate::dead_letter) struct LetterTopic {
    config: ClientConfig,
    brokers: String,
    topic: String,
}

impl LetterTopic {
    /// # Errors
    ///
    /// [`SinkError::Permanent`] when librdkafka does not take a property; no message quotes a value.
    pub(in crate::dead_letter) fn new(
        brokers: &str,
        topic: &str,
        properties: &IndexMap<String, String>,
    ) -> Result<Self, SinkError> {
        let mut config = client_config(brokers, properties);
        config
            // No group is joined and nothing committed; librdkafka wants a name all the same.
            .set("group.id", "wasmill-dead-letters")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest")
            // Of what is fetched ahead: letters are as large as records.
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.message.max.bytes", "1048576");
        check(&config)?;
        Ok(Self {
            config,
            brokers: brokers.to_owned(),
            topic: topic.to_owned(),
        })
    }

    fn failed(&self, error: &KafkaError) -> SinkError {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                self.missing()
            }
            Some(
                code @ (RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
                | RDKafkaErrorCode::SaslAuthenticationFailed
                | RDKafkaErrorCode::Authentication),
            ) => SinkError::Permanent(format!(
                "Kafka at {} refused to read topic `{}` of the dead letters: {code}",
                self.brokers, self.topic
            )),
            _ => unavailable(&self.brokers, &error.to_string()),
        }
    }

    fn missing(&self) -> SinkError {
        SinkError::Permanent(format!(
            "there is no topic `{}` at {}: the pipeline creates it when it first runs",
            self.topic, self.brokers
        ))
    }

    /// By partition, the offset after its newest message; and where to begin in each that has some.
    fn extent(
        &self,
        consumer: &BaseConsumer,
        since_ms: Option<i64>,
    ) -> Result<(BTreeMap<i32, i64>, TopicPartitionList), KafkaError> {
        let metadata = consumer.fetch_metadata(Some(&self.topic), ANSWER_WAIT)?;
        let found = metadata.topics().iter();
        let found = found.flat_map(MetadataTopic::partitions);
        let (mut ends, mut begins) = (BTreeMap::new(), TopicPartitionList::new());
        for partition in found {
            let id = partition.id();
            let (low, high) = consumer.fetch_watermarks(&self.topic, id, ANSWER_WAIT)?;
            ends.insert(id, high);
            if low < high {
                begins.add_partition_offset(&self.topic, id, Offset::Offset(low))?;
            }
        }
        let Some(since_ms) = since_ms.filter(|_| begins.count() > 0) else {
            return Ok((ends, begins));
        };
        // Kafka knows by itself where messages of a time begin.
        let mut times = TopicPartitionList::new();
        for begin in begins.elements() {
            times.add_partition_offset(
                &self.topic,
                begin.partition(),
                Offset::Offset(since_ms.max(0)),
            )?;
        }
        let mut later = TopicPartitionList::new();
        for begin in consumer.offsets_for_times(times, ANSWER_WAIT)?.elements() {
            begin.error()?;
            if let Offset::Offset(offset) = begin.offset() {
                later.add_partition_offset(
                    &self.topic,
                    begin.partition(),
                    Offset::Offset(offset),
                )?;
            }
        }
        Ok((ends, later))
    }

    /// Reads what was written since then, until whoever is told has had enough.
    fn read(
        &self,
        since_ms: Option<i64>,
        tell: &mut dyn FnMut(Entry, Place) -> ControlFlow<()>,
    ) -> Result<(), SinkError> {
        let failed = |error| self.failed(&error);
        let consumer: BaseConsumer = self.config.create().map_err(failed)?;
        let (ends, begins) = self.extent(&consumer, since_ms).map_err(failed)?;
        if ends.is_empty() {
            return Err(self.missing());
        }
        let begun = begins.elements();
        let mut left: Vec<i32> = begun
            .iter()
            .map(TopicPartitionListElem::partition)
            .collect();
        consumer.assign(&begins).map_err(failed)?;
        let (mut heard, mut trouble, mut strange) = (Instant::now(), None, 0_u64);
        while !left.is_empty() {
            let message = match consumer.poll(POLL) {
                None if heard.elapsed() > ANSWER_WAIT => {
                    let reason = trouble.unwrap_or_else(|| "it sends nothing".to_owned());
                    return Err(unavailable(&self.brokers, &reason));
                }
                None => continue,
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    left.retain(|other| *other != partition);
                    heard = Instant::now();
                    continue;
                }
                Some(Err(error)) => {
                    if let SinkError::Permanent(reason) = self.failed(&error) {
                        return Err(SinkError::Permanent(reason));
                    }
                    trouble = Some(error.to_string());
                    continue;
                }
                Some(Ok(message)) => message,
            };
            heard = Instant::now();
            let (partition, offset) = (message.partition(), message.offset());
            let end = ends.get(&partition).copied().unwrap_or(0);
            // What was written meanwhile is for the next scan.
            if offset < end {
                match parse(&message) {
                    Some(entry) => {
                        let place = Place {
                            part: partition,
                            offset,
                            written_ms: message.timestamp().to_millis(),
                        };
                        if let ControlFlow::Break(()) = tell(entry, place) {
                            break;
                        }
                    }
                    None => strange += 1,
                }
            }
            if offset + 1 >= end {
                left.retain(|other| *other != partition);
            }
        }
        if strange > 0 {
            warn!(
                topic = self.topic,
                messages = strange,
                "left out messages that are no dead letters"
            );
        }
        Ok(())
    }
}

#[async_trait]
impl LetterStore for LetterTopic {
    fn place(&self) -> String {
        format!("topic {} at {}", self.topic, self.brokers)
    }

    async fn scan(
        &mut self,
        selection: &Selection,
        newest: Option<usize>,
        visit: &mut Visit<'_>,
    ) -> Result<(), SinkError> {
        let since_ms = selection.since_ms;
        let mut settlements = Settlements::default();
        self.read(since_ms, &mut |entry, place| {
            if let Entry::Settled { key, by } = entry {
                settlements.note(&key, place, by);
            }
            ControlFlow::Continue(())
        })?;
        let mut sieve = Sieve::new(settlements, (selection, newest), visit);
        self.read(since_ms, &mut |entry, place| match entry {
            Entry::Letter(letter) => sieve.offer(*letter, place),
            Entry::Settled { .. } => ControlFlow::Continue(()),
        })?;
        sieve.finish();
        Ok(())
    }
}
