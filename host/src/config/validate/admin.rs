//! `[admin]`: where questions about the running pipeline are answered, and who may change it.

use std::net::SocketAddr;

use crate::config::reader::{Section, Text};
use crate::config::{Admin, Diagnostic, Secret};

/// A shorter token can be guessed.
const TOKEN_CHARS_MIN: usize = 16;
/// The head of a request has to hold it.
const TOKEN_CHARS_MAX: usize = 512;

/// `None` when it is faulty.
pub(super) fn admin(mut section: Section<'_>) -> Option<Admin> {
    let listen = section.required_text("listen");
    let place = listen.as_ref().map(|text| text.span.clone());
    let listen = listen.and_then(|text| section.parsed("listen", &text, address));
    let token = token(&mut section);
    let reader = section.reader;
    section.finish();
    let (listen, token) = (listen?, token.ok()?);
    if token.is_none() && !listen.ip().to_canonical().is_loopback() {
        let message = "others can reach this address, and there is no `token`: nobody may change the running pipeline over it";
        let warning = Diagnostic::warning(message)
            .help("`wasmill reload` and `wasmill rollback` need `token = \"${WASMILL_TOKEN}\"` in `[admin]`, or an address of this machine alone, as `127.0.0.1:8080`");
        reader.push(match place {
            Some(place) => warning.at(&place),
            None => warning,
        });
    }
    Some(Admin { listen, token })
}

/// `Err` when it is faulty, and was reported.
fn token(section: &mut Section<'_>) -> Result<Option<Secret>, ()> {
    let is_there = section.has("token");
    let Some(text) = section.text("token") else {
        return if is_there { Err(()) } else { Ok(None) };
    };
    match fault(&text.value) {
        None => Ok(Some(Secret::new(text.value))),
        Some(fault) => {
            section.reader.push(report(fault, &text));
            Err(())
        }
    }
}

fn report(fault: &str, text: &Text) -> Diagnostic {
    Diagnostic::error(format!("`token` {fault}"))
        .at(&text.span)
        .help("make one with `openssl rand -hex 32`, keep it in the environment, and write `token = \"${WASMILL_TOKEN}\"`; or leave the key out, and only this machine may change the running pipeline")
}

/// Whether this can be a token.
pub(crate) fn is_token(text: &str) -> bool {
    fault(text).is_none()
}

/// What is wrong with a token, never a part of it.
fn fault(token: &str) -> Option<&'static str> {
    if token.is_empty() {
        Some("is empty")
    } else if !token.chars().all(|c| c.is_ascii_graphic()) {
        Some("has a space, a line break or another character that no HTTP header can carry")
    } else if token.len() < TOKEN_CHARS_MIN {
        Some("has fewer than 16 characters: it can be guessed")
    } else if token.len() > TOKEN_CHARS_MAX {
        Some("has more than 512 characters")
    } else {
        None
    }
}

/// The address in `text`, or what to write instead.
pub(in crate::config) fn address(text: &str) -> Result<SocketAddr, String> {
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
