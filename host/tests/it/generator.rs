//! `wasmill generate` into a real Kafka: each record stands where it was made for.

use std::collections::HashSet;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use wasmill::generate::kafka::{KafkaWriteError, Topic};
use wasmill::generate::plan::{Plan, Stop};
use wasmill::generate::{Generator, Settings};
use wasmill::record::{Origin, Partition};

use crate::support;

fn plan(topic: &Topic, count: u64) -> Plan {
    Plan {
        first: topic.ends().to_vec(),
        count: Some(count),
        rate: None,
    }
}

fn consumer(topic: &str, partitions: u32) -> BaseConsumer {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", support::kafka())
        .set("group.id", topic)
        .set("enable.auto.commit", "false")
        .create()
        .expect("the settings are right");
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition as i32, Offset::Beginning)
            .expect("the offset is one");
    }
    consumer.assign(&list).expect("the list is right");
    consumer
}

async fn delete(topic: &str) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", support::kafka())
        .create()
        .expect("the settings are right");
    admin
        .delete_topics(&[topic], &AdminOptions::new())
        .await
        .expect("the topic can be deleted");
}

#[tokio::test]
async fn two_runs_fill_a_topic_with_the_records_of_its_offsets() {
    let (name, brokers) = (support::unique("generated"), support::kafka());
    let generator = Generator::new(Settings {
        bad_share: 0.1,
        ..Settings::default()
    });
    for (run, count) in [(0, 1_000), (1, 2_001)] {
        let topic = Topic::open(&brokers, &name, Some(3)).await.unwrap();
        assert_eq!(topic.ends().iter().sum::<i64>(), run * 1_000);
        let plan = plan(&topic, count);
        let delivered = topic
            .write(&generator, &plan, &Stop::default(), |_| ())
            .unwrap();
        assert_eq!((delivered.made.records, delivered.displaced), (count, 0));
    }

    let consumer = consumer(&name, 3);
    let mut seen = HashSet::new();
    while seen.len() < 3_001 {
        let message = consumer
            .poll(Duration::from_secs(20))
            .expect("more records")
            .unwrap();
        let origin = Origin {
            partition: Partition(message.partition() as u32),
            offset: message.offset(),
        };
        let record = generator.generate(origin);
        let mut value = Vec::new();
        let value = record.render(&mut value).then_some(value.as_slice());
        assert_eq!(message.payload(), value, "{origin:?}");
        assert_eq!(
            message.key(),
            Some(record.transaction().transaction_id.as_bytes())
        );
        seen.insert(record.transaction().transaction_id.clone());
    }
    let other = Topic::open(&brokers, &name, Some(4)).await.err();
    assert!(
        matches!(
            other,
            Some(KafkaWriteError::Partitions {
                found: 3,
                wanted: 4,
                ..
            })
        ),
        "{other:?}"
    );
    delete(&name).await;
}

#[tokio::test]
async fn records_that_another_producer_displaces_are_counted() {
    let (name, brokers) = (support::unique("displaced"), support::kafka());
    let generator = Generator::new(Settings::default());
    let late = Topic::open(&brokers, &name, Some(1)).await.unwrap();
    let early = Topic::open(&brokers, &name, Some(1)).await.unwrap();
    let stop = Stop::default();
    early
        .write(&generator, &plan(&early, 10), &stop, |_| ())
        .unwrap();
    let delivered = late
        .write(&generator, &plan(&late, 5), &stop, |_| ())
        .unwrap();
    assert_eq!(delivered.displaced, 5);
    delete(&name).await;
}
