//! Faults of `[source]` and `[dead_letters]`.

use insta::assert_snapshot;

use super::{accepted, refused, with};
use crate::config::DeadLetters;

const KAFKA: &str = "type = \"kafka\"\nbrokers = \"localhost:9092\"\ntopic = \"sales\"\n";
const FILE: &str = "type = \"file\"\npaths = [\"a.ndjson\"]\n";

/// A generator, and a file for the dead letters of a source that has no brokers.
const GENERATOR: &str = "type = \"generator\"\n";
const DEAD: (&str, &str) = (
    "type = \"kafka\"\ntopic = \"sales.dead\"",
    "type = \"file\"\npath = \"dead\"",
);
/// The dead letters of the right pipeline.
const LETTERS: &str = "type = \"kafka\"\ntopic = \"sales.dead\"";

fn refused_letters(settings: &str) -> String {
    refused(&[(LETTERS, settings)])
}

/// Columns that generated sales have.
const SALES: [(&str, &str); 3] = [
    (
        "{ name = \"id\",",
        "{ name = \"id\", from = \"transactionId\",",
    ),
    ("from = \"total.amount\"", "from = \"totalAmount\""),
    (
        "{ name = \"sold\",",
        "{ name = \"sold\", from = \"transactionDate\",",
    ),
];

fn refused_generator(settings: &str) -> String {
    let generator = format!("{GENERATOR}{settings}");
    refused(&[&SALES[..], &[(KAFKA, &generator), DEAD]].concat())
}

#[test]
fn dead_letters_of_an_unknown_type_are_refused() {
    assert_snapshot!(refused_letters("type = \"postgresql\""));
}

#[test]
fn a_table_of_dead_letters_is_where_the_journal_is() {
    assert_snapshot!(refused_letters("type = \"sqlite\""));
}

#[test]
fn a_table_of_dead_letters_has_no_rows() {
    assert_snapshot!(refused_letters("type = \"postgres\"\ntable = \"sales\""));
}

#[test]
fn a_table_of_dead_letters_is_none_of_the_journal() {
    assert_snapshot!(refused_letters(
        "type = \"postgres\"\ntable = \"wasmill_state\""
    ));
}

#[test]
fn a_table_of_dead_letters_in_a_file_has_no_schema() {
    let file = "type = \"sqlite\"\npath = \"sales.sqlite3\"";
    assert_snapshot!(refused(&[
        (
            "type = \"postgres\"\nurl = \"postgres://me:hunter2@db/shop\"",
            file
        ),
        (LETTERS, "type = \"sqlite\"\ntable = \"ops.letters\""),
    ]));
}

#[test]
fn keys_of_other_dead_letters_are_told_apart_from_unknown_ones() {
    assert_snapshot!(refused_letters(
        "type = \"postgres\"\ntopic = \"dead\"\npath = \"dead\"\ntabel = \"dead\""
    ));
}

#[test]
fn dead_letters_are_in_a_table_of_the_journals_database() {
    for (settings, expected) in [
        ("type = \"postgres\"", "wasmill_dead_letters"),
        (
            "type = \"postgres\"\ntable = \"wasmill_dead_letters\"",
            "wasmill_dead_letters",
        ),
        (
            "type = \"postgres\"\ntable = \"ops.letters\"",
            "ops.letters",
        ),
    ] {
        let pipeline = accepted(&with(&[(LETTERS, settings)]));
        let DeadLetters::Table { table } = &pipeline.dead_letters else {
            panic!("{:?}", pipeline.dead_letters);
        };
        assert_eq!(table, expected);
    }
}

#[test]
fn a_generator_has_bounds() {
    assert_snapshot!(refused_generator(
        "partitions = 0\nseed = -1\ndays = 0\nbad_share = 1.5\nduplicates = 0.95\nrate = 0\nrecords = 1e3\n"
    ));
}

#[test]
fn a_generator_takes_numbers_of_the_right_type() {
    assert_snapshot!(refused_generator(
        "bad_share = \"0.1\"\nrate = nan\nseed = 99999999999999999999\n"
    ));
}

#[test]
fn a_key_that_a_generator_does_not_have_is_reported() {
    assert_snapshot!(refused_generator(
        "sead = 7\nbad-share = 0.1\ntopic = \"sales\"\npaths = []\n"
    ));
}

#[test]
fn keys_of_a_generator_are_told_apart_from_unknown_ones() {
    assert_snapshot!(refused(&[(
        "topic = \"sales\"",
        "topic = \"sales\"\nseed = 7\nrecords = 100"
    )]));
}

#[test]
fn a_generator_makes_sales_and_nothing_else() {
    assert_snapshot!(refused(&[
        (KAFKA, GENERATOR),
        DEAD,
        (
            "{ name = \"sold\", type = \"timestamp\" }",
            "{ name = \"sold\", from = \"transactionDate\", type = \"date\" }"
        ),
        ("from = \"total.amount\"", "from = \"totalAmonut\""),
    ]));
}

#[test]
fn an_unknown_type_of_source_is_an_error() {
    assert_snapshot!(refused(&[(KAFKA, "type = \"kafak\"\n")]));
}

#[test]
fn keys_of_another_type_are_told_apart_from_unknown_ones() {
    assert_snapshot!(refused(&[(
        "topic = \"sales\"",
        "topic = \"sales\"\npaths = [\"a.ndjson\"]"
    )]));
}

#[test]
fn brokers_have_a_host_and_a_port() {
    assert_snapshot!(refused(&[(
        "brokers = \"localhost:9092\"",
        "brokers = \"localhost:9092,:9093, localhost:99999\""
    )]));
}

#[test]
fn brokers_cannot_be_empty() {
    assert_snapshot!(refused(&[(
        "brokers = \"localhost:9092\"",
        "brokers = \"\""
    )]));
}

#[test]
fn a_property_that_is_the_hosts_is_refused_by_name() {
    assert_snapshot!(refused(&[(
        "topic = \"sales\"",
        "topic = \"sales\"\nproperties = { \"group.id\" = \"g\", \"enable.auto.commit\" = true, \"auto.offset.reset\" = \"latest\" }"
    )]));
}

#[test]
fn files_are_each_read_once() {
    assert_snapshot!(refused(&[
        (
            KAFKA,
            "type = \"file\"\npaths = [\"a.ndjson\", \"b.ndjson\", \"a.ndjson\"]\n"
        ),
        (
            "type = \"kafka\"\ntopic = \"sales.dead\"",
            "type = \"file\"\npath = \"dead\""
        ),
    ]));
}

#[test]
fn no_files_are_nothing_to_read() {
    assert_snapshot!(refused(&[
        (KAFKA, "type = \"file\"\npaths = []\n"),
        (
            "topic = \"sales.dead\"",
            "brokers = \"k:1\"\ntopic = \"sales.dead\""
        ),
    ]));
}

#[test]
fn a_column_cannot_occur_twice() {
    assert_snapshot!(refused(&[("name = \"sold\"", "name = \"amount\"")]));
}

#[test]
fn a_type_that_other_systems_have_is_translated() {
    assert_snapshot!(refused(&[
        ("type = \"utf8\"", "type = \"varchar\""),
        ("type = \"decimal(2)\"", "type = \"decimal(19)\""),
        ("type = \"timestamp\"", "type = \"timestmp\""),
    ]));
}

#[test]
fn a_place_that_no_value_can_come_from_is_refused() {
    assert_snapshot!(refused(&[
        ("from = \"total.amount\"", "from = \"total..amount\""),
        ("name = \"sold\",", "name = \"sold\", from = \"@time\","),
    ]));
}

#[test]
fn what_a_record_has_of_its_own_has_its_own_type() {
    assert_snapshot!(refused(&[
        ("name = \"id\",", "name = \"id\", from = \"@partition\","),
        ("from = \"total.amount\"", "from = \"@timestamp\""),
        (
            "{ name = \"sold\", type = \"timestamp\" }",
            "{ name = \"sold\", type = \"binary\" }"
        ),
    ]));
}

#[test]
fn a_field_is_a_value_or_an_object() {
    assert_snapshot!(refused(&[(
        "name = \"sold\",",
        "name = \"sold\", from = \"total\","
    )]));
}

#[test]
fn a_record_of_a_file_has_no_key() {
    assert_snapshot!(refused(&[
        (KAFKA, FILE),
        ("name = \"id\",", "name = \"id\", from = \"@key\","),
        (
            "type = \"kafka\"\ntopic = \"sales.dead\"",
            "type = \"file\"\npath = \"dead\""
        ),
    ]));
}

#[test]
fn a_column_has_a_name_that_sinks_understand() {
    assert_snapshot!(refused(&[(
        "name = \"id\",",
        "name = \"the id\", nulable = true,"
    )]));
}

#[test]
fn dead_letters_are_needed() {
    assert_snapshot!(refused(&[(
        "[dead_letters]\ntype = \"kafka\"\ntopic = \"sales.dead\"\n",
        ""
    )]));
}

#[test]
fn dead_letters_of_files_have_no_brokers_to_take_over() {
    assert_snapshot!(refused(&[(KAFKA, FILE)]));
}

#[test]
fn dead_letters_do_not_go_where_records_come_from() {
    assert_snapshot!(refused(&[("\"sales.dead\"", "\"sales\"")]));
}

const COLUMNS_END: &str = "  { name = \"sold\", type = \"timestamp\" },\n]\n";

/// The reports on a `[source.deduplicate]` of these lines.
fn refused_deduplicate(lines: &str) -> String {
    let text = format!("{COLUMNS_END}\n[source.deduplicate]\n{lines}\n");
    refused(&[(COLUMNS_END, &text)])
}

#[test]
fn a_key_that_is_not_declared_is_an_error() {
    assert_snapshot!(refused_deduplicate("key = [\"ids\", \"customer\"]"));
}

#[test]
fn deduplicating_needs_a_key() {
    assert_snapshot!(refused_deduplicate("last = 5"));
}

#[test]
fn a_misspelt_key_of_deduplicate_is_reported() {
    assert_snapshot!(refused_deduplicate("keys = [\"id\"]\nlsat = 5"));
}

#[test]
fn a_key_of_no_columns_is_an_error() {
    assert_snapshot!(refused_deduplicate("key = []"));
}

#[test]
fn a_key_has_each_column_once() {
    assert_snapshot!(refused_deduplicate("key = [\"id\", \"sold\", \"id\"]"));
}

#[test]
fn what_is_remembered_has_bounds() {
    let both = [
        refused_deduplicate("key = [\"id\"]\nlast = 0"),
        refused_deduplicate("key = [\"id\"]\nlast = 100_000_001"),
    ];
    assert_snapshot!(both.concat());
}

#[test]
fn an_offset_tells_every_record_from_all_others() {
    let text = "  { name = \"sold\", type = \"timestamp\" },\n  { name = \"at\", from = \"@offset\", type = \"int64\" },\n]\n[source.deduplicate]\nkey = [\"id\", \"at\"]\n";
    assert_snapshot!(refused(&[(COLUMNS_END, text)]));
}
