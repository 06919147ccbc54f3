//! A version whose rows have a column more comes into force while the job runs: its table and its index
//! get it, and whoever asks before is told.

use std::time::{Duration, Instant};

use wasmill::generate::Settings;

use super::support::elastic::Elastic;
use super::support::elasticsearch;
use super::support::http;
use super::support::job::{Job, LOG, succeed};
use super::support::running::{Running, ask_until};

const RECORDS: u64 = 500;

async fn wait_for_rows(job: &Job, rows: u64) {
    let database = job.database().await;
    let started = Instant::now();
    let sql = "SELECT count(*) FROM transactions";
    loop {
        let found = database.query_one(sql, &[]).await;
        if found.is_ok_and(|row| row.get::<_, i64>(0) == rows.cast_signed()) {
            return;
        }
        let waited = started.elapsed();
        assert!(waited < Duration::from_mins(2), "{}", job.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_and_indices_get_a_new_column_while_the_job_runs() {
    let job = Job::new("new_columns", |text| {
        let text = text.replacen("watch = true", "watch = false", 1);
        text.replacen("max_wait = \"1s\"", "max_wait = \"100ms\"", 1)
    })
    .await;
    let generate = |seed| {
        let settings = Settings {
            seed,
            ..Settings::default()
        };
        job.generate(&settings, 2, RECORDS);
    };
    generate(1);
    let mut running = Running::start(&job, LOG, |_| ());
    ask_until(&job, "/readyz", |answer| {
        (answer.status == 200).then_some(())
    });
    wait_for_rows(&job, RECORDS).await;

    let column = "{ name = \"maker\", from = \"productBrand\", type = \"utf8\" },\n";
    job.edit(|text| text.replacen("columns = [\n", &format!("columns = [\n  {column}"), 1));
    let gets = [
        "table `transactions` gets column `maker`".to_owned(),
        format!("index `{}` gets field `maker`", job.index),
    ];
    for command in [
        &["check", "pipeline.toml", "--connect"][..],
        &["reload", "pipeline.toml", "--dry-run"],
    ] {
        let said = succeed(job.wasmill(command));
        for gets in &gets {
            assert!(said.contains(gets), "{command:?}: {said}");
        }
    }
    let answer = http::request(job.admin, "POST", "/api/reload").expect("an answer");
    assert_eq!(answer.status, 200, "{}: {}", answer.body, job.log());
    assert!(answer.body.contains(&gets[0]), "{}", answer.body);
    generate(2);
    wait_for_rows(&job, 2 * RECORDS).await;
    running.stop(&job);

    let database = job.database().await;
    let sql = "SELECT count(*) FILTER (WHERE maker IS NULL),
                   count(*) FILTER (WHERE maker = product_brand) FROM transactions";
    let row = database.query_one(sql, &[]).await.expect("the new column");
    let half = RECORDS.cast_signed();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (half, half));
    let documents = Elastic::new(&elasticsearch()).documents(&job.index).await;
    let with = documents
        .values()
        .filter(|(_, source)| source.contains("\"maker\":"));
    assert_eq!(
        (documents.len(), with.count()),
        (2 * RECORDS as usize, RECORDS as usize)
    );
}
