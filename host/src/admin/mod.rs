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
mod notes;
mod reception;
mod routes;

pub use reception::Reception;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::guard::Guard;
use self::listener::{BoundedListener, CONNECTIONS_MAX, Peer};
use self::notes::Notes;
use crate::config::{Admin, Secret};
use crate::deployment::Version;
use crate::pipeline::Monitor;
use crate::reload::Control;

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
pub enum AdminError {
    /// Somebody else has the address, or this machine has not.
    #[error(
        "failed to listen on {address}, which is `listen` in `[admin]`: {source}; name another port, leave `[admin]` out, or stop whoever has it"
    )]
    Address {
        /// which
        address: SocketAddr,
        /// what the system says
        source: io::Error,
    },
    /// It overlaps with the address that it is to take the place of.
    #[error(
        "failed to listen on {address}, which is `listen` in `[admin]`, while this run itself answers on {own}: a new address is taken before the old one is given up, so name another port, or stop the run and start it again"
    )]
    Own {
        /// which
        address: SocketAddr,
        /// the address before
        own: SocketAddr,
    },
}

impl AdminError {
    /// As it is where this run listens already.
    fn beside(self, own: Option<SocketAddr>) -> Self {
        match (self, own) {
            (Self::Address { address, source }, Some(own))
                if source.kind() == io::ErrorKind::AddrInUse && own.port() == address.port() =>
            {
                Self::Own { address, own }
            }
            (error, _) => error,
        }
    }
}

/// An address that is had, and where nobody answers yet.
#[derive(Debug)]
struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

impl Bound {
    async fn to(address: SocketAddr) -> Result<Self, AdminError> {
        let failed = |source| AdminError::Address { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }
}

/// A server that answers.
#[derive(Debug)]
pub struct AdminServer {
    address: SocketAddr,
    app: Arc<App>,
    serving: JoinHandle<io::Result<()>>,
}

/// What is known of the run, at whatever address it is asked for.
#[derive(Debug, Clone)]
struct Known {
    monitor: Arc<Monitor>,
    control: Control,
    notes: Arc<Notes>,
}

impl Known {
    /// To be called within a runtime.
    fn new(monitor: Arc<Monitor>, control: Control) -> Self {
        let notes = Arc::new(Notes::begin(&control));
        Self {
            monitor,
            control,
            notes,
        }
    }
}

/// What all answers are made of.
#[derive(Debug)]
struct App {
    known: Known,
    guard: Guard,
    listeners: Arc<Semaphore>,
    changes: Semaphore,
    /// nobody can ask any more
    leaving: CancellationToken,
    /// nor gets an answer; leaving begins with it at the latest
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
        let bound = Bound::to(admin.listen).await?;
        Ok(Self::serve(bound, admin, Known::new(monitor, control)))
    }

    /// Answers those who ask at this address.
    fn serve(Bound { listener, address }: Bound, admin: &Admin, known: Known) -> Self {
        let stop = CancellationToken::new();
        let app = Arc::new(App {
            known,
            guard: Guard::new(admin, address),
            listeners: Arc::new(Semaphore::new(LISTENERS_MAX)),
            changes: Semaphore::new(CHANGES_MAX),
            leaving: stop.child_token(),
            stop,
        });
        let router = routes::router(Arc::clone(&app));
        let service = router.into_make_service_with_connect_info::<Peer>();
        let serving = axum::serve(BoundedListener::new(listener), service)
            .with_graceful_shutdown(app.leaving.clone().cancelled_owned());
        tracing::info!(%address, "answering on /healthz, /readyz, /metrics and /api");
        Self {
            address,
            serving: tokio::spawn(serving.into_future()),
            app,
        }
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

    /// Takes no more questions, and answers those under way, however long that takes.
    fn leave(&self) {
        tracing::info!(address = %self.address, "no longer answering here");
        self.app.leaving.cancel();
    }

    fn has_ended(&self) -> bool {
        self.serving.is_finished()
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
    }
}

impl App {
    /// The version in force, where one is known.
    fn deployment(&self) -> Option<Version> {
        let deployments = self.known.control.deployments();
        deployments.last().map(|newest| newest.version)
    }
}
