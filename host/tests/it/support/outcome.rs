//! What a job has left in the servers, read by other clients than the host's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use elasticsearch::http::Method;
use rdkafka::ClientConfig;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::{Value, json};

use super::elastic::Elastic;
use super::job::Job;
use super::truth::{Outcome, Place, Total};

/// Documents a page.
const PAGE: usize = 10_000;
/// For anything that a healthy broker does at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// The tables of totals, with the columns of their keys.
pub(crate) const TOTALS: [(&str, &[&str]); 7] = [
    ("sales_per_day", &["transaction_date"]),
    ("sales_per_month", &["year", "month"]),
    ("sales_per_category", &["transaction_date", "category"]),
    ("sales_per_brand", &["transaction_date", "brand"]),
    (
        "sales_per_payment_method",
        &["transaction_date", "payment_method"],
    ),
    ("sales_per_currency", &["transaction_date", "currency"]),
    ("customer_totals", &["customer_id"]),
];

/// `transactions`: the id, and the other columns as text.
pub(crate) const ROWS: &str = "\
    SELECT transaction_id, product_id, product_name, product_category, \
    product_price::text, product_quantity::text, product_brand, currency, customer_id, \
    (extract(epoch FROM transaction_date) * 1000000)::bigint::text, payment_method, \
    total_amount::text, total_amount_base::text FROM transactions";

/// All tables, and the dead letters.
pub(crate) async fn found(job: &Job) -> Outcome {
    Outcome {
        dead: dead_letters(job),
        ..totals_and_rows(job).await
    }
}

/// All tables.
pub(crate) async fn totals_and_rows(job: &Job) -> Outcome {
    let database = job.database().await;
    let mut outcome = Outcome::default();
    for row in database.query(ROWS, &[]).await.unwrap() {
        let columns = (1..row.len()).map(|i| row.get(i)).collect();
        outcome.transactions.insert(row.get(0), columns);
    }
    for (table, key) in TOTALS {
        outcome
            .totals
            .insert(table, totals(&database, table, key).await);
    }
    outcome
}

/// A table of totals: by key, its columns as text.
pub(crate) async fn totals(
    database: &tokio_postgres::Client,
    table: &str,
    key: &[&str],
) -> BTreeMap<Vec<String>, Total> {
    let columns = key.join("::text, ");
    let sql =
        format!("SELECT {columns}::text, (total_sales * 100)::bigint, transactions FROM {table}");
    let rows = database.query(&sql, &[]).await.unwrap();
    rows.iter()
        .map(|row| {
            let (total, count): (i64, i64) = (row.get(key.len()), row.get(key.len() + 1));
            let key = (0..key.len()).map(|i| row.get(i)).collect();
            (key, (total.into(), count))
        })
        .collect()
}

/// The index: by id the fields of each document.
pub(crate) async fn indexed(job: &Job) -> BTreeMap<String, Value> {
    let mut documents = BTreeMap::new();
    each_document(&job.index, |id, source| {
        let before = documents.insert(id, source);
        assert_eq!(before, None, "a document is found once");
    })
    .await;
    documents
}

/// Hands over id and fields of each document of an index, in the order of their ids.
pub(crate) async fn each_document(index: &str, mut visit: impl FnMut(String, Value)) {
    let elastic = Elastic::new(&super::elasticsearch());
    elastic
        .ok(Method::Post, &format!("{index}/_refresh"), None)
        .await;
    let mut after: Option<String> = None;
    loop {
        let mut query = json!({ "size": PAGE, "sort": [{ "transaction_id": "asc" }] });
        if let Some(after) = &after {
            query["search_after"] = json!([after]);
        }
        let path = format!("{index}/_search");
        let answer = elastic.ok(Method::Post, &path, Some(query)).await;
        let mut answer: Value = serde_json::from_str(&answer).unwrap();
        let Value::Array(hits) = answer["hits"]["hits"].take() else {
            panic!("a search answers with hits");
        };
        let is_last = hits.len() < PAGE;
        for mut hit in hits {
            let id = hit["_id"].as_str().unwrap().to_owned();
            after = Some(id.clone());
            visit(id, hit["_source"].take());
        }
        if is_last {
            return;
        }
    }
}

/// The document that a row of `transactions` has to be.
pub(crate) fn document(id: &str, row: &[String]) -> Value {
    let number = |text: &String| -> Value { serde_json::from_str(text).unwrap() };
    let micros: i64 = row[8].parse().unwrap();
    let moment = chrono::DateTime::from_timestamp_micros(micros).unwrap();
    json!({
        "transaction_id": id,
        "product_id": row[0],
        "product_name": row[1],
        "product_category": row[2],
        "product_price": number(&row[3]),
        "product_quantity": number(&row[4]),
        "product_brand": row[5],
        "currency": row[6],
        "customer_id": row[7],
        "transaction_date": moment.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
        "payment_method": row[9],
        "total_amount": number(&row[10]),
        "total_amount_base": number(&row[11]),
    })
}

/// Which records are in the topic of the dead letters, by the headers that say so.
fn dead_letters(job: &Job) -> BTreeSet<Place> {
    use rdkafka::message::Headers;
    let topic = job.dead_letter_topic();
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", super::kafka())
        .set("group.id", &topic)
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(&topic), PATIENCE).unwrap();
    let mut list = rdkafka::TopicPartitionList::new();
    let mut left = 0;
    for partition in metadata.topics()[0].partitions() {
        let (low, high) = consumer
            .fetch_watermarks(&topic, partition.id(), PATIENCE)
            .unwrap();
        left += high - low;
        list.add_partition_offset(&topic, partition.id(), rdkafka::Offset::Offset(low))
            .unwrap();
    }
    consumer.assign(&list).unwrap();
    let mut places = BTreeSet::new();
    while left > 0 {
        let message = consumer.poll(PATIENCE).expect("a letter").unwrap();
        left -= 1;
        let header = |name: &str| {
            let headers = message.headers().expect("letters have headers");
            let header = headers.iter().find(|header| header.key == name);
            let value = header.and_then(|header| header.value).expect("a value");
            std::str::from_utf8(value).unwrap().to_owned()
        };
        assert!(!header("wasmill-reason").is_empty());
        assert_eq!(header("wasmill-topic"), job.topic);
        let partition = header("wasmill-partition").parse().unwrap();
        places.insert((partition, header("wasmill-offset").parse().unwrap()));
    }
    places
}
