//! One HTTP request, for servers that answer in plain.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// Sends a request without a body.
pub(crate) fn request(address: SocketAddr, method: &str, path: &str) -> io::Result<Answer> {
    call(address, method, path, &[], b"")
}

/// Sends a request with these headers and this body. `Host` is the address unless it is among them.
pub(crate) fn call(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut head = vec![format!("{method} {path} HTTP/1.1")];
    let has = |wanted: &str| headers.iter().any(|(name, _)| *name == wanted);
    if !has("Host") {
        head.push(format!("Host: {address}"));
    }
    head.extend(
        headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}")),
    );
    if !body.is_empty() && !has("Transfer-Encoding") {
        head.push(format!("Content-Length: {}", body.len()));
    }
    let request = head.join("\r\n") + "\r\n\r\n";
    stream.write_all(request.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = String::new();
    // No `Connection: close` was asked for: the server itself ends the connection.
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    let status = head.split(' ').nth(1).expect("a status");
    Ok(Answer {
        status: status.parse().expect("a number"),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    })
}

/// Asks.
///
/// # Panics
///
/// When nobody answers.
pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    request(address, "GET", path).unwrap_or_else(|error| panic!("{path}: {error}"))
}
