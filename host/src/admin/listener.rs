//! Connections with bounds: so many at a time, and each for so long.
//!
//! A question is one request, and every answer closes its connection. So whoever connects and says
//! nothing, or reads its answer slowly, holds one place for a short time and no more. What a request
//! may consist of is bounded by hyper (its head) and by whoever reads its body.
//!
//! An answer that takes its time, a reload or a stream of events, has a [`Lease`]: from when it is
//! extended, only what is written has to be taken in time. How many of these there are is bounded by
//! whoever extends it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// Connections at a time; more of them wait in the system's queue.
pub(super) const CONNECTIONS_MAX: usize = 32;

/// From accepting a connection to the end of its answer; after [`Lease::extend`] for each write.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(10);

/// Accepts as many connections as there are places.
pub(super) struct BoundedListener {
    listener: TcpListener,
    places: Arc<Semaphore>,
    time_max: Duration,
}

/// A connection that ends in time.
pub(super) struct Connection {
    stream: TcpStream,
    deadline: Pin<Box<Sleep>>,
    time_max: Duration,
    lease: Lease,
    /// whether the deadline is that of a write
    writing: bool,
    _place: OwnedSemaphorePermit,
}

/// Leave to stay for longer.
#[derive(Debug, Clone, Default)]
pub(super) struct Lease(Arc<AtomicBool>);

impl Lease {
    /// The connection may last from now on, as long as what is written to it is read.
    pub(super) fn extend(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_extended(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Who asks.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) lease: Lease,
}

impl Connected<IncomingStream<'_, BoundedListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, BoundedListener>) -> Self {
        Self {
            address: *stream.remote_addr(),
            lease: stream.io().lease.clone(),
        }
    }
}

impl BoundedListener {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self::with_bounds(listener, CONNECTIONS_MAX, CONNECTION_TIME_MAX)
    }

    pub(super) fn with_bounds(listener: TcpListener, places: usize, time_max: Duration) -> Self {
        Self {
            listener,
            places: Arc::new(Semaphore::new(places)),
            time_max,
        }
    }
}

impl Listener for BoundedListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let place = Arc::clone(&self.places).acquire_owned();
        let place = place.await.expect("the semaphore is never closed");
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let connection = Connection {
            stream,
            deadline: Box::pin(sleep(self.time_max)),
            time_max: self.time_max,
            lease: Lease::default(),
            writing: false,
            _place: place,
        };
        (connection, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Connection {
    /// Fails once the time is up, and wakes the task when it is.
    fn poll_time(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.deadline.as_mut().poll(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// The same for what is written, whose time begins anew with each write where it was extended.
    fn poll_written<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let extended = self.lease.is_extended();
        if !extended {
            self.poll_time(cx)?;
        }
        let written = write(Pin::new(&mut self.stream), cx);
        if written.is_ready() {
            self.writing = false;
        } else if extended {
            if !self.writing {
                self.writing = true;
                let deadline = Instant::now() + self.time_max;
                self.deadline.as_mut().reset(deadline);
            }
            self.poll_time(cx)?;
        }
        written
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.lease.is_extended() {
            self.poll_time(cx)?;
        }
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_written(cx, |stream, cx| stream.poll_write(cx, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_written(cx, AsyncWrite::poll_flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn bounded(places: usize, time_max: Duration) -> (BoundedListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = BoundedListener::with_bounds(listener, places, time_max);
        (listener, address)
    }

    #[tokio::test]
    async fn a_connection_that_says_nothing_ends_in_time() {
        let (mut listener, address) = bounded(1, Duration::from_millis(50)).await;
        let _silent = TcpStream::connect(address).await.unwrap();
        let (mut connection, _) = listener.accept().await;
        let started = Instant::now();
        let error = connection.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() < Duration::from_secs(5));
        let error = connection.write_all(b"late").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn an_extended_connection_may_be_silent() {
        let (mut listener, address) = bounded(1, Duration::from_millis(50)).await;
        let mut patient = TcpStream::connect(address).await.unwrap();
        let (mut connection, _) = listener.accept().await;
        connection.lease.extend();
        sleep(Duration::from_millis(100)).await;
        connection.write_all(b"late").await.unwrap();
        let mut heard = [0; 4];
        patient.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"late");
        patient.write_all(b"?").await.unwrap();
        assert_eq!(connection.read_u8().await.unwrap(), b'?');
    }

    #[tokio::test]
    async fn an_extended_connection_that_reads_nothing_ends_in_time() {
        let (mut listener, address) = bounded(1, Duration::from_millis(50)).await;
        let _deaf = TcpStream::connect(address).await.unwrap();
        let (mut connection, _) = listener.accept().await;
        connection.lease.extend();
        // More than the buffers of both sides hold.
        let much = vec![0; 64 << 20];
        let error = connection.write_all(&much).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn one_more_than_there_are_places_waits_for_one() {
        let (mut listener, address) = bounded(1, Duration::from_mins(1)).await;
        let _first = TcpStream::connect(address).await.unwrap();
        let _second = TcpStream::connect(address).await.unwrap();
        let (first, _) = listener.accept().await;
        let mut accepting = Box::pin(listener.accept());
        let polled = poll_fn(|cx| Poll::Ready(accepting.as_mut().poll(cx).is_ready())).await;
        assert!(!polled, "there is no place");
        drop(first);
        let _ = accepting.await;
    }
}
