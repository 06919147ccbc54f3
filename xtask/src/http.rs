//! As much HTTP as asking Elasticsearch on this machine takes.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result};

/// How long a connection, and each read, may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A status code and a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Sends a request without a body to `authority` (`host:port`).
pub(crate) fn request(method: &str, authority: &str, path: &str) -> Result<Response> {
    let mut stream = connect(authority)?;
    // HTTP/1.0: the answer ends with the connection and is never chunked.
    let request = format!("{method} {path} HTTP/1.0\r\nHost: {authority}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    parse(&String::from_utf8_lossy(&answer))
        .with_context(|| format!("{authority} does not answer in HTTP"))
}

/// Connects to `authority` with [`TIMEOUT`] for everything.
pub(crate) fn connect(authority: &str) -> Result<TcpStream> {
    let address = authority
        .to_socket_addrs()
        .with_context(|| format!("failed to resolve {authority}"))?
        .next()
        .with_context(|| format!("{authority} has no address"))?;
    let stream = TcpStream::connect_timeout(&address, TIMEOUT)
        .with_context(|| format!("failed to connect to {authority}"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// `host:port` of a URL, with the scheme's usual port where it names none.
pub(crate) fn authority(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    let port = match scheme {
        "http" => 80,
        "https" => 443,
        "postgres" | "postgresql" => 5432,
        _ => return None,
    };
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    (!host.is_empty()).then(|| {
        if has_port {
            host.to_owned()
        } else {
            format!("{host}:{port}")
        }
    })
}

fn parse(answer: &str) -> Option<Response> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    Some(Response {
        status: status.parse().ok()?,
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_body_are_read() {
        let response = parse("HTTP/1.0 404 Not Found\r\ncontent-length: 2\r\n\r\n{}").unwrap();
        assert_eq!(response.status, 404);
        assert_eq!(response.body, "{}");
    }

    #[test]
    fn what_is_no_http_is_no_response() {
        assert_eq!(parse("SSH-2.0-OpenSSH\r\n\r\n"), None);
        assert_eq!(parse(""), None);
        assert_eq!(parse("HTTP/1.1 abc\r\n\r\n"), None);
    }

    #[test]
    fn the_authority_leaves_out_credentials_and_path() {
        let of = |url| authority(url);
        assert_eq!(
            of("postgres://me:p@ss@db:5433/x?a=b").as_deref(),
            Some("db:5433")
        );
        assert_eq!(of("postgres://me@db/x").as_deref(), Some("db:5432"));
        assert_eq!(of("http://[::1]:9200").as_deref(), Some("[::1]:9200"));
        assert_eq!(of("http://search").as_deref(), Some("search:80"));
        assert_eq!(of("search:9200"), None);
        assert_eq!(of("http:///x"), None);
    }
}
