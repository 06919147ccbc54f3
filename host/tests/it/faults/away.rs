//! Servers that nobody reaches: at the start, and for a while in the middle.

use std::time::{Duration, Instant};

use super::Sales;
use crate::checkpoint_contract::place::{delete_all, s3_location};
use crate::support;
use crate::support::job::send_signal;
use crate::support::proxy::{Cut, Proxy};
use crate::support::running::{Running, ask_until};

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_come_up_one_after_the_other_are_waited_for() {
    let location = s3_location();
    let endpoint = location.endpoint.clone().unwrap();
    let store = Proxy::to(endpoint.trim_start_matches("http://"));
    let bucket = format!("s3://{}/{}", location.bucket, location.prefix);
    let mut sales = Sales::new(|text| {
        let section = format!(
            "store = \"{bucket}\"\nendpoint = \"http://{}\"\nregion = \"us-east-1\"",
            store.address()
        );
        let letters = format!("[dead_letters]\nbrokers = \"{}\"", support::kafka());
        text.replace("store = \"file:data/checkpoints\"", &section)
            .replace("[dead_letters]", &letters)
    })
    .await;
    sales.more(2_000);
    for proxy in [&sales.postgres, &sales.search, &sales.kafka, &store] {
        proxy.refuse();
    }
    let credentials = location.credentials.clone().unwrap();
    let mut run = Running::start(&sales.job, "wasmill.log", |command| {
        let url = sales.postgres.instead_of(&sales.job.database_url);
        let search = format!("http://{}", sales.search.address());
        command
            .env("DATABASE_URL", url)
            .env("ELASTICSEARCH_URL", search)
            .env("KAFKA_BROKERS", sales.kafka.address().to_string())
            .env("AWS_ACCESS_KEY_ID", credentials.access_key_id.reveal())
            .env(
                "AWS_SECRET_ACCESS_KEY",
                credentials.secret_access_key.reveal(),
            );
    });
    sales.waits_for("postgres", "refused");
    sales.postgres.accept();
    // The components are kept there, before anything else begins.
    sales.waits_for("checkpoints", "failed to");
    store.accept();
    sales.waits_for("search", "refused");
    sales.search.accept();
    sales.waits_for("source", "Kafka");
    // Taken and not answered is no better than refused.
    sales.kafka.stall();
    sales.kafka.accept();
    sales.waits_for("source", "Kafka");
    sales.kafka.go_on();
    sales.catches_up();

    // The stream does not need the store while it runs.
    store.go_away(Cut::Rst);
    sales.more(400);
    let committed = sales.records;
    sales.waits_for("checkpoints", "failed to");
    store.accept();
    sales.catches_up();
    assert_eq!(sales.records, committed);
    run.stop(&sales.job);
    sales.is_complete().await;
    delete_all(&location).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_go_away_in_the_middle_are_waited_for() {
    let mut sales = Sales::new(|text| text).await;
    sales.more(2_000);
    let run = sales.start();
    sales.catches_up();
    // Much more than fits into the queues, which is left where it is.
    sales.postgres.go_away(Cut::Rst);
    sales.more(20_000);
    sales.waits_for("postgres", "PostgreSQL");
    std::thread::sleep(Duration::from_secs(1));
    let read = records_in_memory(&sales);
    assert!((1..6_000).contains(&read), "{read} records are in memory");
    sales.postgres.accept();
    sales.catches_up();

    for how in [Cut::Fin, Cut::Rst] {
        sales.postgres.go_away(how);
        sales
            .survives("postgres", "PostgreSQL", async |sales| {
                sales.postgres.accept();
            })
            .await;
        sales.search.go_away(how);
        sales
            .survives("search", "refused", async |sales| sales.search.accept())
            .await;
    }
    sales.ends_well(run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_a_server_is_away_ends_after_the_time_that_is_set() {
    let mut sales = Sales::new(|text| text.replace("timeout = \"9s\"", "timeout = \"1s\"")).await;
    sales.more(1_000);
    let mut run = sales.start();
    sales.catches_up();
    sales.postgres.go_away(Cut::Rst);
    sales.more(400);
    sales.waits_for("postgres", "PostgreSQL");
    send_signal(&run.0, "TERM");
    let began = Instant::now();
    run.fails(&sales.job);
    assert!(began.elapsed() < Duration::from_secs(8));
    let log = sales.job.log();
    let said =
        "stopped after 1s (`timeout` of `[shutdown]`), before every sink had the last epochs";
    assert!(log.contains(said), "{log}");
    sales.postgres.accept();
    let run = sales.start();
    sales.ends_well(run).await;
}

/// Records that were read and are not committed yet.
fn records_in_memory(sales: &Sales) -> u64 {
    ask_until(&sales.job, "/api/status", |answer| {
        let told = answer.json();
        let partitions = told["partitions"].as_array()?;
        let sum = |key: &str| -> Option<u64> { partitions.iter().map(|p| p[key].as_u64()).sum() };
        sum("position")?.checked_sub(sum("committed")?)
    })
}
