//! Requests to one Elasticsearch, over the `elasticsearch` crate.
//!
//! This is the only place that knows the URL. No message quotes it: it may have a password.

use std::error::Error;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use elasticsearch::auth::Credentials;
use elasticsearch::http::headers::{CONTENT_TYPE, HeaderMap, HeaderValue};
use elasticsearch::http::transport::{SingleNodeConnectionPool, Transport, TransportBuilder};
use elasticsearch::http::{Method, Url};
use percent_encoding::percent_decode_str;

use crate::config::Secret;
use crate::sink::SinkError;

const NDJSON: &str = "application/x-ndjson";
const JSON: &str = "application/json";

/// A connection pool to one server.
#[derive(Debug)]
pub(super) struct Client {
    transport: Transport,
    place: String,
    /// no request may take longer: a server that hangs counts as away
    timeout: Duration,
}

/// What the server said.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

/// No answer came; the reason is for a person.
#[derive(Debug)]
pub(super) struct NoAnswer(pub(super) String);

impl Client {
    /// A client for the server at `url`; connects when it is first used.
    ///
    /// # Errors
    ///
    /// [`SinkError::Permanent`] when this is no usable URL.
    pub(super) fn new(url: &Secret, timeout: Duration) -> Result<Self, SinkError> {
        let invalid = |reason: String| {
            SinkError::Permanent(format!("the URL of Elasticsearch is not usable: {reason}"))
        };
        let mut url = Url::parse(url.reveal()).map_err(|error| invalid(error.to_string()))?;
        if url.scheme() != "http" {
            return Err(invalid(format!(
                "it begins with `{}://`, and only `http://` is supported",
                url.scheme()
            )));
        }
        let host = url
            .host_str()
            .ok_or_else(|| invalid("it names no host".into()))?
            .to_owned();
        let place = format!(
            "Elasticsearch at {host}:{}",
            url.port_or_known_default().unwrap_or(80)
        );
        let credentials = credentials(&url);
        // They go into a header; left in the URL they would show up in errors.
        let cleared = url.set_username("").and_then(|()| url.set_password(None));
        cleared.map_err(|()| invalid("it names no host".into()))?;
        let mut builder = TransportBuilder::new(SingleNodeConnectionPool::new(url))
            .timeout(timeout)
            .enable_meta_header(false);
        if let Some(credentials) = credentials {
            builder = builder.auth(credentials);
        }
        if is_loopback(&host) {
            builder = builder.disable_proxy();
        }
        let transport = builder
            .build()
            .map_err(|error| invalid(error.to_string()))?;
        Ok(Self {
            transport,
            place,
            timeout,
        })
    }

    /// The server, for a person: "Elasticsearch at localhost:9200".
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// The error of a server that does not answer, or not now.
    pub(super) fn unavailable(&self, reason: String) -> SinkError {
        SinkError::Unavailable {
            what: self.place.clone(),
            reason,
        }
    }

    pub(super) async fn get(&self, path: &str) -> Result<Reply, NoAnswer> {
        self.send(Method::Get, path, JSON, None).await
    }

    pub(super) async fn put(&self, path: &str, body: Option<Bytes>) -> Result<Reply, NoAnswer> {
        self.send(Method::Put, path, JSON, body).await
    }

    pub(super) async fn post_lines(&self, path: &str, body: Bytes) -> Result<Reply, NoAnswer> {
        self.send(Method::Post, path, NDJSON, Some(body)).await
    }

    /// Sends one request; `path` is percent-encoded, with its query.
    async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &'static str,
        body: Option<Bytes>,
    ) -> Result<Reply, NoAnswer> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        let query = None::<&()>;
        let answer = self
            .transport
            .send(method, path, headers, query, body, None)
            .await
            .map_err(|error| self.no_answer(&error))?;
        let status = answer.status_code().as_u16();
        let body = answer
            .bytes()
            .await
            .map_err(|error| self.no_answer(&error))?;
        Ok(Reply { status, body })
    }
}

impl Client {
    /// The innermost cause, which says most: "connection refused", "operation timed out".
    fn no_answer(&self, error: &elasticsearch::Error) -> NoAnswer {
        if error.is_timeout() {
            return NoAnswer(format!("no answer within {} s", self.timeout.as_secs()));
        }
        let mut error: &dyn Error = error;
        while let Some(source) = error.source() {
            error = source;
        }
        NoAnswer(error.to_string())
    }
}

/// User and password of a URL, which has them percent-encoded.
fn credentials(url: &Url) -> Option<Credentials> {
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let user = url.username();
    let password = url.password().unwrap_or_default();
    if user.is_empty() && password.is_empty() {
        return None;
    }
    Some(Credentials::Basic(decode(user), decode(password)))
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(1);

    fn refusal(url: &str) -> String {
        Client::new(&Secret::new(url.into()), TIMEOUT)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn user_and_password_are_taken_out_of_the_url_and_decoded() {
        let url = Url::parse("http://us%40er:pa%3Ass@localhost:9200").unwrap();
        match credentials(&url) {
            Some(Credentials::Basic(user, password)) => {
                assert_eq!((user.as_str(), password.as_str()), ("us@er", "pa:ss"));
            }
            other => panic!("{other:?}"),
        }
        let client = Client::new(&Secret::new(url.into()), TIMEOUT).unwrap();
        assert_eq!(client.place(), "Elasticsearch at localhost:9200");
    }

    #[test]
    fn no_refusal_of_a_url_quotes_it() {
        for url in [
            "http://user:geheim@[half",
            "https://user:geheim@localhost",
            "user:geheim@localhost:9200",
            "http://user:geheim@:9200",
        ] {
            let message = refusal(url);
            assert!(!message.contains("geheim"), "{message}");
        }
    }

    #[test]
    fn the_proxy_is_off_for_this_machine_only() {
        assert!(is_loopback("localhost"));
        assert!(is_loopback("127.0.0.1"));
        assert!(is_loopback("[::1]"));
        assert!(!is_loopback("elasticsearch"));
        assert!(!is_loopback("10.0.0.1"));
    }
}
