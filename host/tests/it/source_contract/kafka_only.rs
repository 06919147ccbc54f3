//! What only Kafka has: transactions, topics and brokers that are not there.

use std::thread;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use wasmill::record::{Partition, RawBatch};
use wasmill::source::{PollLimit, SourceError};

use super::benches::{Append, Bench, kafka_source};
use super::{
    LIMIT, PATIENCE, assert_same, ends, no_bound, offsets, poll, positions, read_all, read_count,
    read_until, values,
};
use crate::support;
use crate::support::kafka::{End, Record, Topic};

fn records<'a>(values: &'a [&'a str]) -> impl Iterator<Item = Record<'a>> {
    values.iter().map(|value| Record {
        value: Some(value.as_bytes()),
        ..Record::default()
    })
}

fn text(values: &[&str]) -> Vec<Vec<u8>> {
    values
        .iter()
        .map(|value| value.as_bytes().to_vec())
        .collect()
}

#[test]
fn aborted_records_are_invisible_and_markers_are_gaps() {
    let topic = Topic::create("source_kafka", 1);
    let writer = topic.transactions();
    topic.write_transaction(&writer, records(&["a", "b"]), End::Commit); // 0 1, marker 2
    topic.write_transaction(&writer, records(&["x", "y", "z"]), End::Abort); // 3 4 5, marker 6
    topic.write_transaction(&writer, records(&["c"]), End::Commit); // 7, marker 8
    topic.write_transaction(&writer, records(&["w"]), End::Abort); // 9, marker 10
    let mut source = topic.source();
    assert_eq!(ends(source.as_mut()), positions(&[(0, 11)]));
    let read = read_all(source.as_mut());
    assert_eq!(values(&read[&0]), text(&["a", "b", "c"]));
    assert_eq!(offsets(&read[&0]), [0, 1, 7]);
    assert_eq!(
        source.positions(),
        &positions(&[(0, 11)]),
        "past the last marker"
    );

    // Every offset may be a position and a bound, those in gaps too.
    for from in 0..=11 {
        for to in from..=11 {
            source.seek(&positions(&[(0, from)])).expect("in range");
            let read = read_until(source.as_mut(), &positions(&[(0, to)]), LIMIT);
            let expected: Vec<_> = [0, 1, 7]
                .into_iter()
                .filter(|o| (from..to).contains(o))
                .collect();
            let read = read
                .get(&0)
                .map(|records| offsets(records))
                .unwrap_or_default();
            assert_eq!(read, expected, "from {from} to {to}");
            assert_eq!(source.positions(), &positions(&[(0, to)]));
        }
    }
}

#[test]
fn the_end_stands_before_an_open_transaction() {
    let topic = Topic::create("source_kafka", 1);
    topic.write(records(&["before"]));
    let writer = topic.transactions();
    topic.write_transaction(&writer, records(&["open"]), End::Leave);
    topic.write(records(&["behind"]));
    let mut source = topic.source();
    assert_eq!(ends(source.as_mut()), positions(&[(0, 1)]));
    let read = read_all(source.as_mut());
    assert_eq!(values(&read[&0]), text(&["before"]));
    assert!(poll(source.as_mut(), &no_bound(), LIMIT).is_empty());
    writer.commit();
    let read = read_count(source.as_mut(), 2);
    assert_eq!(values(&read[&0]), text(&["open", "behind"]));

    let settings = [("isolation.level", "read_uncommitted")];
    let mut source = kafka_source(&support::kafka(), topic.name(), &settings).expect("allowed");
    assert_eq!(ends(source.as_mut()), positions(&[(0, 4)]));
}

/// Far more lies beyond the bound than may be held, so the partition is given up and taken again.
#[test]
fn a_bound_far_before_the_end_costs_no_record_and_little_memory() {
    let topic = Topic::create("source_kafka", 2);
    let value = vec![b'x'; 10_000];
    let write = |partition, count| {
        topic.write((0..count).map(|_| Record {
            partition,
            value: Some(&value),
            ..Record::default()
        }));
    };
    write(0, 4_000);
    write(1, 4_000);
    let mut source = topic.source();
    source
        .seek(&positions(&[(0, 0), (1, 0)]))
        .expect("in range");
    let read = read_until(source.as_mut(), &positions(&[(0, 10), (1, 4_000)]), LIMIT);
    assert_same(&offsets(&read[&0]), &(0..10).collect::<Vec<_>>());
    assert_same(&offsets(&read[&1]), &(0..4_000).collect::<Vec<_>>());
    // Higher bounds, one after another, then none at all.
    let mut seen = 10;
    for bound in [11, 500, 3_000] {
        let read = read_until(source.as_mut(), &positions(&[(0, bound)]), LIMIT);
        assert_same(&offsets(&read[&0]), &(seen..bound).collect::<Vec<_>>());
        seen = bound;
    }
    write(0, 5);
    let read = read_count(source.as_mut(), 1_005);
    assert_same(&offsets(&read[&0]), &(3_000..4_005).collect::<Vec<_>>());
}

#[test]
fn a_missing_topic_is_waited_for() {
    let topic = Topic::named(support::unique("source_kafka_missing"));
    let mut source = topic.source();
    let error = source.partitions().expect_err("not there");
    assert!(matches!(error, SourceError::Unavailable { .. }));
    let expected = format!("topic {} does not exist yet", topic.name());
    assert!(error.to_string().contains(&expected), "{error}");
    let error = source.seek(&positions(&[(0, 0)])).expect_err("not there");
    assert!(matches!(error, SourceError::Unavailable { .. }));

    topic.make(1, &[]);
    topic.write(records(&["first"]));
    let started = Instant::now();
    while let Err(error) = source.partitions() {
        assert!(started.elapsed() < PATIENCE, "{error}");
    }
    let read = read_all(source.as_mut());
    assert_eq!(values(&read[&0]), text(&["first"]));
}

#[test]
fn a_topic_that_is_deleted_while_it_is_read_is_reported() {
    let topic = Topic::create("source_kafka", 1);
    topic.write(records(&["only"]));
    // How long librdkafka believes in a topic that brokers deny; 30 s otherwise.
    let settings = [("topic.metadata.propagation.max.ms", "100")];
    let mut source = kafka_source(&support::kafka(), topic.name(), &settings).expect("allowed");
    read_all(source.as_mut());
    topic.delete();
    let started = Instant::now();
    let mut batch = RawBatch::default();
    let error = loop {
        assert!(started.elapsed() < PATIENCE, "no error came");
        if let Err(error) = source.poll(&no_bound(), LIMIT, &mut batch) {
            break error;
        }
    };
    assert!(matches!(error, SourceError::Unavailable { .. }), "{error}");
    assert!(batch.is_empty());
}

#[test]
fn a_broker_that_is_not_there_is_unavailable_within_seconds() {
    let mut source = kafka_source("127.0.0.1:1", "sales", &[]).expect("allowed");
    let started = Instant::now();
    let error = source.partitions().expect_err("nobody listens");
    assert!(matches!(error, SourceError::Unavailable { .. }));
    assert!(
        error.to_string().contains("Kafka at 127.0.0.1:1"),
        "{error}"
    );
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[test]
fn every_compression_is_read() {
    for compression in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = Topic::create_with(
            "source_kafka",
            1,
            &[(
                "compression.type",
                match compression {
                    "none" => "uncompressed",
                    other => other,
                },
            )],
        );
        topic.write(records(&["one", "two"]));
        let read = read_all(topic.source().as_mut());
        assert_eq!(values(&read[&0]), text(&["one", "two"]), "{compression}");
    }
}

#[test]
fn headers_come_with_their_records() {
    for compression in ["none", "lz4"] {
        let topic = Topic::create("source_kafka", 1);
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", support::kafka())
            .set("compression.type", compression)
            .set("linger.ms", "100")
            .create()
            .expect("a producer");
        // Every kind of record before and behind every other, with headers and without.
        let value = |record: usize| [None, Some(""), Some("v"), Some("\u{0}\u{0}")][record % 4];
        let key = |record: usize| [None, Some("k"), Some("")][record / 4 % 3];
        let header =
            |record: usize| [None, None, Some((Some("h"), "1")), Some((None, ""))][record / 12 % 4];
        let records: Vec<usize> = (0..48 * 48)
            .map(|n| n / 48 * (n % 2) + n % 48 * (1 - n % 2))
            .collect();
        for &record in &records {
            let mut message = BaseRecord::<str, str>::to(topic.name()).partition(0);
            message.payload = value(record);
            message.key = key(record);
            message.headers = header(record)
                .map(|(value, key)| OwnedHeaders::new().insert(Header { key, value }));
            producer
                .send(message)
                .map_err(|(error, _)| error)
                .expect("queued");
        }
        producer.flush(PATIENCE).expect("written");
        let mut source = topic.source();
        let ends = ends(source.as_mut());
        let start = ends.iter().map(|(partition, _)| (partition, 0)).collect();
        source.seek(&start).expect("in range");
        let mut batch = RawBatch::default();
        while !source.positions().reached(&ends) {
            source.poll(&ends, LIMIT, &mut batch).expect("read");
        }
        assert_eq!(batch.len(), records.len());
        for (read, &record) in batch.iter().zip(&records) {
            let written =
                header(record).map(|(value, key)| (key.as_bytes(), value.map(str::as_bytes)));
            assert_eq!(
                read.value,
                value(record).map(str::as_bytes),
                "{compression} {record}"
            );
            assert!(read.headers.iter().eq(written), "{compression} {record}");
        }
    }
}

#[test]
fn a_new_partition_shows_and_can_be_read() {
    let topic = Topic::create("source_kafka", 1);
    topic.write(records(&["one"]));
    let mut source = topic.source();
    read_all(source.as_mut());
    let started = Instant::now();
    topic.add_partitions(2);
    while source.partitions().expect("there").len() < 2 {
        assert!(
            started.elapsed() < PATIENCE,
            "the second partition never came"
        );
    }
    topic.write([Record {
        partition: 1,
        value: Some(b"two"),
        ..Record::default()
    }]);
    let mut stand = source.positions().clone();
    stand.set(Partition(1), 0);
    source.seek(&stand).expect("in range");
    let limit = PollLimit {
        wait_max: PATIENCE,
        ..LIMIT
    };
    let read = poll(source.as_mut(), &no_bound(), limit);
    assert_eq!(values(&read[&1]), text(&["two"]));
}

/// librdkafka aborts the process when an assignment changes, or a consumer is closed, while the
/// last assignment is still being stopped. With threads in each other's way that happens soon.
#[test]
fn seeks_and_closings_in_quick_succession_are_survived() {
    let topic = Topic::create("source_kafka", 8);
    for partition in 0..8 {
        topic.append(partition, &[b"value".as_slice(); 100]);
    }
    let all: Vec<_> = (0..8).map(|partition| (partition, 0)).collect();
    let seeks_and_closings = |reads: bool| {
        for round in 0..12 {
            let mut source = topic.source();
            source.seek(&positions(&all)).expect("in range");
            if reads {
                poll(source.as_mut(), &no_bound(), LIMIT);
            }
            for _ in 0..round % 3 {
                source.seek(&positions(&all[..4])).expect("in range");
                source.seek(&positions(&all[2..6])).expect("in range");
            }
        }
    };
    let seeks_and_closings = &seeks_and_closings;
    thread::scope(|scope| {
        for thread in 0..6 {
            scope.spawn(move || seeks_and_closings(thread % 2 == 0));
        }
    });
}

/// More is deleted than librdkafka can have fetched ahead, so it has to ask for what is gone.
#[test]
fn deletion_of_what_was_not_fetched_yet_is_an_error_until_sought() {
    let topic = Topic::create("source_kafka", 1);
    // 30 MB that no compression makes small.
    let mut state = 1u32;
    let noise: Vec<u8> = (0..500_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    topic.append(0, &[noise.as_slice(); 60]);
    let mut source = topic.source();
    source.seek(&positions(&[(0, 0)])).expect("in range");
    poll(source.as_mut(), &positions(&[(0, 1)]), LIMIT);
    topic.delete_before(0, 55);
    let started = Instant::now();
    let mut errors = 0;
    while errors < 2 {
        assert!(started.elapsed() < PATIENCE, "no error came");
        let mut batch = RawBatch::default();
        match source.poll(&no_bound(), LIMIT, &mut batch) {
            Ok(()) => assert_eq!(errors, 0, "it stays an error"),
            Err(SourceError::OutOfRange { begin, end, .. }) => {
                assert_eq!((begin, end), (55, 60));
                errors += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(source.positions().get(Partition(0)).expect("sought") < 55);
    source.seek(&positions(&[(0, 55)])).expect("in range");
    let read = read_count(source.as_mut(), 5);
    assert_eq!(offsets(&read[&0]), [55, 56, 57, 58, 59]);
}
