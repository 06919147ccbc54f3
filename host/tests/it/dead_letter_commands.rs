//! `wasmill dead-letters` on real servers: what was left out, why, and sent again once the cause is
//! mended.

use std::collections::BTreeSet;

use serde_json::Value;
use wasmill::generate::{Generated, Generator, Settings};
use wasmill::record::{Origin, Partition};

use crate::support::binary::stderr;
use crate::support::job::{Job, succeed};
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
async fn what_was_rejected_is_replayed_into_every_total(job: &Job, at_least_once: bool) {
    job.generate(&settings(), PARTITIONS, RECORDS);
    let printed = job.run_once();
    let (pounds, faulty) = without_rate();
    let left_out = pounds.len() as u64 + faulty;
    assert!(
        printed.contains(&format!("{left_out} dead letters")),
        "{printed}"
    );

    let groups = json(job, &["list", "pipeline.toml", "--count"]);
    let letters: u64 = groups
        .iter()
        .map(|group| group["letters"].as_u64().unwrap())
        .sum();
    assert_eq!(letters, left_out, "{groups:?}");
    let of_pounds = groups.iter().find(|group| {
        let reason = group["reason"].as_str().unwrap();
        group["stage"] == "sales" && reason.contains("GBP")
    });
    assert_eq!(of_pounds.unwrap()["letters"], pounds.len());
    let listed = json(
        job,
        &[
            "list",
            "pipeline.toml",
            "--reason",
            "GBP",
            "--limit",
            "100000",
        ],
    );
    let listed: BTreeSet<(u32, i64)> = listed
        .iter()
        .map(|letter| {
            let number = |name: &str| letter[name].as_i64().unwrap();
            (
                u32::try_from(number("partition")).unwrap(),
                number("offset"),
            )
        })
        .collect();
    assert_eq!(listed, pounds);
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

    let replay = [
        "replay",
        "pipeline.toml",
        "--stage",
        "sales",
        "--reason",
        "GBP",
    ];
    let dry = command(job, &[&replay[..], &["--dry-run"]].concat());
    let would = format!(
        "{} records would be produced to topic {}",
        pounds.len(),
        job.topic
    );
    assert!(dry.contains(&would), "{dry}");
    let unanswered = job
        .wasmill(&[&["dead-letters"], &replay[..]].concat())
        .output()
        .unwrap();
    assert_eq!(unanswered.status.code(), Some(1));
    assert!(
        stderr(&unanswered).contains("say --yes"),
        "{}",
        stderr(&unanswered)
    );

    job.edit(|text| text.replace("EUR = \"1.08\"", &format!("EUR = \"1.08\"{RATE}")));
    let printed = command(job, &[&replay[..], &["--yes"]].concat());
    let produced = format!("{0} of {0} records were produced", pounds.len());
    assert!(printed.contains(&produced), "{printed}");
    let printed = job.run_once();
    assert!(
        printed.contains(&format!("{} records", pounds.len())),
        "{printed}"
    );

    let expected = truth::expected(&settings(), PARTITIONS, RECORDS);
    let found = outcome::totals_and_rows(job).await;
    assert_eq!(found.transactions, expected.transactions);
    assert_eq!(found.totals, expected.totals);
    let after: u64 = json(job, &["list", "pipeline.toml", "--count"])
        .iter()
        .map(|group| group["letters"].as_u64().unwrap())
        .sum();
    assert_eq!(after, left_out, "a replay changes no letter");
    let _ = at_least_once;
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_in_a_table_are_replayed() {
    let job = job("letters_table", "type = \"postgres\"").await;
    what_was_rejected_is_replayed_into_every_total(&job, false).await;
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
    what_was_rejected_is_replayed_into_every_total(&job, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_in_a_file_are_replayed() {
    let job = job("letters_file", "type = \"file\"\npath = \"dead.ndjson\"").await;
    what_was_rejected_is_replayed_into_every_total(&job, false).await;
}
