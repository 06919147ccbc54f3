//! The admin server: answers questions about the running pipeline over HTTP, and has it changed.
//!
//! | path | answers |
//! |---|---|
//! | `/healthz` | 200 while the process and its threads answer, else 503 with those that do not |
//! | `/readyz` | 200 when records flow and nobody is waited for, else 503 with who is |
//! | `/metrics` | Prometheus' text format |
//! | `/api/status` | [`Status`](crate::status::Status) as JSON |
//! | `/api/pipeline`, `/api/components` | [`Description`](crate::description::Description) as JSON |
//! | `/api/deployments` | the versions of its logic |
//! | `/api/events` | what happens to the running version, as it happens |
//! | `POST /api/reload`, `POST /api/rollback` | a [`Report`](crate::reload::Report), or why not |
//! | `/api/openapi.json` | all of this, for programs |
//!
//! # Invariants
//!
//! 1. It answers from before the first server is connected until the run has ended.
//! 2. Connections are bounded in number and time, and requests in size (`listener`). Whoever may stay
//!    for longer leaves `PLACES_FOR_QUESTIONS` of them to others.
//! 3. What it tells is taken from the [`Monitor`] and from the [`Control`], which know no address, URL or
//!    password but those that a server's own error message names.
//! 4. Nothing but the probes and the metrics is answered before `guard` has agreed.
//!
//! # Not here
//!
//! Counting: [`crate::pipeline`]. Names of metrics: [`crate::telemetry`]. Changing the pipeline:
//! [`crate::reload`]. axum is used below this module and nowhere else.

mod answer;
mod change;
mod events;
mod guard;
mod listener;
mod routes;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::SecondsFormat;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::guard::Guard;
use self::listener::{BoundedListener, CONNECTIONS_MAX, Peer};
use crate::config::{Admin, Secret};
use crate::deployment::Version;
use crate::pipeline::Monitor;
use crate::reload::{Control, Event, Happening};
use crate::status::RefusalStatus;

/// How long answers that are under way may take when the server stops.
const STOP_TIME_MAX: Duration = Duration::from_secs(1);

/// Who listens to events at a time.
const LISTENERS_MAX: usize = 12;
/// Changes that wait for their answer at a time.
const CHANGES_MAX: usize = 8;
/// Connections that nobody may hold for longer than a question takes.
const PLACES_FOR_QUESTIONS: usize = CONNECTIONS_MAX - LISTENERS_MAX - CHANGES_MAX;
const _: () = assert!(
    PLACES_FOR_QUESTIONS >= 8,
    "probes and Prometheus need places"
);

/// The server cannot be started.
#[derive(Debug, Error)]
#[error(
    "failed to listen on {address}, which is `listen` in `[admin]`: {source}; name another port, leave `[admin]` out, or stop whoever has it"
)]
pub struct AdminError {
    address: SocketAddr,
    source: io::Error,
}

/// A server that answers.
#[derive(Debug)]
pub struct AdminServer {
    address: SocketAddr,
    app: Arc<App>,
    serving: JoinHandle<io::Result<()>>,
    noting: JoinHandle<()>,
}

/// What all answers are made of.
#[derive(Debug)]
struct App {
    monitor: Arc<Monitor>,
    control: Control,
    guard: Guard,
    /// the last refusal, unless another version came into force since
    refused: Mutex<Option<RefusalStatus>>,
    listeners: Arc<Semaphore>,
    changes: Semaphore,
    stop: CancellationToken,
}

impl AdminServer {
    /// Listens as `admin` says, answers from what `monitor` and `control` know, and passes on to
    /// `control` what is to be changed.
    ///
    /// # Errors
    ///
    /// [`AdminError`] when the address cannot be had.
    pub async fn start(
        admin: &Admin,
        monitor: Arc<Monitor>,
        control: Control,
    ) -> Result<Self, AdminError> {
        let address = admin.listen;
        let failed = |source| AdminError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let happening = control.listen();
        let app = Arc::new(App {
            monitor,
            control,
            guard: Guard::new(admin, address),
            refused: Mutex::default(),
            listeners: Arc::new(Semaphore::new(LISTENERS_MAX)),
            changes: Semaphore::new(CHANGES_MAX),
            stop: CancellationToken::new(),
        });
        let router = routes::router(Arc::clone(&app));
        let service = router.into_make_service_with_connect_info::<Peer>();
        let serving = axum::serve(BoundedListener::new(listener), service)
            .with_graceful_shutdown(app.stop.clone().cancelled_owned());
        tracing::info!(%address, "answering on /healthz, /readyz, /metrics and /api");
        Ok(Self {
            address,
            serving: tokio::spawn(serving.into_future()),
            noting: tokio::spawn(note_refusals(Arc::clone(&app), happening)),
            app,
        })
    }

    /// Wants another token from now on, or none.
    pub fn set_token(&self, token: Option<&Secret>) {
        self.app.guard.set_token(token);
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more questions, and ends once those under way are answered, or soon after.
    pub async fn stop(mut self) {
        self.app.stop.cancel();
        match tokio::time::timeout(STOP_TIME_MAX, &mut self.serving).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "the admin server failed"),
            Ok(Err(error)) => {
                tracing::error!(%error, "the admin server failed, please report this");
            }
            Err(_) => tracing::debug!("gave up questions that were still open"),
        }
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        // Whoever still listens to events hears the end of them.
        self.app.stop.cancel();
        self.serving.abort();
        self.noting.abort();
    }
}

impl App {
    /// The version in force, where one is known.
    fn deployment(&self) -> Option<Version> {
        let deployments = self.control.deployments();
        deployments.last().map(|newest| newest.version)
    }

    fn last_refusal(&self) -> Option<RefusalStatus> {
        let refused = self.refused.lock();
        refused.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, event: Event) {
        let refused = match event.what {
            Happening::Refused { trigger, reason } => Some(RefusalStatus {
                at: event.at.to_rfc3339_opts(SecondsFormat::Millis, true),
                trigger,
                reason,
            }),
            Happening::Deployed { .. } => None,
            Happening::Requested { .. }
            | Happening::Accepted { .. }
            | Happening::Failed { .. }
            | Happening::BackfillFailed { .. } => return,
        };
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
    }
}

/// Keeps the last refusal, for whoever asks later.
async fn note_refusals(app: Arc<App>, mut happening: Receiver<Event>) {
    loop {
        match happening.recv().await {
            Ok(event) => app.note(event),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}
