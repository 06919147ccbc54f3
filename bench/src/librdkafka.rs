//! librdkafka alone: batches of messages, taken and dropped, with the host's own properties. No consumer of a
//! topic can be cheaper.

use std::collections::BTreeMap;
use std::ptr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rdkafka::bindings as sys;
use rdkafka::client::{Client, DefaultClientContext};
use rdkafka::types::RDKafkaType;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use wasmill::config::{Pipeline, SourceKind};
use wasmill::source::KafkaSource;

use crate::measured::{Measured, Ready};

/// Messages taken in one call, as the host does.
const BATCH: usize = 4_096;
/// For answers of the brokers.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A call returns when its array is full, or after so many ms.
const WAIT_MS: i32 = 5;

/// Takes what the topic holds now.
pub(crate) fn consume(pipeline: &Pipeline, began: Instant) -> anyhow::Result<Measured> {
    let SourceKind::Kafka(source) = &pipeline.source.kind else {
        bail!("the pipeline reads no topic");
    };
    let mut config = ClientConfig::new();
    for (key, value) in KafkaSource::properties(source, &pipeline.name)? {
        config.set(key, value);
    }
    let ready = Ready::now(began);
    let client: Client<DefaultClientContext> = Client::new(
        &config,
        config.create_native_config()?,
        RDKafkaType::RD_KAFKA_CONSUMER,
        DefaultClientContext,
    )?;
    let metadata = client.fetch_metadata(Some(&source.topic), TIMEOUT)?;
    let topic = metadata.topics().first();
    let topic = topic.context("the brokers do not know the topic")?;
    let mut list = TopicPartitionList::new();
    let mut due = 0;
    for partition in topic.partitions() {
        let (first, behind) = client.fetch_watermarks(&source.topic, partition.id(), TIMEOUT)?;
        due += (behind - first) as u64;
        list.add_partition_offset(&source.topic, partition.id(), Offset::Offset(first))?;
    }
    let started = Instant::now();
    let taken = take(&client, &list, due)?;
    Ok(ready.measured(taken, started.elapsed(), BTreeMap::new()))
}

/// Takes so many messages of these partitions.
fn take(
    client: &Client<DefaultClientContext>,
    list: &TopicPartitionList,
    due: u64,
) -> anyhow::Result<u64> {
    let native = client.native_ptr();
    // SAFETY: client and list are alive, and librdkafka copies the list. The queue is ours to destroy.
    let queue = unsafe {
        let code = sys::rd_kafka_assign(native, list.ptr());
        ensure!(code as i32 == 0, "the partitions were not assigned");
        sys::rd_kafka_queue_get_consumer(native)
    };
    ensure!(!queue.is_null(), "the consumer has no queue");
    let mut messages = vec![ptr::null_mut(); BATCH];
    let (mut taken, mut moved) = (0, Instant::now());
    while taken < due {
        // SAFETY: the queue is alive, and there is room for `BATCH` pointers.
        let count = unsafe {
            sys::rd_kafka_consume_batch_queue(queue, WAIT_MS, messages.as_mut_ptr(), BATCH)
        };
        let count = usize::try_from(count).context("the queue is no queue of messages")?;
        for &message in &messages[..count] {
            // SAFETY: so many messages were written, which are ours, each destroyed once. The code is read as
            // the number that it is; ends of partitions have another one than 0.
            unsafe {
                taken += u64::from((&raw const (*message).err).cast::<i32>().read() == 0);
                sys::rd_kafka_message_destroy(message);
            }
        }
        if count > 0 {
            moved = Instant::now();
        }
        ensure!(moved.elapsed() < TIMEOUT, "no message came for {TIMEOUT:?}");
    }
    // SAFETY: the queue is ours, not used after this, and no message is left.
    unsafe { sys::rd_kafka_queue_destroy(queue) };
    Ok(taken)
}
