//! A Kafka topic, through librdkafka.
//!
//! Partitions are assigned by hand (`assign`, never `subscribe`): which host reads what is decided
//! where the rows are stored, and Kafka's groups have no say in it. The group id names the pipeline to
//! the brokers, and offsets are committed under it for tools that show lags: nothing is read from
//! there.
//!
//! ```text
//! librdkafka's queue ─► BatchConsumer (hundreds a call) ─► TakeRecords
//!                            │ beyond the bound of its partition
//!                            └─► held in its Reading ─► TakeRecords of a later poll
//! ```
//!
//! # Invariants
//!
//! 1. Positions come from what was delivered, held or reported as the end; librdkafka's own idea of
//!    the position is never used. (It is one too far after a batch call that takes an end of
//!    partition, so `pause` and `resume`, which rest on it, could skip a record. A partition that is
//!    to wait is unassigned and assigned again at our position.)
//! 2. Every error of librdkafka that may have cost records leads to a new assignment at our
//!    positions before anything else is delivered.

mod group;
mod native;
mod offsets;
mod reading;
mod settings;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::{ClientConfig, Offset};

use self::group::Group;
use self::native::{BatchConsumer, Event};
use self::offsets::NoAnswer;
use self::reading::{Reading, Verdict};
use super::budget::Budget;
use super::{PartitionRange, PollLimit, Source, SourceError, Survey, ahead_of, check_positions};
use crate::config;
use crate::record::{HeaderBuffer, Origin, Partition, Positions, RawRecord, TakeRecords};

/// Bytes that may be held back beyond bounds, all partitions together; what librdkafka has handed
/// over in one batch comes on top.
const HELD_BYTES_MAX: usize = 8 << 20;

/// Between two warnings about the same kind of trouble.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// Waiting will not help against these.
const PERMANENT: [Code; 6] = [
    Code::Fatal,
    Code::TopicAuthorizationFailed,
    Code::ClusterAuthorizationFailed,
    Code::SaslAuthenticationFailed,
    Code::UnsupportedSASLMechanism,
    Code::InvalidTopic,
];

/// librdkafka itself goes on after these, and nothing is lost.
const PASSING: [Code; 16] = [
    Code::BrokerTransportFailure,
    Code::AllBrokersDown,
    Code::Resolve,
    Code::OperationTimedOut,
    Code::TimedOutQueue,
    Code::Retry,
    Code::RequestTimedOut,
    Code::NetworkException,
    Code::LeaderNotAvailable,
    Code::NotLeaderForPartition,
    Code::BrokerNotAvailable,
    Code::ReplicaNotAvailable,
    Code::KafkaStorageError,
    Code::FencedLeaderEpoch,
    Code::UnknownLeaderEpoch,
    Code::OffsetNotAvailable,
];

/// These say something of the group, which reading has nothing to do with: whoever shows progress
/// under its name meets them too.
const OF_THE_GROUP: [Code; 5] = [
    Code::GroupAuthorizationFailed,
    Code::CoordinatorNotAvailable,
    Code::CoordinatorLoadInProgress,
    Code::NotCoordinator,
    Code::WaitingForCoordinator,
];

/// The partitions of one Kafka topic.
pub struct KafkaSource {
    brokers: String,
    topic: String,
    config: ClientConfig,
    consumer: BatchConsumer,
    /// by partition; `None`: not assigned
    readings: Vec<Option<Reading>>,
    /// the positions of `readings`, as of the end of the last poll
    positions: Positions,
    /// those of the message in hand
    headers: HeaderBuffer,
    /// librdkafka may have lost its place: assign again before reading on
    is_astray: bool,
    warned: Option<Instant>,
}

/// Why messages are no longer taken.
enum Stop {
    /// the poll has had enough
    Full,
    /// all that was received is dealt with
    Drained,
}

impl KafkaSource {
    /// A source that stands nowhere until its first seek. Brokers are reached in the background.
    ///
    /// # Errors
    ///
    /// [`SourceError::Permanent`] when librdkafka refuses a property, or when it is not the user's
    /// to set.
    pub fn new(source: &config::KafkaSource, pipeline_name: &str) -> Result<Self, SourceError> {
        let config = settings::client_config(source, pipeline_name)?;
        Ok(Self {
            brokers: source.brokers.clone(),
            topic: source.topic.clone(),
            consumer: BatchConsumer::new(&config).map_err(settings::refused)?,
            config,
            readings: Vec::new(),
            positions: Positions::default(),
            headers: HeaderBuffer::default(),
            is_astray: false,
            warned: None,
        })
    }

    /// What librdkafka is told, the user's own properties included: for measurements of librdkafka alone.
    ///
    /// # Errors
    ///
    /// [`SourceError::Permanent`] when a property is not the user's to set.
    pub fn properties(
        source: &config::KafkaSource,
        pipeline_name: &str,
    ) -> Result<BTreeMap<String, String>, SourceError> {
        let config = settings::client_config(source, pipeline_name)?;
        let properties = config.config_map().into_iter();
        Ok(properties
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect())
    }

    fn unavailable(&self, reason: String) -> SourceError {
        unavailable(&self.brokers, reason)
    }

    fn group(&self) -> Group {
        Group::new(&self.brokers, &self.topic, &self.config)
    }

    /// Takes what was received, until the poll has had enough.
    fn drain(
        &mut self,
        budget: &mut Budget,
        into: &mut dyn TakeRecords,
    ) -> Result<Stop, SourceError> {
        while let Some(event) = self.consumer.peek() {
            match event {
                Event::Record {
                    partition,
                    offset,
                    timestamp_ms,
                    key,
                    value,
                    headers,
                } => {
                    headers.write(&mut self.headers);
                    let record = RawRecord {
                        origin: Origin {
                            partition: Partition(partition),
                            offset,
                        },
                        timestamp_ms,
                        key,
                        value,
                        headers: self.headers.headers(),
                    };
                    if let Some(Some(reading)) = self.readings.get_mut(partition as usize) {
                        match reading.verdict(offset) {
                            Verdict::Deliver if !budget.take(record, into) => {
                                return Ok(Stop::Full);
                            }
                            Verdict::Deliver => reading.delivered(offset),
                            Verdict::Hold => reading.hold(record),
                            Verdict::Drop => {}
                        }
                    }
                }
                Event::End { partition, offset } => {
                    if let Some(Some(reading)) = self.readings.get_mut(partition as usize) {
                        reading.end_at(offset);
                    }
                }
                Event::Error { code, reason } => {
                    self.consumer.advance();
                    self.judge(code, reason)?;
                    continue;
                }
            }
            self.consumer.advance();
        }
        while let Some((code, reason)) = self.consumer.take_error() {
            self.judge(code, reason)?;
        }
        Ok(Stop::Drained)
    }

    /// Decides whether reading can go on after an error.
    fn judge(&mut self, code: Code, reason: String) -> Result<(), SourceError> {
        if OF_THE_GROUP.contains(&code) {
            tracing::debug!(error = reason, "a word about the group");
            return Ok(());
        }
        if PASSING.contains(&code) {
            if self.warned.is_none_or(|at| at.elapsed() >= WARN_INTERVAL) {
                self.warned = Some(Instant::now());
                tracing::warn!(
                    topic = self.topic,
                    error = reason,
                    "Kafka is in trouble, reading goes on when it is back"
                );
            }
            return Ok(());
        }
        if PERMANENT.contains(&code) {
            return Err(SourceError::Permanent(format!(
                "failed to read topic {}: {reason}",
                self.topic
            )));
        }
        // Among these: the offset is no longer there, the topic is gone, a batch is damaged. A new
        // assignment says which of them it is, or repairs it.
        self.is_astray = true;
        self.recover()?;
        Err(self.unavailable(reason))
    }

    /// Assigns again at our own positions, where librdkafka may have lost its place.
    fn recover(&mut self) -> Result<(), SourceError> {
        self.publish_positions();
        let positions = self.positions.clone();
        self.seek(&positions)
    }

    /// Has librdkafka stop with the partitions of which records are held, when that is too much.
    fn park(&mut self) -> Result<(), SourceError> {
        let held: usize = self
            .readings
            .iter()
            .flatten()
            .map(Reading::held_bytes)
            .sum();
        if held <= HELD_BYTES_MAX {
            return Ok(());
        }
        let mut parked = Vec::new();
        for (partition, reading) in (0i32..).zip(&mut self.readings) {
            if let Some(reading) = reading
                && reading.held_bytes() > 0
                && !reading.is_parked
            {
                reading.is_parked = true;
                parked.push((partition, Offset::Invalid));
            }
        }
        if parked.is_empty() {
            return Ok(());
        }
        offsets::list(&self.topic, parked)
            .and_then(|list| self.consumer.unassign(&list))
            .map_err(|error| self.assignment_failed(&error))
    }

    /// Has librdkafka go on with parked partitions whose records are wanted again.
    fn unpark(&mut self) -> Result<(), SourceError> {
        let mut resumed = Vec::new();
        for (partition, reading) in (0i32..).zip(&mut self.readings) {
            if let Some(reading) = reading
                && let Some(offset) = reading.resume_at()
            {
                reading.is_parked = false;
                resumed.push((partition, Offset::Offset(offset)));
            }
        }
        if resumed.is_empty() {
            return Ok(());
        }
        offsets::list(&self.topic, resumed)
            .and_then(|list| self.consumer.assign_more(&list))
            .map_err(|error| self.assignment_failed(&error))
    }

    fn assignment_failed(&mut self, error: &KafkaError) -> SourceError {
        self.is_astray = true;
        self.unavailable(format!("failed to assign partitions: {error}"))
    }

    fn read(
        &mut self,
        deadline: Instant,
        budget: &mut Budget,
        into: &mut dyn TakeRecords,
    ) -> Result<(), SourceError> {
        for reading in self.readings.iter_mut().flatten() {
            if !reading.deliver_held(budget, into) {
                return Ok(());
            }
        }
        self.unpark()?;
        loop {
            if let Stop::Full = self.drain(budget, into)? {
                return Ok(());
            }
            self.park()?;
            if self.is_reached() || budget.records_left() == 0 {
                return Ok(());
            }
            let wait = if budget.is_untouched() {
                deadline.saturating_duration_since(Instant::now())
            } else {
                Duration::ZERO
            };
            if !self.consumer.receive(budget.records_left(), wait) {
                return Ok(());
            }
        }
    }

    fn is_reached(&self) -> bool {
        let mut readings = self.readings.iter().flatten().peekable();
        readings.peek().is_some() && readings.all(Reading::is_reached)
    }

    fn publish_positions(&mut self) {
        for (partition, reading) in (0u32..).zip(&self.readings) {
            if let Some(reading) = reading {
                self.positions.set(Partition(partition), reading.position());
            }
        }
    }
}

fn unavailable(brokers: &str, reason: String) -> SourceError {
    SourceError::Unavailable {
        what: format!("Kafka at {brokers}"),
        reason,
    }
}

/// Why there was no answer. `complaint` is what librdkafka said last about a server.
fn explain(
    brokers: &str,
    topic: &str,
    no_answer: NoAnswer,
    complaint: impl FnOnce() -> Option<String>,
) -> SourceError {
    match no_answer {
        NoAnswer::NoTopic => unavailable(brokers, format!("topic {topic} does not exist yet")),
        NoAnswer::Code(code) if PERMANENT.contains(&code) => {
            SourceError::Permanent(format!("failed to read topic {topic}: {code}"))
        }
        NoAnswer::Code(code) => {
            // "Timed out" alone helps nobody; the last error says what failed.
            let complaint = complaint().filter(|_| PASSING.contains(&code));
            unavailable(brokers, complaint.unwrap_or_else(|| code.to_string()))
        }
        NoAnswer::Other(error) => unavailable(brokers, error.to_string()),
    }
}

impl Source for KafkaSource {
    fn partitions(&mut self) -> Result<Vec<PartitionRange>, SourceError> {
        let Self {
            brokers,
            topic,
            consumer,
            ..
        } = self;
        offsets::ranges(consumer.enquiry(), topic)
            .map_err(|no_answer| explain(brokers, topic, no_answer, || consumer.complaint()))
    }

    fn survey(&self) -> Survey {
        let (brokers, topic) = (self.brokers.clone(), self.topic.clone());
        let enquiry = self.consumer.enquiry().clone();
        Survey {
            partitions: Box::new(move || {
                offsets::ranges(&enquiry, &topic).map_err(|no_answer| {
                    explain(&brokers, &topic, no_answer, || enquiry.complaint())
                })
            }),
            show: Some(Box::new(self.group())),
        }
    }

    fn seek(&mut self, positions: &Positions) -> Result<(), SourceError> {
        let ranges = self.partitions()?;
        check_positions(positions, &ranges)?;
        let mut readings = Vec::new();
        let count = ranges
            .last()
            .map_or(0, |last| last.partition.0 as usize + 1);
        readings.resize_with(count, || None);
        for (partition, position) in positions.iter() {
            readings[partition.0 as usize] = Some(Reading::at(position));
        }
        let offsets = positions
            .iter()
            .map(|(partition, position)| (partition.0 as i32, Offset::Offset(position)));
        // librdkafka numbers the versions of an assignment, and drops what was fetched for an
        // earlier one when it takes it from the queue. What was taken already we drop.
        offsets::list(&self.topic, offsets)
            .and_then(|list| self.consumer.assign(&list))
            .map_err(|error| self.assignment_failed(&error))?;
        self.consumer.discard();
        self.readings = readings;
        self.positions = positions.clone();
        self.is_astray = false;
        Ok(())
    }

    fn adjust(&mut self, positions: &Positions) -> Result<(), SourceError> {
        let ahead = ahead_of(&self.positions, positions);
        if self.is_astray {
            let mut all = self.positions.clone();
            ahead.iter().for_each(|(p, position)| all.set(p, position));
            return self.seek(&all);
        }
        check_positions(positions, &self.partitions()?)?;
        let is_read = |p: Partition| {
            let reading = self.readings.get(p.0 as usize).and_then(Option::as_ref);
            reading.is_some_and(|reading| !reading.is_parked)
        };
        let moved: Vec<_> = ahead.iter().filter(|(p, _)| is_read(*p)).collect();
        if !moved.is_empty() {
            let moved = moved.iter().map(|(p, _)| (p.0 as i32, Offset::Invalid));
            offsets::list(&self.topic, moved)
                .and_then(|list| self.consumer.unassign(&list))
                .map_err(|error| self.assignment_failed(&error))?;
        }
        let added = ahead
            .iter()
            .map(|(partition, position)| (partition.0 as i32, Offset::Offset(position)));
        offsets::list(&self.topic, added)
            .and_then(|list| self.consumer.assign_more(&list))
            .map_err(|error| self.assignment_failed(&error))?;
        // What was taken from the queue already may begin beyond the new position.
        self.consumer
            .discard_of(|partition| ahead.get(Partition(partition)).is_some());
        for (partition, position) in ahead.iter() {
            let index = partition.0 as usize;
            if index >= self.readings.len() {
                self.readings.resize_with(index + 1, || None);
            }
            self.readings[index] = Some(Reading::at(position));
            self.positions.set(partition, position);
        }
        Ok(())
    }

    fn poll(
        &mut self,
        until: &Positions,
        limit: PollLimit,
        into: &mut dyn TakeRecords,
    ) -> Result<(), SourceError> {
        if self.is_astray {
            self.recover()?;
        }
        let deadline = Instant::now() + limit.wait_max;
        let mut budget = Budget::new(limit);
        for (partition, reading) in (0u32..).zip(&mut self.readings) {
            if let Some(reading) = reading {
                reading.set_bound(until.get(Partition(partition)));
            }
        }
        let outcome = self.read(deadline, &mut budget, into);
        self.publish_positions();
        outcome
    }

    fn positions(&self) -> &Positions {
        &self.positions
    }
}
