//! `wasmill dead-letters` on real servers: what was left out, why, and sent again once the cause is
//! mended.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::Value;
use wasmill::generate::{Generated, Generator, Settings};
use wasmill::record::{Origin, Partition};

use crate::support;
use crate::support::binary::{stderr, stdout, wasmill};
use crate::support::job::{Job, succeed};
use crate::support::kafka::Topic;
use crate::support::outcome;
use crate::support::truth;

const RECORDS: u64 = 3_000;
const PARTITIONS: u32 = 3;

/// Without this rate every sale in pounds is rejected.
const RATE: &str = ", GBP = \"1.27\"";

/// The shipped job, whose dead letters are `letters`, and that lacks a rate.
async fn job(prefix: &str, letters: &str) -> Job {
    Job::new(prefix, |text| {
        let (text, admin) = text.split_once("[dead_letters]").unwrap();
        let (_, admin) = admin.split_once("[admin]").unwrap();
        assert!(text.contains(RATE));
        let text = text.replace(RATE, "");
        format!("{text}[dead_letters]\n{letters}\n[admin]{admin}")
    })
    .await
}

fn settings() -> Settings {
    Settings {
        seed: 4_711,
        bad_share: 0.02,
        ..Settings::default()
    }
}

/// The records that are in a currency without a rate: where they are, and how many are faulty.
fn without_rate() -> (BTreeSet<(u32, i64)>, u64) {
    let generator = Generator::new(settings());
    let (mut places, mut faulty) = (BTreeSet::new(), 0);
    for index in 0..RECORDS {
        let origin = Origin {
            partition: Partition((index % u64::from(PARTITIONS)) as u32),
            offset: (index / u64::from(PARTITIONS)) as i64,
        };
        match generator.generate(origin) {
            Generated::Good(sale) if sale.currency == "GBP" => {
                places.insert((origin.partition.0, origin.offset));
            }
            Generated::Good(_) => {}
            Generated::Bad(..) => faulty += 1,
        }
    }
    (places, faulty)
}

fn command(job: &Job, arguments: &[&str]) -> String {
    succeed(job.wasmill(&[&["dead-letters"], arguments].concat()))
}

fn json(job: &Job, arguments: &[&str]) -> Vec<Value> {
    let printed = command(job, &[arguments, &["--json"]].concat());
    match serde_json::from_str(&printed).unwrap() {
        Value::Array(values) => values,
        other => panic!("{other}"),
    }
}

/// Rejected, listed, shown, replayed after the mending, and then everything is as if nothing had
/// ever been wrong.
async fn what_was_rejected_is_replayed_into_every_total(job: &Job) {
    job.generate(&settings(), PARTITIONS, RECORDS);
    let printed = job.run_once();
    let (pounds, faulty) = without_rate();
    let left_out = pounds.len() as u64 + faulty;
    let dead = format!("{left_out} dead letters");
    assert!(printed.contains(&dead), "{printed}");
    assert_eq!(counted(job), left_out);
    they_are_listed_and_shown(job, &pounds);

    let replay = [
        "replay",
        "pipeline.toml",
        "--stage",
        "sales",
        "--reason",
        "GBP",
    ];
    let dry = command(job, &[&replay[..], &["--dry-run"]].concat());
    let records = pounds.len();
    let would = format!("{records} records would be produced to topic {}", job.topic);
    assert!(dry.contains(&would), "{dry}");
    let arguments = [&["dead-letters"], &replay[..]].concat();
    let unanswered = job.wasmill(&arguments).output().unwrap();
    assert_eq!(unanswered.status.code(), Some(1));
    let said = stderr(&unanswered);
    assert!(said.contains("say --yes"), "{said}");

    job.edit(|text| text.replace("EUR = \"1.08\"", &format!("EUR = \"1.08\"{RATE}")));
    let printed = command(job, &[&replay[..], &["--yes"]].concat());
    let produced = format!("produced {records} of {records} records to ");
    assert!(printed.contains(&produced), "{printed}");
    let printed = job.run_once();
    assert!(printed.contains(&format!("{records} records")), "{printed}");

    let expected = truth::expected(&settings(), PARTITIONS, RECORDS);
    let found = outcome::totals_and_rows(job).await;
    assert_eq!(found.transactions, expected.transactions);
    assert_eq!(found.totals, expected.totals);
    assert_eq!(counted(job), left_out, "a replay changes no letter");
}

/// How many letters there are.
fn counted(job: &Job) -> u64 {
    let groups = json(job, &["list", "pipeline.toml", "--count"]);
    let letters = groups.iter().map(|group| group["letters"].as_u64());
    letters.map(Option::unwrap).sum()
}

fn they_are_listed_and_shown(job: &Job, pounds: &BTreeSet<(u32, i64)>) {
    let of_pounds = ["list", "pipeline.toml", "--reason", "GBP"];
    let groups = json(job, &[&of_pounds[..], &["--count"]].concat());
    assert_eq!(groups.len(), 1, "{groups:?}");
    assert_eq!(groups[0]["letters"], pounds.len());
    let listed = json(job, &[&of_pounds[..], &["--limit", "100000"]].concat());
    let listed: BTreeSet<(u32, i64)> = listed
        .iter()
        .map(|letter| {
            let number = |name: &str| letter[name].as_i64().unwrap();
            let partition = u32::try_from(number("partition")).unwrap();
            (partition, number("offset"))
        })
        .collect();
    assert_eq!(listed, *pounds);
    let table = command(
        job,
        &["list", "pipeline.toml", "--stage", "sales", "--limit", "3"],
    );
    assert_eq!(table.lines().count(), 2 + 3, "{table}");

    let &(partition, offset) = pounds.first().unwrap();
    let place = format!("{partition}:{offset}");
    let shown = command(job, &["show", "pipeline.toml", &place]);
    assert!(shown.contains("\"currency\": \"GBP\""), "{shown}");
    let shown = &json(job, &["show", "pipeline.toml", &place])[0];
    assert_eq!(shown["stage"], "sales");
    assert_eq!(shown["component"], "currency");
    let record: Value = serde_json::from_str(shown["value"].as_str().unwrap()).unwrap();
    assert_eq!(record["transactionId"], shown["key"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_in_a_table_are_replayed() {
    let job = job("letters_table", "type = \"postgres\"").await;
    what_was_rejected_is_replayed_into_every_total(&job).await;
    // An engineer's query, without quotes.
    let sql = "SELECT count(*), count(DISTINCT (partition, record_offset)), \
               count(*) FILTER (WHERE convert_from(value, 'UTF8')::json ->> 'currency' = 'GBP') \
               FROM wasmill_dead_letters WHERE pipeline = 'ecommerce-sales' AND stage = 'sales' \
               AND reason LIKE '%GBP%'";
    let row = job.database().await.query_one(sql, &[]).await.unwrap();
    let pounds = without_rate().0.len() as i64;
    assert_eq!(
        [0, 1, 2].map(|column| row.get::<_, i64>(column)),
        [pounds; 3]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_in_a_topic_are_replayed() {
    let job = job("letters_topic", "type = \"kafka\"\ntopic = \"replaced\"").await;
    let dead = job.dead_letter_topic();
    job.edit(|text| text.replace("\"replaced\"", &format!("\"{dead}\"")));
    what_was_rejected_is_replayed_into_every_total(&job).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_in_a_file_are_replayed() {
    let job = job("letters_file", "type = \"file\"\npath = \"dead.ndjson\"").await;
    what_was_rejected_is_replayed_into_every_total(&job).await;
}

/// Makes a topic, which its job removes at its end, and fills it.
fn fill(name: &str, partitions: u32, fill: impl FnOnce(&Topic) + Send) {
    // On a thread of its own: a test's runtime does not wait inside itself.
    let filling = || {
        let topic = Topic::named(name.to_owned());
        topic.make(partitions, &[]);
        fill(&topic);
        std::mem::forget(topic);
    };
    std::thread::scope(|scope| scope.spawn(filling).join().unwrap());
}

const PATIENCE: Duration = Duration::from_secs(30);

/// What a record was sent with.
#[derive(Debug, PartialEq)]
struct Sent {
    partition: i32,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    timestamp_ms: Option<i64>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

fn client() -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", support::kafka())
        .set("group.id", "unused");
    config
}

/// A record that is no JSON, in a partition where its key does not belong.
fn send_strange(topic: &str) {
    let producer: BaseProducer = client().create().unwrap();
    let header = |key, value| Header { key, value };
    let headers = OwnedHeaders::new()
        .insert(header("trace", Some(&b"\x00\xff"[..])))
        .insert(header("trace", Some(b"again")))
        .insert(header("null", None))
        .insert(header("wasmill-replayed-from", Some(b"elsewhere/0/1")));
    let record = BaseRecord::to(topic)
        .partition(2)
        .key(&b"\xffkey"[..])
        .payload(&b"\x00not JSON"[..])
        .timestamp(1_700_000_000_123)
        .headers(headers);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(PATIENCE).unwrap();
}

/// What stands in a partition from an offset on, so many of them.
fn sent(topic: &str, partition: i32, from: i64, count: usize) -> Vec<Sent> {
    let consumer: BaseConsumer = client().create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(from))
        .unwrap();
    consumer.assign(&list).unwrap();
    let next = |_| {
        let message = consumer.poll(PATIENCE).expect("a message").unwrap();
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            let headers = headers.iter();
            headers
                .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
                .collect()
        });
        Sent {
            partition: message.partition(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            timestamp_ms: message.timestamp().to_millis(),
            headers,
        }
    };
    (0..count).map(next).collect()
}

async fn a_replayed_record_is_as_it_was(letters: &str) {
    let job = job("as_it_was", letters).await;
    fill(&job.topic, 3, |topic| send_strange(topic.name()));
    job.run_once();
    let place = "2:0";
    let replay = ["replay", "pipeline.toml", place, "--yes"];
    let printed = command(&job, &replay);
    assert!(printed.contains("produced 1 of 1 record to "), "{printed}");
    let found = sent(&job.topic, 2, 0, 2);
    let [original, again] = &found[..] else {
        panic!("{found:?}");
    };
    let from = format!("{}/2/0", job.topic).into_bytes();
    let mut headers = original.headers.clone();
    headers.retain(|(name, _)| name != "wasmill-replayed-from");
    headers.push(("wasmill-replayed-from".to_owned(), Some(from.clone())));
    assert_eq!(again.headers, headers);
    let but_for_headers = |sent: &Sent| {
        let Sent {
            partition,
            key,
            value,
            timestamp_ms,
            ..
        } = sent;
        (*partition, key.clone(), value.clone(), *timestamp_ms)
    };
    assert_eq!(but_for_headers(again), but_for_headers(original));
    assert_eq!(again.timestamp_ms, Some(1_700_000_000_123));

    // It is rejected again, and its letter says where it came from.
    job.run_once();
    let letters = json(&job, &["list", "pipeline.toml"]);
    assert_eq!(letters.len(), 2, "{letters:?}");
    assert_eq!(letters[1]["offset"], 1);
    let said = letters[1]["headers"].as_array().unwrap().last().unwrap();
    assert_eq!(said["value"].as_str().unwrap().as_bytes(), from);
    // By its key it goes where clients would put it now.
    command(
        &job,
        &[
            "replay",
            "pipeline.toml",
            place,
            "--yes",
            "--by-key",
            "java",
        ],
    );
    let replay = [
        "dead-letters",
        "replay",
        "pipeline.toml",
        "0:9",
        place,
        "--yes",
    ];
    let gone = job.wasmill(&replay).output().unwrap();
    assert_eq!(gone.status.code(), Some(1));
    assert!(
        stderr(&gone).contains("no dead letter of 0:9 in "),
        "{}",
        stderr(&gone)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_from_a_table_is_replayed_as_it_was() {
    a_replayed_record_is_as_it_was("type = \"postgres\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_from_a_file_is_replayed_as_it_was() {
    a_replayed_record_is_as_it_was("type = \"file\"\npath = \"dead.ndjson\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_from_a_topic_is_replayed_as_it_was() {
    let dead = support::unique("as_it_was_dead");
    a_replayed_record_is_as_it_was(&format!("type = \"kafka\"\ntopic = \"{dead}\"")).await;
    let removing = std::thread::spawn(move || drop(Topic::named(dead)));
    removing.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_document_is_listed_and_cannot_be_replayed() {
    let job = job("refused_letters", "type = \"postgres\"").await;
    job.edit(|text| {
        // A total goes into an index that has it as a date.
        let index = "[[sink.indices]]\nfrom = \"customer_totals\"\nindex = \"TOTALS\"\n\
                     id = \"customer_id\"\ncolumns = { customer_id = \"customer_id\" }\n";
        let index = index.replace("TOTALS", &format!("{}_totals", job.index));
        text.replace("[[sink.indices]]", &format!("{index}[[sink.indices]]"))
    });
    let record = include_str!("../data/transactions.ndjson")
        .lines()
        .next()
        .unwrap();
    // PostgreSQL takes ids of 600 bytes, Elasticsearch does not.
    let mut fields: Value = serde_json::from_str(record).unwrap();
    fields["currency"] = "USD".into();
    fields["customerId"] = "c".repeat(600).into();
    fields["transactionId"] = "t".repeat(600).into();
    let record = fields.to_string();
    fill(&job.topic, 1, |topic| {
        topic.write([support::kafka::Record {
            value: Some(record.as_bytes()),
            ..support::kafka::Record::default()
        }]);
    });
    job.run_once();
    let letters = json(&job, &["list", "pipeline.toml"]);
    assert_eq!(letters.len(), 2, "{letters:?}");
    assert!(letters.iter().all(|letter| letter["stage"] == "search"));
    let of_aggregate = letters
        .iter()
        .find(|letter| letter["offset"].is_null())
        .unwrap();
    let document = of_aggregate["document"].as_str().unwrap();
    assert!(
        document.starts_with(&format!("{}_totals/sha256:", job.index)),
        "{document}"
    );
    let table = command(&job, &["list", "pipeline.toml"]);
    assert!(table.contains(&format!("document {document}")), "{table}");
    let replay = ["dead-letters", "replay", "pipeline.toml", "--all", "--yes"];
    let output = job.wasmill(&replay).output().unwrap();
    assert_eq!(stdout(&output), "nothing to replay\n");
    let said = stderr(&output);
    assert!(
        said.contains("2 cannot be produced again (") && said.contains(document),
        "{said}"
    );
    let replay = ["dead-letters", "replay", "pipeline.toml", "0:0", "--yes"];
    let output = job.wasmill(&replay).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    support::elastic::Elastic::new(&support::elasticsearch())
        .remove(&format!("{}_totals", job.index))
        .await;
}

#[test]
fn without_a_topic_nothing_is_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let run = |source: &str| {
        let text = format!(
            "[pipeline]\nname = \"shop\"\n[source]\n{source}\n\
             columns = [{{ name = \"id\", from = \"transactionId\", type = \"utf8\" }}]\n\
             [[sink]]\nname = \"db\"\ntype = \"sqlite\"\npath = \"shop.sqlite3\"\n\
             tables = [{{ from = \"source\", table = \"t\", key = [\"id\"] }}]\n\
             [dead_letters]\ntype = \"sqlite\"\n"
        );
        std::fs::write(folder.path().join("pipeline.toml"), text).unwrap();
        let mut replay = wasmill(&["dead-letters", "replay", "pipeline.toml", "--all"]);
        let output = replay.current_dir(folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        stderr(&output)
    };
    let files = run("type = \"file\"\npaths = [\"a.ndjson\"]");
    assert!(
        files.contains("nothing can be produced to the source"),
        "{files}"
    );
    assert!(run("type = \"generator\"").contains("it is a generator"));
    let mut list = wasmill(&["dead-letters", "list"]);
    let output = list.current_dir(folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("there is no table `wasmill_dead_letters`"));
}

#[test]
fn letters_of_an_embedded_run_are_found_where_it_put_them() {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../pipeline.toml");
    let text = std::fs::read_to_string(shipped).unwrap();
    let guests = support::guest("totals");
    let guests = guests.parent().unwrap().canonicalize().unwrap();
    let text = text.replace("target/guests", guests.to_str().unwrap());
    let (table, _) = text.split_once("[dead_letters]").unwrap();
    let table = format!("{table}[dead_letters]\ntype = \"postgres\"\n");
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = wasmill(arguments);
        command.current_dir(folder.path());
        succeed(command)
    };
    for (name, text) in [("file", &text), ("table", &table)] {
        std::fs::write(folder.path().join("pipeline.toml"), text).unwrap();
        let embedded = ["--embedded", "--data", name];
        let records = ["--once", "--records", "500", "--bad-share", "0.1"];
        let printed = run(&[&["run", "pipeline.toml"], &embedded[..], &records].concat());
        let list = ["dead-letters", "list", "pipeline.toml", "--count", "--json"];
        let groups: Value = serde_json::from_str(&run(&[&list[..], &embedded].concat())).unwrap();
        let groups = groups.as_array().unwrap().iter();
        let letters: u64 = groups.map(|group| group["letters"].as_u64().unwrap()).sum();
        assert!(letters > 20, "{letters}");
        assert!(
            printed.contains(&format!("{letters} dead letters")),
            "{printed}"
        );
    }
}
