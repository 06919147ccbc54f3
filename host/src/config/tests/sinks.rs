//! Faults of sinks.

use insta::assert_snapshot;

use super::{RIGHT, refused, refused_text};

#[test]
fn the_journal_needs_postgres() {
    let start = RIGHT.find("[[sink]]\nname = \"db\"").unwrap();
    let end = RIGHT.find("[[sink]]\nname = \"search\"").unwrap();
    assert_snapshot!(refused_text(&RIGHT.replacen(&RIGHT[start..end], "", 1)));
}

#[test]
fn only_one_postgres_keeps_the_journal() {
    assert_snapshot!(refused(&[(
        "[[sink]]\nname = \"search\"",
        "[[sink]]\nname = \"second\"\ntype = \"postgres\"\nurl = \"postgres://b/c\"\n\n[[sink]]\nname = \"search\""
    )]));
}

const DB: &str = "type = \"postgres\"\nurl = \"postgres://me:hunter2@db/shop\"";

#[test]
fn a_file_and_a_server_cannot_both_keep_the_journal() {
    assert_snapshot!(refused(&[(
        "[[sink]]\nname = \"search\"",
        "[[sink]]\nname = \"second\"\ntype = \"sqlite\"\npath = \"sales.sqlite3\"\n\n[[sink]]\nname = \"search\""
    )]));
}

#[test]
fn a_file_has_a_path_and_no_url() {
    assert_snapshot!(refused(&[(
        "type = \"postgres\"\nurl = \"postgres://me:hunter2@db/shop\"",
        "type = \"sqlite\"\nurl = \"sales.sqlite3\"\nindices = []"
    )]));
}

#[test]
fn a_path_is_not_empty() {
    assert_snapshot!(refused(&[(DB, "type = \"sqlite\"\npath = \"\"")]));
}

#[test]
fn a_table_of_a_file_has_no_schema() {
    assert_snapshot!(refused(&[
        (DB, "type = \"sqlite\"\npath = \"sales.sqlite3\""),
        ("table = \"sales\"", "table = \"public.sales\""),
    ]));
}

#[test]
fn a_path_does_not_go_with_a_server() {
    assert_snapshot!(refused(&[
        (
            "url = \"postgres://me:hunter2@db/shop\"",
            "path = \"x\"\nurl = \"postgres://db/shop\""
        ),
        (
            "url = \"http://localhost:9200\"",
            "url = \"http://localhost:9200\"\npath = \"x\""
        ),
    ]));
}

#[test]
fn sinks_have_names_of_their_own() {
    assert_snapshot!(refused(&[("name = \"search\"", "name = \"db\"")]));
}

#[test]
fn a_table_is_filled_once() {
    assert_snapshot!(refused(&[("table = \"daily\"", "table = \"sales\"")]));
}

#[test]
fn a_table_of_the_journal_is_not_for_rows() {
    assert_snapshot!(refused(&[(
        "table = \"daily\"",
        "table = \"wasmill_epochs\""
    )]));
}

#[test]
fn a_table_needs_a_key() {
    assert_snapshot!(refused(&[("key = [\"id\"]", "key = []")]));
}

#[test]
fn a_key_is_among_the_columns() {
    assert_snapshot!(refused(&[("key = [\"day\"]", "key = [\"dya\"]")]));
}

#[test]
fn an_id_is_among_the_columns() {
    assert_snapshot!(refused(&[(
        "id = \"id\" }",
        "id = \"id\", columns = { amount = \"amount\" } }"
    )]));
}

#[test]
fn columns_that_are_given_are_not_empty() {
    assert_snapshot!(refused(&[(
        "{ day = \"date(window_start)\", total = \"total\" }",
        "{}"
    )]));
}

#[test]
fn a_function_that_does_not_exist_is_reported() {
    assert_snapshot!(refused(&[
        ("date(window_start)", "dat(window_start)"),
        ("total = \"total\"", "total = \"total + 1\""),
    ]));
}

#[test]
fn a_conflict_is_solved_in_one_of_two_ways() {
    assert_snapshot!(refused(&[(
        "key = [\"id\"]",
        "key = [\"id\"], on_conflict = \"replace\""
    )]));
}

#[test]
fn a_column_that_a_table_lacks_is_added_or_refused() {
    assert_snapshot!(refused(&[(
        "type = \"postgres\"",
        "type = \"postgres\"\non_new_column = \"ignore\""
    )]));
}

#[test]
fn an_index_always_gets_the_fields_that_it_lacks() {
    assert_snapshot!(refused(&[(
        "indices = [",
        "on_new_column = \"refuse\"\nindices = ["
    )]));
}

#[test]
fn a_stream_waits_for_a_sink_or_goes_on() {
    assert_snapshot!(refused(&[(
        "indices = [",
        "on_unavailable = \"skip\"\nindices = ["
    )]));
}

#[test]
fn a_table_cannot_lag() {
    assert_snapshot!(refused(&[(
        "type = \"postgres\"",
        "type = \"postgres\"\non_unavailable = \"continue\""
    )]));
}

#[test]
fn an_index_has_a_name_that_elasticsearch_takes() {
    assert_snapshot!(refused(&[("index = \"sales\"", "index = \"Sales\"")]));
}

#[test]
fn keys_of_another_sink_are_told_apart_from_unknown_ones() {
    assert_snapshot!(refused(&[("indices = [", "tables = []\nindices = [")]));
}

#[test]
fn something_is_filled() {
    assert_snapshot!(refused(&[
        (
            "  { from = \"converted\", table = \"sales\", key = [\"id\"] },\n",
            ""
        ),
        (
            "  { from = \"daily\", table = \"daily\", key = [\"day\"], columns = { day = \"date(window_start)\", total = \"total\" } },\n",
            ""
        ),
        (
            "indices = [{ from = \"converted\", index = \"sales\", id = \"id\" }]",
            "indices = []"
        ),
    ]));
}

#[test]
fn a_sink_cannot_read_what_is_not_there() {
    assert_snapshot!(refused(&[("from = \"daily\"", "from = \"monthly\"")]));
}
