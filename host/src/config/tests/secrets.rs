//! Reports never show what came from the environment, nor what looks like a password.
//!
//! `refused` checks that the secret of these tests, `hunter2`, is in no report.

use insta::assert_snapshot;

use super::refused;

const URL: &str = "url = \"postgres://me:hunter2@db/shop\"";

#[test]
fn a_password_beside_a_mistake_is_starred_out() {
    assert_snapshot!(refused(&[("type = \"postgres\"", "type = \"postgers\"")]));
}

#[test]
fn a_url_that_is_wrong_is_not_shown() {
    assert_snapshot!(refused(&[(URL, "url = \"host=db password=hunter2\"")]));
}

#[test]
fn a_url_under_a_wrong_key_is_not_shown() {
    assert_snapshot!(refused(&[(URL, "uri = \"postgres://me:hunter2@db/shop\"")]));
}

#[test]
fn a_url_in_a_damaged_file_is_not_shown() {
    assert_snapshot!(refused(&[(URL, "url = \"postgres://me:hunter2@db/shop")]));
}

#[test]
fn a_variable_that_is_not_set_is_named() {
    assert_snapshot!(refused(&[(
        URL,
        "url = \"postgres://me:${DB_PASSWORD}@db/shop\""
    )]));
}

#[test]
fn a_variable_that_is_not_set_is_found_in_the_config_of_a_component() {
    assert_snapshot!(refused(&[(
        "component = \"convert\"",
        "component = \"convert\"\nconfig = { a = [{ b = \"${NOPE}\" }], c = \"${ALSO_NOT}\" }"
    )]));
}

#[test]
fn a_variable_without_its_end_is_reported() {
    assert_snapshot!(refused(&[
        ("topic = \"sales\"", "topic = \"${TOPIC\""),
        ("path = \"sum.wasm\"", "path = \"${1}.wasm\""),
    ]));
}

#[test]
fn what_the_environment_says_is_in_no_message() {
    assert_snapshot!(refused(&[
        ("name = \"shop\"", "name = \"${PASSWORD} x\""),
        ("brokers = \"localhost:9092\"", "brokers = \"${PASSWORD}:\""),
        (
            "max_rows = 1000",
            "max_rows = \"${PASSWORD}\"\nmax_wait = \"${PASSWORD}\""
        ),
        ("type = \"utf8\"", "type = \"${PASSWORD}\""),
        ("component = \"convert\"", "component = \"${PASSWORD}\""),
        (
            "from = \"converted\"\ncomponent",
            "from = \"${PASSWORD}\"\ncomponent"
        ),
        (URL, "url = \"${PASSWORD}\""),
        ("date(window_start)", "${PASSWORD}(window_start)"),
        ("type = \"elasticsearch\"", "type = \"${PASSWORD}\""),
    ]));
}
