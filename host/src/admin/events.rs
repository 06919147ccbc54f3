//! `/api/events`: what happens to the running version, as server-sent events.
//!
//! Each event has its kind as `event` and itself as JSON in `data`. Who reads too slowly is told how
//! many were left out (`lagged`). A comment every [`KEEP_ALIVE`] keeps proxies from ending a quiet
//! connection, and finds listeners that have gone.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::answer::{Answer, closing};
use super::listener::Peer;
use super::{App, change};
use crate::reload::Event;

/// Between two comments of a quiet stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Somebody who listens.
struct Listening {
    events: Receiver<Event>,
    leaving: CancellationToken,
    greeted: bool,
    _place: OwnedSemaphorePermit,
}

pub(super) async fn events(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
) -> Answer {
    let Ok(place) = Arc::clone(&app.listeners).try_acquire_owned() else {
        return change::busy("so many listen already: end one of them, or come again");
    };
    peer.lease.extend();
    let listening = Listening {
        events: app.known.control.listen(),
        leaving: app.leaving.clone(),
        greeted: false,
        _place: place,
    };
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("still here");
    let stream = Sse::new(stream(listening)).keep_alive(keep_alive);
    let mut answer = stream.into_response();
    *answer.status_mut() = StatusCode::OK;
    closing(answer)
}

/// Ends when the server takes no more questions, with the last event before that.
fn stream(listening: Listening) -> impl Stream<Item = Result<Sent, Infallible>> {
    stream::unfold(listening, async |mut listening| {
        let sent = listening.next().await?;
        Some((Ok(sent), listening))
    })
}

impl Listening {
    async fn next(&mut self) -> Option<Sent> {
        if !self.greeted {
            // So that whoever listens knows that nothing is missed from here on.
            self.greeted = true;
            return Some(Sent::default().comment("listening"));
        }
        tokio::select! {
            biased;
            received = self.events.recv() => match received {
                Ok(event) => Some(sent(&event)),
                Err(RecvError::Lagged(missed)) => Some(lagged(missed)),
                Err(RecvError::Closed) => None,
            },
            () = self.leaving.cancelled() => None,
        }
    }
}

fn sent(event: &Event) -> Sent {
    // Strings, numbers and one date: nothing in it that JSON cannot say.
    let event = serde_json::to_value(event).unwrap_or_default();
    let kind = event["event"].as_str().unwrap_or("event").to_owned();
    with_data(&kind, &event)
}

fn lagged(missed: u64) -> Sent {
    with_data("lagged", &json!({ "event": "lagged", "missed": missed }))
}

fn with_data(kind: &str, data: &Value) -> Sent {
    // Compact JSON is one line.
    Sent::default().event(kind).data(data.to_string())
}
