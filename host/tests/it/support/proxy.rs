//! A TCP proxy on this machine that stands between a client and a real server and does to their
//! connections, while they are open, what networks and servers do.
//!
//! It runs on a thread of its own, so a test may block while it works.
//!
//! # Invariants
//!
//! 1. Its address stays its own from the beginning to the end, also while it refuses connections.
//! 2. Bytes that it holds back are kept and passed on in their order when it is told to go on.

mod tests;

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const CHUNK_BYTES: usize = 64 << 10;
/// For what happens at once.
const PATIENCE: Duration = Duration::from_mins(1);

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// in good order, as when the other side's process ends
    Fin,
    /// with a reset, as when the other side knows nothing of it any more
    Rst,
}

/// What happens to the request that has the bytes which a [`Trap`] waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// the server never gets it, and the connection is cut
    Request,
    /// the server has answered it, the client never gets that, and the connection is cut
    Answer,
    /// the server has answered it, and the client hears nothing any more of an open connection
    Silence,
}

/// What becomes of new connections.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Door {
    /// to the server
    Open,
    /// nobody listens
    Shut,
    /// each gets these bytes once it has sent something, and is closed
    Says(Arc<[u8]>),
}

/// How bytes move; the first of each pair is towards the server.
#[derive(Debug, Clone, Default)]
struct Flow {
    stalled: bool,
    delays: (Duration, Duration),
    /// raised to cut all connections that are open
    cut: u64,
    how: Option<Cut>,
}

/// Bytes towards the server after which something happens, once.
#[derive(Debug)]
enum Trap {
    Pattern(Vec<u8>, Loss),
    Bytes(u64, Cut),
}

struct Shared {
    server: SocketAddr,
    door: watch::Sender<Door>,
    listening: watch::Sender<bool>,
    flow: watch::Sender<Flow>,
    trap: Mutex<Option<Trap>>,
    accepted: AtomicU64,
    sprung: AtomicU64,
}

/// Runs until it is dropped; then all its connections are cut.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Proxy {
    /// Before the server at `host:port`, with open doors.
    pub(crate) fn to(server: &str) -> Self {
        let mut found = server.to_socket_addrs().unwrap();
        let server = found.find(SocketAddr::is_ipv4).expect("an IPv4 address");
        let shared = Arc::new(Shared {
            server,
            door: watch::Sender::new(Door::Open),
            listening: watch::Sender::new(false),
            flow: watch::Sender::new(Flow::default()),
            trap: Mutex::new(None),
            accepted: AtomicU64::new(0),
            sprung: AtomicU64::new(0),
        });
        let stop = CancellationToken::new();
        let (told, address) = std::sync::mpsc::channel();
        let (running, stopped) = (Arc::clone(&shared), stop.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                // It holds the address while nobody listens there.
                let holder = socket_at("127.0.0.1:0".parse().unwrap());
                let address = holder.local_addr().unwrap();
                told.send(address).unwrap();
                let serving = serve(address, running);
                tokio::select! {
                    () = stopped.cancelled() => {}
                    () = serving => {}
                }
            });
        });
        let proxy = Self {
            address: address.recv().unwrap(),
            shared,
            stop,
            thread: Some(thread),
        };
        proxy.wait_for_door(true);
        proxy
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL that leads here and not to the server that it names.
    pub(crate) fn instead_of(&self, url: &str) -> String {
        let (scheme, rest) = url.split_once("://").unwrap();
        let end = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let user = authority.rfind('@').map_or("", |at| &authority[..=at]);
        format!("{scheme}://{user}{}{path}", self.address)
    }

    /// Refuses new connections; those that are open stay.
    pub(crate) fn refuse(&self) {
        self.shared.door.send_replace(Door::Shut);
        self.wait_for_door(false);
    }

    /// Takes new connections to the server.
    pub(crate) fn accept(&self) {
        self.shared.door.send_replace(Door::Open);
        self.wait_for_door(true);
    }

    /// Answers whatever new connections say with these bytes.
    pub(crate) fn answer(&self, bytes: &[u8]) {
        self.shared.door.send_replace(Door::Says(bytes.into()));
        self.wait_for_door(true);
    }

    /// Cuts every connection that is open.
    pub(crate) fn cut(&self, how: Cut) {
        self.shared.flow.send_modify(|flow| {
            flow.cut += 1;
            flow.how = Some(how);
        });
    }

    /// Refuses new connections and cuts those that are open: the server is gone.
    pub(crate) fn go_away(&self, how: Cut) {
        self.refuse();
        self.cut(how);
    }

    /// Passes every piece on only after so long: towards the server, and back.
    pub(crate) fn delay(&self, there: Duration, back: Duration) {
        let change = |flow: &mut Flow| flow.delays = (there, back);
        self.shared.flow.send_modify(change);
    }

    /// Passes nothing on any more in either direction. New connections are taken, and nobody answers.
    pub(crate) fn stall(&self) {
        self.shared.flow.send_modify(|flow| flow.stalled = true);
    }

    /// Goes on with what it has kept.
    pub(crate) fn go_on(&self) {
        self.shared.flow.send_modify(|flow| flow.stalled = false);
    }

    /// Cuts all connections once so many more bytes have gone towards the server, and none after
    /// these.
    pub(crate) fn cut_after(&self, bytes: u64, how: Cut) {
        *self.trap() = Some(Trap::Bytes(bytes, how));
    }

    /// Does this to the next request that has these bytes in it.
    pub(crate) fn lose(&self, pattern: &[u8], loss: Loss) {
        *self.trap() = Some(Trap::Pattern(pattern.to_owned(), loss));
    }

    /// How often what [`lose`](Self::lose) or [`cut_after`](Self::cut_after) waited for has happened.
    pub(crate) fn sprung(&self) -> u64 {
        self.shared.sprung.load(Ordering::SeqCst)
    }

    /// Connections that were taken so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    fn trap(&self) -> MutexGuard<'_, Option<Trap>> {
        self.shared.trap.lock().unwrap()
    }

    fn wait_for_door(&self, open: bool) {
        let started = Instant::now();
        while *self.shared.listening.borrow() != open {
            assert!(started.elapsed() < PATIENCE, "the proxy's thread is gone");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.cancel();
        let ended = self.thread.take().map(std::thread::JoinHandle::join);
        if !std::thread::panicking() {
            ended.expect("joined once").expect("the proxy never panics");
        }
    }
}

fn socket_at(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

/// Takes connections as long as the doors are open.
async fn serve(address: SocketAddr, shared: Arc<Shared>) {
    let mut doors = shared.door.subscribe();
    let mut connections = JoinSet::new();
    let mut listener: Option<TcpListener> = None;
    loop {
        let door = doors.borrow_and_update().clone();
        if door == Door::Shut {
            listener = None;
        } else if listener.is_none() {
            listener = Some(socket_at(address).listen(1024).unwrap());
        }
        shared.listening.send_replace(listener.is_some());
        let accepting = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            changed = doors.changed() => changed.expect("it is shared"),
            Some(_) = connections.join_next() => {}
            client = accepting => {
                let (client, _) = client.unwrap();
                shared.accepted.fetch_add(1, Ordering::SeqCst);
                match door {
                    Door::Says(bytes) => drop(connections.spawn(say(client, bytes))),
                    _ => drop(connections.spawn(relay(client, Arc::clone(&shared)))),
                }
            }
        }
    }
}

async fn say(mut client: TcpStream, bytes: Arc<[u8]>) {
    let mut asked = vec![0; CHUNK_BYTES];
    if client.read(&mut asked).await.is_ok_and(|length| length > 0) {
        let _ = client.write_all(&bytes).await;
        let _ = client.shutdown().await;
        // Closed with bytes unread, it would be a reset that takes the answer with it.
        while client.read(&mut asked).await.is_ok_and(|length| length > 0) {}
    }
}

/// Moves bytes in both directions until one side closes, or the connection is cut.
async fn relay(client: TcpStream, shared: Arc<Shared>) {
    let mut flow = shared.flow.subscribe();
    let cuts = flow.borrow_and_update().cut;
    let Ok(server) = TcpStream::connect(shared.server).await else {
        let _ = client.set_zero_linger();
        return;
    };
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // Set once the client is not to hear of anything any more, and how that ends.
    let deaf = watch::Sender::new(None);
    let mut back = Back {
        from: from_server,
        to: to_client,
        flow: shared.flow.subscribe(),
        deaf: deaf.subscribe(),
    };
    let mut there = There {
        from: from_client,
        to: to_server,
        shared: &shared,
        flow: shared.flow.subscribe(),
        deaf,
        tail: Vec::new(),
    };
    let how = tokio::select! {
        biased;
        changed = flow.wait_for(|flow| flow.cut > cuts) => changed.ok().and_then(|flow| flow.how),
        how = there.run() => how,
        how = back.run() => how,
    };
    if how != Some(Cut::Rst) {
        return;
    }
    let Back {
        mut from, to, deaf, ..
    } = back;
    reset(to);
    if *deaf.borrow() == Some(Loss::Answer) {
        // A reset might throw away what the server has not read yet.
        drop(there);
        let mut rest = vec![0; CHUNK_BYTES];
        while from.read(&mut rest).await.is_ok_and(|length| length > 0) {}
    } else {
        reset(there.to);
    }
}

fn reset(half: OwnedWriteHalf) {
    let _ = half.as_ref().set_zero_linger();
    // Dropped, it would say first that it ends in good order.
    half.forget();
}

/// Waits while nothing is passed on, and then for as long as a piece is delayed.
async fn hold(flow: &mut watch::Receiver<Flow>, delay: impl Fn(&Flow) -> Duration) {
    let going = flow.wait_for(|flow| !flow.stalled).await;
    let delay = going.map_or(Duration::ZERO, |flow| delay(&flow));
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

/// Towards the server.
struct There<'a> {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    shared: &'a Shared,
    flow: watch::Receiver<Flow>,
    deaf: watch::Sender<Option<Loss>>,
    /// the last bytes, in which a pattern may begin
    tail: Vec<u8>,
}

impl There<'_> {
    /// Returns how the connection is to end.
    async fn run(&mut self) -> Option<Cut> {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            hold(&mut self.flow, |_| Duration::ZERO).await;
            let Ok(length @ 1..) = self.from.read(&mut chunk).await else {
                return None;
            };
            hold(&mut self.flow, |flow| flow.delays.0).await;
            let (length, cut) = match self.sprung_by(&chunk[..length]) {
                None => (length, None),
                Some(Sprung::Cut(length, how)) => (length, Some(how)),
                Some(Sprung::Loss(Loss::Request)) => return Some(Cut::Rst),
                Some(Sprung::Loss(loss)) => {
                    self.deaf.send_replace(Some(loss));
                    (length, None)
                }
            };
            if self.to.write_all(&chunk[..length]).await.is_err() {
                return None;
            }
            if let Some(how) = cut {
                self.shared.flow.send_modify(|flow| {
                    flow.cut += 1;
                    flow.how = Some(how);
                });
                return Some(how);
            }
        }
    }

    fn sprung_by(&mut self, chunk: &[u8]) -> Option<Sprung> {
        let mut trap = self.shared.trap.lock().unwrap();
        let sprung = match trap.as_mut()? {
            Trap::Pattern(pattern, loss) => {
                self.tail.extend_from_slice(chunk);
                let found = self.tail.windows(pattern.len()).any(|part| part == pattern);
                let kept = self.tail.len().min(pattern.len() - 1);
                self.tail.drain(..self.tail.len() - kept);
                found.then_some(Sprung::Loss(*loss))?
            }
            Trap::Bytes(left, how) => {
                let length = chunk.len() as u64;
                if *left > length {
                    *left -= length;
                    return None;
                }
                Sprung::Cut(usize::try_from(*left).unwrap(), *how)
            }
        };
        *trap = None;
        self.shared.sprung.fetch_add(1, Ordering::SeqCst);
        Some(sprung)
    }
}

enum Sprung {
    /// so many bytes of the piece still go to the server
    Cut(usize, Cut),
    Loss(Loss),
}

/// Back to the client.
struct Back {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    flow: watch::Receiver<Flow>,
    deaf: watch::Receiver<Option<Loss>>,
}

impl Back {
    /// Returns how the connection is to end.
    async fn run(&mut self) -> Option<Cut> {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            hold(&mut self.flow, |_| Duration::ZERO).await;
            let Ok(length @ 1..) = self.from.read(&mut chunk).await else {
                return None;
            };
            hold(&mut self.flow, |flow| flow.delays.1).await;
            match *self.deaf.borrow() {
                None => {}
                Some(Loss::Silence) => continue,
                Some(Loss::Request | Loss::Answer) => return Some(Cut::Rst),
            }
            if self.to.write_all(&chunk[..length]).await.is_err() {
                return None;
            }
        }
    }
}
