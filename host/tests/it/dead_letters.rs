//! Dead letters in a real Kafka, and in the tables of ledgers: what their contract does not ask of all.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use wasmill::config::DeadLetters;
use wasmill::dead_letter::{self, DeadLetterSink};
use wasmill::epoch::EpochOutput;
use wasmill::record::{Cause, DeadLetter, Origin, Partition, RecordHeader};
use wasmill::sink::postgres::PostgresLedger;
use wasmill::sink::sqlite::SqliteLedger;
use wasmill::sink::table::TableTarget;
use wasmill::sink::{Ledger, Remedy, Sink, SinkError};

use crate::support;
use crate::support::postgres::Database;
use crate::support::rows::{self, batch_from, row};

const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// A message, with its headers by name.
#[derive(Debug, PartialEq)]
struct Letter {
    key: String,
    value: Option<Vec<u8>>,
    headers: BTreeMap<String, Vec<u8>>,
}

impl Letter {
    fn header(&self, name: &str) -> Option<&str> {
        let value = self.headers.get(name)?;
        Some(std::str::from_utf8(value).unwrap())
    }
}

fn sink(brokers: &str, topic: &str) -> Box<dyn DeadLetterSink> {
    let settings = DeadLetters::Kafka {
        brokers: brokers.to_owned(),
        topic: topic.to_owned(),
        properties: IndexMap::new(),
    };
    dead_letter::open(&settings, "sales").unwrap()
}

fn letter(offset: i64, value: Option<&[u8]>) -> DeadLetter {
    DeadLetter {
        origin: Origin {
            partition: Partition(3),
            offset,
        },
        document: None,
        headers: Vec::new(),
        stage: "decode".into(),
        component: None,
        cause: Cause::Malformed,
        column: None,
        reason: "not JSON".into(),
        timestamp_ms: None,
        key: None,
        value: value.map(<[u8]>::to_vec),
    }
}

fn header(name: &str, value: Option<&[u8]>) -> RecordHeader {
    RecordHeader {
        name: name.to_owned(),
        value: value.map(<[u8]>::to_vec),
    }
}

fn client() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", support::kafka());
    config
}

fn admin() -> AdminClient<DefaultClientContext> {
    client().create().unwrap()
}

async fn remove(topic: &str) {
    let options = AdminOptions::new();
    admin().delete_topics(&[topic], &options).await.unwrap();
}

/// The first `count` messages of a topic with one partition.
async fn read(topic: &str, count: usize) -> Vec<Letter> {
    let topic = topic.to_owned();
    let reading = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = client().set("group.id", "unused").create().unwrap();
        let mut assignment = TopicPartitionList::new();
        assignment
            .add_partition_offset(&topic, 0, Offset::Beginning)
            .unwrap();
        consumer.assign(&assignment).unwrap();
        let deadline = Instant::now() + READ_TIMEOUT;
        let mut letters = Vec::new();
        while letters.len() < count {
            assert!(Instant::now() < deadline, "only {letters:?}");
            let Some(message) = consumer.poll(Duration::from_millis(100)) else {
                continue;
            };
            let message = message.unwrap();
            let headers = message.headers().unwrap().iter();
            letters.push(Letter {
                key: String::from_utf8(message.key().unwrap().to_vec()).unwrap(),
                value: message.payload().map(<[u8]>::to_vec),
                headers: headers
                    .map(|header| (header.key.to_owned(), header.value.unwrap().to_vec()))
                    .collect(),
            });
        }
        letters
    });
    reading.await.unwrap()
}

#[tokio::test]
async fn a_letter_is_a_message_with_the_records_bytes_and_the_rest_in_headers() {
    let topic = support::unique("dead");
    let mut sink = sink(&support::kafka(), &topic);
    sink.recover(None).await.unwrap();
    let full = DeadLetter {
        component: Some("currency".into()),
        cause: Cause::Rejected,
        column: Some("währung".into()),
        timestamp_ms: Some(1_767_132_194_299),
        key: Some(vec![0, 0xff]),
        headers: vec![
            header("trace", Some(b"7")),
            header("wasmill-stage", Some(b"forged")),
        ],
        ..letter(7, Some(b"\xff not UTF-8"))
    };
    let written = sink.write(&[full, letter(8, None)]).await.unwrap();
    assert_eq!(written, None, "only a file has a length");
    assert_eq!(sink.write(&[]).await.unwrap(), None);

    let letters = read(&topic, 2).await;
    let headers = |pairs: &[(&str, &[u8])]| -> BTreeMap<String, Vec<u8>> {
        pairs
            .iter()
            .map(|(name, value)| (format!("wasmill-{name}"), value.to_vec()))
            .collect()
    };
    let with_trace = |mut headers: BTreeMap<String, Vec<u8>>| {
        headers.insert("trace".into(), b"7".to_vec());
        headers
    };
    assert_eq!(
        letters[0],
        Letter {
            key: "sales/3/7/decode".into(),
            value: Some(b"\xff not UTF-8".to_vec()),
            headers: with_trace(headers(&[
                ("reason", b"not JSON"),
                ("stage", b"decode"),
                ("component", b"currency"),
                ("column", "währung".as_bytes()),
                ("topic", b"sales"),
                ("partition", b"3"),
                ("offset", b"7"),
                ("timestamp", b"1767132194299"),
                ("key", &[0, 0xff]),
            ])),
        }
    );
    assert_eq!(
        letters[1],
        Letter {
            key: "sales/3/8/decode".into(),
            value: None,
            headers: headers(&[
                ("reason", b"not JSON"),
                ("stage", b"decode"),
                ("topic", b"sales"),
                ("partition", b"3"),
                ("offset", b"8"),
            ]),
        }
    );
    remove(&topic).await;
}

#[tokio::test]
async fn many_letters_are_all_there_in_order_when_the_write_returns() {
    let topic = support::unique("dead");
    let mut sink = sink(&support::kafka(), &topic);
    let letters: Vec<_> = (0..5_000).map(|n| letter(n, Some(b"x"))).collect();
    sink.write(&letters).await.unwrap();
    let keys: Vec<_> = read(&topic, 5_000)
        .await
        .into_iter()
        .map(|l| l.key)
        .collect();
    let expected: Vec<_> = (0..5_000).map(|n| format!("sales/3/{n}/decode")).collect();
    assert_eq!(keys, expected);
    remove(&topic).await;
}

#[tokio::test]
async fn a_record_that_the_topic_does_not_take_is_named_without_its_value() {
    let topic = support::unique("dead");
    let small =
        NewTopic::new(&topic, 1, TopicReplication::Fixed(1)).set("max.message.bytes", "2000");
    let options = AdminOptions::new();
    admin().create_topics([&small], &options).await.unwrap();
    let mut sink = sink(&support::kafka(), &topic);
    sink.recover(None).await.unwrap();
    let (large, fitting) = ([b'x'; 5_000], [b'y'; 900]);
    let letters: Vec<_> = [&fitting[..], &large, &fitting, &fitting]
        .iter()
        .zip(0..)
        .map(|(value, offset)| letter(offset, Some(value)))
        .collect();
    sink.write(&letters).await.unwrap();

    let mut letters = read(&topic, 4).await;
    letters.sort_by(|a, b| a.key.cmp(&b.key));
    let left_out = "wasmill-value-bytes-left-out";
    for index in [0, 2, 3] {
        assert_eq!(letters[index].value.as_deref(), Some(&fitting[..]));
        assert_eq!(letters[index].header(left_out), None);
    }
    assert_eq!(letters[1].value, None);
    assert_eq!(letters[1].header(left_out), Some("5000"));
    assert_eq!(letters[1].header("wasmill-offset"), Some("1"));
    remove(&topic).await;
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_unavailable() {
    let error = sink("127.0.0.1:9", "dead").recover(None).await.unwrap_err();
    assert!(matches!(error, SinkError::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("127.0.0.1:9"), "{error}");
}

#[tokio::test]
async fn a_topic_name_that_kafka_does_not_take_is_refused() {
    let error = sink(&support::kafka(), "dead letters")
        .recover(None)
        .await
        .unwrap_err();
    assert!(matches!(error, SinkError::Permanent(_)), "{error}");
}

/// An epoch with a row of this count, and a letter.
fn epoch(number: u64, count: i64) -> EpochOutput {
    let rows = [row("a", count)];
    EpochOutput {
        dead_letters: vec![letter(number.cast_signed(), Some(b"x"))],
        ..rows::epoch(number, vec![batch_from(0, &rows)])
    }
}

fn sales() -> Vec<TableTarget> {
    vec![TableTarget::new(&rows::table("sales"), &rows::schema()).unwrap()]
}

/// Writes epochs to a ledger that is prepared and whose table takes no count of 100.
async fn rolled_back_and_written_again(
    ledger: &mut dyn Ledger,
    mend: impl AsyncFn(),
    letters: impl AsyncFn() -> i64,
) {
    ledger.claim(&serde_json::json!({}), &[]).await.unwrap();
    let _ = ledger.write(&epoch(1, 1)).await.unwrap();
    let error = ledger.write(&epoch(2, 100)).await.unwrap_err();
    assert_ne!(error.remedy(), Remedy::Retry, "{error}");
    assert_eq!(letters().await, 1);
    mend().await;
    let _ = ledger.write(&epoch(2, 100)).await.unwrap();
    let _ = ledger.write(&epoch(2, 100)).await.unwrap();
    assert_eq!(letters().await, 2);
}

#[tokio::test]
async fn letters_are_rolled_back_with_their_epoch_in_postgres() {
    let database = Database::fresh().await;
    let ledger = PostgresLedger::new("db", "shop", &database.secret(), sales()).unwrap();
    let mut ledger = ledger.keeping_letters("letters", "sales").unwrap();
    ledger.prepare().await.unwrap();
    let sql = "ALTER TABLE sales ADD CONSTRAINT small CHECK (count < 100)";
    database.rows(sql).await;
    rolled_back_and_written_again(
        &mut ledger,
        async || {
            database
                .rows("ALTER TABLE sales DROP CONSTRAINT small")
                .await;
        },
        async || {
            let count = database.value("SELECT count(*) FROM letters").await;
            count.parse().unwrap()
        },
    )
    .await;
}

#[tokio::test]
async fn letters_are_rolled_back_with_their_epoch_in_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.sqlite3");
    let ledger = SqliteLedger::new("db", "shop", &path, sales()).unwrap();
    let mut ledger = ledger.keeping_letters("letters", "sales").unwrap();
    ledger.prepare().await.unwrap();
    let file = || rusqlite::Connection::open(&path).unwrap();
    // The letters are written after the rows, so it is they that meet the refusal.
    let refuse = "CREATE TRIGGER small BEFORE INSERT ON letters WHEN NEW.record_offset = 2
                  BEGIN SELECT RAISE(ABORT, 'no'); END";
    file().execute_batch(refuse).unwrap();
    rolled_back_and_written_again(
        &mut ledger,
        async || file().execute_batch("DROP TRIGGER small").unwrap(),
        async || {
            let sql = "SELECT count(*) FROM letters";
            file().query_row(sql, [], |row| row.get(0)).unwrap()
        },
    )
    .await;
    let sql = "SELECT count FROM sales";
    let count: i64 = file().query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(count, 100);
}

#[tokio::test]
async fn another_table_of_that_name_is_refused_with_every_difference() {
    let database = Database::fresh().await;
    database
        .rows("CREATE TABLE letters (pipeline text PRIMARY KEY, reason bytea NOT NULL)")
        .await;
    let ledger = PostgresLedger::new("db", "shop", &database.secret(), Vec::new()).unwrap();
    let mut ledger = ledger.keeping_letters("letters", "sales").unwrap();
    for error in [ledger.check().await.map(drop), ledger.prepare().await] {
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("table `letters` does not fit stream `dead letters`"),
            "{error}"
        );
        assert!(
            error.contains("column `record_offset` is missing"),
            "{error}"
        );
        assert!(error.contains("column `reason` is bytea"), "{error}");
    }
}
