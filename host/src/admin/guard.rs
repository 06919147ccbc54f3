//! Who may ask, and who may change.
//!
//! The probes and the metrics answer everybody who can reach the address. For everything else:
//!
//! | | with a `token` | without |
//! |---|---|---|
//! | reading | the token, or as on the right | a `Host` that is an address or `localhost`, and no `Origin` from elsewhere |
//! | changing | the token | the same, with a `Host` of this machine; listening on this machine alone, and asked from it |
//!
//! The rule about `Host` is against DNS rebinding: a page in somebody's browser has its own name point
//! to 127.0.0.1 and then asks as if this server were its own. The browser says that name in `Host`, and
//! a name that is written as an address cannot be made to point elsewhere. The rule about `Origin` is
//! against pages that ask from another origin.
//!
//! # Invariants
//!
//! 1. A path is guarded unless it is said to be open, so a new one cannot be forgotten.
//! 2. A token is compared in a time that says nothing about it, and is never in an answer or a log.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{PoisonError, RwLock};

use axum::http::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN};
use axum::http::{HeaderMap, Method, Uri};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;

use crate::config::{Admin, Secret};

/// Paths that answer everybody: Kubernetes asks them by the address of the pod, Prometheus by any name.
const OPEN: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// What decides who may.
#[derive(Debug)]
pub(super) struct Guard {
    listen: SocketAddr,
    token: RwLock<Option<TokenDigest>>,
}

/// SHA-256 of a token: of equal length for all of them.
#[derive(Debug)]
struct TokenDigest([u8; 32]);

impl TokenDigest {
    fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }

    fn is_of(&self, token: &[u8]) -> bool {
        self.0.ct_eq(&Self::of(token).0).into()
    }
}

/// Why somebody may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Denial {
    /// No token where one is needed.
    #[error(
        "changing the running pipeline needs its token: send `Authorization: Bearer …` with `token` of `[admin]`"
    )]
    NoToken,
    /// Another token.
    #[error("this is not the token that this server has as `token` of `[admin]`")]
    WrongToken,
    /// It listens on an address that others reach.
    #[error(
        "others can reach this server, and its `[admin]` has no `token`, so nobody may change the running pipeline: set `token`, or have it listen on 127.0.0.1"
    )]
    Exposed,
    /// Somebody on another machine.
    #[error(
        "only this machine may change the running pipeline, as `[admin]` has no `token`: set one, or ask from the machine itself"
    )]
    Elsewhere,
    /// A name in `Host` that may be anybody's.
    #[error(
        "the `Host` of this request may be a name that somebody else has pointed here: ask by address, as in http://127.0.0.1:8080, or send `token` of `[admin]` as `Authorization: Bearer …`"
    )]
    Host,
    /// A page from elsewhere.
    #[error("the `Origin` of this request is another one: pages from elsewhere are not answered")]
    Origin,
}

/// What is to be judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) peer: IpAddr,
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
}

impl Guard {
    /// For a server that listens on this address.
    pub(super) fn new(admin: &Admin, listen: SocketAddr) -> Self {
        let guard = Self {
            listen,
            token: RwLock::default(),
        };
        guard.set_token(admin.token.as_ref());
        guard
    }

    /// Wants another token from now on.
    pub(super) fn set_token(&self, token: Option<&Secret>) {
        let token = token.map(|token| TokenDigest::of(token.reveal().as_bytes()));
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = token;
    }

    /// Whether this may be answered.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(super) fn judge(&self, question: Question<'_>) -> Result<(), Denial> {
        if OPEN.contains(&question.uri.path()) {
            return Ok(());
        }
        let changes = !question.method.is_safe();
        let token = self.token.read().unwrap_or_else(PoisonError::into_inner);
        match (&*token, bearer(question.headers)) {
            (Some(token), Some(given)) if token.is_of(given) => return Ok(()),
            (Some(_), Some(_)) => return Err(Denial::WrongToken),
            (Some(_), None) if changes => return Err(Denial::NoToken),
            (None, _) if changes => self.judge_place(question.peer)?,
            _ => {}
        }
        judge_host(question, changes)?;
        judge_origin(question.headers)
    }

    /// Whether a change without a token may come from there.
    fn judge_place(&self, peer: IpAddr) -> Result<(), Denial> {
        if !self.listen.ip().to_canonical().is_loopback() {
            return Err(Denial::Exposed);
        }
        if !peer.to_canonical().is_loopback() {
            return Err(Denial::Elsewhere);
        }
        Ok(())
    }
}

/// The token that is sent.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let sent = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = sent.split_at_checked("Bearer ".len())?;
    let is_bearer = scheme.eq_ignore_ascii_case(b"Bearer ");
    is_bearer.then(|| token.trim_ascii())
}

fn judge_host(question: Question<'_>, changes: bool) -> Result<(), Denial> {
    let fits = |authority: &str| match Host::of(authority) {
        Some(Host::Loopback) => true,
        Some(Host::Address) => !changes,
        Some(Host::Name) | None => false,
    };
    let said = only(question.headers, &HOST).ok_or(Denial::Host)?;
    // A request line with a whole URL overrides the header.
    let authority = question.uri.authority();
    let fits = fits(said) && authority.is_none_or(|authority| fits(authority.as_str()));
    fits.then_some(()).ok_or(Denial::Host)
}

/// A page of this server's own has its `Host` in `Origin`, and that was judged.
fn judge_origin(headers: &HeaderMap) -> Result<(), Denial> {
    if !headers.contains_key(ORIGIN) {
        return Ok(());
    }
    let origin = only(headers, &ORIGIN).and_then(|origin| origin.strip_prefix("http://"));
    let same = match (origin, only(headers, &HOST)) {
        (Some(origin), Some(host)) => origin.eq_ignore_ascii_case(host),
        _ => false,
    };
    same.then_some(()).ok_or(Denial::Origin)
}

/// The value of a header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// What stands in `Host`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Host {
    /// `localhost`, or an address of this machine alone
    Loopback,
    /// another address
    Address,
    /// a name
    Name,
}

impl Host {
    /// Of a host with or without a port; `None` when it is neither.
    fn of(authority: &str) -> Option<Self> {
        if let Some(rest) = authority.strip_prefix('[') {
            let (address, port) = rest.split_once(']')?;
            let port = port.strip_prefix(':');
            let is_whole = rest.ends_with(']') || port.is_some_and(is_port);
            let address: Ipv6Addr = address.parse().ok()?;
            return is_whole.then(|| Self::of_address(address.into()));
        }
        let (name, port) = match authority.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (authority, None),
        };
        if name.is_empty() || port.is_some_and(|port| !is_port(port)) {
            return None;
        }
        Some(match name.parse::<Ipv4Addr>() {
            Ok(address) => Self::of_address(address.into()),
            Err(_) if name.eq_ignore_ascii_case("localhost") => Self::Loopback,
            Err(_) => Self::Name,
        })
    }

    fn of_address(address: IpAddr) -> Self {
        if address.to_canonical().is_loopback() {
            Self::Loopback
        } else {
            Self::Address
        }
    }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests;
