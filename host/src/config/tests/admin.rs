//! `[admin]`, right and faulty.

use insta::assert_snapshot;

use super::{RIGHT, accepted, parsed, refused_text};
use crate::config::Look;

fn listening_on(value: &str) -> String {
    format!("{RIGHT}\n[admin]\nlisten = {value}\n")
}

#[test]
fn without_it_there_is_no_server() {
    assert!(accepted(RIGHT).admin.is_none());
}

#[test]
fn an_address_of_either_family_can_be_listened_on() {
    for address in ["127.0.0.1:8080", "0.0.0.0:80", "[::1]:8080", "[::]:65535"] {
        let admin = accepted(&listening_on(&format!("\"{address}\""))).admin;
        assert_eq!(
            admin.map(|admin| admin.listen.to_string()).as_deref(),
            Some(address)
        );
    }
}

#[test]
fn the_port_may_come_from_the_environment() {
    let admin = accepted(&listening_on("\"127.0.0.1:80${TEN}\"")).admin;
    assert_eq!(admin.map(|admin| admin.listen.port()), Some(8010));
}

fn with_token(listen: &str, token: &str) -> String {
    format!(
        "{}token = {token}\n",
        listening_on(&format!("\"{listen}\""))
    )
}

#[test]
fn a_token_may_come_from_the_environment_or_not() {
    for (token, value) in [
        ("\"${LONG_SECRET}\"", "hunter2-hunter2-hunter2"),
        ("\"0123456789abcdef\"", "0123456789abcdef"),
    ] {
        let admin = accepted(&with_token("0.0.0.0:80", token)).admin.unwrap();
        assert_eq!(admin.token.unwrap().reveal(), value);
    }
    let admin = accepted(&listening_on("\"127.0.0.1:80\"")).admin.unwrap();
    assert!(admin.token.is_none());
}

#[test]
fn an_empty_token_is_refused() {
    assert_snapshot!(refused_text(&with_token("127.0.0.1:80", "\"\"")));
}

#[test]
fn a_token_that_can_be_guessed_is_refused() {
    assert_snapshot!(refused_text(&with_token("127.0.0.1:80", "\"hunter2\"")));
}

#[test]
fn a_token_that_no_header_can_carry_is_refused() {
    for token in [
        "\"0123456789abcdef\\n\"",
        "\"0123 456789 abcdef\"",
        "\"0123456789abcdéf\"",
    ] {
        let reports = refused_text(&with_token("127.0.0.1:80", token));
        assert!(reports.contains("no HTTP header can carry"), "{reports}");
        assert!(!reports.contains("0123"), "{reports}");
    }
    let long = format!("\"{}\"", "x".repeat(513));
    let reports = refused_text(&with_token("127.0.0.1:80", &long));
    assert!(reports.contains("more than 512"), "{reports}");
}

#[test]
fn a_token_whose_variable_is_not_set_is_refused() {
    assert_snapshot!(refused_text(&with_token("127.0.0.1:80", "\"${UNSET}\"")));
}

#[test]
fn an_address_for_others_without_a_token_is_warned_about() {
    let (_, warnings) = parsed(&listening_on("\"0.0.0.0:8080\"")).unwrap();
    assert_snapshot!(warnings.render(Look::Plain));
    for quiet in [
        listening_on("\"127.0.0.1:8080\""),
        listening_on("\"[::1]:8080\""),
        with_token("0.0.0.0:8080", "\"0123456789abcdef\""),
    ] {
        let (_, warnings) = parsed(&quiet).unwrap();
        assert!(warnings.is_empty(), "{warnings}");
    }
}

#[test]
fn a_name_is_no_address() {
    assert_snapshot!(refused_text(&listening_on("\"localhost:9000\"")));
}

#[test]
fn an_address_without_a_port_is_refused() {
    assert_snapshot!(refused_text(&listening_on("\"127.0.0.1\"")));
}

#[test]
fn a_port_alone_is_refused() {
    assert_snapshot!(refused_text(&listening_on("8080")));
}

#[test]
fn port_zero_is_refused() {
    assert_snapshot!(refused_text(&listening_on("\"127.0.0.1:0\"")));
}

#[test]
fn an_empty_section_lacks_its_key() {
    assert_snapshot!(refused_text(&format!("{RIGHT}\n[admin]\n")));
}

#[test]
fn a_key_that_is_not_known_is_told() {
    assert_snapshot!(refused_text(&format!(
        "{}port = 8080\n",
        listening_on("\"127.0.0.1:8080\"")
    )));
}
