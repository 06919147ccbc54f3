//! States that are migrated while records flow: the stream does not wait for them, however many there are.

use super::super::support;
use super::*;

/// States, unless `WASMILL_TEST_KEYS` says how many.
const KEYS: u64 = 20_000;

/// A state for each transaction.
const STATES: &str = "[[aggregate]]
name = \"states\"
from = \"sales\"
component = \"summing\"
config = { version = 1 }
key = [\"transaction_id\"]
window = { kind = \"none\" }

";
const STATES_TABLE: &str = "[[sink.tables]]
from = \"states\"
table = \"states\"
key = [\"transaction_id\"]

";

fn add_states(text: &str) -> String {
    let guest = support::guest("hostile_aggregate");
    let component = format!("[components.summing]\npath = \"{}\"\n\n", guest.display());
    let value = "  { name = \"value\", from = \"@offset\", type = \"int64\" },\n";
    [
        ("columns = [\n", format!("columns = [\n{value}")),
        (
            "[components.totals]",
            format!("{component}[components.totals]"),
        ),
        (
            "[[aggregate]]\nname = \"customer_totals\"",
            format!("{STATES}[[aggregate]]\nname = \"customer_totals\""),
        ),
        (
            "[[sink.tables]]\nfrom = \"sales_per_day\"",
            format!("{STATES_TABLE}[[sink.tables]]\nfrom = \"sales_per_day\""),
        ),
        ("max_rows = 1_000", "max_rows = 10_000".to_owned()),
    ]
    .into_iter()
    .fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "the job has {from}");
        text.replacen(from, &to, 1)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn states_are_migrated_while_the_stream_goes_on() {
    let keys = std::env::var("WASMILL_TEST_KEYS");
    let keys: u64 = keys.ok().and_then(|keys| keys.parse().ok()).unwrap_or(KEYS);
    let job = job("migrated").await;
    job.edit(|text| add_states(&text));
    job.generate(&settings(), PARTITIONS, keys);
    let mut run = Running::start(&job, LOG, |_| ());
    let database = job.database().await;
    let rows = truth::expected(&settings(), PARTITIONS, keys)
        .transactions
        .len() as i64;
    wait_for_rows(&job, &database, rows).await;
    // What comes meanwhile has states of its own.
    let more = std::thread::scope(|scope| {
        let producer = scope.spawn(|| job.generate(&settings(), PARTITIONS, keys / 5));
        for version in 2..=3 {
            std::thread::sleep(Duration::from_millis(300));
            job.edit(|text| {
                let from = format!("config = {{ version = {} }}", version - 1);
                assert!(text.contains(&from));
                text.replacen(&from, &format!("config = {{ version = {version} }}"), 1)
            });
            let started = Instant::now();
            let answer = reload(&job);
            assert_eq!(answer.status, 200, "{}: {}", answer.body, job.log());
            let states = answer.json()["states"].to_string();
            assert!(states.contains("are migrated"), "{states}");
            println!(
                "{keys} states and more are of version {version} after {:?}",
                started.elapsed()
            );
        }
        producer.join().is_ok()
    });
    assert!(more, "records came meanwhile");
    tell_pauses(&job);
    run.stop(&job);
    // To the end of what came.
    job.run_once();
    let misfits = "SELECT count(*) FROM states FULL JOIN (
            SELECT transaction_id, sum(kafka_offset) AS of_rows, count(*) AS number
            FROM transactions GROUP BY 1) computed USING (transaction_id)
         WHERE sum IS DISTINCT FROM of_rows OR count IS DISTINCT FROM number";
    assert_eq!(
        count(&database, misfits).await,
        0,
        "states that differ from their rows"
    );
}
