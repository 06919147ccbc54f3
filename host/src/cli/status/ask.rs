//! One question to an admin server, over as much HTTP as that takes.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::status::Status;

/// For connecting, and for the whole of the answer.
const TIME_MAX: Duration = Duration::from_secs(5);

/// An answer is some ten thousand bytes; one of this size is somebody else's.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Nobody answers, or somebody else does.
#[derive(Debug, Error)]
pub(super) enum AskError {
    /// No answer.
    #[error(
        "nobody answers on {address} ({source}): is the pipeline running on this machine, with this address in `[admin]`? Its log says more"
    )]
    Unreachable {
        address: SocketAddr,
        source: io::Error,
    },
    /// Not the answer of an admin server.
    #[error(
        "{address} answers, but not as wasmill does ({reason}): something else has this port, or another version of wasmill"
    )]
    SomebodyElse { address: SocketAddr, reason: String },
}

/// Asks for the status.
pub(super) fn status(address: SocketAddr) -> Result<Status, AskError> {
    let answer = exchange(address).map_err(|source| AskError::Unreachable { address, source })?;
    parse(&answer).map_err(|reason| AskError::SomebodyElse { address, reason })
}

fn exchange(address: SocketAddr) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + TIME_MAX;
    let mut stream = TcpStream::connect_timeout(&address, TIME_MAX)?;
    stream.set_write_timeout(Some(TIME_MAX))?;
    // HTTP/1.0: the answer ends with the connection and is never chunked.
    let request = format!("GET /api/status HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut chunk = [0; 16 << 10];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || answer.len() as u64 > ANSWER_BYTES_MAX {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(answer),
            Ok(read) => answer.extend_from_slice(&chunk[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // What a read that took too long is called.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) => return Err(error),
        }
    }
}

fn parse(answer: &[u8]) -> Result<Status, String> {
    let answer = String::from_utf8_lossy(answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("it is no HTTP")?;
    let status = head
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1))
        .ok_or("it is no HTTP")?;
    if status != "200" {
        let status: String = status.chars().take(3).collect();
        return Err(format!("HTTP {}", status.escape_debug()));
    }
    serde_json::from_str(body).map_err(|error| format!("it is no status: {error}"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn a_status_is_read_from_an_answer() {
        let expected = Status {
            pipeline: "shop".into(),
            records: 7,
            ..Status::default()
        };
        let body = serde_json::to_string(&expected).unwrap();
        let answer = format!("HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n{body}");
        assert_eq!(parse(answer.as_bytes()), Ok(expected));
    }

    #[test]
    fn what_somebody_else_answers_is_no_status() {
        for (answer, reason) in [
            (&b"SSH-2.0-OpenSSH\r\n"[..], "it is no HTTP"),
            (b"\xff\r\n\r\n", "it is no HTTP"),
            (b"HTTP/1.1 404 Not Found\r\n\r\n", "HTTP 404"),
        ] {
            assert_eq!(parse(answer).unwrap_err(), reason);
        }
        let html = parse(b"HTTP/1.1 200 OK\r\n\r\n<html>").unwrap_err();
        assert!(html.starts_with("it is no status: "), "{html}");
    }

    #[test]
    fn an_address_where_nobody_listens_is_named() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let error = status(address).unwrap_err().to_string();
        assert!(error.contains(&address.to_string()), "{error}");
        assert!(error.contains("[admin]"), "{error}");
    }

    #[test]
    fn a_server_that_answers_with_nonsense_is_told_apart() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let answering = thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let _ = stream.read(&mut [0; 512]);
            stream.write_all(b"hello\r\n").unwrap();
        });
        let error = status(address).unwrap_err();
        assert!(matches!(error, AskError::SomebodyElse { .. }), "{error}");
        answering.join().unwrap();
    }
}
