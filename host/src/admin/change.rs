//! The calls that change the running pipeline: `/api/reload` and `/api/rollback`.
//!
//! Each waits until the other version is in force, or was refused. Whoever hangs up meanwhile changes
//! nothing about that.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::App;
use super::answer::{Answer, failed, json};
use super::listener::Peer;
use crate::deployment::{Trigger, Version};
use crate::reload::{Refusal, Wanted};

/// Bytes of a body: it says a version and a flag.
const BODY_BYTES_MAX: usize = 4096;

/// After this many seconds a place may be free again.
const COME_AGAIN: HeaderValue = HeaderValue::from_static("5");

/// The body of `/api/reload`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Reload {
    dry_run: bool,
}

/// The body of `/api/rollback`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Rollback {
    version: Option<Version>,
    dry_run: bool,
}

pub(super) async fn reload(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    match read::<Reload>(&headers, body).await {
        Ok(reload) => change(&app, &peer, Wanted::Files, Trigger::Api, reload.dry_run).await,
        Err(answer) => answer,
    }
}

pub(super) async fn rollback(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let Rollback { version, dry_run } = match read(&headers, body).await {
        Ok(rollback) => rollback,
        Err(answer) => return answer,
    };
    if version == Some(Version(0)) {
        let error = "versions begin at 1";
        return failed(StatusCode::BAD_REQUEST, "bad_request", error);
    }
    let wanted = version.map_or(Wanted::Previous, Wanted::Version);
    change(&app, &peer, wanted, Trigger::Rollback, dry_run).await
}

async fn change(app: &App, peer: &Peer, wanted: Wanted, trigger: Trigger, dry_run: bool) -> Answer {
    let Ok(_place) = app.changes.try_acquire() else {
        return busy("so many changes wait already: come again when one of them is through");
    };
    peer.lease.extend();
    let answer = tokio::select! {
        biased;
        answer = app.known.control.ask(wanted, trigger, dry_run) => answer,
        () = app.stop.cancelled() => Err(Refusal::NotRunning("the run is ending".to_owned())),
    };
    match answer {
        Ok(report) => json(StatusCode::OK, &report),
        Err(refusal) => failed(status(&refusal), refusal.kind(), &refusal.to_string()),
    }
}

fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::Invalid(_) | Refusal::NotLive(_) | Refusal::States(_) | Refusal::Rehearsal(_) => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        Refusal::NoSuchVersion(_) => StatusCode::NOT_FOUND,
        Refusal::Superseded => StatusCode::CONFLICT,
        Refusal::NotRunning(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// There is no place.
pub(super) fn busy(error: &str) -> Answer {
    let mut answer = failed(StatusCode::TOO_MANY_REQUESTS, "busy", error);
    answer.headers_mut().insert(RETRY_AFTER, COME_AGAIN);
    answer
}

/// A body of JSON, or none for what holds without one.
async fn read<T: Default + DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, Answer> {
    let too_large = || {
        let error = format!("the body has more than {BODY_BYTES_MAX} bytes");
        failed(StatusCode::PAYLOAD_TOO_LARGE, "too_large", &error)
    };
    let length = headers.get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > BODY_BYTES_MAX as u64) {
        return Err(too_large());
    }
    // Else it fails only with the connection, and then nobody reads the answer.
    let body = to_bytes(body, BODY_BYTES_MAX).await;
    let body = body.map_err(|_| too_large())?;
    if body.is_empty() {
        return Ok(T::default());
    }
    if !is_json(headers) {
        let error = "the body has to be JSON: send `Content-Type: application/json`";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(failed(status, "unsupported_media_type", error));
    }
    // An object by all means: serde would take a list for one.
    let object = serde_json::from_slice::<Map<String, Value>>(&body);
    let parsed = object.and_then(|object| T::deserialize(Value::Object(object)));
    parsed.map_err(|error| {
        let error = format!("the body is not what this call takes: {error}");
        failed(StatusCode::BAD_REQUEST, "bad_request", &error)
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let sent = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let essence = sent.and_then(|kind| kind.split(';').next());
    essence.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}
