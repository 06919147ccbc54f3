//! Offsets without a record: markers of transactions, aborted records, what compaction took away.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use super::{PATIENCE, Pipeline, records};
use crate::support::broker::Cluster;
use crate::support::kafka::{End, Record, group_offsets};

#[test]
fn transactions_are_read_when_they_are_committed_and_the_run_gets_past_their_markers() {
    let mut pipeline = Pipeline::new(1, "");
    let writer = pipeline.topic.transactions();
    let mut next = 0;
    for (count, end) in [
        (10, End::Commit),
        (20, End::Abort),
        (250, End::Commit),
        (5, End::Abort),
    ] {
        let values = pipeline.values(count);
        let records = records(0, &values);
        pipeline.topic.write_transaction(&writer, records, end);
        if end == End::Commit {
            pipeline.note(0, next, count);
        }
        // And the marker.
        next += count as i64 + 1;
    }
    pipeline.run_once();
    pipeline.assert_exact();
    assert_eq!(pipeline.committed(), [(0, next)].into());

    // While it runs: nothing but gaps comes, and it is at the end all the same.
    let run = pipeline.start();
    pipeline.wait_until_ready();
    let values = pipeline.values(30);
    let aborted = records(0, &values);
    pipeline
        .topic
        .write_transaction(&writer, aborted, End::Abort);
    next += 31;
    pipeline.wait_for_metric("wasmill_partition_end", 0, next as f64);
    pipeline.wait_for_metric("wasmill_partition_position", 0, next as f64);
    pipeline.wait_for_metric("wasmill_partition_lag", 0, 0.0);
    let group = format!("wasmill-{}", pipeline.name);
    pipeline.wait("tools see that it is at the end", || {
        group_offsets(&pipeline.brokers, &group, &pipeline.name, 1) == [Some(next)]
    });
    run.stop(&pipeline);
    pipeline.assert_exact();
    assert_eq!(pipeline.committed(), [(0, next)].into());
}

#[test]
fn a_compacted_topic_is_read_to_its_end() {
    let cluster = Cluster::start(1);
    let pipeline = Pipeline::on(&cluster.addresses(), "");
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("delete.retention.ms", "0"),
    ];
    pipeline.topic.make(1, &settings);
    // Every value of one key replaces those before it.
    let values = pipeline.values(300);
    pipeline
        .topic
        .write(records(0, &values).map(|record| Record {
            key: Some(b"the same"),
            ..record
        }));
    let deadline = Instant::now() + Duration::from_mins(1);
    let mut end = 300;
    let before = loop {
        assert!(Instant::now() < deadline, "nothing was compacted");
        std::thread::sleep(Duration::from_millis(300));
        // Only what lies behind the open segment is compacted, and a record has a new one begun.
        let value = format!(r#"{{"amount": {end}}}"#);
        pipeline.topic.write([Record {
            key: Some(b"another"),
            value: Some(value.as_bytes()),
            ..Record::default()
        }]);
        end += 1;
        let offsets = offsets(&pipeline);
        if !offsets.contains(&200) {
            break offsets;
        }
    };
    pipeline.run_once();
    assert_eq!(pipeline.committed(), [(0, end)].into());
    // It may have gone on being compacted meanwhile.
    let (read, after) = (pipeline.read(), offsets(&pipeline));
    assert!(read.keys().all(|(_, offset)| before.contains(offset)));
    assert!(after.iter().all(|offset| read.contains_key(&(0, *offset))));
    assert!(read.len() < 200, "{}", read.len());

    let run = pipeline.start();
    pipeline.wait_for_metric("wasmill_partition_position", 0, end as f64);
    pipeline.wait_for_metric("wasmill_partition_lag", 0, 0.0);
    run.stop(&pipeline);
    assert_eq!(pipeline.committed(), [(0, end)].into());
}

/// The offsets at which there are records, read by another client than the host's.
fn offsets(pipeline: &Pipeline) -> BTreeSet<i64> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &pipeline.brokers)
        .set("group.id", "another")
        .set("enable.partition.eof", "true")
        .create()
        .expect("a consumer");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&pipeline.name, 0, Offset::Beginning)
        .expect("added");
    consumer.assign(&list).expect("assigned");
    let mut offsets = BTreeSet::new();
    loop {
        match consumer.poll(PATIENCE).expect("an answer") {
            Ok(message) => offsets.insert(message.offset()),
            Err(KafkaError::PartitionEOF(_)) => return offsets,
            Err(error) => panic!("{error}"),
        };
    }
}
