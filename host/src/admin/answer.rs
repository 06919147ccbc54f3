//! Answers, all of which end their connection.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use axum::http::{HeaderValue, Response, StatusCode};
use serde::Serialize;
use serde_json::json;

pub(super) type Answer = Response<Body>;

/// A value as JSON.
pub(super) fn json<T: Serialize>(status: StatusCode, value: &T) -> Answer {
    match serde_json::to_string(value) {
        Ok(text) => text_of(status, "application/json", text + "\n"),
        Err(error) => {
            let reason = format!("failed to write the answer: {error}");
            failed(StatusCode::INTERNAL_SERVER_ERROR, "internal", &reason)
        }
    }
}

/// Why there is nothing else to answer: `kind` is one word for programs, `error` is for people.
pub(super) fn failed(status: StatusCode, kind: &str, error: &str) -> Answer {
    let value = json!({ "error": error, "kind": kind });
    text_of(status, "application/json", format!("{value}\n"))
}

pub(super) fn text_of(
    status: StatusCode,
    content_type: &'static str,
    text: impl Into<Body>,
) -> Answer {
    let mut answer = Response::new(text.into());
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    closing(answer)
}

/// With the headers that every answer has.
pub(super) fn closing(mut answer: Answer) -> Answer {
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}
