//! Text that is no TOML, keys that do not exist, values of another type.

use std::path::Path;

use insta::assert_snapshot;

use super::{refused, refused_text};
use crate::config::{Look, load};

#[test]
fn what_is_not_toml_is_shown_in_its_line() {
    assert_snapshot!(refused(&[("topic = \"sales\"", "topic = sales")]));
}

#[test]
fn a_bracket_that_is_not_closed_is_reported() {
    assert_snapshot!(refused(&[("[commit]", "[commit")]));
}

#[test]
fn a_key_that_occurs_twice_is_reported() {
    assert_snapshot!(refused(&[(
        "max_rows = 1000",
        "max_rows = 1000\nmax_rows = 2000"
    )]));
}

#[test]
fn an_empty_file_lacks_everything() {
    assert_snapshot!(refused_text(""));
}

#[test]
fn a_misspelt_key_is_recognised() {
    assert_snapshot!(refused(&[("max_rows = 1000", "max_row = 1000")]));
}

#[test]
fn a_misspelt_key_that_is_needed_is_found() {
    assert_snapshot!(refused(&[("brokers =", "broker =")]));
}

#[test]
fn an_unknown_table_is_an_error() {
    assert_snapshot!(refused(&[(
        "[commit]",
        "[alerts]\ninterval = \"30s\"\n\n[commit]"
    )]));
}

#[test]
fn a_value_of_another_type_is_reported() {
    assert_snapshot!(refused(&[
        ("max_rows = 1000", "max_rows = \"1000\"\nmax_wait = 1"),
        ("topic = \"sales\"", "topic = 5"),
        ("key = [\"id\"]", "key = \"id\""),
    ]));
}

#[test]
fn a_list_of_tables_in_single_brackets_is_explained() {
    assert_snapshot!(refused(&[("[[transform]]", "[transform]")]));
}

#[test]
fn a_table_in_double_brackets_is_explained() {
    assert_snapshot!(refused(&[("[commit]", "[[commit]]")]));
}

#[test]
fn several_mistakes_are_reported_at_once() {
    assert_snapshot!(refused(&[
        ("name = \"shop\"", "name = \"my shop\""),
        ("max_rows = 1000", "max_rows = 0"),
        ("type = \"utf8\"", "type = \"string\""),
        (
            "from = \"converted\"\ncomponent",
            "from = \"convrted\"\ncomponent"
        ),
        ("type = \"elasticsearch\"", "type = \"elastic\""),
    ]));
}

#[test]
fn bounds_are_named() {
    assert_snapshot!(refused(&[
        ("name = \"shop\"", "name = \"shop\"\nworkers = 1000"),
        (
            "max_rows = 1000",
            "max_rows = -1\nmax_wait = \"1h\"\nin_flight = 99999999999999999999"
        ),
        (
            "limits = { memory = \"32MiB\", time = \"500ms\" }",
            "limits = { memory = \"512KiB\", time = \"2m\", output = 1 }",
        ),
    ]));
}

#[test]
fn units_are_explained() {
    assert_snapshot!(refused(&[
        ("memory = \"32MiB\"", "memory = \"32MB\""),
        ("time = \"500ms\"", "time = \"half a second\""),
        ("every = \"1 day\"", "every = \"daily\""),
    ]));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let diagnostics = load(Path::new("no/pipeline.toml"), &|_| None).unwrap_err();
    assert_snapshot!(diagnostics.render(Look::Plain));
}

#[test]
fn a_file_without_an_end_is_refused() {
    let diagnostics = load(Path::new("/dev/zero"), &|_| None).unwrap_err();
    assert_snapshot!(diagnostics.render(Look::Plain));
}

#[test]
fn on_a_terminal_reports_are_drawn() {
    let text = super::with(&[("max_rows = 1000", "max_row = 1000")]);
    let diagnostics = super::parsed(&text).unwrap_err();
    assert_snapshot!(diagnostics.render(Look::Drawn));
    assert!(diagnostics.render(Look::Coloured).contains('\u{1b}'));
}
