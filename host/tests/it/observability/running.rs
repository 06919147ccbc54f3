//! While records flow: what is told is what happened.

use std::collections::BTreeSet;
use std::time::Duration;

use wasmill::generate::Settings;
use wasmill::telemetry::metrics;

use super::{ask_until, nobody_answers, start, status};
use crate::support::binary::{stderr, stdout};
use crate::support::exposition::Exposition;
use crate::support::http::get;
use crate::support::job::{Job, send_signal, wait_for_exit};
use crate::support::{outcome, truth};

const RECORDS: u64 = 20_000;
const PARTITIONS: u32 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn a_running_pipeline_tells_what_it_has_done() {
    let settings = Settings {
        seed: 31,
        bad_share: 0.02,
        ..Settings::default()
    };
    let job = Job::new("observed", |text| {
        text.replace("max_rows = 10_000", "max_rows = 1000")
    })
    .await;
    job.generate(&settings, PARTITIONS, RECORDS);
    let mut run = start(&job, |_| {});

    let asked = status(&job, &["--wait", "120"]);
    assert_eq!(
        asked.status.code(),
        Some(0),
        "{}{}",
        stderr(&asked),
        job.log()
    );
    let told = ask_until(&job, "/api/status", |answer| {
        let told = answer.json();
        let partitions = told["partitions"].as_array()?;
        let ends = |p: &serde_json::Value| p["committed"] == p["end"] && p["position"] == p["end"];
        let caught_up = partitions.len() == PARTITIONS as usize && partitions.iter().all(ends);
        let confirmed = told["sinks"][1]["epoch"] == told["epoch"];
        (caught_up && confirmed).then_some(told)
    });
    let expected = truth::expected(&settings, PARTITIONS, RECORDS);
    let dead = expected.dead.len() as u64;
    assert_eq!(told["phase"], "running");
    assert_eq!(told["records"], RECORDS);
    assert_eq!(told["dead_letters"], dead);
    assert!(told["epochs"].as_u64() >= Some(RECORDS / 1000), "{told}");
    assert!(told["records_per_second"].as_f64() > Some(0.0), "{told}");
    let recent = told["recent_epochs"].as_array().unwrap();
    assert_eq!(recent.last().unwrap()["epoch"], told["epoch"]);
    let letters = told["recent_dead_letters"].as_array().unwrap();
    assert_eq!(letters.len() as u64, dead.min(32));
    let components = told["components"].as_array().unwrap();
    let names: Vec<_> = components.iter().map(|c| c["name"].as_str()).collect();
    assert_eq!(names, [Some("currency"), Some("totals")]);
    assert_eq!(components[0]["version"], "0.1.0");
    assert_eq!(components[0]["digest"].as_str().unwrap().len(), 64);

    let text = get(job.admin, "/metrics");
    assert!(
        text.head.contains("text/plain; version=0.0.4"),
        "{}",
        text.head
    );
    let found = Exposition::parse(&text.body);
    assert_is_the_table(&found);
    assert_counts(&found, dead as f64);
    assert_guests_and_states(&found);
    assert_process(&found);
    let rows = outcome::found(&job).await.transactions.len() as u64;
    assert_eq!(rows, RECORDS - dead);

    let shown = stdout(&status(&job, &[]));
    assert!(shown.contains("20,000 read"), "{shown}");
    assert!(shown.contains("0 to read"), "{shown}");
    assert!(shown.contains("component     currency 0.1.0 ("), "{shown}");
    assert!(shown.contains("dead letter   "), "{shown}");

    send_signal(&run.0, "TERM");
    let ended = wait_for_exit(&mut run.0, Duration::from_secs(15));
    assert!(ended.success(), "{ended}: {}", job.log());
    assert!(nobody_answers(job.admin));
}

/// Every family of the table is there with its kind, help and labels, and no other.
fn assert_is_the_table(found: &Exposition) {
    let documented: BTreeSet<&str> = metrics::ALL.iter().map(|family| family.name).collect();
    let there: BTreeSet<&str> = found.0.keys().map(String::as_str).collect();
    assert_eq!(there, documented);
    for family in metrics::ALL {
        let metrics::Family {
            name,
            kind,
            labels,
            help,
        } = family;
        let there = &found.0[*name];
        assert_eq!(
            (there.kind.as_str(), there.help.as_str()),
            (kind.name(), *help)
        );
        assert!(!there.samples.is_empty(), "{name} has samples");
        let wanted: BTreeSet<&str> = labels.iter().copied().collect();
        for (_, labels, _) in &there.samples {
            let names = labels.keys().map(String::as_str);
            let names: BTreeSet<&str> = names.filter(|&name| name != "le").collect();
            assert_eq!(names, wanted, "{name}");
        }
    }
}

fn assert_counts(found: &Exposition, dead: f64) {
    let good = RECORDS as f64 - dead;
    let is = |name: &str, labels: &[(&str, &str)], expected: f64| {
        let value = found.value(name, labels);
        assert!(
            (value - expected).abs() < 0.5,
            "{name} {labels:?} is {value}, not {expected}"
        );
    };
    is("wasmill_ready", &[], 1.0);
    is("wasmill_phase", &[("phase", "running")], 1.0);
    is("wasmill_phase", &[("phase", "starting")], 0.0);
    is("wasmill_waiting_seconds", &[("part", "postgres")], 0.0);
    is("wasmill_read_records_total", &[], RECORDS as f64);
    assert!((found.sum("wasmill_rejected_records_total") - dead).abs() < 0.5);
    let malformed = [("stage", "decode"), ("cause", "malformed")];
    assert!(found.value("wasmill_rejected_records_total", &malformed) > 0.0);
    assert!(found.sum("wasmill_partition_lag").abs() < 0.5);
    let ends = found.sum("wasmill_partition_end");
    assert!((ends - found.sum("wasmill_partition_committed")).abs() < 0.5);

    is(
        "wasmill_stage_rows_total",
        &[("stage", "decode")],
        RECORDS as f64,
    );
    is("wasmill_sink_rows_total", &[("sink", "search")], good);
    // The rows, and those of three tables of totals.
    assert!(found.value("wasmill_sink_rows_total", &[("sink", "postgres")]) > good);
    is("wasmill_sink_epochs_behind", &[("sink", "search")], 0.0);
    is("wasmill_sink_retries_total", &[("sink", "postgres")], 0.0);
    let epochs = found.value("wasmill_epochs_total", &[]);
    is("wasmill_epoch_duration_seconds_count", &[], epochs);
    for phase in ["read", "process", "merge", "queue", "commit"] {
        let labels = [("phase", phase)];
        is(
            "wasmill_epoch_phase_duration_seconds_count",
            &labels,
            epochs,
        );
    }
    is(
        "wasmill_sink_write_duration_seconds_count",
        &[("sink", "postgres")],
        epochs,
    );
    let phases = found.sum("wasmill_epoch_phase_duration_seconds_sum");
    let whole = found.sum("wasmill_epoch_duration_seconds_sum");
    assert!(
        (phases - whole).abs() < 0.01 * whole + 0.1,
        "{phases} {whole}"
    );
    // Whatever went in has come out.
    assert!(found.sum("wasmill_queue_depth").abs() < 0.5);
    assert!(found.sum("wasmill_queue_capacity") >= 4.0);
}

fn assert_guests_and_states(found: &Exposition) {
    let currency = [("stage", "sales"), ("component", "currency")];
    let instances = found.value("wasmill_guest_instances", &currency);
    assert!(instances >= 1.0);
    let memory = found.value("wasmill_guest_memory_bytes", &currency) / instances;
    let limit = found.value("wasmill_guest_memory_limit_bytes", &currency);
    assert!(memory >= 65_536.0 && memory <= limit, "{memory} of {limit}");
    assert!(found.value("wasmill_guest_calls_total", &currency) >= RECORDS as f64 / 8192.0);
    assert!(found.value("wasmill_guest_seconds_total", &currency) > 0.0);
    assert!(found.sum("wasmill_guest_failures_total").abs() < 0.5);
    let groups = found.value("wasmill_state_groups", &[("aggregate", "sales_per_month")]);
    assert!(groups >= 1.0);
    let states = [("aggregate", "sales_per_month")];
    assert!(found.value("wasmill_state_bytes", &states) >= 8.0 * groups);
    assert!(found.value("wasmill_checkpoint_failures_total", &[]).abs() < 0.5);
}

fn assert_process(found: &Exposition) {
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs_f64();
    let last = found.value("wasmill_last_commit_timestamp_seconds", &[]);
    let began = found.value("process_start_time_seconds", &[]);
    assert!(began - 2.0 <= last && last <= now, "{began} {last} {now}");
    assert!(found.value("process_resident_memory_bytes", &[]) > 1e6);
}
