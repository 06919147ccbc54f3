//! Which partitions the topic has, and what can be read of each.

use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use super::native::Enquiry;
use crate::record::Partition;
use crate::source::PartitionRange;

/// All questions of one call together.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(5);

/// Why the question has no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// the topic is not there (yet)
    NoTopic,
    /// an error of librdkafka or of a broker
    Code(RDKafkaErrorCode),
    /// something else that the crate says
    Other(KafkaError),
}

impl From<KafkaError> for NoAnswer {
    fn from(error: KafkaError) -> Self {
        match error.rdkafka_error_code() {
            Some(code) => code.into(),
            None => Self::Other(error),
        }
    }
}

impl From<RDKafkaErrorCode> for NoAnswer {
    fn from(code: RDKafkaErrorCode) -> Self {
        match code {
            RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => {
                Self::NoTopic
            }
            code => Self::Code(code),
        }
    }
}

/// What each partition holds.
///
/// `end` is what a reader of the consumer's `isolation.level` can reach: under `read_committed` the
/// last stable offset, which stands before the first transaction that is still open and after the
/// markers of those that ended, and otherwise the high watermark. Both questions go to the leaders
/// as one request each, whatever the number of partitions.
pub(super) fn ranges(enquiry: &Enquiry, topic: &str) -> Result<Vec<PartitionRange>, NoAnswer> {
    let deadline = Instant::now() + ANSWER_WAIT_MAX;
    let remaining = || deadline.saturating_duration_since(Instant::now());
    let partitions = partition_ids(enquiry, topic, remaining())?;
    let begins = offsets(enquiry, topic, &partitions, Offset::Beginning, remaining())?;
    // The end is asked for second: it only rises, so it is never before the beginning.
    let ends = offsets(enquiry, topic, &partitions, Offset::End, remaining())?;
    let mut ranges = Vec::with_capacity(partitions.len());
    for ((&partition, &begin), &end) in partitions.iter().zip(&begins).zip(&ends) {
        ranges.push(PartitionRange {
            partition: Partition(partition as u32),
            begin,
            end,
        });
    }
    Ok(ranges)
}

/// The ids of the topic's partitions, in order.
fn partition_ids(enquiry: &Enquiry, topic: &str, wait_max: Duration) -> Result<Vec<i32>, NoAnswer> {
    let metadata = enquiry.client().fetch_metadata(Some(topic), wait_max)?;
    let Some(found) = metadata.topics().first() else {
        return Err(NoAnswer::NoTopic);
    };
    if let Some(error) = found.error() {
        return Err(RDKafkaErrorCode::from(error).into());
    }
    let mut ids = Vec::with_capacity(found.partitions().len());
    for partition in found.partitions() {
        // A replica that is away is not our concern, a leader that is away will show in its answer.
        if let Some(error @ RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE) =
            partition.error()
        {
            return Err(RDKafkaErrorCode::from(error).into());
        }
        ids.push(partition.id());
    }
    if ids.is_empty() {
        return Err(NoAnswer::NoTopic);
    }
    ids.sort_unstable();
    Ok(ids)
}

/// The first or last offset of each partition, in the order of `partitions`. Kafka answers this as
/// a lookup by time, with a special time.
fn offsets(
    enquiry: &Enquiry,
    topic: &str,
    partitions: &[i32],
    which: Offset,
    wait_max: Duration,
) -> Result<Vec<i64>, NoAnswer> {
    let question = partitions.iter().map(|&partition| (partition, which));
    let mut answer = list(topic, question)?;
    enquiry.look_up(&mut answer, wait_max)?;
    partitions
        .iter()
        .map(|&partition| {
            let found = answer
                .find_partition(topic, partition)
                .ok_or(RDKafkaErrorCode::UnknownPartition)?;
            found.error()?;
            match found.offset() {
                Offset::Offset(offset) => Ok(offset),
                _ => Err(RDKafkaErrorCode::NoOffset.into()),
            }
        })
        .collect()
}

/// Partitions with offsets, as librdkafka takes them.
pub(super) fn list(
    topic: &str,
    offsets: impl IntoIterator<Item = (i32, Offset)>,
) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in offsets {
        list.add_partition_offset(topic, partition, offset)?;
    }
    Ok(list)
}
