//! Topics on the Kafka of the tests: made, filled and removed again.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{Offset, TopicPartitionList};

/// For anything that a healthy broker does at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// A topic of one test. It is removed at the end.
pub(crate) struct Topic {
    brokers: String,
    name: String,
    admin: AdminClient<DefaultClientContext>,
}

/// One record to write.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record<'a> {
    pub(crate) partition: u32,
    pub(crate) timestamp_ms: Option<i64>,
    pub(crate) key: Option<&'a [u8]>,
    /// `None` is a tombstone
    pub(crate) value: Option<&'a [u8]>,
}

/// Counts what the broker refused.
#[derive(Default)]
struct Refusals(Mutex<Vec<String>>);

impl ClientContext for Refusals {}

impl ProducerContext for Refusals {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.0.lock().expect("no panic").push(error.to_string());
        }
    }
}

impl Topic {
    /// Makes a topic whose name begins so.
    pub(crate) fn create(prefix: &str, partitions: u32) -> Self {
        Self::create_with(prefix, partitions, &[])
    }

    /// The same with topic settings (`cleanup.policy`, …).
    pub(crate) fn create_with(prefix: &str, partitions: u32, settings: &[(&str, &str)]) -> Self {
        let topic = Self::named(super::unique(prefix));
        topic.make(partitions, settings);
        topic
    }

    /// A topic that does not exist; [`make`](Self::make) makes it.
    pub(crate) fn named(name: String) -> Self {
        Self::on(&super::kafka(), name)
    }

    /// The same on brokers of the test's own.
    pub(crate) fn on(brokers: &str, name: String) -> Self {
        let admin = config(brokers).create().expect("an admin client");
        let brokers = brokers.to_owned();
        Self {
            brokers,
            name,
            admin,
        }
    }

    pub(crate) fn make(&self, partitions: u32, settings: &[(&str, &str)]) {
        let count = i32::try_from(partitions).expect("few");
        // As many copies as the brokers make of a topic: one on the shared one.
        let topic = NewTopic::new(&self.name, count, TopicReplication::Fixed(-1));
        let topic = settings
            .iter()
            .fold(topic, |topic, (key, value)| topic.set(key, value));
        let made = wait_for(self.admin.create_topics([&topic], &options())).expect("an answer");
        for result in made {
            result.expect("the topic is created");
        }
        self.wait_for_leaders(partitions as usize);
    }

    /// The broker answers a creation before it is ready to lead all partitions.
    fn wait_for_leaders(&self, partitions: usize) {
        let started = Instant::now();
        let client = self.admin.inner();
        let leads = |partition: usize| {
            let partition = i32::try_from(partition).expect("few");
            client
                .fetch_watermarks(&self.name, partition, PATIENCE)
                .is_ok()
        };
        loop {
            // This also tells the client of new partitions.
            let metadata = client.fetch_metadata(Some(&self.name), PATIENCE);
            if metadata.is_ok() && (0..partitions).all(leads) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "{} has no leaders", self.name);
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Adds partitions until there are so many.
    pub(crate) fn add_partitions(&self, count: usize) {
        let more = NewPartitions::new(&self.name, count);
        let made = wait_for(self.admin.create_partitions([&more], &options()));
        for result in made.expect("an answer") {
            result.expect("the partitions are added");
        }
        self.wait_for_leaders(count);
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Writes records and waits until the broker has them.
    pub(crate) fn write<'a>(&self, records: impl IntoIterator<Item = Record<'a>>) {
        let producer = producer(&self.brokers, &[("enable.idempotence", "true")]);
        self.send(&producer, records);
    }

    /// Writes records in one transaction, which is committed or aborted, on a producer that
    /// [`transactions`](Self::transactions) made.
    pub(crate) fn write_transaction<'a>(
        &self,
        writer: &TransactionWriter,
        records: impl IntoIterator<Item = Record<'a>>,
        end: End,
    ) {
        let producer = &writer.0;
        producer.begin_transaction().expect("begun");
        self.send(producer, records);
        match end {
            End::Commit => producer.commit_transaction(PATIENCE).expect("committed"),
            End::Abort => producer.abort_transaction(PATIENCE).expect("aborted"),
            End::Leave => {}
        }
    }

    /// A producer of transactions. Takes about a second.
    pub(crate) fn transactions(&self) -> TransactionWriter {
        let producer = producer(&self.brokers, &[("transactional.id", &self.name)]);
        producer.init_transactions(PATIENCE).expect("initialised");
        TransactionWriter(producer)
    }

    fn send<'a>(
        &self,
        producer: &BaseProducer<Refusals>,
        records: impl IntoIterator<Item = Record<'a>>,
    ) {
        for record in records {
            let mut message = BaseRecord::<[u8], [u8]>::to(&self.name)
                .partition(i32::try_from(record.partition).expect("few"));
            message.key = record.key;
            message.payload = record.value;
            message.timestamp = record.timestamp_ms;
            while let Err((error, back)) = producer.send(message) {
                assert_eq!(
                    error.rdkafka_error_code(),
                    Some(RDKafkaErrorCode::QueueFull),
                    "failed to write"
                );
                producer.poll(Duration::from_millis(10));
                message = back;
            }
        }
        producer.flush(PATIENCE).expect("flushed");
        let refusals = producer.context().0.lock().expect("no panic");
        assert!(refusals.is_empty(), "the broker refused {refusals:?}");
    }

    /// Deletes all records before this offset.
    pub(crate) fn delete_before(&self, partition: u32, offset: i64) {
        let mut list = TopicPartitionList::new();
        let partition = i32::try_from(partition).expect("few");
        list.add_partition_offset(&self.name, partition, Offset::Offset(offset))
            .expect("added");
        let deleted = wait_for(self.admin.delete_records(&list, &options())).expect("an answer");
        for element in deleted.elements() {
            element.error().expect("deleted");
        }
    }

    /// Removes the topic before the end of the test.
    pub(crate) fn delete(&self) {
        let deleted = wait_for(self.admin.delete_topics(&[&self.name], &options()));
        for result in deleted.expect("an answer") {
            result.expect("deleted");
        }
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // It may never have been made, and the test has its result already.
        let _ = wait_for(self.admin.delete_topics(&[&self.name], &options()));
    }
}

/// The offsets that a group has committed for partitions of a topic; `None` where there is none.
pub(crate) fn group_offsets(
    brokers: &str,
    group: &str,
    topic: &str,
    partitions: u32,
) -> Vec<Option<i64>> {
    let consumer = member_of(brokers, group);
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition(topic, i32::try_from(partition).expect("few"));
    }
    let committed = consumer.committed_offsets(list, PATIENCE);
    let committed = committed.expect("an answer");
    let found = committed.elements();
    let offsets = found.iter().map(|found| match found.offset() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    });
    offsets.collect()
}

/// Commits an offset under the name of a group, as anybody may.
pub(crate) fn commit_to_group(brokers: &str, group: &str, topic: &str, offset: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(offset))
        .expect("added");
    let consumer = member_of(brokers, group);
    consumer.commit(&list, CommitMode::Sync).expect("committed");
}

/// A consumer that is a member of the group once it subscribes.
pub(crate) fn member_of(brokers: &str, group: &str) -> BaseConsumer {
    let mut config = config(brokers);
    config.set("group.id", group);
    config.set("enable.auto.commit", "false");
    config.create().expect("a consumer")
}

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Commit,
    Abort,
    /// it stays open, until the same writer ends it
    Leave,
}

/// Writes transactions.
pub(crate) struct TransactionWriter(BaseProducer<Refusals>);

impl TransactionWriter {
    /// Commits the transaction that was left open.
    pub(crate) fn commit(&self) {
        self.0.commit_transaction(PATIENCE).expect("committed");
    }
}

fn producer(brokers: &str, settings: &[(&str, &str)]) -> BaseProducer<Refusals> {
    let mut config = config(brokers);
    config.set("compression.type", "lz4");
    for (key, value) in settings {
        config.set(*key, *value);
    }
    config
        .create_with_context(Refusals::default())
        .expect("a producer")
}

fn config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(PATIENCE))
}

fn wait_for<T>(answer: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(answer)
}
