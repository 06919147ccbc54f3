//! The admin server: answers questions about the running pipeline over HTTP. It only ever reads.
//!
//! | path | answers |
//! |---|---|
//! | `/healthz` | 200 while the process and its threads answer, else 503 with those that do not |
//! | `/readyz` | 200 when records flow and nobody is waited for, else 503 with who is |
//! | `/metrics` | Prometheus' text format |
//! | `/api/status` | [`Status`](crate::status::Status) as JSON |
//!
//! # Invariants
//!
//! 1. It answers from before the first server is connected until the run has ended.
//! 2. Connections are bounded in number and time, and requests in size (`listener`).
//! 3. What it tells is taken from the [`Monitor`], which knows no address, URL or password but those
//!    that a server's own error message names.
//!
//! # Not here
//!
//! Counting: [`crate::pipeline`]. Names of metrics: [`crate::telemetry`]. axum is used below this
//! module and nowhere else.

mod listener;
mod routes;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::listener::BoundedListener;
use crate::pipeline::Monitor;

/// How long answers that are under way may take when the server stops.
const STOP_TIME_MAX: Duration = Duration::from_secs(1);

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
    stop: CancellationToken,
    serving: JoinHandle<io::Result<()>>,
}

impl AdminServer {
    /// Listens on `address` and answers from what `monitor` knows.
    ///
    /// # Errors
    ///
    /// [`AdminError`] when the address cannot be had.
    pub async fn start(address: SocketAddr, monitor: Arc<Monitor>) -> Result<Self, AdminError> {
        let failed = |source| AdminError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let stop = CancellationToken::new();
        let serving = axum::serve(BoundedListener::new(listener), routes::router(monitor))
            .with_graceful_shutdown(stop.clone().cancelled_owned());
        tracing::info!(%address, "answering on /healthz, /readyz, /metrics and /api/status");
        Ok(Self {
            address,
            stop,
            serving: tokio::spawn(serving.into_future()),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more questions, and ends once those under way are answered, or soon after.
    pub async fn stop(mut self) {
        self.stop.cancel();
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
        self.serving.abort();
    }
}
