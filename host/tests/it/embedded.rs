//! The shipped sales job as an embedded run: no server, and the same totals as anywhere.

mod job;

use std::time::{Duration, Instant};

use wasmill::generate::Settings;

use self::job::{Job, Watch, look};
use super::support::binary;
use super::support::job::{send_signal, succeed, wait_for_exit};
use super::support::truth;

/// What an embedded run of a Kafka pipeline has.
const PARTITIONS: u32 = 4;

fn settings(seed: u64, bad_share: f64) -> Settings {
    Settings {
        seed,
        bad_share,
        ..Settings::default()
    }
}

#[test]
fn the_sales_job_leaves_what_its_records_come_to_with_nothing_installed() {
    const RECORDS: u64 = 50_000;
    let job = Job::new(|text| text);
    let watch = Watch::start(&job);
    let args = [
        "--once",
        "--records",
        "50000",
        "--seed",
        "20260",
        "--bad-share",
        "0.01",
    ];
    let output = job.wasmill(&args).output().unwrap();
    assert!(watch.end() > 0, "nobody looked while the job ran");
    let (printed, said) = (binary::stdout(&output), binary::stderr(&output));
    assert!(output.status.success(), "{said}");
    assert!(
        printed.contains("50,000 records") || printed.contains("50000 records"),
        "{printed}"
    );
    for line in [
        "source: generated sales in place of Kafka, 50000 records, as fast as possible, seed 20260",
        "sink `postgres`: SQLite at data/ecommerce-sales.sqlite3 in place of PostgreSQL",
        "sink `search`: left out, as it needs Elasticsearch",
        "checkpoints: the folder data/ecommerce-sales.checkpoints",
        "dead letters: the file data/ecommerce-sales.dead.ndjson in place of a topic",
    ] {
        assert_eq!(said.matches(line).count(), 1, "`{line}` in {said}");
    }
    let expected = truth::expected(&settings(20_260, 0.01), PARTITIONS, RECORDS);
    assert!(!expected.dead.is_empty());
    job.compare(&expected);

    let again = succeed(job.wasmill(&args));
    assert!(again.contains("0 records"), "{again}");
    job.compare(&expected);
}

#[test]
fn a_second_run_goes_on_where_the_first_stopped() {
    let job = Job::new(|text| text);
    for records in ["7000", "20001"] {
        let args = ["--once", "--records", records, "--bad-share", "0.05"];
        succeed(job.wasmill(&args));
        let count = records.parse().unwrap();
        job.compare(&truth::expected(&settings(0, 0.05), PARTITIONS, count));
    }
    let output = job
        .wasmill(&["--once", "--records", "20001", "--seed", "1"])
        .output()
        .unwrap();
    let said = binary::stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("source.generator.seed was 0, is now 1"),
        "{said}"
    );
    assert!(said.contains("delete the file"), "{said}");
}

#[test]
fn any_number_of_workers_comes_to_the_same() {
    for workers in [1, 2, 5] {
        let job = Job::new(|text| {
            let name = "name = \"ecommerce-sales\"";
            text.replacen(name, &format!("workers = {workers}\n{name}"), 1)
        });
        succeed(job.wasmill(&["--once", "--records", "10000", "--bad-share", "0.02"]));
        job.compare(&truth::expected(&settings(0, 0.02), PARTITIONS, 10_000));
    }
}

#[test]
fn nothing_is_lost_or_doubled_by_sigterm() {
    interrupt("TERM");
}

#[test]
fn nothing_is_lost_or_doubled_by_sigkill() {
    interrupt("KILL");
}

fn interrupt(signal: &str) {
    const RECORDS: u64 = 60_000;
    const TIMES: usize = 6;
    // Small epochs, so that there are many moments to be interrupted at; paced, so that not all is
    // done before the last of them.
    let job = Job::new(|text| text.replace("max_rows = 10_000", "max_rows = 500"));
    let same = ["--records", "60000", "--seed", "99", "--bad-share", "0.005"];
    let watch = Watch::start(&job);
    let mut committed = 0;
    for _ in 0..TIMES {
        let mut child = job.start(&[&same[..], &["--rate", "8000"]].concat());
        let started = Instant::now();
        while job.epoch() < committed + 3 {
            assert!(
                started.elapsed() < Duration::from_mins(1),
                "no progress: {}",
                job.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        send_signal(&child, signal);
        let status = wait_for_exit(&mut child, Duration::from_secs(15));
        if signal == "TERM" {
            assert!(status.success(), "{status}: {}", job.log());
        }
        committed = job.epoch();
    }
    assert!(
        committed < RECORDS / 500,
        "all was done before the last interruption"
    );
    succeed(job.wasmill(&[&same[..], &["--once", "--rate", "0"]].concat()));
    assert!(watch.end() > 0, "nobody looked while the job ran");
    job.compare(&truth::expected(&settings(99, 0.005), PARTITIONS, RECORDS));
}

#[test]
fn a_host_that_is_started_twice_is_fenced_off_by_its_successor() {
    let job = Job::new(|text| text.replace("max_rows = 10_000", "max_rows = 100"));
    let mut first = job.start(&["--rate", "2000", "--records", "100000"]);
    let started = Instant::now();
    while job.epoch() < 3 {
        assert!(started.elapsed() < Duration::from_mins(1), "{}", job.log());
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut second = job.start(&["--rate", "2000", "--records", "100000"]);
    let status = wait_for_exit(&mut first, Duration::from_secs(30));
    assert_eq!(status.code(), Some(1), "{}", job.log());
    assert!(
        job.log().contains("another host has taken over"),
        "{}",
        job.log()
    );
    send_signal(&second, "TERM");
    assert!(wait_for_exit(&mut second, Duration::from_secs(15)).success());
    assert!(look(&job.database()));
}

#[test]
fn variables_of_what_is_replaced_need_not_be_set_and_others_must() {
    let edit = |text: String| {
        text.replace("${KAFKA_BROKERS:-localhost:9092}", "${KAFKA_BROKERS}")
            .replace(
                "topic = \"financial_transactions",
                "topic = \"${WASMILL_TEST_TOPIC}",
            )
            .replace(
                "${ELASTICSEARCH_URL:-http://localhost:9200}",
                "${ELASTICSEARCH_URL}",
            )
            .replace(
                "${DATABASE_URL:-postgres://postgres:postgres@localhost/postgres}",
                "${DATABASE_URL}",
            )
    };
    let args = ["--once", "--records", "100"];
    succeed(Job::new(edit).wasmill(&args));
    let job =
        Job::new(|text| edit(text).replace("base = \"USD\"", "base = \"${WASMILL_TEST_BASE}\""));
    let output = job.wasmill(&args).output().unwrap();
    let said = binary::stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("`WASMILL_TEST_BASE` is not set"), "{said}");
    assert_eq!(said.matches("is not set").count(), 1, "{said}");
}

#[test]
fn columns_that_generated_sales_do_not_have_are_named() {
    let job = Job::new(|text| {
        text.replace("from = \"productBrand\"", "from = \"productBrnd\"")
            .replace(
                "from = \"currency\",        type = \"utf8\"",
                "from = \"currency\", type = \"int64\"",
            )
    });
    let output = job
        .wasmill(&["--once", "--records", "100"])
        .output()
        .unwrap();
    let said = binary::stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for wanted in [
        "column `product_brand`: generated sales have no field `productBrnd`",
        "did you mean `productBrand`?",
        "column `currency`: the field `currency` of generated sales is no int64",
    ] {
        assert!(said.contains(wanted), "`{wanted}` in {said}");
    }
    assert!(!job.database().exists());
}

#[test]
fn a_run_to_the_end_needs_one() {
    let job = Job::new(|text| text);
    let output = job.wasmill(&["--once"]).output().unwrap();
    let said = binary::stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("`--records N`"), "{said}");
    let output = binary::output(&["run", "--rate", "5"]);
    assert_eq!(output.status.code(), Some(2), "{}", binary::stderr(&output));
}

#[test]
fn the_data_may_lie_elsewhere() {
    let job = Job::new(|text| text);
    succeed(job.wasmill(&["--once", "--records", "100", "--data", "there/deep"]));
    assert!(
        job.folder
            .path()
            .join("there/deep/ecommerce-sales.sqlite3")
            .exists()
    );
    assert!(!job.folder.path().join("data").exists());
}

/// What an embedded run puts in may as well stand in the file.
#[test]
fn a_pipeline_may_name_a_generator_and_a_file_itself() {
    let job = Job::new(|text| {
        let source = "type = \"generator\"\npartitions = 3\nseed = 5\nrecords = 3000\n#";
        let text = text
            .replacen("type = \"kafka\"\nbrokers", &format!("{source} brokers"), 1)
            .replace("topic = \"financial_transactions\"\nstart", "#");
        let (before, search) = text.split_once("[[sink]]\nname = \"search\"").unwrap();
        let (_, after) = search.split_once("# -----").unwrap();
        let (letters, _) = after.split_once("[dead_letters]").unwrap();
        let before = before
            .replace("type = \"postgres\"", "type = \"sqlite\"")
            .replace(
                "url = \"${DATABASE_URL",
                "path = \"data/ecommerce-sales.sqlite3\" # ",
            );
        format!(
            "{before}# {letters}[dead_letters]\ntype = \"file\"\npath = \"data/ecommerce-sales.dead.ndjson\"\n"
        )
    });
    let wasmill = |args: &[&str]| {
        let mut command = binary::wasmill(args);
        command.current_dir(job.folder.path());
        command
    };
    let checked = succeed(wasmill(&["check", "pipeline.toml", "--connect"]));
    assert!(
        checked.contains("source: reached, 3 partitions"),
        "{checked}"
    );
    assert!(
        checked.contains("tables fit or will be created"),
        "{checked}"
    );
    assert!(!job.database().exists(), "a check creates nothing");
    succeed(wasmill(&["run", "pipeline.toml", "--once"]));
    job.compare(&truth::expected(&settings(5, 0.0), 3, 3_000));
    succeed(wasmill(&["check", "pipeline.toml", "--connect"]));
}
