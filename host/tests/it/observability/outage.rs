//! A server goes away in the middle of a run, and comes back.

use std::time::Duration;

use serde_json::Value;
use wasmill::generate::Settings;

use super::{ask_until, start};
use crate::support::job::{Job, send_signal, wait_for_exit};
use crate::support::proxy::{Cut, Proxy};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_is_waited_for_until_it_is_back() {
    let settings = Settings {
        seed: 5,
        ..Settings::default()
    };
    let job = Job::new("outage", |text| text).await;
    job.generate(&settings, 2, 1_000);
    let proxy = Proxy::to(&job.database_server());
    let through = proxy.instead_of(&job.database_url);
    let mut run = start(&job, |command| {
        command.env("DATABASE_URL", &through);
    });
    ask_until(&job, "/readyz", |answer| {
        (answer.status == 200).then_some(())
    });

    proxy.go_away(Cut::Fin);
    job.generate(&settings, 2, 1_000);
    let reason = ask_until(&job, "/readyz", |answer| {
        let answer = answer.json();
        let first = answer["waiting_for"].get(0)?;
        assert_eq!(answer["phase"], "running");
        assert_eq!(first["part"], "postgres");
        first["reason"].as_str().map(str::to_owned)
    });
    assert!(reason.contains("PostgreSQL"), "{reason}");

    proxy.accept();
    ask_until(&job, "/readyz", |answer| {
        (answer.status == 200).then_some(())
    });
    ask_until(&job, "/api/status", |answer| {
        let told = answer.json();
        let partitions = told["partitions"].as_array()?;
        let caught_up = partitions.iter().all(|p| p["committed"] == p["end"]);
        (told["records"] == 2_000 && caught_up).then_some(())
    });
    send_signal(&run.0, "TERM");
    let ended = wait_for_exit(&mut run.0, Duration::from_secs(15));
    assert!(ended.success(), "{ended}: {}", job.log());
    assert_log(&job.log());
}

/// Every line is a JSON object, and those about the wait say what somebody has to know.
fn assert_log(log: &str) {
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect();
    let about = |message: &str| -> Vec<&Value> {
        let lines = lines.iter();
        lines.filter(|line| line["message"] == message).collect()
    };
    let waiting = about("waiting for a server");
    assert_eq!(waiting.len(), 1, "one line in half a minute: {log}");
    let line = waiting[0];
    assert_eq!(
        (&line["level"], &line["part"]),
        (&"WARN".into(), &"postgres".into())
    );
    assert!(line["epoch"].as_u64().is_some(), "{line}");
    assert_eq!(line["attempt"], 1);
    assert!(
        line["error"]
            .as_str()
            .is_some_and(|error| !error.is_empty()),
        "{line}"
    );
    assert!(line["next_try_s"].as_f64().is_some(), "{line}");
    let over = about("the wait is over");
    assert_eq!(over.len(), 1, "{log}");
    assert_eq!(over[0]["part"], "postgres");
    assert!(over[0]["attempts"].as_u64() >= Some(1), "{}", over[0]);
    assert!(over[0]["waited_s"].as_f64().is_some(), "{}", over[0]);
}
