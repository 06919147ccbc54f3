//! What is asked, and what is answered.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use axum::http::{HeaderValue, Response, StatusCode, Uri};
use axum::routing::get;
use serde_json::{Value, json};

use crate::pipeline::Monitor;
use crate::telemetry::exposition;

/// What there is, and what it says.
const PATHS: [(&str, &str); 4] = [
    ("/healthz", "whether the process and its threads answer"),
    ("/readyz", "whether records flow, and who is waited for"),
    ("/metrics", "metrics, for Prometheus"),
    ("/api/status", "the pipeline at this moment, as JSON"),
];

/// Characters of a path that an answer repeats.
const PATH_CHARS_MAX: usize = 200;

type Answer = Response<Body>;

pub(super) fn router(monitor: Arc<Monitor>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/api/status", get(status))
        .fallback(nothing_there)
        .method_not_allowed_fallback(only_get)
        .with_state(monitor)
}

async fn healthz(State(monitor): State<Arc<Monitor>>) -> Answer {
    let stuck = monitor.stuck();
    if stuck.is_empty() {
        return json_answer(StatusCode::OK, &json!({ "status": "alive" }));
    }
    let threads = stuck
        .iter()
        .map(|(name, busy)| json!({ "thread": name, "busy_seconds": busy.as_secs() }));
    let stuck = json!({ "status": "stuck", "threads": threads.collect::<Vec<_>>() });
    json_answer(StatusCode::SERVICE_UNAVAILABLE, &stuck)
}

async fn readyz(State(monitor): State<Arc<Monitor>>) -> Answer {
    let status = monitor.status();
    if status.is_ready() {
        return json_answer(StatusCode::OK, &json!({ "status": "ready" }));
    }
    let waiting_for = status.waiting_for.iter().map(|waiting| {
        json!({
            "part": waiting.part,
            "reason": waiting.reason,
            "seconds": waiting.since.as_secs_f64(),
        })
    });
    let answer = json!({
        "status": "not ready",
        "phase": status.phase,
        "waiting_for": waiting_for.collect::<Vec<_>>(),
    });
    json_answer(StatusCode::SERVICE_UNAVAILABLE, &answer)
}

async fn metrics(State(monitor): State<Arc<Monitor>>) -> Answer {
    answer(StatusCode::OK, exposition::CONTENT_TYPE, monitor.metrics())
}

async fn status(State(monitor): State<Arc<Monitor>>) -> Answer {
    match serde_json::to_string(&monitor.status()) {
        Ok(text) => answer(StatusCode::OK, "application/json", text),
        Err(error) => {
            let error = json!({ "error": format!("failed to write the status: {error}") });
            json_answer(StatusCode::INTERNAL_SERVER_ERROR, &error)
        }
    }
}

async fn nothing_there(uri: Uri) -> Answer {
    let path: String = uri.path().chars().take(PATH_CHARS_MAX).collect();
    let error = format!("there is nothing at {path}");
    json_answer(StatusCode::NOT_FOUND, &with_paths(&error))
}

async fn only_get() -> Answer {
    let error = "this server only answers questions: use GET";
    json_answer(StatusCode::METHOD_NOT_ALLOWED, &with_paths(error))
}

fn with_paths(error: &str) -> Value {
    let paths = PATHS.map(|(path, about)| json!({ "path": path, "about": about }));
    json!({ "error": error, "paths": paths })
}

fn json_answer(status: StatusCode, value: &Value) -> Answer {
    answer(status, "application/json", format!("{value}\n"))
}

fn answer(status: StatusCode, content_type: &'static str, text: String) -> Answer {
    let mut answer = Response::new(Body::from(text));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}
