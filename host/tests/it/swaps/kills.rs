//! Killed in whatever moment of a change: the next start finds state and code as they have to be.

use std::io::{Read, Write};
use std::net::TcpStream;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::support;
use super::*;

/// Kills, unless `WASMILL_TEST_KILLS` says how many.
const KILLS: usize = 8;
/// Records for each of them.
const RECORDS_A_KILL: u64 = 8_000;
/// The same for so many kills that `WASMILL_TEST_KILLS` says, by a program that is built for speed.
const RECORDS_A_KILL_OF_MANY: u64 = 30_000;
/// The time in which a change is made, and more, in ms, to begin with: a machine may be slow or busy.
const CHANGE_MS: f64 = 1_500.0;

/// An aggregate whose states have a version, and what it makes of the rows.
const OFFSETS: &str = "
[[aggregate]]
name = \"offsets\"
from = \"sales\"
component = \"summing\"
config = { version = 1 }
key = [\"currency\"]
window = { kind = \"none\" }
";
const OFFSETS_TABLE: &str = "
[[sink.tables]]
from = \"offsets\"
table = \"offsets\"
key = [\"currency\"]
";
/// An aggregate that comes and goes, and its table.
const BRANDS: &str = "[[aggregate]]\nname = \"sales_per_brand\"\n";
/// What stands behind it.
const BEHIND_BRANDS: &str = "[[aggregate]]\nname = \"sales_per_payment_method\"\n";
const BRANDS_TABLE: &str = "[[sink.tables]]\nfrom = \"sales_per_brand\"\n";

/// What is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Rates,
    /// the version of states too
    States,
    /// an aggregate comes with all that came before it, or goes
    Aggregate,
    /// back to the version before
    Back,
}

const CHANGES: [Change; 5] = [
    Change::Rates,
    Change::States,
    Change::Aggregate,
    Change::Rates,
    Change::Back,
];

/// The job, and the sections of its file that come and go.
struct Killed {
    job: Job,
    sections: [String; 2],
    /// the version of the states of `offsets`
    states: usize,
    has_brands: bool,
}

impl Killed {
    async fn new() -> Self {
        let job = job("killed_swaps").await;
        let guest = support::guest("hostile_aggregate");
        let mut sections = [String::new(), String::new()];
        job.edit(|text| {
            let text = text.replacen(
                "columns = [\n",
                "columns = [\n  { name = \"value\", from = \"@offset\", type = \"int64\" },\n",
                1,
            );
            let text = text.replacen("probation = \"30s\"", "probation = \"1s\"", 1);
            let component = format!("[components.summing]\npath = \"{}\"\n\n", guest.display());
            let text = text.replacen(
                "[components.totals]",
                &(component + "[components.totals]"),
                1,
            );
            let mut text = text.replacen(BRANDS, &format!("{}\n{BRANDS}", OFFSETS.trim()), 1);
            text = text.replacen(
                BRANDS_TABLE,
                &format!("{}\n{BRANDS_TABLE}", OFFSETS_TABLE.trim()),
                1,
            );
            sections = [section(&text, BRANDS), section(&text, BRANDS_TABLE)];
            text
        });
        Self {
            job,
            sections,
            states: 1,
            has_brands: true,
        }
    }

    /// Has the file say something else.
    fn edit(&mut self, change: Change, version: usize) {
        edit_to(&self.job, version);
        match change {
            Change::States => {
                let from = format!("config = {{ version = {} }}", self.states);
                self.states += 1;
                let to = format!("config = {{ version = {} }}", self.states);
                self.job.edit(|text| {
                    assert!(text.contains(&from), "{text}");
                    text.replacen(&from, &to, 1)
                });
            }
            Change::Aggregate => {
                let [aggregate, table] = &self.sections;
                let has_brands = self.has_brands;
                self.has_brands = !has_brands;
                self.job.edit(|text| {
                    if has_brands {
                        let section = section(&text, BRANDS);
                        return text.replacen(&section, "", 1).replacen(table, "", 1);
                    }
                    let filled = format!("{BRANDS}backfill = \"earliest\"\n");
                    let aggregate = aggregate.replacen(BRANDS, &filled, 1);
                    assert!(text.contains(BEHIND_BRANDS));
                    let both = format!("{aggregate}\n{BEHIND_BRANDS}");
                    let text = text.replacen(BEHIND_BRANDS, &both, 1);
                    let tables = format!("{}\n\n{table}", OFFSETS_TABLE.trim());
                    text.replacen(OFFSETS_TABLE.trim(), &tables, 1)
                });
            }
            Change::Rates | Change::Back => {}
        }
    }
}

/// A section of the file, up to the next one or a comment.
fn section(text: &str, begin: &str) -> String {
    let at = text.find(begin).expect("the file has it");
    let rest = &text[at + 2..];
    let ends = ["\n[[", "\n#"].map(|end| rest.find(end).unwrap_or(rest.len()));
    text[at..at + 3 + ends[0].min(ends[1])].to_owned()
}

/// Asks for it, and does not wait: nobody answers who was killed.
fn ask(job: &Job, change: Change) -> std::thread::JoinHandle<()> {
    let path = if change == Change::Back {
        "rollback"
    } else {
        "reload"
    };
    let admin = job.admin;
    std::thread::spawn(move || {
        let request = format!("POST /api/{path} HTTP/1.1\r\nHost: {admin}\r\n\r\n");
        // Nothing can be said of what becomes of it.
        let _ = TcpStream::connect(admin).and_then(|mut stream| {
            stream.write_all(request.as_bytes())?;
            stream.read_to_end(&mut Vec::new())
        });
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn state_and_code_are_right_wherever_a_change_is_killed() {
    let kills = std::env::var("WASMILL_TEST_KILLS");
    let told: Option<usize> = kills.ok().and_then(|kills| kills.parse().ok());
    let kills = told.unwrap_or(KILLS);
    let seed = std::env::var("WASMILL_TEST_SEED");
    let seed = seed
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(rand::random);
    println!("WASMILL_TEST_SEED={seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut killed = Killed::new().await;
    let records = told.map_or(RECORDS_A_KILL, |_| RECORDS_A_KILL_OF_MANY) * kills as u64;
    killed.job.generate(&settings(), PARTITIONS, records);
    edit_to(&killed.job, 1);
    let database = killed.job.database().await;
    let (mut rows, mut in_force, mut change_ms) = (0, 0, CHANGE_MS);
    for kill in 0..kills {
        let mut run = Running::start(&killed.job, LOG, |_| ());
        rows = wait_for_rows(&killed.job, &database, (rows + 300).min(records as i64)).await;
        let before = deployments(&database).await;
        let change = CHANGES[random.random_range(0..CHANGES.len())];
        if change != Change::Back {
            killed.edit(change, kill + 2);
        }
        let asking = ask(&killed.job, change);
        let wait = Duration::from_secs_f64(random.random_range(0.0..change_ms) / 1e3);
        std::thread::sleep(wait);
        send_signal(&run.0, "KILL");
        wait_for_exit(&mut run.0, Duration::from_secs(15));
        asking.join().expect("it asks");
        let came = deployments(&database).await - before;
        in_force += i64::from(came > 0);
        // So three of ten come after the change.
        change_ms *= if came > 0 { 0.8 } else { 1.1 };
        println!("kill {kill}: {change:?}, after {wait:.0?}, {came} versions came into force");
    }
    let left = records as i64 - rows;
    println!(
        "{in_force} of {kills} kills came after the version was in force, {left} records left"
    );
    finish(killed, records, &database).await;
}

/// Runs to the end, with all that comes and goes, and compares.
async fn finish(mut killed: Killed, records: u64, database: &Client) {
    let mut run = Running::start(&killed.job, LOG, |_| ());
    wait_for_rows(&killed.job, database, records as i64).await;
    if !killed.has_brands {
        killed.edit(Change::Aggregate, 1);
    }
    edit_to(&killed.job, 777);
    let answer = reload(&killed.job);
    assert_eq!(answer.status, 200, "{}: {}", answer.body, killed.job.log());
    let lacking = "SELECT jsonb_array_length(backfills -> 'under_way')::bigint
        FROM wasmill_deployments ORDER BY version DESC LIMIT 1";
    let started = Instant::now();
    while count(database, lacking).await > 0 {
        assert!(
            started.elapsed() < Duration::from_mins(2),
            "{}",
            killed.job.log()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    run.stop(&killed.job);
    check(&killed.job, records).await;
    let rate = "SELECT (configs -> 'sales' -> 'rates' ->> 'EUR')::bigint
        FROM wasmill_deployments ORDER BY version DESC LIMIT 1";
    assert_eq!(
        count(database, rate).await,
        777,
        "the last version is in force"
    );
    for (what, misfits) in [
        (
            "offsets",
            "SELECT count(*) FROM offsets FULL JOIN (
                SELECT currency, sum(kafka_offset) AS of_rows, count(*) AS number
                FROM transactions GROUP BY 1) computed USING (currency)
             WHERE sum IS DISTINCT FROM of_rows OR count IS DISTINCT FROM number",
        ),
        (
            "sales_per_brand",
            "SELECT count(*) FROM sales_per_brand FULL JOIN (
                SELECT transaction_date::timestamptz::date AS transaction_date,
                    product_brand AS brand, count(*) AS number
                FROM transactions GROUP BY 1, 2) computed USING (transaction_date, brand)
             WHERE transactions IS DISTINCT FROM number",
        ),
    ] {
        assert_eq!(
            count(database, misfits).await,
            0,
            "groups of {what}: {}",
            killed.job.log()
        );
    }
}

async fn deployments(database: &Client) -> i64 {
    count(database, "SELECT count(*) FROM wasmill_deployments").await
}
