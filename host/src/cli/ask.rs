//! One question to an admin server, over as much HTTP as that takes.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::config::Secret;
use crate::status::Status;

/// For connecting, and for the whole of an answer that is there at once.
const TIME_MAX: Duration = Duration::from_secs(5);

/// An answer is some ten thousand bytes; one of this size is somebody else's.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Nobody answers, or somebody else does.
#[derive(Debug, Error)]
pub(super) enum AskError {
    /// No answer.
    #[error(
        "nobody answers on {address} ({reason}): is the pipeline running on this machine, with this address in `[admin]`? Its log says more. Where `listen` was just changed in the file, name the former one with --admin, or send SIGHUP to the run"
    )]
    Unreachable {
        address: SocketAddr,
        reason: io::Error,
    },
    /// No answer so far.
    #[error(
        "{address} has not answered within {} s: what was asked for goes on; `wasmill status` says what came of it",
        waited.as_secs()
    )]
    Patience {
        address: SocketAddr,
        waited: Duration,
    },
    /// Not the answer of an admin server.
    #[error(
        "{address} answers, but not as wasmill does ({reason}): something else has this port, or another version of wasmill"
    )]
    SomebodyElse { address: SocketAddr, reason: String },
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// Asks for the status.
pub(super) fn status(address: SocketAddr) -> Result<Status, AskError> {
    let answer = ask(address, "GET /api/status", None, "", TIME_MAX)?;
    let parsed = match answer.status {
        200 => serde_json::from_str(&answer.body).map_err(|e| format!("it is no status: {e}")),
        other => Err(format!("HTTP {other}")),
    };
    parsed.map_err(|reason| AskError::SomebodyElse { address, reason })
}

/// Has something changed, and waits for the answer.
pub(super) fn change(
    address: SocketAddr,
    path: &str,
    token: Option<&Secret>,
    body: &str,
    patience: Duration,
) -> Result<Answer, AskError> {
    ask(address, &format!("POST {path}"), token, body, patience)
}

fn ask(
    address: SocketAddr,
    what: &str,
    token: Option<&Secret>,
    body: &str,
    patience: Duration,
) -> Result<Answer, AskError> {
    let unreachable = |reason| AskError::Unreachable { address, reason };
    let mut stream = TcpStream::connect_timeout(&address, TIME_MAX).map_err(unreachable)?;
    stream
        .set_write_timeout(Some(TIME_MAX))
        .map_err(unreachable)?;
    let request = request(address, what, token, body);
    stream.write_all(request.as_bytes()).map_err(unreachable)?;
    let answer = match read(&mut stream, patience) {
        Ok(answer) => answer,
        Err(error) if error.kind() == io::ErrorKind::TimedOut && patience > TIME_MAX => {
            let waited = patience;
            return Err(AskError::Patience { address, waited });
        }
        Err(error) => return Err(unreachable(error)),
    };
    parse(&answer).map_err(|reason| AskError::SomebodyElse {
        address,
        reason: reason.to_owned(),
    })
}

/// In HTTP/1.0: the answer ends with the connection and is never chunked.
fn request(address: SocketAddr, what: &str, token: Option<&Secret>, body: &str) -> String {
    let mut head = vec![format!("{what} HTTP/1.0"), format!("Host: {address}")];
    if let Some(token) = token {
        head.push(format!("Authorization: Bearer {}", token.reveal()));
    }
    if !body.is_empty() {
        head.push("Content-Type: application/json".to_owned());
        head.push(format!("Content-Length: {}", body.len()));
    }
    head.join("\r\n") + "\r\n\r\n" + body
}

fn read(stream: &mut TcpStream, patience: Duration) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + patience;
    let mut answer = Vec::new();
    let mut chunk = [0; 16 << 10];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || answer.len() > ANSWER_BYTES_MAX {
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

fn parse(answer: &[u8]) -> Result<Answer, &'static str> {
    const NO_HTTP: &str = "it is no HTTP";
    let answer = String::from_utf8_lossy(answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(NO_HTTP)?;
    let status = head
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split([' ', '\r']).nth(1)?.parse().ok())
        .ok_or(NO_HTTP)?;
    let body = body.to_owned();
    Ok(Answer { status, body })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn status_and_body_are_read_from_an_answer() {
        let answer = b"HTTP/1.0 422 Unprocessable Entity\r\ncontent-type: x\r\n\r\n{}\r\n\r\n";
        let expected = Answer {
            status: 422,
            body: "{}\r\n\r\n".to_owned(),
        };
        assert_eq!(parse(answer), Ok(expected));
    }

    #[test]
    fn what_somebody_else_answers_is_no_answer() {
        for answer in [
            &b"SSH-2.0-OpenSSH\r\n"[..],
            b"\xff\r\n\r\n",
            b"HTTP/1.1 OK\r\n\r\n",
            b"HTTP/1.1\r\n\r\n",
            b"",
        ] {
            assert_eq!(parse(answer), Err("it is no HTTP"));
        }
    }

    #[test]
    fn a_change_has_its_token_and_says_that_its_body_is_json() {
        let token = Secret::new("0123456789abcdef".to_owned());
        let address = ([127, 0, 0, 1], 80).into();
        assert_eq!(
            request(address, "POST /x", Some(&token), "{}"),
            "POST /x HTTP/1.0\r\nHost: 127.0.0.1:80\r\nAuthorization: Bearer 0123456789abcdef\r\n\
             Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        );
        assert_eq!(
            request(address, "GET /x", None, ""),
            "GET /x HTTP/1.0\r\nHost: 127.0.0.1:80\r\n\r\n"
        );
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

    fn answered_with(answer: &'static str) -> Result<Status, AskError> {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let answering = thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let _ = stream.read(&mut [0; 512]);
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let answer = status(address);
        answering.join().unwrap();
        answer
    }

    #[test]
    fn a_server_that_answers_with_nonsense_is_told_apart() {
        for (answer, reason) in [
            ("hello\r\n", "(it is no HTTP)"),
            ("HTTP/1.1 404 Not Found\r\n\r\n", "(HTTP 404)"),
            ("HTTP/1.1 200 OK\r\n\r\n<html>", "(it is no status: "),
        ] {
            let error = answered_with(answer).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
