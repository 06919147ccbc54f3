//! Somebody who asks, and holds every answer against the server's own description.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::schema::Schemas;
use crate::support::http::{Answer, call, get};

/// What a body is declared as.
pub(super) const JSON: (&str, &str) = ("Content-Type", "application/json");

/// Asks, and holds every answer against the description.
pub(super) struct Asker {
    pub(super) schemas: Schemas,
    /// method, path and status of each answer
    pub(super) answers: BTreeSet<(String, String, u16)>,
    /// `kind` of each error
    pub(super) kinds: BTreeSet<String>,
}

impl Asker {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            schemas: Schemas::new(get(address, "/api/openapi.json").json()),
            answers: BTreeSet::new(),
            kinds: BTreeSet::new(),
        }
    }

    pub(super) fn ask(
        &mut self,
        address: SocketAddr,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let answer = call(address, method, path, headers, body.as_bytes()).unwrap();
        self.note(method, path, &answer);
        answer
    }

    pub(super) fn get(&mut self, address: SocketAddr, path: &str) -> Answer {
        self.ask(address, "GET", path, &[], "")
    }

    pub(super) fn post(&mut self, address: SocketAddr, path: &str, body: &str) -> Answer {
        let headers = if body.is_empty() { &[][..] } else { &[JSON] };
        self.ask(address, "POST", path, headers, body)
    }

    /// Holds an answer against what is described for this path.
    pub(super) fn note(&mut self, method: &str, path: &str, answer: &Answer) {
        let method = method.to_ascii_lowercase();
        let pointer = format!(
            "/paths/{}/{method}/responses/{}",
            escaped(path),
            answer.status
        );
        let described = self.schemas.document().pointer(&pointer);
        let described = described.unwrap_or_else(|| panic!("{pointer} is not described"));
        let sent = answer
            .head
            .lines()
            .find_map(|line| line.strip_prefix("content-type: "));
        let sent = sent.and_then(|sent| sent.split(';').next()).unwrap();
        let media: Vec<&String> = described["content"].as_object().unwrap().keys().collect();
        assert_eq!(media, [sent], "{pointer}");
        for header in described["headers"].as_object().into_iter().flatten() {
            let header = format!("\n{}: ", header.0.to_ascii_lowercase());
            assert!(answer.head.contains(&header), "{}", answer.head);
        }
        if sent == "application/json" {
            let schema = format!("{pointer}/content/{}/schema", escaped(sent));
            let value = answer.json();
            self.schemas.check(&schema, &value);
            if answer.status >= 400 {
                self.kinds.extend(value["kind"].as_str().map(str::to_owned));
            }
        }
        self.answers
            .insert((method, path.to_owned(), answer.status));
    }

    /// All that is described.
    pub(super) fn described(&self) -> BTreeSet<(String, String, u16)> {
        let mut all = BTreeSet::new();
        for (path, methods) in self.schemas.document()["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                for status in operation["responses"].as_object().unwrap().keys() {
                    all.insert((method.clone(), path.clone(), status.parse().unwrap()));
                }
            }
        }
        all
    }
}

/// As a part of a JSON pointer.
fn escaped(text: &str) -> String {
    text.replace('~', "~0").replace('/', "~1")
}
