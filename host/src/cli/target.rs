//! Which running pipeline a command is about: where its admin server is, and how to tell that it is it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use anyhow::bail;

use super::terminal::printable;
use crate::config::{self, Secret};
use crate::status::Status;

/// Whom to ask.
pub(super) struct Target {
    pub(super) address: SocketAddr,
    /// the pipeline that ought to be there; `None`: any
    pub(super) pipeline: Option<String>,
    /// what its file has as token, where it can be read
    pub(super) token: Option<Secret>,
}

impl Target {
    /// The one at `admin`, or else the one that the file says. Only its `[admin]` and its name are read,
    /// so the rest of the file may be wrong.
    ///
    /// # Errors
    ///
    /// When the file does not say where to ask; reports are on stderr then.
    pub(super) fn find(pipeline: &Path, admin: Option<SocketAddr>) -> anyhow::Result<Self> {
        if let Some(address) = admin {
            return Ok(Self {
                address: reachable(address),
                pipeline: None,
                token: None,
            });
        }
        let peeked = config::peek(pipeline, &super::environment);
        let Some(found) = peeked.map_err(|found| super::refuse(&found))? else {
            bail!(
                "{} has no `[admin]`, so nobody answers: add `[admin]` with `listen = \"127.0.0.1:8080\"` and start it again, or say where to ask with --admin",
                pipeline.display()
            );
        };
        Ok(Self {
            address: reachable(found.listen),
            pipeline: found.name,
            token: found.token,
        })
    }

    /// Whether this is the status of the pipeline that is meant.
    pub(super) fn is_meant(&self, status: &Status) -> bool {
        let meant = self.pipeline.as_ref();
        meant.is_none_or(|name| *name == status.pipeline)
    }

    /// The same.
    ///
    /// # Errors
    ///
    /// When it is another one.
    pub(super) fn is_right(&self, status: &Status) -> anyhow::Result<()> {
        if self.is_meant(status) {
            return Ok(());
        }
        bail!(
            "{} answers for pipeline `{}`, not for `{}`: give each its own port in `[admin]`",
            self.address,
            printable(&status.pipeline),
            self.pipeline.as_deref().unwrap_or_default()
        );
    }
}

/// Who listens on every address is reached on this machine's own.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_asked_here() {
        let asked = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(asked("0.0.0.0:80"), "127.0.0.1:80");
        assert_eq!(asked("[::]:80"), "[::1]:80");
        assert_eq!(asked("10.0.0.1:80"), "10.0.0.1:80");
    }
}
