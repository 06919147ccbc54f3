//! `[admin]`, right and faulty.

use insta::assert_snapshot;

use super::{RIGHT, accepted, refused_text};

fn listening_on(value: &str) -> String {
    format!("{RIGHT}\n[admin]\nlisten = {value}\n")
}

#[test]
fn without_it_there_is_no_server() {
    assert_eq!(accepted(RIGHT).admin, None);
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
