//! `[admin]`: where questions about the running pipeline are answered.

use std::net::SocketAddr;

use crate::config::Admin;
use crate::config::reader::Section;

/// `None` when it is faulty.
pub(super) fn admin(mut section: Section<'_>) -> Option<Admin> {
    let listen = section.required_text("listen");
    let listen = listen.and_then(|text| section.parsed("listen", &text, address));
    section.finish();
    listen.map(|listen| Admin { listen })
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let Ok(address) = text.parse::<SocketAddr>() else {
        let port = match text.rsplit_once(':') {
            Some((_, port)) if port.parse::<u16>().is_ok_and(|port| port > 0) => port,
            _ => "8080",
        };
        return Err(match text.split(':').next() {
            Some("localhost") => format!("an address is needed, not a name: `127.0.0.1:{port}`"),
            _ => format!(
                "write an address and a port: `127.0.0.1:{port}`, or `0.0.0.0:{port}` where other machines are to ask too"
            ),
        });
    };
    if address.port() == 0 {
        return Err("name a port from 1 to 65535: nobody could find another one".to_owned());
    }
    Ok(address)
}
