//! Before the first record: the server is up, and says who is waited for.

use std::net::TcpListener;
use std::time::Duration;

use super::{ask_until, nobody_answers, start, status};
use crate::support::binary::{stderr, stdout, wasmill};
use crate::support::http::{get, request};
use crate::support::job::{Job, free_address, send_signal, wait_for_exit};

const PATHS: [&str; 7] = [
    "/healthz",
    "/readyz",
    "/metrics",
    "/api/status",
    "/api/pipeline",
    "/api/components",
    "/api/deployments",
];
const PASSWORD: &str = "hunter2";

/// A job whose Elasticsearch is not there. Port 9 is "discard", and nobody listens there.
async fn waiting_job() -> Job {
    Job::new("waiting", |text| {
        let url = "${ELASTICSEARCH_URL:-http://localhost:9200}";
        assert!(text.contains(url), "the shipped pipeline has {url}");
        text.replace(url, &format!("http://me:{PASSWORD}@127.0.0.1:9"))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_waits_says_for_whom() {
    let job = waiting_job().await;
    let mut run = start(&job, |_| {});
    let waiting = ask_until(&job, "/readyz", |answer| {
        let json = answer.json();
        let first = json["waiting_for"].get(0)?.clone();
        assert_eq!(answer.status, 503);
        assert_eq!(json["phase"], "starting");
        Some(first)
    });
    assert_eq!(waiting["part"], "search");
    let reason = waiting["reason"].as_str().unwrap();
    assert!(reason.contains("127.0.0.1:9"), "{reason}");
    assert_eq!(get(job.admin, "/healthz").status, 200);

    let asked = status(&job, &[]);
    assert_eq!(asked.status.code(), Some(1));
    assert!(
        stdout(&asked).contains("waiting for   search for "),
        "{}",
        stdout(&asked)
    );
    let error = stderr(&asked);
    assert!(
        error.starts_with("error: not ready: waiting for search"),
        "{error}"
    );
    let started = std::time::Instant::now();
    let asked = status(&job, &["--json", "--wait", "1"]);
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(asked.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_str(&stdout(&asked)).unwrap();
    assert_eq!(json["waiting_for"][0]["part"], "search");

    for path in PATHS {
        let answer = get(job.admin, path);
        assert!(!answer.body.contains(PASSWORD), "{path}: {}", answer.body);
        assert!(answer.head.contains("connection: close"), "{}", answer.head);
    }
    assert!(!job.log().contains(PASSWORD), "{}", job.log());

    send_signal(&run.0, "TERM");
    let ended = wait_for_exit(&mut run.0, Duration::from_secs(15));
    assert!(ended.success(), "{ended}: {}", job.log());
    assert!(nobody_answers(job.admin));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_answered_with_what_is() {
    let job = waiting_job().await;
    let _run = start(&job, |_| {});
    ask_until(&job, "/healthz", |answer| {
        (answer.status == 200).then_some(())
    });
    for path in ["/", "/metric", "/api/reloads", "/..%2f..%2fetc%2fpasswd"] {
        let answer = get(job.admin, path);
        assert_eq!(answer.status, 404, "{path}");
        let json = answer.json();
        let paths = json["paths"].as_array().unwrap().iter();
        let paths: Vec<&str> = paths.map(|path| path["path"].as_str().unwrap()).collect();
        assert_eq!(paths[..PATHS.len()], PATHS);
    }
    for method in ["POST", "DELETE", "PUT"] {
        let answer = request(job.admin, method, "/api/status").unwrap();
        assert_eq!(answer.status, 405, "{method}");
    }
    let head = request(job.admin, "HEAD", "/healthz").unwrap();
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let long = format!("/{}", "x".repeat(1 << 20));
    let refused = request(job.admin, "GET", &long);
    assert!(refused.is_err() || refused.is_ok_and(|answer| answer.status >= 400));
    assert_eq!(get(job.admin, "/healthz").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_somebody_has_is_an_error_that_names_the_key() {
    let job = Job::new("taken", |text| text).await;
    let _taken = TcpListener::bind(job.admin).unwrap();
    let output = job.wasmill(&["run", "pipeline.toml", "--once"]).output();
    let output = output.expect("the binary starts");
    assert_eq!(output.status.code(), Some(1));
    let error = stderr(&output);
    let expected = format!(
        "error: failed to listen on {}, which is `listen` in `[admin]`",
        job.admin
    );
    assert!(error.contains(&expected), "{error}");
}

#[test]
fn where_nobody_answers_status_says_what_was_asked_and_what_to_do() {
    let address = free_address().to_string();
    let output = wasmill(&["status", "--admin", &address]).output();
    let output = output.expect("the binary starts");
    assert_eq!(output.status.code(), Some(1));
    let error = stderr(&output);
    assert!(error.contains(&address), "{error}");
    assert!(error.contains("is the pipeline running"), "{error}");
    assert_eq!(stdout(&output), "");
}

#[test]
fn a_pipeline_without_an_admin_section_cannot_be_asked() {
    let folder = tempfile::tempdir().unwrap();
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../pipeline.toml");
    let shipped = std::fs::read_to_string(shipped).unwrap();
    let (before, _) = shipped.split_once("[admin]").unwrap();
    let path = folder.path().join("pipeline.toml");
    std::fs::write(&path, before).unwrap();
    let output = wasmill(&["status", path.to_str().unwrap()]).output();
    let output = output.expect("the binary starts");
    assert_eq!(output.status.code(), Some(1));
    let error = stderr(&output);
    assert!(error.contains("has no `[admin]`"), "{error}");
}

#[test]
fn an_address_that_is_none_is_wrong_usage() {
    let output = wasmill(&["status", "--admin", "localhost"]).output();
    assert_eq!(output.expect("the binary starts").status.code(), Some(2));
}
