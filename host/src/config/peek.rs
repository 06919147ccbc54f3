//! As much of `pipeline.toml` as it takes to find the host that runs it.
//!
//! Whoever asks or changes a running pipeline needs its address. The file may be half written by then,
//! or lack variables that only the host has; whoever wants to roll back from just that must not be
//! stopped by it. So what can be read is read, and everything else is no matter.

use std::net::SocketAddr;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::reader::{Reader, Section};
use super::validate::admin;
use super::{Diagnostics, Environment, Secret, expand, mask, read};

/// Where a pipeline runs, according to its file.
#[derive(Debug, Clone)]
pub(crate) struct Peek {
    /// `pipeline.name`, where that can be read
    pub(crate) name: Option<String>,
    /// `listen` of `[admin]`
    pub(crate) listen: SocketAddr,
    /// `token` of `[admin]`; `None` also when it cannot be read here
    pub(crate) token: Option<Secret>,
}

/// Looks for `[admin]` in the file at `path`; `None` when the file has none.
///
/// # Errors
///
/// [`Diagnostics`] when the file cannot be read, or its `[admin]` has no address.
pub(crate) fn peek(
    path: &Path,
    environment: &Environment<'_>,
) -> Result<Option<Peek>, Diagnostics> {
    let file_name = path.display().to_string();
    let text = read(path).map_err(|error| super::unreadable(&file_name, &error))?;
    parse(&text, &file_name, environment)
}

fn parse(
    text: &str,
    file_name: &str,
    environment: &Environment<'_>,
) -> Result<Option<Peek>, Diagnostics> {
    let (root, syntax_errors) = DeTable::parse_recoverable(text);
    let root = root.get_ref();
    let shown = mask::secrets(text, root, !syntax_errors.is_empty());
    let mut diagnostics = Diagnostics::new(file_name, shown);
    let damaged = !syntax_errors.is_empty();
    for error in syntax_errors {
        diagnostics.push(super::diagnostic::syntax(&error));
    }
    let Some(value) = root.get("admin") else {
        // In a damaged file it may only not have been found.
        return if damaged { Err(diagnostics) } else { Ok(None) };
    };
    let reader = Reader::new(text, environment, false, diagnostics);
    let found = match value.get_ref() {
        DeValue::Table(table) => {
            let mut section = Section::new(&reader, "`[admin]`", value.span(), table);
            let listen = section.required_text("listen");
            let listen = listen.and_then(|text| section.parsed("listen", &text, admin::address));
            listen.map(|listen| Peek {
                name: string(root, "pipeline", "name", environment),
                listen,
                token: string(root, "admin", "token", environment)
                    .filter(|token| admin::is_token(token))
                    .map(Secret::new),
            })
        }
        // Not a table: the reader has words for it.
        _ => Section::new(&reader, "the file", 0..0, root)
            .table("admin", "`[admin]`")
            .and(None),
    };
    found.map(Some).ok_or_else(|| reader.into_diagnostics())
}

/// A string in a table, variables replaced; `None` when it cannot be had.
fn string(
    root: &DeTable<'_>,
    table: &str,
    key: &str,
    environment: &Environment<'_>,
) -> Option<String> {
    let DeValue::Table(table) = root.get(table)?.get_ref() else {
        return None;
    };
    let DeValue::String(raw) = table.get(key)?.get_ref() else {
        return None;
    };
    Some(expand::expand(raw, environment).ok()?.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn peeked(text: &str) -> Result<Option<Peek>, Diagnostics> {
        let environment = |name: &str| (name == "TOKEN").then(|| TOKEN.to_owned());
        parse(text, "pipeline.toml", &environment)
    }

    #[test]
    fn address_name_and_token_are_found_in_a_file_with_mistakes() {
        let text = "[pipeline]\nname = \"shop\"\nworkers = \"many\"\n[source]\nurl = \"${UNSET}\"\n\
                    [admin]\nlisten = \"127.0.0.1:8080\"\ntoken = \"${TOKEN}\"\nmore = 1\n";
        let found = peeked(text).unwrap().unwrap();
        assert_eq!(found.name.as_deref(), Some("shop"));
        assert_eq!(found.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(found.token.unwrap().reveal(), TOKEN);
    }

    #[test]
    fn a_half_written_file_still_says_where_to_ask() {
        let text = "[admin]\nlisten = \"127.0.0.1:8080\"\n[[transform]]\nname = \"sal";
        let found = peeked(text).unwrap().unwrap();
        assert_eq!(found.listen.port(), 8080);
        assert_eq!(found.name, None);
    }

    #[test]
    fn a_token_that_cannot_be_read_here_is_none() {
        for token in ["\"${UNSET}\"", "\"short\"", "7"] {
            let text = format!("[admin]\nlisten = \"127.0.0.1:8080\"\ntoken = {token}\n");
            assert!(peeked(&text).unwrap().unwrap().token.is_none(), "{token}");
        }
    }

    #[test]
    fn what_says_no_address_is_reported_or_has_none() {
        assert!(peeked("[pipeline]\nname = \"shop\"\n").unwrap().is_none());
        for text in [
            "[admin]\n",
            "[admin]\nlisten = \"localhost\"\n",
            "admin = 1\n",
            "[pipeline\n",
        ] {
            assert!(
                peeked(text).is_err_and(|found| found.has_errors()),
                "{text}"
            );
        }
    }
}
